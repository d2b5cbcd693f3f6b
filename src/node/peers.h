/* What peers know of us: the list of peer links, what was announced to them, the full sync (data-plane.md 4.5, 5.4). */
#ifndef SLIM_NODE_PEERS_H
#define SLIM_NODE_PEERS_H

#include "node/link.h"

/* A peer link went live: it joins the list and its full sync begins. restricted: only names not learnt from peers. */
void slim_peers_join(slim_link *l, bool restricted);
void slim_peers_leave(slim_link *l);
/* Produces the next slices of full syncs whose links have room. */
void slim_peers_sync(slim_worker *w);
bool slim_peers_sync_ready(const slim_link *l);

/* The peer links except one; the caller frees with slim_free. n = 0: none (v is NULL then). E_NOMEM. */
slim_err slim_peers_list_xt(slim_hub *h, slim_link_id except, slim_link_id **v, uint32_t *n);

/* Notes that (name) is announced for kind. True: peers must be told, with *id as subscription id. */
bool slim_peers_announce_xt(slim_hub *h, const slim_name *name, slim_link_kind kind, uint64_t subscription_id, uint64_t *id);
/* Takes the announcement for kind back (all: for every kind). True: peers must be told to unsubscribe *id. */
bool slim_peers_withdraw_xt(slim_hub *h, const slim_name *name, slim_link_kind kind, bool all, uint64_t *id);

/* Loop stop: remembers that a peer's subscription was relayed; true when it came back to us and must not be taken again. */
bool slim_peers_seen_xt(slim_hub *h, const slim_name *name, uint64_t subscription_id, slim_link_id from);
slim_err slim_peers_relayed_xt(slim_hub *h, const slim_name *name, uint64_t subscription_id, slim_link_id from);
void slim_peers_unrelayed_xt(slim_hub *h, const slim_name *name, uint64_t subscription_id);

/* slim_routes_gone_fn of ended links; arg is the worker. */
void slim_peers_name_gone(void *arg, const slim_name *name, uint64_t subscription_id);
void slim_peers_free(slim_hub *h);

#endif
