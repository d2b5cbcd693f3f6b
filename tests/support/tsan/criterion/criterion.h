/* Stands in for criterion where that does not start: its arena at a fixed address collides with ThreadSanitizer's shadow. Enough of
 * the same macros for our tests, each test in a process of its own, TAP on the standard output. */
#ifndef SLIM_TESTS_TSAN_CRITERION_H
#define SLIM_TESTS_TSAN_CRITERION_H

/* Warnings of our macros are criterion's: those of a system header. */
#pragma GCC system_header

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

struct criterion_test_extra_data {
    void (*init)(void);
    void (*fini)(void);
    const char *description;
    double timeout;
    bool disabled;
    int signal, exit_code;
};

struct stand_in {
    const char *suite, *name; /* name NULL: settings of the suite */
    void (*run)(void);
    struct criterion_test_extra_data extra;
    struct stand_in *next;
};

static struct stand_in *stand_in_first, **stand_in_last = &stand_in_first;

static inline void stand_in_add(struct stand_in *t)
{
    *stand_in_last = t;
    stand_in_last = &t->next;
}

#define TestSuite(suite_, ...)                                                                                                     \
    __attribute__((constructor)) static void suite_##_add(void)                                                                    \
    {                                                                                                                              \
        static struct stand_in t = {#suite_, NULL, NULL, {__VA_ARGS__}, NULL};                                                     \
        stand_in_add(&t);                                                                                                          \
    }                                                                                                                              \
    struct criterion_test_extra_data

#define Test(suite_, name_, ...)                                                                                                   \
    static void suite_##_##name_##_run(void);                                                                                      \
    __attribute__((constructor)) static void suite_##_##name_##_add(void)                                                          \
    {                                                                                                                              \
        static struct stand_in t = {#suite_, #name_, suite_##_##name_##_run, {__VA_ARGS__}, NULL};                                 \
        stand_in_add(&t);                                                                                                          \
    }                                                                                                                              \
    static void suite_##_##name_##_run(void)

static bool stand_in_failed;

__attribute__((format(printf, 6, 7))) static inline void stand_in_check(bool ok, bool fatal, const char *what, const char *file,
                                                                        int line, const char *format, ...)
{
    va_list args;

    if (ok)
        return;
    fprintf(stderr, "%s:%d: %s ", file, line, what);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    stand_in_failed = true;
    if (fatal)
        _exit(1);
}

#define STAND_IN(ok, fatal, what, ...) stand_in_check((ok), fatal, what, __FILE__, __LINE__, " " __VA_ARGS__)

#define cr_assert(c, ...) STAND_IN(!!(c), true, #c, __VA_ARGS__)
#define cr_assert_not(c, ...) STAND_IN(!(c), true, "not " #c, __VA_ARGS__)
#define cr_assert_eq(a, b, ...) STAND_IN((a) == (b), true, #a " == " #b, __VA_ARGS__)
#define cr_assert_neq(a, b, ...) STAND_IN((a) != (b), true, #a " != " #b, __VA_ARGS__)
#define cr_assert_lt(a, b, ...) STAND_IN((a) < (b), true, #a " < " #b, __VA_ARGS__)
#define cr_assert_leq(a, b, ...) STAND_IN((a) <= (b), true, #a " <= " #b, __VA_ARGS__)
#define cr_assert_gt(a, b, ...) STAND_IN((a) > (b), true, #a " > " #b, __VA_ARGS__)
#define cr_assert_geq(a, b, ...) STAND_IN((a) >= (b), true, #a " >= " #b, __VA_ARGS__)
#define cr_assert_null(a, ...) STAND_IN((a) == NULL, true, #a " == NULL", __VA_ARGS__)
#define cr_assert_not_null(a, ...) STAND_IN((a) != NULL, true, #a " != NULL", __VA_ARGS__)
#define cr_assert_str_eq(a, b, ...) STAND_IN(strcmp((a), (b)) == 0, true, #a " is " #b, __VA_ARGS__)
#define cr_assert_str_neq(a, b, ...) STAND_IN(strcmp((a), (b)) != 0, true, #a " is not " #b, __VA_ARGS__)
#define cr_assert_str_empty(a, ...) STAND_IN(*(a) == '\0', true, #a " is empty", __VA_ARGS__)
#define cr_assert_arr_eq(a, b, n, ...) STAND_IN(memcmp((a), (b), (n)) == 0, true, #a " is " #b, __VA_ARGS__)
#define cr_assert_float_eq(a, b, d, ...) STAND_IN((a) - (b) <= (d) && (b) - (a) <= (d), true, #a " is about " #b, __VA_ARGS__)
#define cr_assert_fail(...) STAND_IN(false, true, "", __VA_ARGS__)
#define cr_fatal(...) STAND_IN(false, true, "", __VA_ARGS__)
#define cr_expect(c, ...) STAND_IN(!!(c), false, #c, __VA_ARGS__)
#define cr_expect_not(c, ...) STAND_IN(!(c), false, "not " #c, __VA_ARGS__)
#define cr_expect_eq(a, b, ...) STAND_IN((a) == (b), false, #a " == " #b, __VA_ARGS__)
#define cr_expect_neq(a, b, ...) STAND_IN((a) != (b), false, #a " != " #b, __VA_ARGS__)
#define cr_expect_lt(a, b, ...) STAND_IN((a) < (b), false, #a " < " #b, __VA_ARGS__)
#define cr_expect_leq(a, b, ...) STAND_IN((a) <= (b), false, #a " <= " #b, __VA_ARGS__)
#define cr_expect_gt(a, b, ...) STAND_IN((a) > (b), false, #a " > " #b, __VA_ARGS__)
#define cr_expect_geq(a, b, ...) STAND_IN((a) >= (b), false, #a " >= " #b, __VA_ARGS__)
#define cr_expect_null(a, ...) STAND_IN((a) == NULL, false, #a " == NULL", __VA_ARGS__)
#define cr_expect_not_null(a, ...) STAND_IN((a) != NULL, false, #a " != NULL", __VA_ARGS__)
#define cr_expect_str_eq(a, b, ...) STAND_IN(strcmp((a), (b)) == 0, false, #a " is " #b, __VA_ARGS__)
#define cr_expect_arr_eq(a, b, n, ...) STAND_IN(memcmp((a), (b), (n)) == 0, false, #a " is " #b, __VA_ARGS__)
#define cr_expect_fail(...) STAND_IN(false, false, "", __VA_ARGS__)

#define cr_log_info(...) ((void)(fprintf(stderr, __VA_ARGS__), fputc('\n', stderr)))
#define cr_log_warn cr_log_info
#define cr_log_error cr_log_info
#define cr_skip_test(...) _exit(77)

static inline void stand_in_run(const struct stand_in *t, const struct stand_in *suite)
{
    if (suite != NULL && suite->extra.init != NULL)
        suite->extra.init();
    if (t->extra.init != NULL)
        t->extra.init();
    t->run();
    if (t->extra.fini != NULL)
        t->extra.fini();
    if (suite != NULL && suite->extra.fini != NULL)
        suite->extra.fini();
    /* exit, not _exit: the sanitizer's own verdict is the status then. */
    exit(stand_in_failed ? 1 : t->extra.exit_code);
}

__attribute__((weak)) int main(void)
{
    int n = 0, failed = 0;

    for (const struct stand_in *t = stand_in_first; t != NULL; t = t->next)
        n += t->name != NULL;
    printf("1..%d\n", n);
    n = 0;
    for (const struct stand_in *t = stand_in_first; t != NULL; t = t->next) {
        const struct stand_in *suite = stand_in_first;
        int status = 0;
        bool ok, skip;
        pid_t pid;

        if (t->name == NULL)
            continue;
        while (suite != NULL && (suite->name != NULL || strcmp(suite->suite, t->suite) != 0))
            suite = suite->next;
        fflush(NULL);
        if (!t->extra.disabled && (pid = fork()) == 0)
            stand_in_run(t, suite);
        else if (!t->extra.disabled && (pid < 0 || waitpid(pid, &status, 0) != pid))
            return 2;
        skip = t->extra.disabled || (WIFEXITED(status) && WEXITSTATUS(status) == 77);
        ok = skip || (t->extra.signal != 0 ? WIFSIGNALED(status) && WTERMSIG(status) == t->extra.signal
                                           : WIFEXITED(status) && WEXITSTATUS(status) == t->extra.exit_code);
        failed += !ok;
        printf("%sok %d - %s::%s%s\n", ok ? "" : "not ", ++n, t->suite, t->name, skip ? " # SKIP" : "");
    }
    return failed != 0;
}

#endif
