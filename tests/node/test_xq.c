#include <criterion/criterion.h>
#include <pthread.h>

#include "node/xq.h"
#include "support/support.h"

typedef struct number {
    slim_xrec rec;
    uint64_t n;
    uint8_t filler[];
} number;

static uint64_t drain(slim_xq *q, uint64_t expected)
{
    slim_parcel *p;

    while ((p = slim_xq_take(q)) != NULL) {
        for (size_t at = 0; at < p->used_bytes;) {
            const number *x = (const number *)(p->data + at);

            cr_assert_eq(x->n, expected, "records leave in the order they were put: %lu instead of %lu", x->n, expected);
            cr_assert_eq(x->rec.kind, x->n % 5);
            cr_assert_eq(x->rec.size_bytes % 8, 0);
            at += x->rec.size_bytes;
            expected++;
        }
        slim_xq_done(q, p);
    }
    return expected;
}

static void put(slim_xq *q, uint64_t n, size_t filler)
{
    number *x = slim_xq_put(q, (uint32_t)(n % 5), sizeof(*x) + filler, 100);

    cr_assert_not_null(x);
    x->n = n;
}

Test(xq, order_through_the_overflow)
{
    uint64_t seed = test_seed(), put_n = 0, got = 0;
    slim_xq *q = slim_xq_new(&slim_mem_libc);

    /* Far more parcels than the ring has slots: what does not fit waits and keeps its place. */
    for (int i = 0; i < 1000; i++) {
        for (int k = 0; k < 5; k++)
            put(q, put_n++, test_rand(&seed) % 300);
        slim_xq_flush(q);
    }
    cr_assert(slim_xq_backlogged(q));
    for (int i = 0; i < 300; i++) {
        got = drain(q, got);
        put(q, put_n++, 0);
        slim_xq_flush(q);
    }
    do {
        slim_xq_flush(q);
        got = drain(q, got);
    } while (slim_xq_backlogged(q) || !slim_xq_empty(q));
    cr_assert_eq(got, put_n);
    cr_assert_eq(slim_xq_under_way_bytes(q), 0, "everything consumed, %lu bytes still under way", slim_xq_under_way_bytes(q));
    cr_assert(slim_xq_empty(q));
    slim_xq_free(q);
}

Test(xq, big_records_and_leftovers)
{
    test_mem m;
    slim_xq *q;

    test_mem_init(&m, -1);
    q = slim_xq_new(&m.mem);
    put(q, 0, 200000);
    put(q, 1, 10);
    cr_assert_geq(slim_xq_under_way_bytes(q), 200010 + 200);
    cr_assert(slim_xq_flush(q));
    cr_assert_not(slim_xq_flush(q), "nothing new");
    cr_assert_eq(drain(q, 0), 2);
    put(q, 2, 10);
    slim_xq_flush(q);
    put(q, 3, 10);
    slim_xq_free(q); /* one parcel in the ring, one open */
    cr_assert_eq(m.live, 0);
}

static void *producer(void *arg)
{
    slim_xq *q = arg;

    for (uint64_t n = 0; n < 200000;) {
        for (int k = 0; k < 50; k++, n++)
            put(q, n, n % 64);
        slim_xq_flush(q);
        while (slim_xq_under_way_bytes(q) > 1000000)
            slim_xq_flush(q);
    }
    while (slim_xq_backlogged(q))
        slim_xq_flush(q);
    return NULL;
}

Test(xq, two_threads)
{
    slim_xq *q = slim_xq_new(&slim_mem_libc);
    uint64_t got = 0;
    pthread_t t;

    pthread_create(&t, NULL, producer, q);
    while (got < 200000)
        got = drain(q, got);
    pthread_join(t, NULL);
    cr_assert_eq(slim_xq_under_way_bytes(q), 0);
    slim_xq_free(q);
}
