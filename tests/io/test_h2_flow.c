/* Framing inside DATA, flow control in both directions, pausing, and coalescing. */
#include <criterion/criterion.h>

#include "h2_peer.h"

/* What the log of messages must say. */
static void want_message(buffer *want, uint32_t id, size_t n, uint32_t seed)
{
    buffer m = {0};
    char line[80];

    put_message(&m, n, seed);
    snprintf(line, sizeof(line), "message %u %zu %08x\n", id, n, peer_sum(slim_bytes_of(m.p + 5, n)));
    buffer_add(want, line, strlen(line));
    buffer_free(&m);
}

static void check_log(peer *p, buffer *want)
{
    buffer_add(want, "", 1);
    cr_assert_str_eq(peer_text(p), (const char *)want->p);
    buffer_free(want);
}

Test(h2_flow, framing_inside_data)
{
    peer p;
    buffer m = {0}, want = {0};

    peer_server(&p);
    /* Several in one, a zero-length one among them. */
    put_message(&m, 3, 1);
    put_message(&m, 0, 2);
    put_message(&m, 400, 3);
    put_data(&p.in, 1, 0, bytes_of(&m));
    want_message(&want, 1, 3, 1);
    want_message(&want, 1, 0, 2);
    want_message(&want, 1, 400, 3);
    /* One over several frames, cut in its prefix too, with empty and padded frames between. */
    m.n = 0;
    put_message(&m, 300, 4);
    put_data(&p.in, 1, 0, slim_bytes_of(m.p, 2));
    put_data(&p.in, 1, 0, slim_bytes_str(""));
    put_data_padded(&p.in, 1, 0, slim_bytes_of(m.p + 2, 100), 255);
    put_data_padded(&p.in, 1, 0, slim_bytes_str(""), 0);
    put_data_padded(&p.in, 1, 0, slim_bytes_of(m.p + 102, 203), 1);
    want_message(&want, 1, 300, 4);
    /* The end of one and the beginning of the next, then END_STREAM in an empty frame. */
    m.n = 0;
    put_message(&m, 10, 5);
    put_message(&m, 20, 6);
    put_data(&p.in, 1, 0, slim_bytes_of(m.p, 16));
    put_data(&p.in, 1, 0, slim_bytes_of(m.p + 16, 24));
    put_data(&p.in, 1, END_STREAM, slim_bytes_str(""));
    want_message(&want, 1, 10, 5);
    want_message(&want, 1, 20, 6);
    buffer_add(&want, "end 1 clean\n", 12);
    cr_assert_eq(peer_feed(&p), SLIM_OK);
    check_log(&p, &want);
    buffer_free(&m);
    peer_done(&p);
}

Test(h2_flow, ends_in_mid_message)
{
    static const size_t cuts[] = {1, 4, 5, 6, 104};
    buffer m = {0};

    put_message(&m, 100, 1);
    for (size_t i = 0; i < sizeof(cuts) / sizeof(cuts[0]); i++) {
        peer p;

        peer_server(&p);
        put_data(&p.in, 1, END_STREAM, slim_bytes_of(m.p, cuts[i]));
        cr_assert_eq(peer_feed(&p), SLIM_OK);
        cr_assert_str_eq(peer_text(&p), "end 1 truncated\n", "cut after %zu bytes", cuts[i]);
        peer_done(&p);
    }
    buffer_free(&m);
}

Test(h2_flow, compressed_flag)
{
    peer p;
    frame f;

    peer_server(&p);
    p.finish_at_end = true;
    put_data(&p.in, 1, 0, slim_bytes_of("\0\0\0\0\1a\1\0\0\0\1b\0\0\0\0\1c", 18));
    put_data(&p.in, 1, 0, slim_bytes_of("\0\0\0\0\1d", 6));
    put_call(&p.in, 3, 0);
    cr_assert_eq(peer_feed(&p), SLIM_OK);
    cr_assert_str_eq(peer_text(&p), "message 1 1 e40c292c\nend 1 compressed\nopen 3\n", "the call ends, the connection does not");
    peer_pull(&p);
    cr_assert(peer_next(&p, &f) && f.type == F_HEADERS && f.id == 1);
    cr_assert_str_eq(peer_headers(&p, &f), "grpc-status: 0\n");
    cr_assert(peer_next(&p, &f) && f.type == F_HEADERS && f.id == 3 && f.flags == END_HEADERS);
    cr_assert(peer_next(&p, &f) && f.type == F_RST && f.id == 1);
    peer_done(&p);
}

/* Feeds body in DATA frames as far as the windows allow, taking WINDOW_UPDATEs as they come. Returns the bytes that went. */
static size_t feed_body(peer *p, uint32_t id, slim_bytes body, size_t frame_max, int64_t *window, int64_t *connection)
{
    size_t at = 0;

    for (;;) {
        size_t n = body.n - at;
        frame f;

        peer_pull(p);
        while (peer_next(p, &f))
            if (f.type == F_WINDOW)
                *(f.id == 0 ? connection : window) += frame_u32(&f, 0);
        n = n > frame_max ? frame_max : n;
        n = (int64_t)n > *window ? (size_t)*window : n;
        n = (int64_t)n > *connection ? (size_t)*connection : n;
        if (n == 0)
            return at;
        put_data(&p->in, id, 0, slim_bytes_of(body.p + at, n));
        if (peer_feed(p) != SLIM_OK)
            return at;
        at += n;
        *window -= (int64_t)n;
        *connection -= (int64_t)n;
    }
}

Test(h2_flow, largest_message_passes_through_a_smaller_window)
{
    peer p;
    buffer m = {0}, want = {0};
    int64_t window = 1 << 20, connection = 1 << 20;

    peer_server(&p);
    put_message(&m, 4194304, 1);
    want_message(&want, 1, 4194304, 1);
    cr_assert_eq(feed_body(&p, 1, bytes_of(&m), 16384, &window, &connection), m.n);
    check_log(&p, &want);
    cr_assert_geq(window, 1 << 19, "and the window is back: %ld", (long)window);
    cr_assert_geq(connection, 1 << 19);
    buffer_free(&m);
    peer_done(&p);
}

Test(h2_flow, one_byte_more_is_refused_from_its_prefix)
{
    peer p;

    peer_server(&p);
    put_data(&p.in, 1, 0, slim_bytes_of("\0\0\x40\0\1", 5));
    cr_assert_eq(peer_feed(&p), SLIM_OK);
    cr_assert_str_eq(peer_text(&p), "end 1 oversize\n");
    peer_done(&p);
}

Test(h2_flow, announced_bytes_cost_nothing)
{
    peer p;

    peer_server(&p);
    put_data(&p.in, 1, 0, slim_bytes_of("\0\0\x40\0\0", 5));
    peer_feed(&p);
    cr_assert_eq(peer_charged(&p), 0);
    put_data(&p.in, 1, 0, slim_bytes_str("x"));
    peer_feed(&p);
    cr_assert_leq(peer_charged(&p), 16384, "one byte came: %ld", (long)peer_charged(&p));
    put_u32(&p.in, F_RST, 1, 8);
    peer_feed(&p);
    cr_assert_eq(peer_charged(&p), 0);
    peer_done(&p);
}

Test(h2_flow, received_buffer_is_handed_on)
{
    peer p;
    buffer m = {0};

    peer_server(&p);
    p.want_ref = true;
    put_message(&m, 5000, 9);
    put_data(&p.in, 1, 0, bytes_of(&m));
    peer_feed(&p);
    cr_assert_not_null(p.kept);
    cr_assert_eq(p.kept->refs, 1, "ours alone, the feed is over");
    cr_assert(slim_bytes_eq(p.kept_msg, slim_bytes_of(m.p + 5, 5000)), "the bytes live as long as the reference");
    cr_assert_eq(peer_charged(&p), 0, "no copy was made");
    /* An assembled one as well. */
    put_data(&p.in, 1, 0, slim_bytes_of(m.p, 100));
    put_data(&p.in, 1, 0, slim_bytes_of(m.p + 100, m.n - 100));
    peer_feed(&p);
    put_data(&p.in, 1, 0, slim_bytes_of("\0\0\0\0\0", 5));
    p.want_ref = false;
    peer_feed(&p);
    cr_assert(slim_bytes_eq(p.kept_msg, slim_bytes_of(m.p + 5, 5000)));
    buffer_free(&m);
    peer_done(&p);
}

Test(h2_flow, pause_keeps_bytes_and_window)
{
    peer p;
    slim_stream *s = peer_server(&p);
    buffer m = {0};
    int64_t window = 1 << 20, connection = 1 << 20, other = 1 << 20;
    frame f;
    size_t sent;

    put_call(&p.in, 3, 0);
    peer_feed(&p);
    p.quiet = true;
    slim_stream_pause(s);
    cr_assert(slim_stream_paused(s));
    for (int i = 0; i < 3000; i++)
        put_message(&m, 1000, (uint32_t)i);
    sent = feed_body(&p, 1, bytes_of(&m), 16384, &window, &connection);
    cr_assert_eq(sent, 1 << 20, "exactly the window: %zu", sent);
    cr_assert_eq(p.messages, 0);
    cr_assert_eq(window, 0, "none of it is back");
    cr_assert_gt(connection, 1 << 19, "while the connection's is: %ld", (long)connection);
    cr_assert_geq(peer_charged(&p), 1 << 20);
    cr_assert_leq(peer_charged(&p), 2 << 20);
    /* Others go on: PING, SETTINGS, streams. */
    put_frame(&p.in, F_PING, 0, 0, "12345678", 8);
    put_setting(&p.in, 3, 7);
    peer_feed(&p);
    peer_pull(&p);
    cr_assert(peer_next(&p, &f) && f.type == F_PING && f.flags == ACK);
    cr_assert(peer_next(&p, &f) && f.type == F_SETTINGS && f.flags == ACK);
    cr_assert_eq(feed_body(&p, 3, bytes_of(&m), 16384, &other, &connection), m.n);
    cr_assert_eq(p.messages, 3000);
    p.dirty = 0;
    slim_stream_resume(s);
    cr_assert_eq(p.dirty, 1, "a WINDOW_UPDATE wants out");
    cr_assert_eq(p.messages, 3000 + (1 << 20) / 1005);
    cr_assert_eq(feed_body(&p, 1, slim_bytes_of(m.p + sent, m.n - sent), 16384, &window, &connection), m.n - sent);
    cr_assert_eq(p.messages, 6000);
    cr_assert_eq(p.message_bytes, 6000000);
    cr_assert_eq(peer_charged(&p), 0);
    buffer_free(&m);
    peer_done(&p);
}

Test(h2_flow, pause_at_each_message)
{
    peer p;
    slim_stream *s = peer_server(&p);
    buffer m = {0}, want = {0};

    p.pause = true;
    p.finish_at_end = true;
    for (uint32_t i = 0; i < 5; i++) {
        put_message(&m, 50 + i, i);
        want_message(&want, 1, 50 + i, i);
    }
    buffer_add(&want, "end 1 clean\n", 12);
    put_data(&p.in, 1, 0, slim_bytes_of(m.p, 120));
    put_data(&p.in, 1, END_STREAM, slim_bytes_of(m.p + 120, m.n - 120));
    cr_assert_eq(peer_feed_by(&p, 7), SLIM_OK);
    for (uint32_t i = 1; i <= 5; i++) {
        cr_assert_eq(p.messages, i, "one at a time: %u instead of %u", p.messages, i);
        cr_assert(slim_stream_paused(s));
        slim_stream_resume(s);
    }
    check_log(&p, &want);
    cr_assert_eq(peer_charged(&p), 0);
    buffer_free(&m);
    peer_done(&p);
}

/* A receiver that is paused at each message and resumed for each one never has nothing kept; what it keeps stays bounded all the
 * same. */
Test(h2_flow, kept_bytes_stay_bounded)
{
    peer p;
    slim_stream *s = peer_server(&p);
    buffer m = {0};
    int64_t most = 0;

    p.pause = true;
    p.quiet = true;
    for (int i = 0; i < 20; i++)
        put_message(&m, 1000, 1);
    put_data(&p.in, 1, 0, bytes_of(&m));
    peer_feed(&p);
    for (int i = 0; i < 5000; i++) {
        m.n = 0;
        put_message(&m, 1000, 1);
        put_data(&p.in, 1, 0, bytes_of(&m));
        cr_assert_eq(peer_feed(&p), SLIM_OK);
        slim_stream_resume(s);
        most = peer_charged(&p) > most ? peer_charged(&p) : most;
        peer_pull(&p);
        p.out.n = p.out_at = 0;
    }
    cr_assert_eq(p.messages, 5001);
    cr_assert_leq(most, 65536, "20 messages of 1005 bytes wait, and %ld bytes are held", (long)most);
    buffer_free(&m);
    peer_done(&p);
}

static void finish_at_second(peer *p, slim_stream *s, slim_bytes msg)
{
    if (p->messages == 2)
        slim_stream_finish(s, 0, NULL);
}

static void reset_at_second(peer *p, slim_stream *s, slim_bytes msg)
{
    if (p->messages == 2)
        slim_stream_reset(s, 8);
}

Test(h2_flow, ending_from_a_message_that_was_kept)
{
    buffer m = {0};

    for (int i = 0; i < 4; i++)
        put_message(&m, 100000, 1);
    for (int round = 0; round < 2; round++) {
        peer p;
        slim_stream *s = peer_server(&p);

        p.on_message = round == 0 ? finish_at_second : reset_at_second;
        slim_stream_pause(s);
        put_data(&p.in, 1, 0, bytes_of(&m));
        put_data(&p.in, 1, 0, slim_bytes_of(m.p, 50));
        cr_assert_eq(peer_feed(&p), SLIM_OK);
        slim_stream_resume(s);
        cr_assert_eq(p.messages, 2);
        cr_assert_eq(peer_charged(&p), 0, "round %d: nobody wants the rest", round);
        peer_pull(&p);
        cr_assert_null(p.stream[0]);
        peer_done(&p);
    }
    buffer_free(&m);
}

/* The consumed bytes are given back once, whichever way they were consumed: the sum of all updates is what was sent. */
Test(h2_flow, window_is_given_back_exactly)
{
    peer p;
    slim_stream *s;
    buffer m = {0};
    int64_t window = 1 << 20, connection = 1 << 20, sent = 0;
    uint64_t seed = test_seed();

    s = peer_server(&p);
    p.quiet = true;
    for (int i = 0; i < 2000; i++) {
        size_t n = test_rand(&seed) % 4000;

        m.n = 0;
        put_message(&m, n, 1);
        if (test_rand(&seed) % 4 == 0)
            slim_stream_pause(s);
        else if (test_rand(&seed) % 2 == 0)
            slim_stream_resume(s);
        if (test_rand(&seed) % 16 == 0) { /* padding counts too, and is given back at once */
            put_data_padded(&p.in, 1, 0, slim_bytes_str(""), 200);
            peer_feed(&p);
            window -= 201;
            connection -= 201;
        }
        if (window < (int64_t)m.n)
            slim_stream_resume(s);
        cr_assert_eq(feed_body(&p, 1, bytes_of(&m), 1 + test_rand(&seed) % 3000, &window, &connection), m.n);
        sent += (int64_t)m.n;
        cr_assert_leq(window, 1 << 20, "never more than was announced");
    }
    slim_stream_resume(s);
    feed_body(&p, 1, slim_bytes_str(""), 1, &window, &connection);
    cr_assert_eq(p.messages, 2000);
    cr_assert_eq(nghttp2_session_get_stream_effective_recv_data_length(p.h->session, 1) + window, 1 << 20,
                 "what nghttp2 counts as received and we as sent is the same");
    cr_assert_gt(sent, 1 << 20);
    buffer_free(&m);
    peer_done(&p);
}

Test(h2_flow, more_than_the_window_ends_the_connection)
{
    peer p;
    slim_stream *s = peer_server(&p);
    uint8_t *zeros = calloc(1, 1 << 20);
    frame f;

    slim_stream_pause(s);
    put_data(&p.in, 1, 0, slim_bytes_of(zeros, 1 << 20));
    cr_assert_eq(peer_feed(&p), SLIM_OK);
    peer_pull(&p);
    cr_assert_not(peer_find(&p, F_RST, &f));
    put_data(&p.in, 1, 0, slim_bytes_of(zeros, 1));
    peer_feed(&p);
    peer_pull(&p);
    p.out_at = 0;
    cr_assert(peer_find(&p, F_RST, &f) && f.id == 1 && frame_u32(&f, 0) == NGHTTP2_FLOW_CONTROL_ERROR);
    cr_assert_eq(peer_charged(&p), 0);
    free(zeros);
    peer_done(&p);
}

/* The window that the SETTINGS of a new connection announce. */
static uint32_t announced_window(peer *p)
{
    frame f;

    peer_pull(p);
    cr_assert(peer_find(p, F_SETTINGS, &f));
    for (size_t i = 0; i + 6 <= f.n; i += 6)
        if (f.p[i + 1] == 4)
            return frame_u32(&f, i + 2);
    return 0;
}

Test(h2_flow, windows_are_promised_from_the_budget)
{
    static slim_budget shared = {.limit_bytes = 4 << 20};
    peer p[4];

    for (int i = 0; i < 4; i++) {
        peer_prepare(&p[i], true);
        p[i].purse.budget = &shared;
        cr_assert(peer_start(&p[i]));
        /* Half of the budget is for whole windows. */
        cr_expect_eq(announced_window(&p[i]), i < 2 ? 1u << 20 : 65535u);
    }
    cr_assert_eq(shared.promised_bytes, 2 * (1 << 20) + 2 * 65535);
    for (int i = 0; i < 4; i++)
        peer_done(&p[i]);
    cr_assert_eq(shared.promised_bytes, 0);
}

Test(h2_flow, further_streams_need_a_promise_of_their_own)
{
    peer p;
    frame f;

    peer_server(&p);
    p.budget.limit_bytes = 2 << 20;
    cr_assert_eq(p.budget.promised_bytes, 1 << 20);
    put_call(&p.in, 3, 0);
    peer_feed(&p);
    cr_assert_eq(p.budget.promised_bytes, 2 << 20);
    put_call(&p.in, 5, 0);
    peer_feed(&p);
    peer_pull(&p);
    cr_assert(peer_find(&p, F_RST, &f) && f.id == 5 && frame_u32(&f, 0) == NGHTTP2_REFUSED_STREAM);
    put_u32(&p.in, F_RST, 3, NGHTTP2_CANCEL);
    peer_feed(&p);
    cr_assert_eq(p.budget.promised_bytes, 1 << 20);
    put_call(&p.in, 7, 0);
    peer_feed(&p);
    cr_assert_eq(p.n_streams, 3);
    peer_done(&p);
}

/* ---- sending ---- */

Test(h2_flow, messages_are_coalesced)
{
    peer p;
    slim_stream *s = peer_server(&p);
    struct iovec iov[64];
    buffer want = {0};
    frame f;
    size_t n, total = 0;

    for (uint32_t i = 0; i < 100; i++) {
        send_message(s, 100, i);
        put_message(&want, 100, i);
    }
    cr_assert_eq(slim_stream_queued(s), want.n);
    cr_assert_eq(peer_charged(&p), (int64_t)want.n);
    n = slim_h2_pull(p.h, iov, 64, 1 << 18);
    cr_assert_leq(n, 8, "a hundred messages leave in %zu slices", n);
    for (size_t i = 0; i < n; i++) {
        buffer_add(&p.out, iov[i].iov_base, iov[i].iov_len);
        total += iov[i].iov_len;
    }
    cr_assert_eq(peer_charged(&p), (int64_t)want.n, "until all of it is sent");
    slim_h2_sent(p.h, total - 1);
    cr_assert_eq(peer_charged(&p), (int64_t)want.n);
    slim_h2_sent(p.h, 1);
    cr_assert_eq(peer_charged(&p), 0);
    cr_assert(peer_next(&p, &f) && f.type == F_DATA && f.n == want.n, "in one frame");
    cr_assert_arr_eq(f.p, want.p, want.n);
    cr_assert_not(peer_next(&p, &f));
    buffer_free(&want);
    peer_done(&p);
}

Test(h2_flow, peers_frame_size_and_windows)
{
    peer p;
    slim_stream *s;
    buffer want = {0}, got = {0};
    frame f;
    size_t n = 0;

    peer_prepare(&p, true);
    cr_assert(peer_start(&p));
    buffer_add(&p.in, PEER_PREFACE, 24);
    put_setting(&p.in, 4, 20000);
    put_setting(&p.in, 5, 1 << 20);
    put_frame(&p.in, F_SETTINGS, ACK, 0, NULL, 0);
    put_call(&p.in, 1, 0);
    peer_feed(&p);
    s = p.stream[0];
    send_message(s, 100000, 3);
    put_message(&want, 100000, 3);
    peer_pull(&p);
    while (peer_next(&p, &f))
        if (f.type == F_DATA) {
            cr_assert_leq(f.n, 16384, "frames stay small, so that control frames get between");
            buffer_add(&got, f.p, f.n);
        }
    cr_assert_eq(got.n, 20000, "as the stream's window says: %zu", got.n);
    cr_assert_not(slim_h2_wants_write(p.h), "a closed window is nothing to spin on");
    cr_assert(slim_h2_owes(p.h));
    cr_assert_eq(slim_stream_queued(s), want.n - 20000);
    /* In mid-stream: less, so that the window is below zero; an update that only fills the hole; then more. */
    put_setting(&p.in, 4, 5000);
    peer_feed(&p);
    peer_pull(&p);
    put_u32(&p.in, F_WINDOW, 1, 15000);
    peer_feed(&p);
    peer_pull(&p);
    while (peer_next(&p, &f))
        cr_assert_neq(f.type, F_DATA);
    put_setting(&p.in, 4, 15001);
    peer_feed(&p);
    peer_pull(&p);
    while (peer_next(&p, &f))
        if (f.type == F_DATA)
            n += f.n, buffer_add(&got, f.p, f.n);
    cr_assert_eq(n, 10001);
    /* The connection's window: 65535 of which 30001 are used. */
    put_u32(&p.in, F_WINDOW, 1, 1 << 20);
    peer_feed(&p);
    peer_pull(&p);
    while (peer_next(&p, &f))
        if (f.type == F_DATA)
            buffer_add(&got, f.p, f.n);
    cr_assert_eq(got.n, 65535);
    cr_assert_not(slim_h2_wants_write(p.h));
    put_u32(&p.in, F_WINDOW, 0, 1 << 20);
    peer_feed(&p);
    cr_assert(slim_h2_wants_write(p.h));
    peer_pull(&p);
    while (peer_next(&p, &f))
        if (f.type == F_DATA)
            buffer_add(&got, f.p, f.n);
    cr_assert_eq(got.n, want.n);
    cr_assert_arr_eq(got.p, want.p, want.n);
    cr_assert_not(slim_h2_owes(p.h));
    buffer_free(&want);
    buffer_free(&got);
    peer_done(&p);
}

Test(h2_flow, trailers_wait_behind_a_closed_window)
{
    peer p;
    slim_stream *s;
    frame f;

    peer_prepare(&p, true);
    cr_assert(peer_start(&p));
    buffer_add(&p.in, PEER_PREFACE, 24);
    put_setting(&p.in, 4, 10);
    put_call(&p.in, 1, 0);
    peer_feed(&p);
    s = p.stream[0];
    send_message(s, 20, 3);
    slim_stream_finish(s, 0, NULL);
    peer_pull(&p);
    cr_assert(peer_find(&p, F_DATA, &f) && f.n == 10);
    cr_assert_not(peer_next(&p, &f));
    cr_assert(slim_h2_owes(p.h), "bytes and trailers");
    put_u32(&p.in, F_WINDOW, 1, 15);
    peer_feed(&p);
    peer_pull(&p);
    cr_assert(peer_next(&p, &f) && f.type == F_DATA && f.n == 15);
    cr_assert(peer_next(&p, &f) && f.type == F_HEADERS);
    cr_assert(peer_next(&p, &f) && f.type == F_RST);
    cr_assert_not(slim_h2_owes(p.h));
    peer_done(&p);
}

Test(h2_flow, trailers_need_no_window)
{
    for (int round = 0; round < 2; round++) {
        peer p;
        frame f;

        peer_prepare(&p, true);
        cr_assert(peer_start(&p));
        buffer_add(&p.in, PEER_PREFACE, 24);
        put_setting(&p.in, 4, round == 0 ? 0 : 25);
        put_call(&p.in, 1, 0);
        peer_feed(&p);
        if (round == 1)
            send_message(p.stream[0], 20, 3);
        peer_pull(&p);
        p.out_at = p.out.n;
        slim_stream_finish(p.stream[0], 0, NULL);
        put_u32(&p.in, F_WINDOW, 1, 100); /* comes too late to matter */
        if (round == 1)
            peer_feed(&p);
        peer_pull(&p);
        cr_assert(peer_next(&p, &f) && f.type == F_HEADERS && f.flags == (END_HEADERS | END_STREAM));
        cr_assert(peer_next(&p, &f) && f.type == F_RST);
        cr_assert_not(peer_next(&p, &f));
        cr_assert_str_eq(peer_text(&p), "open 1\nend 1 reset\ngone 1\n");
        peer_done(&p);
    }
}

/* Parts by reference just long enough not to be copied, with short messages between, are the most slices that a frame can have. */
Test(h2_flow, many_slices)
{
    peer p;
    slim_stream *s = peer_server(&p);
    slim_buf *block = slim_block_new(&slim_mem_libc, 1024);
    buffer want = {0}, got;

    memset(block->mem, 'r', 1024);
    for (int i = 0; i < 500; i++) {
        uint8_t prefix[5];

        cr_assert_not_null(slim_stream_begin(s, 1024, 0));
        cr_assert_eq(slim_stream_append(s, slim_bytes_of(block->mem, 1024), block), SLIM_OK);
        slim_grpc_prefix(prefix, 1024);
        buffer_add(&want, prefix, 5);
        buffer_add(&want, block->mem, 1024);
    }
    cr_assert_eq(block->refs, 501);
    while (peer_pull_max(&p, 1 << 18) > 0)
        ;
    cr_assert_eq(block->refs, 1, "all references came back");
    got = peer_body(&p, 1);
    cr_assert_eq(got.n, want.n);
    cr_assert_arr_eq(got.p, want.p, want.n);
    cr_assert_eq(peer_charged(&p), 0);
    buffer_free(&want);
    buffer_free(&got);
    slim_buf_unref(block);
    peer_done(&p);
}

Test(h2_flow, smallest_slice_array_is_enough)
{
    peer p;
    slim_stream *s = peer_server(&p);
    slim_buf *block = slim_block_new(&slim_mem_libc, 1024);
    struct iovec iov[SLIM_H2_PULL_MIN_IOV];
    size_t total = 0, n;

    memset(block->mem, 'r', 1024);
    for (int i = 0; i < 100; i++) {
        slim_stream_begin(s, 1024, 0);
        slim_stream_append(s, slim_bytes_of(block->mem, 1024), block);
    }
    cr_assert_eq(slim_h2_pull(p.h, iov, SLIM_H2_PULL_MIN_IOV - 1, 1 << 18), 0);
    while ((n = slim_h2_pull(p.h, iov, SLIM_H2_PULL_MIN_IOV, 1 << 18)) > 0) {
        size_t sum = 0;

        for (size_t i = 0; i < n; i++)
            sum += iov[i].iov_len;
        slim_h2_sent(p.h, sum);
        total += sum;
    }
    cr_assert_geq(total, 100 * 1029);
    cr_assert_eq(slim_stream_queued(s), 0);
    slim_buf_unref(block);
    peer_done(&p);
}

Test(h2_flow, partly_sent)
{
    peer p;
    slim_stream *s = peer_server(&p);
    slim_buf *block = slim_block_new(&slim_mem_libc, 3000);
    struct iovec iov[64];
    size_t n, total = 0;

    memset(block->mem, 'r', 3000);
    slim_stream_begin(s, 6000, 0);
    slim_stream_append(s, slim_bytes_of(block->mem, 3000), block);
    slim_stream_append(s, slim_bytes_of(block->mem, 3000), block);
    n = slim_h2_pull(p.h, iov, 64, 1 << 18);
    for (size_t i = 0; i < n; i++)
        total += iov[i].iov_len;
    cr_assert_eq(block->refs, 3);
    cr_assert_not(slim_h2_finished(p.h));
    slim_h2_sent(p.h, 10);
    slim_h2_sent(p.h, total - 10 - 3001);
    cr_assert_eq(block->refs, 3, "a byte of the first is still to go");
    slim_h2_sent(p.h, 1);
    cr_assert_eq(block->refs, 2);
    slim_h2_sent(p.h, 2999);
    cr_assert_eq(block->refs, 2);
    slim_h2_sent(p.h, 1);
    cr_assert_eq(block->refs, 1);
    /* Freed with a send under way. */
    slim_stream_begin(s, 3000, 0);
    slim_stream_append(s, slim_bytes_of(block->mem, 3000), block);
    cr_assert_gt(slim_h2_pull(p.h, iov, 64, 1 << 18), 0);
    slim_h2_sent(p.h, 20);
    slim_h2_free(p.h);
    p.h = NULL;
    cr_assert_eq(block->refs, 1);
    slim_buf_unref(block);
    peer_done(&p);
}

Test(h2_flow, evacuation)
{
    peer p;
    slim_stream *s = peer_server(&p);
    slim_buf *block = slim_block_new(&slim_mem_libc, 5000);
    buffer got;

    for (int i = 0; i < 5000; i++)
        block->mem[i] = (uint8_t)i;
    slim_stream_begin(s, 5000, 0);
    slim_stream_append(s, slim_bytes_of(block->mem, 5000), block);
    cr_assert_eq(slim_stream_evacuate(s), 5000);
    cr_assert_eq(block->refs, 1);
    cr_assert_eq(slim_stream_evacuate(s), 0);
    memset(block->mem, 0, 5000);
    cr_assert_eq(slim_stream_queued(s), 5005);
    cr_assert_eq(peer_charged(&p), 5005);
    peer_pull(&p);
    got = peer_body(&p, 1);
    cr_assert_eq(got.n, 5005);
    for (size_t i = 0; i < 5000; i++)
        cr_assert_eq(got.p[i + 5], (uint8_t)i);
    buffer_free(&got);
    slim_buf_unref(block);
    peer_done(&p);
}

/* ---- against a model ---- */

Test(h2_flow, random_messages_and_splits)
{
    uint64_t seed = test_seed();

    for (int round = 0; round < 60; round++) {
        peer p;
        buffer body = {0}, want = {0}, sent = {0}, got;
        slim_stream *s = peer_server(&p);
        uint32_t n = 1 + (uint32_t)(test_rand(&seed) % 60);
        size_t at = 0;

        for (uint32_t i = 0; i < n; i++) {
            static const size_t scales[] = {1, 10, 300, 5000, 30000};
            size_t size = test_rand(&seed) % scales[test_rand(&seed) % 5];

            put_message(&body, size, i);
            want_message(&want, 1, size, i);
        }
        while (at < body.n) {
            size_t k = test_rand(&seed) % (test_rand(&seed) % 3 == 0 ? 9 : 16384);

            k = k > body.n - at ? body.n - at : k;
            if (test_rand(&seed) % 5 == 0)
                put_data_padded(&p.in, 1, 0, slim_bytes_of(body.p + at, k), (uint8_t)test_rand(&seed));
            else
                put_data(&p.in, 1, 0, slim_bytes_of(body.p + at, k));
            at += k;
        }
        put_data(&p.in, 1, END_STREAM, slim_bytes_str(""));
        buffer_add(&want, "end 1 clean\n", 12);
        p.pause = round % 3 == 0;
        p.keep_null = round % 4 == 1;
        for (at = 0; at < p.in.n;) {
            size_t k = 1 + test_rand(&seed) % (round % 2 == 0 ? 40 : 20000);

            k = k > p.in.n - at ? p.in.n - at : k;
            cr_assert_eq(peer_feed_bytes(&p, p.in.p + at, k), SLIM_OK);
            at += k;
            if (test_rand(&seed) % 3 == 0)
                slim_stream_resume(s);
            if (test_rand(&seed) % 7 == 0)
                slim_stream_pause(s);
            if (test_rand(&seed) % 4 == 0) {
                size_t m = test_rand(&seed) % 3000;

                send_message(s, m, (uint32_t)m);
                put_message(&sent, m, (uint32_t)m);
            }
            if (test_rand(&seed) % 4 == 0)
                peer_pull_max(&p, 1 + test_rand(&seed) % 50000);
        }
        p.pause = false;
        slim_stream_resume(s);
        check_log(&p, &want);
        peer_pull(&p);
        got = peer_body(&p, 1);
        cr_assert_eq(got.n, sent.n);
        cr_assert(got.n == 0 || memcmp(got.p, sent.p, sent.n) == 0);
        buffer_free(&got);
        buffer_free(&sent);
        buffer_free(&body);
        peer_done(&p);
    }
}
