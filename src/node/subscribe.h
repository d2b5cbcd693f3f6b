/* Subscriptions: the table change, its way to peers and along forward_to, and the acknowledgement (data-plane.md 5.3, 5.4). */
#ifndef SLIM_NODE_SUBSCRIBE_H
#define SLIM_NODE_SUBSCRIBE_H

#include "node/forwarded.h"
#include "node/link.h"

/* A Subscribe or Unsubscribe of a live link; ttl is already decremented. */
void slim_subscribe_change(slim_link *in, const slim_view *v, uint32_t ttl);
/* A SubscriptionAck came in. */
void slim_subscribe_acked(slim_link *in, const slim_view *v);
/* Every acknowledgement that l owed us fails: it ended. */
void slim_subscribe_link_lost(slim_link *l);

/* Parcel records. */
void slim_subscribe_take_send(slim_worker *w, const slim_xrec *rec);
void slim_subscribe_take_acked(slim_worker *w, const slim_xrec *rec);

/* Sends an encoded message to a link of any worker; op != 0: its acknowledgement (subscription_id) is reported to that operation of
 * w. keep: a link that we dialled says it again after a reconnect. E_NOT_FOUND: the link is gone. */
slim_err slim_subscribe_send(slim_worker *w, slim_link_id to, slim_bytes message, uint64_t op, uint64_t subscription_id, bool keep);
/* Says again on a link that came back what was kept for it. */
void slim_subscribe_replay(slim_link *l, const slim_forwarded *kept);
/* Forgets all operations without answers, when the worker ends. */
void slim_subscribe_ops_free(slim_worker *w);

#endif
