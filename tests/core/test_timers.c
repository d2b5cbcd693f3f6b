#include <criterion/criterion.h>

#include "core/timers.h"
#include "support/support.h"

#define MS 1000000u

typedef struct probe {
    slim_timer timer;
    uint64_t due_ns, fired_ns;
    int fired;
    struct probe *other; /* cancelled by our firing */
    slim_timers *again;  /* set anew by our firing */
} probe;

static slim_timers wheel;

static void fire(slim_timer *t, uint64_t now_ns)
{
    probe *p = (probe *)((char *)t - offsetof(probe, timer));

    p->fired++;
    p->fired_ns = now_ns;
    if (p->other != NULL)
        slim_timer_cancel(&wheel, &p->other->timer);
    if (p->again != NULL) {
        p->again = NULL;
        slim_timer_set(&wheel, t, now_ns + 5 * MS);
    }
}

Test(timers, fires_once_and_never_early)
{
    probe p = {.timer.fire = fire};

    slim_timers_init(&wheel, 1234567);
    cr_assert_eq(slim_timers_next_ns(&wheel), SLIM_TIMERS_NEVER);
    slim_timer_set(&wheel, &p.timer, 50 * MS + 1);
    cr_assert(slim_timer_armed(&p.timer));
    cr_assert_leq(slim_timers_next_ns(&wheel), 51 * MS);
    slim_timers_run(&wheel, 50 * MS);
    cr_assert_eq(p.fired, 0);
    slim_timers_run(&wheel, 51 * MS + 1);
    cr_assert_eq(p.fired, 1);
    cr_assert_not(slim_timer_armed(&p.timer));
    slim_timers_run(&wheel, 500 * MS);
    cr_assert_eq(p.fired, 1);
}

Test(timers, callbacks_may_set_and_cancel)
{
    probe a = {.timer.fire = fire}, b = {.timer.fire = fire}, c = {.timer.fire = fire, .again = &wheel};

    a.other = &b;
    b.other = &a;
    slim_timers_init(&wheel, 0);
    slim_timer_set(&wheel, &a.timer, 10 * MS);
    slim_timer_set(&wheel, &b.timer, 10 * MS);
    slim_timer_set(&wheel, &c.timer, 10 * MS);
    slim_timers_run(&wheel, 10 * MS);
    cr_assert_eq(a.fired + b.fired, 1, "the first to fire cancels the other, which is due in the same tick");
    cr_assert_eq(c.fired, 1);
    cr_assert(slim_timer_armed(&c.timer));
    slim_timers_run(&wheel, 15 * MS);
    cr_assert_eq(c.fired, 2);
}

Test(timers, far_and_past)
{
    probe far = {.timer.fire = fire}, past = {.timer.fire = fire};
    uint64_t year_ns = UINT64_C(31536000) * 1000000000;

    slim_timers_init(&wheel, 100 * MS);
    slim_timer_set(&wheel, &far.timer, 300 * year_ns);
    slim_timer_set(&wheel, &past.timer, 1);
    slim_timers_run(&wheel, 101 * MS);
    cr_assert_eq(past.fired, 1);
    for (uint64_t y = 1; y < 300; y++)
        slim_timers_run(&wheel, y * year_ns);
    cr_assert_eq(far.fired, 0);
    slim_timers_run(&wheel, 300 * year_ns + MS);
    cr_assert_eq(far.fired, 1);
}

Test(timers, random_against_a_list)
{
    enum { N = 200 };
    static probe p[N];
    uint64_t seed = test_seed(), now = test_rand(&seed) % 1000000000;

    slim_timers_init(&wheel, now);
    for (int i = 0; i < N; i++)
        p[i].timer.fire = fire;
    for (int step = 0; step < 100000; step++) {
        probe *q = &p[test_rand(&seed) % N];
        uint64_t next;

        switch (test_rand(&seed) % 4) {
        case 0:
        case 1:
            q->due_ns = now + test_rand(&seed) % (UINT64_C(1) << (10 + test_rand(&seed) % 34));
            q->fired = 0;
            slim_timer_set(&wheel, &q->timer, q->due_ns);
            break;
        case 2:
            slim_timer_cancel(&wheel, &q->timer);
            q->due_ns = 0;
            break;
        default:
            next = slim_timers_next_ns(&wheel);
            for (int i = 0; i < N; i++)
                if (p[i].due_ns != 0)
                    cr_assert_leq(next, p[i].due_ns + MS, "next_ns is later than a timer");
            now += test_rand(&seed) % 2 == 0                 ? test_rand(&seed) % (50 * MS)
                   : next == SLIM_TIMERS_NEVER || next < now ? 0
                                                             : next - now;
            slim_timers_run(&wheel, now);
            for (int i = 0; i < N; i++) {
                if (p[i].due_ns == 0)
                    continue;
                if (p[i].fired > 0) {
                    cr_assert_eq(p[i].fired, 1);
                    cr_assert_leq(p[i].due_ns, now, "early by %lu ns", p[i].due_ns - now);
                    p[i].due_ns = 0;
                    p[i].fired = 0;
                } else {
                    cr_assert_gt(p[i].due_ns + MS, now, "late: due %lu, now %lu", p[i].due_ns, now);
                }
            }
        }
    }
}
