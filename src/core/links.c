#include "core/links.h"

#include <pthread.h>
#include <stdbool.h>

#define CHUNK_BITS 10
#define CHUNK_SLOTS (1u << CHUNK_BITS)
/* The routing table packs a slot into 31 bits, of which it takes two for the kind of a sole link. */
#define SLOTS_MAX (1u << 29)
#define NO_SLOT UINT32_MAX

typedef struct chunk {
    _Atomic(slim_link_slot *) slot; /* aligned to the cache line inside raw */
    void *raw;
} chunk;

struct slim_links {
    slim_mem *mem;
    uint32_t n_chunks;
    _Atomic uint32_t used; /* slots below it were handed out once */
    _Atomic uint32_t count;
    uint32_t free; /* the last freed slot, under lock */
    pthread_mutex_t lock;
    chunk chunk[];
};

slim_links *slim_links_new(slim_mem *m, uint32_t max)
{
    uint32_t n = (uint32_t)(((uint64_t)(max < SLOTS_MAX ? max : SLOTS_MAX) + CHUNK_SLOTS - 1) >> CHUNK_BITS);
    slim_links *t = slim_zalloc(m, 1, sizeof(*t) + n * sizeof(chunk));

    if (t == NULL)
        return NULL;
    t->mem = m;
    t->n_chunks = n;
    t->free = NO_SLOT;
    pthread_mutex_init(&t->lock, NULL);
    return t;
}

void slim_links_free(slim_links *t)
{
    if (t == NULL)
        return;
    for (uint32_t i = 0; i < t->n_chunks; i++)
        slim_free(t->mem, t->chunk[i].raw);
    pthread_mutex_destroy(&t->lock);
    slim_free(t->mem, t);
}

static slim_err chunk_make(slim_links *t, chunk *c)
{
    size_t align = _Alignof(slim_link_slot);
    void *raw = slim_zalloc(t->mem, 1, CHUNK_SLOTS * sizeof(slim_link_slot) + align - 1);

    if (raw == NULL)
        return SLIM_E_NOMEM;
    c->raw = raw;
    atomic_store_explicit(&c->slot, (slim_link_slot *)(((uintptr_t)raw + align - 1) & ~(uintptr_t)(align - 1)),
                          memory_order_release);
    return SLIM_OK;
}

/* Takes a slot off the free list, or the first one never used. Under the lock. */
static slim_err slot_take(slim_links *t, uint32_t *out)
{
    uint32_t used = atomic_load_explicit(&t->used, memory_order_relaxed);
    slim_err e;

    if (t->free != NO_SLOT) {
        *out = t->free;
        t->free = slim_links_slot_xt(t, *out)->next_free;
        return SLIM_OK;
    }
    if (used >> CHUNK_BITS >= t->n_chunks)
        return SLIM_E_TOO_LARGE;
    if (t->chunk[used >> CHUNK_BITS].raw == NULL && (e = chunk_make(t, &t->chunk[used >> CHUNK_BITS])) != SLIM_OK)
        return e;
    atomic_store_explicit(&t->used, used + 1, memory_order_release);
    *out = used;
    return SLIM_OK;
}

slim_err slim_links_open_xt(slim_links *t, uint16_t worker, slim_link_kind kind, slim_link_id *out)
{
    slim_link_slot *s;
    uint32_t slot;
    slim_err e;

    pthread_mutex_lock(&t->lock);
    if ((e = slot_take(t, &slot)) == SLIM_OK) {
        s = slim_links_slot_xt(t, slot);
        if (++s->last_gen == 0)
            s->last_gen = 1;
        atomic_store_explicit(&s->worker, worker, memory_order_relaxed);
        atomic_store_explicit(&s->kind, (uint8_t)kind, memory_order_relaxed);
        atomic_store_explicit(&s->congested, 0, memory_order_relaxed);
        atomic_store_explicit(&s->signs, 0, memory_order_relaxed);
        atomic_store_explicit(&s->gen, s->last_gen, memory_order_release);
        atomic_fetch_add_explicit(&t->count, 1, memory_order_relaxed);
        *out = (slim_link_id){slot, s->last_gen};
    }
    pthread_mutex_unlock(&t->lock);
    return e;
}

void slim_links_close_xt(slim_links *t, slim_link_id id)
{
    slim_link_slot *s;

    pthread_mutex_lock(&t->lock);
    if ((s = slim_links_live_xt(t, id)) != NULL) {
        atomic_store_explicit(&s->gen, 0, memory_order_release);
        s->next_free = t->free;
        t->free = id.slot;
        atomic_fetch_sub_explicit(&t->count, 1, memory_order_relaxed);
    }
    pthread_mutex_unlock(&t->lock);
}

slim_link_slot *slim_links_slot_xt(const slim_links *t, uint32_t slot)
{
    if (slot >= atomic_load_explicit(&t->used, memory_order_acquire))
        return NULL;
    return atomic_load_explicit(&t->chunk[slot >> CHUNK_BITS].slot, memory_order_acquire) + (slot & (CHUNK_SLOTS - 1));
}

slim_link_slot *slim_links_live_xt(const slim_links *t, slim_link_id id)
{
    slim_link_slot *s = slim_links_slot_xt(t, id.slot);

    return s != NULL && id.gen != 0 && atomic_load_explicit(&s->gen, memory_order_acquire) == id.gen ? s : NULL;
}

slim_link_id slim_links_at_xt(const slim_links *t, uint32_t slot)
{
    slim_link_slot *s = slim_links_slot_xt(t, slot);
    uint32_t gen = s != NULL ? atomic_load_explicit(&s->gen, memory_order_acquire) : 0;

    return gen != 0 ? (slim_link_id){slot, gen} : SLIM_LINK_NONE;
}

uint32_t slim_links_count_xt(const slim_links *t)
{
    return atomic_load_explicit(&t->count, memory_order_relaxed);
}
