#include <criterion/criterion.h>
#include <stdlib.h>

#include "io/sendq.h"
#include "support/support.h"

static slim_buf *block_of(size_t n, uint8_t first)
{
    slim_buf *b = slim_block_new(&slim_mem_libc, n);

    for (size_t i = 0; i < n; i++)
        b->mem[i] = (uint8_t)(first + i);
    return b;
}

static void unref_all(slim_slice *v, size_t n)
{
    for (size_t i = 0; i < n; i++)
        slim_buf_unref(v[i].buf);
}

Test(sendq, short_messages_lie_back_to_back)
{
    test_mem m;
    slim_sendq q = {0};
    slim_slice v[8];
    size_t k;

    test_mem_init(&m, -1);
    q.mem = &m.mem;
    for (int i = 0; i < 20; i++)
        memset(slim_sendq_reserve(&q, 100), i, 100);
    cr_assert_eq(q.bytes, 2000);
    cr_assert_eq(slim_sendq_slices(&q, 2000), 1);
    cr_assert_eq(slim_sendq_take(&q, 5000, v, 8, &k), 2000);
    cr_assert_eq(k, 1);
    for (int i = 0; i < 2000; i++)
        cr_assert_eq(v[0].p[i], i / 100);
    cr_assert_eq(q.bytes, 0);
    unref_all(v, k);
    slim_sendq_clear(&q);
    cr_assert_eq(m.live, 0);
}

Test(sendq, long_parts_go_by_reference)
{
    test_mem m;
    slim_sendq q = {0};
    slim_slice v[8];
    slim_buf *b = block_of(SLIM_SENDQ_REF_MIN, 3);
    size_t k;

    test_mem_init(&m, -1);
    q.mem = &m.mem;
    cr_assert_eq(slim_sendq_add(&q, slim_bytes_of(b->mem, SLIM_SENDQ_REF_MIN - 1), b), SLIM_OK);
    cr_assert_eq(b->refs, 1, "a short one is copied");
    cr_assert_eq(slim_sendq_add(&q, slim_bytes_of(b->mem, SLIM_SENDQ_REF_MIN), b), SLIM_OK);
    cr_assert_eq(b->refs, 2);
    cr_assert_eq(slim_sendq_add(&q, slim_bytes_of(b->mem, SLIM_SENDQ_REF_MIN), NULL), SLIM_OK);
    cr_assert_eq(b->refs, 2, "without a hold it is copied");
    cr_assert_eq(slim_sendq_add(&q, slim_bytes_of(b->mem, 0), b), SLIM_OK);
    cr_assert_eq(q.bytes, 3 * SLIM_SENDQ_REF_MIN - 1);
    cr_assert_eq(slim_sendq_slices(&q, SLIM_SENDQ_REF_MIN - 1), 1);
    cr_assert_eq(slim_sendq_slices(&q, SLIM_SENDQ_REF_MIN), 2);
    cr_assert_geq(slim_sendq_slices(&q, q.bytes), 3);
    /* Part of a reference: the rest stays, each with a reference of its own. */
    cr_assert_eq(slim_sendq_take(&q, SLIM_SENDQ_REF_MIN + 9, v, 8, &k), SLIM_SENDQ_REF_MIN + 9);
    cr_assert_eq(k, 2);
    cr_assert(v[1].p == b->mem && v[1].n == 10 && v[1].foreign);
    cr_assert_eq(b->refs, 3);
    unref_all(v, k);
    cr_assert_eq(b->refs, 2);
    cr_assert_eq(slim_sendq_take(&q, 1, v, 8, &k), 1);
    cr_assert(v[0].p == b->mem + 10);
    slim_sendq_clear(&q);
    cr_assert_eq(q.bytes, 0);
    cr_assert_eq(b->refs, 2, "a taken slice outlives the queue");
    unref_all(v, k);
    cr_assert_eq(b->refs, 1);
    cr_assert_eq(m.live, 0);
    slim_buf_unref(b);
}

Test(sendq, taking_is_limited_by_slices)
{
    slim_sendq q = {.mem = &slim_mem_libc};
    slim_buf *b = block_of(2000, 0);
    slim_slice v[2];
    size_t k;

    for (int i = 0; i < 5; i++)
        slim_sendq_add(&q, slim_bytes_of(b->mem, 2000), b);
    cr_assert_eq(slim_sendq_take(&q, 10000, v, 2, &k), 4000);
    cr_assert_eq(k, 2);
    cr_assert_eq(q.bytes, 6000);
    cr_assert_eq(b->refs, 6);
    unref_all(v, k);
    slim_sendq_clear(&q);
    slim_buf_unref(b);
}

Test(sendq, evacuation)
{
    test_mem m;
    slim_sendq q = {0};
    slim_buf *b = block_of(5000, 1);
    slim_slice v[8];
    size_t k;

    test_mem_init(&m, -1);
    q.mem = &m.mem;
    memset(slim_sendq_reserve(&q, 10), 'x', 10);
    slim_sendq_add(&q, slim_bytes_of(b->mem, 2000), b);
    slim_sendq_add(&q, slim_bytes_of(b->mem + 2000, 3000), b);
    slim_sendq_take(&q, 110, v, 8, &k);
    unref_all(v, k);
    m.fail_at = 1;
    m.calls = 0;
    cr_assert_eq(slim_sendq_evacuate(&q), 1900, "the second has no memory and stays a reference");
    cr_assert_eq(b->refs, 2);
    m.fail_at = -1;
    cr_assert_eq(slim_sendq_evacuate(&q), 3000);
    cr_assert_eq(b->refs, 1);
    memset(b->mem, 0, 5000);
    cr_assert_eq(q.bytes, 4900);
    cr_assert_eq(slim_sendq_take(&q, 9999, v, 8, &k), 4900);
    for (size_t i = 0, at = 100; i < k; i++)
        for (size_t n = 0; n < v[i].n; n++, at++)
            cr_assert_eq(v[i].p[n], (uint8_t)(1 + at));
    unref_all(v, k);
    slim_sendq_clear(&q);
    cr_assert_eq(m.live, 0);
    slim_buf_unref(b);
}

Test(sendq, an_idle_queue_holds_no_chunk)
{
    test_mem m;
    slim_sendq q = {0};
    slim_slice v[1];
    size_t k;
    long idle;

    test_mem_init(&m, -1);
    q.mem = &m.mem;
    slim_sendq_reserve(&q, 10);
    slim_sendq_take(&q, 10, v, 1, &k);
    unref_all(v, k);
    idle = m.live;
    cr_assert_leq(idle, 1, "the ring of slices at most: %ld", idle);
    slim_sendq_reserve(&q, 10);
    cr_assert_gt(m.live, idle);
    slim_sendq_clear(&q);
    cr_assert_eq(m.live, 0);
}

Test(sendq, an_idle_queue_forgets_how_deep_it_was)
{
    enum { N = 65 };
    slim_buf *b = block_of(2000, 1);
    test_mem m;
    slim_sendq q = {0};
    slim_slice v[N];
    size_t k;

    test_mem_init(&m, -1);
    q.mem = &m.mem;
    for (int deep = 0; deep < 2; deep++) {
        size_t n = deep != 0 ? N : N - 1;

        for (int round = 0; round < 2; round++) {
            for (size_t i = 0; i < n; i++)
                cr_assert_eq(slim_sendq_add(&q, slim_bytes_of(b->mem, 2000), b), SLIM_OK);
            cr_assert_eq(slim_sendq_take(&q, n * 2000, v, N, &k), n * 2000);
            cr_assert_eq(k, n);
            unref_all(v, k);
            cr_assert_eq(m.live, deep != 0 ? 0 : 1, "%zu slices: %ld allocations are left", n, m.live);
        }
    }
    slim_sendq_clear(&q);
    cr_assert_eq(m.live, 0);
    cr_assert_eq(b->refs, 1);
    slim_buf_unref(b);
}

Test(sendq, without_memory_nothing_changes)
{
    slim_buf *b = block_of(2000, 1);

    for (long n = 0; n < 6; n++) {
        test_mem m;
        slim_sendq q = {0};
        size_t bytes = 0;

        test_mem_init(&m, n);
        q.mem = &m.mem;
        for (int i = 0; i < 20; i++) {
            if (slim_sendq_reserve(&q, 500) != NULL)
                bytes += 500;
            cr_assert_eq(q.bytes, bytes);
            if (slim_sendq_add(&q, slim_bytes_of(b->mem, 2000), b) == SLIM_OK)
                bytes += 2000;
            cr_assert_eq(q.bytes, bytes);
        }
        cr_assert(m.failed);
        cr_assert_eq(bytes, 20 * 2500 - (bytes % 2000 == 0 ? 2000u : 500u), "one of them failed: %zu", bytes);
        slim_sendq_clear(&q);
        cr_assert_eq(m.live, 0);
        cr_assert_eq(b->refs, 1);
    }
    slim_buf_unref(b);
}

/* Random additions, takes and evacuations against a plain byte array. */
Test(sendq, model)
{
    uint64_t seed = test_seed();

    for (int round = 0; round < 30; round++) {
        test_mem m;
        slim_sendq q = {0};
        slim_buf *b = block_of(70000, (uint8_t)round);
        size_t cap = 1 << 22, in = 0, out = 0, wire_n = 0;
        uint8_t *model = malloc(cap);
        slim_slice wire[64];

        test_mem_init(&m, -1);
        q.mem = &m.mem;
        for (int i = 0; i < 2000; i++) {
            size_t n = test_rand(&seed) % (test_rand(&seed) % 4 == 0 ? 40000 : 300);

            if (in + n > cap)
                break;
            switch (test_rand(&seed) % 4) {
            case 0: {
                uint8_t *room = slim_sendq_reserve(&q, n + 1);

                if (in + n + 1 > cap)
                    abort();
                for (size_t k = 0; k <= n; k++)
                    room[k] = model[in + k] = (uint8_t)(k * 3 + n);
                in += n + 1;
                break;
            }
            case 1: {
                size_t at = test_rand(&seed) % (70000 - n);

                cr_assert_eq(slim_sendq_add(&q, slim_bytes_of(b->mem + at, n), test_rand(&seed) % 3 == 0 ? NULL : b), SLIM_OK);
                memcpy(model + in, b->mem + at, n);
                in += n;
                break;
            }
            case 2: {
                size_t max = 1 + test_rand(&seed) % 64, k, got, slices = slim_sendq_slices(&q, n);

                /* What was taken before stays untouched until it is let go. */
                unref_all(wire, wire_n);
                got = slim_sendq_take(&q, n, wire, max, &wire_n);
                cr_assert_leq(wire_n, max);
                cr_assert_eq(wire_n, slices < max ? slices : max);
                cr_assert_eq(got, n < in - out && slices <= max ? n : got);
                for (k = 0; k < wire_n; k++) {
                    cr_assert_eq(memcmp(wire[k].p, model + out, wire[k].n), 0);
                    out += wire[k].n;
                    got -= wire[k].n;
                }
                cr_assert_eq(got, 0);
                break;
            }
            case 3:
                if (test_rand(&seed) % 20 == 0)
                    slim_sendq_evacuate(&q);
                break;
            }
            cr_assert_eq(q.bytes, in - out);
        }
        unref_all(wire, wire_n);
        slim_sendq_clear(&q);
        cr_assert_eq(b->refs, 1);
        cr_assert_eq(m.live, 0);
        slim_buf_unref(b);
        free(model);
    }
}
