/* Peers that mean no good: what they can make us hold is bounded, and what they do to one call harms no other. */
#include <criterion/criterion.h>

#include "h2_peer.h"

/* Feeds what write makes, again and again, without ever reading; the rounds until we end it. */
static int flood(peer *p, void (*write)(peer *p, int round), int most)
{
    for (int round = 0; round < most; round++) {
        write(p, round);
        if (peer_feed(p) != SLIM_OK)
            return round;
    }
    return most;
}

static void write_ping(peer *p, int round)
{
    put_frame(&p->in, F_PING, 0, 0, "12345678", 8);
}
static void write_settings(peer *p, int round)
{
    put_frame(&p->in, F_SETTINGS, 0, 0, NULL, 0);
}
static void write_call(peer *p, int round)
{
    put_call(&p->in, 3 + 2 * (uint32_t)round, 0);
}

static void write_unknown_path(peer *p, int round)
{
    put_headers(&p->in, 3 + 2 * (uint32_t)round, END_STREAM, ":method", "POST", ":scheme", "http", ":authority", "a", ":path", "/",
                NULL);
}

static void write_call_and_reset(peer *p, int round)
{
    write_call(p, round);
    put_u32(&p->in, F_RST, 3 + 2 * (uint32_t)round, 8);
}

/* A window that overflows makes us reset the stream. */
static void write_call_and_blunder(peer *p, int round)
{
    write_call(p, round);
    put_u32(&p->in, F_WINDOW, 3 + 2 * (uint32_t)round, INT32_MAX);
}

Test(h2_abuse, floods_whose_answers_are_never_read)
{
    static const struct {
        const char *name;
        void (*write)(peer *p, int round);
    } floods[] = {{"PING", write_ping},
                  {"SETTINGS", write_settings},
                  {"refused calls", write_call},
                  {"unknown paths", write_unknown_path},
                  {"blunders", write_call_and_blunder}};

    for (size_t i = 0; i < sizeof(floods) / sizeof(floods[0]); i++) {
        peer p;
        int rounds;

        peer_prepare(&p, true);
        p.cfg.max_streams = 50;
        cr_assert(peer_start(&p));
        /* It never takes note of our settings, or calls beyond the limit would end it at once. */
        buffer_add(&p.in, PEER_PREFACE, 24);
        put_frame(&p.in, F_SETTINGS, 0, 0, NULL, 0);
        rounds = flood(&p, floods[i].write, 20000);
        cr_assert_lt(rounds, 2000, "%s: still going after %d", floods[i].name, rounds);
        cr_assert_eq(p.err, SLIM_E_PROTOCOL, "%s", floods[i].name);
        cr_assert_gt(rounds, 900, "%s: %d is too strict, a busy peer may be behind for a while", floods[i].name, rounds);
        cr_assert_lt(p.mem.live, 20000, "%s: %ld allocations", floods[i].name, p.mem.live);
        cr_assert(slim_h2_failed(p.h));
        peer_done(&p);
    }
}

Test(h2_abuse, floods_whose_answers_are_read_do_no_harm)
{
    peer p;

    peer_prepare(&p, true);
    cr_assert(peer_start(&p));
    peer_hello(&p);
    for (int round = 0; round < 5000; round++) {
        write_ping(&p, round);
        write_settings(&p, round);
        write_unknown_path(&p, round);
        cr_assert_eq(peer_feed(&p), SLIM_OK);
        peer_pull(&p);
        p.out.n = 0;
    }
    /* As many ended streams are remembered as may be open. */
    cr_assert_lt(p.mem.live, 200 + (long)p.cfg.max_streams, "%ld allocations are held", p.mem.live);
    peer_done(&p);
}

static void write_priority(peer *p, int round)
{
    put_frame(&p->in, F_PRIORITY, 0, 1, "\0\0\0\0\1", 5);
}
static void write_window(peer *p, int round)
{
    put_u32(&p->in, F_WINDOW, 1, 1);
}
static void write_empty_data(peer *p, int round)
{
    put_frame(&p->in, F_DATA, 0, 1, NULL, 0);
}

Test(h2_abuse, frames_that_say_nothing)
{
    void (*const writes[])(peer * p, int round) = {write_priority, write_window, write_empty_data};

    for (size_t i = 0; i < sizeof(writes) / sizeof(writes[0]); i++) {
        peer p;
        frame f;

        peer_server(&p);
        /* As many as one likes, as long as something moves: that it is said is what counts, not how often. */
        for (int round = 0; round < 50; round++) {
            for (int k = 0; k < 1000; k++)
                writes[i](&p, k);
            if (round % 2 == 0)
                put_data(&p.in, 1, 0, slim_bytes_of("\0\0\0\0\0", 5));
            else
                send_message(p.stream[0], 10, 1);
            cr_assert_eq(peer_feed(&p), SLIM_OK);
            peer_pull(&p);
        }
        cr_assert_not(slim_h2_finished(p.h), "case %zu", i);
        for (int k = 0; k < 10100; k++)
            writes[i](&p, k);
        peer_feed(&p);
        peer_pull(&p);
        cr_assert(peer_find(&p, F_GOAWAY, &f) && frame_u32(&f, 4) == NGHTTP2_ENHANCE_YOUR_CALM, "case %zu", i);
        cr_assert(slim_h2_failed(p.h) && slim_h2_finished(p.h));
        cr_assert_str_eq(slim_h2_why(p.h), "frames without end that say nothing");
        peer_done(&p);
    }
}

Test(h2_abuse, rapid_reset)
{
    for (int reading = 0; reading < 2; reading++) {
        peer p;
        frame f;
        int rounds = 0;

        peer_prepare(&p, true);
        cr_assert(peer_start(&p));
        peer_hello(&p);
        for (; rounds < 20000 && p.err == SLIM_OK && !slim_h2_finished(p.h); rounds++) {
            write_call_and_reset(&p, rounds);
            peer_feed(&p);
            if (reading)
                peer_pull(&p);
        }
        /* nghttp2 allows a thousand at once and some more a second. */
        cr_assert_lt(rounds, 15000, "reading %d: still going", reading);
        cr_assert_lt(p.mem.live, 20000);
        if (reading)
            cr_assert(peer_find(&p, F_GOAWAY, &f));
        peer_done(&p);
    }
}

Test(h2_abuse, continuation_flood)
{
    peer p;
    int rounds = 0;

    peer_prepare(&p, true);
    cr_assert(peer_start(&p));
    peer_hello(&p);
    put_frame(&p.in, F_HEADERS, 0, 1, NULL, 0);
    cr_assert_eq(peer_feed(&p), SLIM_OK);
    for (; rounds < 1000 && p.err == SLIM_OK && !slim_h2_finished(p.h); rounds++) {
        put_frame(&p.in, F_CONTINUATION, 0, 1, NULL, 0);
        peer_feed(&p);
        peer_pull(&p);
    }
    cr_assert_lt(rounds, 100);
    peer_done(&p);
}

Test(h2_abuse, headers_in_continuation)
{
    peer p;
    buffer block = {0};

    peer_prepare(&p, true);
    cr_assert(peer_start(&p));
    peer_hello(&p);
    put_field(&block, ":method", "POST");
    put_field(&block, ":scheme", "http");
    put_field(&block, ":authority", "a");
    put_field(&block, ":path", PEER_PATH);
    put_frame(&p.in, F_HEADERS, END_STREAM, 1, block.p, 5);
    put_frame(&p.in, F_CONTINUATION, 0, 1, block.p + 5, 20);
    put_frame(&p.in, F_CONTINUATION, END_HEADERS, 1, block.p + 25, block.n - 25);
    /* nghttp2 counts the pieces of their heads, and eight are the most. */
    cr_assert_eq(peer_feed_by(&p, 3), SLIM_OK, "%s", slim_h2_why(p.h));
    cr_assert_str_eq(peer_text(&p), "open 1\nend 1 clean\n");
    buffer_free(&block);
    peer_done(&p);
}

/* One long field in the dynamic table, named thousands of times by one byte each. */
Test(h2_abuse, header_bomb)
{
    peer p;
    frame f;
    buffer block = {0};
    char *value = malloc(4001);

    memset(value, 'v', 4000);
    value[4000] = '\0';
    peer_prepare(&p, true);
    cr_assert(peer_start(&p));
    peer_hello(&p);
    put_field(&block, ":method", "POST");
    put_field(&block, ":scheme", "http");
    put_field(&block, ":authority", "a");
    put_field(&block, ":path", PEER_PATH);
    buffer_add(&block, "\x40\1x", 3); /* with indexing */
    put_hpack_int(&block, 4000);
    buffer_add(&block, value, 4000);
    put_frame(&p.in, F_HEADERS, END_HEADERS, 1, block.p, block.n);
    cr_assert_eq(peer_feed(&p), SLIM_OK);
    cr_assert_str_eq(peer_text(&p), "open 1\n");
    block.n -= 4006;
    for (int i = 0; i < 12000; i++)
        buffer_add(&block, "\xbe", 1);
    put_frame(&p.in, F_HEADERS, END_HEADERS, 3, block.p, block.n);
    cr_assert_eq(peer_feed(&p), SLIM_OK);
    cr_assert_str_eq(peer_text(&p), "open 1\n");
    cr_assert_lt(p.mem.live, 100);
    peer_pull(&p);
    cr_assert(peer_find(&p, F_RST, &f) && f.id == 3);
    cr_assert_not(peer_find(&p, F_GOAWAY, &f));
    /* The compression state went on all the same. */
    block.n -= 12000;
    buffer_add(&block, "\xbe", 1);
    put_frame(&p.in, F_HEADERS, END_HEADERS, 5, block.p, block.n);
    cr_assert_eq(peer_feed(&p), SLIM_OK);
    cr_assert_str_eq(peer_text(&p), "open 1\nopen 5\n");
    buffer_free(&block);
    free(value);
    peer_done(&p);
}

Test(h2_abuse, header_list_limit_is_exact)
{
    /* The pseudo fields, as SETTINGS_MAX_HEADER_LIST_SIZE counts: names, values and 32 each. */
    size_t others = 7 + 4 + 32 + 7 + 4 + 32 + 10 + 1 + 32 + 5 + strlen(PEER_PATH) + 32, room = 16384 - others - 33;
    char *value = malloc(20000);

    for (size_t extra = 0; extra < 2; extra++) {
        peer p;
        frame f;

        memset(value, 'v', room + extra);
        value[room + extra] = '\0';
        peer_prepare(&p, true);
        cr_assert(peer_start(&p));
        peer_hello(&p);
        put_headers(&p.in, 1, 0, ":method", "POST", ":scheme", "http", ":authority", "a", ":path", PEER_PATH, "x", value, NULL);
        cr_assert_eq(peer_feed(&p), SLIM_OK);
        peer_pull(&p);
        cr_assert_str_eq(peer_text(&p), extra == 0 ? "open 1\n" : "");
        cr_assert_eq(peer_find(&p, F_RST, &f), extra == 1);
        /* The limit is for a block, not for all blocks of a stream. */
        if (extra == 0) {
            value[10000] = '\0';
            put_headers(&p.in, 1, END_STREAM, "x", value, NULL);
            peer_feed(&p);
            cr_assert_str_eq(peer_text(&p), "open 1\nend 1 clean\n");
        }
        peer_done(&p);
    }
    free(value);
}

Test(h2_abuse, goaway_text_is_limited_when_announced)
{
    for (size_t n = 16384; n <= 16385; n++) {
        peer p;

        peer_server(&p);
        put_frame_head(&p.in, n, F_GOAWAY, 0, 0);
        peer_feed(&p);
        cr_assert_eq(p.err, n == 16384 ? SLIM_OK : SLIM_E_PROTOCOL);
        if (n > 16384)
            cr_assert_str_eq(slim_h2_why(p.h), "GOAWAY frame of more than 16384 bytes");
        peer_done(&p);
    }
}

Test(h2_abuse, too_many_settings)
{
    peer p;
    frame f;

    peer_server(&p);
    put_frame_head(&p.in, 6 * 33, F_SETTINGS, 0, 0);
    peer_feed(&p);
    peer_pull(&p);
    cr_assert(peer_find(&p, F_GOAWAY, &f));
    cr_assert(slim_h2_finished(p.h));
    cr_assert_str_eq(slim_h2_why(p.h), "SETTINGS: too many setting entries");
    peer_done(&p);
}

Test(h2_abuse, connection_errors_tell_why)
{
    static const struct {
        uint8_t type, flags;
        uint32_t id;
        const char *payload;
        size_t n;
        uint32_t code;
    } cases[] = {{F_PING, 0, 1, "12345678", 8, NGHTTP2_PROTOCOL_ERROR},
                 {F_PING, 0, 0, "1234567", 7, NGHTTP2_FRAME_SIZE_ERROR},
                 {F_DATA, 0, 0, "x", 1, NGHTTP2_PROTOCOL_ERROR},
                 {F_DATA, 0, 99, "x", 1, NGHTTP2_PROTOCOL_ERROR},
                 {F_WINDOW, 0, 0, "\0\0\0\0", 4, NGHTTP2_PROTOCOL_ERROR},
                 {F_WINDOW, 0, 0, "\x7f\xff\xff\xff", 4, NGHTTP2_FLOW_CONTROL_ERROR},
                 {F_HEADERS, END_HEADERS, 2, "", 0, NGHTTP2_PROTOCOL_ERROR},
                 {F_HEADERS, END_HEADERS, 3, "\xff\xff\xff\xff\xff\xff", 6, NGHTTP2_COMPRESSION_ERROR},
                 {F_CONTINUATION, END_HEADERS, 1, "", 0, NGHTTP2_PROTOCOL_ERROR},
                 {F_PUSH, END_HEADERS, 1, "\0\0\0\2", 4, NGHTTP2_PROTOCOL_ERROR}};

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        peer p;
        frame f;

        peer_server(&p);
        put_frame(&p.in, cases[i].type, cases[i].flags, cases[i].id, cases[i].payload, cases[i].n);
        peer_feed(&p);
        peer_pull(&p);
        cr_assert(peer_find(&p, F_GOAWAY, &f), "case %zu", i);
        cr_assert_eq(frame_u32(&f, 4), cases[i].code, "case %zu: %u", i, frame_u32(&f, 4));
        cr_assert(slim_h2_finished(p.h), "case %zu", i);
        cr_assert(slim_h2_failed(p.h), "case %zu", i);
        cr_assert_str_neq(slim_h2_why(p.h), "", "case %zu", i);
        cr_assert_eq(peer_feed_bytes(&p, (const uint8_t *)"x", 1), SLIM_E_PROTOCOL, "case %zu", i);
        peer_done(&p);
    }
}

/* Everything a connection can go through, fed in steps of every length: events and answers are the same. */
Test(h2_abuse, every_split_gives_the_same)
{
    buffer all = {0}, m = {0};
    char *log = NULL;
    buffer out = {0};

    buffer_add(&all, PEER_PREFACE, 24);
    put_setting(&all, 4, 1 << 20);
    put_frame(&all, F_SETTINGS, ACK, 0, NULL, 0);
    put_call(&all, 1, 0);
    put_message(&m, 700, 1);
    put_message(&m, 0, 2);
    put_message(&m, 30, 3);
    put_data(&all, 1, 0, slim_bytes_of(m.p, 300));
    put_frame(&all, F_PING, 0, 0, "12345678", 8);
    put_call(&all, 3, 0, "grpc-encoding", "zstd");
    put_data_padded(&all, 1, 0, slim_bytes_of(m.p + 300, 200), 17);
    put_call(&all, 5, 0);
    put_data(&all, 5, 0, slim_bytes_of("\1\0\0\0\0", 5));
    put_data(&all, 1, END_STREAM, slim_bytes_of(m.p + 500, m.n - 500));
    put_call(&all, 7, END_STREAM);
    put_call(&all, 9, 0);
    put_data(&all, 9, 0, slim_bytes_of(m.p, 705));
    put_u32(&all, F_RST, 9, 8);
    put_frame(&all, F_DATA, 0, 0, NULL, 0); /* the end */
    for (size_t step = 0; step <= 64; step = step == 0 ? 1 : step + 1 + step / 4) {
        peer p;

        peer_prepare(&p, true);
        p.finish_at_end = true;
        cr_assert(peer_start(&p));
        buffer_add(&p.in, all.p, all.n);
        peer_feed_by(&p, step);
        peer_pull(&p);
        if (step == 0) {
            log = strdup(peer_text(&p));
            buffer_add(&out, p.out.p, p.out.n);
            cr_assert_not_null(strstr(log, "open 9\nmessage 9 700"), "%s", log);
        } else {
            cr_assert_str_eq(peer_text(&p), log, "steps of %zu", step);
            cr_assert_eq(p.out.n, out.n, "steps of %zu", step);
            cr_assert_arr_eq(p.out.p, out.p, out.n, "steps of %zu", step);
        }
        peer_done(&p);
    }
    free(log);
    buffer_free(&all);
    buffer_free(&m);
    buffer_free(&out);
}
