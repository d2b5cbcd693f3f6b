/* Inside of the routing table, shared by its files only.
 *
 * A segment owns everything of the keys that hash to it: `names` finds the entry of a key (aggregate member lists: "any id"),
 * `slots` the slot of a (key, id) (its own member lists), `marks` what only writers need of those that have more than one link or
 * record: membership of a link in an entry, in a slot, and the records; and the owners. Slots are found by the hash of key and id
 * together, so that a million ids under one key are an ordinary table and a publish to an id reads no entry.
 *
 * Publication: an object is complete before the release store that makes it reachable; what readers could have seen is retired, not
 * freed. Readers never write, except for the rotation cursors. */
#ifndef SLIM_CORE_ROUTES_INT_H
#define SLIM_CORE_ROUTES_INT_H

#include "core/routes.h"

#include <assert.h>
#include <ck_epoch.h>
#include <pthread.h>

#if defined(__SANITIZE_THREAD__)
#define SLIM_ROUTES_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define SLIM_ROUTES_TSAN 1
#endif
#endif

#define SLIM_RSEG_BITS 6
#define SLIM_RSEGS (1u << SLIM_RSEG_BITS)
#define SLIM_ROUTES_SECRETS 10

typedef struct slim_rseg slim_rseg;

/* --- table: extendible hashing over leaves of open addressing (routes_table.c) --------------------------------------------------
 * Bits of a hash: the lowest 6 choose the segment, the next 32 the cell in a leaf, the top ones the leaf in the directory. So the
 * leaves in the order of the directory hold ascending ranges of hashes, and growth never moves more than one leaf. */

/* A cell refers to its object, and the key is compared in the immutable object: so a removed cell may be used for another one. */
typedef struct slim_rcell {
    _Atomic uint64_t hash;
    _Atomic(void *) obj; /* NULL: never used, ends a probe */
} slim_rcell;
#define SLIM_RCELL_GONE ((void *)(uintptr_t)1)

#define SLIM_RLEAF_MIN_BITS 3
#define SLIM_RLEAF_MAX_BITS 10
/* Beyond this depth, which takes 10^10 names, leaves grow instead. */
#define SLIM_RLEAF_MAX_DEPTH 24
#define SLIM_RLEAF_TOP_BITS (SLIM_RLEAF_MIN_BITS + 15)

/* The head takes the place of two cells, so that a leaf fills a whole size class of the allocator. */
typedef struct slim_rleaf {
    ck_epoch_entry_t limbo;
    uint32_t used; /* cells that are not NULL */
    uint32_t live;
    uint32_t depth; /* how many top bits its hashes share */
    uint32_t bits;
    slim_rcell cell[];
} slim_rleaf;

typedef struct slim_rdir {
    ck_epoch_entry_t limbo;
    uint32_t depth;
    _Atomic uintptr_t leaf[]; /* the address, and in its low 4 bits the leaf's bits - SLIM_RLEAF_MIN_BITS */
} slim_rdir;

typedef struct slim_rtable {
    _Atomic(slim_rdir *) dir; /* NULL: empty */
} slim_rtable;

typedef bool slim_rtable_eq(const void *obj, const void *want);

static inline size_t slim_rdir_index(uint32_t depth, uint64_t hash)
{
    return (size_t)(hash >> 1 >> (63 - depth));
}
static inline slim_rleaf *slim_rleaf_of(uintptr_t w)
{
    return (slim_rleaf *)(w & ~(uintptr_t)15);
}

static inline uint32_t slim_rleaf_cells(uint32_t bits)
{
    return (1u << bits) - (uint32_t)(sizeof(slim_rleaf) / sizeof(slim_rcell));
}
/* Where the probe for a hash begins, in a leaf of n cells. */
static inline uint32_t slim_rleaf_first(uint64_t hash, uint32_t n)
{
    return (uint32_t)((uint64_t)(uint32_t)(hash >> SLIM_RSEG_BITS) * n >> 32);
}

/* Lock-free inside an epoch section, or under the segment's lock. */
static inline void *slim_rtable_find(const slim_rtable *t, uint64_t hash, slim_rtable_eq *eq, const void *want)
{
    slim_rdir *d = atomic_load_explicit(&t->dir, memory_order_acquire);
    const slim_rleaf *leaf;
    uintptr_t w;
    uint32_t n;

    if (d == NULL)
        return NULL;
    w = atomic_load_explicit(&d->leaf[slim_rdir_index(d->depth, hash)], memory_order_acquire);
    leaf = slim_rleaf_of(w);
    n = slim_rleaf_cells((uint32_t)(w & 15) + SLIM_RLEAF_MIN_BITS);
    for (uint32_t i = slim_rleaf_first(hash, n);; i = i + 1 < n ? i + 1 : 0) {
        const slim_rcell *c = &leaf->cell[i];
        void *obj = atomic_load_explicit(&c->obj, memory_order_acquire);

        if (obj == NULL)
            return NULL;
        if (atomic_load_explicit(&c->hash, memory_order_relaxed) == hash && obj != SLIM_RCELL_GONE && eq(obj, want))
            return obj;
    }
}

/* The rest is for writers. reserve makes room for `room` insertions of this hash; E_NOMEM, E_TOO_LARGE. remove and insert cannot
 * fail. */
slim_err slim_rtable_reserve(slim_rseg *s, slim_rtable *t, uint64_t hash, uint32_t room);
void slim_rtable_insert(slim_rtable *t, uint64_t hash, void *obj);
void slim_rtable_remove(slim_rseg *s, slim_rtable *t, uint64_t hash, const void *obj);
/* Calls fn (may be NULL) for each object, then frees the table; nobody else uses it any more. */
void slim_rtable_free(slim_rseg *s, slim_rtable *t, void (*fn)(slim_rseg *s, void *obj));

/* --- member lists (routes_list.c)
 * ------------------------------------------------------------------------------------------------- A word is 0 (nobody), odd (the
 * packed id of the only member), or the address of a list. A member keeps its place in v as long as the list lives; removal leaves
 * a 0 that the next member fills. `order` numbers the members without gaps for the rotation; there the last one takes the place of
 * a removed one, as upstream's lists do. */
typedef _Atomic uint64_t slim_rword;

typedef struct slim_rlist {
    ck_epoch_entry_t limbo;
    uint32_t cap;
    uint32_t hole;           /* first unfilled place, linked through where; SLIM_RLIST_NO_HOLE. Writers only. */
    _Atomic uint32_t n;      /* members */
    _Atomic uint32_t used;   /* places ever filled */
    uint32_t *where;         /* place -> index in order; writers only */
    _Atomic uint32_t *order; /* index -> place */
    slim_rword v[];
} slim_rlist;
#define SLIM_RLIST_NO_HOLE UINT32_MAX
#define SLIM_RLIST_CAP_MIN 4

static inline uint64_t slim_rpack(slim_link_id id)
{
    return (uint64_t)id.gen << 32 | (uint64_t)id.slot << 1 | 1;
}
static inline slim_link_id slim_runpack(uint64_t w)
{
    return (slim_link_id){(uint32_t)w >> 1, (uint32_t)(w >> 32)};
}
static inline bool slim_rword_single(uint64_t w)
{
    return (w & 1) != 0;
}
static inline slim_rlist *slim_rword_list(uint64_t w)
{
    return (slim_rlist *)(uintptr_t)w;
}

/* Room for one more member; the members stay as they are. E_NOMEM, E_TOO_LARGE. */
slim_err slim_rlist_reserve(slim_rseg *s, slim_rword *word);
/* Adds a member that is not in it, after reserve; returns its place. */
uint32_t slim_rlist_append(slim_rword *word, uint64_t link);
/* Finds where a member of the list of `node` keeps its place, for a list that is copied without its holes. */
typedef uint32_t *slim_rlist_place(slim_rseg *s, const void *node, uint64_t link);
void slim_rlist_remove(slim_rseg *s, slim_rword *word, uint32_t place, slim_rlist_place *place_of, const void *node);
/* Whether there is a member other than `except`. */
bool slim_rlist_has_other(const slim_rword *word, uint64_t except);
/* Frees the list of a node that nobody else uses any more. */
void slim_rlist_drop(slim_rseg *s, slim_rword *word);

/* --- objects --------------------------------------------------------------------------------------------------------------------
 * Most names are known from one link with one record, and most ids too: such an entry or slot is "sole", its word is odd and holds
 * the link and its kind, and what writers need lies in the object itself. The first further link or record makes it wide, for the
 * rest of its life. */
typedef enum slim_rnode_type {
    SLIM_RNODE_SLOT = 1,
    SLIM_RNODE_MEMBER,
    SLIM_RNODE_AGGREGATE,
    SLIM_RNODE_RECORD,
    SLIM_RNODE_OWNER
} slim_rnode_type;

/* Begins everything that belongs to a link. limbo overlays what only writers read; it is used from the moment on when nobody can
 * find the object any more. */
typedef struct slim_rnode {
    union {
        ck_epoch_entry_t limbo;
        struct {
            struct slim_rnode *next, **pprev;
        } in; /* the chain of an owner or of a member's records */
    };
    uint8_t type, kind;
    bool explicit_id; /* of the record that lies in the object: its name carried the id */
    uint32_t place;   /* in the list of a wide object */
} slim_rnode;

/* What readers need of a wide object. */
typedef struct slim_rwide {
    ck_epoch_entry_t limbo;
    slim_rword list[SLIM_LINK_KINDS];
    _Atomic uint32_t cursor[SLIM_LINK_KINDS]; /* of a slot; an entry has one for all kinds */
} slim_rwide;

typedef struct slim_rmember slim_rmember;

/* Of a slot. */
typedef struct slim_rcrowd {
    slim_rwide wide;
    slim_rmember *members; /* oldest first */
    uint64_t known_id;     /* the subscription id of the first record, of the first with an explicit id once there was one */
    uint32_t n_explicit;   /* records whose name carried the id */
    bool known_explicit;
} slim_rcrowd;

/* A key: who has it under any id. */
typedef struct slim_rentry {
    union {
        ck_epoch_entry_t limbo;
        struct {
            uint32_t n_slots; /* in the table */
            uint32_t refs;    /* slots, also removed ones whose name is still to be told, and walks */
        } w;
    };
    slim_key key;
    slim_rword word;
    _Atomic uint32_t cursor;
    uint32_t str_n[3];
    bool has_str;
    uint8_t str[];
} slim_rentry;

/* A key and an id. kind and place of the node are not used. */
typedef struct slim_rslot {
    slim_rnode node;
    slim_rword word;
    slim_id id;
    slim_rentry *entry;
    uint64_t subscription_id; /* of the only record, while sole */
} slim_rslot;

/* A link in a wide entry. kind is that of the link's first record there and rules for the whole entry. */
typedef struct slim_raggregate {
    slim_rnode node;
    uint32_t count; /* slots of the entry that the link is in */
    uint64_t link;
    slim_rentry *entry;
} slim_raggregate;

/* A further record of a member; the usual only one lies in the member itself. */
typedef struct slim_rrecord {
    slim_rnode node;
    uint64_t subscription_id;
    slim_rmember *member;
} slim_rrecord;

/* What a link has in this segment: the chain of its members and sole slots begins in the node. */
typedef struct slim_rowner {
    slim_rnode node;
    uint64_t link;
} slim_rowner;

/* A link in a wide slot. */
struct slim_rmember {
    slim_rnode node;
    uint64_t link;
    uint32_t count; /* records */
    bool has_first;
    uint64_t first_id;
    slim_rslot *slot;
    slim_rnode *more;                    /* slim_rrecord */
    slim_rmember *slot_next, *slot_prev; /* slot_prev of the first is the last */
};

/* A sole word: the packed link, with the kind in the two highest bits of its slot number, which no table of links reaches. */
#define SLIM_RSOLE_SHIFT 30
static inline uint64_t slim_rsole(uint64_t link, slim_link_kind kind)
{
    return link | (uint64_t)kind << SLIM_RSOLE_SHIFT;
}
static inline uint64_t slim_rsole_link(uint64_t w)
{
    return w & ~((uint64_t)(SLIM_LINK_KINDS - 1) << SLIM_RSOLE_SHIFT);
}
static inline slim_link_kind slim_rsole_kind(uint64_t w)
{
    return (slim_link_kind)(w >> SLIM_RSOLE_SHIFT & (SLIM_LINK_KINDS - 1));
}
static inline slim_rwide *slim_rwide_of(uint64_t w)
{
    return (slim_rwide *)(uintptr_t)w;
}
/* For writers, who see a word only as they left it. */
static inline uint64_t slim_rword_get(const slim_rword *word)
{
    return atomic_load_explicit(word, memory_order_relaxed);
}
static inline slim_rcrowd *slim_rslot_crowd(const slim_rslot *s)
{
    return (slim_rcrowd *)(uintptr_t)slim_rword_get(&s->word);
}
static inline bool slim_rslot_sole(const slim_rslot *s)
{
    return slim_rword_single(slim_rword_get(&s->word));
}

struct slim_rseg {
    _Alignas(64) slim_rtable names;    /* slim_rentry */
    slim_rtable slots;                 /* slim_rslot */
    _Alignas(64) pthread_mutex_t lock; /* for all below and every change */
    slim_routes *routes;
    uint32_t index;
    uint32_t ops; /* changes since the last look at the limbo */
    slim_rtable marks;
    ck_stack_t ready; /* retired, and out of every reader's sight */
    _Atomic uint64_t n_names, n_ids, n_records, n_bytes;
    ck_epoch_record_t epoch;
};

struct slim_routes_reader {
    ck_epoch_record_t epoch;
    slim_routes *routes;
    void *raw;
    slim_routes_reader *next;
    uint32_t leaves;
};

struct slim_routes {
    slim_mem *mem;
    slim_links *links;
    void *raw;
    uint64_t secret[SLIM_ROUTES_SECRETS];
    pthread_mutex_t lock; /* readers */
    slim_routes_reader *readers;
    _Alignas(64) _Atomic uint64_t dirty; /* bit per segment with something retired */
#ifdef SLIM_ROUTES_TSAN
    _Atomic uint64_t left; /* shows the order that the epoch gives */
#endif
    ck_epoch_t epoch;
    slim_rseg seg[SLIM_RSEGS];
};

/* Multiply and fold: what the components are mixed with is secret, so that nobody can choose names that collide. */
static inline uint64_t slim_rmix(uint64_t a, uint64_t b)
{
    unsigned __int128 p = (unsigned __int128)a * b;

    return (uint64_t)p ^ (uint64_t)(p >> 64);
}

static inline uint64_t slim_rhash_key(const slim_routes *r, const slim_key *k)
{
    uint64_t h = slim_rmix(k->c[0] ^ r->secret[0], k->c[1] ^ r->secret[1]);

    return slim_rmix(h ^ r->secret[2], k->c[2] ^ r->secret[3]) ^ h;
}

static inline uint64_t slim_rhash_slot(const slim_routes *r, uint64_t key_hash, slim_id id)
{
    return slim_rmix(slim_rmix(key_hash ^ r->secret[4], id.hi ^ r->secret[5]) ^ r->secret[6], id.lo ^ r->secret[7]) ^ key_hash;
}

static inline slim_rseg *slim_rseg_of(slim_routes *r, uint64_t key_hash)
{
    return &r->seg[key_hash & (SLIM_RSEGS - 1)];
}

typedef struct slim_rslot_want {
    const slim_key *key;
    slim_id id;
} slim_rslot_want;

static inline bool slim_rentry_eq(const void *obj, const void *want)
{
    return slim_key_eq(&((const slim_rentry *)obj)->key, (const slim_key *)want);
}

static inline bool slim_rslot_eq(const void *obj, const void *want)
{
    const slim_rslot *s = obj;
    const slim_rslot_want *w = want;

    return slim_id_eq(s->id, w->id) && slim_key_eq(&s->entry->key, w->key);
}

/* --- segment (routes.c)
 * ------------------------------------------------------------------------------------------------------------ */
void *slim_rseg_alloc(slim_rseg *s, size_t n);
void slim_rseg_free(slim_rseg *s, void *p, size_t n);
/* For what readers could have seen; p begins with its limbo entry. */
void slim_rseg_retire(slim_rseg *s, void *p, size_t n);
void slim_rseg_lock(slim_rseg *s);
/* Frees some of what was retired, then unlocks. */
void slim_rseg_unlock(slim_rseg *s);
void slim_rcount(_Atomic uint64_t *c, int64_t d);

/* Gives back a reference that a removed slot or a walk had. */
void slim_rentry_unref(slim_rseg *s, slim_rentry *e);
static inline size_t slim_rentry_size(const slim_rentry *e)
{
    return offsetof(slim_rentry, str) + e->str_n[0] + e->str_n[1] + e->str_n[2];
}
/* The name of a slot; borrows from its entry. */
void slim_rslot_name(const slim_rslot *s, bool has_id, slim_name *out);
/* Frees a wide object with its lists; nobody else uses it any more. */
void slim_rwide_free(slim_rseg *s, slim_rwide *w, size_t n);

#endif
