#include "node/xq.h"

#include <string.h>

#define PARCEL_BYTES 16384u

slim_xq *slim_xq_new(slim_mem *m)
{
    slim_xq *q = slim_zalloc(m, 1, sizeof(*q));

    if (q == NULL)
        return NULL;
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

static bool ring_put(slim_xq *q, slim_parcel *p)
{
    uint32_t head = atomic_load_explicit(&q->head, memory_order_relaxed);

    if (head - q->tail_seen == SLIM_XQ_SLOTS) {
        q->tail_seen = atomic_load_explicit(&q->tail, memory_order_acquire);
        if (head - q->tail_seen == SLIM_XQ_SLOTS)
            return false;
    }
    q->slots[head % SLIM_XQ_SLOTS] = p;
    atomic_store_explicit(&q->head, head + 1, memory_order_release);
    return true;
}

bool slim_xq_flush(slim_xq *q, uint64_t now_ns)
{
    bool sent = false;

    if (q->open != NULL && q->open->used_bytes > 0) {
        overflow_append(q, q->open);
        q->open = NULL;
    }
    while (q->overflow != NULL) {
        slim_parcel *p = q->overflow, *next = p->next;

        p->stamp_ns = now_ns;
        /* The consumer owns the parcel as soon as it is in the ring. */
        if (!ring_put(q, p))
            break;
        q->overflow = next;
        sent = true;
    }
    return sent;
}

bool slim_xq_backlogged(const slim_xq *q)
{
    return q->overflow != NULL;
}

uint64_t slim_xq_under_way_bytes(const slim_xq *q)
{
    return q->sent_bytes - atomic_load_explicit(&q->done_bytes, memory_order_acquire);
}

slim_parcel *slim_xq_take(slim_xq *q)
{
    uint32_t tail = atomic_load_explicit(&q->tail, memory_order_relaxed);
    slim_parcel *p;

    if (tail == atomic_load_explicit(&q->head, memory_order_acquire))
        return NULL;
    p = q->slots[tail % SLIM_XQ_SLOTS];
    atomic_store_explicit(&q->tail, tail + 1, memory_order_release);
    return p;
}

uint64_t slim_xq_stamp_ns(const slim_xq *q)
{
    uint32_t tail = atomic_load_explicit(&q->tail, memory_order_relaxed);

    return tail == atomic_load_explicit(&q->head, memory_order_acquire) ? UINT64_MAX : q->slots[tail % SLIM_XQ_SLOTS]->stamp_ns;
}

void slim_xq_done(slim_xq *q, slim_parcel *p)
{
    /* Only the consumer writes, so a plain add is enough. */
    uint64_t done = atomic_load_explicit(&q->done_bytes, memory_order_relaxed) + p->cost_bytes;

    atomic_store_explicit(&q->done_bytes, done, memory_order_release);
    slim_free(q->mem, p);
}

bool slim_xq_empty(const slim_xq *q)
{
    return atomic_load_explicit(&q->tail, memory_order_relaxed) == atomic_load_explicit(&q->head, memory_order_acquire);
}
