#include <criterion/criterion.h>
#include <string.h>
#include <stdlib.h>

#include "bench/histogram.h"
#include "support/support.h"

static bench_histogram a, b;

Test(histogram, empty)
{
    cr_assert_eq(bench_histogram_at(&a, 0.5), 0);
    cr_assert_float_eq(bench_histogram_mean(&a), 0, 0);
}

Test(histogram, small_values_are_exact)
{
    for (uint64_t v = 0; v < 1000; v++)
        bench_histogram_add(&a, v);
    cr_assert_eq(bench_histogram_at(&a, 0), 0);
    cr_assert_eq(bench_histogram_at(&a, 0.5), 499);
    cr_assert_eq(bench_histogram_at(&a, 0.99), 989);
    cr_assert_eq(bench_histogram_at(&a, 0.999), 998);
    cr_assert_eq(bench_histogram_at(&a, 1), 999);
    cr_assert_eq(a.min, 0);
    cr_assert_eq(a.max, 999);
    cr_assert_float_eq(bench_histogram_mean(&a), 499.5, 1e-9);
}

/* A single value, and the same with a larger one above it that does not cut it to the maximum: three digits, never below. */
Test(histogram, three_digits)
{
    uint64_t seed = test_seed();

    for (int i = 0; i < 3000; i++) {
        uint64_t v = test_rand(&seed) >> (64 - BENCH_HISTOGRAM_BITS + i % BENCH_HISTOGRAM_BITS), found;

        memset(&a, 0, sizeof(a));
        bench_histogram_add(&a, v);
        cr_assert_eq(bench_histogram_at(&a, 0.5), v, "%llu", (unsigned long long)v);
        bench_histogram_add(&a, UINT64_MAX);
        found = bench_histogram_at(&a, 0.5);
        cr_assert(found >= v && found - v <= v / 1000, "%llu became %llu", (unsigned long long)v, (unsigned long long)found);
    }
}

Test(histogram, borders_of_powers)
{
    for (unsigned bit = 11; bit <= BENCH_HISTOGRAM_BITS; bit++) {
        for (int d = -1; d <= (bit < BENCH_HISTOGRAM_BITS ? 1 : -1); d++) {
            uint64_t v = ((uint64_t)1 << bit) + (uint64_t)(int64_t)d, found;

            memset(&a, 0, sizeof(a));
            bench_histogram_add(&a, v);
            bench_histogram_add(&a, UINT64_MAX);
            found = bench_histogram_at(&a, 0.5);
            cr_assert(found >= v && found - v <= v / 1000, "%llu became %llu", (unsigned long long)v, (unsigned long long)found);
        }
    }
}

Test(histogram, beyond_the_last_slot)
{
    bench_histogram_add(&a, UINT64_MAX);
    bench_histogram_add(&a, (uint64_t)1 << BENCH_HISTOGRAM_BITS);
    cr_assert_eq(bench_histogram_at(&a, 0.5), UINT64_MAX);
    cr_assert_eq(a.max, UINT64_MAX);
}

static int by_size(const void *x, const void *y)
{
    uint64_t p = *(const uint64_t *)x, q = *(const uint64_t *)y;

    return p < q ? -1 : p > q;
}

Test(histogram, merge_is_as_one)
{
    enum { N = 20000 };
    static uint64_t all[N];
    static const double points[] = {0.01, 0.5, 0.9, 0.99, 0.999, 1};
    uint64_t seed = test_seed();

    for (int i = 0; i < N; i++) {
        all[i] = test_rand(&seed) % 50000000;
        bench_histogram_add(i % 3 == 0 ? &a : &b, all[i]);
    }
    bench_histogram_merge(&a, &b);
    cr_assert_eq(a.n, N);
    qsort(all, N, sizeof(*all), by_size);
    cr_assert_eq(a.min, all[0]);
    cr_assert_eq(a.max, all[N - 1]);
    for (size_t i = 0; i < sizeof(points) / sizeof(*points); i++) {
        size_t rank = (size_t)(points[i] * N + 0.999999);
        uint64_t exact = all[rank - 1], found = bench_histogram_at(&a, points[i]);

        cr_expect(found >= exact && found - exact <= exact / 1000 + 1, "at %g: %llu is %llu", points[i], (unsigned long long)exact,
                  (unsigned long long)found);
    }
}

Test(histogram, merge_with_empty)
{
    bench_histogram_add(&a, 7);
    bench_histogram_merge(&a, &b);
    cr_assert_eq(a.min, 7);
    bench_histogram_merge(&b, &a);
    cr_assert_eq(b.min, 7);
    cr_assert_eq(b.n, 1);
}
