/* A server's connection fed with anything. The first byte: bit 0 puts a valid preface in front, bit 1 an open call behind it, bit 2
 * ends calls as the node does, bit 3 pauses them at each message; the rest seeds the splits and what happens between them. Whatever
 * comes, every call that opened ends and goes exactly once, and no memory is left. */
#include <stdlib.h>

#include "io/h2_peer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct call {
    bool ended;
} call;

static uint32_t n_calls, n_ends, n_gone;
static bool ends_calls, pauses;

static void on_open(slim_h2 *h, slim_stream *s)
{
    slim_stream_set_user(s, calloc(1, sizeof(call)));
    n_calls++;
}

static void on_message(slim_stream *s, slim_bytes msg, slim_buf *hold)
{
    call *c = slim_stream_user(s);
    uint8_t *room;
    volatile uint8_t last = msg.n > 0 ? msg.p[msg.n - 1] : 0; /* it must be readable */

    if (c == NULL || c->ended || msg.n > 1 << 16)
        abort();
    if (pauses)
        slim_stream_pause(s);
    if (last == 0xee)
        slim_stream_reset(s, 8);
    if ((room = slim_stream_begin(s, msg.n + 3, 3)) != NULL) {
        memset(room, 1, 3);
        slim_stream_append(s, msg, hold);
    }
}

static void on_end(slim_stream *s, slim_stream_end why)
{
    call *c = slim_stream_user(s);

    if (c == NULL || c->ended)
        abort();
    c->ended = true;
    n_ends++;
    if (ends_calls)
        slim_stream_finish(s, why == SLIM_END_OVERSIZE ? 7 : 0, "a reason");
}

static void on_gone(slim_stream *s)
{
    call *c = slim_stream_user(s);

    if (c == NULL || !c->ended)
        abort();
    free(c);
    n_gone++;
}

/* What the owner of a connection may do at any time. */
static void meddle(peer *p, uint64_t *seed)
{
    slim_stream *s = p->h->streams;
    uint8_t *room;

    switch (test_rand(seed) % 12) {
    case 0: slim_h2_ping(p->h); break;
    case 1: slim_h2_goaway(p->h, 0); break;
    case 2:
    case 3:
    case 4:
    case 5: peer_pull_max(p, 1 + test_rand(seed) % (test_rand(seed) % 2 == 0 ? 60 : 20000)); break;
    case 6:
        for (; s != NULL; s = s->next)
            if (s->opened)
                slim_stream_resume(s);
        break;
    case 7:
        if (s != NULL && s->opened)
            slim_stream_pause(s);
        break;
    case 8:
        if (s != NULL && s->opened && (room = slim_stream_begin(s, 5000, 5000)) != NULL)
            memset(room, 7, 5000);
        break;
    case 9:
        if (s != NULL)
            slim_stream_evacuate(s);
        break;
    case 10:
        if (s != NULL && s->opened && test_rand(seed) % 2 == 0)
            slim_stream_finish(s, 0, NULL);
        break;
    case 11:
        if (s != NULL && s->opened && test_rand(seed) % 3 == 0)
            slim_stream_reset(s, 8);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const slim_h2_events events = {on_open, on_message, on_end, on_gone, peer_dirty};
    peer p;
    uint64_t seed;
    int64_t charged;
    size_t at = 0;

    if (size == 0)
        return 0;
    n_calls = n_ends = n_gone = 0;
    ends_calls = (data[0] & 4) != 0;
    pauses = (data[0] & 8) != 0;
    seed = (uint64_t)data[0] << 32 | size;
    peer_prepare(&p, true);
    p.cfg.events = &events;
    p.cfg.max_streams = 5;
    p.cfg.max_message_bytes = 1 << 16;
    if (!peer_start(&p))
        abort();
    if ((data[0] & 1) != 0) {
        buffer_add(&p.in, PEER_PREFACE, 24);
        put_setting(&p.in, 4, 20000);
        put_frame(&p.in, F_SETTINGS, ACK, 0, NULL, 0);
        if ((data[0] & 2) != 0)
            put_call(&p.in, 1, 0);
    }
    buffer_add(&p.in, data + 1, size - 1);
    while (at < p.in.n) {
        size_t n = 1 + test_rand(&seed) % (test_rand(&seed) % 2 == 0 ? 20 : 5000);

        n = n > p.in.n - at ? p.in.n - at : n;
        if (peer_feed_bytes(&p, p.in.p + at, n) != SLIM_OK && slim_h2_why(p.h)[0] == '\0')
            abort();
        at += n;
        while (test_rand(&seed) % 4 != 0)
            meddle(&p, &seed);
    }
    peer_pull(&p);
    if (slim_h2_wants_write(p.h) || p.h->broken)
        abort(); /* it would be flushed for ever; sending fails without memory only */
    if (peer_finish(&p, &charged) != 0 || charged != 0 || n_calls != n_ends || n_calls != n_gone)
        abort();
    return 0;
}
