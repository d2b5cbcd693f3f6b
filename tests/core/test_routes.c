#include "core/routes.h"
#include "support/support.h"

#include <criterion/criterion.h>
#include <stdio.h>

static slim_links *links;
static slim_routes *routes;
static slim_routes_reader *reader;
static slim_targets targets;

static void setup(void)
{
    links = slim_links_new(&slim_mem_libc, 4096);
    routes = slim_routes_new(&slim_mem_libc, links, 42);
    reader = slim_routes_reader_new(routes);
    targets = (slim_targets){.mem = &slim_mem_libc};
}

static void teardown(void)
{
    slim_targets_free(&targets);
    slim_routes_free(routes);
    slim_links_free(links);
}

TestSuite(routes, .init = setup, .fini = teardown);

static slim_link_id open_link(slim_link_kind kind)
{
    slim_link_id id;

    cr_assert_eq(slim_links_open_xt(links, 0, kind, &id), SLIM_OK);
    return id;
}

static slim_name name_of(uint64_t key, uint64_t id)
{
    return (slim_name){.present = true, .has_name = true, .has_id = true, .key = {{key, key + 1, key + 2}}, .id = {0, id}};
}

static slim_name name_null(uint64_t key, bool has_id)
{
    slim_name n = name_of(key, 0);

    n.has_id = has_id;
    n.id = SLIM_ID_NULL;
    return n;
}

static slim_change sub(slim_link_id link, uint64_t id, slim_name name)
{
    slim_change c;

    cr_assert_eq(slim_routes_subscribe_xt(routes, link, atomic_load(&slim_links_slot_xt(links, link.slot)->kind), id, &name, &c),
                 SLIM_OK);
    return c;
}

static slim_change unsub(slim_link_id link, uint64_t id, slim_name name)
{
    slim_unsub_miss miss;
    slim_change c;

    cr_assert_eq(slim_routes_unsubscribe_xt(routes, link, id, &name, &c, &miss), SLIM_OK);
    cr_assert_eq(miss, SLIM_UNSUB_FOUND);
    return c;
}

static slim_unsub_miss unsub_miss(slim_link_id link, uint64_t id, slim_name name)
{
    slim_unsub_miss miss;
    slim_change c = {true, true};

    cr_assert_eq(slim_routes_unsubscribe_xt(routes, link, id, &name, &c, &miss), SLIM_E_NOT_FOUND);
    cr_assert(!c.edge && !c.unmatched);
    return miss;
}

static slim_err match(slim_name name, uint32_t fanout, slim_link_id from, uint32_t kinds)
{
    slim_err e;

    slim_routes_enter(reader);
    e = slim_routes_match(reader, &name.key, name.has_id ? name.id : SLIM_ID_NULL, fanout, from, kinds, &targets);
    slim_routes_leave(reader);
    cr_assert_eq(e == SLIM_OK, targets.n > 0);
    return e;
}

/* The slot that one publish goes to, -1 for none. */
static long one(slim_name name, slim_link_id from)
{
    slim_err e = match(name, 1, from, SLIM_KINDS_ALL);

    cr_assert(e == SLIM_E_NOT_FOUND || targets.n == 1);
    return e == SLIM_OK ? (long)targets.v[0].slot : -1;
}

/* How many links a fan-out reaches. */
static uint32_t all(slim_name name, slim_link_id from, uint32_t kinds)
{
    slim_err e = match(name, 0, from, kinds);

    cr_assert(e == SLIM_OK || e == SLIM_E_NOT_FOUND);
    return targets.n;
}

Test(routes, matches_exactly_the_id_or_the_union)
{
    slim_link_id a = open_link(SLIM_EDGE), b = open_link(SLIM_EDGE), c = open_link(SLIM_EDGE);

    sub(a, 1, name_of(10, 1));
    sub(b, 1, name_of(10, 2));
    sub(c, 1, name_null(10, true));
    sub(a, 2, name_of(10, 2));

    cr_assert_eq(all(name_of(10, 1), SLIM_LINK_NONE, SLIM_KINDS_ALL), 1);
    cr_assert_eq(targets.v[0].slot, a.slot);
    cr_assert_eq(all(name_of(10, 2), SLIM_LINK_NONE, SLIM_KINDS_ALL), 2);
    cr_assert_eq(all(name_of(10, 2), a, SLIM_KINDS_ALL), 1);
    cr_assert_eq(targets.v[0].slot, b.slot);
    cr_assert_eq(all(name_of(10, 3), SLIM_LINK_NONE, SLIM_KINDS_ALL), 0);
    cr_assert_eq(all(name_of(11, 1), SLIM_LINK_NONE, SLIM_KINDS_ALL), 0);
    cr_assert_eq(all(name_null(10, true), SLIM_LINK_NONE, SLIM_KINDS_ALL), 3, "each link once, whatever its ids");
    cr_assert_eq(all(name_null(10, false), SLIM_LINK_NONE, SLIM_KINDS_ALL), 3);
    cr_assert_eq(all(name_null(11, true), SLIM_LINK_NONE, SLIM_KINDS_ALL), 0);
}

Test(routes, keys_differ_in_any_component)
{
    slim_link_id a = open_link(SLIM_EDGE);
    slim_name n = name_of(10, 1);

    sub(a, 1, n);
    for (int i = 0; i < 3; i++) {
        slim_name other = n;

        other.key.c[i] ^= UINT64_C(1) << 63;
        cr_assert_eq(one(other, SLIM_LINK_NONE), -1);
    }
    n.id.hi = 1;
    cr_assert_eq(one(n, SLIM_LINK_NONE), -1);
}

Test(routes, prefers_kinds_in_order)
{
    slim_link_id edge = open_link(SLIM_EDGE), peer = open_link(SLIM_PEER), remote = open_link(SLIM_REMOTE),
                 local = open_link(SLIM_LOCAL);
    slim_name n = name_of(10, 1), any = name_null(10, false);

    sub(edge, 1, n);
    cr_assert_eq(one(n, SLIM_LINK_NONE), edge.slot);
    sub(peer, 1, n);
    cr_assert_eq(one(n, SLIM_LINK_NONE), peer.slot);
    sub(remote, 1, n);
    cr_assert_eq(one(n, SLIM_LINK_NONE), remote.slot);
    sub(local, 1, n);
    cr_assert_eq(one(n, SLIM_LINK_NONE), local.slot);
    cr_assert_eq(targets.kind[0], SLIM_LOCAL);
    cr_assert_eq(one(any, local), remote.slot, "the next kind when the only link of a kind is the sender");
    cr_assert_eq(targets.kind[0], SLIM_REMOTE);

    cr_assert_eq(match(n, 1, SLIM_LINK_NONE, SLIM_KIND_BIT(SLIM_EDGE) | SLIM_KIND_BIT(SLIM_PEER)), SLIM_OK);
    cr_assert_eq(targets.v[0].slot, peer.slot);
    cr_assert_eq(match(n, 1, edge, SLIM_KIND_BIT(SLIM_EDGE)), SLIM_E_NOT_FOUND);
    cr_assert_eq(all(n, SLIM_LINK_NONE, SLIM_KINDS_ALL & ~SLIM_KIND_BIT(SLIM_PEER)), 3);
    cr_assert_eq(all(any, edge, SLIM_KIND_BIT(SLIM_EDGE)), 0);
    cr_assert_eq(all(any, edge, 0), 0);
    cr_assert_eq(all(n, local, SLIM_KINDS_ALL), 3);
    for (uint32_t i = 0; i < targets.n; i++)
        cr_assert_eq(targets.kind[i], atomic_load(&slim_links_live_xt(links, targets.v[i])->kind));
}

Test(routes, alternates_between_members_of_an_id)
{
    slim_link_id a = open_link(SLIM_EDGE), b = open_link(SLIM_EDGE), c = open_link(SLIM_EDGE);
    slim_name n = name_of(10, 1);

    sub(a, 1, n);
    for (int i = 0; i < 5; i++)
        cr_assert_eq(one(n, SLIM_LINK_NONE), a.slot);
    sub(b, 1, n);
    cr_assert_eq(one(n, SLIM_LINK_NONE), a.slot, "a single member did not move the cursor");
    cr_assert_eq(one(n, SLIM_LINK_NONE), b.slot);
    all(n, SLIM_LINK_NONE, SLIM_KINDS_ALL);
    cr_assert_eq(one(n, SLIM_LINK_NONE), a.slot, "a fan-out does not move it");
    sub(c, 1, n);
    cr_assert_eq(one(n, SLIM_LINK_NONE), a.slot, "cursor 3 of 3");
    cr_assert_eq(one(n, b), c.slot, "cursor 4 is the sender, 5 is taken");
    cr_assert_eq(one(n, SLIM_LINK_NONE), a.slot);
    unsub(a, 1, n);
    /* The cursor stands at 7; c took the place of a. */
    cr_assert_eq(one(n, SLIM_LINK_NONE), b.slot);
    cr_assert_eq(one(n, SLIM_LINK_NONE), c.slot);
    cr_assert_eq(one(n, SLIM_LINK_NONE), b.slot);
}

Test(routes, has_a_cursor_per_id_and_kind)
{
    slim_link_id e[2] = {open_link(SLIM_EDGE), open_link(SLIM_EDGE)}, r[2] = {open_link(SLIM_REMOTE), open_link(SLIM_REMOTE)};
    slim_name n = name_of(10, 1), m = name_of(10, 2);

    for (int i = 0; i < 2; i++) {
        sub(e[i], 1, n);
        sub(r[i], 1, n);
        sub(e[i], 1, m);
    }
    cr_assert_eq(one(n, SLIM_LINK_NONE), r[0].slot);
    cr_assert_eq(match(n, 1, SLIM_LINK_NONE, SLIM_KIND_BIT(SLIM_EDGE)), SLIM_OK);
    cr_assert_eq(targets.v[0].slot, e[0].slot);
    cr_assert_eq(one(m, SLIM_LINK_NONE), e[0].slot);
    cr_assert_eq(one(m, SLIM_LINK_NONE), e[1].slot);
    cr_assert_eq(one(n, SLIM_LINK_NONE), r[1].slot);
}

Test(routes, shares_the_any_id_cursor_between_kinds)
{
    slim_link_id r = open_link(SLIM_REMOTE), e[3] = {open_link(SLIM_EDGE), open_link(SLIM_EDGE), open_link(SLIM_EDGE)};
    slim_name any = name_null(10, false);

    sub(r, 1, name_of(10, 1));
    for (int i = 0; i < 3; i++)
        sub(e[i], 1, name_of(10, (uint64_t)i));
    /* From r: one step for the remote list, one for the edge list. */
    cr_assert_eq(one(any, r), e[1].slot);
    cr_assert_eq(one(any, r), e[0].slot);
    cr_assert_eq(one(any, SLIM_LINK_NONE), r.slot, "cursor 4: also a single member moves it");
    cr_assert_eq(one(any, r), e[0].slot, "cursors 5 and 6");
    cr_assert_eq(match(any, 1, e[1], SLIM_KIND_BIT(SLIM_EDGE)), SLIM_OK);
    cr_assert_eq(targets.v[0].slot, e[2].slot, "cursor 7 is the sender, the scan goes on");
    cr_assert_eq(match(any, 1, SLIM_LINK_NONE, SLIM_KIND_BIT(SLIM_EDGE)), SLIM_OK);
    cr_assert_eq(targets.v[0].slot, e[2].slot, "cursor 8: the scan did not move it");
}

Test(routes, counts_records_per_link)
{
    slim_link_id a = open_link(SLIM_EDGE), b = open_link(SLIM_EDGE);
    slim_name n = name_of(10, 1);
    slim_routes_stats st;
    slim_change c;

    c = sub(a, 0, n);
    cr_assert(c.edge && !c.unmatched);
    c = sub(a, 5, n);
    cr_assert(!c.edge);
    c = sub(a, 5, n);
    cr_assert(!c.edge);
    cr_assert_eq(slim_routes_link_records_xt(routes, a), 2);
    c = unsub(a, 5, n);
    cr_assert(!c.edge && !c.unmatched);
    cr_assert_eq(one(n, SLIM_LINK_NONE), a.slot);
    cr_assert_eq(unsub_miss(a, 5, n), SLIM_UNSUB_NO_RECORD);
    c = sub(b, 9, n);
    cr_assert(!c.edge, "the kind was there already");
    slim_routes_stats_xt(routes, &st);
    cr_assert_eq(st.names, 1);
    cr_assert_eq(st.ids, 1);
    cr_assert_eq(st.records, 2);
    cr_assert_gt(st.bytes, 0);
    c = unsub(a, 0, n);
    cr_assert(!c.edge && !c.unmatched);
    c = unsub(b, 9, n);
    cr_assert(c.edge && c.unmatched);
    cr_assert_eq(one(n, SLIM_LINK_NONE), -1);
    cr_assert_eq(slim_routes_link_records_xt(routes, a), 0);
    slim_routes_stats_xt(routes, &st);
    cr_assert_eq(st.names + st.ids + st.records, 0);
}

Test(routes, edges_are_per_kind)
{
    slim_link_id e = open_link(SLIM_EDGE), p = open_link(SLIM_PEER);
    slim_name n = name_of(10, 1);
    slim_change c;

    cr_assert(sub(e, 1, n).edge);
    cr_assert(sub(p, 1, n).edge);
    cr_assert(sub(e, 1, name_of(10, 2)).edge, "another id is another edge");
    c = unsub(e, 1, n);
    cr_assert(c.edge && !c.unmatched);
    c = unsub(p, 1, n);
    cr_assert(c.edge && c.unmatched);
}

Test(routes, removes_any_record_of_a_link_first)
{
    slim_link_id a = open_link(SLIM_EDGE);
    slim_name n = name_of(10, 1);

    for (uint64_t i = 0; i < 100; i++)
        sub(a, i, n);
    unsub(a, 0, n);
    cr_assert_eq(unsub_miss(a, 0, n), SLIM_UNSUB_NO_RECORD);
    sub(a, 0, n);
    for (uint64_t i = 0; i < 100; i++) {
        slim_change c = unsub(a, i * 37 % 100, n);

        cr_assert_eq(c.unmatched, i == 99);
        cr_assert_eq(one(n, SLIM_LINK_NONE), i == 99 ? -1 : (long)a.slot);
    }
}

Test(routes, names_the_first_thing_that_an_unsubscribe_misses)
{
    slim_link_id a = open_link(SLIM_EDGE), b = open_link(SLIM_EDGE);

    cr_assert_eq(unsub_miss(a, 1, name_of(10, 1)), SLIM_UNSUB_NO_NAME);
    sub(a, 1, name_of(10, 1));
    cr_assert_eq(unsub_miss(a, 1, name_of(11, 1)), SLIM_UNSUB_NO_NAME);
    cr_assert_eq(unsub_miss(a, 1, name_of(10, 2)), SLIM_UNSUB_NO_ID);
    cr_assert_eq(unsub_miss(a, 1, name_null(10, false)), SLIM_UNSUB_NO_ID);
    cr_assert_eq(unsub_miss(a, 2, name_of(10, 1)), SLIM_UNSUB_NO_RECORD);
    cr_assert_eq(unsub_miss(b, 1, name_of(10, 1)), SLIM_UNSUB_NO_RECORD);
    sub(b, 1, name_of(10, 2));
    cr_assert_eq(unsub_miss(b, 1, name_of(10, 1)), SLIM_UNSUB_NO_RECORD);
    unsub(a, 1, name_of(10, 1));
    cr_assert_eq(unsub_miss(a, 1, name_of(10, 1)), SLIM_UNSUB_NO_ID);
    unsub(b, 1, name_of(10, 2));
    cr_assert_eq(unsub_miss(a, 1, name_of(10, 1)), SLIM_UNSUB_NO_NAME);
}

Test(routes, both_forms_of_the_null_id_share_a_slot)
{
    slim_link_id a = open_link(SLIM_EDGE);
    slim_change c;

    cr_assert(sub(a, 1, name_null(10, true)).edge);
    cr_assert(!sub(a, 1, name_null(10, false)).edge);
    cr_assert_eq(slim_routes_link_records_xt(routes, a), 2);
    c = unsub(a, 1, name_null(10, true));
    cr_assert(!c.edge && !c.unmatched);
    cr_assert_eq(unsub_miss(a, 1, name_null(10, true)), SLIM_UNSUB_NO_RECORD);
    cr_assert_eq(one(name_null(10, true), SLIM_LINK_NONE), a.slot);
    c = unsub(a, 1, name_null(10, false));
    cr_assert(c.edge && c.unmatched);
}

Test(routes, many_records_may_share_an_id_on_one_link)
{
    slim_link_id a = open_link(SLIM_EDGE);

    for (uint64_t i = 0; i < 50; i++)
        sub(a, 0, name_of(10, i));
    cr_assert_eq(slim_routes_link_records_xt(routes, a), 50);
    for (uint64_t i = 0; i < 50; i++) {
        cr_assert_eq(one(name_of(10, i), SLIM_LINK_NONE), a.slot);
        unsub(a, 0, name_of(10, i));
        cr_assert_eq(one(name_of(10, i), SLIM_LINK_NONE), -1);
        cr_assert_eq(one(name_null(10, false), SLIM_LINK_NONE), i == 49 ? -1 : (long)a.slot);
    }
}

Test(routes, dead_links_are_never_returned)
{
    slim_link_id a = open_link(SLIM_EDGE), b = open_link(SLIM_EDGE), c;
    slim_name n = name_of(10, 1), any = name_null(10, false);
    slim_change ch;

    sub(a, 1, n);
    sub(b, 1, n);
    slim_links_close_xt(links, a);
    for (int i = 0; i < 4; i++) {
        cr_assert_eq(one(n, SLIM_LINK_NONE), b.slot);
        cr_assert_eq(one(any, SLIM_LINK_NONE), b.slot);
    }
    cr_assert_eq(all(n, SLIM_LINK_NONE, SLIM_KINDS_ALL), 1);
    c = open_link(SLIM_EDGE);
    cr_assert_eq(c.slot, a.slot);
    cr_assert_eq(all(any, SLIM_LINK_NONE, SLIM_KINDS_ALL), 1, "the new link in the slot has not subscribed");
    cr_assert_eq(slim_routes_subscribe_xt(routes, a, SLIM_EDGE, 2, &n, &ch), SLIM_E_CLOSED);
    cr_assert_eq(slim_routes_link_records_xt(routes, c), 0);
    sub(c, 1, n);
    cr_assert_eq(slim_routes_link_records_xt(routes, c), 1);
    cr_assert_eq(all(n, SLIM_LINK_NONE, SLIM_KINDS_ALL), 2);
}

typedef struct gone {
    uint32_t n;
    slim_name name;
    uint64_t id;
    char text[64];
} gone;

static void gone_fn(void *arg, const slim_name *name, uint64_t id)
{
    gone *g = arg;
    slim_change c;
    slim_name other = name_of(77, g->n);

    g->n++;
    g->name = *name;
    g->id = id;
    snprintf(g->text, sizeof(g->text), "%.*s/%.*s/%.*s", (int)name->str[0].n, (const char *)name->str[0].p, (int)name->str[1].n,
             (const char *)name->str[1].p, (int)name->str[2].n, (const char *)name->str[2].p);
    /* Outside of locks: the table may be used from here, even for the same name. */
    cr_assert_eq(slim_routes_subscribe_xt(routes, SLIM_LINK_NONE, SLIM_EDGE, 1, name, &c), SLIM_E_CLOSED);
    cr_assert_eq(slim_routes_subscribe_xt(routes, SLIM_LINK_NONE, SLIM_EDGE, 1, &other, &c), SLIM_E_CLOSED);
}

Test(routes, drops_a_link_in_slices)
{
    slim_link_id a = open_link(SLIM_EDGE), b = open_link(SLIM_PEER);
    uint32_t calls = 0;
    gone g = {0};
    bool more;

    for (uint64_t i = 0; i < 100; i++) {
        sub(a, i, name_of(i / 4 * 10, i));
        sub(a, i + 1000, name_of(i / 4 * 10, i));
        if (i % 2 == 0)
            sub(b, i, name_of(i / 4 * 10, i));
    }
    cr_assert_eq(slim_routes_drop_link_xt(routes, a, 10, gone_fn, &g, &more), SLIM_E_ARG, "it is still open");
    slim_links_close_xt(links, a);
    for (uint64_t left = 200; left > 0; left -= 10) {
        cr_assert_eq(slim_routes_link_records_xt(routes, a), left);
        cr_assert_eq(slim_routes_drop_link_xt(routes, a, 10, gone_fn, &g, &more), SLIM_OK);
        cr_assert_eq(more, left > 10);
        calls++;
    }
    cr_assert_eq(calls, 20);
    cr_assert_eq(g.n, 50);
    cr_assert_eq(slim_routes_link_records_xt(routes, a), 0);
    cr_assert_eq(slim_routes_drop_link_xt(routes, a, 10, gone_fn, &g, &more), SLIM_OK);
    cr_assert(!more && g.n == 50);
    for (uint64_t i = 0; i < 100; i++)
        cr_assert_eq(one(name_of(i / 4 * 10, i), SLIM_LINK_NONE), i % 2 == 0 ? (long)b.slot : -1);
}

Test(routes, tells_gone_names_with_what_was_known)
{
    slim_link_id a = open_link(SLIM_EDGE), b = open_link(SLIM_EDGE);
    slim_name n = name_null(10, false), later;
    char buf[16];
    gone g = {0};
    bool more;

    strcpy(buf, "orgnsbob");
    n.has_str = true;
    n.str[0] = slim_bytes_of(buf, 3);
    n.str[1] = slim_bytes_of(buf + 3, 2);
    n.str[2] = slim_bytes_of(buf + 5, 3);
    sub(a, 7, n);
    later = n;
    later.str[2] = slim_bytes_str("other");
    sub(b, 8, later);
    memset(buf, 'x', sizeof(buf));
    slim_links_close_xt(links, b);
    cr_assert_eq(slim_routes_drop_link_xt(routes, b, 1, gone_fn, &g, &more), SLIM_OK);
    cr_assert_eq(g.n, 0);
    slim_links_close_xt(links, a);
    cr_assert_eq(slim_routes_drop_link_xt(routes, a, 1, gone_fn, &g, &more), SLIM_OK);
    cr_assert_eq(g.n, 1);
    cr_assert_str_eq(g.text, "org/ns/bob");
    cr_assert(g.name.present && g.name.has_name && g.name.has_str && !g.name.has_id);
    cr_assert(slim_id_is_null(g.name.id));
    cr_assert(slim_key_eq(&g.name.key, &n.key));
    cr_assert_eq(g.id, 7);

    a = open_link(SLIM_EDGE);
    sub(a, 3, name_null(10, false));
    sub(a, 4, name_null(10, true));
    slim_links_close_xt(links, a);
    cr_assert_eq(slim_routes_drop_link_xt(routes, a, 9, gone_fn, &g, &more), SLIM_OK);
    cr_assert(g.name.has_id && g.id == 4, "the explicit form was known, under 4");
    cr_assert(!g.name.has_str && g.name.str[0].n == 0, "strings come from the first subscription since the name is known");
}

Test(routes, one_kind_per_link_and_name)
{
    slim_link_id a = open_link(SLIM_EDGE);
    slim_name n = name_of(10, 1), m = name_of(10, 2);
    slim_change c;

    cr_assert_eq(slim_routes_subscribe_xt(routes, a, SLIM_REMOTE, 1, &n, &c), SLIM_OK);
    cr_assert_eq(slim_routes_subscribe_xt(routes, a, SLIM_EDGE, 2, &n, &c), SLIM_OK);
    cr_assert_eq(slim_routes_subscribe_xt(routes, a, SLIM_EDGE, 2, &m, &c), SLIM_OK);
    cr_assert_eq(all(name_null(10, false), SLIM_LINK_NONE, SLIM_KINDS_ALL), 1, "a link is never reached twice");
    cr_assert_eq(all(n, SLIM_LINK_NONE, SLIM_KINDS_ALL), 1);
    unsub(a, 1, n);
    unsub(a, 2, n);
    unsub(a, 2, m);
    cr_assert_eq(slim_routes_subscribe_xt(routes, a, (slim_link_kind)4, 1, &n, &c), SLIM_E_ARG);
}

Test(routes, a_large_list_loses_and_gains_members)
{
    enum { N = 3000 };
    static slim_link_id l[N];
    static bool in[N], hit[N];
    slim_name n = name_of(10, 1);
    uint64_t seed = test_seed();
    uint32_t live = 0;

    for (int i = 0; i < N; i++)
        l[i] = open_link(SLIM_EDGE);
    for (int round = 0; round < 40; round++) {
        /* Filling and emptying rounds, so that the list grows, gets holes, refills them and is copied. */
        for (int i = 0; i < 1500; i++) {
            uint32_t k = (uint32_t)(test_rand(&seed) % N);
            bool want = round % 8 < 4 ? test_rand(&seed) % 8 != 0 : test_rand(&seed) % 8 == 0;

            if (want == in[k])
                continue;
            if (want)
                sub(l[k], 1, n);
            else
                unsub(l[k], 1, n);
            in[k] = want;
            live += want ? 1u : -1u;
        }
        cr_assert_eq(all(n, SLIM_LINK_NONE, SLIM_KINDS_ALL), live);
        memset(hit, 0, sizeof(hit));
        for (uint32_t i = 0; i < targets.n; i++) {
            cr_assert(in[targets.v[i].slot] && !hit[targets.v[i].slot]);
            hit[targets.v[i].slot] = true;
        }
        /* A full turn of the rotation reaches everybody once. */
        memset(hit, 0, sizeof(hit));
        for (uint32_t i = 0; i < live; i++) {
            long at = one(n, SLIM_LINK_NONE);

            cr_assert(at >= 0 && in[at] && !hit[at]);
            hit[at] = true;
        }
        memset(hit, 0, sizeof(hit));
        for (uint32_t i = 0; i < live; i++) {
            long at = one(name_null(10, false), SLIM_LINK_NONE);

            cr_assert(at >= 0 && in[at] && !hit[at]);
            hit[at] = true;
        }
    }
}

Test(routes, refuses_strings_beyond_any_message)
{
    slim_link_id a = open_link(SLIM_EDGE);
    static uint8_t big[4194304 + 1];
    slim_name n = name_of(10, 1);
    slim_change c;

    n.has_str = true;
    n.str[1] = slim_bytes_of(big, sizeof(big));
    cr_assert_eq(slim_routes_subscribe_xt(routes, a, SLIM_EDGE, 1, &n, &c), SLIM_E_TOO_LARGE);
    cr_assert_eq(one(n, SLIM_LINK_NONE), -1);
    n.str[1].n--;
    cr_assert_eq(slim_routes_subscribe_xt(routes, a, SLIM_EDGE, 1, &n, &c), SLIM_OK);
}

Test(routes, gives_memory_back_while_readers_only_enter_and_leave)
{
    test_mem m;
    slim_routes *r;
    slim_routes_reader *rd;
    slim_routes_stats empty, full, st;
    slim_link_id a = open_link(SLIM_EDGE);
    slim_unsub_miss miss;
    slim_change c;
    long before;

    test_mem_init(&m, -1);
    r = slim_routes_new(&m.mem, links, 1);
    rd = slim_routes_reader_new(r);
    slim_routes_stats_xt(r, &empty);
    before = m.live;
    for (uint64_t i = 0; i < 20000; i++) {
        slim_name n = name_of(i, i);

        slim_routes_enter(rd);
        cr_assert_eq(slim_routes_subscribe_xt(r, a, SLIM_EDGE, i, &n, &c), SLIM_OK);
        slim_routes_leave(rd);
    }
    slim_routes_stats_xt(r, &full);
    cr_assert_gt(full.bytes, empty.bytes);
    for (uint64_t i = 0; i < 20000; i++) {
        slim_name n = name_of(i, i);

        slim_routes_enter(rd);
        cr_assert_eq(slim_routes_unsubscribe_xt(r, a, i, &n, &c, &miss), SLIM_OK);
        slim_routes_leave(rd);
    }
    for (int i = 0; i < 64 * 16 * 8; i++) {
        slim_routes_enter(rd);
        slim_routes_leave(rd);
    }
    slim_routes_stats_xt(r, &st);
    cr_assert_lt(st.bytes - empty.bytes, (full.bytes - empty.bytes) / 10);
    /* What may stay: a directory and some small leaves for each of 3 tables in 64 segments. */
    cr_assert_lt(m.live - before, 64 * 3 * 5);
    slim_routes_free(r);
    cr_assert_eq(m.live, 0);
}
