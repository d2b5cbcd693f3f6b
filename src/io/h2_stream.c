#include <stdio.h>

#include "io/h2_int.h"

#define GRPC_UNKNOWN 2 /* what a status that cannot be read counts as */
#define NV(name_, value_) h2_nv(name_, sizeof(name_) - 1, value_, strlen(value_))

static nghttp2_nv h2_nv(const char *name, size_t name_n, const char *value, size_t value_n)
{
    return (nghttp2_nv){(uint8_t *)(uintptr_t)name, (uint8_t *)(uintptr_t)value, name_n, value_n, NGHTTP2_NV_FLAG_NONE};
}

slim_stream *h2_stream_new(slim_h2 *h, int32_t id)
{
    slim_stream *s = slim_zalloc(h->cfg.mem, 1, sizeof(*s));

    if (s == NULL)
        return NULL;
    s->h = h;
    s->id = id;
    s->out.mem = h->cfg.mem;
    s->grpc_status = -1;
    s->next = h->streams;
    if (h->streams != NULL)
        h->streams->prev = s;
    h->streams = s;
    h->n_streams++;
    return s;
}

static void kept_drop(slim_stream *s)
{
    slim_purse_add(s->h->cfg.purse, -(int64_t)s->kept_cap);
    slim_free(s->h->cfg.mem, s->kept);
    s->kept = NULL;
    s->kept_at = s->kept_n = s->kept_cap = 0;
}

static void out_drop(slim_stream *s)
{
    slim_purse_add(s->h->cfg.purse, -(int64_t)s->out.bytes);
    slim_sendq_clear(&s->out);
}

static void end_event(slim_stream *s, slim_stream_end why)
{
    if (s->ended)
        return;
    s->ended = true;
    slim_grpc_reset(&s->in, s->h->cfg.purse);
    kept_drop(s);
    /* A server's caller that never got as far as open has no user yet. */
    if (s->opened || !s->h->cfg.server)
        s->h->cfg.events->end(s, why);
}

void h2_stream_free(slim_stream *s)
{
    slim_h2 *h = s->h;

    s->finishing = s->body_done = true; /* what the user says now has nowhere to go */
    end_event(s, SLIM_END_RESET);
    if (s->opened || !h->cfg.server)
        h->cfg.events->gone(s);
    if (s->ready) {
        slim_stream **at = &h->ready;

        while (*at != s)
            at = &(*at)->next_ready;
        *at = s->next_ready;
    }
    if (s->prev != NULL)
        s->prev->next = s->next;
    else
        h->streams = s->next;
    if (s->next != NULL)
        s->next->prev = s->prev;
    h->n_streams--;
    if (s->promised)
        slim_budget_release_xt(h->cfg.purse->budget, h->cfg.stream_window_bytes);
    out_drop(s);
    slim_free(h->cfg.mem, s->text);
    slim_free(h->cfg.mem, s);
}

/* ---- headers ---- */

static void copy_value(char *out, size_t cap, slim_bytes v)
{
    snprintf(out, cap, "%.*s", (int)(v.n < cap ? v.n : cap - 1), (const char *)v.p);
}

static bool name_is(slim_bytes name, const char *text)
{
    return name.n == strlen(text) && memcmp(name.p, text, name.n) == 0;
}

static int hex_digit(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Room for H2_MESSAGE_TEXT bytes, or NULL. */
static char *text_room(slim_stream *s)
{
    if (s->text == NULL)
        s->text = slim_zalloc(s->h->cfg.mem, 1, H2_MESSAGE_TEXT);
    return s->text;
}

/* What is no valid escape stands for itself; control characters become blanks, since the text goes into logs. */
static void percent_decode(slim_bytes v, char *out, size_t cap)
{
    size_t n = 0;

    if (out == NULL)
        return;
    for (size_t i = 0; i < v.n && n + 1 < cap; i++) {
        uint8_t c = v.p[i];

        if (c == '%' && v.n - i > 2 && hex_digit(v.p[i + 1]) >= 0 && hex_digit(v.p[i + 2]) >= 0) {
            c = (uint8_t)(hex_digit(v.p[i + 1]) << 4 | hex_digit(v.p[i + 2]));
            i += 2;
        }
        out[n++] = c < 0x20 || c == 0x7f ? ' ' : (char)c;
    }
    out[n] = '\0';
}

/* A decimal of at most four digits. */
static int number_of(slim_bytes v, int otherwise)
{
    int out = 0;

    if (v.n == 0 || v.n > 4)
        return otherwise;
    for (size_t i = 0; i < v.n; i++) {
        if (v.p[i] < '0' || v.p[i] > '9')
            return otherwise;
        out = out * 10 + (v.p[i] - '0');
    }
    return out;
}

void h2_stream_header(slim_stream *s, slim_bytes name, slim_bytes value)
{
    if (s->h->cfg.server) {
        if (name_is(name, ":path")) {
            s->path_ok = slim_bytes_eq(value, slim_bytes_str(s->h->cfg.path));
        } else if (name_is(name, "grpc-encoding") && s->encoding[0] == '\0') {
            s->encoding_bad = !name_is(value, "identity");
            copy_value(s->encoding, sizeof(s->encoding), value);
        }
        return;
    }
    if (name_is(name, ":status"))
        s->http_status = number_of(value, 0);
    else if (name_is(name, "grpc-status"))
        s->grpc_status = number_of(value, GRPC_UNKNOWN);
    else if (name_is(name, "grpc-message"))
        percent_decode(value, text_room(s), H2_MESSAGE_TEXT);
}

/* grpc-message is percent-encoded: everything but printable ASCII, and the percent sign itself. blank: as tonic, blanks and
 * backticks too. */
static void percent_encode(const char *text, char *out, size_t cap)
{
    static const char hex[] = "0123456789ABCDEF";
    size_t n = 0;

    for (; *text != '\0' && n + 4 < cap; text++) {
        uint8_t c = (uint8_t)*text;

        if (c <= 0x20 || c >= 0x7f || strchr("\"#%<>`?{}", c) != NULL) {
            out[n++] = '%';
            out[n++] = hex[c >> 4];
            out[n++] = hex[c & 15];
        } else {
            out[n++] = (char)c;
        }
    }
    out[n] = '\0';
}

static const char *date_of(const slim_h2 *h)
{
    return h->cfg.http_date != NULL ? h->cfg.http_date : "Thu, 01 Jan 1970 00:00:00 GMT";
}

/* A response of headers alone, with END_STREAM. */
static void refuse(slim_stream *s)
{
    char message[128], encoded[H2_MESSAGE_TEXT * 2];
    nghttp2_nv nv[7];
    size_t n = 0;

    nv[n++] = NV(":status", "200");
    nv[n++] = NV("content-type", "application/grpc");
    nv[n++] = NV("grpc-status", "12");
    if (s->path_ok) {
        snprintf(message, sizeof(message), "Content is compressed with `%s` which isn't supported", s->encoding);
        percent_encode(message, encoded, sizeof(encoded));
        nv[n++] = NV("grpc-message", encoded);
        nv[n++] = NV("grpc-accept-encoding", "identity");
    } else {
        nv[n++] = NV("content-length", "0");
    }
    nv[n++] = NV("date", date_of(s->h));
    s->finishing = true;
    s->body_done = true;
    if (nghttp2_submit_response(s->h->session, s->id, nv, n, NULL) != 0)
        s->h->no_memory = true;
}

static void accept_call(slim_stream *s)
{
    nghttp2_data_provider body = {.source.ptr = s, .read_callback = h2_stream_read};
    nghttp2_nv nv[3];

    if (!s->path_ok || s->encoding_bad) {
        refuse(s);
        return;
    }
    nv[0] = NV(":status", "200");
    nv[1] = NV("content-type", "application/grpc");
    nv[2] = NV("date", date_of(s->h));
    /* At once: upstream's client sends nothing before it has them. */
    if (nghttp2_submit_response(s->h->session, s->id, nv, 3, &body) != 0) {
        s->h->no_memory = true;
        return;
    }
    s->opened = true;
    s->h->cfg.events->open(s->h, s);
}

void h2_stream_headers_done(slim_stream *s, bool end_stream)
{
    if (s->h->cfg.server) {
        if (!s->opened && !s->finishing)
            accept_call(s);
    } else if (!s->opened && s->http_status == 200 && s->grpc_status < 0 && !end_stream) {
        s->opened = true;
        s->h->cfg.events->open(s->h, s);
    } else if (!s->opened && s->http_status != 0 && !end_stream && s->http_status / 100 != 1) {
        end_event(s, SLIM_END_CLEAN); /* refused; the rest of the response does not matter */
        slim_stream_reset(s, NGHTTP2_CANCEL);
        return;
    }
    if (end_stream)
        h2_stream_remote_closed(s);
}

/* ---- receiving ---- */

void h2_stream_remote_closed(slim_stream *s)
{
    s->remote_closed = true;
    if (s->paused || s->kept_n > s->kept_at)
        return; /* what is kept comes first */
    end_event(s, slim_grpc_partial(&s->in) ? SLIM_END_TRUNCATED : SLIM_END_CLEAN);
}

/* What came has no place: the call ends, with the code that gRPC turns into RESOURCE_EXHAUSTED. */
static void no_memory(slim_stream *s)
{
    slim_stream_reset(s, NGHTTP2_ENHANCE_YOUR_CALM);
    end_event(s, SLIM_END_NO_MEMORY);
}

/* Takes messages out of *in until it is empty, the stream is paused, or it ended. */
static void parse(slim_stream *s, slim_bytes *in, slim_buf *hold)
{
    slim_h2 *h = s->h;
    slim_grpc_room room = {h->cfg.max_message_bytes, h->cfg.stream_window_bytes, h->cfg.mem, h->cfg.purse};

    s->parsing = true;
    while (!s->ended && !s->finishing && !s->paused) {
        slim_bytes msg;
        slim_buf *msg_hold;
        slim_err e = slim_grpc_next(&s->in, in, hold, &room, &msg, &msg_hold);

        if (e == SLIM_OK) {
            h->cfg.events->message(s, msg, msg_hold);
            continue;
        }
        if (e == SLIM_E_TOO_LARGE) {
            end_event(s, SLIM_END_OVERSIZE);
        } else if (e == SLIM_E_PROTOCOL) {
            end_event(s, SLIM_END_COMPRESSED);
        } else if (e == SLIM_E_NOMEM) {
            no_memory(s);
        }
        break;
    }
    s->parsing = false;
    if (s->ended || s->finishing)
        in->n = 0; /* nobody wants the rest */
}

static bool keep(slim_stream *s, slim_bytes in)
{
    slim_h2 *h = s->h;

    /* A stream that is paused again and again never runs empty: what it took makes room once it is the larger part. */
    if (s->kept_at > 0 && s->kept_cap - s->kept_n < in.n && s->kept_at >= s->kept_n - s->kept_at) {
        memmove(s->kept, s->kept + s->kept_at, s->kept_n - s->kept_at);
        s->kept_n -= s->kept_at;
        s->kept_at = 0;
    }
    if (s->kept_cap - s->kept_n < in.n) {
        size_t cap = s->kept_cap == 0 ? 4096 : s->kept_cap * 2;
        uint8_t *p;

        while (cap < s->kept_n + in.n)
            cap *= 2;
        /* No more can come than the window. */
        if (cap > h->cfg.stream_window_bytes && s->kept_n + in.n <= h->cfg.stream_window_bytes)
            cap = h->cfg.stream_window_bytes;
        if ((p = slim_resize(h->cfg.mem, s->kept, cap)) == NULL)
            return false;
        slim_purse_add(h->cfg.purse, (int64_t)(cap - s->kept_cap));
        s->kept = p;
        s->kept_cap = cap;
    }
    memcpy(s->kept + s->kept_n, in.p, in.n);
    s->kept_n += in.n;
    return true;
}

void h2_stream_data(slim_stream *s, slim_bytes data)
{
    slim_h2 *h = s->h;
    slim_bytes in = data;

    if (!h->cfg.server && !s->opened)
        in.n = 0;
    if (s->kept_n == s->kept_at)
        parse(s, &in, h->feeding);
    if (in.n > 0 && (s->paused || s->kept_n > s->kept_at) && !keep(s, in)) {
        no_memory(s);
    }
    /* The window of what is kept is withheld: that is the back-pressure. */
    h2_check(h, nghttp2_session_consume_stream(h->session, s->id, data.n - in.n));
}

void slim_stream_pause(slim_stream *s)
{
    s->paused = true;
}
bool slim_stream_paused(const slim_stream *s)
{
    return s->paused;
}

void h2_mark_dirty(slim_h2 *h)
{
    /* After a feed the owner looks by itself, so that is no reason to keep silent later. */
    if (h->dirty || h->in_feed)
        return;
    h->dirty = true;
    if (h->cfg.events->dirty != NULL)
        h->cfg.events->dirty(h);
}

void slim_stream_resume(slim_stream *s)
{
    slim_bytes in = slim_bytes_of(s->kept == NULL ? NULL : s->kept + s->kept_at, s->kept_n - s->kept_at);
    size_t before = in.n;

    s->paused = false;
    if (s->parsing || s->ended)
        return; /* the running parse goes on by itself */
    parse(s, &in, NULL);
    h2_check(s->h, nghttp2_session_consume_stream(s->h->session, s->id, before - in.n));
    if (!s->ended) {
        s->kept_at = s->kept_n - in.n;
        if (in.n == 0)
            kept_drop(s);
        if (s->remote_closed && !s->paused && in.n == 0)
            h2_stream_remote_closed(s);
    }
    h2_mark_dirty(s->h);
}

/* ---- sending ---- */

void h2_stream_make_ready(slim_stream *s)
{
    if (!s->ready && !s->body_done) {
        s->ready = true;
        s->next_ready = s->h->ready;
        s->h->ready = s;
    }
    h2_mark_dirty(s->h);
}

/* Trailers behind the last DATA, or instead of DATA. */
static void submit_trailers(slim_stream *s)
{
    char number[12], encoded[H2_MESSAGE_TEXT * 3];
    nghttp2_nv nv[2];
    size_t n = 0;

    snprintf(number, sizeof(number), "%d", s->finish_status);
    nv[n++] = NV("grpc-status", number);
    if (s->text != NULL && s->text[0] != '\0') {
        percent_encode(s->text, encoded, sizeof(encoded));
        nv[n++] = NV("grpc-message", encoded);
    }
    if (nghttp2_submit_trailer(s->h->session, s->id, nv, n) != 0)
        s->h->no_memory = true;
}

ssize_t h2_stream_read(nghttp2_session *session, int32_t id, uint8_t *buf, size_t length, uint32_t *flags,
                       nghttp2_data_source *source, void *user)
{
    slim_stream *s = source->ptr;
    size_t n = s->out.bytes < length ? s->out.bytes : length;

    *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
    if (n == s->out.bytes && s->finishing) {
        *flags |= NGHTTP2_DATA_FLAG_EOF;
        if (s->h->cfg.server) {
            *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
            submit_trailers(s);
        }
        s->body_done = true;
        return (ssize_t)n;
    }
    return n == 0 ? NGHTTP2_ERR_DEFERRED : (ssize_t)n;
}

/* Our END_STREAM went out: a server that is not waited for any more says so. */
void h2_stream_sent_end(slim_stream *s)
{
    s->body_done = true;
    if (s->h->cfg.server && nghttp2_session_get_stream_remote_close(s->h->session, s->id) == 0)
        h2_check(s->h, nghttp2_submit_rst_stream(s->h->session, NGHTTP2_FLAG_NONE, s->id, NGHTTP2_NO_ERROR));
}

uint8_t *slim_stream_begin(slim_stream *s, size_t total_n, size_t inline_n)
{
    uint8_t *room;

    if (s->finishing || total_n > UINT32_MAX || (room = slim_sendq_reserve(&s->out, SLIM_GRPC_PREFIX_BYTES + inline_n)) == NULL)
        return NULL;
    slim_purse_add(s->h->cfg.purse, (int64_t)(SLIM_GRPC_PREFIX_BYTES + inline_n));
    slim_grpc_prefix(room, (uint32_t)total_n);
    h2_stream_make_ready(s);
    return room + SLIM_GRPC_PREFIX_BYTES;
}

slim_err slim_stream_append(slim_stream *s, slim_bytes part, slim_buf *hold)
{
    if (s->body_done)
        return SLIM_E_CLOSED;
    if (slim_sendq_add(&s->out, part, hold) != SLIM_OK) {
        slim_stream_reset(s, NGHTTP2_ENHANCE_YOUR_CALM);
        return SLIM_E_NOMEM;
    }
    slim_purse_add(s->h->cfg.purse, (int64_t)part.n);
    return SLIM_OK;
}

size_t slim_stream_queued(const slim_stream *s)
{
    return s->out.bytes;
}

void slim_stream_finish(slim_stream *s, int grpc_status, const char *grpc_message)
{
    if (s->finishing)
        return;
    s->finishing = true;
    s->finish_status = grpc_status;
    /* Without memory the status alone has to do. A client sends none, and what its peer said stands there. */
    if (grpc_message != NULL && s->h->cfg.server && text_room(s) != NULL)
        snprintf(s->text, H2_MESSAGE_TEXT, "%s", grpc_message);
    /* What is kept or half received has no taker any more; a running parse sees to that by itself. */
    if (!s->parsing) {
        if (s->kept_n > s->kept_at)
            h2_check(s->h, nghttp2_session_consume_stream(s->h->session, s->id, s->kept_n - s->kept_at));
        kept_drop(s);
        slim_grpc_reset(&s->in, s->h->cfg.purse);
    }
    if (s->h->cfg.server && s->out.bytes == 0 && !s->body_done) {
        /* No DATA is left to carry them: they need no window, and a receiver that has closed it shall hear of the end. */
        submit_trailers(s);
        s->body_done = true;
    }
    h2_stream_make_ready(s);
}

void slim_stream_reset(slim_stream *s, uint32_t code)
{
    out_drop(s);
    s->finishing = true;
    s->body_done = true;
    h2_check(s->h, nghttp2_submit_rst_stream(s->h->session, NGHTTP2_FLAG_NONE, s->id, code));
    h2_mark_dirty(s->h);
}

size_t slim_stream_evacuate(slim_stream *s)
{
    return slim_sendq_evacuate(&s->out);
}

/* ---- calls and queries ---- */

slim_err slim_h2_call(slim_h2 *h, const char *scheme, const char *authority, const char *user_agent, const slim_h2_header *headers,
                      size_t n_headers, void *user, slim_stream **out)
{
    bool allowed = nghttp2_session_check_request_allowed(h->session) != 0;
    slim_stream *s = allowed ? h2_stream_new(h, 0) : NULL;
    nghttp2_nv *nv = slim_alloc(h->cfg.mem, (8 + n_headers) * sizeof(*nv));
    nghttp2_data_provider body = {.read_callback = h2_stream_read};
    size_t n = 0;
    int32_t id;

    if (s == NULL || nv == NULL)
        goto fail;
    s->user = user;
    body.source.ptr = s;
    nv[n++] = NV(":method", "POST");
    nv[n++] = NV(":scheme", scheme);
    nv[n++] = NV(":authority", authority);
    nv[n++] = NV(":path", h->cfg.path);
    nv[n++] = NV("te", "trailers");
    nv[n++] = NV("content-type", "application/grpc");
    nv[n++] = NV("user-agent", user_agent);
    for (size_t i = 0; i < n_headers; i++)
        nv[n++] = h2_nv((const char *)headers[i].name.p, headers[i].name.n, (const char *)headers[i].value.p, headers[i].value.n);
    if ((id = nghttp2_submit_request(h->session, NULL, nv, n, &body, s)) < 0)
        goto fail;
    s->id = id;
    slim_free(h->cfg.mem, nv);
    *out = s;
    h2_mark_dirty(h);
    return SLIM_OK;
fail:
    slim_free(h->cfg.mem, nv);
    if (s != NULL) {
        s->ended = true;
        h->streams = s->next;
        if (s->next != NULL)
            s->next->prev = NULL;
        h->n_streams--;
        slim_free(h->cfg.mem, s);
    }
    return allowed ? SLIM_E_NOMEM : SLIM_E_CLOSED;
}

void slim_stream_set_user(slim_stream *s, void *user)
{
    s->user = user;
}
void *slim_stream_user(const slim_stream *s)
{
    return s->user;
}
slim_h2 *slim_stream_h2(const slim_stream *s)
{
    return s->h;
}
slim_stream *slim_h2_first_stream(const slim_h2 *h)
{
    return h->streams;
}
slim_stream *slim_stream_next(const slim_stream *s)
{
    return s->next;
}

int slim_stream_status(const slim_stream *s, int *http_status, const char **message)
{
    *http_status = s->http_status;
    *message = s->text != NULL ? s->text : "";
    return s->grpc_status;
}
