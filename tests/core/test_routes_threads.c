/* Readers match while writers change everything around the names that stay. What must hold at any moment:
 * a member that was there all the time is delivered exactly once, a publish with a member left finds one, and nobody gets what he
 * never subscribed to. At the end nothing is left of links that were closed, however a subscribe raced with the close. */
#include "core/routes.h"
#include "support/support.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <time.h>

enum { KEYS = 3, IDS = 3, STABLE = 6, CHURNERS = 2, READERS = 2, SLOTS = 1024, GENS = 4096, CROWD = 3000 };
enum { RUN_MS = 1200 };

typedef enum fault { WRONG_NAME, MISSED, DOUBLED, NONE_FOUND, FROM_SEEN, CROWD_LOST, BAD_CODE, FAULTS } fault;

static slim_links *links;
static slim_routes *routes;
static slim_link_id stable[KEYS][STABLE];
/* Bits of the names (key * IDS + id) that a link may ever get, by slot and generation. */
static _Atomic uint32_t allowed[SLOTS][GENS];
static _Atomic uint64_t victim; /* slot << 32 | gen of a link that others subscribe for while it is closed */
static _Atomic bool stop;
static _Atomic uint64_t faults[FAULTS], delivered, changed;
static uint64_t base_seed;

static void fail(fault f)
{
    atomic_fetch_add(&faults[f], 1);
}
static _Atomic uint32_t *allowed_of(slim_link_id l)
{
    return &allowed[l.slot][l.gen % GENS];
}

static slim_name name_of(uint64_t key, uint64_t id)
{
    return (slim_name){.present = true, .has_name = true, .has_id = true, .key = {{key, 5, 6}}, .id = {1, id}};
}

static slim_name crowd_name(uint64_t i)
{
    return name_of(1000 + i / 3, i);
}

static slim_link_kind kind_of(slim_link_id l)
{
    return (slim_link_kind)atomic_load(&slim_links_slot_xt(links, l.slot)->kind);
}

static slim_link_id open_link(slim_link_kind kind, uint32_t names)
{
    slim_link_id l;

    if (slim_links_open_xt(links, 0, kind, &l) != SLIM_OK)
        fail(BAD_CODE);
    atomic_store(allowed_of(l), names);
    return l;
}

static void drop(slim_link_id l, uint32_t max)
{
    bool more = true;

    slim_links_close_xt(links, l);
    while (more)
        if (slim_routes_drop_link_xt(routes, l, max, NULL, NULL, &more) != SLIM_OK)
            fail(BAD_CODE);
}

/* Links of its own come, subscribe to some of what they may, leave again or are lost. */
static void *churner_main(void *arg)
{
    uint64_t seed = base_seed + (uint64_t)(uintptr_t)arg;
    slim_link_id own[12];
    uint32_t names[12];

    for (int i = 0; i < 12; i++)
        own[i] = open_link(i % 2 != 0 ? SLIM_EDGE : SLIM_PEER, names[i] = (uint32_t)test_rand(&seed) & 0x1ff);
    while (!atomic_load(&stop)) {
        uint32_t i = (uint32_t)(test_rand(&seed) % 12), n = (uint32_t)(test_rand(&seed) % (KEYS * IDS)),
                 what = (uint32_t)(test_rand(&seed) % 64);
        slim_name name = name_of(n / IDS, n % IDS);
        slim_unsub_miss miss;
        slim_change c;

        if (what == 0) {
            drop(own[i], 1 + (uint32_t)(test_rand(&seed) % 4));
            own[i] = open_link(i % 2 != 0 ? SLIM_EDGE : SLIM_PEER, names[i] = (uint32_t)test_rand(&seed) & 0x1ff);
        } else if (what < 36 && (names[i] >> n & 1) != 0) {
            if (slim_routes_subscribe_xt(routes, own[i], kind_of(own[i]), what % 2, &name, &c) != SLIM_OK)
                fail(BAD_CODE);
        } else {
            slim_routes_unsubscribe_xt(routes, own[i], what % 2, &name, &c, &miss);
        }
        atomic_fetch_add_explicit(&changed, 1, memory_order_relaxed);
    }
    for (int i = 0; i < 12; i++)
        drop(own[i], 100);
    return NULL;
}

/* Many other names come and go in all segments, so that leaves grow, split, shrink and refill removed cells under the readers. */
static void *crowd_main(void *arg)
{
    slim_link_id l = *(slim_link_id *)arg;
    uint64_t seed = base_seed + 77;

    while (!atomic_load(&stop)) {
        uint64_t first = test_rand(&seed) % CROWD, n = test_rand(&seed) % CROWD;

        for (uint64_t i = 0; i < n && !atomic_load(&stop); i++) {
            slim_name name = crowd_name((first + i) % CROWD);
            slim_unsub_miss miss;
            slim_change c;

            if ((first & 1) != 0 ? slim_routes_subscribe_xt(routes, l, SLIM_EDGE, 9, &name, &c) != SLIM_OK
                                 : (first + i) % CROWD % 7 != 0)
                slim_routes_unsubscribe_xt(routes, l, 9, &name, &c, &miss);
        }
    }
    return NULL;
}

/* Subscribes for the victim from another thread, whether it is still open or not. */
static void *late_main(void *arg)
{
    uint64_t seed = base_seed + 99;

    while (!atomic_load(&stop)) {
        uint64_t v = atomic_load(&victim);
        uint32_t n = (uint32_t)(test_rand(&seed) % (KEYS * IDS));
        slim_name name = name_of(n / IDS, n % IDS);
        slim_change c;
        slim_err e = slim_routes_subscribe_xt(routes, (slim_link_id){(uint32_t)(v >> 32), (uint32_t)v}, SLIM_EDGE, 3, &name, &c);

        if (e != SLIM_OK && e != SLIM_E_CLOSED)
            fail(BAD_CODE);
    }
    return arg;
}

static void *killer_main(void *arg)
{
    while (!atomic_load(&stop)) {
        slim_link_id l = open_link(SLIM_EDGE, 0x1ff);

        atomic_store(&victim, (uint64_t)l.slot << 32 | l.gen);
        for (int i = 0; i < 50 && slim_routes_link_records_xt(routes, l) < 5; i++)
            sched_yield();
        drop(l, 3);
    }
    return arg;
}

static bool walk_fn(void *arg, const slim_known *known)
{
    uint64_t key = known->name->key.c[0];

    if (key < KEYS)
        ((uint32_t *)arg)[key * IDS + known->name->id.lo]++;
    return true;
}

static void *walker_main(void *arg)
{
    while (!atomic_load(&stop)) {
        uint32_t seen[KEYS * IDS] = {0};
        slim_routes_cursor c = {0};
        bool more = true;

        while (more)
            slim_routes_walk_xt(routes, &c, 100, SLIM_LINK_NONE, walk_fn, seen, &more);
        for (int i = 0; i < KEYS * IDS; i++)
            if (seen[i] != 1)
                fail(seen[i] == 0 ? MISSED : DOUBLED);
    }
    return arg;
}

/* stable[key][i] is in slot i % IDS, and the stable members of a slot are two. */
static void check(slim_targets *t, uint64_t key, uint64_t id, bool any, slim_link_id from, uint32_t fanout, slim_err e)
{
    uint32_t names = any ? 7u << key * IDS : 1u << (key * IDS + id);

    if (e != SLIM_OK) {
        fail(NONE_FOUND);
        return;
    }
    for (uint32_t i = 0; i < t->n; i++) {
        if (slim_link_id_eq(t->v[i], from))
            fail(FROM_SEEN);
        if ((atomic_load(allowed_of(t->v[i])) & names) == 0)
            fail(WRONG_NAME);
    }
    atomic_fetch_add_explicit(&delivered, t->n, memory_order_relaxed);
    for (uint32_t s = 0; s < STABLE && fanout != 1; s++) {
        uint32_t hits = 0, want = (any || s % IDS == id) && !slim_link_id_eq(stable[key][s], from);

        for (uint32_t i = 0; i < t->n; i++)
            hits += slim_link_id_eq(t->v[i], stable[key][s]);
        if (hits != want)
            fail(hits < want ? MISSED : DOUBLED);
    }
}

static void *reader_main(void *arg)
{
    uint64_t seed = base_seed + 1000 + (uint64_t)(uintptr_t)arg;
    slim_routes_reader *rd = slim_routes_reader_new(routes);
    slim_targets t = {.mem = &slim_mem_libc};

    while (!atomic_load(&stop)) {
        slim_routes_enter(rd);
        for (int i = 0; i < 8; i++) {
            uint64_t key = test_rand(&seed) % KEYS, id = test_rand(&seed) % IDS, far = test_rand(&seed) % CROWD / 7 * 7;
            slim_link_id from = stable[key][test_rand(&seed) % STABLE];
            bool any = test_rand(&seed) % 2 != 0;
            uint32_t fanout = (uint32_t)(test_rand(&seed) % 2);
            slim_name name = name_of(key, id), crowd = crowd_name(far);

            if (test_rand(&seed) % 2 != 0)
                from = SLIM_LINK_NONE;
            check(&t, key, id, any, from, fanout,
                  slim_routes_match(rd, &name.key, any ? SLIM_ID_NULL : name.id, fanout, from, SLIM_KINDS_ALL, &t));
            if (slim_routes_match(rd, &crowd.key, crowd.id, 0, SLIM_LINK_NONE, SLIM_KINDS_ALL, &t) != SLIM_OK || t.n != 1)
                fail(CROWD_LOST);
        }
        slim_routes_leave(rd);
    }
    slim_targets_free(&t);
    return NULL;
}

Test(routes_threads, readers_see_a_consistent_table)
{
    static void *(*const extra[])(void *) = {crowd_main, late_main, killer_main, walker_main};
    pthread_t thread[READERS + CHURNERS + 4];
    slim_link_id crowd;
    slim_routes_stats st;
    slim_change c;
    int n = 0;

    base_seed = test_seed();
    links = slim_links_new(&slim_mem_libc, SLOTS);
    routes = slim_routes_new(&slim_mem_libc, links, base_seed);
    crowd = open_link(SLIM_EDGE, 0);
    for (uint64_t k = 0; k < KEYS; k++)
        for (uint64_t i = 0; i < STABLE; i++) {
            slim_name name = name_of(k, i % IDS);

            stable[k][i] = open_link(SLIM_EDGE, 1u << (k * IDS + i % IDS));
            cr_assert_eq(slim_routes_subscribe_xt(routes, stable[k][i], SLIM_EDGE, 1, &name, &c), SLIM_OK);
        }
    for (uint64_t i = 0; i < CROWD; i += 7) {
        slim_name name = crowd_name(i);

        cr_assert_eq(slim_routes_subscribe_xt(routes, crowd, SLIM_EDGE, 9, &name, &c), SLIM_OK);
    }

    for (uintptr_t i = 0; i < READERS; i++)
        pthread_create(&thread[n++], NULL, reader_main, (void *)i);
    for (uintptr_t i = 0; i < CHURNERS; i++)
        pthread_create(&thread[n++], NULL, churner_main, (void *)i);
    for (int i = 0; i < 4; i++)
        pthread_create(&thread[n++], NULL, extra[i], &crowd);
    nanosleep(&(struct timespec){RUN_MS / 1000, RUN_MS % 1000 * 1000000L}, NULL);
    atomic_store(&stop, true);
    for (int i = 0; i < n; i++)
        pthread_join(thread[i], NULL);

    cr_log_info("%llu delivered, %llu changed", (unsigned long long)delivered, (unsigned long long)changed);
    cr_assert_gt(delivered, 0);
    cr_assert_gt(changed, 0);
    for (int i = 0; i < FAULTS; i++)
        cr_assert_eq(faults[i], 0, "fault %d: %llu times", i, (unsigned long long)faults[i]);
    drop(crowd, 1000);
    slim_routes_stats_xt(routes, &st);
    cr_assert_eq(st.records, KEYS * STABLE, "records of closed links are left");
    for (uint64_t k = 0; k < KEYS; k++)
        for (uint64_t i = 0; i < STABLE; i++)
            drop(stable[k][i], 1);
    slim_routes_stats_xt(routes, &st);
    cr_assert_eq(st.names + st.ids + st.records, 0);
    slim_routes_free(routes);
    slim_links_free(links);
}

/* Two publishers of one id take turns with its cursor, so that one of them may be sent to itself with each of its tries. */
static void *rotator_main(void *arg)
{
    slim_routes_reader *rd = slim_routes_reader_new(routes);
    slim_targets t = {.mem = &slim_mem_libc};
    slim_name name = name_of(0, 0);
    slim_link_id *own = arg;

    while (!atomic_load(&stop)) {
        slim_routes_enter(rd);
        for (int i = 0; i < 64; i++) {
            slim_err e = slim_routes_match(rd, &name.key, name.id, 1, *own, SLIM_KINDS_ALL, &t);

            if (e != SLIM_OK)
                fail(NONE_FOUND);
            else if (slim_link_id_eq(t.v[0], *own))
                fail(FROM_SEEN);
        }
        slim_routes_leave(rd);
        atomic_fetch_add_explicit(&delivered, 64, memory_order_relaxed);
    }
    slim_targets_free(&t);
    return NULL;
}

Test(routes_threads, members_who_publish_at_once_find_each_other)
{
    pthread_t thread[3];
    slim_link_id own[2];
    slim_name name = name_of(0, 0);
    slim_change c;

    links = slim_links_new(&slim_mem_libc, SLOTS);
    routes = slim_routes_new(&slim_mem_libc, links, test_seed());
    for (int i = 0; i < 2; i++) {
        own[i] = open_link(SLIM_EDGE, 1);
        cr_assert_eq(slim_routes_subscribe_xt(routes, own[i], SLIM_EDGE, 1, &name, &c), SLIM_OK);
    }
    for (int i = 0; i < 3; i++)
        pthread_create(&thread[i], NULL, rotator_main, &own[i % 2]);
    nanosleep(&(struct timespec){0, 300 * 1000000L}, NULL);
    atomic_store(&stop, true);
    for (int i = 0; i < 3; i++)
        pthread_join(thread[i], NULL);

    cr_assert_gt(delivered, 0);
    for (int i = 0; i < FAULTS; i++)
        cr_assert_eq(faults[i], 0, "fault %d: %llu times", i, (unsigned long long)faults[i]);
    for (int i = 0; i < 2; i++)
        drop(own[i], 1);
    slim_routes_free(routes);
    slim_links_free(links);
}
