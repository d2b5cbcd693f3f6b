/* The routing table: name components -> ids -> links (data-plane.md 5). Readers are lock-free inside an epoch section;
 * changes take turns per segment. A change is visible to every reader when its call returns. */
#ifndef SLIM_CORE_ROUTES_H
#define SLIM_CORE_ROUTES_H

#include "core/links.h"
#include "core/name.h"

typedef struct slim_routes slim_routes;
typedef struct slim_routes_reader slim_routes_reader;

/* seed: per process, so that nobody can choose names that collide. links must outlive the table. */
slim_routes *slim_routes_new(slim_mem *m, slim_links *links, uint64_t seed);
void slim_routes_free(slim_routes *r); /* no reader may be inside */

/* One reader per worker thread, kept for the life of the table. */
slim_routes_reader *slim_routes_reader_new(slim_routes *r);
/* An epoch section: once per batch, never across a blocking wait. leave also frees what no reader can see any more. */
void slim_routes_enter(slim_routes_reader *rd);
void slim_routes_leave(slim_routes_reader *rd);

/* A growing array that the caller keeps between calls, so that a match does not allocate after warm-up. */
typedef struct slim_targets {
    slim_link_id *v;
    uint8_t *kind; /* slim_link_kind of v[i] */
    uint32_t n, cap;
    slim_mem *mem;
} slim_targets;
void slim_targets_free(slim_targets *t);

/* Who gets a publish. fanout 1: one link (kinds in the order local, remote, peer, edge; rotation inside a kind; 5.2);
 * any other value: every link once. from is excluded; kinds masks what may be chosen (5.2: no peers for a message of a peer in a
 * full mesh). Dead links are never returned. The caller is inside rd's section. E_NOT_FOUND, E_NOMEM. */
slim_err slim_routes_match(slim_routes_reader *rd, const slim_key *key, slim_id id, uint32_t fanout, slim_link_id from,
                           uint32_t kinds, slim_targets *out);

/* What a change did, so that the caller knows whether peers must hear of it (5.4). */
typedef struct slim_change {
    bool edge;      /* subscribe: first record of its (name, id, kind); unsubscribe: the last one is gone */
    bool unmatched; /* after the change no link of any kind is left for (name, id) */
} slim_change;

/* Why an unsubscribe found nothing, tested in this order (5.3). */
typedef enum slim_unsub_miss { SLIM_UNSUB_FOUND = 0, SLIM_UNSUB_NO_NAME, SLIM_UNSUB_NO_ID, SLIM_UNSUB_NO_RECORD } slim_unsub_miss;

/* Adds the record (link, subscription_id, name with its form of the id); the same record twice is one. name's strings are stored
 * with the first subscription of its key. Records are counted: link stays in the slot while one is left; both forms of the NULL id
 * are counted together for routing but are different records. E_NOMEM (nothing changed), E_CLOSED (link is dead), E_TOO_LARGE. */
slim_err slim_routes_subscribe_xt(slim_routes *r, slim_link_id link, slim_link_kind kind, uint64_t subscription_id,
                                  const slim_name *name, slim_change *change);
slim_err slim_routes_unsubscribe_xt(slim_routes *r, slim_link_id link, uint64_t subscription_id, const slim_name *name,
                                    slim_change *change, slim_unsub_miss *miss);

/* Removes at most max records of a link that slim_links_close_xt ended before. For every (name, id) that has no link of any kind
 * afterwards, gone is called (outside of locks; name borrows until return) with an id under which it was known. more: call again.
 */
typedef void (*slim_routes_gone_fn)(void *arg, const slim_name *name, uint64_t subscription_id);
slim_err slim_routes_drop_link_xt(slim_routes *r, slim_link_id link, uint32_t max, slim_routes_gone_fn gone, void *arg, bool *more);

/* Walks every known (name, id) in slices: a name that is there during the whole walk is seen at least once. Zero-initialise the
 * cursor. fn gets the kinds that are subscribed (bit set), one subscription id, and whether a link other than `except` has it;
 * it returns false to stop behind this name (the next call goes on after it). *more is false at the end. */
typedef struct slim_routes_cursor {
    uint64_t a, b, c;
} slim_routes_cursor;
typedef struct slim_known {
    const slim_name *name; /* borrows until return */
    uint64_t subscription_id;
    uint32_t kinds; /* of links other than the excepted one */
} slim_known;
typedef bool (*slim_routes_walk_fn)(void *arg, const slim_known *known);
slim_err slim_routes_walk_xt(slim_routes *r, slim_routes_cursor *c, uint32_t max, slim_link_id except, slim_routes_walk_fn fn,
                             void *arg, bool *more);

typedef struct slim_routes_stats {
    uint64_t names, ids, records, bytes;
} slim_routes_stats;
void slim_routes_stats_xt(const slim_routes *r, slim_routes_stats *out);
/* How many records a link has, for limits. */
uint64_t slim_routes_link_records_xt(const slim_routes *r, slim_link_id link);

#endif
