/* Each allocation of a script of operations fails once: then nothing may have changed, leaked or broken. */
#include "core/routes.h"
#include "support/support.h"

#include <criterion/criterion.h>

enum { LINKS = 12, STEPS = 140 };

static slim_links *links;
static slim_link_id link_of[LINKS];

static slim_name name_of(uint64_t i)
{
    /* Few keys with several ids, both forms of the NULL id, and all of the same segment or not. */
    slim_name n = {
        .present = true, .has_name = true, .has_id = i % 5 != 0, .has_str = true, .key = {{i % 9, i % 9, 3}}, .id = {0, i % 3}};

    if (i % 5 < 2)
        n.id = SLIM_ID_NULL;
    for (int k = 0; k < 3; k++)
        n.str[k] = slim_bytes_str("component");
    return n;
}

typedef struct seen {
    slim_routes_stats st;
    uint64_t records[LINKS];
    uint64_t walk; /* folded over all names in the order of the walk */
    uint32_t reach[9][4];
} seen;

static bool seen_fn(void *arg, const slim_known *k)
{
    seen *s = arg;

    s->walk = (s->walk ^ k->name->key.c[0] ^ k->name->id.lo << 8 ^ k->subscription_id << 16 ^ k->kinds << 24 ^ k->name->has_id) *
              0x100000001b3u;
    return true;
}

static seen look(slim_routes *r, slim_routes_reader *rd)
{
    slim_targets t = {.mem = &slim_mem_libc};
    slim_routes_cursor c = {0};
    bool more = true;
    seen s = {0};

    slim_routes_stats_xt(r, &s.st);
    s.st.bytes = 0; /* what grew in advance of a change that failed stays */
    for (int i = 0; i < LINKS; i++)
        s.records[i] = slim_routes_link_records_xt(r, link_of[i]);
    cr_assert_eq(slim_routes_walk_xt(r, &c, UINT32_MAX, SLIM_LINK_NONE, seen_fn, &s, &more), SLIM_OK);
    slim_routes_enter(rd);
    for (uint64_t k = 0; k < 9; k++)
        for (uint64_t id = 0; id < 4; id++) {
            slim_routes_match(rd, &(slim_key){{k, k, 3}}, id == 3 ? SLIM_ID_NULL : (slim_id){0, id}, 0, SLIM_LINK_NONE,
                              SLIM_KINDS_ALL, &t);
            for (uint32_t i = 0; i < t.n; i++)
                s.reach[k][id] |= 1u << t.v[i].slot;
        }
    slim_routes_leave(rd);
    slim_targets_free(&t);
    return s;
}

static slim_err step(slim_routes *r, uint64_t i)
{
    uint64_t seed = i / 2;
    uint32_t l = (uint32_t)(test_rand(&seed) % LINKS);
    slim_name n = name_of(test_rand(&seed) % 40);
    uint64_t id = test_rand(&seed) % 3;
    slim_unsub_miss miss;
    slim_change c;

    if (i % 2 == 0 || test_rand(&seed) % 3 == 0)
        return slim_routes_subscribe_xt(r, link_of[l], (slim_link_kind)(l % 4), id, &n, &c);
    slim_routes_unsubscribe_xt(r, link_of[l], id, &n, &c, &miss);
    return SLIM_OK;
}

/* Many links on one name, then a few: its lists grow, are copied and vanish. */
static slim_err crowd_step(slim_routes *r, uint64_t i)
{
    slim_name n = name_of(6);
    slim_unsub_miss miss;
    slim_change c;

    if (i < LINKS)
        return slim_routes_subscribe_xt(r, link_of[i], SLIM_EDGE, 1, &n, &c);
    if (i < 2 * LINKS)
        slim_routes_unsubscribe_xt(r, link_of[i - LINKS], 1, &n, &c, &miss);
    return SLIM_OK;
}

/* One key, many ids: one segment's tables split. */
static slim_err ids_step(slim_routes *r, uint64_t i)
{
    slim_name n = name_of(6);
    slim_unsub_miss miss;
    slim_change c;

    n.id.lo = 1000 + i % 1200;
    if (i < 1200)
        return slim_routes_subscribe_xt(r, link_of[0], SLIM_EDGE, 1, &n, &c);
    slim_routes_unsubscribe_xt(r, link_of[0], 1, &n, &c, &miss);
    return SLIM_OK;
}

/* Plays a script with the n-th allocation failing; false when there was no n-th. */
static bool play(long fail_at, uint64_t steps, slim_err (*fn)(slim_routes *, uint64_t), bool compare)
{
    slim_routes_reader *rd = NULL;
    slim_routes *r;
    test_mem m;

    test_mem_init(&m, fail_at);
    if ((r = slim_routes_new(&m.mem, links, 9)) != NULL && (rd = slim_routes_reader_new(r)) != NULL) {
        for (uint64_t i = 0; i < steps; i++) {
            seen before = {0}, after;
            slim_err e;

            if (compare && !m.failed)
                before = look(r, rd);
            if ((e = fn(r, i)) != SLIM_OK) {
                cr_assert_eq(e, SLIM_E_NOMEM);
                cr_assert(m.failed);
                if (compare) {
                    after = look(r, rd);
                    cr_assert_eq(memcmp(&before, &after, sizeof(before)), 0, "step %d changed something and failed", (int)i);
                }
                cr_assert_eq(fn(r, i), SLIM_OK, "it goes on once there is memory");
            }
        }
    } else {
        cr_assert(m.failed);
    }
    slim_routes_free(r);
    cr_assert_eq(m.live, 0);
    return m.failed;
}

static void setup(void)
{
    links = slim_links_new(&slim_mem_libc, 64);
    for (int i = 0; i < LINKS; i++)
        cr_assert_eq(slim_links_open_xt(links, 0, (slim_link_kind)(i % 4), &link_of[i]), SLIM_OK);
}

static void teardown(void)
{
    slim_links_free(links);
}

TestSuite(routes_alloc, .init = setup, .fini = teardown);

Test(routes_alloc, any_failure_changes_nothing)
{
    long n = 0;

    while (play(n, STEPS, step, true))
        n++;
    cr_assert_gt(n, 200);
}

Test(routes_alloc, a_member_list_survives_failure)
{
    long n = 0;

    while (play(n, 2 * LINKS, crowd_step, true))
        n++;
    cr_assert_gt(n, 20);
}

Test(routes_alloc, splits_survive_failure)
{
    long n = 0;

    while (play(n, 2400, ids_step, false))
        n += 7;
    cr_assert_gt(n, 1200, "the slots, and the tables that grew");
}

Test(routes_alloc, a_match_reports_it)
{
    slim_routes *r = slim_routes_new(&slim_mem_libc, links, 9);
    slim_routes_reader *rd = slim_routes_reader_new(r);
    slim_name n = name_of(6);
    slim_change c;

    for (int i = 0; i < LINKS; i++)
        cr_assert_eq(slim_routes_subscribe_xt(r, link_of[i], SLIM_EDGE, 1, &n, &c), SLIM_OK);
    for (uint32_t fanout = 0; fanout < 2; fanout++) {
        for (long fail = 0; fail < 3; fail++) {
            test_mem m;
            slim_targets t = {.mem = &m.mem};

            test_mem_init(&m, fail);
            slim_routes_enter(rd);
            cr_assert_eq(slim_routes_match(rd, &n.key, n.id, fanout, SLIM_LINK_NONE, SLIM_KINDS_ALL, &t),
                         fail < 2 ? SLIM_E_NOMEM : SLIM_OK);
            cr_assert_eq(t.n, fail < 2 ? 0 : fanout == 1 ? 1 : LINKS);
            cr_assert_eq(slim_routes_match(rd, &n.key, n.id, fanout, SLIM_LINK_NONE, SLIM_KINDS_ALL, &t), SLIM_OK);
            slim_routes_leave(rd);
            slim_targets_free(&t);
            cr_assert_eq(m.live, 0);
        }
    }
    slim_routes_free(r);
}
