/* What nghttp2 lets a peer do: frames without end that say nothing, and calls with numbers that are used up. */
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

/* RFC 9113, 5.1.1. nghttp2 remembers the streams that ended last, and sees to frames on them itself. */
static void check_number(slim_h2 *h, int32_t id)
{
    if (!h->cfg.server || id % 2 == 0)
        return;
    if (id > h->last_id)
        h->last_id = id;
    else if (nghttp2_session_find_stream(h->session, id) == NULL)
        refuse(h, NGHTTP2_PROTOCOL_ERROR, "a stream number below one that was used before");
}

void h2_guard_frame(slim_h2 *h, const nghttp2_frame_hd *hd)
{
    switch (hd->type) {
    case NGHTTP2_HEADERS: check_number(h, hd->stream_id); return;
    case NGHTTP2_RST_STREAM: /* these two have limits of their own */
    case NGHTTP2_CONTINUATION:
    case NGHTTP2_SETTINGS: /* these two are answered: a queue that grows ends them */
    case NGHTTP2_PING: return;
    default: break;
    }
    count_void(h); /* DATA too, until it turns out to carry something */
}
