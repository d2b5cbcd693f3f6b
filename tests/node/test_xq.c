#include <criterion/criterion.h>
#include <pthread.h>
#include <stdlib.h>

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
        slim_xq_flush(q, 0);
    }
    cr_assert(slim_xq_backlogged(q));
    for (int i = 0; i < 300; i++) {
        got = drain(q, got);
        put(q, put_n++, 0);
        slim_xq_flush(q, 0);
    }
    do {
        slim_xq_flush(q, 0);
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
    cr_assert(slim_xq_flush(q, 0));
    cr_assert_not(slim_xq_flush(q, 0), "nothing new");
    cr_assert_eq(drain(q, 0), 2);
    put(q, 2, 10);
    slim_xq_flush(q, 0);
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
        slim_xq_flush(q, 0);
        while (slim_xq_under_way_bytes(q) > 1000000)
            slim_xq_flush(q, 0);
    }
    while (slim_xq_backlogged(q))
        slim_xq_flush(q, 0);
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

/* A record whose size and bytes follow from its number. */
static size_t filler_of(uint64_t n)
{
    uint64_t seed = n * 77;
    uint64_t r = test_rand(&seed);

    return r % 64 == 0 ? r / 64 % 40000 : r / 64 % 700;
}

static void put_patterned(slim_xq *q, uint64_t n)
{
    size_t filler = filler_of(n);
    number *x = slim_xq_put(q, (uint32_t)(n % 5), sizeof(*x) + filler, filler);

    if (x == NULL)
        abort(); /* not ours to fail: this may be the producer's thread */
    x->n = n;
    for (size_t i = 0; i < filler; i++)
        x->filler[i] = (uint8_t)(n + i * 7);
}

/* The records of the parcels that are there; the next number expected. */
static uint64_t drain_patterned(slim_xq *q, uint64_t expected, uint64_t *parcels)
{
    slim_parcel *p;

    while ((p = slim_xq_take(q)) != NULL) {
        ++*parcels;
        for (size_t at = 0; at < p->used_bytes; expected++) {
            const number *x = (const number *)(p->data + at);
            size_t filler = filler_of(expected), wrong = 0;

            cr_assert_eq(x->n, expected, "%lu instead of %lu", x->n, expected);
            cr_assert_eq(x->rec.kind, expected % 5);
            cr_assert_eq(x->rec.size_bytes, (sizeof(*x) + filler + 7) / 8 * 8);
            cr_assert_eq((uintptr_t)x % 8, 0);
            for (size_t i = 0; i < filler; i++)
                wrong += x->filler[i] != (uint8_t)(expected + i * 7);
            cr_assert_eq(wrong, 0, "%zu bytes of record %lu", wrong, expected);
            at += x->rec.size_bytes;
        }
        cr_assert_leq(p->used_bytes, p->cap_bytes);
        slim_xq_done(q, p);
    }
    return expected;
}

typedef struct race {
    slim_xq *q;
    uint64_t records;
    _Atomic bool backlogged; /* the overflow list was in use */
} race;

static void *race_producer(void *arg)
{
    race *r = arg;
    uint64_t seed = 1, until_flush = 0;

    for (uint64_t n = 0; n < r->records; n++) {
        put_patterned(r->q, n);
        if (until_flush-- == 0) {
            slim_xq_flush(r->q, 0);
            until_flush = test_rand(&seed) % 4;
        }
        if (slim_xq_backlogged(r->q))
            atomic_store(&r->backlogged, true);
        /* As a worker does: go on when enough is under way, and come back to the overflow list. */
        while (slim_xq_under_way_bytes(r->q) > SLIM_XQ_HIGH_BYTES && atomic_load(&r->backlogged))
            slim_xq_flush(r->q, 0);
    }
    do
        slim_xq_flush(r->q, 0);
    while (slim_xq_backlogged(r->q));
    return NULL;
}

/* The consumer begins when the overflow list is in use, so that both ways are taken whatever the scheduler does. */
Test(xq, two_threads_any_size)
{
    race r = {slim_xq_new(&slim_mem_libc), 30000, false};
    uint64_t got = 0, parcels = 0;
    pthread_t t;

    pthread_create(&t, NULL, race_producer, &r);
    while (!atomic_load(&r.backlogged))
        ;
    while (got < r.records)
        got = drain_patterned(r.q, got, &parcels);
    pthread_join(t, NULL);
    cr_assert(slim_xq_empty(r.q));
    cr_assert_not(slim_xq_backlogged(r.q));
    cr_assert_eq(slim_xq_under_way_bytes(r.q), 0);
    cr_assert_gt(parcels, SLIM_XQ_SLOTS, "the ring went round");
    slim_xq_free(r.q);
}

/* Both indexes run freely; their end is a place like any other. */
Test(xq, indexes_wrap)
{
    slim_xq *q = slim_xq_new(&slim_mem_libc);
    uint64_t put_n = 0, got = 0, parcels = 0;

    q->head = q->tail = q->tail_seen = UINT32_MAX - 300;
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 260; i++) {
            put_patterned(q, put_n++);
            slim_xq_flush(q, 0);
        }
        cr_assert_eq(slim_xq_backlogged(q), true, "260 parcels into %d slots", SLIM_XQ_SLOTS);
        do
            got = drain_patterned(q, got, &parcels);
        while (slim_xq_flush(q, 0));
        cr_assert_eq(got, put_n);
    }
    cr_assert_lt(atomic_load(&q->head), 1000);
    slim_xq_free(q);
}

/* No memory for a parcel: the record is not there, those before and behind it are, in order. */
Test(xq, no_memory)
{
    for (long at = 0; at < 12; at++) {
        uint64_t expected = 0, refused = 0;
        slim_parcel *p;
        slim_xq *q;
        test_mem m;

        test_mem_init(&m, at);
        if ((q = slim_xq_new(&m.mem)) == NULL) {
            cr_assert_eq(at, 0);
            cr_assert_eq(m.live, 0);
            continue;
        }
        for (uint64_t n = 0; n < 10; n++) {
            number *x = slim_xq_put(q, (uint32_t)(n % 5), 12000, 0);

            if (x == NULL) {
                refused++;
                x = slim_xq_put(q, (uint32_t)(n % 5), 12000, 0);
            }
            cr_assert_not_null(x, "once there is memory again");
            x->n = n;
        }
        cr_assert_eq(refused, m.failed);
        cr_assert_eq(slim_xq_under_way_bytes(q), 10 * 12000, "what was refused is not counted");
        slim_xq_flush(q, 0);
        while ((p = slim_xq_take(q)) != NULL) {
            for (size_t k = 0; k < p->used_bytes; k += 12000)
                cr_assert_eq(((const number *)(p->data + k))->n, expected++);
            slim_xq_done(q, p);
        }
        cr_assert_eq(expected, 10);
        slim_xq_free(q);
        cr_assert_eq(m.live, 0);
    }
}

Test(xq, stamp_of_the_next_parcel)
{
    slim_xq *q = slim_xq_new(&slim_mem_libc);

    cr_assert_eq(slim_xq_stamp_ns(q), UINT64_MAX);
    for (uint64_t now = 7; now < 10; now++) {
        cr_assert_not_null(slim_xq_put(q, 1, sizeof(slim_xrec), 0));
        slim_xq_flush(q, now);
    }
    for (uint64_t now = 7; now < 10; now++) {
        cr_assert_eq(slim_xq_stamp_ns(q), now);
        slim_xq_done(q, slim_xq_take(q));
    }
    cr_assert_eq(slim_xq_stamp_ns(q), UINT64_MAX);
    slim_xq_free(q);
}
