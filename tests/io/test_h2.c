#include <criterion/criterion.h>

#include "h2_peer.h"

static uint32_t setting(const frame *f, uint16_t key)
{
    for (size_t at = 0; at + 6 <= f->n; at += 6)
        if (f->p[at] == key >> 8 && f->p[at + 1] == (key & 255))
            return (uint32_t)f->p[at + 2] << 24 | (uint32_t)f->p[at + 3] << 16 | (uint32_t)f->p[at + 4] << 8 | f->p[at + 5];
    return UINT32_MAX;
}

Test(h2, server_preface)
{
    peer p;
    frame f;

    peer_prepare(&p, true);
    cr_assert(peer_start(&p));
    cr_assert(slim_h2_wants_write(p.h));
    cr_assert_not(slim_h2_alive(p.h));
    peer_pull(&p);
    cr_assert(peer_next(&p, &f) && f.type == F_SETTINGS && f.flags == 0);
    cr_assert_eq(f.n, 24, "four settings: %zu bytes", f.n);
    cr_assert_eq(setting(&f, 3), p.cfg.max_streams);
    cr_assert_eq(setting(&f, 4), 1048576);
    cr_assert_eq(setting(&f, 5), 4194304);
    cr_assert_eq(setting(&f, 6), 16384);
    cr_assert(peer_next(&p, &f) && f.type == F_WINDOW && f.id == 0);
    cr_assert_eq(frame_u32(&f, 0), 983041);
    cr_assert_not(peer_next(&p, &f));

    buffer_add(&p.in, PEER_PREFACE, 24);
    cr_assert_eq(peer_feed(&p), SLIM_OK);
    cr_assert_not(slim_h2_alive(p.h), "the magic alone is half of the preface");
    put_frame(&p.in, F_SETTINGS, 0, 0, NULL, 0);
    cr_assert_eq(peer_feed(&p), SLIM_OK);
    cr_assert(slim_h2_alive(p.h));
    peer_pull(&p);
    cr_assert(peer_next(&p, &f) && f.type == F_SETTINGS && f.flags == ACK);
    peer_done(&p);
}

Test(h2, default_frame_size_is_not_announced)
{
    peer p;
    frame f;

    peer_prepare(&p, true);
    p.cfg.announce_frame = false;
    p.cfg.max_frame_bytes = 16384;
    cr_assert(peer_start(&p));
    peer_pull(&p);
    cr_assert(peer_next(&p, &f) && f.type == F_SETTINGS);
    cr_assert_eq(f.n, 18);
    cr_assert_eq(setting(&f, 5), UINT32_MAX);
    peer_done(&p);
}

Test(h2, response_headers_come_at_once)
{
    peer p;
    frame f;

    peer_prepare(&p, true);
    cr_assert(peer_start(&p));
    peer_hello(&p);
    put_call(&p.in, 1, 0);
    cr_assert_eq(peer_feed(&p), SLIM_OK);
    cr_assert_str_eq(peer_text(&p), "open 1\n");
    cr_assert(slim_h2_wants_write(p.h));
    peer_pull(&p);
    cr_assert(peer_next(&p, &f) && f.type == F_HEADERS && f.id == 1);
    cr_assert_eq(f.flags, END_HEADERS, "no END_STREAM");
    cr_assert_str_eq(peer_headers(&p, &f), ":status: 200\ncontent-type: application/grpc\ndate: Fri, 01 Aug 2025 10:00:00 GMT\n");
    cr_assert_not(peer_next(&p, &f), "and no DATA");
    cr_assert_eq(slim_h2_streams(p.h), 1);
    peer_done(&p);
}

Test(h2, unchecked_headers)
{
    peer p;

    peer_prepare(&p, true);
    cr_assert(peer_start(&p));
    peer_hello(&p);
    put_headers(&p.in, 1, 0, ":method", "GET", ":scheme", "http", ":authority", "a", ":path", PEER_PATH, NULL);
    put_headers(&p.in, 3, 0, ":method", "PUT", ":scheme", "http", ":authority", "a", ":path", PEER_PATH, "content-type",
                "text/plain", NULL);
    put_headers(&p.in, 5, 0, ":method", "POST", ":scheme", "http", ":authority", "a", ":path", PEER_PATH, "grpc-timeout", "soon",
                "grpc-accept-encoding", "gzip", "grpc-encoding", "identity", NULL);
    cr_assert_eq(peer_feed(&p), SLIM_OK);
    cr_assert_str_eq(peer_text(&p), "open 1\nopen 3\nopen 5\n");
    peer_done(&p);
}

Test(h2, unknown_path)
{
    static const char *const paths[] = {"/", "/dataplane.proto.v1.DataPlaneService/Other",
                                        "/dataplane.proto.v1.DataPlaneService/OpenChannel/",
                                        "/dataplane.proto.v1.DataPlaneService/openchannel"};
    peer p;
    frame f;

    peer_prepare(&p, true);
    cr_assert(peer_start(&p));
    peer_hello(&p);
    for (uint32_t i = 0; i < 4; i++) {
        put_headers(&p.in, i * 2 + 1, 0, ":method", "POST", ":scheme", "http", ":authority", "a", ":path", paths[i], NULL);
        cr_assert_eq(peer_feed(&p), SLIM_OK);
        peer_pull(&p);
        cr_assert(peer_next(&p, &f) && f.type == F_HEADERS, "%s", paths[i]);
        cr_assert_eq(f.flags, END_HEADERS | END_STREAM, "%s: headers alone", paths[i]);
        cr_assert_str_eq(peer_headers(&p, &f), ":status: 200\ncontent-type: application/grpc\ngrpc-status: 12\ncontent-length: 0\n"
                                               "date: Fri, 01 Aug 2025 10:00:00 GMT\n");
        cr_assert(peer_next(&p, &f) && f.type == F_RST && f.id == i * 2 + 1, "%s", paths[i]);
        cr_assert_eq(frame_u32(&f, 0), 0, "%s: NO_ERROR", paths[i]);
        cr_assert_not(peer_next(&p, &f));
    }
    cr_assert_str_eq(peer_text(&p), "", "the user hears of none of them");
    cr_assert_eq(slim_h2_streams(p.h), 0);
    /* The connection is as good as before. */
    put_call(&p.in, 9, 0);
    peer_feed(&p);
    cr_assert_str_eq(peer_text(&p), "open 9\n");
    peer_done(&p);
}

Test(h2, compressed_call_is_refused)
{
    peer p;
    frame f;

    peer_prepare(&p, true);
    cr_assert(peer_start(&p));
    peer_hello(&p);
    put_call(&p.in, 1, 0, "grpc-encoding", "gzip", "grpc-encoding", "identity");
    cr_assert_eq(peer_feed(&p), SLIM_OK);
    peer_pull(&p);
    cr_assert(peer_next(&p, &f) && f.type == F_HEADERS && f.flags == (END_HEADERS | END_STREAM));
    cr_assert_str_eq(peer_headers(&p, &f),
                     ":status: 200\ncontent-type: application/grpc\ngrpc-status: 12\n"
                     "grpc-message: Content%20is%20compressed%20with%20%60gzip%60%20which%20isn't%20supported\n"
                     "grpc-accept-encoding: identity\ndate: Fri, 01 Aug 2025 10:00:00 GMT\n");
    cr_assert(peer_next(&p, &f) && f.type == F_RST && frame_u32(&f, 0) == 0);
    cr_assert_str_eq(peer_text(&p), "");
    peer_done(&p);
}

Test(h2, refused_call_that_has_ended_needs_no_reset)
{
    peer p;
    frame f;

    peer_prepare(&p, true);
    cr_assert(peer_start(&p));
    peer_hello(&p);
    put_headers(&p.in, 1, END_STREAM, ":method", "POST", ":scheme", "http", ":authority", "a", ":path", "/x", NULL);
    cr_assert_eq(peer_feed(&p), SLIM_OK);
    peer_pull(&p);
    cr_assert(peer_next(&p, &f) && f.type == F_HEADERS);
    cr_assert_not(peer_next(&p, &f));
    cr_assert_eq(slim_h2_streams(p.h), 0);
    peer_done(&p);
}

Test(h2, no_http2_at_all)
{
    peer p;
    frame f;

    peer_prepare(&p, true);
    cr_assert(peer_start(&p));
    buffer_add(&p.in, "GET / HTTP/1.1\r\nHost: a\r\n\r\n", 27);
    cr_assert_eq(peer_feed_by(&p, 1), SLIM_E_PROTOCOL);
    cr_assert(slim_h2_failed(p.h));
    cr_assert_str_eq(slim_h2_why(p.h), "no HTTP/2 client preface");
    peer_pull(&p);
    cr_assert(peer_next(&p, &f) && f.type == F_SETTINGS, "it is told what is spoken here");
    cr_assert_eq(peer_feed_bytes(&p, (const uint8_t *)"x", 1), SLIM_E_PROTOCOL, "and stays refused");
    peer_done(&p);
}

Test(h2, frame_longer_than_announced_is_refused_at_its_head)
{
    static const struct {
        size_t n;
        uint8_t type;
        bool good;
    } cases[] = {{4194304, F_DATA, true},
                 {4194305, F_DATA, false},
                 {4194305, F_HEADERS, false},
                 {4194305, 0x77, false},
                 {16777215, F_GOAWAY, false}};

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        peer p;
        frame f;

        peer_server(&p);
        put_frame_head(&p.in, cases[i].n, cases[i].type, 0, cases[i].type == F_GOAWAY ? 0 : 1);
        cr_assert_eq(peer_feed(&p), SLIM_OK);
        peer_pull(&p);
        if (cases[i].good) {
            cr_assert_not(peer_next(&p, &f));
            cr_assert_not(slim_h2_finished(p.h));
        } else {
            cr_assert(peer_next(&p, &f) && f.type == F_GOAWAY, "case %zu", i);
            cr_assert_eq(frame_u32(&f, 4), NGHTTP2_FRAME_SIZE_ERROR, "case %zu", i);
            cr_assert(slim_h2_finished(p.h), "case %zu", i);
            cr_assert(slim_h2_failed(p.h), "case %zu", i);
            cr_assert_eq(peer_feed_bytes(&p, (const uint8_t *)"xxxx", 4), SLIM_E_PROTOCOL);
        }
        peer_done(&p);
    }
}

Test(h2, max_streams)
{
    peer p;
    frame f;

    peer_prepare(&p, true);
    p.cfg.max_streams = 2;
    cr_assert(peer_start(&p));
    buffer_add(&p.in, PEER_PREFACE, 24);
    put_frame(&p.in, F_SETTINGS, 0, 0, NULL, 0);
    put_call(&p.in, 1, 0);
    put_call(&p.in, 3, 0);
    put_call(&p.in, 5, 0); /* it cannot know our limit yet */
    cr_assert_eq(peer_feed(&p), SLIM_OK);
    cr_assert_str_eq(peer_text(&p), "open 1\nopen 3\n");
    peer_pull(&p);
    cr_assert(peer_find(&p, F_RST, &f) && f.id == 5);
    cr_assert_eq(frame_u32(&f, 0), NGHTTP2_REFUSED_STREAM);
    cr_assert_not(peer_find(&p, F_RST, &f), "told once");
    put_u32(&p.in, F_RST, 1, 8);
    put_call(&p.in, 7, 0);
    cr_assert_eq(peer_feed(&p), SLIM_OK);
    cr_assert_str_eq(peer_text(&p), "open 1\nopen 3\nend 1 reset\ngone 1\nopen 7\n", "a place is free again");
    put_frame(&p.in, F_SETTINGS, ACK, 0, NULL, 0);
    put_call(&p.in, 9, 0); /* now it does */
    cr_assert_eq(peer_feed(&p), SLIM_OK);
    peer_pull(&p);
    cr_assert(peer_find(&p, F_GOAWAY, &f) && frame_u32(&f, 4) == NGHTTP2_PROTOCOL_ERROR);
    peer_done(&p);
}

Test(h2, stream_numbers_only_grow)
{
    peer p;
    frame f;

    peer_prepare(&p, true);
    cr_assert(peer_start(&p));
    peer_hello(&p);
    put_call(&p.in, 5, 0);
    cr_assert_eq(peer_feed(&p), SLIM_OK);
    put_call(&p.in, 3, 0);
    peer_feed(&p);
    peer_pull(&p);
    cr_assert(peer_find(&p, F_GOAWAY, &f) && frame_u32(&f, 4) == NGHTTP2_PROTOCOL_ERROR);
    cr_assert(slim_h2_failed(p.h));
    peer_done(&p);
}

Test(h2, streams_are_independent)
{
    peer p;
    buffer m = {0};
    char want[200];

    peer_server(&p);
    p.finish_at_end = true;
    put_call(&p.in, 3, 0);
    put_message(&m, 100, 1);
    /* Interleaved halves. */
    put_data(&p.in, 1, 0, slim_bytes_of(m.p, 50));
    put_data(&p.in, 3, 0, slim_bytes_of(m.p, 2));
    put_data(&p.in, 1, END_STREAM, slim_bytes_of(m.p + 50, 55));
    put_data(&p.in, 3, 0, slim_bytes_of(m.p + 2, 103));
    cr_assert_eq(peer_feed(&p), SLIM_OK);
    peer_pull(&p);
    snprintf(want, sizeof(want), "open 3\nmessage 1 100 %08x\nend 1 clean\nmessage 3 100 %08x\ngone 1\n",
             peer_sum(slim_bytes_of(m.p + 5, 100)), peer_sum(slim_bytes_of(m.p + 5, 100)));
    cr_assert_str_eq(peer_text(&p), want);
    cr_assert_eq(slim_h2_streams(p.h), 1);
    buffer_free(&m);
    peer_done(&p);
}

Test(h2, half_close_is_answered_by_trailers)
{
    peer p;
    frame f;

    peer_server(&p);
    p.finish_at_end = true;
    put_data(&p.in, 1, END_STREAM, slim_bytes_str(""));
    cr_assert_eq(peer_feed(&p), SLIM_OK);
    cr_assert_str_eq(peer_text(&p), "end 1 clean\n");
    peer_pull(&p);
    cr_assert(peer_next(&p, &f) && f.type == F_HEADERS && f.flags == (END_HEADERS | END_STREAM));
    cr_assert_str_eq(peer_headers(&p, &f), "grpc-status: 0\n");
    cr_assert_not(peer_next(&p, &f), "no RST_STREAM behind a call that both sides ended");
    cr_assert_str_eq(peer_text(&p), "end 1 clean\ngone 1\n");
    cr_assert_not(slim_h2_finished(p.h), "the connection stays");
    peer_done(&p);
}

Test(h2, sending_goes_on_after_the_peers_half_close)
{
    peer p;
    slim_stream *s = peer_server(&p);
    frame f;
    buffer want = {0};

    put_data(&p.in, 1, END_STREAM, slim_bytes_str(""));
    peer_feed(&p);
    send_message(s, 1000, 4);
    peer_pull(&p);
    put_message(&want, 1000, 4);
    cr_assert(peer_next(&p, &f) && f.type == F_DATA && f.n == want.n && memcmp(f.p, want.p, want.n) == 0);
    slim_stream_finish(s, 0, NULL);
    peer_pull(&p);
    cr_assert(peer_next(&p, &f) && f.type == F_HEADERS);
    cr_assert_eq(slim_h2_streams(p.h), 0);
    buffer_free(&want);
    peer_done(&p);
}

Test(h2, finish_sends_what_is_queued_then_status_then_reset)
{
    peer p;
    slim_stream *s = peer_server(&p);
    frame f;

    send_message(s, 10, 1);
    slim_stream_finish(s, 7, "self-connection rejected: same node_id");
    slim_stream_finish(s, 0, "a second one changes nothing");
    cr_assert_null(slim_stream_begin(s, 1, 1), "nothing can follow");
    cr_assert(slim_h2_owes(p.h));
    peer_pull(&p);
    cr_assert(peer_next(&p, &f) && f.type == F_DATA && f.n == 15 && f.flags == 0);
    cr_assert(peer_next(&p, &f) && f.type == F_HEADERS && f.flags == (END_HEADERS | END_STREAM));
    cr_assert_str_eq(peer_headers(&p, &f), "grpc-status: 7\ngrpc-message: self-connection%20rejected:%20same%20node_id\n");
    cr_assert(peer_next(&p, &f) && f.type == F_RST && frame_u32(&f, 0) == 0);
    cr_assert_not(slim_h2_owes(p.h));
    cr_assert_str_eq(peer_text(&p), "end 1 reset\ngone 1\n");
    /* What was under way meanwhile is no error. */
    put_data(&p.in, 1, END_STREAM, slim_bytes_of("\0\0\0\0\1x", 6));
    put_u32(&p.in, F_WINDOW, 1, 100);
    cr_assert_eq(peer_feed(&p), SLIM_OK);
    peer_pull(&p);
    cr_assert_not(peer_find(&p, F_GOAWAY, &f));
    peer_done(&p);
}

static void refuse_at_open(peer *p, slim_stream *s)
{
    slim_stream_finish(s, 14, "100% \"busy\"\n\xc3\xa4");
}

Test(h2, finish_from_open)
{
    peer p;
    frame f;

    peer_prepare(&p, true);
    p.on_open = refuse_at_open;
    cr_assert(peer_start(&p));
    peer_hello(&p);
    put_call(&p.in, 1, 0);
    peer_feed(&p);
    peer_pull(&p);
    cr_assert(peer_next(&p, &f) && f.type == F_HEADERS && f.flags == END_HEADERS);
    peer_headers(&p, &f);
    cr_assert(peer_next(&p, &f) && f.type == F_HEADERS && f.flags == (END_HEADERS | END_STREAM));
    cr_assert_str_eq(peer_headers(&p, &f), "grpc-status: 14\ngrpc-message: 100%25%20%22busy%22%0A%C3%A4\n");
    cr_assert(peer_next(&p, &f) && f.type == F_RST);
    peer_done(&p);
}

static void finish_at_message(peer *p, slim_stream *s, slim_bytes msg)
{
    slim_stream_finish(s, 0, NULL);
}

Test(h2, no_message_after_finish)
{
    peer p;
    slim_stream *s = peer_server(&p);
    buffer m = {0};

    p.on_message = finish_at_message;
    for (int i = 0; i < 3; i++)
        put_message(&m, 50, 1);
    put_data(&p.in, 1, 0, bytes_of(&m));
    put_data(&p.in, 1, END_STREAM, bytes_of(&m));
    cr_assert_eq(peer_feed(&p), SLIM_OK);
    cr_assert_eq(p.messages, 1);
    cr_assert(slim_stream_queued(s) == 0);
    peer_pull(&p);
    cr_assert_null(p.stream[0]);
    buffer_free(&m);
    peer_done(&p);
}

Test(h2, reset_by_the_peer)
{
    peer p;
    slim_stream *s = peer_server(&p);
    frame f;

    send_message(s, 100, 1);
    put_u32(&p.in, F_RST, 1, 8);
    cr_assert_eq(peer_feed(&p), SLIM_OK);
    cr_assert_str_eq(peer_text(&p), "end 1 reset\ngone 1\n");
    peer_pull(&p);
    cr_assert_not(peer_next(&p, &f), "the queue went with it");
    cr_assert_eq(peer_charged(&p), 0);
    peer_done(&p);
}

Test(h2, reset_by_us)
{
    peer p;
    slim_stream *s = peer_server(&p);
    frame f;

    send_message(s, 100, 1);
    slim_stream_reset(s, 11);
    cr_assert_eq(slim_stream_append(s, slim_bytes_str("late"), NULL), SLIM_E_CLOSED);
    cr_assert_null(slim_stream_begin(s, 1, 1));
    peer_pull(&p);
    cr_assert(peer_next(&p, &f) && f.type == F_RST && frame_u32(&f, 0) == 11);
    cr_assert_not(peer_next(&p, &f));
    cr_assert_str_eq(peer_text(&p), "end 1 reset\ngone 1\n");
    peer_done(&p);
}

Test(h2, reset_while_a_frame_is_held_back)
{
    peer p;
    slim_stream *s = peer_server(&p), *other;
    frame f;
    uint32_t seen = 0;

    put_call(&p.in, 3, 0);
    peer_feed(&p);
    peer_pull(&p);
    p.out_at = p.out.n;
    other = p.stream[1];
    send_message(s, 40000, 1);
    /* The second frame is made, but the pull is full. */
    cr_assert_gt(peer_pull_max(&p, 1), 0);
    slim_stream_reset(s, 8);
    send_message(other, 10, 1);
    peer_pull(&p);
    cr_assert_not(slim_h2_failed(p.h));
    cr_assert_not(slim_h2_finished(p.h));
    while (peer_next(&p, &f)) {
        seen |= f.type == F_RST && f.id == 1 ? 1 : 0;
        seen |= f.type == F_DATA && f.id == 3 ? 2 : 0;
        seen |= f.type == F_RST && frame_u32(&f, 0) != 8 ? 4 : 0;
    }
    cr_assert_eq(seen, 3, "the reset and the other stream's message: %u", seen);
    peer_done(&p);
}

Test(h2, peers_reset_while_a_frame_is_held_back)
{
    peer p;
    slim_stream *s = peer_server(&p);
    frame f;

    send_message(s, 40000, 1);
    cr_assert_gt(peer_pull_max(&p, 1), 0);
    put_u32(&p.in, F_RST, 1, 8);
    put_frame(&p.in, F_PING, 0, 0, "12345678", 8);
    cr_assert_eq(peer_feed(&p), SLIM_OK);
    p.out_at = p.out.n;
    peer_pull(&p);
    cr_assert(peer_next(&p, &f) && f.type == F_PING && f.flags == ACK);
    cr_assert_not(peer_next(&p, &f));
    peer_done(&p);
}

Test(h2, ping)
{
    peer p;
    frame f;

    peer_server(&p);
    put_frame(&p.in, F_PING, 0, 0, "abcdefgh", 8);
    peer_feed(&p);
    peer_pull(&p);
    cr_assert(peer_next(&p, &f) && f.type == F_PING && f.flags == ACK && memcmp(f.p, "abcdefgh", 8) == 0);
    p.dirty = 0;
    cr_assert(slim_h2_ping(p.h));
    cr_assert_eq(p.dirty, 1, "it asks for a flush");
    cr_assert_not(slim_h2_ping(p.h), "one at a time");
    cr_assert(slim_h2_ping_pending(p.h));
    peer_pull(&p);
    cr_assert(peer_next(&p, &f) && f.type == F_PING && f.flags == 0);
    put_frame(&p.in, F_PING, ACK, 0, f.p, 8);
    peer_feed(&p);
    cr_assert_not(slim_h2_ping_pending(p.h));
    cr_assert(slim_h2_ping(p.h));
    peer_done(&p);
}

Test(h2, goaway_lets_streams_go_on)
{
    peer p;
    slim_stream *s = peer_server(&p);
    frame f;

    p.dirty = 0;
    slim_h2_goaway(p.h, 0);
    cr_assert_eq(p.dirty, 1);
    peer_pull(&p);
    cr_assert(peer_next(&p, &f) && f.type == F_GOAWAY && frame_u32(&f, 0) == 1 && frame_u32(&f, 4) == 0);
    cr_assert_not(slim_h2_finished(p.h));
    put_call(&p.in, 3, 0);
    put_data(&p.in, 1, 0, slim_bytes_of("\0\0\0\0\1x", 6));
    cr_assert_eq(peer_feed(&p), SLIM_OK);
    cr_assert_str_eq(peer_text(&p), "message 1 1 fd0c5087\n", "no new stream, and the old one goes on");
    slim_stream_finish(s, 0, NULL);
    peer_pull(&p);
    cr_assert(slim_h2_finished(p.h), "with the last stream it is over");
    cr_assert_not(slim_h2_failed(p.h), "which is no failure");
    peer_done(&p);
}

Test(h2, goaway_of_the_peer)
{
    peer p;
    slim_stream *s = peer_server(&p);
    frame f;

    put_frame(&p.in, F_GOAWAY, 0, 0, "\0\0\0\0\0\0\0\0bye", 11);
    cr_assert_eq(peer_feed(&p), SLIM_OK);
    send_message(s, 5, 1);
    peer_pull(&p);
    cr_assert(peer_next(&p, &f) && f.type == F_DATA, "the call goes on");
    put_u32(&p.in, F_RST, 1, 0);
    peer_feed(&p);
    cr_assert(slim_h2_finished(p.h));
    peer_done(&p);
}

Test(h2, free_ends_open_streams)
{
    peer p;
    slim_stream *s = peer_server(&p);

    put_call(&p.in, 3, 0);
    put_data(&p.in, 1, 0, slim_bytes_of("\0\0\0\1\0half", 9));
    peer_feed(&p);
    send_message(s, 50000, 1);
    slim_stream_pause(p.stream[1]);
    put_data(&p.in, 3, 0, slim_bytes_of("\0\0\0\1\0half", 9));
    peer_feed(&p);
    p.finish_at_end = true;
    p.log.n = 0;
    peer_pull_max(&p, 1);
    p.dirty = 0;
    slim_h2_free(p.h);
    p.h = NULL;
    cr_assert_str_eq(peer_text(&p), "end 3 reset\ngone 3\nend 1 reset\ngone 1\n");
    cr_assert_eq(p.dirty, 0, "nobody flushes what is gone");
    peer_done(&p);
}

static void resume_the_first(peer *p, slim_stream *s, slim_bytes msg)
{
    if (s == p->stream[1])
        slim_stream_resume(p->stream[0]);
}

/* Inside a feed the owner looks by itself; what happens there must not silence a later call. */
Test(h2, dirty_outside_of_feed)
{
    peer p;
    slim_stream *s = peer_server(&p);
    buffer m = {0};

    slim_stream_pause(s);
    put_message(&m, 10, 1);
    put_data(&p.in, 1, 0, bytes_of(&m));
    put_call(&p.in, 3, 0);
    peer_feed(&p);
    peer_pull(&p);
    p.on_message = resume_the_first;
    put_data(&p.in, 3, 0, bytes_of(&m));
    p.dirty = 0;
    peer_feed(&p);
    cr_assert_eq(p.dirty, 0);
    cr_assert_eq(p.messages, 2);
    cr_assert_not(slim_h2_wants_write(p.h));
    send_message(s, 10, 1);
    cr_assert_eq(p.dirty, 1, "the flush was asked for");
    send_message(s, 10, 1);
    cr_assert_eq(p.dirty, 1, "once is enough until the next pull");
    peer_pull(&p);
    send_message(s, 10, 1);
    cr_assert_eq(p.dirty, 2);
    buffer_free(&m);
    peer_done(&p);
}
