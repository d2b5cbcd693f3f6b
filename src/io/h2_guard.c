/* What nghttp2 lets a peer do: frames without end that say nothing, and frames on streams that it had ended. */
#include <stdio.h>

#include "io/h2_int.h"

/* Frames in a row that move nothing and are not answered: a real peer sends a few beside each DATA frame of either side. */
#define VOID_FRAMES_MAX 10000u

static void refuse(slim_h2 *h, uint32_t code, const char *why)
{
    if (h->why[0] == '\0')
        snprintf(h->why, sizeof(h->why), "%s", why);
    h2_check(h, nghttp2_session_terminate_session(h->session, code));
}

/* They cost us work and the peer next to nothing. */
static void count_void(slim_h2 *h)
{
    if (h->void_frames++ == VOID_FRAMES_MAX)
        refuse(h, NGHTTP2_ENHANCE_YOUR_CALM, "frames without end that say nothing");
}

/* RFC 9113, 5.1 and 5.1.1. What was under way when we ended a stream is no error. */
static void check_ended(slim_h2 *h, const nghttp2_frame_hd *hd)
{
    int32_t id = hd->stream_id;
    const struct h2_closed *c;

    if ((h->streams != NULL && h->streams->id == id) || !h->cfg.server || id % 2 == 0)
        return;
    if (id > h->last_id) {
        if (hd->type == NGHTTP2_HEADERS)
            h->last_id = id;
        return;
    }
    if (nghttp2_session_find_stream(h->session, id) != NULL)
        return;
    for (c = h->closed; c < h->closed + H2_CLOSED; c++) {
        if (c->id != id)
            continue;
        if (c->by_peer)
            refuse(h, NGHTTP2_STREAM_CLOSED, "a frame on a stream that the peer had ended");
        return;
    }
    if (hd->type == NGHTTP2_HEADERS)
        refuse(h, NGHTTP2_PROTOCOL_ERROR, "a stream number below one that was used before");
}

void h2_guard_frame(slim_h2 *h, const nghttp2_frame_hd *hd)
{
    switch (hd->type) {
    case NGHTTP2_HEADERS: check_ended(h, hd); return;
    case NGHTTP2_RST_STREAM: /* these two have limits of their own */
    case NGHTTP2_CONTINUATION:
    case NGHTTP2_SETTINGS: /* these two are answered: a queue that grows ends them */
    case NGHTTP2_PING: return;
    case NGHTTP2_DATA: check_ended(h, hd); break;
    default: break;
    }
    count_void(h); /* DATA too, until it turns out to carry something */
}

void h2_guard_closed(slim_h2 *h, int32_t id)
{
    bool by_peer = h->reset_id == id || nghttp2_session_get_stream_remote_close(h->session, id) == 1;

    h->closed[h->n_closed++ % H2_CLOSED] = (struct h2_closed){id, by_peer};
}
