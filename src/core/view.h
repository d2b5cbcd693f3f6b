/* The message view: one pass over a whole protobuf Message that accepts exactly what prost accepts (data-plane.md 2.6)
 * and notes where the parts lie that the hub reads or rewrites. Nothing is copied; all spans borrow from the message. */
#ifndef SLIM_CORE_VIEW_H
#define SLIM_CORE_VIEW_H

#include "core/mem.h"
#include "core/name.h"

#define SLIM_MAC_BYTES 32
#define SLIM_MESSAGE_MAX_BYTES 4194304u

typedef enum slim_msg_type {
    SLIM_MSG_NONE = 0, /* no (known) member of the oneof */
    SLIM_MSG_SUBSCRIBE = 1,
    SLIM_MSG_UNSUBSCRIBE = 2,
    SLIM_MSG_PUBLISH = 3,
    SLIM_MSG_LINK = 5,
    SLIM_MSG_SUBSCRIPTION_ACK = 6,
} slim_msg_type;

/* Runs of header bytes that a hop keeps (everything but fields 6, 7, 8, 9 and 11), in wire order. `before` is the smallest
 * field number in the run: rewritten fields of a smaller number go in front of it. */
#define SLIM_HEADER_RUNS 4
typedef struct slim_header_run {
    slim_bytes bytes;
    uint32_t before;
} slim_header_run;

typedef struct slim_view {
    slim_msg_type type;
    bool has_header, has_session; /* of subscribe, unsubscribe, publish; of publish */
    bool plain; /* each part occurs at most once and the runs suffice: slim_head_build can patch it. Else slim_view_normalise. */

    /* SLIMHeader (2.2) */
    slim_name source, destination;
    slim_bytes identity, version;
    uint32_t fanout, ttl;
    bool has_recv_from, has_forward_to, has_incoming_conn, has_error, error, has_mac;
    uint64_t recv_from, forward_to, incoming_conn;
    slim_bytes mac;

    uint64_t subscription_id; /* of subscribe, unsubscribe */
    bool link_empty;          /* Link without a known link_type */
    slim_bytes body;          /* body of the oneof member: what Link and SubscriptionAck decoders take */

    /* Where things lie, for slim_head_build; meaningful when plain and has_header. msg is always the whole message. */
    slim_bytes msg;
    slim_bytes lead;          /* Message fields in front of the member (metadata, unknown) */
    slim_bytes inner;         /* fields of the member in front of the header */
    slim_bytes tail;          /* everything behind the header, to the end of msg: goes out by reference */
    size_t member_rest_bytes; /* how many bytes of tail still belong to the member */
    slim_header_run run[SLIM_HEADER_RUNS];
    uint32_t n_runs;
} slim_view;

/* Scans msg completely. On success every field of out is set. The error is the one of the first bad byte:
 * E_TRUNCATED, E_WIRETYPE, E_VARINT, E_TAG, E_UTF8, E_DEPTH. Never allocates. */
slim_err slim_view_scan(slim_bytes msg, slim_view *out);

/* For an accepted message that is not plain: writes the same message with every repeated sub-message merged and the losing
 * oneof members removed, unknown fields kept, into memory from m (*out, *out_n; free with slim_free), then scans that into view,
 * which is plain afterwards and borrows from *out. E_NOMEM, E_TOO_LARGE (the result would exceed SLIM_MESSAGE_MAX_BYTES). */
slim_err slim_view_normalise(slim_bytes msg, slim_mem *m, uint8_t **out, size_t *out_n, slim_view *view);

/* Upstream's Message::validate (2.2): E_MISSING when type, header, source, source.name, destination, destination.name,
 * the session of a publish or the link_type is absent. */
slim_err slim_view_validate(const slim_view *v);

#endif
