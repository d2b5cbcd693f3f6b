/* slimrouter: reads the configuration, starts the services, waits for a signal, drains. Stages, texts and exit codes follow
 * node.md 1. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bin/args.h"
#include "bin/logger.h"
#include "bin/memory.h"
#include "bin/service.h"
#include "core/log.h"
#include "io/listen.h"

#ifndef SLIM_BUILD_DATE
#define SLIM_BUILD_DATE "unknown"
#endif
#ifndef SLIM_GIT_SHA
#define SLIM_GIT_SHA ""
#endif

#define DEFAULT_LISTEN "127.0.0.1:46357"
#define WHY_BYTES 768
#define CONFIG_MAX_BYTES (4u * 1024 * 1024)

static const char *const stage_texts[] = {
    [SLIM_CFG_LOAD] = "failed to load configuration",
    [SLIM_CFG_RUNTIME] = "invalid runtime configuration",
    [SLIM_CFG_TRACING] = "invalid tracing configuration",
    [SLIM_CFG_SERVICES] = "error loading services",
};

static int fail(const char *stage, const char *why)
{
    fprintf(stderr, "Error: %s\n\nCaused by:\n    %s\n", stage, why);
    return 1;
}

static slim_err read_file(void *arg, slim_mem *m, const char *path, char **text, size_t *n, const char **reason)
{
    FILE *f = fopen(path, "rbe");
    size_t cap = 65536, used = 0, got;
    char *p = NULL, *q;
    slim_err e = SLIM_OK;

    if (f == NULL) {
        *reason = strerror(errno);
        return SLIM_E_SYS;
    }
    do {
        if (used == cap)
            cap *= 2;
        if (cap > CONFIG_MAX_BYTES * 2) {
            *reason = "larger than 4 MiB";
            e = SLIM_E_TOO_LARGE;
            goto out;
        }
        if ((q = slim_resize(m, p, cap)) == NULL) {
            *reason = "out of memory";
            e = SLIM_E_NOMEM;
            goto out;
        }
        p = q;
        got = fread(p + used, 1, cap - used, f);
        used += got;
    } while (got > 0);
    if (ferror(f)) {
        *reason = strerror(errno);
        e = SLIM_E_SYS;
    }
out:
    fclose(f);
    if (e != SLIM_OK) {
        slim_free(m, p);
        return e;
    }
    *text = p;
    *n = used;
    return SLIM_OK;
}

static const char *environment(void *arg, const char *name)
{
    return getenv(name);
}

static void warn_line(void *arg, const char *line)
{
    fprintf(stderr, "warning: %s\n", line);
}

static slim_err load(const slim_args *args, char **text, slim_cfg **cfg, slim_cfg_stage *stage, char *why, size_t why_n)
{
    static char built_in[512];
    slim_cfg_source src = {.name = "built-in default", .getenv = environment, .read_file = read_file};
    const char *reason = "";

    *stage = SLIM_CFG_LOAD;
    if (args->config != NULL) {
        if (read_file(NULL, &slim_mem_libc, args->config, text, &src.n, &reason) != SLIM_OK) {
            snprintf(why, why_n, "cannot read \"%s\": %s", args->config, reason);
            return SLIM_E_CONFIG;
        }
        src.name = args->config;
        src.text = *text;
    } else {
        const char *listen = args->listen != NULL ? args->listen : DEFAULT_LISTEN;

        for (const char *c = listen; *c != '\0'; c++) {
            if (strchr("\"\\\n", *c) != NULL || strlen(listen) > 300) {
                snprintf(why, why_n, "--listen: \"%s\" is no HOST:PORT", listen);
                return SLIM_E_CONFIG;
            }
        }
        snprintf(built_in, sizeof(built_in),
                 "services: {slim/0: {dataplane: {servers: [{endpoint: \"%s\", tls: {insecure: true}}]}}}\n", listen);
        src.text = built_in;
        src.n = strlen(built_in);
    }
    return slim_cfg_parse(&src, &slim_mem_libc, cfg, warn_line, NULL, stage, why, why_n);
}

static void bad_directive(void *arg, const char *directive)
{
    fprintf(stderr, "ignoring `%s`: invalid filter directive\n", directive);
}

static void set_up_logs(const slim_cfg *cfg)
{
    slim_log_style_now =
        (slim_log_style){.color = true, .thread_names = cfg->display_thread_names, .thread_ids = cfg->display_thread_ids};
    slim_log_configure(cfg->log_level, cfg->filters_default ? NULL : cfg->filters, cfg->filters_default ? 0 : cfg->n_filters,
                       getenv("RUST_LOG"), bad_directive, NULL);
    slim_log_thread_name("main");
}

static void print_version(FILE *to)
{
    fprintf(to, "Version:\t%s\nBuild Date:\t%s\nGit SHA:\t%s\nProfile:\t%s\n", SLIM_VERSION, SLIM_BUILD_DATE, SLIM_GIT_SHA,
            SLIM_PROFILE);
}

/* A client that settles interrupts the wait for a signal. */
static pthread_t main_thread;
static void wake_main(void)
{
    pthread_kill(main_thread, SIGUSR2);
}

typedef struct running {
    slim_service **services;
    size_t n;
} running;

static slim_err start_services(const slim_cfg *cfg, const slim_args *args, const char *file, running *r, uint64_t descriptors,
                               char *why, size_t why_n)
{
    slim_service_options options = {.backend = args->backend,
                                    .per_address_max =
                                        (uint32_t)(args->per_address < 0 ? (int64_t)descriptors / 2 : args->per_address),
                                    .per_address_spares_local = args->per_address < 0,
                                    .slow_reader_ns = (uint64_t)args->slow_reader_s * 1000000000u,
                                    .placement = args->placement,
                                    .memory_bytes = args->memory_bytes};

    /* Each service is a node of its own; together they stay within the limit. */
    if (options.memory_bytes == 0)
        options.memory_bytes = slim_memory_bytes() / 2;
    if (cfg->n_services > 1)
        options.memory_bytes /= (int64_t)cfg->n_services;
    if ((r->services = slim_zalloc(&slim_mem_libc, cfg->n_services, sizeof(*r->services))) == NULL) {
        snprintf(why, why_n, "out of memory");
        return SLIM_E_NOMEM;
    }
    for (; r->n < cfg->n_services; r->n++) {
        slim_err e = slim_service_start(cfg, &cfg->services[r->n], file, &options, &r->services[r->n], why, why_n);

        if (e != SLIM_OK)
            return e;
    }
    return SLIM_OK;
}

/* SLIM_OK: every client of every service was connected once. */
static slim_err clients_state(const running *r, char *why, size_t why_n)
{
    slim_err all = SLIM_OK;

    for (size_t i = 0; i < r->n; i++) {
        slim_err e = slim_service_clients(r->services[i], why, why_n);

        if (e == SLIM_E_AGAIN)
            all = e;
        else if (e != SLIM_OK)
            return e;
    }
    return all;
}

static bool drain_services(const running *r, uint64_t timeout_ns)
{
    uint64_t due = slim_clock_ns() + timeout_ns;
    bool in_time = true;

    for (size_t i = 0; i < r->n; i++) {
        uint64_t now = slim_clock_ns();

        slim_log(SLIM_INFO, SERVICE, "stopping service");
        in_time &= slim_service_drain(r->services[i], due > now ? due - now : 0);
    }
    return in_time;
}

static int run(const slim_args *args, const slim_cfg *cfg)
{
    const char *file = args->config != NULL ? args->config : "built-in default";
    char why[WHY_BYTES] = "";
    running r = {NULL, 0};
    bool started = false, in_time;
    int code = 0, got = 0;
    uint64_t descriptors;
    sigset_t set;
    slim_err e;

    /* Blocked before any thread starts, so that only this thread takes them. */
    main_thread = pthread_self();
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGUSR2);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    descriptors = slim_nofile_raise();
    slim_service_on_settled = wake_main;
    slim_log(SLIM_INFO, RUNNER, "build_info=Version:\t%s", SLIM_VERSION);
    if (start_services(cfg, args, file, &r, descriptors, why, sizeof(why)) != SLIM_OK) {
        code = fail("failed to start service", why);
        goto out;
    }
    slim_log(SLIM_INFO, SERVICE, "no controller configuration provided, skipping controller startup");
    if (args->config == NULL) {
        printf("slimrouter %s listens on http://%s (plaintext, header MAC required, %s).\n", SLIM_VERSION,
               slim_service_endpoint(r.services[0]), slim_service_backend(r.services[0]));
        printf("Next: point a SLIM client at that address, e.g. new_insecure_client_config(\"http://%s\") of slim-bindings; stop "
               "with Ctrl-C.\n",
               slim_service_endpoint(r.services[0]));
        fflush(stdout);
    }
    while (got != SIGINT && got != SIGTERM) {
        e = clients_state(&r, why, sizeof(why));
        if (e != SLIM_OK && e != SLIM_E_AGAIN && !started) {
            code = fail("failed to start service", why);
            break;
        }
        if (e == SLIM_OK && !started) {
            started = true;
            for (size_t i = 0; i < r.n; i++)
                slim_log(SLIM_INFO, RUNNER, "service started service=%s", cfg->services[i].key);
        }
        sigwait(&set, &got);
    }
    if (code == 0)
        slim_log(SLIM_INFO, SIGNAL, "received signal, starting shutdown signal=%s", got == SIGINT ? "SIGINT" : "SIGTERM");
    in_time = drain_services(&r, cfg->drain_timeout_ns);
    if (!in_time && code == 0) {
        slim_log(SLIM_WARN, RUNNER, "Service shutdown timed out timeout=%llus",
                 (unsigned long long)(cfg->drain_timeout_ns / 1000000000u));
        fprintf(stderr, "Error: Service shutdown timed out after %llus\n",
                (unsigned long long)(cfg->drain_timeout_ns / 1000000000u));
        code = 1;
    }
out:
    for (size_t i = 0; i < r.n; i++)
        slim_service_free(r.services[i]);
    slim_free(&slim_mem_libc, r.services);
    slim_logger_stop();
    /* Upstream has no handler before its services stand: a stop while a client still dials ends by the signal itself. */
    if (code == 0 && !started && (got == SIGTERM || got == SIGINT)) {
        signal(got, SIG_DFL);
        pthread_sigmask(SIG_UNBLOCK, &set, NULL);
        raise(got);
    }
    return code;
}

static int check(const slim_args *args, const slim_cfg *cfg)
{
    char why[WHY_BYTES];

    for (size_t i = 0; i < cfg->n_services; i++)
        if (slim_service_check(&cfg->services[i], args->config, why, sizeof(why)) != SLIM_OK)
            return fail("failed to start service", why);
    printf("%s: the configuration is right\n", args->config);
    return 0;
}

int main(int argc, char **argv)
{
    char why[WHY_BYTES], *text = NULL;
    slim_cfg_stage stage;
    slim_cfg *cfg = NULL;
    slim_args args;
    int code;

    if (slim_args_parse(argc, argv, getenv("CONFIG"), &args, why, sizeof(why)) != SLIM_OK) {
        fprintf(stderr, "error: %s\n", why);
        return 2;
    }
    if (args.command == SLIM_CMD_HELP) {
        fputs(slim_args_help(), stdout);
        return 0;
    }
    if (args.command == SLIM_CMD_VERSION) {
        print_version(stdout);
        return 0;
    }
    if (load(&args, &text, &cfg, &stage, why, sizeof(why)) != SLIM_OK) {
        code = fail(stage_texts[stage], why);
    } else if (args.command == SLIM_CMD_CHECK) {
        code = check(&args, cfg);
    } else {
        set_up_logs(cfg);
        code = slim_logger_start() != SLIM_OK ? fail("failed to start service", "cannot start the log thread") : run(&args, cfg);
    }
    slim_cfg_free(cfg);
    slim_free(&slim_mem_libc, text);
    return code;
}
