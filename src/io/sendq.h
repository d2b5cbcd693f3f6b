/* The egress byte queue of a stream: short messages back to back in chunks of contiguous memory, long parts by reference. Taken
 * slices carry references of their own, so the queue may go while they are on the wire. */
#ifndef SLIM_IO_SENDQ_H
#define SLIM_IO_SENDQ_H

#include "core/buf.h"
#include "core/bytes.h"

/* One contiguous piece; whoever holds it holds a reference of buf. */
typedef struct slim_slice {
    const uint8_t *p;
    size_t n;
    slim_buf *buf;
    bool foreign; /* not memory of the queue */
} slim_slice;

/* Zero with mem set is an empty queue. */
typedef struct slim_sendq {
    slim_mem *mem;
    slim_slice *ring; /* power of two */
    uint32_t cap, head, n;
    slim_buf *chunk; /* the one that is being filled */
    size_t chunk_used;
    size_t next_chunk; /* grows while the queue is busy */
    size_t bytes;
} slim_sendq;

#define SLIM_SENDQ_REF_MIN 1024u /* shorter parts are copied: a slice costs more than the copy */

/* Room for n contiguous bytes at the end; counted as queued. NULL: no memory, nothing changed. */
uint8_t *slim_sendq_reserve(slim_sendq *q, size_t n);
/* Adds part by reference (hold gains one), or by copy when it is short or hold is NULL. E_NOMEM. */
slim_err slim_sendq_add(slim_sendq *q, slim_bytes part, slim_buf *hold);
/* Moves up to n bytes from the front into at most max slices. Returns the bytes; *n_out the slices. */
size_t slim_sendq_take(slim_sendq *q, size_t n, slim_slice *out, size_t max, size_t *n_out);
/* How many slices the first n bytes are. */
size_t slim_sendq_slices(const slim_sendq *q, size_t n);
/* Replaces foreign references by exact copies; a copy without memory stays a reference. Returns the bytes copied. */
size_t slim_sendq_evacuate(slim_sendq *q);
/* Whether a reference to foreign memory is queued. */
bool slim_sendq_foreign(const slim_sendq *q);
void slim_sendq_clear(slim_sendq *q);

#endif
