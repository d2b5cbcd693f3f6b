#include <criterion/criterion.h>
#include <stdlib.h>

#include "auth/negotiation.h"

/* What the grammar of semver 2.0.0 allows, and what Rust's semver crate adds: the three numbers fit 64 bits. */
static const char *const good[] = {
    "0.0.0",
    "0.0.1",
    "3.4.6",
    "1.2.3-rc.1+b",
    "10.20.30",
    "1.0.0-alpha",
    "1.0.0-alpha.1",
    "1.0.0-0.3.7",
    "1.0.0-x.7.z.92",
    "1.0.0-x-y-z.--",
    "1.0.0--",
    "1.0.0---.-.-",
    "1.0.0-0",
    "1.0.0-0a",
    "1.0.0-00a",
    "1.0.0-0-0",
    "1.0.0-00-",
    "1.0.0-alpha+001",
    "1.0.0+20130313144700",
    "1.0.0+00.01.-.0--",
    "1.0.0+21AF26D3---117B344092BD",
    "1.2.3----RC-SNAPSHOT.12.9.1--.12",
    "1.2.3----RC-SNAPSHOT.12.9.1--.12+788",
    "1.2.3+a-b",
    "18446744073709551615.18446744073709551615.18446744073709551615",
    /* identifiers are text: they have no largest number */
    "1.2.3-18446744073709551616",
    "1.2.3-99999999999999999999999999999999999999",
    "1.2.3+99999999999999999999999999999999999999",
};

static const char *const bad[] = {
    "",
    "banana",
    "1",
    "1.2",
    "1.2.",
    "1..3",
    ".2.3",
    "1.2.3.",
    "1.2.3.4",
    "v1.2.3",
    "V1.2.3",
    "=1.2.3",
    "^1.2.3",
    "01.2.3",
    "1.02.3",
    "1.2.03",
    "00.0.0",
    "0.00.0",
    "1.2.3-",
    "1.2.3+",
    "1.2.3-+",
    "1.2.3-+b",
    "1.2.3-a+",
    "1.2.3-a..b",
    "1.2.3-.a",
    "1.2.3-a.",
    "1.2.3+a..b",
    "1.2.3+.a",
    "1.2.3+a.",
    "1.2.3+a+b",
    "1.2.3-01",
    "1.2.3-a.00",
    "1.2.3-0123.a",
    "1.2.3-a_b",
    "1.2.3-a b",
    "1.2.3+a_b",
    "1.2.3a",
    "1.2.3 ",
    " 1.2.3",
    "1.2.3\n",
    "1. 2.3",
    "1.2.3-\xc3\xa4",
    "1.2.x",
    "1.2.*",
    "*",
    "-1.2.3",
    "+1.2.3",
    "1.-2.3",
    "1.2.+3",
    "0x1.2.3",
    "1,2,3",
    "18446744073709551616.0.0",
    "0.18446744073709551616.0",
    "0.0.18446744073709551616",
    "18446744073709551620.0.0",
    "99999999999999999999.0.0",
    "184467440737095516150.0.0",
    "340282366920938463463374607431768211456.0.0",
};

Test(semver, good)
{
    for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++)
        cr_expect(slim_version_valid(slim_bytes_str(good[i])), "\"%s\"", good[i]);
}

Test(semver, bad)
{
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        cr_expect_not(slim_version_valid(slim_bytes_str(bad[i])), "\"%s\"", bad[i]);
    cr_expect_not(slim_version_valid(slim_bytes_of(NULL, 0)));
}

/* The length counts, not a NUL. */
Test(semver, nul_bytes)
{
    cr_expect_not(slim_version_valid(slim_bytes_of("1.2.3\0", 6)));
    cr_expect_not(slim_version_valid(slim_bytes_of("1.2.3\0-", 7)));
    cr_expect_not(slim_version_valid(slim_bytes_of("1.\0002.3", 6)));
    cr_expect_not(slim_version_valid(slim_bytes_of("1.2.3-a\0b", 9)));
    cr_expect_not(slim_version_valid(slim_bytes_of("\0", 1)));
    cr_expect(slim_version_valid(slim_bytes_of("1.2.3x", 5)));
}

/* A version that is cut or has a byte replaced is read to its end and no further: the memory behind it is exactly sized. */
Test(semver, any_cut_and_any_byte)
{
    static const char whole[] = "12.0.345-rc.1.x.y+b.007";

    for (size_t n = 0; n < sizeof(whole); n++) {
        char *cut = malloc(n + (n == 0));
        bool valid;

        memcpy(cut, whole, n);
        valid = slim_version_valid(slim_bytes_of(cut, n));
        /* Behind the third number every cut is valid that does not end with a separator; the NUL at the end is none. */
        cr_assert_eq(valid, n >= 6 && n < sizeof(whole) && strchr("-.+", whole[n - 1]) == NULL, "%zu bytes", n);
        free(cut);
    }
    for (size_t at = 0; at < sizeof(whole) - 1; at++) {
        for (int c = 0; c < 256; c++) {
            char other[sizeof(whole)];

            memcpy(other, whole, sizeof(whole));
            other[at] = (char)c;
            if (c == 0 || c >= 0x80 || strchr(" _/:@[`{~*=\t\n", c) != NULL)
                cr_assert_not(slim_version_valid(slim_bytes_of(other, sizeof(other) - 1)), "byte %d at %zu", c, at);
        }
    }
}

Test(semver, long_ones)
{
    size_t n = 100000;
    char *text = malloc(n);

    memset(text, '9', n);
    cr_expect_not(slim_version_valid(slim_bytes_of(text, n)));
    slim_put((uint8_t *)text, "1.2.3-", 6);
    cr_expect(slim_version_valid(slim_bytes_of(text, n)));
    for (size_t i = 7; i < n; i += 2)
        text[i] = '.';
    cr_assert_eq(text[n - 1], '.');
    cr_expect_not(slim_version_valid(slim_bytes_of(text, n)));
    cr_expect(slim_version_valid(slim_bytes_of(text, n - 1)));
    free(text);
}
