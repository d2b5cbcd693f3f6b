#include "core/routes_int.h"

#include "core/view.h"

/* --- marks: what links have, found by writers only ------------------------------------------------------------------------------
 */

/* ptr: the slot of a member, the entry of an aggregate, the member of a record, NULL of an owner. */
typedef struct mark {
    slim_rnode_type type;
    uint64_t link;
    const void *ptr;
    uint64_t subscription_id; /* of a record */
    bool explicit_id;
} mark;

static bool mark_eq(const void *obj, const void *want)
{
    const slim_rnode *n = obj;
    const mark *w = want;

    if (n->type != w->type)
        return false;
    switch (w->type) {
    case SLIM_RNODE_MEMBER: return ((const slim_rmember *)obj)->link == w->link && ((const slim_rmember *)obj)->slot == w->ptr;
    case SLIM_RNODE_AGGREGATE:
        return ((const slim_raggregate *)obj)->link == w->link && ((const slim_raggregate *)obj)->entry == w->ptr;
    case SLIM_RNODE_RECORD:
        return ((const slim_rrecord *)obj)->subscription_id == w->subscription_id &&
               ((const slim_rrecord *)obj)->member == w->ptr && n->explicit_id == w->explicit_id;
    case SLIM_RNODE_OWNER: return ((const slim_rowner *)obj)->link == w->link;
    case SLIM_RNODE_SLOT: break;
    }
    return false;
}

static uint64_t mark_hash(const slim_rseg *s, const mark *m)
{
    const uint64_t *k = s->routes->secret;
    uint64_t what = m->type == SLIM_RNODE_RECORD ? m->subscription_id : m->link;

    return slim_rmix(slim_rmix(what ^ k[8], (uint64_t)(uintptr_t)m->ptr ^ k[9]) ^ k[0],
                     ((uint64_t)m->type << 1 | (uint64_t)m->explicit_id) ^ k[6]);
}

static mark mark_member(uint64_t link, const slim_rslot *slot)
{
    return (mark){SLIM_RNODE_MEMBER, link, slot, 0, false};
}
static mark mark_aggregate(uint64_t link, const slim_rentry *e)
{
    return (mark){SLIM_RNODE_AGGREGATE, link, e, 0, false};
}
static mark mark_owner(uint64_t link)
{
    return (mark){SLIM_RNODE_OWNER, link, NULL, 0, false};
}
static mark mark_record(const slim_rmember *m, uint64_t id, bool explicit_id)
{
    return (mark){SLIM_RNODE_RECORD, m->link, m, id, explicit_id};
}

static void *mark_find(const slim_rseg *s, mark m)
{
    return slim_rtable_find(&s->marks, mark_hash(s, &m), mark_eq, &m);
}
/* Any of the marks that one change makes may hash to the same leaf: an old and a new link, each in a slot and in an entry, and an
 * owner. */
#define MARKS_PER_CHANGE 5
static slim_err mark_reserve(slim_rseg *s, mark m)
{
    return slim_rtable_reserve(s, &s->marks, mark_hash(s, &m), MARKS_PER_CHANGE);
}
static void mark_insert(slim_rseg *s, mark m, void *obj)
{
    slim_rtable_insert(&s->marks, mark_hash(s, &m), obj);
}
static void mark_remove(slim_rseg *s, mark m, void *obj)
{
    slim_rtable_remove(s, &s->marks, mark_hash(s, &m), obj);
}

static uint32_t *place_in_slot(slim_rseg *s, const void *slot, uint64_t link)
{
    return &((slim_rmember *)mark_find(s, mark_member(link, slot)))->node.place;
}

static uint32_t *place_in_entry(slim_rseg *s, const void *entry, uint64_t link)
{
    return &((slim_raggregate *)mark_find(s, mark_aggregate(link, entry)))->node.place;
}

/* The count of a link lies beside its slot. A late change of an older link in that slot leaves the count of the newer one alone. */
static void link_count(slim_routes *r, uint64_t link, int d)
{
    slim_link_id id = slim_runpack(link);
    _Atomic uint64_t *c = &slim_links_slot_xt(r->links, id.slot)->records;
    uint64_t was = atomic_load_explicit(c, memory_order_relaxed), now;

    do {
        uint32_t gen = (uint32_t)(was >> 32);

        if (gen == id.gen)
            now = was + (uint64_t)(int64_t)d;
        else if (d > 0 && (gen == 0 || (int32_t)(id.gen - gen) > 0))
            now = (uint64_t)id.gen << 32 | 1;
        else
            return;
    } while (!atomic_compare_exchange_weak_explicit(c, &was, now, memory_order_relaxed, memory_order_relaxed));
}

/* --- what a change is about ------------------------------------------------------------------------------------------------------
 */

typedef struct change {
    slim_rseg *s;
    uint64_t link;
    uint64_t subscription_id;
    const slim_name *name;
    slim_id id;
    uint64_t name_hash, slot_hash;
    slim_rentry *entry; /* these four: NULL when there is none yet, and the last two where the entry or slot is sole */
    slim_rslot *slot;
    slim_rmember *member;
    slim_raggregate *aggregate;
} change;

static void change_init(change *c, slim_routes *r, slim_link_id link, uint64_t subscription_id, const slim_name *name)
{
    *c = (change){.link = slim_rpack(link), .subscription_id = subscription_id, .name = name};
    c->id = name->has_id ? name->id : SLIM_ID_NULL;
    c->name_hash = slim_rhash_key(r, &name->key);
    c->slot_hash = slim_rhash_slot(r, c->name_hash, c->id);
    c->s = slim_rseg_of(r, c->name_hash);
}

/* Whether the link of a sole word is this one. */
static bool word_is(const slim_rword *word, uint64_t link)
{
    uint64_t w = slim_rword_get(word);

    return slim_rword_single(w) && slim_rsole_link(w) == link;
}

static void change_find(change *c)
{
    slim_rseg *s = c->s;

    if ((c->entry = slim_rtable_find(&s->names, c->name_hash, slim_rentry_eq, &c->name->key)) == NULL)
        return;
    if (!slim_rword_single(slim_rword_get(&c->entry->word)))
        c->aggregate = mark_find(s, mark_aggregate(c->link, c->entry));
    c->slot = slim_rtable_find(&s->slots, c->slot_hash, slim_rslot_eq, &(slim_rslot_want){&c->name->key, c->id});
    if (c->slot != NULL && !slim_rslot_sole(c->slot))
        c->member = mark_find(s, mark_member(c->link, c->slot));
}

static bool sole_is(const change *c)
{
    return word_is(&c->slot->word, c->link) && c->slot->subscription_id == c->subscription_id &&
           c->slot->node.explicit_id == c->name->has_id;
}

static bool member_first_is(const slim_rmember *m, uint64_t id, bool explicit_id)
{
    return m->has_first && m->first_id == id && m->node.explicit_id == explicit_id;
}

/* The record of a member other than its first. */
static slim_rrecord *record_find(const change *c)
{
    return mark_find(c->s, mark_record(c->member, c->subscription_id, c->name->has_id));
}

static void *zeroed(slim_rseg *s, size_t n)
{
    void *p = slim_rseg_alloc(s, n);

    return p != NULL ? memset(p, 0, n) : NULL;
}

static void chain_push(slim_rnode *head, slim_rnode *n)
{
    if ((n->in.next = head->in.next) != NULL)
        n->in.next->in.pprev = &n->in.next;
    n->in.pprev = &head->in.next;
    head->in.next = n;
}

static void chain_remove(slim_rnode *n)
{
    if ((*n->in.pprev = n->in.next) != NULL)
        n->in.next->in.pprev = n->in.pprev;
}

/* --- subscribe
 * --------------------------------------------------------------------------------------------------------------------- */

/* All that a subscribe may need, made before anything changes. */
typedef struct fresh {
    slim_rentry *entry;
    slim_rwide *wide;       /* for an entry that gets its second link, */
    slim_raggregate *first; /* and what its only one becomes */
    slim_raggregate *aggregate;
    slim_rslot *slot;
    slim_rcrowd *crowd; /* for a slot that gets its second record, */
    slim_rmember *sole; /* and what its only one becomes */
    slim_rmember *member;
    slim_rrecord *record;
    slim_rowner *owner;
} fresh;

static void fresh_free(slim_rseg *s, fresh *f)
{
    if (f->entry != NULL)
        slim_rseg_free(s, f->entry, slim_rentry_size(f->entry));
    if (f->wide != NULL)
        slim_rwide_free(s, f->wide, sizeof(*f->wide));
    if (f->crowd != NULL)
        slim_rwide_free(s, &f->crowd->wide, sizeof(*f->crowd));
    slim_rseg_free(s, f->first, sizeof(*f->first));
    slim_rseg_free(s, f->aggregate, sizeof(*f->aggregate));
    slim_rseg_free(s, f->slot, sizeof(*f->slot));
    slim_rseg_free(s, f->sole, sizeof(*f->sole));
    slim_rseg_free(s, f->member, sizeof(*f->member));
    slim_rseg_free(s, f->record, sizeof(*f->record));
    slim_rseg_free(s, f->owner, sizeof(*f->owner));
}

static slim_rentry *entry_new(slim_rseg *s, const slim_name *name)
{
    size_t n = offsetof(slim_rentry, str) + name->str[0].n + name->str[1].n + name->str[2].n;
    slim_rentry *e = zeroed(s, n);
    uint8_t *p;

    if (e == NULL)
        return NULL;
    e->key = name->key;
    e->has_str = name->has_str;
    p = e->str;
    for (int i = 0; i < 3; i++) {
        e->str_n[i] = (uint32_t)name->str[i].n;
        p = slim_put(p, name->str[i].p, name->str[i].n);
    }
    return e;
}

/* A wide object with the only member that a sole one has. */
static void *wide_new(slim_rseg *s, uint64_t sole, size_t n)
{
    slim_rwide *w = zeroed(s, n);

    if (w != NULL)
        atomic_init(&w->list[slim_rsole_kind(sole)], slim_rsole_link(sole));
    return w;
}

/* The link comes into an entry that others have. */
static slim_err prepare_aggregate(change *c, slim_link_kind kind, fresh *f)
{
    slim_rseg *s = c->s;
    uint64_t w = slim_rword_get(&c->entry->word);
    slim_rwide *wide = slim_rwide_of(w);
    slim_err e;

    if (slim_rword_single(w)) {
        if ((wide = f->wide = wide_new(s, w, sizeof(*wide))) == NULL || (f->first = zeroed(s, sizeof(*f->first))) == NULL)
            return SLIM_E_NOMEM;
        f->first->link = slim_rsole_link(w);
        if ((e = mark_reserve(s, mark_aggregate(f->first->link, c->entry))) != SLIM_OK)
            return e;
    }
    if ((f->aggregate = zeroed(s, sizeof(*f->aggregate))) == NULL)
        return SLIM_E_NOMEM;
    if ((e = mark_reserve(s, mark_aggregate(c->link, c->entry))) != SLIM_OK)
        return e;
    return slim_rlist_reserve(s, &wide->list[kind]);
}

/* A further record comes into a slot. */
static slim_err prepare_crowd(change *c, slim_link_kind kind, fresh *f)
{
    slim_rseg *s = c->s;
    uint64_t w = slim_rword_get(&c->slot->word);
    slim_rcrowd *crowd = slim_rslot_crowd(c->slot);
    slim_rmember *member = c->member;
    slim_err e;

    if (slim_rword_single(w)) {
        if ((crowd = f->crowd = wide_new(s, w, sizeof(*crowd))) == NULL || (f->sole = zeroed(s, sizeof(*f->sole))) == NULL)
            return SLIM_E_NOMEM;
        f->sole->link = slim_rsole_link(w);
        if ((e = mark_reserve(s, mark_member(f->sole->link, c->slot))) != SLIM_OK)
            return e;
        if (f->sole->link == c->link)
            member = f->sole;
    }
    if (member != NULL) {
        if ((f->record = zeroed(s, sizeof(*f->record))) == NULL)
            return SLIM_E_NOMEM;
        return mark_reserve(s, mark_record(member, c->subscription_id, c->name->has_id));
    }
    if ((f->member = zeroed(s, sizeof(*f->member))) == NULL)
        return SLIM_E_NOMEM;
    if ((e = mark_reserve(s, mark_member(c->link, c->slot))) != SLIM_OK)
        return e;
    return slim_rlist_reserve(s, &crowd->wide.list[kind]);
}

/* Lists and tables that grew for a change that fails later keep the same content. */
static slim_err prepare(change *c, slim_link_kind kind, fresh *f)
{
    slim_rseg *s = c->s;
    slim_err e;

    if (c->entry == NULL) {
        if ((f->entry = entry_new(s, c->name)) == NULL)
            return SLIM_E_NOMEM;
        if ((e = slim_rtable_reserve(s, &s->names, c->name_hash, 1)) != SLIM_OK)
            return e;
    } else if (c->aggregate == NULL && !word_is(&c->entry->word, c->link)) {
        if ((e = prepare_aggregate(c, kind, f)) != SLIM_OK)
            return e;
    }
    if (mark_find(s, mark_owner(c->link)) == NULL) {
        if ((f->owner = zeroed(s, sizeof(*f->owner))) == NULL)
            return SLIM_E_NOMEM;
        if ((e = mark_reserve(s, mark_owner(c->link))) != SLIM_OK)
            return e;
    }
    if (c->slot != NULL)
        return prepare_crowd(c, kind, f);
    if ((f->slot = zeroed(s, sizeof(*f->slot))) == NULL)
        return SLIM_E_NOMEM;
    return slim_rtable_reserve(s, &s->slots, c->slot_hash, 1);
}

static void commit_entry(change *c, slim_rentry *e, slim_link_kind kind)
{
    c->entry = e;
    atomic_store_explicit(&e->word, slim_rsole(c->link, kind), memory_order_relaxed);
    slim_rtable_insert(&c->s->names, c->name_hash, e);
    slim_rcount(&c->s->n_names, 1);
}

static void aggregate_put(change *c, slim_raggregate *a, uint64_t link, slim_link_kind kind)
{
    a->node.type = SLIM_RNODE_AGGREGATE;
    a->node.kind = (uint8_t)kind;
    a->link = link;
    a->entry = c->entry;
    mark_insert(c->s, mark_aggregate(link, c->entry), a);
}

/* The only link of the entry has all its slots. */
static void commit_wide(change *c, slim_rwide *wide, slim_raggregate *first)
{
    uint64_t w = slim_rword_get(&c->entry->word);

    aggregate_put(c, first, slim_rsole_link(w), slim_rsole_kind(w));
    first->count = c->entry->w.n_slots;
    atomic_store_explicit(&c->entry->word, (uint64_t)(uintptr_t)wide, memory_order_release);
}

static void commit_aggregate(change *c, slim_raggregate *a, slim_link_kind kind)
{
    c->aggregate = a;
    aggregate_put(c, a, c->link, kind);
    a->node.place = slim_rlist_append(&slim_rwide_of(slim_rword_get(&c->entry->word))->list[kind], c->link);
}

static void commit_slot(change *c, slim_rslot *slot, slim_link_kind kind, slim_rowner *o)
{
    c->slot = slot;
    slot->node.type = SLIM_RNODE_SLOT;
    slot->node.explicit_id = c->name->has_id;
    slot->id = c->id;
    slot->entry = c->entry;
    slot->subscription_id = c->subscription_id;
    atomic_store_explicit(&slot->word, slim_rsole(c->link, kind), memory_order_relaxed);
    c->entry->w.n_slots++;
    c->entry->w.refs++;
    if (c->aggregate != NULL)
        c->aggregate->count++;
    chain_push(&o->node, &slot->node);
    slim_rtable_insert(&c->s->slots, c->slot_hash, slot);
    slim_rcount(&c->s->n_ids, 1);
}

static void member_put(change *c, slim_rcrowd *crowd, slim_rmember *m, uint64_t link, slim_link_kind kind)
{
    m->node.type = SLIM_RNODE_MEMBER;
    m->node.kind = (uint8_t)kind;
    m->link = link;
    m->slot = c->slot;
    m->has_first = true;
    m->count = 1;
    if (crowd->members == NULL) {
        crowd->members = m->slot_prev = m;
    } else {
        m->slot_prev = crowd->members->slot_prev;
        m->slot_prev->slot_next = m;
        crowd->members->slot_prev = m;
    }
    mark_insert(c->s, mark_member(link, c->slot), m);
}

/* The only record of the slot becomes a member, which takes the place of the slot in the chain of the owner. */
static void commit_crowd(change *c, slim_rcrowd *crowd, slim_rmember *m)
{
    slim_rslot *slot = c->slot;
    uint64_t w = slim_rword_get(&slot->word);

    member_put(c, crowd, m, slim_rsole_link(w), slim_rsole_kind(w));
    m->first_id = crowd->known_id = slot->subscription_id;
    m->node.explicit_id = crowd->known_explicit = slot->node.explicit_id;
    crowd->n_explicit = slot->node.explicit_id;
    m->node.in = slot->node.in;
    *m->node.in.pprev = &m->node;
    if (m->node.in.next != NULL)
        m->node.in.next->in.pprev = &m->node.in.next;
    if (m->link == c->link)
        c->member = m;
    atomic_store_explicit(&slot->word, (uint64_t)(uintptr_t)crowd, memory_order_release);
}

/* Returns whether the slot had no link of this kind before. */
static bool commit_member(change *c, slim_rmember *m, slim_link_kind kind, slim_rowner *o)
{
    slim_rcrowd *crowd = slim_rslot_crowd(c->slot);
    slim_rword *list = &crowd->wide.list[kind];
    bool first = slim_rword_get(list) == 0;

    c->member = m;
    member_put(c, crowd, m, c->link, kind);
    m->first_id = c->subscription_id;
    m->node.explicit_id = c->name->has_id;
    chain_push(&o->node, &m->node);
    m->node.place = slim_rlist_append(list, c->link);
    if (c->aggregate != NULL)
        c->aggregate->count++;
    return first;
}

static void commit_record(change *c, slim_rrecord *rec)
{
    slim_rmember *m = c->member;

    assert(m != NULL);
    rec->node.type = SLIM_RNODE_RECORD;
    rec->node.explicit_id = c->name->has_id;
    rec->subscription_id = c->subscription_id;
    rec->member = m;
    rec->node.in.pprev = &m->more;
    if ((rec->node.in.next = m->more) != NULL)
        m->more->in.pprev = &rec->node.in.next;
    m->more = &rec->node;
    m->count++;
    mark_insert(c->s, mark_record(m, c->subscription_id, c->name->has_id), rec);
}

static void commit_known(change *c)
{
    slim_rcrowd *crowd = slim_rslot_crowd(c->slot);

    if (!c->name->has_id)
        return;
    crowd->n_explicit++;
    if (!crowd->known_explicit) {
        crowd->known_explicit = true;
        crowd->known_id = c->subscription_id;
    }
}

static void commit(change *c, slim_link_kind kind, fresh *f, slim_change *out)
{
    slim_rowner *o = f->owner;

    if (o != NULL) {
        o->node.type = SLIM_RNODE_OWNER;
        o->link = c->link;
        mark_insert(c->s, mark_owner(c->link), o);
    } else {
        o = mark_find(c->s, mark_owner(c->link));
    }
    if (f->entry != NULL)
        commit_entry(c, f->entry, kind);
    if (f->wide != NULL)
        commit_wide(c, f->wide, f->first);
    if (f->aggregate != NULL)
        commit_aggregate(c, f->aggregate, kind);
    if (f->slot != NULL) {
        commit_slot(c, f->slot, kind, o);
        out->edge = true;
    } else {
        if (f->crowd != NULL)
            commit_crowd(c, f->crowd, f->sole);
        if (f->member != NULL)
            out->edge = commit_member(c, f->member, kind, o);
        else
            commit_record(c, f->record);
        commit_known(c);
    }
    slim_rcount(&c->s->n_records, 1);
    link_count(c->s->routes, c->link, 1);
}

static slim_err subscribe(change *c, slim_link_kind kind, slim_change *out)
{
    slim_rseg *s = c->s;
    fresh f = {0};
    slim_err e;

    if (slim_links_live_xt(s->routes->links, slim_runpack(c->link)) == NULL)
        return SLIM_E_CLOSED;
    change_find(c);
    if (c->slot != NULL && sole_is(c))
        return SLIM_OK;
    if (c->member != NULL && (member_first_is(c->member, c->subscription_id, c->name->has_id) || record_find(c) != NULL))
        return SLIM_OK;
    if (c->aggregate != NULL)
        kind = c->aggregate->node.kind;
    else if (c->entry != NULL && word_is(&c->entry->word, c->link))
        kind = slim_rsole_kind(slim_rword_get(&c->entry->word));
    if ((e = prepare(c, kind, &f)) != SLIM_OK) {
        fresh_free(s, &f);
        return e;
    }
    commit(c, kind, &f, out);
    return SLIM_OK;
}

slim_err slim_routes_subscribe_xt(slim_routes *r, slim_link_id link, slim_link_kind kind, uint64_t subscription_id,
                                  const slim_name *name, slim_change *out)
{
    change c;
    slim_err e;

    *out = (slim_change){0};
    if ((unsigned)kind >= SLIM_LINK_KINDS)
        return SLIM_E_ARG;
    for (int i = 0; i < 3; i++)
        if (name->str[i].n > SLIM_MESSAGE_MAX_BYTES)
            return SLIM_E_TOO_LARGE;
    change_init(&c, r, link, subscription_id, name);
    slim_rseg_lock(c.s);
    e = subscribe(&c, kind, out);
    slim_rseg_unlock(c.s);
    return e;
}

/* --- removal
 * ----------------------------------------------------------------------------------------------------------------------- */

/* Takes what a link has in a slot out of the chain of its owner. */
static void owner_leave(slim_rseg *s, slim_rnode *n, uint64_t link)
{
    slim_rowner *o = mark_find(s, mark_owner(link));

    chain_remove(n);
    if (o->node.in.next != NULL)
        return;
    mark_remove(s, mark_owner(link), o);
    slim_rseg_free(s, o, sizeof(*o));
}

/* The link is in one slot of the entry less. In a sole entry it is in all that are left. */
static void entry_leave(slim_rseg *s, slim_rentry *e, uint64_t link)
{
    uint64_t w = slim_rword_get(&e->word);
    slim_raggregate *a;

    if (slim_rword_single(w))
        return;
    a = mark_find(s, mark_aggregate(link, e));
    if (--a->count != 0)
        return;
    slim_rlist_remove(s, &slim_rwide_of(w)->list[a->node.kind], a->node.place, place_in_entry, e);
    mark_remove(s, mark_aggregate(link, e), a);
    slim_rseg_free(s, a, sizeof(*a));
}

/* The slot has no link any more. It stays in memory for slot_release. */
static void slot_unlink(slim_rseg *s, slim_rslot *slot)
{
    slim_rentry *e = slot->entry;
    uint64_t hash = slim_rhash_key(s->routes, &e->key);

    slim_rtable_remove(s, &s->slots, slim_rhash_slot(s->routes, hash, slot->id), slot);
    slim_rcount(&s->n_ids, -1);
    if (--e->w.n_slots == 0) {
        slim_rtable_remove(s, &s->names, hash, e);
        slim_rcount(&s->n_names, -1);
    }
}

static void slot_release(slim_rseg *s, slim_rslot *slot)
{
    slim_rentry_unref(s, slot->entry);
    if (!slim_rslot_sole(slot))
        slim_rseg_retire(s, slim_rslot_crowd(slot), sizeof(slim_rcrowd));
    slim_rseg_retire(s, slot, sizeof(*slot));
}

/* Takes a member without records out of everything. The slot is unlinked when it was the last. */
static void member_remove(slim_rseg *s, slim_rmember *m, slim_change *out)
{
    slim_rslot *slot = m->slot;
    slim_rcrowd *crowd = slim_rslot_crowd(slot);
    slim_rword *list = &crowd->wide.list[m->node.kind];

    slim_rlist_remove(s, list, m->node.place, place_in_slot, slot);
    out->edge = slim_rword_get(list) == 0;
    entry_leave(s, slot->entry, m->link);
    mark_remove(s, mark_member(m->link, slot), m);

    if (m->slot_next != NULL)
        m->slot_next->slot_prev = m->slot_prev;
    else
        crowd->members->slot_prev = m->slot_prev;
    if (crowd->members == m)
        crowd->members = m->slot_next;
    else
        m->slot_prev->slot_next = m->slot_next;

    owner_leave(s, &m->node, m->link);
    slim_rseg_free(s, m, sizeof(*m));
    if (crowd->members == NULL) {
        out->unmatched = true;
        slot_unlink(s, slot);
    }
}

/* Removes one record of a wide slot: rec, or the member's own one when rec is NULL. */
static void record_remove(slim_rseg *s, slim_rmember *m, slim_rrecord *rec, slim_change *out)
{
    bool explicit_id = rec != NULL ? rec->node.explicit_id : m->node.explicit_id;

    if (rec != NULL) {
        chain_remove(&rec->node);
        mark_remove(s, mark_record(m, rec->subscription_id, explicit_id), rec);
        slim_rseg_free(s, rec, sizeof(*rec));
    } else {
        m->has_first = false;
    }
    slim_rslot_crowd(m->slot)->n_explicit -= explicit_id;
    slim_rcount(&s->n_records, -1);
    link_count(s->routes, m->link, -1);
    if (--m->count == 0)
        member_remove(s, m, out);
}

/* Removes the only record of a sole slot. */
static void sole_remove(slim_rseg *s, slim_rslot *slot, slim_change *out)
{
    uint64_t link = slim_rsole_link(slim_rword_get(&slot->word));

    slim_rcount(&s->n_records, -1);
    link_count(s->routes, link, -1);
    entry_leave(s, slot->entry, link);
    owner_leave(s, &slot->node, link);
    slot_unlink(s, slot);
    out->edge = out->unmatched = true;
}

slim_err slim_routes_unsubscribe_xt(slim_routes *r, slim_link_id link, uint64_t subscription_id, const slim_name *name,
                                    slim_change *out, slim_unsub_miss *miss)
{
    slim_rrecord *rec = NULL;
    change c;

    *out = (slim_change){0};
    *miss = SLIM_UNSUB_FOUND;
    change_init(&c, r, link, subscription_id, name);
    slim_rseg_lock(c.s);
    change_find(&c);
    if (c.entry == NULL)
        *miss = SLIM_UNSUB_NO_NAME;
    else if (c.slot == NULL)
        *miss = SLIM_UNSUB_NO_ID;
    else if (sole_is(&c))
        sole_remove(c.s, c.slot, out);
    else if (c.member != NULL && (member_first_is(c.member, subscription_id, name->has_id) || (rec = record_find(&c)) != NULL))
        record_remove(c.s, c.member, rec, out);
    else
        *miss = SLIM_UNSUB_NO_RECORD;
    if (c.slot != NULL && out->unmatched)
        slot_release(c.s, c.slot);
    slim_rseg_unlock(c.s);
    return *miss == SLIM_UNSUB_FOUND ? SLIM_OK : SLIM_E_NOT_FOUND;
}

/* --- loss of a link
 * ---------------------------------------------------------------------------------------------------------------- */

/* Removes up to *max records of the link in this segment; returns the slots that became empty, for slots_tell. */
static slim_rslot *owner_drain(slim_rseg *s, slim_rowner *o, uint32_t *max)
{
    slim_rnode *gone = NULL, **tail = &gone;
    bool last = false;

    while (*max > 0 && !last) {
        slim_rnode *n = o->node.in.next;
        slim_rslot *slot = (slim_rslot *)n;
        slim_change c = {0};

        last = n->in.next == NULL;
        if (n->type == SLIM_RNODE_SLOT) {
            sole_remove(s, slot, &c);
        } else {
            slim_rmember *m = (slim_rmember *)n;

            slot = m->slot;
            last = last && m->count == 1;
            record_remove(s, m, (slim_rrecord *)m->more, &c);
        }
        --*max;
        if (c.unmatched) {
            slot->node.in.next = NULL;
            *tail = &slot->node;
            tail = &slot->node.in.next;
        }
    }
    return (slim_rslot *)gone;
}

static void slots_tell(slim_rseg *s, slim_rslot *gone, slim_routes_gone_fn fn, void *arg)
{
    for (slim_rslot *slot = gone; slot != NULL && fn != NULL; slot = (slim_rslot *)slot->node.in.next) {
        bool sole = slim_rslot_sole(slot);
        slim_name name;

        slim_rslot_name(slot, sole ? slot->node.explicit_id : slim_rslot_crowd(slot)->known_explicit, &name);
        fn(arg, &name, sole ? slot->subscription_id : slim_rslot_crowd(slot)->known_id);
    }
    slim_rseg_lock(s);
    while (gone != NULL) {
        slim_rslot *slot = gone;

        gone = (slim_rslot *)slot->node.in.next;
        slot_release(s, slot);
    }
    slim_rseg_unlock(s);
}

slim_err slim_routes_drop_link_xt(slim_routes *r, slim_link_id link, uint32_t max, slim_routes_gone_fn fn, void *arg, bool *more)
{
    *more = false;
    if (slim_links_live_xt(r->links, link) != NULL)
        return SLIM_E_ARG;
    for (uint32_t i = 0; i < SLIM_RSEGS && !*more; i++) {
        slim_rseg *s = &r->seg[i];
        slim_rslot *gone = NULL;
        slim_rowner *o;

        slim_rseg_lock(s);
        if ((o = mark_find(s, mark_owner(slim_rpack(link)))) != NULL) {
            *more = max == 0;
            gone = owner_drain(s, o, &max);
            *more = *more || mark_find(s, mark_owner(slim_rpack(link))) != NULL;
        }
        slim_rseg_unlock(s);
        if (gone != NULL)
            slots_tell(s, gone, fn, arg);
    }
    return SLIM_OK;
}
