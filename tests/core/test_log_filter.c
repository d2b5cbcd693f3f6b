#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "core/log.h"

static char bad[20][160];
static int n_bad;

static void note(void *arg, const char *directive)
{
    cr_assert_eq(arg, bad);
    snprintf(bad[n_bad++], sizeof(bad[0]), "%s", directive);
}

static void rust_log(const char *text)
{
    n_bad = 0;
    slim_log_configure("info", NULL, 0, text, note, bad);
}

static void expect(slim_target t, slim_level level, const char *what)
{
    cr_assert_eq(slim_log_levels[t], level, "%s", what);
}

Test(log_filter, level_names)
{
    static const char *const names[] = {"off", "error", "warn", "info", "debug", "trace"};
    static const char *const odd[] = {"OFF", "Error", "wArN", "INFO", "Debug", "TRACE"};

    for (int i = 0; i < 6; i++) {
        slim_log_configure(names[i], NULL, 0, NULL, NULL, NULL);
        expect(SLIM_T_DATAPATH, (slim_level)i, names[i]);
        slim_log_configure(odd[i], NULL, 0, NULL, NULL, NULL);
        expect(SLIM_T_RUNNER, (slim_level)i, odd[i]);
        rust_log(odd[i]);
        expect(SLIM_T_MLS, (slim_level)i, odd[i]);
    }
}

Test(log_filter, what_a_name_selects)
{
    rust_log("slim_datapath=debug,slim::signal=error,slim=trace");
    expect(SLIM_T_DATAPATH, SLIM_DEBUG, "its own name");
    expect(SLIM_T_SIGNAL, SLIM_ERROR, "the longer name beats the shorter one, in any order");
    expect(SLIM_T_RUNNER, SLIM_TRACE, "a module of slim");
    expect(SLIM_T_SERVICE, SLIM_OFF, "slim_service is no module of slim");
    rust_log("slim=trace,slim::signal=error");
    expect(SLIM_T_SIGNAL, SLIM_ERROR, "the longer name");
    rust_log("slim_data=trace");
    expect(SLIM_T_DATAPATH, SLIM_OFF, "a part of a word is no module");
    rust_log("slim_datapath::forward=trace");
    expect(SLIM_T_DATAPATH, SLIM_OFF, "a module inside selects nothing of the whole");
    cr_assert_eq(n_bad, 0);
    rust_log("slim_auth=warn,slim_auth=debug");
    expect(SLIM_T_AUTH, SLIM_DEBUG, "the last of equals");
}

Test(log_filter, bare_words)
{
    rust_log("slim_auth");
    expect(SLIM_T_AUTH, SLIM_TRACE, "a target alone means all of it");
    rust_log("slim_auth=error,debug");
    expect(SLIM_T_AUTH, SLIM_ERROR, "a level alone is for the others");
    expect(SLIM_T_MLS, SLIM_DEBUG, "the others");
    rust_log("debug,slim_auth=error");
    expect(SLIM_T_AUTH, SLIM_ERROR, "in any order");
    rust_log("slim_auth[span]=error,slim_mls[a=b]=warn");
    expect(SLIM_T_AUTH, SLIM_ERROR, "a span is read over");
}

Test(log_filter, bad_directives_are_named_and_skipped)
{
    rust_log("slim_auth=loud,=debug,a b=warn,slim_mls=,slim_config=warn");
    cr_assert_eq(n_bad, 4);
    cr_assert_str_eq(bad[0], "slim_auth=loud");
    cr_assert_str_eq(bad[1], "=debug");
    cr_assert_str_eq(bad[2], "a b=warn");
    cr_assert_str_eq(bad[3], "slim_mls=");
    expect(SLIM_T_CONFIG, SLIM_WARN, "the good one behind the bad ones");
    expect(SLIM_T_AUTH, SLIM_OFF, "the bad one");
    slim_log_configure("info", NULL, 0, "slim_auth=loud", NULL, NULL);
    rust_log(",,slim_auth=warn,,");
    cr_assert_eq(n_bad, 0, "empty parts are nothing");
    expect(SLIM_T_AUTH, SLIM_WARN, "between empty parts");
}

Test(log_filter, long_directives_are_cut_in_the_report)
{
    char text[5000];

    memset(text, '=', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    rust_log(text);
    cr_assert_eq(n_bad, 1);
    cr_assert_lt(strlen(bad[0]), 128);
}
