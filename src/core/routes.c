#include "core/routes_int.h"

#include <string.h>

/* A segment looks at its limbo once per so many changes, when so much waits there, and frees so much at a time. */
#define SETTLE_OPS 16
#define SETTLE_PENDING 32
#define SETTLE_FREES 256
/* A reader lends a hand once per so many sections. */
#define LEAVES_PER_HELP 16

static void *alloc_aligned(slim_mem *m, size_t n, void **raw)
{
    if ((*raw = slim_zalloc(m, 1, n + 63)) == NULL)
        return NULL;
    return (void *)(((uintptr_t)*raw + 63) & ~(uintptr_t)63);
}

slim_routes *slim_routes_new(slim_mem *m, slim_links *links, uint64_t seed)
{
    void *raw;
    slim_routes *r = alloc_aligned(m, sizeof(*r), &raw);

    if (r == NULL)
        return NULL;
    r->mem = m;
    r->links = links;
    r->raw = raw;
    for (size_t i = 0; i < SLIM_ROUTES_SECRETS; i++) {
        seed += 0x9e3779b97f4a7c15u;
        r->secret[i] = slim_rmix(seed ^ 0x2545f4914f6cdd1du, seed ^ 0xd1342543de82ef95u);
    }
    pthread_mutex_init(&r->lock, NULL);
    ck_epoch_init(&r->epoch);
    for (uint32_t i = 0; i < SLIM_RSEGS; i++) {
        slim_rseg *s = &r->seg[i];

        s->routes = r;
        s->index = i;
        pthread_mutex_init(&s->lock, NULL);
        ck_stack_init(&s->ready);
        ck_epoch_register(&r->epoch, &s->epoch, NULL);
    }
    return r;
}

void slim_rcount(_Atomic uint64_t *c, int64_t d)
{
    atomic_store_explicit(c, atomic_load_explicit(c, memory_order_relaxed) + (uint64_t)d, memory_order_relaxed);
}

void *slim_rseg_alloc(slim_rseg *s, size_t n)
{
    void *p = slim_alloc(s->routes->mem, n);

    if (p != NULL)
        slim_rcount(&s->n_bytes, (int64_t)n);
    return p;
}

void slim_rseg_free(slim_rseg *s, void *p, size_t n)
{
    if (p != NULL)
        slim_rcount(&s->n_bytes, -(int64_t)n);
    slim_free(s->routes->mem, p);
}

/* Never called: what is ready is freed by hand, in bounded slices and with the table's allocator. */
static void limbo_unused(ck_epoch_entry_t *e)
{
    (void)e;
}

void slim_rseg_retire(slim_rseg *s, void *p, size_t n)
{
    slim_routes *r = s->routes;
    uint64_t bit = (uint64_t)1 << s->index;

    slim_rcount(&s->n_bytes, -(int64_t)n);
    /* The object must be out of sight before the epoch is read, else a reader of the next epoch could still have found it. */
    ck_pr_fence_memory();
    ck_epoch_call(&s->epoch, p, limbo_unused);
    if ((atomic_load_explicit(&r->dirty, memory_order_relaxed) & bit) == 0)
        atomic_fetch_or_explicit(&r->dirty, bit, memory_order_relaxed);
}

/* Frees up to max objects that no reader can have in hand any more. Under the lock. */
static void seg_reclaim(slim_rseg *s, uint32_t max)
{
    slim_routes *r = s->routes;
    ck_stack_entry_t *e;

    s->ops = 0;
    if (s->epoch.n_pending != 0)
        ck_epoch_poll_deferred(&s->epoch, &s->ready);
#ifdef SLIM_ROUTES_TSAN
    (void)atomic_load_explicit(&r->left, memory_order_acquire);
#endif
    while (max-- > 0 && (e = ck_stack_pop_npsc(&s->ready)) != NULL)
        slim_free(r->mem, (char *)e - offsetof(ck_epoch_entry_t, stack_entry));
    if (s->epoch.n_pending == 0 && CK_STACK_ISEMPTY(&s->ready))
        atomic_fetch_and_explicit(&r->dirty, ~((uint64_t)1 << s->index), memory_order_relaxed);
}

void slim_rseg_lock(slim_rseg *s)
{
    pthread_mutex_lock(&s->lock);
}

void slim_rseg_unlock(slim_rseg *s)
{
    if (++s->ops >= SETTLE_OPS && (s->epoch.n_pending >= SETTLE_PENDING || !CK_STACK_ISEMPTY(&s->ready)))
        seg_reclaim(s, SETTLE_FREES);
    pthread_mutex_unlock(&s->lock);
}

void slim_rwide_free(slim_rseg *s, slim_rwide *w, size_t n)
{
    for (int k = 0; k < SLIM_LINK_KINDS; k++)
        slim_rlist_drop(s, &w->list[k]);
    slim_rseg_free(s, w, n);
}

static void word_free(slim_rseg *s, const slim_rword *word, size_t n)
{
    uint64_t w = slim_rword_get(word);

    if (!slim_rword_single(w))
        slim_rwide_free(s, slim_rwide_of(w), n);
}

static void entry_free(slim_rseg *s, void *obj)
{
    slim_rentry *e = obj;

    word_free(s, &e->word, sizeof(slim_rwide));
    slim_rseg_free(s, e, slim_rentry_size(e));
}

static void slot_free(slim_rseg *s, void *obj)
{
    slim_rslot *slot = obj;

    word_free(s, &slot->word, sizeof(slim_rcrowd));
    slim_rseg_free(s, slot, sizeof(*slot));
}

static void mark_free(slim_rseg *s, void *obj)
{
    static const size_t size[] = {
        [SLIM_RNODE_MEMBER] = sizeof(slim_rmember),
        [SLIM_RNODE_AGGREGATE] = sizeof(slim_raggregate),
        [SLIM_RNODE_RECORD] = sizeof(slim_rrecord),
        [SLIM_RNODE_OWNER] = sizeof(slim_rowner),
    };

    slim_rseg_free(s, obj, size[((const slim_rnode *)obj)->type]);
}

void slim_routes_free(slim_routes *r)
{
    slim_routes_reader *rd;

    if (r == NULL)
        return;
    for (uint32_t i = 0; i < SLIM_RSEGS; i++) {
        slim_rseg *s = &r->seg[i];

        slim_rtable_free(s, &s->slots, slot_free);
        slim_rtable_free(s, &s->names, entry_free);
        slim_rtable_free(s, &s->marks, mark_free);
        seg_reclaim(s, UINT32_MAX);
        assert(s->epoch.n_pending == 0);
        assert(atomic_load_explicit(&s->n_bytes, memory_order_relaxed) == 0);
        pthread_mutex_destroy(&s->lock);
    }
    while ((rd = r->readers) != NULL) {
        r->readers = rd->next;
        slim_free(r->mem, rd->raw);
    }
    pthread_mutex_destroy(&r->lock);
    slim_free(r->mem, r->raw);
}

slim_routes_reader *slim_routes_reader_new(slim_routes *r)
{
    void *raw;
    slim_routes_reader *rd = alloc_aligned(r->mem, sizeof(*rd), &raw);

    if (rd == NULL)
        return NULL;
    rd->routes = r;
    rd->raw = raw;
    ck_epoch_register(&r->epoch, &rd->epoch, NULL);
    pthread_mutex_lock(&r->lock);
    rd->next = r->readers;
    r->readers = rd;
    pthread_mutex_unlock(&r->lock);
    return rd;
}

void slim_routes_enter(slim_routes_reader *rd)
{
    ck_epoch_begin(&rd->epoch, NULL);
}

/* One segment, and only if nobody else is at it. */
static void reader_help(slim_routes_reader *rd, uint64_t dirty)
{
    uint32_t first = rd->leaves / LEAVES_PER_HELP % SLIM_RSEGS;
    uint64_t turned = dirty >> first | dirty << (-first & (SLIM_RSEGS - 1));
    slim_rseg *s = &rd->routes->seg[(first + (uint32_t)__builtin_ctzll(turned)) % SLIM_RSEGS];

    if (pthread_mutex_trylock(&s->lock) == 0) {
        seg_reclaim(s, SETTLE_FREES);
        pthread_mutex_unlock(&s->lock);
    }
}

void slim_routes_leave(slim_routes_reader *rd)
{
    uint64_t dirty;

#ifdef SLIM_ROUTES_TSAN
    atomic_fetch_add_explicit(&rd->routes->left, 1, memory_order_release);
#endif
    ck_epoch_end(&rd->epoch, NULL);
    if (++rd->leaves % LEAVES_PER_HELP == 0 && (dirty = atomic_load_explicit(&rd->routes->dirty, memory_order_relaxed)) != 0)
        reader_help(rd, dirty);
}

void slim_rentry_unref(slim_rseg *s, slim_rentry *e)
{
    uint64_t w = slim_rword_get(&e->word);

    if (--e->w.refs != 0)
        return;
    if (!slim_rword_single(w))
        slim_rseg_retire(s, slim_rwide_of(w), sizeof(slim_rwide));
    slim_rseg_retire(s, e, slim_rentry_size(e));
}

void slim_rslot_name(const slim_rslot *s, bool has_id, slim_name *out)
{
    const slim_rentry *e = s->entry;
    const uint8_t *p = e->str;

    *out = (slim_name){.present = true, .has_name = true, .has_id = has_id, .has_str = e->has_str, .key = e->key, .id = s->id};
    for (int i = 0; i < 3; i++) {
        out->str[i] = slim_bytes_of(p, e->str_n[i]);
        p += e->str_n[i];
    }
}

void slim_routes_stats_xt(const slim_routes *r, slim_routes_stats *out)
{
    *out = (slim_routes_stats){0};
    for (uint32_t i = 0; i < SLIM_RSEGS; i++) {
        const slim_rseg *s = &r->seg[i];

        out->names += atomic_load_explicit(&s->n_names, memory_order_relaxed);
        out->ids += atomic_load_explicit(&s->n_ids, memory_order_relaxed);
        out->records += atomic_load_explicit(&s->n_records, memory_order_relaxed);
        out->bytes += atomic_load_explicit(&s->n_bytes, memory_order_relaxed);
    }
    out->bytes += sizeof(*r);
}

uint64_t slim_routes_link_records_xt(const slim_routes *r, slim_link_id link)
{
    const slim_link_slot *l = slim_links_slot_xt(r->links, link.slot);
    uint64_t v = l != NULL ? atomic_load_explicit(&l->records, memory_order_relaxed) : 0;

    return link.gen != 0 && v >> 32 == link.gen ? (uint32_t)v : 0;
}
