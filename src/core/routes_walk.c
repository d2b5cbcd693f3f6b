#include "core/routes_int.h"

/* Names are visited in the order of their hashes, which no growth changes; a second hash orders equal ones. So a cursor is a place
 * in that order: a = segment, (b, c) = the last one visited. */
#define BATCH 64

typedef struct pick {
    uint64_t hash;
    slim_rslot *slot;
} pick;

static uint64_t tie_of(const slim_routes *r, const slim_rslot *s)
{
    const slim_key *key = &s->entry->key;

    return slim_rmix(key->c[0] ^ r->secret[8], key->c[2] ^ r->secret[9]) ^
           slim_rmix(s->id.lo ^ r->secret[2], s->id.hi ^ key->c[1] ^ r->secret[5]);
}

static bool pick_after(const slim_routes *r, const pick *a, const pick *b)
{
    return a->hash > b->hash || (a->hash == b->hash && tie_of(r, a->slot) > tie_of(r, b->slot));
}

/* Keeps the smallest `max` that were offered, in order. */
static void picks_offer(const slim_routes *r, pick *v, uint32_t *n, uint32_t max, pick p)
{
    uint32_t i;

    if (*n == max && !pick_after(r, &v[max - 1], &p))
        return;
    i = *n < max ? (*n)++ : max - 1;
    for (; i > 0 && pick_after(r, &v[i - 1], &p); i--)
        v[i] = v[i - 1];
    v[i] = p;
}

/* The next up to max slots of a segment behind the cursor. Under the lock. */
static uint32_t seg_pick(const slim_rseg *s, const slim_routes_cursor *c, pick *v, uint32_t max)
{
    const slim_rdir *d = atomic_load_explicit(&s->slots.dir, memory_order_relaxed);
    uint32_t n = 0;

    if (d == NULL)
        return 0;
    for (size_t i = slim_rdir_index(d->depth, c->b), step; i < (size_t)1 << d->depth && n < max; i += step) {
        const slim_rleaf *l = slim_rleaf_of(atomic_load_explicit(&d->leaf[i], memory_order_relaxed));

        step = (size_t)1 << (d->depth - l->depth);
        step -= i & (step - 1);
        for (uint32_t k = 0; k < slim_rleaf_cells(l->bits); k++) {
            slim_rslot *slot = atomic_load_explicit(&l->cell[k].obj, memory_order_relaxed);
            uint64_t hash = atomic_load_explicit(&l->cell[k].hash, memory_order_relaxed);

            if (slot == NULL || slot == SLIM_RCELL_GONE || hash < c->b || (hash == c->b && tie_of(s->routes, slot) <= c->c))
                continue;
            picks_offer(s->routes, v, &n, max, (pick){hash, slot});
        }
    }
    return n;
}

/* What of a slot is told after the lock is gone; the entry is held meanwhile. */
typedef struct found {
    slim_routes_cursor at;
    slim_rentry *entry;
    slim_name name;
    uint64_t subscription_id;
    uint32_t kinds;
} found;

static void found_fill(slim_rseg *s, found *f, const pick *p, uint64_t except)
{
    const slim_rslot *slot = p->slot;
    uint64_t w = slim_rword_get(&slot->word);
    bool explicit_id = slot->node.explicit_id;

    f->at = (slim_routes_cursor){s->index, p->hash, tie_of(s->routes, slot)};
    f->entry = slot->entry;
    f->entry->w.refs++;
    f->subscription_id = slot->subscription_id;
    f->kinds = 0;
    if (slim_rword_single(w)) {
        if (slim_rsole_link(w) != except)
            f->kinds = SLIM_KIND_BIT(slim_rsole_kind(w));
    } else {
        const slim_rcrowd *crowd = slim_rslot_crowd(slot);
        const slim_rmember *m = crowd->members;

        if (m->link == except && m->slot_next != NULL)
            m = m->slot_next;
        f->subscription_id = m->has_first ? m->first_id : ((const slim_rrecord *)m->more)->subscription_id;
        for (int k = 0; k < SLIM_LINK_KINDS; k++)
            if (slim_rlist_has_other(&crowd->wide.list[k], except))
                f->kinds |= SLIM_KIND_BIT(k);
        explicit_id = crowd->n_explicit != 0;
    }
    slim_rslot_name(slot, explicit_id, &f->name);
}

slim_err slim_routes_walk_xt(slim_routes *r, slim_routes_cursor *c, uint32_t max, slim_link_id except, slim_routes_walk_fn fn,
                             void *arg, bool *more)
{
    bool stop = false;

    while (c->a < SLIM_RSEGS && max > 0 && !stop) {
        slim_rseg *s = &r->seg[c->a];
        uint32_t want = max < BATCH ? max : BATCH, n;
        pick picks[BATCH];
        found founds[BATCH];

        slim_rseg_lock(s);
        n = seg_pick(s, c, picks, want);
        for (uint32_t i = 0; i < n; i++)
            found_fill(s, &founds[i], &picks[i], slim_rpack(except));
        slim_rseg_unlock(s);

        for (uint32_t i = 0; i < n && !stop; i++) {
            slim_known known = {&founds[i].name, founds[i].subscription_id, founds[i].kinds};

            stop = !fn(arg, &known);
            *c = founds[i].at;
            max--;
        }
        if (n > 0) {
            slim_rseg_lock(s);
            for (uint32_t i = 0; i < n; i++)
                slim_rentry_unref(s, founds[i].entry);
            slim_rseg_unlock(s);
        }
        if (n < want && !stop)
            *c = (slim_routes_cursor){c->a + 1, 0, 0};
    }
    *more = c->a < SLIM_RSEGS;
    return SLIM_OK;
}
