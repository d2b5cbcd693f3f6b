/* Which acknowledgements a link owes us: subscription id -> who waits, first come first served (data-plane.md 5.4). */
#ifndef SLIM_NODE_ACKS_H
#define SLIM_NODE_ACKS_H

#include <stdbool.h>
#include <stdint.h>

#include "core/err.h"
#include "core/mem.h"

#define SLIM_ACKS_BUCKETS 1024
/* An entry older than this is forgotten: whoever waited has given up long before. */
#define SLIM_ACKS_KEEP_NS 30000000000u

typedef struct slim_ack_wait slim_ack_wait;
typedef struct slim_acks {
    slim_mem *mem;
    slim_ack_wait *oldest, *newest;
    slim_ack_wait **bucket; /* made at first use */
    uint32_t n;
} slim_acks;

typedef struct slim_ack_owner {
    uint64_t op;
    uint16_t worker;
} slim_ack_owner;

void slim_acks_init(slim_acks *a, slim_mem *m);
void slim_acks_free(slim_acks *a);
slim_err slim_acks_add(slim_acks *a, uint64_t subscription_id, slim_ack_owner owner, uint64_t now_ns);
/* Takes the oldest entry of that id. */
bool slim_acks_take(slim_acks *a, uint64_t subscription_id, slim_ack_owner *owner);
/* Takes any entry, for a link that ended. */
bool slim_acks_take_any(slim_acks *a, slim_ack_owner *owner);

#endif
