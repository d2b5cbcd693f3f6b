/* Durations of the configuration: sums of whole numbers with units (node.md 2.1). */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "config/config.h"

#define S UINT64_C(1000000000)

static void expect(const char *text, uint64_t wanted)
{
    uint64_t ns = 12345;

    cr_assert_eq(slim_duration_parse(text, &ns), SLIM_OK, "%s", text);
    cr_assert_eq(ns, wanted, "%s is %llu, not %llu", text, (unsigned long long)ns, (unsigned long long)wanted);
}

static void refuse(const char *text)
{
    uint64_t ns = 12345;

    cr_assert_eq(slim_duration_parse(text, &ns), SLIM_E_CONFIG, "\"%s\"", text);
    cr_assert_eq(ns, 12345, "\"%s\" is refused and still writes", text);
}

Test(duration, every_unit)
{
    expect("7ns", 7);
    expect("7us", 7000);
    expect("7ms", 7000000);
    expect("7s", 7 * S);
    expect("7m", 420 * S);
    expect("7h", 7 * 3600 * S);
    expect("7d", 7 * 86400 * S);
    expect("7w", 49 * 86400 * S);
    expect("7y", 7 * 365 * 86400 * S);
}

Test(duration, sums)
{
    expect("1m30s500ms", 90 * S + 500000000);
    expect("1h1m1s1ms1us1ns", 3661 * S + 1001001);
    expect("30s1m", 90 * S);
    expect("1s1s", 2 * S);
    expect("0s", 0);
    expect("0y", 0);
    expect("007s", 7 * S);
}

Test(duration, what_is_none)
{
    static const char *const bad[] = {"",     "5",   "s",    "5 s",  " 5s",  "5s ",  "-5s", "+5s",   "1.5s",
                                      "5S",   "5M",  "5sec", "5min", "1m30", "0x5s", "5µs", "1m,2s", "5s\n",
                                      "1e3s", "ms5", "5sm",  "1ss",  "5n",   "5ſ",   "inf", "5nss"};

    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        refuse(bad[i]);
}

/* 2^64 ns are 584 years and a bit; every number just fitting is exact, one more does not wrap. */
Test(duration, limits)
{
    static const struct {
        const char *unit;
        uint64_t ns;
    } units[] = {{"ns", 1},        {"us", 1000},         {"ms", 1000000},       {"s", S}, {"m", 60 * S}, {"h", 3600 * S},
                 {"d", 86400 * S}, {"w", 7 * 86400 * S}, {"y", 365 * 86400 * S}};
    char text[64];

    for (size_t i = 0; i < sizeof(units) / sizeof(*units); i++) {
        uint64_t most = UINT64_MAX / units[i].ns;

        snprintf(text, sizeof(text), "%llu%s", (unsigned long long)most, units[i].unit);
        expect(text, most * units[i].ns);
        if (most < UINT64_MAX) {
            snprintf(text, sizeof(text), "%llu%s", (unsigned long long)most + 1, units[i].unit);
            expect(text, UINT64_MAX);
        }
    }
    expect("18446744073709551615ns", UINT64_MAX);
    expect("18446744073709551615ns1ns", UINT64_MAX);
    expect("18446744073709551615y", UINT64_MAX);
    expect("584y343d", (UINT64_C(584) * 365 + 343) * 86400 * S);
    expect("584y344d", UINT64_MAX);
    expect("584y344d584y344d1ns", UINT64_MAX);
    refuse("584y344dx");
    refuse("18446744073709551616ns");
    refuse("99999999999999999999999999999999999999ns");
}
