/* The modes: each runs a load to its end and reports. Their result is slimbench's exit status. */
#ifndef SLIM_BENCH_MODE_H
#define SLIM_BENCH_MODE_H

#include "bench/report.h"

enum { BENCH_EXIT_FINE = 0, BENCH_EXIT_FAILED = 1, BENCH_EXIT_USAGE = 2, BENCH_EXIT_WRONG = 3 };

int bench_mode_traffic(const bench_options *o);
int bench_mode_connections(const bench_options *o);
int bench_mode_subscriptions(const bench_options *o);
int bench_mode_churn(const bench_options *o);

/* Prints the report and a failure, and says how it ends. */
int bench_mode_end(const bench_load *l, const bench_report *r, const bench_tally *t);

#endif
