/* A link that this node dials and keeps up (data-plane.md 4.2, 4.6; node.md 3.2). */
#ifndef SLIM_NODE_OUTBOUND_H
#define SLIM_NODE_OUTBOUND_H

#include "node/link.h"

slim_err slim_outbound_new(slim_hub *h, slim_worker *w, const slim_hub_client *c, slim_outbound **out, char *why, size_t why_n);
/* Starts dialling, on its worker. */
void slim_outbound_start(slim_outbound *o);
/* No further attempt; the connection, if any, is ended by the caller. */
void slim_outbound_stop(slim_outbound *o);
/* The worker has ended. */
void slim_outbound_free(slim_outbound *o);
slim_worker *slim_outbound_worker(const slim_outbound *o);
slim_outbound **slim_outbound_next(slim_outbound *o);

/* For link.c. */
slim_bytes slim_outbound_link_id(const slim_outbound *o);
slim_link_kind slim_outbound_kind(const slim_outbound *o);
void slim_outbound_call(const slim_outbound *o, const char **scheme, const char **authority, const slim_h2_header **headers,
                        size_t *n, bool *strict, uint64_t *timeout_ns);
void slim_outbound_live(slim_outbound *o, slim_link *l);
/* Keeps a forwarded Subscribe for the next reconnect, or forgets it (slim_forwarded_note). */
slim_err slim_outbound_note(slim_outbound *o, const slim_view *v);
/* The link of a connection that comes back keeps its index, and with it the routes that lead there (4.6): its id while the
 * connection is away, else SLIM_LINK_NONE. */
slim_link_id slim_outbound_kept(const slim_outbound *o);
/* l is lost: true when its id is kept for its return. */
bool slim_outbound_keep(slim_outbound *o, const slim_link *l);
bool slim_outbound_is_return(const slim_outbound *o); /* it was live before */
/* The negotiation failed for the reason given. */
void slim_outbound_refused(slim_outbound *o, slim_err e, const char *why);
/* The stream ended with this grpc-status (-1: none) and HTTP status. */
void slim_outbound_stream_ended(slim_outbound *o, bool was_live, int grpc_status, int http_status, const char *message);

#endif
