#include "node/callers.h"

#include <criterion/criterion.h>

#include "support/support.h"

Test(callers, limit_and_return)
{
    slim_callers t;
    slim_caller *a[3], *b, *more;
    const slim_network one = {{0, 1}, false}, two = {{0, 2}, false};

    slim_callers_init(&t, &slim_mem_libc, 7);
    for (int i = 0; i < 3; i++)
        cr_assert_eq(slim_callers_enter_xt(&t, &one, 3, &a[i]), SLIM_OK);
    cr_assert_eq(slim_callers_enter_xt(&t, &one, 3, &more), SLIM_E_TOO_LARGE);
    cr_assert_null(more);
    cr_assert_eq(slim_callers_enter_xt(&t, &two, 3, &b), SLIM_OK, "another address has a count of its own");
    cr_assert_eq(t.n, 2);
    slim_callers_leave_xt(&t, a[1]);
    cr_assert_eq(slim_callers_enter_xt(&t, &one, 3, &a[1]), SLIM_OK);
    for (int i = 0; i < 3; i++)
        slim_callers_leave_xt(&t, a[i]);
    cr_assert_eq(t.n, 1, "an address without connections takes no memory");
    slim_callers_leave_xt(&t, b);
    cr_assert_eq(t.n, 0);
    slim_callers_free(&t);
}

/* More addresses than buckets, so that they share them. */
Test(callers, many_addresses)
{
    enum { N = 3 * SLIM_CALLERS_BUCKETS };
    static slim_caller *c[N];
    slim_callers t;
    slim_caller *more;

    slim_callers_init(&t, &slim_mem_libc, 9);
    for (uint64_t i = 0; i < N; i++)
        cr_assert_eq(slim_callers_enter_xt(&t, &(slim_network){{0, i}, false}, 1, &c[i]), SLIM_OK);
    for (uint64_t i = 0; i < N; i++)
        cr_assert_eq(slim_callers_enter_xt(&t, &(slim_network){{0, i}, false}, 1, &more), SLIM_E_TOO_LARGE);
    for (uint64_t i = 0; i < N; i++)
        slim_callers_leave_xt(&t, c[i * 7 % N]);
    cr_assert_eq(t.n, 0);
    slim_callers_free(&t);
}

Test(callers, no_memory)
{
    slim_callers t;
    slim_caller *c;

    /* The table itself, then the address. */
    for (long at = 0; at < 2; at++) {
        test_mem m;

        test_mem_init(&m, at);
        slim_callers_init(&t, &m.mem, 1);
        cr_assert_eq(slim_callers_enter_xt(&t, &(slim_network){{0, 1}, false}, 1, &c), SLIM_E_NOMEM);
        cr_assert_eq(slim_callers_enter_xt(&t, &(slim_network){{0, 1}, false}, 1, &c), SLIM_OK, "the next try may succeed");
        slim_callers_leave_xt(&t, c);
        slim_callers_free(&t);
    }
}
