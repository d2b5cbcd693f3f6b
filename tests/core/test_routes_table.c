/* The hash table under the routing table, alone: against a plain array, with hashes chosen to collide. */
#include "core/routes_int.h"
#include "support/support.h"

#include <criterion/criterion.h>

enum { OBJECTS = 3000 };

typedef struct object {
    uint64_t hash, key;
    bool in;
} object;

static object all[OBJECTS];

static bool key_eq(const void *obj, const void *want)
{
    return ((const object *)obj)->key == *(const uint64_t *)want;
}

static void play(uint64_t (*hash_of)(uint64_t draw, uint64_t i), int steps)
{
    slim_links *links = slim_links_new(&slim_mem_libc, 1);
    test_mem m;
    slim_routes *r;
    slim_rtable t = {NULL};
    uint64_t seed = test_seed();
    uint32_t live = 0, most = 0;
    slim_rseg *s;

    test_mem_init(&m, -1);
    r = slim_routes_new(&m.mem, links, seed);
    s = &r->seg[5];
    for (uint64_t i = 0; i < OBJECTS; i++)
        all[i] = (object){hash_of(test_rand(&seed), i), i, false};
    for (int n = 0; n < steps; n++) {
        object *o = &all[test_rand(&seed) % OBJECTS];
        bool grow = n / 8000 % 2 == 0 ? test_rand(&seed) % 8 != 0 : test_rand(&seed) % 8 == 0;

        cr_assert_eq(slim_rtable_find(&t, o->hash, key_eq, &o->key), o->in ? o : NULL);
        slim_rseg_lock(s);
        if (grow && !o->in) {
            cr_assert_eq(slim_rtable_reserve(s, &t, o->hash, 1), SLIM_OK);
            slim_rtable_insert(&t, o->hash, o);
            o->in = true;
            live++;
        } else if (!grow && o->in) {
            slim_rtable_remove(s, &t, o->hash, o);
            o->in = false;
            live--;
        }
        slim_rseg_unlock(s);
        most = live > most ? live : most;
        if (n % 1000 == 0)
            for (int i = 0; i < OBJECTS; i++)
                cr_assert_eq(slim_rtable_find(&t, all[i].hash, key_eq, &all[i].key), all[i].in ? &all[i] : NULL);
    }
    cr_assert_gt(most, OBJECTS / 2);
    slim_rtable_free(s, &t, NULL);
    slim_routes_free(r);
    slim_links_free(links);
    cr_assert_eq(m.live, 0);
}

static uint64_t hash_random(uint64_t draw, uint64_t i)
{
    (void)i;
    return draw;
}

/* All start at the same cell of their leaf. */
static uint64_t hash_same_cell(uint64_t draw, uint64_t i)
{
    (void)i;
    return draw & ~(uint64_t)0xffffff;
}

/* Splitting helps late: the top bits are mostly equal. */
static uint64_t hash_same_top(uint64_t draw, uint64_t i)
{
    (void)i;
    return draw >> 14;
}

/* Equal hashes: only the comparison of the key tells them apart, and no split does. */
static uint64_t hash_equal(uint64_t draw, uint64_t i)
{
    (void)draw;
    return i % 20;
}

Test(routes_table, keeps_random_hashes)
{
    play(hash_random, 60000);
}
Test(routes_table, keeps_clustered_hashes)
{
    play(hash_same_cell, 30000);
}
Test(routes_table, keeps_hashes_of_one_range)
{
    play(hash_same_top, 60000);
}

Test(routes_table, tells_equal_hashes_apart)
{
    slim_links *links = slim_links_new(&slim_mem_libc, 1);
    slim_routes *r = slim_routes_new(&slim_mem_libc, links, 1);
    slim_rtable t = {NULL};
    slim_rseg *s = &r->seg[0];

    for (uint64_t i = 0; i < 600; i++) {
        all[i] = (object){hash_equal(0, i), i, true};
        cr_assert_eq(slim_rtable_reserve(s, &t, all[i].hash, 1), SLIM_OK);
        slim_rtable_insert(&t, all[i].hash, &all[i]);
    }
    for (uint64_t i = 0; i < 600; i += 3)
        slim_rtable_remove(s, &t, all[i].hash, &all[i]);
    for (uint64_t i = 0; i < 600; i++)
        cr_assert_eq(slim_rtable_find(&t, all[i].hash, key_eq, &i), i % 3 == 0 ? NULL : &all[i]);
    slim_rtable_free(s, &t, NULL);
    slim_routes_free(r);
    slim_links_free(links);
}
