#include "node/xq.h"

#include <string.h>

#define PARCEL_BYTES 16384u

slim_xq *slim_xq_new(slim_mem *m)
{
    slim_xq *q = slim_zalloc(m, 1, sizeof(*q));

    if (q == NULL)
        return NULL;
    ck_ring_init(&q->ring, SLIM_XQ_SLOTS);
    q->mem = m;
    return q;
}

void slim_xq_free(slim_xq *q)
{
    slim_parcel *p;

    while ((p = slim_xq_take(q)) != NULL)
        slim_free(q->mem, p);
    while ((p = q->overflow) != NULL) {
        q->overflow = p->next;
        slim_free(q->mem, p);
    }
    slim_free(q->mem, q->open);
    slim_free(q->mem, q);
}

static void overflow_append(slim_xq *q, slim_parcel *p)
{
    p->next = NULL;
    if (q->overflow == NULL)
        q->overflow = p;
    else
        q->overflow_tail->next = p;
    q->overflow_tail = p;
}

void *slim_xq_put(slim_xq *q, uint32_t kind, size_t n, size_t extra_bytes)
{
    size_t size = (n + 7) & ~(size_t)7;
    slim_xrec *rec;

    if (q->open != NULL && q->open->cap_bytes - q->open->used_bytes < size) {
        overflow_append(q, q->open);
        q->open = NULL;
    }
    if (q->open == NULL) {
        size_t cap = size > PARCEL_BYTES ? size : PARCEL_BYTES;

        if ((q->open = slim_alloc(q->mem, sizeof(*q->open) + cap)) == NULL)
            return NULL;
        q->open->next = NULL;
        q->open->used_bytes = 0;
        q->open->cap_bytes = cap;
        q->open->cost_bytes = 0;
    }
    rec = (slim_xrec *)(q->open->data + q->open->used_bytes);
    rec->size_bytes = (uint32_t)size;
    rec->kind = kind;
    q->open->used_bytes += size;
    q->open->cost_bytes += size + extra_bytes;
    q->sent_bytes += size + extra_bytes;
    return rec;
}

bool slim_xq_flush(slim_xq *q)
{
    bool sent = false;

    if (q->open != NULL && q->open->used_bytes > 0) {
        overflow_append(q, q->open);
        q->open = NULL;
    }
    while (q->overflow != NULL) {
        slim_parcel *p = q->overflow, *next = p->next;

        /* The consumer owns the parcel as soon as it is in the ring. */
        if (!ck_ring_enqueue_spsc(&q->ring, q->slots, p))
            break;
        q->overflow = next;
        sent = true;
    }
    return sent;
}

bool slim_xq_backlogged(const slim_xq *q) { return q->overflow != NULL; }

uint64_t slim_xq_under_way_bytes(const slim_xq *q)
{
    return q->sent_bytes - atomic_load_explicit(&q->done_bytes, memory_order_acquire);
}

slim_parcel *slim_xq_take(slim_xq *q)
{
    void *p;

    return ck_ring_dequeue_spsc(&q->ring, q->slots, &p) ? p : NULL;
}

void slim_xq_done(slim_xq *q, slim_parcel *p)
{
    /* Only the consumer writes, so a plain add is enough. */
    uint64_t done = atomic_load_explicit(&q->done_bytes, memory_order_relaxed) + p->cost_bytes;

    atomic_store_explicit(&q->done_bytes, done, memory_order_release);
    slim_free(q->mem, p);
}

bool slim_xq_empty(const slim_xq *q) { return ck_ring_size(&q->ring) == 0; }
