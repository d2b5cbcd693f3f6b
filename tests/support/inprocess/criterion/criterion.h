/* The part of criterion that our tests use, run in one process: criterion's own sandbox does not start under ThreadSanitizer. Only
 * ThreadSanitizer builds find this header first. A failed assertion ends its test by longjmp; tests that expect a crash are left out. */
#ifndef SLIM_TESTS_INPROCESS_CRITERION_H
#define SLIM_TESTS_INPROCESS_CRITERION_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct inprocess_test inprocess_test;
struct inprocess_test {
    const char *suite, *name;
    void (*run)(void);
    void (*init)(void), (*fini)(void);
    int signal, exit_code;
    bool disabled;
    double timeout;
    const char *description;
    inprocess_test *next;
};

static inprocess_test *inprocess_first, **inprocess_last = &inprocess_first;
static jmp_buf inprocess_out;

/* First part of each variadic tail: the designated options of criterion, e.g. .timeout = 5. */
#define Test(suite_, name_, ...)                                                                                                    \
    static void suite_##_##name_##_body(void);                                                                                      \
    static inprocess_test suite_##_##name_##_test = {.suite = #suite_, .name = #name_, .run = suite_##_##name_##_body, __VA_ARGS__}; \
    __attribute__((constructor)) static void suite_##_##name_##_add(void)                                                           \
    {                                                                                                                               \
        *inprocess_last = &suite_##_##name_##_test;                                                                                 \
        inprocess_last = &suite_##_##name_##_test.next;                                                                             \
    }                                                                                                                               \
    static void suite_##_##name_##_body(void)

/* Prints the place and the reason and leaves the test. */
__attribute__((format(printf, 4, 5), unused)) static void inprocess_fail(const char *file, int line, const char *what, const char *fmt, ...)
{
    va_list ap;

    printf("# %s:%d: %s ", file, line, what);
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    printf("\n");
    longjmp(inprocess_out, 1);
}

#define inprocess_assert(cond, what, ...) ((cond) ? (void)0 : inprocess_fail(__FILE__, __LINE__, what, " " __VA_ARGS__))

#define cr_assert(c, ...) inprocess_assert((c), #c, __VA_ARGS__)
#define cr_assert_not(c, ...) inprocess_assert(!(c), "not " #c, __VA_ARGS__)
#define cr_assert_eq(a, b, ...) inprocess_assert((a) == (b), #a " == " #b, __VA_ARGS__)
#define cr_assert_neq(a, b, ...) inprocess_assert((a) != (b), #a " != " #b, __VA_ARGS__)
#define cr_assert_lt(a, b, ...) inprocess_assert((a) < (b), #a " < " #b, __VA_ARGS__)
#define cr_assert_leq(a, b, ...) inprocess_assert((a) <= (b), #a " <= " #b, __VA_ARGS__)
#define cr_assert_gt(a, b, ...) inprocess_assert((a) > (b), #a " > " #b, __VA_ARGS__)
#define cr_assert_geq(a, b, ...) inprocess_assert((a) >= (b), #a " >= " #b, __VA_ARGS__)
#define cr_assert_null(a, ...) inprocess_assert((a) == NULL, #a " is NULL", __VA_ARGS__)
#define cr_assert_not_null(a, ...) inprocess_assert((a) != NULL, #a " is not NULL", __VA_ARGS__)
#define cr_assert_str_eq(a, b, ...) inprocess_assert(strcmp((a), (b)) == 0, #a " equals " #b, __VA_ARGS__)
#define cr_assert_str_neq(a, b, ...) inprocess_assert(strcmp((a), (b)) != 0, #a " differs from " #b, __VA_ARGS__)
#define cr_assert_arr_eq(a, b, n, ...) inprocess_assert(memcmp((a), (b), (n)) == 0, #a " equals " #b, __VA_ARGS__)
#define cr_assert_arr_neq(a, b, n, ...) inprocess_assert(memcmp((a), (b), (n)) != 0, #a " differs from " #b, __VA_ARGS__)
#define cr_assert_fail(...) inprocess_assert(false, "failed", __VA_ARGS__)
#define cr_expect cr_assert
#define cr_expect_eq cr_assert_eq
#define cr_skip_test(...)                                                                                                           \
    do {                                                                                                                            \
        printf("# skipped " __VA_ARGS__);                                                                                           \
        printf("\n");                                                                                                               \
        return;                                                                                                                     \
    } while (0)
#define cr_log_info(...) (printf("# " __VA_ARGS__), printf("\n"))
#define cr_log_warn cr_log_info

int main(void)
{
    volatile int n = 0, bad = 0;
    int total = 0;

    setvbuf(stdout, NULL, _IOLBF, 0);
    for (inprocess_test *t = inprocess_first; t != NULL; t = t->next)
        total += t->signal == 0 && t->exit_code == 0 && !t->disabled;
    printf("TAP version 13\n1..%d\n", total);
    for (inprocess_test *t = inprocess_first; t != NULL; t = t->next) {
        volatile bool ok = false;

        if (t->signal != 0 || t->exit_code != 0 || t->disabled)
            continue;
        if (setjmp(inprocess_out) == 0) {
            if (t->init != NULL)
                t->init();
            t->run();
            if (t->fini != NULL)
                t->fini();
            ok = true;
        }
        bad += !ok;
        printf("%s %d - %s::%s\n", ok ? "ok" : "not ok", ++n, t->suite, t->name);
    }
    return bad > 0;
}

#endif
