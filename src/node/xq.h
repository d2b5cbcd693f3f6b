/* Core-to-core queues: one SPSC ring of parcels per ordered pair of workers, made at first use. A parcel carries the records of one
 * batch; what does not fit the ring waits in the producer's overflow list, before anything newer. The ring is ours, not ck's,
 * because it must be readable for ThreadSanitizer: C11 acquire and release instead of fences that only the processor sees. */
#ifndef SLIM_NODE_XQ_H
#define SLIM_NODE_XQ_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/mem.h"

#define SLIM_XQ_SLOTS 256
#define SLIM_XQ_HIGH_BYTES (8u * 1024 * 1024) /* records under way per pair before senders are held back */

typedef struct slim_xrec {
    uint32_t size_bytes; /* with this header, a multiple of 8 */
    uint32_t kind;
} slim_xrec;

typedef struct slim_parcel slim_parcel;
struct slim_parcel {
    slim_parcel *next; /* overflow list of the producer */
    size_t used_bytes, cap_bytes;
    uint64_t cost_bytes; /* with what its records refer to */
    uint64_t stamp_ns;   /* when it was handed over */
    uint8_t data[] __attribute__((aligned(8)));
};

/* One direction of a pair. */
typedef struct slim_xq {
    slim_mem *mem;
    slim_parcel *slots[SLIM_XQ_SLOTS];
    /* producer's */
    _Atomic uint32_t head; /* next to fill; both indexes run freely */
    uint32_t tail_seen;    /* the consumer's index when last looked at */
    slim_parcel *open, *overflow, *overflow_tail;
    uint64_t sent_bytes;
    char pad[64]; /* keeps the consumer's line apart */
    /* consumer's */
    _Atomic uint32_t tail; /* next to take */
    _Atomic uint64_t done_bytes;
    /* set by a producer that holds senders back; the consumer wakes it then */
    _Atomic bool wanted;
} slim_xq;

slim_xq *slim_xq_new(slim_mem *m);
/* Both threads have ended; parcels left are freed unread. */
void slim_xq_free(slim_xq *q);

/* Producer: room for a record of n bytes (header included, rounded up); the header is filled in. extra: bytes that the record keeps
 * alive elsewhere. NULL: no memory. */
void *slim_xq_put(slim_xq *q, uint32_t kind, size_t n, size_t extra_bytes);
/* Producer: hands over what was put. True when the consumer has something new. */
bool slim_xq_flush(slim_xq *q, uint64_t now_ns);
bool slim_xq_backlogged(const slim_xq *q); /* records wait in the overflow list */
/* Producer: bytes handed over or about to be and not yet consumed. */
uint64_t slim_xq_under_way_bytes(const slim_xq *q);

/* Consumer: the next parcel or NULL; give it back with slim_xq_done. */
slim_parcel *slim_xq_take(slim_xq *q);
/* Consumer: when the next parcel was handed over; UINT64_MAX when there is none. */
uint64_t slim_xq_stamp_ns(const slim_xq *q);
void slim_xq_done(slim_xq *q, slim_parcel *p);
bool slim_xq_empty(const slim_xq *q);

#endif
