#include "bench/options.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define SERVER "127.0.0.1:46357"

static const struct {
    const char *name, *what;
} modes[BENCH_N_MODES] = {
    [BENCH_STREAM] = {"stream", "publishers to subscribers, one to one, as fast as the windows allow or at --rate"},
    [BENCH_FANOUT] = {"fanout", "each message goes to all subscribers of one name"},
    [BENCH_LATENCY] = {"latency",
                       "one to one at a fixed rate; latency counts from when a message was due, not from when it was sent"},
    [BENCH_REQUEST] = {"request", "one message in flight per publisher, which its subscriber sends back"},
    [BENCH_CONNECTIONS] = {"connections", "opens idle links and holds them"},
    [BENCH_SUBSCRIPTIONS] = {"subscriptions", "subscribes to many names or ids, then publishes to random ones of them"},
    [BENCH_CHURN] = {"churn", "links and subscriptions come and go while a stream runs"},
};

#define M(mode) (1u << (mode))
#define TRAFFIC (M(BENCH_STREAM) | M(BENCH_FANOUT) | M(BENCH_LATENCY) | M(BENCH_REQUEST) | M(BENCH_CHURN))
#define ALL (M(BENCH_N_MODES) - 1)

typedef enum kind { TEXT, FLAG, WHOLE32, WHOLE64, REAL, PID, SIZES, ON_OFF } kind;

typedef struct option {
    const char *name;
    kind kind;
    unsigned modes;
    size_t offset;
    double min, max;
    const char *value, *what;
} option;

#define AT(field) offsetof(bench_options, field)
#define MILLION 1000000.0

static const option options[] = {
    {"--server", TEXT, ALL, AT(server), 0, 0, "ADDRESS", "host:port, http://..., https://... or unix:///path [" SERVER "]"},
    {"--ca", TEXT, ALL, AT(ca), 0, 0, "FILE", "PEM file with the roots that https trusts [those of the system]"},
    {"--cert", TEXT, ALL, AT(cert), 0, 0, "FILE", "PEM certificate to present (mTLS)"},
    {"--key", TEXT, ALL, AT(key), 0, 0, "FILE", "its PEM key"},
    {"--insecure-skip-verify", FLAG, ALL, AT(skip_verify), 0, 0, NULL, "https without a look at the node's certificate"},
    {"--no-mac", FLAG, ALL, AT(no_mac), 0, 0, NULL, "offer no key, so that no header carries a MAC; the node must allow it"},
    {"--verify-mac", ON_OFF, ALL & ~M(BENCH_CONNECTIONS), AT(verify), 0, 0, "WHEN",
     "on, off, or sample: the MACs of received headers, one in 64 of them [sample]"},
    {"--identity", WHOLE32, ALL & ~M(BENCH_CONNECTIONS), AT(identity_bytes), 0, BENCH_IDENTITY_MAX_BYTES, "BYTES",
     "length of the identity token, a fresh one in each message [229]"},
    {"--payload", SIZES, TRAFFIC | M(BENCH_SUBSCRIPTIONS), AT(payload_text), 0, 0, "BYTES",
     "64, any of 64-4096, or one of 64,1024 [64]"},
    {"--publishers", WHOLE32, TRAFFIC, AT(publishers), 1, 100000, "N", "links that publish [1]"},
    {"--subscribers", WHOLE32, TRAFFIC, AT(subscribers), 1, 100000, "N", "links that receive; publisher i sends to i modulo N [1]"},
    {"--links", WHOLE32, M(BENCH_CONNECTIONS) | M(BENCH_SUBSCRIPTIONS) | M(BENCH_CHURN), AT(links), 1, MILLION, "N",
     "links to open; for churn: that come and go [1000; 1; 8]"},
    {"--names", WHOLE64, M(BENCH_SUBSCRIPTIONS) | M(BENCH_CHURN), AT(names), 1, 100 * MILLION, "N",
     "names to subscribe to; for churn: on each link [100000; 16]"},
    {"--ids", WHOLE64, M(BENCH_SUBSCRIPTIONS), AT(ids), 1, 100 * MILLION, "N", "ids of one name in their place"},
    {"--lookups", WHOLE64, M(BENCH_SUBSCRIPTIONS), AT(lookups), 0, 1e12, "N", "messages to random ones of them [100000]"},
    {"--count", WHOLE64, TRAFFIC & ~M(BENCH_CHURN), AT(count), 1, 1e15, "N", "messages of each publisher, in place of --duration"},
    {"--duration", REAL, TRAFFIC | M(BENCH_CONNECTIONS), AT(duration_s), 0, MILLION, "SECONDS",
     "how long to measure; for connections: to hold the links [10; 1]"},
    {"--warmup", REAL, TRAFFIC, AT(warmup_s), 0, MILLION, "SECONDS", "traffic in front of that which is not measured [1]"},
    {"--rate", REAL, TRAFFIC & ~M(BENCH_REQUEST), AT(rate), 0.001, 1e9, "PER_SECOND",
     "messages of all publishers together [as fast as it goes; latency: 1000]"},
    {"--threads", WHOLE32, ALL, AT(threads), 1, BENCH_THREADS_MAX, "N", "threads that the links are split over [1]"},
    {"--pid", PID, ALL, AT(pid), 1, 4194304, "PID", "the node's process, to report its CPU and memory"},
    {"--quick-ack", FLAG, ALL, AT(quick_ack), 0, 0, NULL, "acknowledge every receive at once; without it only those under 16 KiB"},
    {"--json", FLAG, ALL, 0, 0, 0, NULL, "report as one line of JSON"},
    {"--csv", FLAG, ALL, 0, 0, 0, NULL, "report as a header line and a line of values"},
};
#define N_OPTIONS (sizeof(options) / sizeof(*options))

const char *bench_mode_name(bench_mode mode)
{
    return modes[mode].name;
}

void bench_options_help(bench_mode mode)
{
    printf("slimbench, load for a SLIM node\n\nUsage: slimbench %s [options]\n\n",
           mode == BENCH_N_MODES ? "MODE" : modes[mode].name);
    if (mode == BENCH_N_MODES) {
        printf("Modes (slimbench MODE --help lists the options of one):\n");
        for (int i = 0; i < BENCH_N_MODES; i++)
            printf("  %-14s %s\n", modes[i].name, modes[i].what);
    } else {
        printf("%c%s.\n\nOptions:\n", toupper((unsigned char)modes[mode].what[0]), modes[mode].what + 1);
        for (size_t i = 0; i < N_OPTIONS; i++) {
            const option *o = &options[i];
            char left[64];

            if ((o->modes & M(mode)) == 0)
                continue;
            snprintf(left, sizeof(left), "%s %s", o->name, o->value != NULL ? o->value : "");
            printf("  %-26s %s\n", left, o->what);
        }
    }
    printf("\nExit status: 0 all well, 1 the run was not possible or a link was lost, 2 wrong usage,\n"
           "3 messages were lost, duplicated, out of order or corrupt. Ctrl-C ends early with the report.\n");
}

static bool real_parse(const option *o, const char *text, double *out, char *why, size_t why_n)
{
    char *end;

    errno = 0;
    *out = strtod(text, &end);
    if (end == text || *end != '\0' || errno != 0 || !isfinite(*out) || *out < o->min || *out > o->max ||
        isspace((unsigned char)*text)) {
        snprintf(why, why_n, "%s: \"%s\" is no number from %.15g to %.15g", o->name, text, o->min, o->max);
        return false;
    }
    return true;
}

static bool whole_parse(const option *o, const char *text, uint64_t *out, char *why, size_t why_n)
{
    char *end;

    errno = 0;
    *out = strtoull(text, &end, 10);
    if (*text < '0' || *text > '9' || *end != '\0' || errno != 0 || (double)*out < o->min || (double)*out > o->max) {
        snprintf(why, why_n, "%s: \"%s\" is no whole number from %.15g to %.15g", o->name, text, o->min, o->max);
        return false;
    }
    return true;
}

static bool value_take(const option *o, const char *text, bench_options *out, char *why, size_t why_n)
{
    void *field = (char *)out + o->offset;
    char inner[160];
    uint64_t v;

    switch (o->kind) {
    case TEXT: *(const char **)field = text; return true;
    case REAL: return real_parse(o, text, field, why, why_n);
    case WHOLE64: return whole_parse(o, text, field, why, why_n);
    case WHOLE32:
        if (!whole_parse(o, text, &v, why, why_n))
            return false;
        *(uint32_t *)field = (uint32_t)v;
        return true;
    case PID:
        if (!whole_parse(o, text, &v, why, why_n))
            return false;
        *(long *)field = (long)v;
        return true;
    case SIZES:
        *(const char **)field = text;
        if (bench_sizes_parse(text, &out->payload, inner, sizeof(inner)))
            return true;
        snprintf(why, why_n, "%s: %s", o->name, inner);
        return false;
    case ON_OFF:
        if (strcmp(text, "on") == 0)
            out->verify = BENCH_VERIFY_ON;
        else if (strcmp(text, "off") == 0)
            out->verify = BENCH_VERIFY_OFF;
        else if (strcmp(text, "sample") == 0)
            out->verify = BENCH_VERIFY_SAMPLE;
        else {
            snprintf(why, why_n, "%s: \"%s\" is none of on, off, sample", o->name, text);
            return false;
        }
        return true;
    case FLAG: return false;
    }
    return false;
}

static const option *option_find(const char *arg, const char **value)
{
    for (size_t i = 0; i < N_OPTIONS; i++) {
        size_t n = strlen(options[i].name);

        *value = NULL;
        if (strncmp(arg, options[i].name, n) != 0)
            continue;
        if (arg[n] == '=')
            *value = arg + n + 1;
        if (arg[n] == '=' || arg[n] == '\0')
            return &options[i];
    }
    return NULL;
}

static void modes_list(char *out, size_t n)
{
    size_t at = 0;

    for (int i = 0; i < BENCH_N_MODES && at < n; i++)
        at += (size_t)snprintf(out + at, n - at, "%s%s", i == 0 ? "" : ", ", modes[i].name);
}

static bool mode_find(const char *arg, bench_options *out, char *why, size_t why_n)
{
    char list[160];

    for (int i = 0; i < BENCH_N_MODES; i++) {
        if (strcmp(arg, modes[i].name) == 0) {
            out->mode = (bench_mode)i;
            return true;
        }
    }
    modes_list(list, sizeof(list));
    snprintf(why, why_n, "there is no mode \"%s\"; there are %s; see slimbench --help", arg, list);
    return false;
}

static void defaults_fill(bench_options *o)
{
    static const uint32_t links[BENCH_N_MODES] = {[BENCH_CONNECTIONS] = 1000, [BENCH_SUBSCRIPTIONS] = 1, [BENCH_CHURN] = 8};

    if (o->duration_s < 0)
        o->duration_s = o->mode == BENCH_CONNECTIONS ? 1 : 10;
    if (o->warmup_s < 0)
        o->warmup_s = o->count != 0 ? 0 : 1;
    if (o->rate <= 0 && o->mode == BENCH_LATENCY)
        o->rate = 1000;
    if (o->links == 0)
        o->links = links[o->mode];
    if (o->names == 0)
        o->names = o->mode == BENCH_CHURN ? 16 : 100000;
}

static bool together(const bench_options *o, bool has_duration, char *why, size_t why_n)
{
    bool timed = o->mode == BENCH_LATENCY || o->mode == BENCH_REQUEST;

    if ((o->cert == NULL) != (o->key == NULL))
        snprintf(why, why_n, "--cert and --key go together: %s is missing", o->cert == NULL ? "--cert" : "--key");
    else if (o->count != 0 && has_duration)
        snprintf(why, why_n, "--count and --duration exclude each other: each says when to end; leave one out");
    else if (o->count != 0 && o->warmup_s > 0)
        snprintf(why, why_n, "--warmup goes with --duration, not with --count: all counted messages are measured; leave it out");
    else if ((timed || o->mode == BENCH_SUBSCRIPTIONS) && bench_sizes_min(&o->payload) < BENCH_STAMP_BYTES)
        snprintf(why, why_n, "--payload: %u bytes are too few in mode %s, which needs %d for a number and a time",
                 bench_sizes_min(&o->payload), modes[o->mode].name, BENCH_STAMP_BYTES);
    else if (has_duration && o->duration_s <= 0 && o->mode != BENCH_CONNECTIONS)
        snprintf(why, why_n, "--duration: nothing can be measured in 0 seconds; 0.1 is the least that makes sense");
    else if (o->skip_verify && o->ca != NULL)
        snprintf(why, why_n, "--ca and --insecure-skip-verify exclude each other: nothing is verified; leave one out");
    else if (o->mode == BENCH_REQUEST && o->publishers < o->subscribers)
        snprintf(why, why_n, "--subscribers: %u are more than the %u publishers; some would have nothing to do", o->subscribers,
                 o->publishers);
    else
        return true;
    return false;
}

bool bench_options_parse(int argc, char **argv, bench_options *out, char *why, size_t why_n)
{
    bool json = false, csv = false, has_duration;
    const char *value;

    *out = (bench_options){.mode = BENCH_N_MODES,
                           .server = SERVER,
                           .identity_bytes = 229,
                           .payload_text = "64",
                           .publishers = 1,
                           .subscribers = 1,
                           .threads = 1,
                           .duration_s = -1,
                           .warmup_s = -1,
                           .lookups = 100000};
    out->payload = (bench_sizes){.n = 1, .size = {64}};
    if (argc < 2) {
        snprintf(why, why_n, "a mode is missing; see slimbench --help");
        return false;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0) {
        out->help = true;
        return true;
    }
    if (!mode_find(argv[1], out, why, why_n))
        return false;
    for (int i = 2; i < argc; i++) {
        const option *o = option_find(argv[i], &value);

        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            out->help = true;
            return true;
        }
        if (o == NULL) {
            snprintf(why, why_n, "unexpected argument \"%s\"; see slimbench %s --help", argv[i], modes[out->mode].name);
            return false;
        }
        if ((o->modes & M(out->mode)) == 0) {
            snprintf(why, why_n, "%s means nothing in mode %s; see slimbench %s --help", o->name, modes[out->mode].name,
                     modes[out->mode].name);
            return false;
        }
        if (o->kind == FLAG && value != NULL) {
            snprintf(why, why_n, "%s takes no value, it got \"%s\"", o->name, value);
            return false;
        }
        if (strcmp(o->name, "--json") == 0) {
            json = true;
        } else if (strcmp(o->name, "--csv") == 0) {
            csv = true;
        } else if (o->kind == FLAG) {
            *(bool *)((char *)out + o->offset) = true;
        } else {
            if (value == NULL && i + 1 >= argc) {
                snprintf(why, why_n, "%s needs a value: %s", o->name, o->what);
                return false;
            }
            if (!value_take(o, value != NULL ? value : argv[++i], out, why, why_n))
                return false;
        }
    }
    if (json && csv) {
        snprintf(why, why_n, "--json and --csv exclude each other; leave one out");
        return false;
    }
    out->format = json ? BENCH_JSON : csv ? BENCH_CSV : BENCH_TABLE;
    has_duration = out->duration_s >= 0;
    if (!together(out, has_duration, why, why_n))
        return false;
    defaults_fill(out);
    return true;
}
