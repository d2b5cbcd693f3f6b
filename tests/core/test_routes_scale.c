/* Large tables. What is checked are counts and results; that it ends within the runner's limit shows that nothing is quadratic. */
#include "core/routes.h"
#include "support/support.h"

#include <criterion/criterion.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SCALE 20
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SCALE 20
#endif
#endif
#ifndef SCALE
#define SCALE 1
#endif

enum { MANY = 1000000 / SCALE, LINKS = 10000 / SCALE };

static slim_links *links;
static slim_routes *routes;
static slim_routes_reader *reader;
static slim_targets targets;
static slim_link_id link_a;

static void setup(void)
{
    links = slim_links_new(&slim_mem_libc, 20000);
    routes = slim_routes_new(&slim_mem_libc, links, test_seed());
    reader = slim_routes_reader_new(routes);
    targets = (slim_targets){.mem = &slim_mem_libc};
    cr_assert_eq(slim_links_open_xt(links, 0, SLIM_EDGE, &link_a), SLIM_OK);
}

static void teardown(void)
{
    slim_targets_free(&targets);
    slim_routes_free(routes);
    slim_links_free(links);
}

TestSuite(routes_scale, .init = setup, .fini = teardown);

static slim_name name_of(uint64_t key, uint64_t id)
{
    return (slim_name){.present = true, .has_name = true, .has_id = true, .key = {{1, 2, key}}, .id = {0, id}};
}

static void sub(slim_link_id l, slim_name n)
{
    slim_change c;

    cr_assert_eq(slim_routes_subscribe_xt(routes, l, SLIM_EDGE, 1, &n, &c), SLIM_OK);
}

static void unsub(slim_link_id l, slim_name n)
{
    slim_unsub_miss miss;
    slim_change c;

    cr_assert_eq(slim_routes_unsubscribe_xt(routes, l, 1, &n, &c, &miss), SLIM_OK);
}

static uint32_t reach(slim_name n, slim_id id, uint32_t fanout)
{
    slim_routes_enter(reader);
    (void)slim_routes_match(reader, &n.key, id, fanout, SLIM_LINK_NONE, SLIM_KINDS_ALL, &targets);
    slim_routes_leave(reader);
    return targets.n;
}

static void count_gone(void *arg, const slim_name *name, uint64_t id)
{
    cr_assert(name->has_id && id == 1);
    ++*(uint64_t *)arg;
}

static bool count_known(void *arg, const slim_known *known)
{
    cr_assert_eq(known->kinds, SLIM_KIND_BIT(SLIM_EDGE));
    ++*(uint64_t *)arg;
    return true;
}

/* The link's end, in slices, and that nothing is left. */
static void lose(slim_link_id l, uint64_t names)
{
    uint64_t gone = 0, slices = 0;
    slim_routes_stats st;
    bool more = true;

    slim_links_close_xt(links, l);
    for (; more; slices++)
        cr_assert_eq(slim_routes_drop_link_xt(routes, l, 1000, count_gone, &gone, &more), SLIM_OK);
    cr_assert_eq(gone, names);
    cr_assert_leq(slices, names / 1000 + 1);
    slim_routes_stats_xt(routes, &st);
    cr_assert_eq(st.names + st.ids + st.records, 0);
}

static void walk(uint64_t names)
{
    slim_routes_cursor c = {0};
    uint64_t n = 0;
    bool more = true;

    while (more)
        cr_assert_eq(slim_routes_walk_xt(routes, &c, 1000, SLIM_LINK_NONE, count_known, &n, &more), SLIM_OK);
    cr_assert_eq(n, names);
}

Test(routes_scale, a_million_names)
{
    slim_routes_stats st;

    for (uint64_t i = 0; i < MANY; i++)
        sub(link_a, name_of(i, i));
    slim_routes_stats_xt(routes, &st);
    cr_assert_eq(st.names, MANY);
    cr_assert_eq(st.ids, MANY);
    cr_assert_lt(st.bytes / MANY, 640, "%llu bytes per name", (unsigned long long)st.bytes / MANY);
    for (uint64_t i = 0; i < MANY; i += 5) {
        cr_assert_eq(reach(name_of(i, 0), (slim_id){0, i}, 1), 1);
        cr_assert_eq(reach(name_of(i, 0), SLIM_ID_NULL, 0), 1);
        cr_assert_eq(reach(name_of(i, 0), (slim_id){0, i + 1}, 1), 0);
    }
    cr_assert_eq(reach(name_of(MANY, 0), SLIM_ID_NULL, 1), 0);
    walk(MANY);
    lose(link_a, MANY);
}

Test(routes_scale, a_million_ids_of_one_name)
{
    slim_routes_stats st;

    for (uint64_t i = 0; i < MANY; i++)
        sub(link_a, name_of(7, i));
    slim_routes_stats_xt(routes, &st);
    cr_assert_eq(st.names, 1);
    cr_assert_eq(st.ids, MANY);
    for (uint64_t i = 0; i < MANY; i += 5)
        cr_assert_eq(reach(name_of(7, 0), (slim_id){0, i}, 1), 1);
    cr_assert_eq(reach(name_of(7, 0), SLIM_ID_NULL, 0), 1);
    walk(MANY);
    for (uint64_t i = 0; i < MANY; i += 2)
        unsub(link_a, name_of(7, i));
    cr_assert_eq(reach(name_of(7, 0), (slim_id){0, 0}, 1), 0);
    cr_assert_eq(reach(name_of(7, 0), (slim_id){0, 1}, 1), 1);
    cr_assert_eq(reach(name_of(7, 0), SLIM_ID_NULL, 0), 1);
    lose(link_a, MANY / 2);
}

Test(routes_scale, many_records_of_one_name)
{
    slim_name n = name_of(7, 1);
    uint64_t gone = 0, slices = 0;
    slim_change c;
    bool more = true;

    for (uint64_t i = 0; i < MANY / 4; i++)
        cr_assert_eq(slim_routes_subscribe_xt(routes, link_a, SLIM_EDGE, i, &n, &c), SLIM_OK);
    cr_assert_eq(slim_routes_link_records_xt(routes, link_a), MANY / 4);
    slim_links_close_xt(links, link_a);
    for (; more; slices++)
        cr_assert_eq(slim_routes_drop_link_xt(routes, link_a, 1000, NULL, &gone, &more), SLIM_OK);
    cr_assert_eq(slices, (MANY / 4 + 999) / 1000);
    cr_assert_eq(slim_routes_link_records_xt(routes, link_a), 0);
}

Test(routes_scale, many_links_on_one_name)
{
    static slim_link_id l[LINKS];
    slim_name n = name_of(7, 1);
    slim_routes_stats st;

    for (int i = 0; i < LINKS; i++) {
        cr_assert_eq(slim_links_open_xt(links, 0, SLIM_EDGE, &l[i]), SLIM_OK);
        sub(l[i], n);
    }
    cr_assert_eq(reach(n, n.id, 0), LINKS);
    for (int round = 0; round < 20; round++) {
        for (int i = round % 3; i < LINKS; i += 3)
            unsub(l[i], n);
        cr_assert_eq(reach(n, n.id, 0), (uint32_t)(LINKS - (LINKS - round % 3 + 2) / 3));
        for (int i = round % 3; i < LINKS; i += 3)
            sub(l[i], n);
        cr_assert_eq(reach(n, SLIM_ID_NULL, 0), LINKS);
    }
    for (int i = 0; i < LINKS; i++)
        unsub(l[i], n);
    slim_routes_stats_xt(routes, &st);
    cr_assert_eq(st.names, 0);
}
