#include <criterion/criterion.h>
#include <string.h>

#include "core/log.h"

static char got[8192];
static size_t got_n;
static int n_bad;

static void take(void *arg, const char *line, size_t n)
{
    memcpy(got + got_n, line, n);
    got_n += n;
    got[got_n] = '\0';
}

static uint64_t wall(void)
{
    return UINT64_C(1795460650956856000);
}
static void bad(void *arg, const char *directive)
{
    n_bad++;
}

static void open_log(const char *level)
{
    got_n = 0;
    slim_log_set_sink(take, NULL, wall);
    slim_log_style_now = (slim_log_style){.thread_names = true};
    slim_log_thread_name("main");
    slim_log_configure(level, NULL, 0, NULL, bad, NULL);
}

Test(log, line_form)
{
    open_log("info");
    slim_log_write_xt(SLIM_INFO, SLIM_T_SERVICE, 811, "dataplane server started endpoint=%s", "127.0.0.1:1");
    cr_assert_str_eq(got,
                     "2026-11-23T19:04:10.956856Z  INFO main slim_service: 811: dataplane server started endpoint=127.0.0.1:1\n");
    got_n = 0;
    slim_log_style_now.color = true;
    slim_log_write_xt(SLIM_WARN, SLIM_T_DATAPATH, 1, "x");
    cr_assert_not_null(strstr(got, "\x1b[33m WARN\x1b[0m"), "%s", got);
}

Test(log, what_peers_send_is_escaped)
{
    open_log("info");
    slim_log_write_xt(SLIM_INFO, SLIM_T_SERVICE, 1, "id=%s", "a\nb\x1b[31m\xff\xc3\xa4\x7f\tz");
    cr_assert_not_null(strstr(got, "id=a\\x0ab\\x1b[31m\\xff\xc3\xa4\\x7f\tz\n"), "%s", got);
    cr_assert_eq(strchr(got, '\n'), got + got_n - 1, "one line stays one line");
}

Test(log, long_lines_are_cut)
{
    char huge[5000];

    memset(huge, 'x', sizeof(huge) - 1);
    huge[sizeof(huge) - 1] = '\0';
    open_log("info");
    slim_log_write_xt(SLIM_INFO, SLIM_T_SERVICE, 1, "%s", huge);
    cr_assert_leq(got_n, 2048);
    cr_assert_eq(got[got_n - 1], '\n');
}

Test(log, levels_and_filters)
{
    const char *const filters[] = {"slim_datapath=debug", "slim_service", "slim=trace", "no level=here=", "slim_auth=bogus"};

    n_bad = 0;
    slim_log_configure("WARN", filters, 5, NULL, bad, NULL);
    cr_assert(slim_log_on(SLIM_DEBUG, SLIM_T_DATAPATH));
    cr_assert_not(slim_log_on(SLIM_TRACE, SLIM_T_DATAPATH));
    cr_assert(slim_log_on(SLIM_WARN, SLIM_T_SERVICE));
    cr_assert_not(slim_log_on(SLIM_INFO, SLIM_T_SERVICE));
    cr_assert(slim_log_on(SLIM_TRACE, SLIM_T_RUNNER), "slim selects slim::runner");
    cr_assert_not(slim_log_on(SLIM_INFO, SLIM_T_CONTROLLER), "slim does not select slim_controller");
    cr_assert_eq(n_bad, 2);
    slim_log_configure("nonsense", NULL, 0, NULL, bad, NULL);
    cr_assert(slim_log_on(SLIM_INFO, SLIM_T_AUTH));
    cr_assert_not(slim_log_on(SLIM_DEBUG, SLIM_T_AUTH));
    slim_log_configure("off", NULL, 0, NULL, bad, NULL);
    cr_assert_not(slim_log_on(SLIM_ERROR, SLIM_T_AUTH));
}

Test(log, rust_log_decides_alone)
{
    slim_log_configure("info", NULL, 0, "slim_datapath=debug", bad, NULL);
    cr_assert(slim_log_on(SLIM_DEBUG, SLIM_T_DATAPATH));
    cr_assert_not(slim_log_on(SLIM_ERROR, SLIM_T_SERVICE), "what RUST_LOG does not name is silent");
    slim_log_configure("info", NULL, 0, "warn,slim_service=trace", bad, NULL);
    cr_assert(slim_log_on(SLIM_WARN, SLIM_T_DATAPATH));
    cr_assert_not(slim_log_on(SLIM_INFO, SLIM_T_DATAPATH));
    cr_assert(slim_log_on(SLIM_TRACE, SLIM_T_SERVICE));
    slim_log_configure("info", NULL, 0, "", bad, NULL);
    cr_assert_not(slim_log_on(SLIM_ERROR, SLIM_T_DATAPATH));
}

Test(log, rate)
{
    slim_log_rate r = {0};
    uint32_t quiet = 99, allowed = 0;
    uint64_t now = 5000000000u;

    for (int i = 0; i < 100; i++)
        allowed += slim_log_rate_take(&r, now, 10, 5, &quiet);
    cr_assert_eq(allowed, 10);
    /* A second of lines every millisecond: five a second get through, whatever the steps. */
    allowed = 0;
    for (int i = 0; i < 1000; i++) {
        now += 1000000;
        allowed += slim_log_rate_take(&r, now, 10, 5, &quiet);
    }
    cr_assert_eq(allowed, 5, "%u", allowed);
    cr_assert_gt(quiet, 0);
    cr_assert(slim_log_rate_take(&r, now + 3600000000000u, 10, 5, &quiet));
}
