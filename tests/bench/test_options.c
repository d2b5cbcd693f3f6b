#include <criterion/criterion.h>
#include <stdio.h>

#include "bench/options.h"
#include "support/support.h"

static bench_options o;
static char why[256];

/* Splits at blanks. */
static bool parse(const char *line)
{
    static char text[512];
    char *argv[40], *save = NULL;
    int argc = 0;

    snprintf(text, sizeof(text), "slimbench %s", line);
    for (char *t = strtok_r(text, " ", &save); t != NULL && argc < 40; t = strtok_r(NULL, " ", &save))
        argv[argc++] = t;
    why[0] = '\0';
    return bench_options_parse(argc, argv, &o, why, sizeof(why));
}

Test(options, defaults)
{
    cr_assert(parse("stream"), "%s", why);
    cr_assert_eq(o.mode, BENCH_STREAM);
    cr_assert_str_eq(o.server, "127.0.0.1:46357");
    cr_assert_eq(o.identity_bytes, 229);
    cr_assert_eq(o.payload.size[0], 64);
    cr_assert_eq(o.publishers, 1);
    cr_assert_eq(o.threads, 1);
    cr_assert_float_eq(o.duration_s, 10, 0);
    cr_assert_float_eq(o.warmup_s, 1, 0);
    cr_assert_float_eq(o.rate, 0, 0);
    cr_assert_eq(o.format, BENCH_TABLE);
    cr_assert_eq(o.verify, BENCH_VERIFY_SAMPLE);
}

Test(options, defaults_of_modes)
{
    cr_assert(parse("latency"));
    cr_assert_float_eq(o.rate, 1000, 0);
    cr_assert(parse("connections"));
    cr_assert_eq(o.links, 1000);
    cr_assert_float_eq(o.duration_s, 1, 0);
    cr_assert(parse("subscriptions"));
    cr_assert_eq(o.links, 1);
    cr_assert_eq(o.names, 100000);
    cr_assert_eq(o.lookups, 100000);
    cr_assert(parse("churn"));
    cr_assert_eq(o.links, 8);
    cr_assert_eq(o.names, 16);
    cr_assert(parse("stream --count 5"));
    cr_assert_float_eq(o.warmup_s, 0, 0);
}

Test(options, all_of_a_stream)
{
    cr_assert(parse("stream --server https://hub:1 --ca a --cert b --key c --no-mac --identity 0 --payload=64-128 --publishers 3 "
                    "--subscribers=2 --duration 1.5 --warmup 0 --rate 1e4 --threads 2 --pid 7 --json --quick-ack --verify-mac off"),
              "%s", why);
    cr_assert_str_eq(o.server, "https://hub:1");
    cr_assert_str_eq(o.ca, "a");
    cr_assert_str_eq(o.cert, "b");
    cr_assert_str_eq(o.key, "c");
    cr_assert(o.no_mac && o.quick_ack && !o.skip_verify);
    cr_assert_eq(o.identity_bytes, 0);
    cr_assert(o.payload.is_range);
    cr_assert_eq(o.publishers, 3);
    cr_assert_eq(o.subscribers, 2);
    cr_assert_float_eq(o.duration_s, 1.5, 0);
    cr_assert_float_eq(o.warmup_s, 0, 0);
    cr_assert_float_eq(o.rate, 10000, 0);
    cr_assert_eq(o.threads, 2);
    cr_assert_eq(o.pid, 7);
    cr_assert_eq(o.format, BENCH_JSON);
    cr_assert_eq(o.verify, BENCH_VERIFY_OFF);
}

Test(options, help)
{
    cr_assert(parse("--help"));
    cr_assert(o.help);
    cr_assert_eq(o.mode, BENCH_N_MODES);
    cr_assert(parse("fanout --help"));
    cr_assert(o.help);
    cr_assert_eq(o.mode, BENCH_FANOUT);
}

Test(options, refused)
{
    /* The line, and what the message has to name. */
    static const struct {
        const char *line, *names;
    } cases[] = {
        {"", "mode"},
        {"streams", "streams"},
        {"--json", "--json"},
        {"stream extra", "extra"},
        {"stream --nothing", "--nothing"},
        {"stream --payloads 3", "--payloads"},
        {"stream --count", "--count"},
        {"stream --count 0", "--count"},
        {"stream --count -1", "-1"},
        {"stream --count 1x", "1x"},
        {"stream --publishers 100001", "100000"},
        {"stream --threads 65", "64"},
        {"stream --payload 64k", "64k"},
        {"stream --rate 0", "--rate"},
        {"stream --rate nan", "nan"},
        {"stream --rate inf", "inf"},
        {"stream --duration -1", "--duration"},
        {"stream --duration 0", "--duration"},
        {"stream --json --csv", "--csv"},
        {"stream --json=yes", "--json"},
        {"stream --count 5 --duration 3", "--duration"},
        {"stream --count 5 --warmup 1", "--warmup"},
        {"stream --cert x", "--key"},
        {"stream --key x", "--cert"},
        {"stream --ca x --insecure-skip-verify", "--ca"},
        {"stream --verify-mac maybe", "maybe"},
        {"stream --links 3", "--links"},
        {"connections --payload 64", "--payload"},
        {"latency --payload 8", "--payload"},
        {"request --payload 8-64", "--payload"},
        {"request --rate 8", "--rate"},
        {"request --subscribers 2", "--subscribers"},
        {"subscriptions --pid 0", "--pid"},
        {"stream --identity 99999", "16384"},
        {"churn --count 3", "--count"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        cr_expect_not(parse(cases[i].line), "%s", cases[i].line);
        cr_expect(strstr(why, cases[i].names) != NULL, "%s: \"%s\" does not name %s", cases[i].line, why, cases[i].names);
    }
}

Test(options, last_one_counts)
{
    cr_assert(parse("stream --payload 1,2 --payload 32"));
    cr_assert_eq(o.payload.n, 1);
    cr_assert_eq(o.payload.size[0], 32);
}
