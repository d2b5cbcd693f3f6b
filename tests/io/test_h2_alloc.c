/* A conversation in which the n-th allocation fails, for every n: an error or a closed stream comes of it, never a leak, a
 * stand-still or a stray access (the latter under the sanitizers). */
#include <criterion/criterion.h>

#include "h2_peer.h"

/* Each of these reports whether the connection can still be used. */
static bool step(peer *p)
{
    return peer_feed(p) == SLIM_OK && !slim_h2_failed(p->h);
}

static bool pull(peer *p)
{
    peer_pull(p);
    return !slim_h2_failed(p->h);
}

static void send_parts(slim_stream *s, slim_buf *block, size_t n)
{
    uint8_t *room = slim_stream_begin(s, 100 + block->cap_bytes + n, 100);

    if (room == NULL)
        return;
    memset(room, 'h', 100);
    if (slim_stream_append(s, slim_bytes_of(block->mem, block->cap_bytes), block) == SLIM_OK)
        slim_stream_append(s, slim_bytes_of(block->mem, n), NULL);
}

/* True when everything went as it would without failures. */
static bool serve(peer *p, slim_buf *block)
{
    buffer m = {0};
    bool good = false;

    for (int i = 0; i < 12; i++)
        put_message(&m, 3000, 1);
    buffer_add(&p->in, PEER_PREFACE, 24);
    put_setting(&p->in, 4, 60000);
    put_frame(&p->in, F_SETTINGS, ACK, 0, NULL, 0);
    put_call(&p->in, 1, 0);
    put_call(&p->in, 3, 0);
    put_call(&p->in, 5, 0, "grpc-encoding", "gzip");
    put_call(&p->in, 7, 0);
    if (!step(p) || !pull(p) || p->n_streams < 3)
        goto out;
    put_data(&p->in, 1, 0, slim_bytes_of(m.p, 4000));
    put_data(&p->in, 1, 0, slim_bytes_of(m.p + 4000, m.n - 4000));
    if (!step(p))
        goto out;
    if (p->stream[1] != NULL)
        slim_stream_pause(p->stream[1]);
    put_data(&p->in, 3, 0, bytes_of(&m));
    put_data(&p->in, 3, 0, bytes_of(&m));
    if (!step(p))
        goto out;
    for (int i = 0; i < 30; i++)
        if (p->stream[0] != NULL)
            send_parts(p->stream[0], block, 700);
    if (p->stream[0] != NULL)
        slim_stream_evacuate(p->stream[0]);
    slim_h2_ping(p->h);
    if (!pull(p))
        goto out;
    if (p->stream[1] != NULL)
        slim_stream_resume(p->stream[1]);
    if (p->stream[2] != NULL)
        slim_stream_reset(p->stream[2], 8);
    if (p->stream[0] != NULL)
        slim_stream_finish(p->stream[0], 7, "a reason");
    put_u32(&p->in, F_WINDOW, 1, 1 << 20);
    put_u32(&p->in, F_WINDOW, 0, 1 << 20);
    put_frame(&p->in, F_PING, 0, 0, "12345678", 8);
    slim_h2_goaway(p->h, 0);
    if (!step(p) || !pull(p))
        goto out;
    good = p->messages == 36 && p->stream[0] == NULL && p->stream[1] != NULL && p->stream[2] == NULL;
out:
    buffer_free(&m);
    return good;
}

static bool ask(peer *p, slim_buf *block)
{
    slim_stream *s;
    static const slim_h2_header more[] = {{{(const uint8_t *)"authorization", 13}, {(const uint8_t *)"Basic eDp5", 10}}};

    put_setting(&p->in, 4, 60000);
    if (!step(p) || !pull(p))
        return false;
    if (slim_h2_call(p->h, "http", "a", "slimrouter", more, 1, p, &s) != SLIM_OK)
        return false;
    p->stream[p->n_streams++] = s;
    if (!pull(p) || p->stream[0] == NULL)
        return false;
    put_headers(&p->in, 1, 0, ":status", "200", NULL);
    if (!step(p) || p->stream[0] == NULL)
        return false;
    send_parts(s, block, 2000);
    if (!pull(p) || p->stream[0] == NULL)
        return false;
    slim_stream_finish(s, 0, NULL);
    put_headers(&p->in, 1, END_STREAM, "grpc-status", "0", NULL);
    return step(p) && pull(p) && p->stream[0] == NULL && p->log.n > 0;
}

static void fail_each(bool server, bool compact, bool (*run)(peer *p, slim_buf *block))
{
    slim_buf *block = slim_block_new(&slim_mem_libc, 2500);
    bool good = false;
    long n = 0;

    memset(block->mem, 'b', block->cap_bytes);
    for (; !good; n++) {
        peer p;
        int64_t charged;
        long live;
        bool failed, usable = false;

        peer_prepare(&p, server);
        p.cfg.compact = compact;
        p.mem.fail_at = n;
        if (peer_start(&p)) {
            good = run(&p, block);
            usable = !slim_h2_failed(p.h);
            failed = p.mem.failed;
            cr_assert(failed || good, "without a failure all goes well");
            if (!usable) {
                cr_assert(slim_h2_finished(p.h), "allocation %ld: a connection that cannot go on says so", n);
                cr_assert_eq(peer_feed_bytes(&p, (const uint8_t *)"x", 1), p.h->no_memory ? SLIM_E_NOMEM : SLIM_E_PROTOCOL,
                             "allocation %ld: %s", n, slim_h2_why(p.h));
            }
        }
        live = peer_finish(&p, &charged);
        cr_assert_eq(live, 0, "allocation %ld: %ld are left", n, live);
        cr_assert_eq(charged, 0, "allocation %ld: %ld bytes are still charged", n, (long)charged);
        cr_assert_eq(block->refs, 1, "allocation %ld: %u references are left", n, block->refs);
        good = good && !p.mem.failed;
    }
    cr_assert_gt(n, compact ? 8 : 20);
    slim_buf_unref(block);
}

Test(h2_alloc, server)
{
    fail_each(true, false, serve);
}
Test(h2_alloc, client)
{
    fail_each(false, false, ask);
}
Test(h2_alloc, compact)
{
    fail_each(true, true, serve);
    fail_each(false, true, ask);
}

/* What a failure costs the one stream is no loss for the other. */
Test(h2_alloc, a_stream_alone)
{
    peer p;
    frame f;

    peer_server(&p);
    put_call(&p.in, 3, 0);
    peer_feed(&p);
    peer_pull(&p);
    p.log.n = 0;
    p.out_at = p.out.n;
    p.mem.fail_at = 0; /* the block of the message */
    p.mem.calls = 0;
    put_data(&p.in, 1, 0, slim_bytes_of("\0\0\0\1\0x", 6));
    cr_assert_eq(peer_feed(&p), SLIM_OK);
    cr_assert(p.mem.failed);
    p.mem.fail_at = -1;
    cr_assert_str_eq(peer_text(&p), "end 1 no memory\n");
    put_data(&p.in, 3, 0, slim_bytes_of("\0\0\0\0\1a", 6));
    cr_assert_eq(peer_feed(&p), SLIM_OK);
    peer_pull(&p);
    cr_assert(peer_find(&p, F_RST, &f) && f.id == 1 && frame_u32(&f, 0) == NGHTTP2_ENHANCE_YOUR_CALM);
    cr_assert_str_eq(peer_text(&p), "end 1 no memory\nmessage 3 1 e40c292c\ngone 1\n");
    /* Kept bytes as well. */
    slim_stream_pause(p.stream[1]);
    p.mem.calls = 0;
    p.mem.fail_at = 0;
    put_data(&p.in, 3, 0, slim_bytes_of("\0\0\0\0\1a", 6));
    peer_feed(&p);
    p.mem.fail_at = -1;
    cr_assert_str_eq(peer_text(&p), "end 1 no memory\nmessage 3 1 e40c292c\ngone 1\nend 3 no memory\n");
    cr_assert_not(slim_h2_failed(p.h));
    peer_done(&p);
}
