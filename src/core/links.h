/* The shared table of links: who owns a link, is it alive, may its queue take more. Every worker reads it without a lock;
 * slots are handed out last freed first, as upstream numbers its connections (data-plane.md 4.1). */
#ifndef SLIM_CORE_LINKS_H
#define SLIM_CORE_LINKS_H

#include <stdatomic.h>

#include "core/err.h"
#include "core/mem.h"
#include <stdint.h>

typedef enum slim_link_kind { SLIM_LOCAL = 0, SLIM_REMOTE = 1, SLIM_PEER = 2, SLIM_EDGE = 3, SLIM_LINK_KINDS = 4 } slim_link_kind;
#define SLIM_KIND_BIT(k) (1u << (k))
#define SLIM_KINDS_ALL 15u

/* slot is the connection index that upstream shows; gen tells a new link in the same slot from the old one. gen is never 0. */
typedef struct slim_link_id {
    uint32_t slot, gen;
} slim_link_id;

#define SLIM_LINK_NONE ((slim_link_id){0, 0})
static inline bool slim_link_id_eq(slim_link_id a, slim_link_id b)
{
    return a.slot == b.slot && a.gen == b.gen;
}

typedef struct slim_link_slot {
    _Alignas(64) _Atomic uint32_t gen; /* 0: free */
    _Atomic uint16_t worker;
    _Atomic uint8_t kind;
    _Atomic uint8_t congested; /* owner's egress queue is above its high mark */
    _Atomic uint8_t signs;     /* copies for it carry a header MAC */
    uint32_t next_free;        /* under the table's mutex */
    uint32_t last_gen;         /* under the table's mutex */
    _Atomic uint64_t records;  /* the routing table's: gen << 32 | how many records the link of that gen has */
} slim_link_slot;

typedef struct slim_links slim_links;

/* max: how many slots at most (rounded up to chunks of 1024). NULL: no memory. */
slim_links *slim_links_new(slim_mem *m, uint32_t max);
void slim_links_free(slim_links *t);

/* Takes a slot; mutex inside, rare. E_NOMEM, E_TOO_LARGE (table full). */
slim_err slim_links_open_xt(slim_links *t, uint16_t worker, slim_link_kind kind, slim_link_id *out);
/* Ends the link: readers see it dead at once, the slot may be reused from now on (with another gen). */
void slim_links_close_xt(slim_links *t, slim_link_id id);

/* The slot of an index, or NULL when it was never used. Valid as long as the table. */
slim_link_slot *slim_links_slot_xt(const slim_links *t, uint32_t slot);
/* NULL when the link is dead. */
slim_link_slot *slim_links_live_xt(const slim_links *t, slim_link_id id);
/* The live link in a slot, or SLIM_LINK_NONE. */
slim_link_id slim_links_at_xt(const slim_links *t, uint32_t slot);
uint32_t slim_links_count_xt(const slim_links *t);

#endif
