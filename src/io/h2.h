/* One HTTP/2 connection that carries gRPC bidi streams, server or client side, over nghttp2. Sans-I/O: bytes in by feed, bytes out
 * by pull; no clock, no socket. gRPC framing happens here too, so that the user sees whole messages (data-plane.md 1.1, 1.5).
 *
 * Flow control: the connection window is given back at once; a stream's window is given back as its bytes are parsed, so a message
 * may be larger than the window. While a stream is paused its bytes are kept (copied, bounded by its window) and not given back:
 * that is the only back-pressure, and PING, SETTINGS and other streams go on. */
#ifndef SLIM_IO_H2_H
#define SLIM_IO_H2_H

#include <sys/uio.h>

#include "core/budget.h"
#include "core/buf.h"
#include "core/bytes.h"

typedef struct slim_h2 slim_h2;
typedef struct slim_stream slim_stream; /* one gRPC call */

typedef enum slim_stream_end {
    SLIM_END_CLEAN,      /* the peer half-closed between two messages (server), or trailers came (client: slim_stream_status) */
    SLIM_END_RESET,      /* RST_STREAM, or the connection ended */
    SLIM_END_OVERSIZE,   /* a message longer than the limit was announced */
    SLIM_END_COMPRESSED, /* compressed flag set */
    SLIM_END_TRUNCATED,  /* END_STREAM inside a message */
    SLIM_END_NO_MEMORY,  /* no memory for what came, or the budget does not bear it; the stream is reset */
} slim_stream_end;

typedef struct slim_h2_events slim_h2_events;
struct slim_h2_events {
    /* Server: a call on the configured path opened; the response headers are already queued. Client: response headers came with
     * :status 200 and no grpc-status; the call is open. Set the stream's user here. */
    void (*open)(slim_h2 *h, slim_stream *s);
    /* One whole message, contiguous in hold (keep it by slim_buf_ref) or, when hold is NULL, only until return. The callee may call
     * slim_stream_pause: then no further message comes. Called inside feed or resume. */
    void (*message)(slim_stream *s, slim_bytes msg, slim_buf *hold);
    /* The receiving side of the call ended; exactly once per opened stream, never after slim_stream_free of the connection. For a
     * client whose call was refused before open, also called (slim_stream_status tells), so every slim_h2_call ends in one end. */
    void (*end)(slim_stream *s, slim_stream_end why);
    /* The stream object is about to go; its user must be forgotten. After end. */
    void (*gone)(slim_stream *s);
    /* Something was queued for sending outside of feed: the connection wants a flush. May be called often. */
    void (*dirty)(slim_h2 *h);
};

typedef struct slim_h2_config {
    bool server;
    const char *path;                 /* "/dataplane.proto.v1.DataPlaneService/OpenChannel" */
    uint32_t stream_window_bytes;     /* 1 MiB as server, 2 MiB as client; 64 KiB when the budget does not bear more */
    uint32_t connection_window_bytes; /* larger than the sum of busy streams */
    uint32_t max_frame_bytes;         /* announced; 16384 is not put into SETTINGS when announce_frame is false */
    bool announce_frame;
    uint32_t max_header_list_bytes; /* 16384 */
    uint32_t max_message_bytes;     /* 4 MiB */
    uint32_t
        max_streams; /* refuse more live streams on one connection than this (RST_STREAM REFUSED_STREAM); a server announces it */
    bool compact;    /* what a connection always needs lies in one block: less memory, fewer allocations */
    const char *http_date; /* value of response headers' date, read when they are made; lives as long as the connection */
    const slim_h2_events *events;
    slim_mem *mem;
    slim_purse *purse; /* what assembly, paused bytes, egress queues and pulls that are not sent yet hold */
} slim_h2_config;

/* A client as upstream's are: one call, frames of 16 KiB. events, mem, purse and http_date are the caller's to set. */
slim_h2_config slim_h2_client_config(const char *path, uint32_t stream_window_bytes, uint32_t connection_window_bytes,
                                     uint32_t max_message_bytes);

/* cfg is copied. user: the owner's. NULL: no memory. */
slim_h2 *slim_h2_new(const slim_h2_config *cfg, void *user);
void slim_h2_free(slim_h2 *h); /* open streams get end(RESET) and gone */
void *slim_h2_user(const slim_h2 *h);

/* Takes received bytes that lie in hold (NULL: they are gone after return). E_PROTOCOL: the connection is to be flushed and closed;
 * slim_h2_why tells. E_NOMEM. Most errors of the peer are answered by a GOAWAY instead: then feed still gives SLIM_OK, the rest of
 * the input is ignored, and slim_h2_finished and slim_h2_failed are true once slim_h2_pull has given the GOAWAY. A frame whose
 * announced length exceeds max_frame_bytes is refused that way at its 9 header bytes. */
slim_err slim_h2_feed(slim_h2 *h, slim_bytes in, slim_buf *hold);
const char *slim_h2_why(const slim_h2 *h);
/* True when an error ended it, not the will of either side. */
bool slim_h2_failed(const slim_h2 *h);
/* True when the HTTP/2 preface (server) or the peer's SETTINGS (client) has come. */
bool slim_h2_alive(const slim_h2 *h);
/* True when a GOAWAY ended it or nothing is left to do: flush, then close. */
bool slim_h2_finished(const slim_h2 *h);

/* Collects what there is to send as slices that stay valid until slim_h2_sent. Call again only after all was acknowledged by
 * slim_h2_sent. At most max_bytes (soft, a frame more) and max_iov slices, which must be SLIM_H2_PULL_MIN_IOV or more. */
#define SLIM_H2_PULL_MIN_IOV 48
size_t slim_h2_pull(slim_h2 *h, struct iovec *iov, size_t max_iov, size_t max_bytes);
/* n bytes of the last pull went out; the rest is still owed (the caller resends it). */
void slim_h2_sent(slim_h2 *h, size_t n);
bool slim_h2_wants_write(const slim_h2 *h);
/* How many streams are open, and whether one of them still has bytes or trailers to send that flow control or slim_h2_pull holds.
 */
uint32_t slim_h2_streams(const slim_h2 *h);
bool slim_h2_owes(const slim_h2 *h);

/* Prepares for another thread: afterwards nothing that is queued lies in a receive buffer. Only while nothing that was pulled waits
 * for slim_h2_sent. False: no memory for the copies. */
bool slim_h2_detach(slim_h2 *h);
/* Goes on in another thread, with its purse and its date. */
void slim_h2_attach(slim_h2 *h, slim_purse *purse, const char *http_date);

/* Keep-alive: queues a PING; false while one is unanswered. */
bool slim_h2_ping(slim_h2 *h);
bool slim_h2_ping_pending(const slim_h2 *h);
/* Queues GOAWAY(code); existing streams go on. */
void slim_h2_goaway(slim_h2 *h, uint32_t code);

/* Client: starts the call. headers: name, value pairs added to the standard ones (lower case). E_NOMEM, E_CLOSED. */
typedef struct slim_h2_header {
    slim_bytes name, value;
} slim_h2_header;
slim_err slim_h2_call(slim_h2 *h, const char *scheme, const char *authority, const char *user_agent, const slim_h2_header *headers,
                      size_t n_headers, void *user, slim_stream **out);

/* Streams. */
void slim_stream_set_user(slim_stream *s, void *user);
void *slim_stream_user(const slim_stream *s);
slim_h2 *slim_stream_h2(const slim_stream *s);
/* All of a connection; NULL: no more. */
slim_stream *slim_h2_first_stream(const slim_h2 *h);
slim_stream *slim_stream_next(const slim_stream *s);
/* grpc-status of the peer (client side), -1 when none; HTTP :status; grpc-message decoded and cut at 255 bytes. A
 * grpc-status that is no number counts as 2. */
int slim_stream_status(const slim_stream *s, int *http_status, const char **message);

/* Queues one gRPC message of total_n bytes: writes the 5-byte prefix, returns room for the first inline_n bytes, to be filled
 * before any other call on the connection. The remaining total_n - inline_n bytes must follow by slim_stream_append calls. NULL: no
 * memory (nothing queued). Short messages end up back to back in chunks of contiguous memory, so that many of them leave as few
 * slices. */
uint8_t *slim_stream_begin(slim_stream *s, size_t total_n, size_t inline_n);
/* Adds bytes by reference (hold gains one) or, with hold NULL, by copy. E_NOMEM ends the stream: a begun message cannot be taken
 * back. E_CLOSED: it has ended that way, or by a reset. */
slim_err slim_stream_append(slim_stream *s, slim_bytes part, slim_buf *hold);
/* Bytes that wait in the egress queue and are not in a frame yet. */
size_t slim_stream_queued(const slim_stream *s);
/* Ends our side behind what is queued: server: trailers grpc-status (and message, percent-encoded), then RST_STREAM(NO_ERROR) if
 * the peer has not half-closed; client: END_STREAM. No message event follows. */
void slim_stream_finish(slim_stream *s, int grpc_status, const char *grpc_message);
/* Drops what is queued and sends RST_STREAM(code). */
void slim_stream_reset(slim_stream *s, uint32_t code);

void slim_stream_pause(slim_stream *s);
/* Goes on with kept bytes (message events come from inside), until paused again. */
void slim_stream_resume(slim_stream *s);
bool slim_stream_paused(const slim_stream *s);
/* Replaces queued references to slabs by exact copies, so that a stalled peer pins no receive buffer. Returns bytes copied. */
size_t slim_stream_evacuate(slim_stream *s);

#endif
