#include "core/routes.h"
#include "support/support.h"

#include <criterion/criterion.h>

enum { NAMES = 6000 };

static slim_links *links;
static slim_routes *routes;
static slim_link_id edge, peer;

static void setup(void)
{
    links = slim_links_new(&slim_mem_libc, 64);
    routes = slim_routes_new(&slim_mem_libc, links, test_seed());
    cr_assert_eq(slim_links_open_xt(links, 0, SLIM_EDGE, &edge), SLIM_OK);
    cr_assert_eq(slim_links_open_xt(links, 0, SLIM_PEER, &peer), SLIM_OK);
}

static void teardown(void)
{
    slim_routes_free(routes);
    slim_links_free(links);
}

TestSuite(routes_walk, .init = setup, .fini = teardown);

/* Every third name shares its key with two others. */
static slim_name name_of(uint64_t i)
{
    return (slim_name){.present = true, .has_name = true, .has_id = true, .key = {{i / 3, 1, 2}}, .id = {0, i}};
}

static void sub(slim_link_id link, slim_link_kind kind, uint64_t i)
{
    slim_name n = name_of(i);
    slim_change c;

    cr_assert_eq(slim_routes_subscribe_xt(routes, link, kind, i + 1, &n, &c), SLIM_OK);
}

static void unsub(slim_link_id link, uint64_t i)
{
    slim_name n = name_of(i);
    slim_unsub_miss miss;
    slim_change c;

    cr_assert_eq(slim_routes_unsubscribe_xt(routes, link, i + 1, &n, &c, &miss), SLIM_OK);
}

typedef struct visit {
    uint8_t seen[NAMES * 4];
    uint32_t calls, stop_every;
    uint32_t kinds[NAMES * 4];
} visit;

static visit v;

static bool visit_fn(void *arg, const slim_known *known)
{
    uint64_t i = known->name->id.lo;

    (void)arg;
    cr_assert_lt(i, NAMES * 4);
    cr_assert_eq(known->name->key.c[0], i / 3);
    cr_assert_eq(known->subscription_id, i + 1);
    v.seen[i]++;
    v.kinds[i] = known->kinds;
    return v.stop_every == 0 || ++v.calls % v.stop_every != 0;
}

static void walk_all(uint32_t max, slim_link_id except)
{
    slim_routes_cursor c = {0};
    bool more = true;

    while (more) {
        uint32_t before = v.calls;

        cr_assert_eq(slim_routes_walk_xt(routes, &c, max, except, visit_fn, NULL, &more), SLIM_OK);
        cr_assert_leq(v.calls - before, max);
    }
    cr_assert_eq(slim_routes_walk_xt(routes, &c, max, except, visit_fn, NULL, &more), SLIM_OK);
    cr_assert(!more, "a finished walk stays finished");
}

Test(routes_walk, an_empty_table_ends_at_once)
{
    slim_routes_cursor c = {0};
    bool more = true;

    cr_assert_eq(slim_routes_walk_xt(routes, &c, 1, SLIM_LINK_NONE, visit_fn, NULL, &more), SLIM_OK);
    cr_assert(!more);
}

Test(routes_walk, visits_every_name_once_in_slices_of_any_size)
{
    static const uint32_t sizes[] = {1, 7, 64, 65, 1000, UINT32_MAX};

    for (uint64_t i = 0; i < NAMES; i++)
        sub(edge, SLIM_EDGE, i);
    for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
        memset(&v, 0, sizeof(v));
        v.stop_every = s % 2 == 0 ? 0 : 13;
        walk_all(sizes[s], SLIM_LINK_NONE);
        for (uint64_t i = 0; i < NAMES; i++)
            cr_assert_eq(v.seen[i], 1);
    }
}

Test(routes_walk, false_stops_behind_this_name)
{
    slim_routes_cursor c = {0};
    bool more;

    for (uint64_t i = 0; i < 10; i++)
        sub(edge, SLIM_EDGE, i);
    v.stop_every = 4;
    cr_assert_eq(slim_routes_walk_xt(routes, &c, 100, SLIM_LINK_NONE, visit_fn, NULL, &more), SLIM_OK);
    cr_assert(more && v.calls == 4);
    cr_assert_eq(slim_routes_walk_xt(routes, &c, 0, SLIM_LINK_NONE, visit_fn, NULL, &more), SLIM_OK);
    cr_assert(more && v.calls == 4);
    cr_assert_eq(slim_routes_walk_xt(routes, &c, 100, SLIM_LINK_NONE, visit_fn, NULL, &more), SLIM_OK);
    cr_assert(more && v.calls == 8);
    cr_assert_eq(slim_routes_walk_xt(routes, &c, 100, SLIM_LINK_NONE, visit_fn, NULL, &more), SLIM_OK);
    cr_assert(!more && v.calls == 10);
}

Test(routes_walk, survives_growth_and_loss_between_slices)
{
    slim_routes_cursor c = {0};
    uint64_t seed = test_seed(), added = NAMES;
    static bool always[NAMES];
    bool more = true;

    for (uint64_t i = 0; i < NAMES; i++) {
        sub(edge, SLIM_EDGE, i);
        always[i] = true;
    }
    while (more) {
        for (int i = 0; i < 15; i++) {
            uint64_t k = test_rand(&seed) % NAMES;

            if (added < NAMES * 4)
                sub(edge, SLIM_EDGE, added++);
            if (test_rand(&seed) % 2 != 0) {
                /* Gone and back again: others may take its cell meanwhile. */
                if (always[k])
                    unsub(edge, k);
                else
                    sub(edge, SLIM_EDGE, k);
                always[k] = false;
                if (slim_routes_link_records_xt(routes, edge) > NAMES / 2 && test_rand(&seed) % 2 != 0)
                    sub(edge, SLIM_EDGE, k);
            }
        }
        cr_assert_eq(slim_routes_walk_xt(routes, &c, 10, SLIM_LINK_NONE, visit_fn, NULL, &more), SLIM_OK);
    }
    cr_assert_eq(added, NAMES * 4);
    for (uint64_t i = 0; i < NAMES; i++)
        cr_assert(v.seen[i] == 1 || (!always[i] && v.seen[i] == 0));
    for (uint64_t i = 0; i < NAMES * 4; i++)
        cr_assert_leq(v.seen[i], 1);
}

Test(routes_walk, leaves_the_excepted_link_out_of_the_kinds)
{
    slim_link_id other;

    cr_assert_eq(slim_links_open_xt(links, 0, SLIM_PEER, &other), SLIM_OK);
    sub(peer, SLIM_PEER, 0);
    sub(peer, SLIM_PEER, 1);
    sub(edge, SLIM_EDGE, 1);
    sub(peer, SLIM_PEER, 2);
    sub(other, SLIM_PEER, 2);
    sub(other, SLIM_PEER, 3);
    walk_all(2, peer);
    cr_assert_eq(v.kinds[0], 0);
    cr_assert_eq(v.kinds[1], SLIM_KIND_BIT(SLIM_EDGE));
    cr_assert_eq(v.kinds[2], SLIM_KIND_BIT(SLIM_PEER));
    cr_assert_eq(v.kinds[3], SLIM_KIND_BIT(SLIM_PEER));
    walk_all(2, SLIM_LINK_NONE);
    cr_assert_eq(v.kinds[0], SLIM_KIND_BIT(SLIM_PEER));
    cr_assert_eq(v.kinds[1], SLIM_KIND_BIT(SLIM_PEER) | SLIM_KIND_BIT(SLIM_EDGE));
}

typedef struct form {
    bool has_id, has_str;
    uint64_t id;
    uint32_t calls;
} form;

static bool form_fn(void *arg, const slim_known *known)
{
    form *f = arg;

    cr_assert(slim_id_is_null(known->name->id));
    *f = (form){known->name->has_id, known->name->has_str, known->subscription_id, f->calls + 1};
    return true;
}

static form form_now(slim_link_id except)
{
    slim_routes_cursor c = {0};
    form f = {0};
    bool more;

    cr_assert_eq(slim_routes_walk_xt(routes, &c, 9, except, form_fn, &f, &more), SLIM_OK);
    cr_assert_eq(f.calls, 1);
    return f;
}

Test(routes_walk, tells_the_form_of_the_null_id)
{
    slim_name n = {.present = true, .has_name = true, .has_str = true, .id = SLIM_ID_NULL};
    slim_unsub_miss miss;
    slim_change c;
    form f;

    cr_assert_eq(slim_routes_subscribe_xt(routes, edge, SLIM_EDGE, 5, &n, &c), SLIM_OK);
    f = form_now(SLIM_LINK_NONE);
    cr_assert(!f.has_id && f.id == 5 && f.has_str);
    n.has_id = true;
    cr_assert_eq(slim_routes_subscribe_xt(routes, peer, SLIM_PEER, 6, &n, &c), SLIM_OK);
    f = form_now(edge);
    cr_assert(f.has_id && f.id == 6, "of a link other than the excepted one");
    cr_assert_eq(slim_routes_unsubscribe_xt(routes, peer, 6, &n, &c, &miss), SLIM_OK);
    cr_assert(!form_now(SLIM_LINK_NONE).has_id);
}

static bool reenter_fn(void *arg, const slim_known *known)
{
    slim_name n = *known->name;
    slim_unsub_miss miss;
    slim_change c;

    /* No lock is held: the walked name itself may go, and its strings stay for this call. */
    (void)arg;
    cr_assert_eq(slim_routes_unsubscribe_xt(routes, edge, known->subscription_id, &n, &c, &miss), SLIM_OK);
    cr_assert_eq(known->name->str[1].n, 5);
    cr_assert_eq(memcmp(known->name->str[1].p, "hello", 5), 0);
    return true;
}

Test(routes_walk, the_callback_may_change_the_table)
{
    slim_routes_cursor c = {0};
    slim_routes_stats st;
    slim_change ch;
    bool more;

    for (uint64_t i = 0; i < 500; i++) {
        slim_name n = name_of(i);

        n.has_str = true;
        n.str[1] = slim_bytes_str("hello");
        cr_assert_eq(slim_routes_subscribe_xt(routes, edge, SLIM_EDGE, i, &n, &ch), SLIM_OK);
    }
    cr_assert_eq(slim_routes_walk_xt(routes, &c, UINT32_MAX, SLIM_LINK_NONE, reenter_fn, NULL, &more), SLIM_OK);
    slim_routes_stats_xt(routes, &st);
    cr_assert_eq(st.names + st.ids + st.records, 0);
}
