#include "bench/histogram.h"

#include <math.h>
#include <stddef.h>

#define LINEAR 2048u
#define STEPS 1024u

static size_t slot_of(uint64_t v)
{
    unsigned shift;

    if (v < LINEAR)
        return (size_t)v;
    if (v >> BENCH_HISTOGRAM_BITS != 0)
        return BENCH_HISTOGRAM_SLOTS - 1;
    shift = 53u - (unsigned)__builtin_clzll(v);
    return (size_t)shift * STEPS + (size_t)(v >> shift);
}

/* The largest value of a slot. */
static uint64_t slot_top(size_t i)
{
    unsigned shift;

    if (i < LINEAR)
        return i;
    shift = (unsigned)(i / STEPS) - 1;
    return (((uint64_t)(i % STEPS) + STEPS + 1) << shift) - 1;
}

void bench_histogram_add(bench_histogram *h, uint64_t v)
{
    if (h->n == 0 || v < h->min)
        h->min = v;
    if (v > h->max)
        h->max = v;
    h->n++;
    h->sum += (double)v;
    h->slot[slot_of(v)]++;
}

void bench_histogram_merge(bench_histogram *h, const bench_histogram *other)
{
    if (other->n == 0)
        return;
    if (h->n == 0 || other->min < h->min)
        h->min = other->min;
    if (other->max > h->max)
        h->max = other->max;
    h->n += other->n;
    h->sum += other->sum;
    for (size_t i = 0; i < BENCH_HISTOGRAM_SLOTS; i++)
        h->slot[i] += other->slot[i];
}

uint64_t bench_histogram_at(const bench_histogram *h, double q)
{
    double wanted = ceil(q * (double)h->n);
    uint64_t rank = wanted < 1 ? 1 : (uint64_t)wanted, seen = 0;

    if (h->n == 0)
        return 0;
    for (size_t i = 0; i < BENCH_HISTOGRAM_SLOTS; i++) {
        seen += h->slot[i];
        if (seen >= rank && h->slot[i] != 0)
            return i + 1 < BENCH_HISTOGRAM_SLOTS && slot_top(i) < h->max ? slot_top(i) : h->max;
    }
    return h->max;
}

double bench_histogram_mean(const bench_histogram *h)
{
    return h->n != 0 ? h->sum / (double)h->n : 0;
}
