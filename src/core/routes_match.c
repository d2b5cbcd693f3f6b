#include "core/routes_int.h"

void slim_targets_free(slim_targets *t)
{
    slim_free(t->mem, t->v);
    slim_free(t->mem, t->kind);
    *t = (slim_targets){.mem = t->mem};
}

static slim_err targets_grow(slim_targets *t, uint64_t want)
{
    uint64_t cap = t->cap != 0 ? t->cap : 16;
    slim_link_id *v;
    uint8_t *kind;

    while (cap < want)
        cap *= 2;
    if (cap > UINT32_MAX)
        return SLIM_E_NOMEM;
    if ((v = slim_resize(t->mem, t->v, cap * sizeof(*v))) == NULL)
        return SLIM_E_NOMEM;
    t->v = v;
    if ((kind = slim_resize(t->mem, t->kind, cap)) == NULL)
        return SLIM_E_NOMEM;
    t->kind = kind;
    t->cap = (uint32_t)cap;
    return SLIM_OK;
}

static inline slim_err targets_room(slim_targets *t, uint32_t more)
{
    return (uint64_t)t->n + more <= t->cap ? SLIM_OK : targets_grow(t, (uint64_t)t->n + more);
}

/* What a match asks of each member. */
typedef struct seek {
    const slim_links *links;
    uint64_t from;
    _Atomic uint32_t *cursor;
} seek;

static inline bool fits(const seek *q, uint64_t link)
{
    return link != 0 && link != q->from && slim_links_live_xt(q->links, slim_runpack(link)) != NULL;
}

/* Two readers at once may get the same value: then two publishes go the same way, which costs nothing, as a locked add would. */
static inline uint32_t cursor_next(_Atomic uint32_t *c)
{
    uint32_t v = atomic_load_explicit(c, memory_order_relaxed);

    atomic_store_explicit(c, v + 1, memory_order_relaxed);
    return v;
}

static inline uint64_t member_at(const slim_rlist *l, uint32_t i)
{
    return atomic_load_explicit(&l->v[atomic_load_explicit(&l->order[i], memory_order_acquire)], memory_order_acquire);
}

/* What the tries missed: `order` may change under them, and publishers who share a cursor move it between them. In v nobody moves.
 */
static uint64_t pick_any(const seek *q, const slim_rlist *l)
{
    uint32_t used = atomic_load_explicit(&l->used, memory_order_acquire);

    for (uint32_t i = 0; i < used; i++) {
        uint64_t link = atomic_load_explicit(&l->v[i], memory_order_acquire);

        if (fits(q, link))
            return link;
    }
    return 0;
}

/* Specific id: the cursor moves with each try, and not at all for a single member. */
static uint64_t pick_tries(const seek *q, const slim_rlist *l)
{
    uint32_t n = atomic_load_explicit(&l->n, memory_order_acquire);

    for (uint32_t i = 0; i < n; i++) {
        uint64_t link = member_at(l, n == 1 ? 0 : cursor_next(q->cursor) % n);

        if (fits(q, link))
            return link;
    }
    return pick_any(q, l);
}

/* Any id: one step of the cursor, then a linear scan. */
static uint64_t pick_scan(const seek *q, const slim_rlist *l)
{
    uint32_t n = atomic_load_explicit(&l->n, memory_order_acquire), at = cursor_next(q->cursor);

    at = n != 0 ? at % n : 0;
    for (uint32_t i = 0; i < n; i++) {
        uint64_t link = member_at(l, at);

        if (fits(q, link))
            return link;
        if (++at == n)
            at = 0;
    }
    return pick_any(q, l);
}

static slim_err match_sole(const seek *q, uint64_t w, uint32_t kinds, slim_targets *out)
{
    uint64_t link = slim_rsole_link(w);
    slim_link_kind kind = slim_rsole_kind(w);

    if ((kinds & SLIM_KIND_BIT(kind)) == 0 || !fits(q, link))
        return SLIM_E_NOT_FOUND;
    if (targets_room(out, 1) != SLIM_OK)
        return SLIM_E_NOMEM;
    out->v[0] = slim_runpack(link);
    out->kind[0] = (uint8_t)kind;
    out->n = 1;
    return SLIM_OK;
}

static slim_err match_one(seek *q, slim_rword *list, _Atomic uint32_t *cursor, bool any_id, uint32_t kinds, slim_targets *out)
{
    for (unsigned k = 0; k < SLIM_LINK_KINDS; k++) {
        uint64_t w = atomic_load_explicit(&list[k], memory_order_acquire), link;
        slim_err e;

        if (w == 0 || (kinds & SLIM_KIND_BIT(k)) == 0)
            continue;
        q->cursor = any_id ? cursor : &cursor[k];
        if (!slim_rword_single(w)) {
            link = any_id ? pick_scan(q, slim_rword_list(w)) : pick_tries(q, slim_rword_list(w));
        } else {
            if (any_id)
                cursor_next(q->cursor);
            link = fits(q, w) ? w : 0;
        }
        if (link == 0)
            continue;
        if ((e = targets_room(out, 1)) != SLIM_OK)
            return e;
        out->v[0] = slim_runpack(link);
        out->kind[0] = (uint8_t)k;
        out->n = 1;
        return SLIM_OK;
    }
    return SLIM_E_NOT_FOUND;
}

static slim_err match_all(const seek *q, slim_rword *list, uint32_t kinds, slim_targets *out)
{
    for (unsigned k = 0; k < SLIM_LINK_KINDS; k++) {
        uint64_t w = atomic_load_explicit(&list[k], memory_order_acquire);
        const slim_rlist *l = NULL;
        uint32_t used = 1;

        if (w == 0 || (kinds & SLIM_KIND_BIT(k)) == 0)
            continue;
        if (!slim_rword_single(w)) {
            l = slim_rword_list(w);
            used = atomic_load_explicit(&l->used, memory_order_acquire);
        }
        if (targets_room(out, used) != SLIM_OK) {
            out->n = 0;
            return SLIM_E_NOMEM;
        }
        for (uint32_t i = 0; i < used; i++) {
            uint64_t link = l != NULL ? atomic_load_explicit(&l->v[i], memory_order_acquire) : w;

            if (fits(q, link)) {
                out->v[out->n] = slim_runpack(link);
                out->kind[out->n++] = (uint8_t)k;
            }
        }
    }
    return out->n != 0 ? SLIM_OK : SLIM_E_NOT_FOUND;
}

slim_err slim_routes_match(slim_routes_reader *rd, const slim_key *key, slim_id id, uint32_t fanout, slim_link_id from,
                           uint32_t kinds, slim_targets *out)
{
    slim_routes *r = rd->routes;
    seek q = {r->links, slim_rpack(from), NULL};
    uint64_t hash = slim_rhash_key(r, key);
    slim_rseg *s = slim_rseg_of(r, hash);
    bool any_id = slim_id_is_null(id);
    _Atomic uint32_t *cursor;
    slim_rwide *wide;
    uint64_t w;

    out->n = 0;
    if (any_id) {
        slim_rentry *e = slim_rtable_find(&s->names, hash, slim_rentry_eq, key);

        if (e == NULL)
            return SLIM_E_NOT_FOUND;
        w = atomic_load_explicit(&e->word, memory_order_acquire);
        cursor = &e->cursor;
        if (slim_rword_single(w) && fanout == 1 && (kinds & SLIM_KIND_BIT(slim_rsole_kind(w))) != 0)
            cursor_next(cursor);
    } else {
        slim_rslot *slot = slim_rtable_find(&s->slots, slim_rhash_slot(r, hash, id), slim_rslot_eq, &(slim_rslot_want){key, id});

        if (slot == NULL)
            return SLIM_E_NOT_FOUND;
        w = atomic_load_explicit(&slot->word, memory_order_acquire);
        cursor = NULL;
    }
    if (slim_rword_single(w))
        return match_sole(&q, w, kinds, out);
    wide = slim_rwide_of(w);
    return fanout == 1 ? match_one(&q, wide->list, cursor != NULL ? cursor : wide->cursor, any_id, kinds, out)
                       : match_all(&q, wide->list, kinds, out);
}
