/* slim_h2 as the caller; the peer plays the server. */
#include <criterion/criterion.h>

#include "h2_peer.h"

static void client(peer *p)
{
    frame f;

    peer_prepare(p, false);
    if (!peer_start(p))
        abort();
    peer_pull(p);
    p->out_at = 24;
    put_setting(&p->in, 4, 1 << 20);
    put_frame(&p->in, F_SETTINGS, ACK, 0, NULL, 0);
    peer_feed(p);
    peer_pull(p);
    while (peer_next(p, &f))
        ;
}

static slim_stream *call(peer *p)
{
    slim_stream *s = NULL;

    if (slim_h2_call(p->h, "http", "127.0.0.1:46357", "slimrouter", NULL, 0, p, &s) != SLIM_OK)
        abort();
    p->stream[p->n_streams++] = s;
    peer_pull(p);
    return s;
}

Test(h2_client, preface)
{
    peer p;
    frame f;

    peer_prepare(&p, false);
    cr_assert(peer_start(&p));
    peer_pull(&p);
    cr_assert(p.out.n > 24 && memcmp(p.out.p, PEER_PREFACE, 24) == 0);
    p.out_at = 24;
    cr_assert(peer_next(&p, &f) && f.type == F_SETTINGS);
    cr_assert_eq(f.n, 24);
    cr_assert_arr_eq(f.p, "\0\2\0\0\0\0\0\4\0\x20\0\0\0\5\0\0\x40\0\0\6\0\0\x40\0", 24);
    cr_assert(peer_next(&p, &f) && f.type == F_WINDOW && f.id == 0);
    cr_assert_eq(frame_u32(&f, 0), 5177345);
    cr_assert_not(slim_h2_alive(p.h));
    put_frame(&p.in, F_SETTINGS, 0, 0, NULL, 0);
    peer_feed(&p);
    cr_assert(slim_h2_alive(p.h));
    peer_done(&p);
}

Test(h2_client, a_call)
{
    static const slim_h2_header more[] = {{{(const uint8_t *)"authorization", 13}, {(const uint8_t *)"Basic eDp5", 10}}};
    peer p;
    frame f;
    slim_stream *s;
    const char *text;
    int http;

    client(&p);
    p.finish_at_end = true;
    p.dirty = 0;
    cr_assert_eq(slim_h2_call(p.h, "https", "a.example:443", "slimrouter", more, 1, &p, &s), SLIM_OK);
    cr_assert_eq(p.dirty, 1);
    cr_assert_eq(slim_stream_user(s), &p);
    peer_pull(&p);
    cr_assert(peer_next(&p, &f) && f.type == F_HEADERS && f.flags == END_HEADERS);
    cr_assert_str_eq(peer_headers(&p, &f), ":method: POST\n:scheme: https\n:authority: a.example:443\n:path: " PEER_PATH
                                           "\nte: trailers\ncontent-type: application/grpc\nuser-agent: slimrouter\n"
                                           "authorization: Basic eDp5\n");
    cr_assert_not(peer_next(&p, &f));
    cr_assert_str_eq(peer_text(&p), "");
    put_headers(&p.in, 1, 0, ":status", "103", "link", "x", NULL);
    peer_feed(&p);
    cr_assert_str_eq(peer_text(&p), "", "an early hint opens nothing");
    put_headers(&p.in, 1, 0, ":status", "200", "content-type", "application/grpc", NULL);
    peer_feed(&p);
    cr_assert_str_eq(peer_text(&p), "open 1\n");
    send_message(s, 3, 1);
    peer_pull(&p);
    cr_assert(peer_next(&p, &f) && f.type == F_DATA && f.n == 8);
    put_data(&p.in, 1, 0, slim_bytes_of("\0\0\0\0\1a", 6));
    put_headers(&p.in, 1, END_STREAM, "grpc-status", "7", "grpc-message", "self-connection%20rejected:%20100%%0a%zz%c3%a4", NULL);
    peer_feed(&p);
    cr_assert_str_eq(peer_text(&p), "open 1\nmessage 1 1 e40c292c\nend 1 clean\n");
    cr_assert_eq(slim_stream_status(s, &http, &text), 7);
    cr_assert_eq(http, 200);
    cr_assert_str_eq(text, "self-connection rejected: 100% %zz\xc3\xa4");
    peer_pull(&p);
    cr_assert(peer_next(&p, &f) && f.type == F_DATA && f.n == 0 && f.flags == END_STREAM, "our half is closed too");
    cr_assert_not(peer_next(&p, &f));
    cr_assert_str_eq(peer_text(&p), "open 1\nmessage 1 1 e40c292c\nend 1 clean\ngone 1\n");
    peer_done(&p);
}

Test(h2_client, we_end_the_call)
{
    peer p;
    frame f;
    slim_stream *s;

    client(&p);
    s = call(&p);
    put_headers(&p.in, 1, 0, ":status", "200", NULL);
    peer_feed(&p);
    send_message(s, 10, 1);
    slim_stream_finish(s, 0, NULL);
    peer_pull(&p);
    cr_assert(peer_find(&p, F_DATA, &f) && f.n == 15 && f.flags == END_STREAM);
    put_headers(&p.in, 1, END_STREAM, "grpc-status", "0", NULL);
    peer_feed(&p);
    cr_assert_str_eq(peer_text(&p), "open 1\nend 1 clean\ngone 1\n");
    peer_done(&p);
}

Test(h2_client, refused_before_open)
{
    static const struct {
        const char *name, *status, *grpc, *message;
        bool ends;
        int want_http, want_grpc;
    } cases[] = {{"headers alone", "200", "12", "no", true, 200, 12},
                 {"headers alone, no status", "200", NULL, NULL, true, 200, -1},
                 {"status but no end", "200", "16", NULL, false, 200, 16},
                 {"HTTP error", "503", NULL, NULL, false, 503, -1},
                 {"HTTP error that ends", "404", NULL, NULL, true, 404, -1},
                 {"bad status", "200", "x", NULL, true, 200, 2},
                 {"long status", "200", "99999999999999999999", NULL, true, 200, 2}};

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        peer p;
        slim_stream *s;
        const char *text;
        int http;

        client(&p);
        s = call(&p);
        if (cases[i].grpc == NULL)
            put_headers(&p.in, 1, cases[i].ends ? END_STREAM : 0, ":status", cases[i].status, NULL);
        else
            put_headers(&p.in, 1, cases[i].ends ? END_STREAM : 0, ":status", cases[i].status, "grpc-status", cases[i].grpc,
                        cases[i].message != NULL ? "grpc-message" : NULL, cases[i].message, NULL);
        if (!cases[i].ends)
            put_data(&p.in, 1, 0, slim_bytes_of("\0\0\0\0\1a", 6));
        cr_assert_eq(peer_feed(&p), SLIM_OK);
        cr_assert_str_eq(peer_text(&p), "end 1 clean\n", "%s", cases[i].name);
        cr_assert_eq(slim_stream_status(s, &http, &text), cases[i].want_grpc, "%s: %d", cases[i].name,
                     slim_stream_status(s, &http, &text));
        cr_assert_eq(http, cases[i].want_http, "%s", cases[i].name);
        cr_assert_str_eq(text, cases[i].message != NULL ? cases[i].message : "");
        slim_stream_finish(s, 0, NULL);
        peer_pull(&p);
        cr_assert_str_eq(peer_text(&p), "end 1 clean\ngone 1\n", "%s", cases[i].name);
        peer_done(&p);
    }
}

Test(h2_client, reset_before_open)
{
    peer p;

    client(&p);
    call(&p);
    put_u32(&p.in, F_RST, 1, NGHTTP2_REFUSED_STREAM);
    peer_feed(&p);
    cr_assert_str_eq(peer_text(&p), "end 1 reset\ngone 1\n");
    peer_done(&p);
}

Test(h2_client, connection_ends_before_open)
{
    peer p;

    client(&p);
    call(&p);
    slim_h2_free(p.h);
    p.h = NULL;
    cr_assert_str_eq(peer_text(&p), "end 1 reset\ngone 1\n");
    peer_done(&p);
}

Test(h2_client, goaway)
{
    peer p;
    slim_stream *s;

    client(&p);
    /* A call that was not sent yet when the GOAWAY came ends like any other. */
    cr_assert_eq(slim_h2_call(p.h, "http", "a", "b", NULL, 0, &p, &s), SLIM_OK);
    put_frame(&p.in, F_GOAWAY, 0, 0, "\0\0\0\0\0\0\0\0", 8);
    peer_feed(&p);
    peer_pull(&p);
    cr_assert_str_eq(peer_text(&p), "end 1 reset\ngone 1\n");
    cr_assert_eq(slim_h2_call(p.h, "http", "a", "b", NULL, 0, &p, &s), SLIM_E_CLOSED);
    cr_assert_eq(slim_h2_streams(p.h), 0);
    cr_assert(slim_h2_finished(p.h));
    peer_done(&p);
}

Test(h2_client, reset_before_the_call_was_sent)
{
    peer p;
    frame f;
    slim_stream *s;

    client(&p);
    cr_assert_eq(slim_h2_call(p.h, "http", "a", "b", NULL, 0, &p, &s), SLIM_OK);
    slim_stream_reset(s, 8);
    peer_pull(&p);
    cr_assert_str_eq(peer_text(&p), "end 1 reset\ngone 1\n");
    cr_assert_not(peer_next(&p, &f), "the server hears nothing of it");
    peer_done(&p);
}

Test(h2_client, bytes_queued_before_open_go_out)
{
    peer p;
    frame f;
    slim_stream *s;

    client(&p);
    cr_assert_eq(slim_h2_call(p.h, "http", "a", "b", NULL, 0, &p, &s), SLIM_OK);
    send_message(s, 20, 1);
    peer_pull(&p);
    cr_assert(peer_find(&p, F_DATA, &f) && f.n == 25);
    peer_done(&p);
}

/* Two of ours, client and server, joined: random messages both ways, random pulls, partial sends. */
static void join(peer *from, peer *to, uint64_t *seed)
{
    struct iovec iov[64];
    size_t n = slim_h2_pull(from->h, iov, 64, 1 + test_rand(seed) % 40000);

    for (size_t i = 0; i < n; i++) {
        for (size_t at = 0; at < iov[i].iov_len;) {
            size_t k = 1 + test_rand(seed) % 9000;

            k = k > iov[i].iov_len - at ? iov[i].iov_len - at : k;
            cr_assert_eq(peer_feed_bytes(to, (const uint8_t *)iov[i].iov_base + at, k), SLIM_OK);
            slim_h2_sent(from->h, k);
            at += k;
        }
    }
}

static void join_all(peer *a, peer *b, uint64_t *seed)
{
    while (slim_h2_wants_write(a->h) || slim_h2_wants_write(b->h)) {
        join(a, b, seed);
        join(b, a, seed);
    }
}

static void log_message(buffer *b, uint32_t id, size_t n, uint32_t seed)
{
    buffer m = {0};
    char line[80];

    put_message(&m, n, seed);
    snprintf(line, sizeof(line), "message %u %zu %08x\n", id, n, peer_sum(slim_bytes_of(m.p + 5, n)));
    buffer_add(b, line, strlen(line));
    buffer_free(&m);
}

Test(h2_client, client_and_server_joined)
{
    uint64_t seed = test_seed();

    for (int round = 0; round < 20; round++) {
        peer c, s;
        slim_stream *stream;
        buffer want_c = {0}, want_s = {0};

        peer_prepare(&c, false);
        peer_prepare(&s, true);
        c.cfg.stream_window_bytes = 1 + (uint32_t)(test_rand(&seed) % 100000);
        s.cfg.stream_window_bytes = 1 + (uint32_t)(test_rand(&seed) % 100000);
        cr_assert(peer_start(&c) && peer_start(&s));
        cr_assert_eq(slim_h2_call(c.h, "http", "a", "b", NULL, 0, &c, &stream), SLIM_OK);
        c.stream[c.n_streams++] = stream;
        for (int i = 0; i < 6; i++) {
            join(&c, &s, &seed);
            join(&s, &c, &seed);
        }
        cr_assert_str_eq(peer_text(&c), "open 1\n");
        c.log.n = s.log.n = 0;
        for (uint32_t i = 0; i < 300; i++) {
            size_t n = test_rand(&seed) % (i % 10 == 0 ? 50000 : 500);

            if (test_rand(&seed) % 2 == 0) {
                send_message(c.stream[0], n, i);
                log_message(&want_s, 1, n, i);
            } else {
                send_message(s.stream[0], n, i);
                log_message(&want_c, 1, n, i);
            }
            if (test_rand(&seed) % 2 == 0)
                join(&c, &s, &seed);
            if (test_rand(&seed) % 2 == 0)
                join(&s, &c, &seed);
            if (test_rand(&seed) % 5 == 0)
                slim_stream_pause(s.stream[0]);
            if (test_rand(&seed) % 3 == 0)
                slim_stream_resume(s.stream[0]);
        }
        slim_stream_resume(s.stream[0]);
        join_all(&c, &s, &seed);
        slim_stream_finish(s.stream[0], 0, NULL);
        join_all(&c, &s, &seed);
        buffer_add(&want_c, "end 1 clean\ngone 1\n", 20);
        buffer_add(&want_s, "end 1 reset\ngone 1\n", 20);
        cr_assert_str_eq(peer_text(&c), (const char *)want_c.p);
        cr_assert_str_eq(peer_text(&s), (const char *)want_s.p);
        buffer_free(&want_c);
        buffer_free(&want_s);
        peer_done(&c);
        peer_done(&s);
    }
}
