#include "io/h2_int.h"

#define CONTROL_BYTES 1024u

void h2_out_clear(slim_h2 *h)
{
    for (size_t i = h->slice_at; i < h->n_slices; i++)
        slim_buf_unref(h->slice[i].buf);
    if (h->slice != h->few)
        slim_free(h->cfg.mem, h->slice);
    h->slice = h->few;
    h->n_slices = h->slice_at = 0;
    h->out_bytes = 0;
    slim_purse_add(h->cfg.purse, -(int64_t)h->leaving_bytes);
    h->leaving_bytes = 0;
    if (h->control != NULL)
        slim_buf_unref(h->control);
    h->control = NULL;
}

/* Copies bytes of nghttp2's own into memory that lives until they are sent. */
static bool control_put(slim_h2 *h, const uint8_t *p, size_t n)
{
    bool fresh = h->n_slices == 0;
    slim_slice *last;
    uint8_t *room;

    if (h->control == NULL || h->control->cap_bytes - h->control_used < n) {
        slim_buf *block = slim_block_new(h->cfg.mem, n > CONTROL_BYTES ? n : CONTROL_BYTES);

        if (block == NULL)
            return false;
        if (h->control != NULL)
            slim_buf_unref(h->control);
        h->control = block;
        h->control_used = 0;
        fresh = true;
    }
    room = h->control->mem + h->control_used;
    memcpy(room, p, n);
    h->control_used += n;
    h->out_bytes += n;
    if (!fresh && (last = &h->slice[h->n_slices - 1])->buf == h->control && last->p + last->n == room)
        last->n += n;
    else
        h->slice[h->n_slices++] = (slim_slice){room, n, slim_buf_ref(h->control), false};
    return true;
}

ssize_t h2_send(nghttp2_session *session, const uint8_t *data, size_t length, int flags, void *user)
{
    slim_h2 *h = user;

    if (h->out_bytes >= h->out_max || h->n_slices + 1 >= h->out_max_slices)
        return NGHTTP2_ERR_WOULDBLOCK;
    if (!control_put(h, data, length)) {
        h->no_memory = true;
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    }
    return (ssize_t)length;
}

int h2_send_data(nghttp2_session *session, nghttp2_frame *frame, const uint8_t *framehd, size_t length, nghttp2_data_source *source,
                 void *user)
{
    slim_h2 *h = user;
    slim_stream *s = source->ptr;
    size_t room, n, k;

    if (s->out.bytes < length) /* reset since the frame was made */
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    if (h->out_bytes >= h->out_max || h->n_slices + 1 + slim_sendq_slices(&s->out, length) > h->out_max_slices)
        return NGHTTP2_ERR_WOULDBLOCK;
    if (!control_put(h, framehd, 9)) {
        h->no_memory = true;
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    }
    room = H2_OUT_SLICES - h->n_slices;
    n = slim_sendq_take(&s->out, length, &h->slice[h->n_slices], room, &k);
    h->n_slices += k;
    h->out_bytes += n;
    h->void_frames = 0; /* window updates follow */
    h->leaving_bytes += n;
    return n == length ? 0 : NGHTTP2_ERR_CALLBACK_FAILURE;
}

/* Moves the slices of a pull to where they stay until they are sent: an idle connection pays for a few only. */
static void slices_keep(slim_h2 *h)
{
    slim_slice *pulled = h->slice;

    h->slice = h->n_slices <= H2_OUT_FEW ? h->few : slim_alloc(h->cfg.mem, h->n_slices * sizeof(*pulled));
    if (h->slice != NULL) {
        memcpy(h->slice, pulled, h->n_slices * sizeof(*pulled));
        return;
    }
    for (size_t i = 0; i < h->n_slices; i++)
        slim_buf_unref(pulled[i].buf);
    h->n_slices = 0;
    h->no_memory = true;
}

size_t slim_h2_pull(slim_h2 *h, struct iovec *iov, size_t max_iov, size_t max_bytes)
{
    slim_slice pulled[H2_OUT_SLICES];
    int rv;

    h2_out_clear(h);
    h->dirty = false;
    h->out_max = max_bytes;
    h->out_max_slices = max_iov < H2_OUT_SLICES ? max_iov : H2_OUT_SLICES;
    if (h->out_max_slices < SLIM_H2_PULL_MIN_IOV || h->broken || h->no_memory)
        return 0;
    while (h->ready != NULL) {
        slim_stream *s = h->ready;

        h->ready = s->next_ready;
        s->ready = false;
        h2_check(h, nghttp2_session_resume_data(h->session, s->id));
    }
    h->slice = pulled;
    if ((rv = nghttp2_session_send(h->session)) != 0)
        h->broken = true;
    h2_check(h, rv);
    slices_keep(h);
    for (size_t i = 0; i < h->n_slices; i++)
        iov[i] = (struct iovec){(void *)(uintptr_t)h->slice[i].p, h->slice[i].n};
    return h->n_slices;
}

void slim_h2_sent(slim_h2 *h, size_t n)
{
    while (n > 0 && h->slice_at < h->n_slices) {
        slim_slice *s = &h->slice[h->slice_at];

        if (n < s->n) {
            s->p += n;
            s->n -= n;
            return;
        }
        n -= s->n;
        slim_buf_unref(s->buf);
        h->slice_at++;
    }
    if (h->slice_at == h->n_slices)
        h2_out_clear(h);
}
