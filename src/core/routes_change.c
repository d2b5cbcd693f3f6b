#include "core/routes_int.h"

#include "core/view.h"

/* --- marks: what links have, found by writers only ------------------------------------------------------------------------------
 */

/* ptr: the slot of a member, the entry of an aggregate, the member of a record, NULL of an owner. */
typedef struct mark {
    slim_rmark_type type;
    uint64_t link;
    const void *ptr;
    uint64_t subscription_id; /* of a record */
    bool explicit_id;
} mark;

static bool mark_eq(const void *obj, const void *want)
{
    const mark *w = want;

    if (*(const uint8_t *)obj != w->type)
        return false;
    switch (w->type) {
    case SLIM_RMARK_MEMBER: return ((const slim_rmember *)obj)->link == w->link && ((const slim_rmember *)obj)->slot == w->ptr;
    case SLIM_RMARK_AGGREGATE:
        return ((const slim_raggregate *)obj)->link == w->link && ((const slim_raggregate *)obj)->entry == w->ptr;
    case SLIM_RMARK_RECORD:
        return ((const slim_rrecord *)obj)->subscription_id == w->subscription_id &&
               ((const slim_rrecord *)obj)->member == w->ptr && ((const slim_rrecord *)obj)->explicit_id == w->explicit_id;
    case SLIM_RMARK_OWNER: return ((const slim_rowner *)obj)->link == w->link;
    }
    return false;
}

static uint64_t mark_hash(const slim_rseg *s, const mark *m)
{
    const uint64_t *k = s->routes->secret;
    uint64_t what = m->type == SLIM_RMARK_RECORD ? m->subscription_id : m->link;

    return slim_rmix(slim_rmix(what ^ k[8], (uint64_t)(uintptr_t)m->ptr ^ k[9]) ^ k[0],
                     ((uint64_t)m->type << 1 | (uint64_t)m->explicit_id) ^ k[6]);
}

static mark mark_member(uint64_t link, const slim_rslot *slot)
{
    return (mark){SLIM_RMARK_MEMBER, link, slot, 0, false};
}
static mark mark_aggregate(uint64_t link, const slim_rentry *e)
{
    return (mark){SLIM_RMARK_AGGREGATE, link, e, 0, false};
}
static mark mark_owner(uint64_t link)
{
    return (mark){SLIM_RMARK_OWNER, link, NULL, 0, false};
}
static mark mark_record(const slim_rmember *m, uint64_t id, bool explicit_id)
{
    return (mark){SLIM_RMARK_RECORD, m->link, m, id, explicit_id};
}

static void *mark_find(const slim_rseg *s, mark m)
{
    return slim_rtable_find(&s->marks, mark_hash(s, &m), mark_eq, &m);
}
static slim_err mark_reserve(slim_rseg *s, mark m)
{
    return slim_rtable_reserve(s, &s->marks, mark_hash(s, &m), 4);
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
    return &((slim_rmember *)mark_find(s, mark_member(link, slot)))->place;
}

static uint32_t *place_in_entry(slim_rseg *s, const void *entry, uint64_t link)
{
    return &((slim_raggregate *)mark_find(s, mark_aggregate(link, entry)))->place;
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
    slim_rentry *entry; /* these four: NULL when there is none yet */
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

static void change_find(change *c)
{
    slim_rseg *s = c->s;

    if ((c->entry = slim_rtable_find(&s->names, c->name_hash, slim_rentry_eq, &c->name->key)) == NULL)
        return;
    c->aggregate = mark_find(s, mark_aggregate(c->link, c->entry));
    c->slot = slim_rtable_find(&s->slots, c->slot_hash, slim_rslot_eq, &(slim_rslot_want){&c->name->key, c->id});
    if (c->slot != NULL)
        c->member = mark_find(s, mark_member(c->link, c->slot));
}

static bool member_first_is(const slim_rmember *m, uint64_t id, bool explicit_id)
{
    return m->has_first && m->first_id == id && m->first_explicit == explicit_id;
}

/* --- subscribe
 * --------------------------------------------------------------------------------------------------------------------- */

/* All that a subscribe may need, made before anything changes. */
typedef struct fresh {
    slim_rentry *entry;
    slim_rslot *slot;
    slim_raggregate *aggregate;
    slim_rmember *member;
    slim_rowner *owner;
    slim_rrecord *record;
} fresh;

static void fresh_free(slim_rseg *s, fresh *f)
{
    if (f->entry != NULL)
        slim_rseg_free(s, f->entry, slim_rentry_size(f->entry));
    if (f->slot != NULL)
        slim_rseg_free(s, f->slot, sizeof(*f->slot));
    if (f->aggregate != NULL)
        slim_rseg_free(s, f->aggregate, sizeof(*f->aggregate));
    if (f->member != NULL)
        slim_rseg_free(s, f->member, sizeof(*f->member));
    if (f->owner != NULL)
        slim_rseg_free(s, f->owner, sizeof(*f->owner));
    if (f->record != NULL)
        slim_rseg_free(s, f->record, sizeof(*f->record));
}

static slim_rentry *entry_new(slim_rseg *s, const slim_name *name)
{
    slim_rentry *e = slim_rseg_alloc(s, sizeof(*e) + name->str[0].n + name->str[1].n + name->str[2].n);
    uint8_t *p;

    if (e == NULL)
        return NULL;
    memset(e, 0, sizeof(*e));
    e->key = name->key;
    e->has_str = name->has_str;
    p = e->str;
    for (int i = 0; i < 3; i++) {
        e->str_n[i] = (uint32_t)name->str[i].n;
        p = slim_put(p, name->str[i].p, name->str[i].n);
    }
    return e;
}

static void *zeroed(slim_rseg *s, size_t n)
{
    void *p = slim_rseg_alloc(s, n);

    return p != NULL ? memset(p, 0, n) : NULL;
}

/* A further record of a link that is in the slot already. */
static slim_err prepare_record(change *c, fresh *f)
{
    if ((f->record = zeroed(c->s, sizeof(*f->record))) == NULL)
        return SLIM_E_NOMEM;
    return mark_reserve(c->s, mark_record(c->member, c->subscription_id, c->name->has_id));
}

/* The first record of a link in a slot. Lists and tables that grew for a change that fails later keep the same content. */
static slim_err prepare_member(change *c, slim_link_kind kind, fresh *f)
{
    slim_rseg *s = c->s;
    slim_rentry *entry = c->entry;
    slim_rslot *slot = c->slot;
    slim_err e;

    if (entry == NULL && (entry = f->entry = entry_new(s, c->name)) == NULL)
        return SLIM_E_NOMEM;
    if (slot == NULL && (slot = f->slot = zeroed(s, sizeof(*slot))) == NULL)
        return SLIM_E_NOMEM;
    if (c->aggregate == NULL && (f->aggregate = zeroed(s, sizeof(*f->aggregate))) == NULL)
        return SLIM_E_NOMEM;
    if ((f->member = zeroed(s, sizeof(*f->member))) == NULL)
        return SLIM_E_NOMEM;
    if ((f->member->owner = mark_find(s, mark_owner(c->link))) == NULL &&
        (f->member->owner = f->owner = zeroed(s, sizeof(*f->owner))) == NULL)
        return SLIM_E_NOMEM;
    if (f->entry != NULL && (e = slim_rtable_reserve(s, &s->names, c->name_hash, 1)) != SLIM_OK)
        return e;
    if (f->slot != NULL && (e = slim_rtable_reserve(s, &s->slots, c->slot_hash, 1)) != SLIM_OK)
        return e;
    if ((e = mark_reserve(s, mark_member(c->link, slot))) != SLIM_OK ||
        (e = mark_reserve(s, mark_aggregate(c->link, entry))) != SLIM_OK || (e = mark_reserve(s, mark_owner(c->link))) != SLIM_OK)
        return e;
    if ((e = slim_rlist_reserve(s, &slot->list[kind])) != SLIM_OK)
        return e;
    return c->aggregate == NULL ? slim_rlist_reserve(s, &entry->list[kind]) : SLIM_OK;
}

static void commit_entry(change *c, slim_rentry *e)
{
    c->entry = e;
    slim_rtable_insert(&c->s->names, c->name_hash, e);
    slim_rcount(&c->s->n_names, 1);
}

static void commit_slot(change *c, slim_rslot *slot)
{
    c->slot = slot;
    slot->key = c->name->key;
    slot->id = c->id;
    slot->entry = c->entry;
    slot->known_id = c->subscription_id;
    slot->known_explicit = c->name->has_id;
    c->entry->w.n_slots++;
    c->entry->w.refs++;
    slim_rtable_insert(&c->s->slots, c->slot_hash, slot);
    slim_rcount(&c->s->n_ids, 1);
}

static void commit_aggregate(change *c, slim_raggregate *a, slim_link_kind kind)
{
    c->aggregate = a;
    a->type = SLIM_RMARK_AGGREGATE;
    a->kind = (uint8_t)kind;
    a->link = c->link;
    a->entry = c->entry;
    a->place = slim_rlist_append(&c->entry->list[kind], c->link);
    mark_insert(c->s, mark_aggregate(c->link, c->entry), a);
}

/* Returns whether the slot had no link of this kind before. */
static bool commit_member(change *c, slim_rmember *m)
{
    slim_rword *list = &c->slot->list[c->aggregate->kind];
    slim_rowner *o = m->owner;
    bool first = atomic_load_explicit(list, memory_order_relaxed) == 0;

    c->member = m;
    m->type = SLIM_RMARK_MEMBER;
    m->kind = c->aggregate->kind;
    m->link = c->link;
    m->slot = c->slot;
    m->aggregate = c->aggregate;
    m->aggregate->count++;
    m->has_first = true;
    m->first_id = c->subscription_id;
    m->first_explicit = c->name->has_id;

    if ((m->owner_next = o->members) != NULL)
        o->members->owner_pprev = &m->owner_next;
    m->owner_pprev = &o->members;
    o->members = m;
    if (c->slot->w.members == NULL) {
        c->slot->w.members = m->slot_prev = m;
    } else {
        m->slot_prev = c->slot->w.members->slot_prev;
        m->slot_prev->slot_next = m;
        c->slot->w.members->slot_prev = m;
    }
    m->place = slim_rlist_append(list, c->link);
    mark_insert(c->s, mark_member(c->link, c->slot), m);
    return first;
}

static void commit_record(change *c, slim_rrecord *rec)
{
    slim_rmember *m = c->member;

    rec->type = SLIM_RMARK_RECORD;
    rec->explicit_id = c->name->has_id;
    rec->subscription_id = c->subscription_id;
    rec->member = m;
    if ((rec->next = m->more) != NULL)
        m->more->pprev = &rec->next;
    rec->pprev = &m->more;
    m->more = rec;
    mark_insert(c->s, mark_record(m, c->subscription_id, c->name->has_id), rec);
}

static slim_err subscribe(change *c, slim_link_kind kind, slim_change *out)
{
    slim_rseg *s = c->s;
    fresh f = {0};
    slim_err e;

    if (slim_links_live_xt(s->routes->links, slim_runpack(c->link)) == NULL)
        return SLIM_E_CLOSED;
    change_find(c);
    if (c->member != NULL && (member_first_is(c->member, c->subscription_id, c->name->has_id) ||
                              mark_find(s, mark_record(c->member, c->subscription_id, c->name->has_id)) != NULL))
        return SLIM_OK;
    if (c->aggregate != NULL)
        kind = c->aggregate->kind;
    if ((e = c->member != NULL ? prepare_record(c, &f) : prepare_member(c, kind, &f)) != SLIM_OK) {
        fresh_free(s, &f);
        return e;
    }

    if (f.entry != NULL)
        commit_entry(c, f.entry);
    if (f.slot != NULL)
        commit_slot(c, f.slot);
    if (f.aggregate != NULL)
        commit_aggregate(c, f.aggregate, kind);
    if (f.owner != NULL) {
        f.owner->type = SLIM_RMARK_OWNER;
        f.owner->link = c->link;
        mark_insert(s, mark_owner(c->link), f.owner);
    }
    if (f.member != NULL)
        out->edge = commit_member(c, f.member);
    else
        commit_record(c, f.record);

    c->member->count++;
    if (c->name->has_id) {
        c->slot->n_explicit++;
        if (!c->slot->known_explicit) {
            c->slot->known_explicit = true;
            c->slot->known_id = c->subscription_id;
        }
    }
    slim_rcount(&s->n_records, 1);
    link_count(s->routes, c->link, 1);
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

static void entry_leave(slim_rseg *s, slim_rmember *m)
{
    slim_raggregate *a = m->aggregate;

    if (--a->count != 0)
        return;
    slim_rlist_remove(s, &a->entry->list[a->kind], a->place, place_in_entry, a->entry);
    mark_remove(s, mark_aggregate(a->link, a->entry), a);
    slim_rseg_free(s, a, sizeof(*a));
}

/* The slot has no link any more. It stays in memory for slot_release. */
static void slot_unlink(slim_rseg *s, slim_rslot *slot)
{
    slim_rentry *e = slot->entry;
    uint64_t hash = slim_rhash_key(s->routes, &slot->key);

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
    slim_rseg_retire(s, slot, sizeof(*slot));
}

/* Takes a member without records out of everything. The slot is unlinked when it was the last. */
static void member_remove(slim_rseg *s, slim_rmember *m, slim_change *out)
{
    slim_rslot *slot = m->slot;
    slim_rword *list = &slot->list[m->kind];

    slim_rlist_remove(s, list, m->place, place_in_slot, slot);
    out->edge = atomic_load_explicit(list, memory_order_relaxed) == 0;
    entry_leave(s, m);
    mark_remove(s, mark_member(m->link, slot), m);

    if (m->slot_next != NULL)
        m->slot_next->slot_prev = m->slot_prev;
    else
        slot->w.members->slot_prev = m->slot_prev;
    if (slot->w.members == m)
        slot->w.members = m->slot_next;
    else
        m->slot_prev->slot_next = m->slot_next;

    if ((*m->owner_pprev = m->owner_next) != NULL)
        m->owner_next->owner_pprev = m->owner_pprev;
    if (m->owner->members == NULL) {
        mark_remove(s, mark_owner(m->link), m->owner);
        slim_rseg_free(s, m->owner, sizeof(*m->owner));
    }
    slim_rseg_free(s, m, sizeof(*m));
    if (slot->w.members == NULL) {
        out->unmatched = true;
        slot_unlink(s, slot);
    }
}

/* Removes one record: rec, or the member's own one when rec is NULL. */
static void record_remove(slim_rseg *s, slim_rmember *m, slim_rrecord *rec, slim_change *out)
{
    bool explicit_id = rec != NULL ? rec->explicit_id : m->first_explicit;

    if (rec != NULL) {
        if ((*rec->pprev = rec->next) != NULL)
            rec->next->pprev = rec->pprev;
        mark_remove(s, mark_record(m, rec->subscription_id, rec->explicit_id), rec);
        slim_rseg_free(s, rec, sizeof(*rec));
    } else {
        m->has_first = false;
    }
    m->slot->n_explicit -= explicit_id;
    slim_rcount(&s->n_records, -1);
    link_count(s->routes, m->link, -1);
    if (--m->count == 0)
        member_remove(s, m, out);
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
    else if (c.member == NULL || (!member_first_is(c.member, subscription_id, name->has_id) &&
                                  (rec = mark_find(c.s, mark_record(c.member, subscription_id, name->has_id))) == NULL))
        *miss = SLIM_UNSUB_NO_RECORD;
    if (*miss == SLIM_UNSUB_FOUND) {
        record_remove(c.s, c.member, rec, out);
        if (out->unmatched)
            slot_release(c.s, c.slot);
    }
    slim_rseg_unlock(c.s);
    return *miss == SLIM_UNSUB_FOUND ? SLIM_OK : SLIM_E_NOT_FOUND;
}

/* --- loss of a link
 * ---------------------------------------------------------------------------------------------------------------- */

/* Removes up to *max records of the link in this segment; returns the slots that became empty, for slots_tell. */
static slim_rslot *owner_drain(slim_rseg *s, slim_rowner *o, uint32_t *max)
{
    slim_rslot *gone = NULL, **tail = &gone;
    bool last = false;

    while (*max > 0 && !last) {
        slim_rmember *m = o->members;
        slim_rslot *slot = m->slot;
        slim_change c = {0};

        last = m->owner_next == NULL && m->count == 1;
        record_remove(s, m, m->more, &c);
        --*max;
        if (c.unmatched) {
            slot->w.next_gone = NULL;
            *tail = slot;
            tail = &slot->w.next_gone;
        }
    }
    return gone;
}

static void slots_tell(slim_rseg *s, slim_rslot *gone, slim_routes_gone_fn fn, void *arg)
{
    for (slim_rslot *slot = gone; slot != NULL && fn != NULL; slot = slot->w.next_gone) {
        slim_name name;

        slim_rslot_name(slot, slot->known_explicit, &name);
        fn(arg, &name, slot->known_id);
    }
    slim_rseg_lock(s);
    while (gone != NULL) {
        slim_rslot *slot = gone;

        gone = slot->w.next_gone;
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
