#include <criterion/criterion.h>
#include <stdlib.h>

#include "support/support.h"

static slim_err varint(const char *hex, uint64_t *v, size_t *used)
{
    slim_bytes b = test_hex(hex);
    slim_cur c = slim_cur_of(b);
    slim_err e = slim_cur_varint(&c, v);

    *used = b.n - slim_cur_left(&c);
    free((void *)(uintptr_t)b.p);
    return e;
}

Test(bytes, varint_reads)
{
    static const struct {
        const char *hex;
        slim_err err;
        uint64_t v;
        size_t used;
    } cases[] = {
        {"00", SLIM_OK, 0, 1},
        {"7f", SLIM_OK, 127, 1},
        {"8001", SLIM_OK, 128, 2},
        {"8000", SLIM_OK, 0, 2},
        {"ff8080808000", SLIM_OK, 127, 6},
        {"80808080808080808000", SLIM_OK, 0, 10},
        {"ffffffffffffffff7f", SLIM_OK, UINT64_MAX >> 1, 9},
        {"ffffffffffffffffff01", SLIM_OK, UINT64_MAX, 10},
        {"80808080808080808001", SLIM_OK, (uint64_t)1 << 63, 10},
        {"ffffffffffffffffff02", SLIM_E_VARINT, 0, 0},
        {"8080808080808080808000", SLIM_E_VARINT, 0, 0},
        {"", SLIM_E_TRUNCATED, 0, 0},
        {"80", SLIM_E_TRUNCATED, 0, 0},
        {"ffffffffffffffffff", SLIM_E_TRUNCATED, 0, 0},
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint64_t v = 0;
        size_t used;

        cr_expect_eq(varint(cases[i].hex, &v, &used), cases[i].err, "%s", cases[i].hex);
        cr_expect_eq(used, cases[i].used, "%s", cases[i].hex);
        if (cases[i].err == SLIM_OK)
            cr_expect_eq(v, cases[i].v, "%s", cases[i].hex);
    }
}

Test(bytes, varint_round_trip)
{
    uint64_t seed = test_seed();

    for (int i = 0; i < 20000; i++) {
        uint64_t v = test_rand(&seed) >> (i % 64), back;
        uint8_t buf[SLIM_VARINT_MAX];
        size_t n = (size_t)(slim_varint_put(buf, v) - buf);
        slim_cur c = slim_cur_of(slim_bytes_of(buf, n));

        cr_assert_eq(n, slim_varint_size(v));
        cr_assert_eq(slim_cur_varint(&c, &back), SLIM_OK);
        cr_assert_eq(back, v);
        cr_assert_eq(slim_cur_left(&c), 0);
        c = slim_cur_of(slim_bytes_of(buf, n - 1));
        cr_assert_eq(slim_cur_varint(&c, &back), SLIM_E_TRUNCATED);
    }
}

Test(bytes, sub_takes_a_part)
{
    slim_bytes b = test_hex("03616263 02ff"), sub;
    slim_cur c = slim_cur_of(b);

    cr_assert_eq(slim_cur_sub(&c, &sub), SLIM_OK);
    cr_assert(slim_bytes_eq(sub, slim_bytes_str("abc")));
    cr_assert_eq(sub.p, b.p + 1);
    cr_assert_eq(slim_cur_sub(&c, &sub), SLIM_E_TRUNCATED);
    cr_assert_eq(slim_cur_left(&c), 2, "a failed read must not move the cursor");
    c = slim_cur_of(slim_bytes_of(NULL, 0));
    cr_assert_eq(slim_cur_sub(&c, &sub), SLIM_E_TRUNCATED);
    free((void *)(uintptr_t)b.p);
}

Test(bytes, sub_refuses_huge_lengths)
{
    slim_bytes b = test_hex("ffffffffffffffffff01 00"), long_one = test_hex("ffffffffffffffffffff00"), sub;
    slim_cur c = slim_cur_of(b);

    cr_assert_eq(slim_cur_sub(&c, &sub), SLIM_E_TRUNCATED);
    c = slim_cur_of(long_one);
    cr_assert_eq(slim_cur_sub(&c, &sub), SLIM_E_VARINT);
    free((void *)(uintptr_t)b.p);
    free((void *)(uintptr_t)long_one.p);
}

/* What Rust's str::from_utf8 says, at every place relative to the fast path's blocks. */
static void expect_utf8(const char *hex, bool good)
{
    slim_bytes s = test_hex(hex);

    for (size_t before = 0; before < 80; before++) {
        for (size_t after = 0; after < 34; after += 11) {
            size_t n = before + s.n + after;
            uint8_t *buf = malloc(n + 1);

            memset(buf, 'a', n);
            slim_put(buf + before, s.p, s.n);
            cr_assert_eq(slim_utf8_valid(slim_bytes_of(buf, n)), good, "%s behind %zu", hex, before);
            free(buf);
        }
    }
    free((void *)(uintptr_t)s.p);
}

Test(bytes, utf8)
{
    static const char *const good[] = {"",       "00",     "7f",       "c280",     "dfbf",   "e0a080",  "ed9fbf",
                                       "ee8080", "efbfbf", "f0908080", "f48fbfbf", "e282ac", "c3a9c3a9"};
    static const char *const bad[] = {"80",       "bf",     "c0",     "c080",    "c1bf",     "c2",       "c241",
                                      "c2c2",     "e0",     "e08080", "e09fbf",  "e2",       "e282",     "e28241",
                                      "eda080",   "edbfbf", "f0",     "f09f98",  "f08fbfbf", "f4908080", "f5808080",
                                      "f8888080", "fe",     "ff",     "f09f9841"};

    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        expect_utf8(good[i], true);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        expect_utf8(bad[i], false);
    cr_assert(slim_utf8_valid(slim_bytes_of(NULL, 0)));
}
