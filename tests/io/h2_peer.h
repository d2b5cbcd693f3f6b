/* A hand-made peer for tests of slim_h2: it writes frames byte by byte, reads those that come back, and keeps a log of the events
 * that the user of slim_h2 sees. No HTTP/2 library helps it, except for reading header blocks. */
#ifndef SLIM_TESTS_H2_PEER_H
#define SLIM_TESTS_H2_PEER_H

#include <nghttp2/nghttp2.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/h2_int.h"
#include "support/support.h"

#define PEER_PATH "/dataplane.proto.v1.DataPlaneService/OpenChannel"
#define PEER_PREFACE "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
#define PEER_STREAMS 64

enum { F_DATA, F_HEADERS, F_PRIORITY, F_RST, F_SETTINGS, F_PUSH, F_PING, F_GOAWAY, F_WINDOW, F_CONTINUATION };
enum { END_STREAM = 1, ACK = 1, END_HEADERS = 4, PADDED = 8 };

typedef struct buffer {
    uint8_t *p;
    size_t n, cap;
} buffer;

typedef struct frame {
    size_t n;
    uint8_t type, flags;
    uint32_t id;
    const uint8_t *p; /* until the next pull */
} frame;

typedef struct peer peer;
struct peer {
    slim_h2 *h;
    slim_h2_events events;
    slim_h2_config cfg;
    test_mem mem;
    slim_budget budget;
    slim_purse purse;
    buffer in;  /* written by the test, fed by peer_feed */
    buffer out; /* what slim_h2 sent */
    size_t out_at;
    buffer log; /* one line per event */
    nghttp2_hd_inflater *inflater;
    slim_stream *stream[PEER_STREAMS]; /* in the order of open or call; NULL when gone */
    uint32_t n_streams, dirty, messages;
    uint64_t message_bytes;
    bool pause;         /* pause at each message */
    bool finish_at_end; /* the user ends the call when the peer has */
    bool quiet;         /* log no messages */
    bool keep_null;     /* feed without hold */
    slim_buf *kept;     /* reference of the last message's buffer, when want_ref */
    slim_bytes kept_msg;
    bool want_ref;
    void (*on_message)(peer *p, slim_stream *s, slim_bytes msg);
    void (*on_open)(peer *p, slim_stream *s);
    void *arg;
    slim_err err; /* of the last feed */
};

static inline void buffer_add(buffer *b, const void *p, size_t n)
{
    if (n == 0)
        return;
    if (b->cap - b->n < n) {
        b->cap = (b->n + n) * 2;
        if ((b->p = realloc(b->p, b->cap)) == NULL)
            abort();
    }
    memcpy(b->p + b->n, p, n);
    b->n += n;
}

static inline void buffer_free(buffer *b)
{
    free(b->p);
    *b = (buffer){0};
}

__attribute__((format(printf, 2, 3))) static inline void peer_log(peer *p, const char *format, ...)
{
    char line[160];
    va_list ap;

    va_start(ap, format);
    vsnprintf(line, sizeof(line), format, ap);
    va_end(ap);
    buffer_add(&p->log, line, strlen(line));
}

static inline const char *peer_text(peer *p)
{
    buffer_add(&p->log, "", 1);
    p->log.n--;
    return (const char *)p->log.p;
}

static inline uint32_t peer_sum(slim_bytes b)
{
    uint32_t sum = 2166136261u;

    for (size_t i = 0; i < b.n; i++)
        sum = (sum ^ b.p[i]) * 16777619u;
    return sum;
}

/* ---- events ---- */

static inline void peer_open(slim_h2 *h, slim_stream *s)
{
    peer *p = slim_h2_user(h);

    if (h->cfg.server && p->n_streams < PEER_STREAMS)
        p->stream[p->n_streams++] = s;
    peer_log(p, "open %d\n", s->id);
    if (p->on_open != NULL)
        p->on_open(p, s);
}

static inline void peer_message(slim_stream *s, slim_bytes msg, slim_buf *hold)
{
    peer *p = slim_h2_user(slim_stream_h2(s));

    p->messages++;
    p->message_bytes += msg.n;
    if (!p->quiet)
        peer_log(p, "message %d %zu %08x\n", s->id, msg.n, peer_sum(msg));
    if (p->pause)
        slim_stream_pause(s);
    if (p->want_ref && hold != NULL) {
        if (p->kept != NULL)
            slim_buf_unref(p->kept);
        p->kept = slim_buf_ref(hold);
        p->kept_msg = msg;
    }
    if (p->on_message != NULL)
        p->on_message(p, s, msg);
}

static inline void peer_end(slim_stream *s, slim_stream_end why)
{
    static const char *const names[] = {"clean", "reset", "oversize", "compressed", "truncated", "no memory"};
    peer *p = slim_h2_user(slim_stream_h2(s));

    peer_log(p, "end %d %s\n", s->id, names[why]);
    if (p->finish_at_end)
        slim_stream_finish(s, 0, NULL);
}

static inline void peer_gone(slim_stream *s)
{
    peer *p = slim_h2_user(slim_stream_h2(s));

    peer_log(p, "gone %d\n", s->id);
    for (uint32_t i = 0; i < p->n_streams; i++)
        if (p->stream[i] == s)
            p->stream[i] = NULL;
}

static inline void peer_dirty(slim_h2 *h)
{
    ((peer *)slim_h2_user(h))->dirty++;
}

/* ---- life ---- */

/* Fields of p->cfg may be changed between prepare and start. */
static inline void peer_prepare(peer *p, bool server)
{
    *p = (peer){.events = {peer_open, peer_message, peer_end, peer_gone, peer_dirty}};
    test_mem_init(&p->mem, -1);
    p->budget.limit_bytes = 1 << 30;
    p->purse.budget = &p->budget;
    p->cfg = (slim_h2_config){.server = server,
                              .path = PEER_PATH,
                              .stream_window_bytes = server ? 1 << 20 : 2 << 20,
                              .connection_window_bytes = server ? 1 << 20 : 5 << 20,
                              .max_frame_bytes = server ? 4 << 20 : 16384,
                              .announce_frame = true,
                              .max_header_list_bytes = 16384,
                              .max_message_bytes = 4 << 20,
                              .max_streams = 100,
                              .http_date = "Fri, 01 Aug 2025 10:00:00 GMT",
                              .events = &p->events,
                              .mem = &p->mem.mem,
                              .purse = &p->purse};
    nghttp2_hd_inflate_new(&p->inflater);
}

static inline bool peer_start(peer *p)
{
    return (p->h = slim_h2_new(&p->cfg, p)) != NULL;
}

static inline int64_t peer_charged(const peer *p)
{
    return p->purse.unsettled_bytes + p->budget.used_bytes;
}

/* Gives everything back; what remains allocated or charged is the result: both are to be zero. */
static inline long peer_finish(peer *p, int64_t *charged)
{
    if (p->h != NULL)
        slim_h2_free(p->h);
    if (p->kept != NULL)
        slim_buf_unref(p->kept);
    *charged = peer_charged(p) + p->budget.promised_bytes;
    buffer_free(&p->in);
    buffer_free(&p->out);
    buffer_free(&p->log);
    nghttp2_hd_inflate_del(p->inflater);
    return p->mem.live;
}

#define peer_done(p)                                                                                                               \
    do {                                                                                                                           \
        int64_t charged_;                                                                                                          \
        long live_ = peer_finish(p, &charged_);                                                                                    \
        cr_assert_eq(live_, 0, "%ld allocations are left", live_);                                                                 \
        cr_assert_eq(charged_, 0, "%ld bytes are still charged", (long)charged_);                                                  \
    } while (0)

/* ---- writing frames ---- */

static inline void put_frame_head(buffer *b, size_t n, uint8_t type, uint8_t flags, uint32_t id)
{
    uint8_t head[9] = {(uint8_t)(n >> 16),  (uint8_t)(n >> 8),   (uint8_t)n,         type,       flags,
                       (uint8_t)(id >> 24), (uint8_t)(id >> 16), (uint8_t)(id >> 8), (uint8_t)id};

    buffer_add(b, head, 9);
}

static inline void put_frame(buffer *b, uint8_t type, uint8_t flags, uint32_t id, const void *p, size_t n)
{
    put_frame_head(b, n, type, flags, id);
    buffer_add(b, p, n);
}

static inline void put_u32(buffer *b, uint8_t type, uint32_t id, uint32_t v)
{
    uint8_t p[4] = {(uint8_t)(v >> 24), (uint8_t)(v >> 16), (uint8_t)(v >> 8), (uint8_t)v};

    put_frame(b, type, 0, id, p, 4);
}

static inline void put_setting(buffer *b, uint16_t key, uint32_t v)
{
    uint8_t p[6] = {(uint8_t)(key >> 8), (uint8_t)key, (uint8_t)(v >> 24), (uint8_t)(v >> 16), (uint8_t)(v >> 8), (uint8_t)v};

    put_frame(b, F_SETTINGS, 0, 0, p, 6);
}

static inline void put_hpack_int(buffer *b, size_t n)
{
    uint8_t byte = (uint8_t)(n < 127 ? n : 127);

    buffer_add(b, &byte, 1);
    if (n < 127)
        return;
    for (n -= 127; n >= 128; n >>= 7) {
        byte = (uint8_t)(n | 128);
        buffer_add(b, &byte, 1);
    }
    byte = (uint8_t)n;
    buffer_add(b, &byte, 1);
}

/* A literal without indexing and without Huffman coding. */
static inline void put_field(buffer *b, const char *name, const char *value)
{
    buffer_add(b, "", 1);
    put_hpack_int(b, strlen(name));
    buffer_add(b, name, strlen(name));
    put_hpack_int(b, strlen(value));
    buffer_add(b, value, strlen(value));
}

/* name, value, ..., NULL */
static inline void put_headers(buffer *b, uint32_t id, int flags, ...)
{
    buffer block = {0};
    const char *name;
    va_list ap;

    va_start(ap, flags);
    while ((name = va_arg(ap, const char *)) != NULL)
        put_field(&block, name, va_arg(ap, const char *));
    va_end(ap);
    put_frame(b, F_HEADERS, (uint8_t)(flags | END_HEADERS), id, block.p, block.n);
    buffer_free(&block);
}

#define put_call(b, id, flags, ...)                                                                                                \
    put_headers(b, id, flags, ":method", "POST", ":scheme", "http", ":authority", "127.0.0.1:46357", ":path", PEER_PATH, "te",     \
                "trailers", "content-type", "application/grpc", "user-agent", "tonic/0.14.6", ##__VA_ARGS__, NULL)

/* A gRPC message of n bytes, whose content depends on n and seed. */
static inline void put_message(buffer *b, size_t n, uint32_t seed)
{
    uint8_t prefix[5];

    slim_grpc_prefix(prefix, (uint32_t)n);
    buffer_add(b, prefix, 5);
    for (size_t i = 0; i < n; i++) {
        uint8_t byte = (uint8_t)(seed + i * 7 + i / 251);

        buffer_add(b, &byte, 1);
    }
}

static inline void put_data(buffer *b, uint32_t id, uint8_t flags, slim_bytes data)
{
    put_frame(b, F_DATA, flags, id, data.p, data.n);
}

static inline void put_data_padded(buffer *b, uint32_t id, uint8_t flags, slim_bytes data, uint8_t pad)
{
    uint8_t zeros[256] = {0};

    put_frame_head(b, data.n + 1 + pad, F_DATA, flags | PADDED, id);
    buffer_add(b, &pad, 1);
    buffer_add(b, data.p, data.n);
    buffer_add(b, zeros, pad);
}

static inline slim_bytes bytes_of(const buffer *b)
{
    return slim_bytes_of(b->p, b->n);
}

/* ---- moving bytes ---- */

/* Feeds n bytes from memory of exactly that size, which is gone afterwards unless somebody took a reference. */
static inline slim_err peer_feed_bytes(peer *p, const uint8_t *bytes, size_t n)
{
    slim_buf *hold = slim_block_new(&slim_mem_libc, n);

    memcpy(hold->mem, bytes, n);
    p->err = slim_h2_feed(p->h, slim_bytes_of(hold->mem, n), p->keep_null ? NULL : hold);
    slim_buf_unref(hold);
    return p->err;
}

/* Feeds what was written, step bytes at a time (0: at once). */
static inline slim_err peer_feed_by(peer *p, size_t step)
{
    size_t at = 0;

    p->err = SLIM_OK;
    while (at < p->in.n && p->err == SLIM_OK) {
        size_t n = step == 0 || step > p->in.n - at ? p->in.n - at : step;

        peer_feed_bytes(p, p->in.p + at, n);
        at += n;
    }
    p->in.n = 0;
    return p->err;
}

static inline slim_err peer_feed(peer *p)
{
    return peer_feed_by(p, 0);
}

/* One pull of at most max bytes, sent whole. Returns the bytes. */
static inline size_t peer_pull_max(peer *p, size_t max)
{
    struct iovec iov[64];
    size_t n = slim_h2_pull(p->h, iov, 64, max), total = 0;

    for (size_t i = 0; i < n; i++) {
        buffer_add(&p->out, iov[i].iov_base, iov[i].iov_len);
        total += iov[i].iov_len;
    }
    slim_h2_sent(p->h, total);
    return total;
}

static inline void peer_pull(peer *p)
{
    while (peer_pull_max(p, 256 * 1024) > 0)
        ;
}

/* The next frame that slim_h2 sent; false when there is none. */
static inline bool peer_next(peer *p, frame *f)
{
    const uint8_t *q = p->out.p + p->out_at;

    if (p->out.n - p->out_at < 9)
        return false;
    *f = (frame){(size_t)q[0] << 16 | (size_t)q[1] << 8 | q[2], q[3], q[4],
                 (uint32_t)(q[5] & 127) << 24 | (uint32_t)q[6] << 16 | (uint32_t)q[7] << 8 | q[8], q + 9};
    if (p->out.n - p->out_at - 9 < f->n)
        abort();
    p->out_at += 9 + f->n;
    return true;
}

/* The next frame of a type; others are skipped. */
static inline bool peer_find(peer *p, uint8_t type, frame *f)
{
    while (peer_next(p, f))
        if (f->type == type)
            return true;
    return false;
}

static inline uint32_t frame_u32(const frame *f, size_t at)
{
    const uint8_t *q = f->p + at;

    return f->n < at + 4 ? UINT32_MAX : (uint32_t)q[0] << 24 | (uint32_t)q[1] << 16 | (uint32_t)q[2] << 8 | q[3];
}

/* "name: value\n" of a whole header block; the text is good until the next call. */
static inline const char *peer_headers(peer *p, const frame *f)
{
    static char text[4096];
    const uint8_t *in = f->p;
    size_t n = f->n, at = 0;

    text[0] = '\0';
    for (;;) {
        nghttp2_nv nv;
        int flags = 0;
        ssize_t used = nghttp2_hd_inflate_hd2(p->inflater, &nv, &flags, in, n, 1);

        if (used < 0)
            return "header block cannot be read";
        in += used;
        n -= (size_t)used;
        if ((flags & NGHTTP2_HD_INFLATE_EMIT) != 0)
            at += (size_t)snprintf(text + at, sizeof(text) - at, "%.*s: %.*s\n", (int)nv.namelen, nv.name, (int)nv.valuelen,
                                   nv.value);
        if ((flags & NGHTTP2_HD_INFLATE_FINAL) != 0)
            break;
        if (used == 0 && n == 0)
            return "header block is cut";
    }
    nghttp2_hd_inflate_end_headers(p->inflater);
    return text;
}

/* The body of all DATA frames of a stream from here on; other frames are skipped. */
static inline buffer peer_body(peer *p, uint32_t id)
{
    buffer out = {0};
    frame f;

    while (peer_next(p, &f))
        if (f.type == F_DATA && f.id == id)
            buffer_add(&out, f.p, f.n);
    return out;
}

/* Server side: preface, SETTINGS with a huge window, the ACK of ours; everything that was sent is skipped. */
static inline void peer_hello(peer *p)
{
    buffer_add(&p->in, PEER_PREFACE, 24);
    put_setting(&p->in, 4, 1 << 24);
    put_u32(&p->in, F_WINDOW, 0, 1 << 30);
    put_frame(&p->in, F_SETTINGS, ACK, 0, NULL, 0);
    peer_feed(p);
    peer_pull(p);
    p->out_at = p->out.n;
}

/* ... and one open call on stream 1. */
static inline slim_stream *peer_server(peer *p)
{
    frame f;

    peer_prepare(p, true);
    if (!peer_start(p))
        abort();
    peer_hello(p);
    put_call(&p->in, 1, 0);
    peer_feed(p);
    peer_pull(p);
    while (peer_next(p, &f))
        if (f.type == F_HEADERS)
            peer_headers(p, &f);
    p->log.n = 0;
    return p->stream[0];
}

/* Sends one message through slim_stream. */
static inline void send_message(slim_stream *s, size_t n, uint32_t seed)
{
    buffer b = {0};
    uint8_t *room = slim_stream_begin(s, n, n);

    if (room == NULL)
        abort();
    put_message(&b, n, seed);
    memcpy(room, b.p + 5, n);
    buffer_free(&b);
}

#endif
