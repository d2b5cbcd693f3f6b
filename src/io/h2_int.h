/* Shared by the files of slim_h2; nobody else includes it. */
#ifndef SLIM_IO_H2_INT_H
#define SLIM_IO_H2_INT_H

#include <nghttp2/nghttp2.h>

#include "io/grpc.h"
#include "io/h2.h"
#include "io/sendq.h"

#define H2_OUT_SLICES 64
#define H2_OUT_FEW 4 /* slices of a pull that a connection has room for by itself */
#define H2_MESSAGE_TEXT 256

typedef struct h2_home {
    slim_mem *mem;
    void *block; /* NULL: all is on the heap */
    uint8_t *at; /* the next free byte of block */
    bool open;   /* what is asked for now goes into block */
    bool passed; /* the deflater's ring was asked for, which has no place there */
} h2_home;

struct slim_stream {
    slim_h2 *h;
    void *user;
    int32_t id;
    slim_stream *prev, *next; /* of the connection */
    slim_stream *next_ready;
    slim_sendq out;
    slim_grpc in;
    bool opened;    /* the user saw open */
    bool ended;     /* the user saw end */
    bool ready;     /* in the ready list: resume its DATA before the next pull */
    bool finishing; /* no more data from us */
    bool body_done; /* END_STREAM or trailers are in nghttp2's hands */
    bool paused, parsing;
    bool remote_closed; /* END_STREAM seen */
    bool path_ok, encoding_bad;
    bool promised;       /* its window was promised beside the connection's */
    size_t header_bytes; /* as SETTINGS_MAX_HEADER_LIST_SIZE counts them */
    int finish_status;
    char encoding[32];
    int grpc_status, http_status;
    char *text; /* grpc-message: what we end with (server) or the peer said (client); NULL: none */
    /* kept while paused */
    uint8_t *kept;
    size_t kept_at, kept_n, kept_cap;
};

struct slim_h2 {
    nghttp2_session *session;
    slim_h2_config cfg;
    h2_home home;
    void *user;
    slim_stream *streams, *ready;
    uint32_t n_streams;
    uint32_t void_frames; /* received since DATA went either way */
    int32_t last_id;      /* the peer's newest stream */
    slim_buf *feeding;    /* where the bytes of the current feed lie */
    bool in_feed, alive, ping_pending, failed, no_memory, dirty;
    bool broken; /* nghttp2 gave up while sending: nothing more can be said */
    char why[128];
    /* the last pull, until slim_h2_sent took all of it */
    slim_slice *slice, few[H2_OUT_FEW]; /* in few if they fit, on the heap if not: most links are idle */
    size_t n_slices, slice_at, out_bytes, out_max, out_max_slices;
    size_t leaving_bytes; /* of messages, which count until the pull is sent */
    slim_buf *control;    /* frame headers and control frames of this pull */
    size_t control_used;
};

/* h2_stream.c */
slim_stream *h2_stream_new(slim_h2 *h, int32_t id);
void h2_stream_free(slim_stream *s); /* end and gone are reported */
void h2_stream_header(slim_stream *s, slim_bytes name, slim_bytes value);
void h2_stream_headers_done(slim_stream *s, bool end_stream); /* a header block is complete */
void h2_stream_data(slim_stream *s, slim_bytes data);
void h2_stream_remote_closed(slim_stream *s);
void h2_stream_sent_end(slim_stream *s);
ssize_t h2_stream_read(nghttp2_session *session, int32_t id, uint8_t *buf, size_t length, uint32_t *flags,
                       nghttp2_data_source *source, void *user);
void h2_stream_make_ready(slim_stream *s);
void h2_mark_dirty(slim_h2 *h);

/* h2.c */
void h2_check(slim_h2 *h, int rv); /* remembers that nghttp2 found no memory */

/* h2_mem.c */
nghttp2_mem h2_home_open(h2_home *m, slim_mem *mem, bool compact); /* for a session that is made before h2_home_close */
void h2_home_close(h2_home *m);
void h2_home_free(h2_home *m); /* behind the session; nothing happens to a zeroed one */

/* h2_guard.c */
void h2_guard_frame(slim_h2 *h, const nghttp2_frame_hd *hd); /* a frame begins */

/* h2_send.c */
ssize_t h2_send(nghttp2_session *session, const uint8_t *data, size_t length, int flags, void *user);
int h2_send_data(nghttp2_session *session, nghttp2_frame *frame, const uint8_t *framehd, size_t length, nghttp2_data_source *source,
                 void *user);
void h2_out_clear(slim_h2 *h);

#endif
