#include "core/links.h"
#include "support/support.h"

#include <criterion/criterion.h>
#include <pthread.h>

Test(links, opens_and_closes_last_freed_first)
{
    slim_links *t = slim_links_new(&slim_mem_libc, 4096);
    slim_link_id a, b, c, d;

    cr_assert_eq(slim_links_open_xt(t, 3, SLIM_EDGE, &a), SLIM_OK);
    cr_assert_eq(slim_links_open_xt(t, 4, SLIM_PEER, &b), SLIM_OK);
    cr_assert_eq(slim_links_open_xt(t, 5, SLIM_LOCAL, &c), SLIM_OK);
    cr_assert_eq(a.slot, 0);
    cr_assert_eq(b.slot, 1);
    cr_assert_eq(c.slot, 2);
    cr_assert_eq(slim_links_count_xt(t), 3);
    cr_assert_eq(atomic_load(&slim_links_live_xt(t, b)->worker), 4);
    cr_assert_eq(atomic_load(&slim_links_live_xt(t, b)->kind), SLIM_PEER);

    atomic_store(&slim_links_live_xt(t, b)->congested, 1);
    slim_links_close_xt(t, a);
    slim_links_close_xt(t, b);
    cr_assert_eq(slim_links_count_xt(t), 1);
    cr_assert_null(slim_links_live_xt(t, b));
    cr_assert(slim_link_id_eq(slim_links_at_xt(t, 1), SLIM_LINK_NONE));

    cr_assert_eq(slim_links_open_xt(t, 6, SLIM_REMOTE, &d), SLIM_OK);
    cr_assert_eq(d.slot, 1, "the last freed slot comes first");
    cr_assert_neq(d.gen, b.gen);
    cr_assert_null(slim_links_live_xt(t, b), "the old link stays dead");
    cr_assert_eq(atomic_load(&slim_links_live_xt(t, d)->congested), 0);
    cr_assert(slim_link_id_eq(slim_links_at_xt(t, 1), d));
    slim_links_close_xt(t, b);
    cr_assert_not_null(slim_links_live_xt(t, d), "closing the old link again leaves the new one alone");
    slim_links_free(t);
}

Test(links, slots_never_used_are_not_there)
{
    slim_links *t = slim_links_new(&slim_mem_libc, 2000);
    slim_link_id a;

    cr_assert_null(slim_links_slot_xt(t, 0));
    cr_assert_eq(slim_links_open_xt(t, 0, SLIM_EDGE, &a), SLIM_OK);
    cr_assert_not_null(slim_links_slot_xt(t, 0));
    cr_assert_null(slim_links_slot_xt(t, 1));
    cr_assert_null(slim_links_slot_xt(t, UINT32_MAX));
    cr_assert_null(slim_links_live_xt(t, SLIM_LINK_NONE));
    cr_assert_null(slim_links_live_xt(t, ((slim_link_id){5000, 1})));
    slim_links_close_xt(t, a);
    cr_assert_not_null(slim_links_slot_xt(t, 0), "a closed slot stays readable");
    cr_assert_null(slim_links_live_xt(t, ((slim_link_id){0, 0})), "a free slot's gen is nobody's");
    slim_links_free(t);
}

Test(links, is_full_at_the_rounded_limit)
{
    slim_links *t = slim_links_new(&slim_mem_libc, 1025);
    slim_link_id id;

    for (uint32_t i = 0; i < 2048; i++) {
        cr_assert_eq(slim_links_open_xt(t, 0, SLIM_EDGE, &id), SLIM_OK);
        cr_assert_eq(id.slot, i);
        cr_assert_eq((uintptr_t)slim_links_slot_xt(t, i) % 64, 0);
    }
    cr_assert_eq(slim_links_open_xt(t, 0, SLIM_EDGE, &id), SLIM_E_TOO_LARGE);
    slim_links_close_xt(t, ((slim_link_id){77, 1}));
    cr_assert_eq(slim_links_open_xt(t, 0, SLIM_EDGE, &id), SLIM_OK);
    cr_assert_eq(id.slot, 77);
    slim_links_free(t);

    t = slim_links_new(&slim_mem_libc, 0);
    cr_assert_eq(slim_links_open_xt(t, 0, SLIM_EDGE, &id), SLIM_E_TOO_LARGE);
    slim_links_free(t);
}

Test(links, survives_failing_memory)
{
    for (long fail = 0; fail < 4; fail++) {
        test_mem m;
        slim_links *t;
        slim_link_id id;

        test_mem_init(&m, fail);
        if ((t = slim_links_new(&m.mem, 2048)) != NULL) {
            for (uint32_t i = 0; i < 1024 + 1; i++) {
                slim_err e = slim_links_open_xt(t, 0, SLIM_EDGE, &id);

                if (e != SLIM_OK) {
                    cr_assert_eq(e, SLIM_E_NOMEM);
                    cr_assert_eq(slim_links_count_xt(t), i);
                    cr_assert_eq(slim_links_open_xt(t, 0, SLIM_EDGE, &id), SLIM_OK, "it goes on once there is memory");
                }
                cr_assert_eq(id.slot, i);
            }
        }
        slim_links_free(t);
        cr_assert_eq(m.live, 0);
        cr_assert_eq(m.failed, fail < 3);
    }
}

typedef struct churn {
    slim_links *t;
    _Atomic bool stop;
    uint64_t seed;
} churn;

static void *churn_main(void *arg)
{
    churn *c = arg;
    uint64_t seed = c->seed;

    for (int i = 0; i < 20000; i++) {
        slim_link_id id;
        slim_link_slot *s;

        cr_assert_eq(slim_links_open_xt(c->t, (uint16_t)i, SLIM_EDGE, &id), SLIM_OK);
        s = slim_links_live_xt(c->t, id);
        cr_assert(s != NULL && atomic_load(&s->worker) == (uint16_t)i);
        if (test_rand(&seed) % 4 != 0) {
            slim_links_close_xt(c->t, id);
            cr_assert_null(slim_links_live_xt(c->t, id));
        }
    }
    return NULL;
}

static void *watch_main(void *arg)
{
    churn *c = arg;
    uint64_t seed = c->seed, seen = 0;

    while (!atomic_load(&c->stop)) {
        slim_link_id id = slim_links_at_xt(c->t, (uint32_t)(test_rand(&seed) % 20000));

        if (id.gen != 0)
            seen += slim_links_live_xt(c->t, id) != NULL;
    }
    return seen != 0 ? arg : NULL;
}

Test(links, takes_threads)
{
    churn c = {slim_links_new(&slim_mem_libc, 1 << 16), false, test_seed()};
    pthread_t thread[3];

    pthread_create(&thread[0], NULL, watch_main, &c);
    pthread_create(&thread[1], NULL, churn_main, &c);
    pthread_create(&thread[2], NULL, churn_main, &c);
    pthread_join(thread[1], NULL);
    pthread_join(thread[2], NULL);
    atomic_store(&c.stop, true);
    pthread_join(thread[0], NULL);
    /* Both threads drew the same numbers, so both left the same count open. */
    cr_assert_eq(slim_links_count_xt(c.t) % 2, 0);
    for (uint32_t i = 0, live = 0; i < 1 << 16; i++) {
        live += slim_links_at_xt(c.t, i).gen != 0;
        if (i == (1 << 16) - 1)
            cr_assert_eq(live, slim_links_count_xt(c.t));
    }
    slim_links_free(c.t);
}
