/* The command line of slimbench. */
#ifndef SLIM_BENCH_OPTIONS_H
#define SLIM_BENCH_OPTIONS_H

#include "bench/payload.h"

typedef enum bench_mode {
    BENCH_STREAM,
    BENCH_FANOUT,
    BENCH_LATENCY,
    BENCH_REQUEST,
    BENCH_CONNECTIONS,
    BENCH_SUBSCRIPTIONS,
    BENCH_CHURN,
    BENCH_N_MODES
} bench_mode;

typedef enum bench_format { BENCH_TABLE, BENCH_JSON, BENCH_CSV } bench_format;
typedef enum bench_verify { BENCH_VERIFY_SAMPLE, BENCH_VERIFY_ON, BENCH_VERIFY_OFF } bench_verify;

#define BENCH_THREADS_MAX 64

typedef struct bench_options {
    bench_mode mode;
    bool help;
    const char *server;
    const char *ca, *cert, *key;
    bool skip_verify;
    bool no_mac, quick_ack;
    bench_verify verify;
    uint32_t identity_bytes;
    const char *payload_text;
    bench_sizes payload;
    uint32_t publishers, subscribers, threads, links;
    uint64_t count; /* messages of each publisher; 0: for duration_s */
    double duration_s, warmup_s;
    double rate; /* messages a second of all publishers; 0: as fast as it goes */
    uint64_t names, ids, lookups;
    long pid; /* 0: none */
    bench_format format;
} bench_options;

/* False with why: exit status 2. argv[1] is the mode. */
bool bench_options_parse(int argc, char **argv, bench_options *out, char *why, size_t why_n);
const char *bench_mode_name(bench_mode mode);
/* Prints the help; for BENCH_N_MODES the overview. */
void bench_options_help(bench_mode mode);

#endif
