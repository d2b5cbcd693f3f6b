/* gRPC message framing (data-plane.md 1.1): one flag byte, a big-endian length, the message. Sans-I/O and resumable at any byte. */
#ifndef SLIM_IO_GRPC_H
#define SLIM_IO_GRPC_H

#include "core/budget.h"
#include "core/buf.h"
#include "core/bytes.h"

#define SLIM_GRPC_PREFIX_BYTES 5

/* Zero is the initial state. */
typedef struct slim_grpc {
    uint8_t prefix[SLIM_GRPC_PREFIX_BYTES];
    uint8_t n_prefix;
    bool delivered;          /* block was handed out and is let go by the next call */
    uint32_t need;           /* length of the message being received */
    uint32_t got;            /* of it, in block */
    uint32_t promised_bytes; /* to this message, in the budget */
    slim_buf *block;
} slim_grpc;

/* What a message may take. */
typedef struct slim_grpc_room {
    uint32_t max_bytes;
    uint32_t window_bytes; /* promised to the stream anyway; what a message takes beyond needs a promise of its own */
    slim_mem *mem;
    slim_purse *purse;
} slim_grpc_room;

/* Takes bytes from *in (advanced) until a message is whole: SLIM_OK, with *msg inside *msg_hold (hold itself, when the message lies
 * in one piece there; a block otherwise; NULL only when hold is NULL). Both stay valid until the next call, longer with a
 * reference. E_AGAIN: all of *in was taken, no message yet. E_TOO_LARGE: longer than max_bytes, known from the prefix alone.
 * E_PROTOCOL: the compressed flag is set. E_NOMEM: there is no memory, or the budget does not bear the rest of the message. Memory
 * for a message grows with what has arrived, not with what was announced; the promise is for all of it, so that a message that
 * went beyond the window can always come to its end. */
slim_err slim_grpc_next(slim_grpc *g, slim_bytes *in, slim_buf *hold, const slim_grpc_room *room, slim_bytes *msg,
                        slim_buf **msg_hold);
/* True inside a message or its prefix. */
static inline bool slim_grpc_partial(const slim_grpc *g)
{
    return g->n_prefix > 0;
}
/* Lets go of a delivered message's memory, which others may keep. */
void slim_grpc_settle(slim_grpc *g, slim_purse *purse);
void slim_grpc_reset(slim_grpc *g, slim_purse *purse);

static inline void slim_grpc_prefix(uint8_t out[SLIM_GRPC_PREFIX_BYTES], uint32_t n)
{
    out[0] = 0;
    out[1] = (uint8_t)(n >> 24);
    out[2] = (uint8_t)(n >> 16);
    out[3] = (uint8_t)(n >> 8);
    out[4] = (uint8_t)n;
}

#endif
