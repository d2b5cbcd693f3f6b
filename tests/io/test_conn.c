#include "conn_harness.h"

/* ---- messages ---- */

CONN_TEST(thousands_of_small_messages_and_their_echo)
{
    call *k;

    n->server.echo = true;
    talk(n, 1);
    k = &n->client.calls[0];
    for (size_t i = 0; i < 5000; i++) {
        say(k, i, 1 + i % 200);
        if (i % 500 == 0)
            turn_both(n);
    }
    WAIT(turn_both(n), k->messages == 5000);
    cr_assert_eq(n->server.calls[0].messages, 5000);
    cr_assert_eq(n->server.calls[0].bytes, k->bytes);
    part(n);
    cr_assert_eq(n->server.calls[0].end, SLIM_END_RESET);
}

CONN_TEST(the_largest_message)
{
    n->server.echo = true;
    talk(n, 1);
    say(&n->client.calls[0], 0, 4 * MIB);
    WAIT(turn_both(n), n->client.calls[0].messages == 1);
    cr_assert_eq(n->client.calls[0].bytes, 4 * MIB);
    part(n);
}

CONN_TEST(an_empty_message)
{
    n->server.echo = true;
    talk(n, 1);
    say(&n->client.calls[0], 0, 0);
    WAIT(turn_both(n), n->client.calls[0].messages == 1);
    cr_assert_eq(n->client.calls[0].bytes, 0);
    part(n);
}

CONN_TEST(a_closed_window_opens_again)
{
    enum { N = 3000 };
    call *from, *to, *other;
    size_t queued;

    n->server.pause_after = 1;
    talk(n, 2);
    from = &n->client.calls[0];
    other = &n->client.calls[1];
    for (size_t i = 0; i < N; i++)
        say(from, i, 1000);
    do {
        queued = slim_stream_queued(from->s);
        for (int i = 0; i < 20; i++)
            turn_both(n);
    } while (slim_stream_queued(from->s) != queued);
    to = n->server.calls[0].messages == 1 ? &n->server.calls[0] : &n->server.calls[1];
    cr_assert_eq(to->messages, 1);
    cr_assert_geq(queued, N * 1005 - 2 * MIB); /* the window holds it back, not a buffer without end */
    /* The other call goes on, in both directions. */
    to = to == &n->server.calls[0] ? &n->server.calls[1] : &n->server.calls[0];
    to->pause_after = 0;
    say(other, 0, 50000);
    WAIT(turn_both(n), to->messages == 1);
    say(to, 0, 50000);
    WAIT(turn_both(n), other->messages == 1);

    to = to == &n->server.calls[0] ? &n->server.calls[1] : &n->server.calls[0];
    slim_stream_resume(to->s);
    WAIT(turn_both(n), to->messages == N);
    cr_assert_eq(slim_stream_queued(from->s), 0);
    part(n);
}

/* A peer that takes nothing from its socket: what is encrypted for it in advance has a limit, the rest waits in the stream. */
CONN_TEST(little_leaves_the_queue_before_the_socket_takes_it)
{
    enum { N = 400 };
    size_t total = (size_t)N * 65005;
    uint64_t sent;
    call *k;

    n->client.cfg.h2.stream_window_bytes = 64 * MIB;
    n->client.cfg.h2.connection_window_bytes = 64 * MIB;
    talk(n, 1);
    k = &n->server.calls[0];
    sent = n->s.bytes_out;
    for (size_t i = 0; i < N; i++)
        say(k, i, 65000);
    FOR_MS(turn(&n->s), 100);
    cr_assert_gt(slim_stream_queued(k->s), 0);
    cr_assert_geq(slim_stream_queued(k->s) + (n->s.bytes_out - sent) + MIB, total);
    /* What the socket does not take counts, as what is queued does. */
    cr_assert_gt(net_used(n), (int64_t)slim_stream_queued(k->s) + 65000);
    WAIT(turn_both(n), n->client.calls[0].messages == N);
    part(n);
}

/* ---- the end ---- */

CONN_TEST(an_orderly_close_delivers_what_is_queued)
{
    enum { N = 3000 };

    talk(n, 1);
    for (size_t i = 0; i < N; i++) /* more than the window */
        say(&n->client.calls[0], i, 1000);
    slim_stream_finish(n->client.calls[0].s, 0, NULL);
    slim_conn_close(n->client.conn);
    slim_conn_close(n->client.conn);
    WAIT(turn_both(n), n->client.closed && n->server.closed);
    cr_assert_eq(n->server.calls[0].messages, N);
    cr_assert_eq(n->server.calls[0].end, SLIM_END_CLEAN);
    expect_closed(&n->client, SLIM_OK, "");
    expect_closed(&n->server, SLIM_OK, "");
}

/* What still comes makes HTTP/2 answer, which must not disturb the end. */
CONN_TEST(an_orderly_close_while_the_peer_sends)
{
    enum { N = 2000 };
    call *k;
    size_t said = 0;

    for (int round = 0; round < 5; round++) {
        end_init(&n->server, true, n->server_tls);
        end_init(&n->client, false, n->client_tls);
        talk(n, 1);
        k = &n->client.calls[0];
        for (size_t i = 0; i < N; i++)
            say(&n->server.calls[0], i, 1000);
        slim_conn_close(n->server.conn);
        said = 0;
        WAIT(
            {
                turn_both(n);
                for (int i = 0; i < 50 && said < 20000 && k->s != NULL && !k->ended && slim_stream_queued(k->s) < MIB; i++)
                    say(k, said++, 1000);
            },
            n->client.closed && n->server.closed);
        cr_assert_eq(k->messages, N);
        expect_closed(&n->server, SLIM_OK, "");
        cr_assert_eq(n->server.closed, 1);
    }
}

/* The last word of an end and what still comes meet in one turn: what comes makes HTTP/2 answer, but nothing may follow the last
 * word. */
CONN_TEST(nothing_follows_the_last_word)
{
    talk(n, 1);
    FOR_MS(turn_both(n), 20); /* nothing else is on the way */
    cr_assert(slim_h2_ping(slim_conn_h2(n->client.conn)));
    say(&n->client.calls[0], 0, 100);
    turn(&n->c); /* it lies in the server's socket */
    turn(&n->c);
    slim_conn_close(n->server.conn);
    slim_io_flush(&n->s);
    WAIT(turn_both(n), n->client.closed && n->server.closed);
    expect_closed(&n->server, SLIM_OK, "");
    cr_assert_eq(n->server.closed, 1);
}

/* The peer reads nothing for longer than an ended connection waits by itself, and then all of it. */
CONN_TEST(a_slow_peer_gets_what_was_sent_before_the_close)
{
    enum { N = 700 };

    talk_on(n, 4096, 1);
    for (size_t i = 0; i < N; i++)
        say(&n->client.calls[0], i, 1000);
    slim_conn_close(n->client.conn);
    FOR_MS(turn(&n->c), 500);
    WAIT(turn_both(n), n->client.closed && n->server.closed);
    cr_assert_eq(n->server.calls[0].messages, N);
    expect_closed(&n->client, SLIM_OK, "");
}

CONN_TEST(an_end_that_the_peer_never_takes)
{
    n->server.pause_after = 1;
    talk(n, 1);
    for (size_t i = 0; i < 3000; i++)
        say(&n->client.calls[0], i, 1000);
    n->client.cfg.setup_timeout_ns = 200 * MS_NS;
    slim_conn_close(n->client.conn);
    WAIT(turn_both(n), n->client.closed && n->server.closed);
    expect_closed(&n->client, SLIM_E_TIMEOUT, "the peer did not take the rest in time");
    cr_assert_eq(n->server.calls[0].messages, 1);
}

/* Nothing is owed any more when the peer gives up the call. */
CONN_TEST(an_end_behind_a_call_that_the_peer_resets)
{
    n->server.pause_after = 1;
    talk(n, 1);
    for (size_t i = 0; i < 3000; i++)
        say(&n->client.calls[0], i, 1000);
    slim_conn_close(n->client.conn);
    WAIT(turn_both(n), n->server.calls[0].messages == 1);
    FOR_MS(turn_both(n), 50);
    cr_assert_eq(n->client.closed, 0);
    slim_stream_reset(n->server.calls[0].s, 8);
    WAIT(turn_both(n), n->client.closed && n->server.closed);
    expect_closed(&n->client, SLIM_OK, "");
}

CONN_TEST(abort)
{
    talk(n, 2);
    for (size_t i = 0; i < 3000; i++)
        say(&n->client.calls[0], i, 1000);
    slim_conn_abort(n->client.conn, SLIM_E_INTERNAL, "because");
    slim_conn_abort(n->client.conn, SLIM_E_TIMEOUT, "too late");
    slim_conn_close(n->client.conn);
    cr_assert_eq(n->client.closed, 0); /* not from inside the call */
    WAIT(turn_both(n), n->client.closed && n->server.closed);
    expect_closed(&n->client, SLIM_E_INTERNAL, "because");
    cr_assert_eq(n->client.calls[0].end, SLIM_END_RESET);
    cr_assert_eq(n->client.calls[1].end, SLIM_END_RESET);
}

CONN_TEST(abort_with_a_send_under_way)
{
    talk(n, 1);
    for (size_t i = 0; i < 100; i++)
        say(&n->server.calls[0], i, 10000);
    slim_io_flush(&n->s); /* the kernel has its iovecs */
    slim_conn_abort(n->server.conn, SLIM_E_INTERNAL, "because");
    WAIT(turn_both(n), n->client.closed && n->server.closed);
    expect_closed(&n->server, SLIM_E_INTERNAL, "because");
}

CONN_TEST(all_at_once)
{
    talk(n, 1);
    say(&n->server.calls[0], 0, 1000);
    slim_io_close_all(&n->s);
    WAIT(turn_both(n), n->client.closed && n->server.closed);
    cr_assert_eq(n->client.calls[0].messages, 1);
    expect_closed(&n->server, SLIM_OK, "");
    end_init(&n->server, true, n->server_tls);
    end_init(&n->client, false, n->client_tls);
    talk(n, 1);
    slim_io_abort_all(&n->s);
    WAIT(turn_both(n), n->client.closed && n->server.closed);
    expect_closed(&n->server, SLIM_OK, "the node stops");
}

CONN_TEST(close_before_it_stands)
{
    join_small(n, 0);
    cr_assert_eq(strncmp(slim_conn_peer(n->server.conn), "127.0.0.1:", 10), 0);
    slim_conn_close(n->client.conn);
    WAIT(turn_both(n), n->client.closed && n->server.closed);
    expect_closed(&n->client, SLIM_OK, "closed");
    cr_assert_eq(n->client.ready, 0);
}

/* ---- time limits ---- */

/* Connects and says nothing, or only a beginning. */
CONN_TEST(setup_has_a_limit)
{
    static const uint8_t half_tls[] = {22, 3, 1, 2, 0, 1, 0}, half_h2[] = "PRI * HTTP/2.0\r\n\r\nSM";

    for (int some = 0; some < 2; some++) {
        const char *why = tls ? "TLS handshake timed out" : "no HTTP/2 preface in time";
        int fd;

        end_init(&n->server, true, n->server_tls);
        n->server.cfg.setup_timeout_ns = 50 * MS_NS;
        fd = join_raw_client(n);
        if (some)
            write_all(fd, tls ? half_tls : half_h2, tls ? sizeof(half_tls) : sizeof(half_h2) - 1);
        WAIT(turn(&n->s), n->server.closed);
        expect_closed(&n->server, SLIM_E_TIMEOUT, why);
        close(fd);

        end_init(&n->client, false, n->client_tls);
        n->client.cfg.setup_timeout_ns = 50 * MS_NS;
        fd = join_raw_server(n);
        WAIT(turn(&n->c), n->client.closed);
        expect_closed(&n->client, SLIM_E_TIMEOUT, why);
        close(fd);
    }
}

CONN_TEST(a_connection_without_a_call_ends)
{
    join_small(n, 0);
    WAIT(turn_both(n), n->client.ready == 1 && slim_h2_alive(slim_conn_h2(n->server.conn)));
    n->server.cfg.setup_timeout_ns = 50 * MS_NS;
    slim_conn_set_idle(n->server.conn, true);
    WAIT(turn_both(n), n->client.closed && n->server.closed);
    expect_closed(&n->server, SLIM_E_TIMEOUT, "no call was opened in time");
    expect_closed(&n->client, SLIM_OK, "");
}

/* PINGs were answered; the next one has a short time, and the client hangs from now on. */
static void talk_pinged(net *n, uint64_t limit_ns)
{
    n->server.cfg.ping_interval_ns = limit_ns;
    n->server.cfg.ping_timeout_ns = 3600 * S_NS;
    talk(n, 1);
    WAIT(turn_both(n), !slim_h2_ping_pending(slim_conn_h2(n->server.conn)));
    n->server.cfg.ping_timeout_ns = limit_ns;
}

CONN_TEST(ping_without_an_answer)
{
    talk_pinged(n, 30 * MS_NS);
    WAIT(turn(&n->s), n->server.closed);
    expect_closed(&n->server, SLIM_E_TIMEOUT, "keep-alive PING not answered in time");
    WAIT(turn(&n->c), n->client.closed);
}

CONN_TEST(ping_with_answers)
{
    uint64_t before;

    n->server.cfg.ping_interval_ns = 2 * MS_NS;
    n->server.cfg.ping_timeout_ns = 3600 * S_NS;
    talk(n, 1);
    before = n->s.bytes_in;
    WAIT(turn_both(n), n->s.bytes_in - before > 20 * 17);
    cr_assert_eq(n->server.closed, 0);
    part(n);
}

/* A limit of one kind that passes is none of another: here the call came, and the PING has an hour. */
CONN_TEST(the_limits_are_not_mixed_up)
{
    n->server.cfg.ping_interval_ns = 50 * MS_NS;
    n->server.cfg.ping_timeout_ns = 3600 * S_NS;
    join_small(n, 0);
    WAIT(turn_both(n), n->client.ready == 1 && slim_h2_alive(slim_conn_h2(n->server.conn)));
    WAIT(turn(&n->s), slim_h2_ping_pending(slim_conn_h2(n->server.conn))); /* from now on the client is silent */
    n->server.cfg.setup_timeout_ns = 100 * MS_NS;
    slim_conn_set_idle(n->server.conn, true);
    slim_conn_set_idle(n->server.conn, false);
    FOR_MS(turn(&n->s), 300);
    cr_assert_eq(n->server.closed, 0, "%s", n->server.text);
    slim_conn_close(n->server.conn);
    WAIT(turn_both(n), n->client.closed && n->server.closed);
    expect_closed(&n->server, SLIM_OK, "");
}

CONN_TEST(the_first_silence_counts_however_often_calls_come_and_go)
{
    talk_pinged(n, 200 * MS_NS);
    WAIT(
        {
            turn(&n->s);
            if (n->server.conn != NULL) {
                slim_conn_set_idle(n->server.conn, true);
                slim_conn_set_idle(n->server.conn, false);
            }
        },
        n->server.closed);
    expect_closed(&n->server, SLIM_E_TIMEOUT, "keep-alive PING not answered in time");
    WAIT(turn(&n->c), n->client.closed);
}

CONN_TEST(age)
{
    n->server.close_when_aged = true;
    n->server.echo = true;
    talk(n, 1);
    say(&n->client.calls[0], 0, 100000);
    WAIT(turn_both(n), n->server.calls[0].messages == 1);
    n->server.cfg.max_age_ns = 1;
    slim_conn_set_idle(n->server.conn, true);
    WAIT(turn_both(n), n->client.closed && n->server.closed);
    cr_assert_eq(n->server.aged, 1);
    cr_assert_eq(n->client.calls[0].messages, 1);
    expect_closed(&n->server, SLIM_OK, "");
    expect_closed(&n->client, SLIM_OK, "");
}

/* TLS 1.2 cannot renew a key: a connection that has encrypted all that one may ends as an old one does. */
CONN_TEST(a_worn_key)
{
    enum { N = 40 };

    if (!tls)
        return;
    slim_tls_ctx_free(n->server_tls);
    slim_tls_ctx_free(n->client_tls);
    tls_make(n, 12, MIB);
    for (int closing = 0; closing < 2; closing++) {
        end_init(&n->server, true, n->server_tls);
        end_init(&n->client, false, n->client_tls);
        if (closing)
            n->server.close_when_aged = true;
        else
            n->server.cfg.aged = NULL;
        talk(n, 1);
        for (size_t i = 0; i < 10; i++)
            say(&n->server.calls[0], i, 50000);
        WAIT(turn_both(n), n->client.calls[0].messages == 10);
        FOR_MS(turn_both(n), 20);
        cr_assert_eq(n->server.aged + n->server.closed, 0);
        for (size_t i = 10; i < N; i++)
            say(&n->server.calls[0], i, 50000);
        WAIT(turn_both(n), n->client.closed && n->server.closed);
        cr_assert_eq(n->server.aged, closing);
        cr_assert_eq(n->client.calls[0].messages, N);
        expect_closed(&n->server, SLIM_OK, "");
        expect_closed(&n->client, SLIM_OK, "");
    }
}

/* ---- peers that do something else ---- */

static const uint8_t preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0";

CONN_TEST(a_peer_that_goes)
{
    static const struct linger now = {1, 0};

    for (int reset = 0; reset < 2; reset++) {
        int fd;

        end_init(&n->server, true, n->server_tls);
        fd = join_raw_client(n);
        if (tls)
            write_all(fd, (uint8_t[]){22, 3, 1, 2, 0, 1, 0}, 7);
        else
            write_all(fd, preface, sizeof(preface));
        FOR_MS(turn(&n->s), 20);
        cr_assert_eq(n->server.closed, 0);
        if (reset)
            setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
        else
            shutdown(fd, SHUT_WR);
        if (reset)
            close(fd);
        WAIT(turn(&n->s), n->server.closed);
        if (reset) {
            expect_closed(&n->server, SLIM_E_SYS, "Connection reset by peer");
        } else {
            expect_closed(&n->server, SLIM_OK, "closed by peer");
            close(fd);
        }
    }
}

CONN_TEST(a_peer_that_goes_in_the_middle_of_messages)
{
    talk(n, 1);
    for (size_t i = 0; i < 100; i++)
        say(&n->server.calls[0], i, 100000);
    turn(&n->s);
    slim_conn_abort(n->client.conn, SLIM_OK, "gone");
    WAIT(turn_both(n), n->client.closed && n->server.closed);
    cr_assert_eq(n->server.calls[0].end, SLIM_END_RESET);
}

/* Reads to the end of the stream; returns the bytes. */
static size_t read_all(net *n, int fd, uint8_t *to, size_t max)
{
    size_t got = 0;
    ssize_t k = -1;

    while (k != 0) {
        turn(&n->s);
        k = recv(fd, to + got, max - got, MSG_DONTWAIT);
        cr_assert(k >= 0 || errno == EAGAIN, "%s", strerror(errno));
        got += k > 0 ? (size_t)k : 0;
    }
    return got;
}

CONN_TEST(a_peer_that_speaks_something_else_is_told)
{
    static const char get[] = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    uint8_t answer[4096];
    size_t got;
    int fd = join_raw_client(n);

    write_all(fd, get, sizeof(get) - 1);
    got = read_all(n, fd, answer, sizeof(answer));
    if (!tls) {
        cr_assert_geq(got, 9);
        cr_assert_eq(answer[3], 4); /* SETTINGS */
    }
    close(fd);
    WAIT(turn(&n->s), n->server.closed);
    expect_closed(&n->server, SLIM_E_PROTOCOL, tls ? "the peer does not speak TLS" : "no HTTP/2 client preface");
}

PLAIN_TEST(a_frame_that_is_too_long_gets_a_goaway)
{
    static const uint8_t frame[] = {1, 0, 0, 0, 0, 0, 0, 0, 1};
    uint8_t answer[4096];
    size_t got, at = 0;
    int fd;
    bool goaway = false;

    fd = join_raw_client(n);
    write_all(fd, preface, sizeof(preface));
    write_all(fd, frame, sizeof(frame));
    got = read_all(n, fd, answer, sizeof(answer));
    while (at + 9 <= got) {
        goaway |= answer[at + 3] == 7;
        at += 9 + (size_t)(answer[at] << 16 | answer[at + 1] << 8 | answer[at + 2]);
    }
    cr_assert(goaway);
    close(fd);
    WAIT(turn(&n->s), n->server.closed);
}

CONN_TEST(nobody_listens)
{
    struct sockaddr_storage at;
    socklen_t len;
    int l = listener(&at, &len);

    slim_listen_close(l);
    dial_out(n, &at, len);
    WAIT(turn(&n->c), n->client.closed);
    expect_closed(&n->client, SLIM_E_SYS, "Connection refused");
    cr_assert_eq(n->client.ready, 0);
}

PLAIN_TEST(unix_sockets)
{
    int fds[2];

    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    n->client.conn = slim_conn_accept(&n->c, &n->client.cfg, fds[0], &n->client);
    serve(n, fds[1]);
    cr_assert_str_eq(slim_conn_peer(n->server.conn), "unix");
    cr_assert_eq(n->client.ready, 1);
    n->server.echo = true;
    call_open(&n->client);
    WAIT(turn_both(n), n->client.calls[0].opened);
    for (size_t i = 0; i < 2000; i++)
        say(&n->client.calls[0], i, 500);
    WAIT(turn_both(n), n->client.calls[0].messages == 2000);
    part(n);
}
