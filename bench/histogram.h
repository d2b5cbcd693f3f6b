/* A histogram of nanoseconds with three exact digits: linear below 2048, then 1024 steps for each power of two. */
#ifndef SLIM_BENCH_HISTOGRAM_H
#define SLIM_BENCH_HISTOGRAM_H

#include <stdint.h>

#define BENCH_HISTOGRAM_BITS 42                                               /* longer than that (73 minutes) counts as that */
#define BENCH_HISTOGRAM_SLOTS ((BENCH_HISTOGRAM_BITS - 11) * 1024 + 2048 + 1) /* the last one for what is longer */

/* Zero is an empty one. */
typedef struct bench_histogram {
    uint64_t n, min, max;
    double sum;
    uint64_t slot[BENCH_HISTOGRAM_SLOTS];
} bench_histogram;

void bench_histogram_add(bench_histogram *h, uint64_t v);
void bench_histogram_merge(bench_histogram *h, const bench_histogram *other);
/* The smallest value that the share q (0 to 1) of all values does not exceed, to three digits, never above max. 0 when empty. */
uint64_t bench_histogram_at(const bench_histogram *h, double q);
double bench_histogram_mean(const bench_histogram *h);

#endif
