#include <criterion/criterion.h>
#include <stdlib.h>

#include "bench/payload.h"
#include "support/support.h"

static char why[200];

static bench_sizes sizes(const char *text)
{
    bench_sizes s;

    cr_assert(bench_sizes_parse(text, &s, why, sizeof(why)), "%s: %s", text, why);
    return s;
}

Test(payload, one_size)
{
    bench_sizes s = sizes("64");

    cr_assert_eq(bench_sizes_min(&s), 64);
    cr_assert_eq(bench_sizes_max(&s), 64);
    cr_assert_eq(bench_sizes_of(&s, 3, 99), 64);
}

Test(payload, range)
{
    bench_sizes s = sizes("10-13");
    int seen[4] = {0};

    for (uint64_t i = 0; i < 1000; i++) {
        uint32_t n = bench_sizes_of(&s, 1, i);

        cr_assert(n >= 10 && n <= 13);
        cr_assert_eq(n, bench_sizes_of(&s, 1, i));
        seen[n - 10]++;
    }
    for (int i = 0; i < 4; i++)
        cr_expect_gt(seen[i], 150);
}

Test(payload, list)
{
    bench_sizes s = sizes("16,1024,20");

    cr_assert_eq(bench_sizes_min(&s), 16);
    cr_assert_eq(bench_sizes_max(&s), 1024);
    for (uint64_t i = 0; i < 100; i++) {
        uint32_t n = bench_sizes_of(&s, 0, i);

        cr_assert(n == 16 || n == 1024 || n == 20);
    }
}

Test(payload, malformed_sizes)
{
    static const char *const bad[] = {"",   "-",    "a",     "64k",   "64-",   "-64",       "64-32",
                                      "1,", "1,,2", "1-2-3", "1-2,3", "1,2-3", "999999999", "99999999999999999999"};
    bench_sizes s;

    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        why[0] = '\0';
        cr_expect_not(bench_sizes_parse(bad[i], &s, why, sizeof(why)), "%s", bad[i]);
        cr_expect_neq(why[0], '\0', "%s", bad[i]);
    }
}

Test(payload, every_byte_is_known)
{
    static const size_t lengths[] = {0, 1, 15, 16, 17, 42, 64, 1000, 32759, 32760, 32761, 32776, 32777, 100000};

    for (size_t k = 0; k < sizeof(lengths) / sizeof(*lengths); k++) {
        size_t n = lengths[k];
        uint8_t *p = malloc(n + 1);
        bench_stamp stamp = {12345 + k, 67890}, read = {0};

        p[n] = 0xee;
        bench_payload_put(p, n, stamp);
        cr_assert_eq(p[n], 0xee);
        cr_assert_eq(bench_stamp_read(slim_bytes_of(p, n), &read), n >= BENCH_STAMP_BYTES);
        if (n >= BENCH_STAMP_BYTES)
            cr_assert_eq(read.sequence, stamp.sequence);
        cr_assert(bench_payload_check(slim_bytes_of(p, n), read), "%zu", n);
        for (size_t i = n >= BENCH_STAMP_BYTES ? BENCH_STAMP_BYTES : 0; i < n; i += i % 777 + 1) {
            p[i] ^= 4;
            cr_assert_not(bench_payload_check(slim_bytes_of(p, n), read), "%zu of %zu", i, n);
            p[i] ^= 4;
        }
        free(p);
    }
}

/* The letters of one message do not pass for the next one's. */
Test(payload, letters_follow_the_stamp)
{
    uint8_t p[64];

    bench_payload_put(p, sizeof(p), (bench_stamp){5, 1000});
    cr_assert(bench_payload_check(slim_bytes_of(p, sizeof(p)), (bench_stamp){5, 1000}));
    cr_assert_not(bench_payload_check(slim_bytes_of(p, sizeof(p)), (bench_stamp){6, 1000}));
}
