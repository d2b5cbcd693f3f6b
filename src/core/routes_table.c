#include "core/routes_int.h"

static size_t leaf_size(uint32_t bits)
{
    return sizeof(slim_rcell) << bits;
}
static size_t dir_size(uint32_t depth)
{
    return sizeof(slim_rdir) + ((size_t)1 << depth) * sizeof(uintptr_t);
}
static uintptr_t leaf_word(const slim_rleaf *l)
{
    return (uintptr_t)l | (l->bits - SLIM_RLEAF_MIN_BITS);
}

static slim_rleaf *leaf_new(slim_rseg *s, uint32_t depth, uint32_t bits)
{
    slim_rleaf *l = slim_rseg_alloc(s, leaf_size(bits));

    if (l == NULL)
        return NULL;
    static_assert(sizeof(slim_rleaf) == 2 * sizeof(slim_rcell), "the head fills whole cells");
    assert(((uintptr_t)l & 15) == 0);
    l->used = l->live = 0;
    l->depth = depth;
    l->bits = bits;
    for (uint32_t i = 0; i < slim_rleaf_cells(bits); i++) {
        atomic_init(&l->cell[i].hash, 0);
        atomic_init(&l->cell[i].obj, NULL);
    }
    return l;
}

/* Enough for n objects at half load. */
static uint32_t bits_for(uint32_t n)
{
    uint32_t bits = SLIM_RLEAF_MIN_BITS;

    while (n > 1u << (bits - 1))
        bits++;
    return bits;
}

static void leaf_put(slim_rleaf *l, uint64_t hash, void *obj)
{
    uint32_t n = slim_rleaf_cells(l->bits);

    for (uint32_t i = slim_rleaf_first(hash, n);; i = i + 1 < n ? i + 1 : 0) {
        slim_rcell *c = &l->cell[i];
        void *was = atomic_load_explicit(&c->obj, memory_order_relaxed);

        if (was != NULL && was != SLIM_RCELL_GONE)
            continue;
        l->used += was == NULL;
        l->live++;
        assert(l->used < n);
        atomic_store_explicit(&c->hash, hash, memory_order_relaxed);
        atomic_store_explicit(&c->obj, obj, memory_order_release);
        return;
    }
}

static void leaf_copy(const slim_rleaf *from, slim_rleaf *zero, slim_rleaf *one)
{
    for (uint32_t i = 0; i < slim_rleaf_cells(from->bits); i++) {
        void *obj = atomic_load_explicit(&from->cell[i].obj, memory_order_relaxed);
        uint64_t hash = atomic_load_explicit(&from->cell[i].hash, memory_order_relaxed);

        if (obj != NULL && obj != SLIM_RCELL_GONE)
            leaf_put(hash >> (63 - from->depth) & 1 ? one : zero, hash, obj);
    }
}

/* All words of the directory that lead to leaves whose hashes begin with the first `depth` bits of hash. */
static void dir_set(slim_rdir *d, uint64_t hash, uint32_t depth, const slim_rleaf *l)
{
    size_t n = (size_t)1 << (d->depth - depth), first = slim_rdir_index(d->depth, hash) & ~(n - 1);

    for (size_t i = first; i < first + n; i++)
        atomic_store_explicit(&d->leaf[i], leaf_word(l), memory_order_release);
}

static slim_rdir *dir_new(slim_rseg *s, uint32_t depth)
{
    slim_rdir *d = slim_rseg_alloc(s, dir_size(depth));

    if (d != NULL)
        d->depth = depth;
    return d;
}

static slim_err table_begin(slim_rseg *s, slim_rtable *t)
{
    slim_rdir *d = dir_new(s, 0);
    slim_rleaf *l;

    if (d == NULL)
        return SLIM_E_NOMEM;
    if ((l = leaf_new(s, 0, SLIM_RLEAF_MIN_BITS)) == NULL) {
        slim_rseg_free(s, d, dir_size(0));
        return SLIM_E_NOMEM;
    }
    atomic_init(&d->leaf[0], leaf_word(l));
    atomic_store_explicit(&t->dir, d, memory_order_release);
    return SLIM_OK;
}

/* Puts the objects of a leaf into one of another size, without the removed cells. */
static slim_err leaf_rebuild(slim_rseg *s, slim_rdir *d, slim_rleaf *old, uint64_t hash, uint32_t bits)
{
    slim_rleaf *l = leaf_new(s, old->depth, bits);

    if (l == NULL)
        return SLIM_E_NOMEM;
    leaf_copy(old, l, l);
    dir_set(d, hash, old->depth, l);
    slim_rseg_retire(s, old, leaf_size(old->bits));
    return SLIM_OK;
}

static slim_err leaf_split(slim_rseg *s, slim_rtable *t, slim_rdir *d, slim_rleaf *old, uint64_t hash)
{
    uint64_t bit = (uint64_t)1 << (63 - old->depth);
    slim_rleaf *zero = NULL, *one = NULL;
    slim_rdir *wide = NULL;

    if ((zero = leaf_new(s, old->depth + 1, old->bits)) == NULL || (one = leaf_new(s, old->depth + 1, old->bits)) == NULL)
        goto Fail;
    if (old->depth == d->depth) {
        if ((wide = dir_new(s, d->depth + 1)) == NULL)
            goto Fail;
        for (size_t i = 0; i < (size_t)1 << wide->depth; i++)
            atomic_init(&wide->leaf[i], atomic_load_explicit(&d->leaf[i >> 1], memory_order_relaxed));
    }
    leaf_copy(old, zero, one);
    dir_set(wide != NULL ? wide : d, hash & ~bit, old->depth + 1, zero);
    dir_set(wide != NULL ? wide : d, hash | bit, old->depth + 1, one);
    if (wide != NULL) {
        atomic_store_explicit(&t->dir, wide, memory_order_release);
        slim_rseg_retire(s, d, dir_size(d->depth));
    }
    slim_rseg_retire(s, old, leaf_size(old->bits));
    return SLIM_OK;

Fail:
    if (zero != NULL)
        slim_rseg_free(s, zero, leaf_size(zero->bits));
    if (one != NULL)
        slim_rseg_free(s, one, leaf_size(one->bits));
    return SLIM_E_NOMEM;
}

slim_err slim_rtable_reserve(slim_rseg *s, slim_rtable *t, uint64_t hash, uint32_t room)
{
    slim_err e;

    if (atomic_load_explicit(&t->dir, memory_order_relaxed) == NULL && (e = table_begin(s, t)) != SLIM_OK)
        return e;
    for (;;) {
        slim_rdir *d = atomic_load_explicit(&t->dir, memory_order_relaxed);
        slim_rleaf *l = slim_rleaf_of(atomic_load_explicit(&d->leaf[slim_rdir_index(d->depth, hash)], memory_order_relaxed));
        uint32_t bits = bits_for(l->live + room);

        if (l->used + room <= slim_rleaf_cells(l->bits) - slim_rleaf_cells(l->bits) / 4)
            return SLIM_OK;
        if (bits > SLIM_RLEAF_TOP_BITS)
            return SLIM_E_TOO_LARGE;
        if (bits <= SLIM_RLEAF_MAX_BITS || l->depth >= SLIM_RLEAF_MAX_DEPTH)
            e = leaf_rebuild(s, d, l, hash, bits);
        else
            e = leaf_split(s, t, d, l, hash);
        if (e != SLIM_OK)
            return e;
    }
}

void slim_rtable_insert(slim_rtable *t, uint64_t hash, void *obj)
{
    slim_rdir *d = atomic_load_explicit(&t->dir, memory_order_relaxed);

    leaf_put(slim_rleaf_of(atomic_load_explicit(&d->leaf[slim_rdir_index(d->depth, hash)], memory_order_relaxed)), hash, obj);
}

void slim_rtable_remove(slim_rseg *s, slim_rtable *t, uint64_t hash, const void *obj)
{
    slim_rdir *d = atomic_load_explicit(&t->dir, memory_order_relaxed);
    slim_rleaf *l = slim_rleaf_of(atomic_load_explicit(&d->leaf[slim_rdir_index(d->depth, hash)], memory_order_relaxed));
    uint32_t n = slim_rleaf_cells(l->bits), i = slim_rleaf_first(hash, n);

    while (atomic_load_explicit(&l->cell[i].obj, memory_order_relaxed) != obj)
        i = i + 1 < n ? i + 1 : 0;
    atomic_store_explicit(&l->cell[i].obj, SLIM_RCELL_GONE, memory_order_release);
    l->live--;
    /* In front of a cell that was never used, a removed one ends no probe too early when it becomes unused again. */
    if (atomic_load_explicit(&l->cell[i + 1 < n ? i + 1 : 0].obj, memory_order_relaxed) == NULL) {
        for (; atomic_load_explicit(&l->cell[i].obj, memory_order_relaxed) == SLIM_RCELL_GONE; i = i > 0 ? i - 1 : n - 1) {
            atomic_store_explicit(&l->cell[i].obj, NULL, memory_order_release);
            l->used--;
        }
    }
    /* A leaf that cannot shrink for want of memory is only larger than needed. */
    if (l->bits > SLIM_RLEAF_MIN_BITS && l->live < (1u << l->bits) / 8)
        (void)leaf_rebuild(s, d, l, hash, bits_for(l->live * 2));
}

void slim_rtable_free(slim_rseg *s, slim_rtable *t, void (*fn)(slim_rseg *s, void *obj))
{
    slim_rdir *d = atomic_load_explicit(&t->dir, memory_order_relaxed);

    if (d == NULL)
        return;
    for (size_t i = 0, n; i < (size_t)1 << d->depth; i += n) {
        slim_rleaf *l = slim_rleaf_of(atomic_load_explicit(&d->leaf[i], memory_order_relaxed));

        n = (size_t)1 << (d->depth - l->depth);
        for (uint32_t k = 0; fn != NULL && k < slim_rleaf_cells(l->bits); k++) {
            void *obj = atomic_load_explicit(&l->cell[k].obj, memory_order_relaxed);

            if (obj != NULL && obj != SLIM_RCELL_GONE)
                fn(s, obj);
        }
        slim_rseg_free(s, l, leaf_size(l->bits));
    }
    slim_rseg_free(s, d, dir_size(d->depth));
    atomic_store_explicit(&t->dir, NULL, memory_order_relaxed);
}
