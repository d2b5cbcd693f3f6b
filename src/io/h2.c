#include <stdio.h>

#include "io/h2_int.h"

static slim_stream *stream_of(nghttp2_session *session, int32_t id)
{
    return nghttp2_session_get_stream_user_data(session, id);
}

/* Frames that may wait for a peer that does not read: more is a flood. The answers that a peer can ask for without limit and
 * without a stream (PING, SETTINGS) are counted by nghttp2; resets of refused calls are not. */
#define WAITING_FRAMES_MAX 1000u
/* nghttp2 allocates the text of a GOAWAY when it is announced. */
#define GOAWAY_BYTES_MAX 16384u

static void fail(slim_h2 *h, const char *why, size_t n)
{
    if (!h->failed)
        snprintf(h->why, sizeof(h->why), "%.*s", (int)(n < sizeof(h->why) ? n : sizeof(h->why) - 1), why);
    h->failed = true;
}

void h2_check(slim_h2 *h, int rv)
{
    if (rv == NGHTTP2_ERR_NOMEM)
        h->no_memory = true;
}

static int on_begin_frame(nghttp2_session *session, const nghttp2_frame_hd *hd, void *user)
{
    static const char why[] = "GOAWAY frame of more than 16384 bytes";

    h2_guard_frame(user, hd);
    if (hd->type != NGHTTP2_GOAWAY || hd->length <= GOAWAY_BYTES_MAX)
        return 0;
    fail(user, why, sizeof(why) - 1);
    return NGHTTP2_ERR_CALLBACK_FAILURE;
}

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    slim_h2 *h = user;
    slim_stream *s;

    if (!h->cfg.server || frame->hd.type != NGHTTP2_HEADERS || frame->headers.cat != NGHTTP2_HCAT_REQUEST) {
        if ((s = stream_of(session, frame->hd.stream_id)) != NULL)
            s->header_bytes = 0;
        return 0;
    }
    /* The connection's first stream has its promise already. */
    if (h->n_streams >= h->cfg.max_streams ||
        (h->n_streams > 0 &&
         !slim_budget_promise_xt(h->cfg.purse->budget, h->cfg.stream_window_bytes, h->cfg.purse->budget->limit_bytes))) {
        h2_check(h, nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, frame->hd.stream_id, NGHTTP2_REFUSED_STREAM));
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    }
    if ((s = h2_stream_new(h, frame->hd.stream_id)) == NULL) {
        if (h->n_streams > 0)
            slim_budget_release_xt(h->cfg.purse->budget, h->cfg.stream_window_bytes);
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    }
    s->promised = h->n_streams > 1;
    nghttp2_session_set_stream_user_data(session, frame->hd.stream_id, s);
    return 0;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_n, const uint8_t *value,
                     size_t value_n, uint8_t flags, void *user)
{
    slim_stream *s = stream_of(session, frame->hd.stream_id);

    if (s == NULL)
        return 0;
    s->header_bytes += name_n + value_n + 32; /* RFC 9113, 6.5.2 */
    if (s->header_bytes > s->h->cfg.max_header_list_bytes)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    h2_stream_header(s, slim_bytes_of(name, name_n), slim_bytes_of(value, value_n));
    return 0;
}

static int on_frame_recv(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    slim_h2 *h = user;
    slim_stream *s;

    switch (frame->hd.type) {
    case NGHTTP2_SETTINGS:
        if ((frame->hd.flags & NGHTTP2_FLAG_ACK) == 0)
            h->alive = true; /* a server sees the client's preface with it */
        break;
    case NGHTTP2_PING:
        if ((frame->hd.flags & NGHTTP2_FLAG_ACK) != 0 && h->ping_pending) {
            h->ping_pending = false;
            h->void_frames = 0;
        }
        break;
    case NGHTTP2_HEADERS:
        if ((s = stream_of(session, frame->hd.stream_id)) != NULL)
            h2_stream_headers_done(s, (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0);
        break;
    case NGHTTP2_DATA:
        if ((frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0 && (s = stream_of(session, frame->hd.stream_id)) != NULL)
            h2_stream_remote_closed(s);
        break;
    default: break;
    }
    return 0;
}

static int on_data_chunk(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data, size_t n, void *user)
{
    slim_stream *s = stream_of(session, id);
    slim_h2 *h = user;

    if (n > 0)
        h->void_frames = 0;
    /* The connection's window never holds anybody back: streams have their own. */
    h2_check(h, nghttp2_session_consume_connection(session, n));
    if (s != NULL)
        h2_stream_data(s, slim_bytes_of(data, n));
    else
        h2_check(h, nghttp2_session_consume_stream(session, id, n));
    return 0;
}

static int on_stream_close(nghttp2_session *session, int32_t id, uint32_t code, void *user)
{
    slim_stream *s = stream_of(session, id);

    if (s != NULL) {
        nghttp2_session_set_stream_user_data(session, id, NULL);
        h2_stream_free(s);
    }
    return 0;
}

static int on_frame_send(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    slim_h2 *h = user;
    slim_stream *s;

    if (frame->hd.type == NGHTTP2_GOAWAY && frame->goaway.error_code != NGHTTP2_NO_ERROR) {
        const char *text = nghttp2_http2_strerror(frame->goaway.error_code);

        if (frame->goaway.opaque_data_len > 0)
            fail(h, (const char *)frame->goaway.opaque_data, frame->goaway.opaque_data_len);
        else if (h->why[0] != '\0')
            h->failed = true; /* told by on_invalid_frame */
        else
            fail(h, text, strlen(text));
    }
    if ((frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA) && (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0 &&
        (s = stream_of(session, frame->hd.stream_id)) != NULL)
        h2_stream_sent_end(s);
    return 0;
}

static int on_invalid_frame(nghttp2_session *session, const nghttp2_frame *frame, int code, void *user)
{
    slim_h2 *h = user;

    if (!h->failed)
        snprintf(h->why, sizeof(h->why), "%s", nghttp2_strerror(code));
    return 0;
}

static int on_error(nghttp2_session *session, int code, const char *text, size_t n, void *user)
{
    slim_h2 *h = user;

    if (!h->failed)
        snprintf(h->why, sizeof(h->why), "%.*s", (int)(n < 120 ? n : 120), text);
    return 0;
}

static nghttp2_session_callbacks *callbacks_new(void)
{
    nghttp2_session_callbacks *c;

    if (nghttp2_session_callbacks_new(&c) != 0)
        return NULL;
    nghttp2_session_callbacks_set_send_callback(c, h2_send);
    nghttp2_session_callbacks_set_send_data_callback(c, h2_send_data);
    nghttp2_session_callbacks_set_on_begin_frame_callback(c, on_begin_frame);
    nghttp2_session_callbacks_set_on_begin_headers_callback(c, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(c, on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(c, on_frame_recv);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(c, on_data_chunk);
    nghttp2_session_callbacks_set_on_stream_close_callback(c, on_stream_close);
    nghttp2_session_callbacks_set_on_frame_send_callback(c, on_frame_send);
    nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(c, on_invalid_frame);
    nghttp2_session_callbacks_set_error_callback2(c, on_error);
    return c;
}

static int session_open(slim_h2 *h)
{
    nghttp2_settings_entry iv[5];
    nghttp2_session_callbacks *c = callbacks_new();
    nghttp2_option *opt = NULL;
    size_t n = 0;
    nghttp2_mem mem;
    int rv = NGHTTP2_ERR_NOMEM;

    if (c == NULL || nghttp2_option_new(&opt) != 0)
        goto out;
    nghttp2_option_set_no_auto_window_update(opt, 1);
    nghttp2_option_set_max_send_header_block_length(opt, 65536);
    nghttp2_option_set_max_settings(opt, 32);
    nghttp2_option_set_max_outbound_ack(opt, 1000);
    nghttp2_option_set_peer_max_concurrent_streams(opt, 100);
    /* Our headers are said once per call, so a table would spare no byte; without one its ring of 1 KiB is never written. */
    nghttp2_option_set_max_deflate_dynamic_table_size(opt, 0);
    /* A server remembers as many closed streams as may be open, to tell what comes on them from what is new. */
    nghttp2_option_set_no_closed_streams(opt, !h->cfg.server);
    mem = h2_home_open(&h->home, h->cfg.mem, h->cfg.compact);
    rv = h->cfg.server ? nghttp2_session_server_new3(&h->session, c, h, opt, &mem)
                       : nghttp2_session_client_new3(&h->session, c, h, opt, &mem);
    h2_home_close(&h->home);
    if (rv != 0)
        goto out;
    if (!h->cfg.server)
        iv[n++] = (nghttp2_settings_entry){NGHTTP2_SETTINGS_ENABLE_PUSH, 0};
    else
        iv[n++] = (nghttp2_settings_entry){NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, h->cfg.max_streams};
    iv[n++] = (nghttp2_settings_entry){NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, h->cfg.stream_window_bytes};
    if (h->cfg.announce_frame)
        iv[n++] = (nghttp2_settings_entry){NGHTTP2_SETTINGS_MAX_FRAME_SIZE, h->cfg.max_frame_bytes};
    iv[n++] = (nghttp2_settings_entry){NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, h->cfg.max_header_list_bytes};
    if ((rv = nghttp2_submit_settings(h->session, NGHTTP2_FLAG_NONE, iv, n)) != 0)
        goto out;
    rv = nghttp2_session_set_local_window_size(h->session, NGHTTP2_FLAG_NONE, 0, (int32_t)h->cfg.connection_window_bytes);
out:
    nghttp2_session_callbacks_del(c);
    nghttp2_option_del(opt);
    return rv;
}

/* While windows of all connections together are below half of the budget, as configured; then the least that is usual. */
static void window_promise(slim_h2 *h)
{
    slim_budget *b = h->cfg.purse->budget;

    if (h->cfg.stream_window_bytes > NGHTTP2_INITIAL_WINDOW_SIZE &&
        !slim_budget_promise_xt(b, h->cfg.stream_window_bytes, b->limit_bytes / 2))
        h->cfg.stream_window_bytes = NGHTTP2_INITIAL_WINDOW_SIZE;
    else if (h->cfg.stream_window_bytes > NGHTTP2_INITIAL_WINDOW_SIZE)
        return;
    slim_budget_promise_xt(b, h->cfg.stream_window_bytes, INT64_MAX);
}

slim_h2_config slim_h2_client_config(const char *path, uint32_t stream_window_bytes, uint32_t connection_window_bytes,
                                     uint32_t max_message_bytes)
{
    return (slim_h2_config){.server = false,
                            .path = path,
                            .stream_window_bytes = stream_window_bytes,
                            .connection_window_bytes = connection_window_bytes,
                            .max_frame_bytes = 16384,
                            .announce_frame = true,
                            .max_header_list_bytes = 16384,
                            .max_message_bytes = max_message_bytes,
                            .max_streams = 1};
}

slim_h2 *slim_h2_new(const slim_h2_config *cfg, void *user)
{
    slim_h2 *h = slim_zalloc(cfg->mem, 1, sizeof(*h));

    if (h == NULL)
        return NULL;
    h->cfg = *cfg;
    h->user = user;
    window_promise(h);
    if (session_open(h) != 0) {
        nghttp2_session_del(h->session);
        h2_home_free(&h->home);
        slim_budget_release_xt(cfg->purse->budget, h->cfg.stream_window_bytes);
        slim_free(cfg->mem, h);
        return NULL;
    }
    return h;
}

void slim_h2_free(slim_h2 *h)
{
    h->dirty = true; /* nothing will be sent any more */
    while (h->streams != NULL) {
        slim_stream *s = h->streams;

        nghttp2_session_set_stream_user_data(h->session, s->id, NULL);
        h2_stream_free(s);
    }
    h2_out_clear(h);
    slim_budget_release_xt(h->cfg.purse->budget, h->cfg.stream_window_bytes);
    nghttp2_session_del(h->session);
    h2_home_free(&h->home);
    slim_free(h->cfg.mem, h);
}

void *slim_h2_user(const slim_h2 *h)
{
    return h->user;
}
const char *slim_h2_why(const slim_h2 *h)
{
    return h->why[0] != '\0' ? h->why : "HTTP/2 protocol error";
}
bool slim_h2_alive(const slim_h2 *h)
{
    return h->alive;
}
bool slim_h2_ping_pending(const slim_h2 *h)
{
    return h->ping_pending;
}
uint32_t slim_h2_streams(const slim_h2 *h)
{
    return h->n_streams;
}

slim_err slim_h2_feed(slim_h2 *h, slim_bytes in, slim_buf *hold)
{
    const char *why = NULL;
    ssize_t n;

    if (h->no_memory)
        return SLIM_E_NOMEM;
    if (h->failed || h->broken)
        return SLIM_E_PROTOCOL;
    h->feeding = hold;
    h->in_feed = true;
    n = nghttp2_session_mem_recv(h->session, in.p, in.n);
    h->in_feed = false;
    h->feeding = NULL;
    h2_check(h, (int)(n < 0 ? n : 0));
    if (h->no_memory)
        return SLIM_E_NOMEM;
    if (n < 0)
        why = n == NGHTTP2_ERR_BAD_CLIENT_MAGIC ? "no HTTP/2 client preface" : nghttp2_strerror((int)n);
    else if (nghttp2_session_get_outbound_queue_size(h->session) > WAITING_FRAMES_MAX + 4 * (size_t)h->cfg.max_streams)
        why = "the peer does not read the answers to its frames";
    if (why == NULL)
        return SLIM_OK;
    fail(h, why, strlen(why));
    return SLIM_E_PROTOCOL;
}

bool slim_h2_failed(const slim_h2 *h)
{
    return h->failed || h->broken || h->no_memory;
}

bool slim_h2_finished(const slim_h2 *h)
{
    if (h->broken || h->no_memory)
        return true;
    return nghttp2_session_want_read(h->session) == 0 && nghttp2_session_want_write(h->session) == 0 && h->slice_at == h->n_slices;
}

bool slim_h2_wants_write(const slim_h2 *h)
{
    return !h->broken && !h->no_memory && (h->ready != NULL || nghttp2_session_want_write(h->session) != 0);
}

bool slim_h2_owes(const slim_h2 *h)
{
    if (h->broken || h->no_memory)
        return false;
    for (const slim_stream *s = h->streams; s != NULL; s = s->next)
        if (s->out.bytes > 0 || (s->finishing && !s->body_done))
            return true;
    return h->ready != NULL || nghttp2_session_want_write(h->session) != 0;
}

bool slim_h2_detach(slim_h2 *h)
{
    for (slim_stream *s = h->streams; s != NULL; s = s->next) {
        /* Others may refer to the last message too, in this thread. */
        slim_grpc_settle(&s->in, h->cfg.purse);
        slim_sendq_evacuate(&s->out);
        if (slim_sendq_foreign(&s->out))
            return false;
    }
    return true;
}

void slim_h2_attach(slim_h2 *h, slim_purse *purse, const char *http_date)
{
    h->cfg.purse = purse;
    h->cfg.http_date = http_date;
}

bool slim_h2_ping(slim_h2 *h)
{
    if (h->ping_pending || nghttp2_submit_ping(h->session, NGHTTP2_FLAG_NONE, NULL) != 0)
        return false;
    h->ping_pending = true;
    h2_mark_dirty(h);
    return true;
}

void slim_h2_goaway(slim_h2 *h, uint32_t code)
{
    h2_check(h, nghttp2_submit_goaway(h->session, NGHTTP2_FLAG_NONE, nghttp2_session_get_last_proc_stream_id(h->session), code,
                                      NULL, 0));
    h2_mark_dirty(h);
}
