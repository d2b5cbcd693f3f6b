/* What a run found, as a table, as one line of JSON or as CSV. */
#ifndef SLIM_BENCH_REPORT_H
#define SLIM_BENCH_REPORT_H

#include "bench/load.h"

#define BENCH_REPORT_MAX 64
#define BENCH_WARNINGS_MAX 8

typedef struct bench_item {
    const char *key, *label, *unit; /* key: of JSON and CSV; label NULL: not in the table */
    bool is_text, is_missing;
    int digits;
    double number;
    char text[128];
} bench_item;

typedef struct bench_report {
    uint32_t n, n_warnings;
    bench_item item[BENCH_REPORT_MAX];
    char warning[BENCH_WARNINGS_MAX][256];
} bench_report;

void bench_report_text(bench_report *r, const char *key, const char *label, const char *text);
void bench_report_number(bench_report *r, const char *key, const char *label, double v, int digits, const char *unit);
void bench_report_warn(bench_report *r, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The parts that modes share. */
void bench_report_setup(bench_report *r, const bench_load *l);
void bench_report_latency(bench_report *r, const bench_histogram *h, const char *prefix, const char *label);
void bench_report_tally(bench_report *r, const bench_tally *t);
/* CPU of the node and of the threads in the window per event; what: "message". */
void bench_report_cost(bench_report *r, const bench_load *l, double events, const char *what);
void bench_report_print(const bench_report *r, bench_format format);

#endif
