/* The head of a forwarded message: everything up to and including the rewritten SLIM header. The untouched tail follows it. */
#ifndef SLIM_CORE_HEAD_H
#define SLIM_CORE_HEAD_H

#include "core/view.h"

typedef struct slim_head_patch {
    uint32_t ttl; /* 0 omits the field */
    bool has_incoming_conn;
    uint64_t incoming_conn; /* explicit presence: 0 is written when has_incoming_conn */
    bool with_mac;          /* leaves SLIM_MAC_BYTES zero bytes at mac_offset */
    bool keep_directions;   /* false removes recv_from and forward_to */
} slim_head_patch;

/* Upper bound of slim_head_build's output in bytes. */
size_t slim_head_bound(const slim_view *v);

/* Writes the head for a plain view with a header (fields in order of their numbers where the original had that order) and
 * returns its size; *mac_offset is where the tag goes (0 without one). The forwarded message is head || v->tail. */
size_t slim_head_build(const slim_view *v, const slim_head_patch *patch, uint8_t *out, size_t *mac_offset);

/* The link-independent part of the header MAC preimage (data-plane.md 4.4, items 3 to 10) for this header with this ttl and with
 * recv_from and forward_to absent or as in v. */
size_t slim_preimage_bound(const slim_view *v);
size_t slim_preimage_build(const slim_view *v, uint32_t ttl, bool keep_directions, uint8_t *out);

/* What the node says itself: a Subscribe or Unsubscribe for a name, with source = destination, fanout 1, ttl, no identity (5.4).
 * Returns the size; bound by slim_subscribe_bound. */
size_t slim_subscribe_bound(const slim_name *name);
size_t slim_subscribe_build(const slim_name *name, bool unsubscribe, uint64_t subscription_id, uint32_t ttl, uint8_t *out);

#endif
