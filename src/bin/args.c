#include "bin/args.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

const char *slim_args_help(void)
{
    return "slimrouter, a SLIM hub node\n"
           "\n"
           "Usage: slimrouter [--config FILE | --listen HOST:PORT] [--io BACKEND] [--memory MIB]\n"
           "                  [--per-address N] [--slow-reader SECONDS] [--placement HOW]\n"
           "       slimrouter --check-config FILE\n"
           "       slimrouter --version\n"
           "\n"
           "Without a configuration it serves plaintext gRPC on 127.0.0.1:46357.\n"
           "\n"
           "Options:\n"
           "  -c, --config FILE        YAML configuration in upstream's spelling [env: CONFIG]\n"
           "      --listen HOST:PORT   address of the built-in default (an IP literal; port 0 picks a free one)\n"
           "      --io BACKEND         auto, io_uring, io_uring-6.1 or epoll [default: auto]\n"
           "      --memory MIB         what messages on their way may hold in all [default: half of the machine's memory]\n"
           "      --per-address N      connections that one remote address may hold; 0: no limit\n"
           "                           [default: half of the descriptors, loopback unlimited]\n"
           "      --slow-reader SECONDS\n"
           "                           disconnect a receiver that holds its senders up this long; 0: never, what it\n"
           "                           is sent waits [default: 0]\n"
           "      --placement HOW      which thread serves a connection: follow (where those are whom it sends to),\n"
           "                           fixed or, for tests, restless [default: follow]\n"
           "      --check-config FILE  check a configuration and exit\n"
           "  -v, --version            print build information and exit\n"
           "  -h, --help               print this help and exit\n";
}

/* The value of --name VALUE or --name=VALUE at argv[*i]; NULL when this is another option. */
static const char *option_value(int argc, char **argv, int *i, const char *shorter, const char *longer, bool *missing)
{
    size_t n = strlen(longer);

    assert(argv[*i] != NULL);
    if ((shorter != NULL && strcmp(argv[*i], shorter) == 0) || strcmp(argv[*i], longer) == 0) {
        *missing = *i + 1 >= argc;
        return *missing ? "" : argv[++*i];
    }
    if (strncmp(argv[*i], longer, n) == 0 && argv[*i][n] == '=')
        return argv[*i] + n + 1;
    return NULL;
}

/* The place of a text among n names. */
static bool name_parse(const char *text, const char *const *names, size_t n, size_t *out)
{
    for (size_t i = 0; i < n; i++) {
        if (strcmp(text, names[i]) == 0) {
            *out = i;
            return true;
        }
    }
    return false;
}

static bool placement_parse(const char *text, slim_placement *out)
{
    static const char *const names[] = {
        [SLIM_PLACEMENT_FOLLOW] = "follow", [SLIM_PLACEMENT_FIXED] = "fixed", [SLIM_PLACEMENT_RESTLESS] = "restless"};
    size_t i;

    if (!name_parse(text, names, sizeof(names) / sizeof(*names), &i))
        return false;
    *out = (slim_placement)i;
    return true;
}

static bool backend_parse(const char *text, slim_ring_backend *out)
{
    static const char *const names[] = {[SLIM_RING_AUTO] = "auto",
                                        [SLIM_RING_URING] = "io_uring",
                                        [SLIM_RING_URING61] = "io_uring-6.1",
                                        [SLIM_RING_EPOLL] = "epoll"};
    size_t i;

    if (!name_parse(text, names, sizeof(names) / sizeof(*names), &i))
        return false;
    *out = (slim_ring_backend)i;
    return true;
}

static bool number_parse(const char *text, int64_t max, int64_t *out)
{
    int64_t n = 0;

    if (*text == '\0')
        return false;
    for (; *text != '\0'; text++) {
        if (*text < '0' || *text > '9' || (n = n * 10 + (*text - '0')) > max)
            return false;
    }
    *out = n;
    return true;
}

/* 16 MiB is what a handful of links may promise; a million MiB is more than any machine has. */
static bool memory_parse(const char *text, int64_t *bytes)
{
    int64_t mib;

    if (!number_parse(text, 1000000, &mib) || mib < 16)
        return false;
    *bytes = mib * 1048576;
    return true;
}

slim_err slim_args_parse(int argc, char **argv, const char *env_config, slim_args *out, char *why, size_t why_n)
{
    bool missing = false;
    const char *value, *config = NULL, *check = NULL;

    *out = (slim_args){.command = SLIM_CMD_RUN, .backend = SLIM_RING_AUTO, .per_address = -1};
    for (int i = 1; i < argc && !missing; i++) {
        const char *arg = argv[i];

        if (strcmp(arg, "-v") == 0 || strcmp(arg, "--version") == 0) {
            out->command = SLIM_CMD_VERSION;
        } else if (strcmp(arg, "-h") == 0 || strcmp(arg, "--help") == 0) {
            out->command = SLIM_CMD_HELP;
        } else if ((value = option_value(argc, argv, &i, "-c", "--config", &missing)) != NULL) {
            config = value;
        } else if ((value = option_value(argc, argv, &i, NULL, "--listen", &missing)) != NULL) {
            out->listen = value;
        } else if ((value = option_value(argc, argv, &i, NULL, "--check-config", &missing)) != NULL) {
            check = value;
        } else if ((value = option_value(argc, argv, &i, NULL, "--io", &missing)) != NULL) {
            if (!missing && !backend_parse(value, &out->backend)) {
                snprintf(why, why_n, "--io: unknown back end \"%s\"; allowed are auto, io_uring, io_uring-6.1, epoll", value);
                return SLIM_E_ARG;
            }
        } else if ((value = option_value(argc, argv, &i, NULL, "--memory", &missing)) != NULL) {
            if (!missing && !memory_parse(value, &out->memory_bytes)) {
                snprintf(why, why_n, "--memory: \"%s\" is no number of MiB from 16 to 1000000", value);
                return SLIM_E_ARG;
            }
        } else if ((value = option_value(argc, argv, &i, NULL, "--per-address", &missing)) != NULL) {
            if (!missing && !number_parse(value, 1000000, &out->per_address)) {
                snprintf(why, why_n, "--per-address: \"%s\" is no number of connections from 0 to 1000000", value);
                return SLIM_E_ARG;
            }
        } else if ((value = option_value(argc, argv, &i, NULL, "--slow-reader", &missing)) != NULL) {
            if (!missing && !number_parse(value, 86400, &out->slow_reader_s)) {
                snprintf(why, why_n, "--slow-reader: \"%s\" is no number of seconds from 0 to 86400", value);
                return SLIM_E_ARG;
            }
        } else if ((value = option_value(argc, argv, &i, NULL, "--placement", &missing)) != NULL) {
            if (!missing && !placement_parse(value, &out->placement)) {
                snprintf(why, why_n, "--placement: \"%s\" is unknown; allowed are follow, fixed, restless", value);
                return SLIM_E_ARG;
            }
        } else {
            snprintf(why, why_n, "unexpected argument \"%s\"; see slimrouter --help", arg);
            return SLIM_E_ARG;
        }
        if (missing)
            snprintf(why, why_n, "%s needs a value; see slimrouter --help", arg);
    }
    if (missing)
        return SLIM_E_ARG;
    if (config != NULL && out->command == SLIM_CMD_VERSION) {
        snprintf(why, why_n, "the argument '--version' cannot be used with '--config <FILE>'");
        return SLIM_E_ARG;
    }
    if (check != NULL) {
        out->command = SLIM_CMD_CHECK;
        config = check;
    } else if (config == NULL && out->listen == NULL) {
        config = env_config;
    }
    if (out->listen != NULL && config != NULL) {
        snprintf(why, why_n, "--listen is for the built-in default; with a configuration the listeners stand in the file \"%s\"",
                 config);
        return SLIM_E_ARG;
    }
    out->config = config;
    return SLIM_OK;
}
