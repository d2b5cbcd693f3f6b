#include "io/conn.h"

#include "ring_harness.h"
#include "support/certs.h"

#define S_NS 1000000000ull
#define MS_NS 1000000ull
#define CALL_PATH "/test.Service/Talk"
#define PATTERN_BYTES ((4u << 20) + 256)
#define MIB (1u << 20)

/* One end of one call. */
typedef struct call {
    slim_stream *s;
    size_t messages, bytes;
    size_t pause_after; /* so many messages; 0: never */
    bool echo, opened, ended, gone;
    slim_stream_end end;
} call;

/* One end of a connection, with what it was told. */
typedef struct end {
    slim_conn *conn;
    slim_conn_config cfg;
    call calls[4];
    int n_calls, ready, aged, closed;
    bool close_when_aged, echo;
    size_t pause_after;
    slim_err why;
    char text[200];
} end;

/* A server on one slim_io and a client on another, in one thread: to leave one of them alone is to let it hang. */
typedef struct net {
    slim_io s, c;
    slim_budget budget;
    test_mem mem;
    slim_tls_ctx *server_tls, *client_tls;
    end server, client;
} net;

static uint8_t pattern[PATTERN_BYTES];

/* ---- events ---- */

static end *end_of(slim_h2 *h)
{
    return slim_conn_user(slim_h2_user(h));
}

static void on_open(slim_h2 *h, slim_stream *s)
{
    end *e = end_of(h);

    if (e->cfg.h2.server) {
        cr_assert_lt(e->n_calls, 4);
        e->calls[e->n_calls] = (call){.s = s, .echo = e->echo, .pause_after = e->pause_after};
        slim_stream_set_user(s, &e->calls[e->n_calls++]);
        slim_conn_set_idle(e->conn, false);
    }
    ((call *)slim_stream_user(s))->opened = true;
}

/* The n-th message of a call begins at the n-th byte of the pattern. */
static void say(call *k, size_t seq, size_t n)
{
    slim_bytes body = slim_bytes_of(pattern + seq % 251, n);
    uint8_t *room;

    if (n <= 65536) {
        room = slim_stream_begin(k->s, n, n);
        cr_assert_not_null(room);
        memcpy(room, body.p, n);
        return;
    }
    room = slim_stream_begin(k->s, n, 0);
    cr_assert_not_null(room);
    cr_assert_eq(slim_stream_append(k->s, body, NULL), SLIM_OK);
}

static void on_message(slim_stream *s, slim_bytes msg, slim_buf *hold)
{
    call *k = slim_stream_user(s);

    cr_assert_not(k->ended);
    cr_assert_eq(memcmp(msg.p, pattern + k->messages % 251, msg.n), 0, "message %zu is not what was sent", k->messages);
    if (k->echo)
        say(k, k->messages, msg.n);
    k->messages++;
    k->bytes += msg.n;
    if (k->messages == k->pause_after)
        slim_stream_pause(s);
}

static void on_end(slim_stream *s, slim_stream_end why)
{
    call *k = slim_stream_user(s);

    cr_assert_not(k->ended);
    k->ended = true;
    k->end = why;
}

static void on_gone(slim_stream *s)
{
    call *k = slim_stream_user(s);

    cr_assert(k->ended && !k->gone);
    k->gone = true;
    k->s = NULL;
}

static void on_ready(slim_conn *c)
{
    ((end *)slim_conn_user(c))->ready++;
}

static void on_aged(slim_conn *c)
{
    end *e = slim_conn_user(c);

    e->aged++;
    if (e->close_when_aged)
        slim_conn_close(c);
}

static void on_closed(slim_conn *c, slim_err why, const char *text)
{
    end *e = slim_conn_user(c);

    cr_assert_null(slim_conn_h2(c));
    for (int i = 0; i < e->n_calls; i++)
        cr_assert(e->calls[i].gone || !e->calls[i].opened);
    e->closed++;
    e->why = why;
    snprintf(e->text, sizeof(e->text), "%s", text);
    e->conn = NULL;
}

/* ---- the two of them ---- */

static void end_init(end *e, bool server, slim_tls_ctx *tls)
{
    memset(e, 0, sizeof(*e));
    e->cfg = (slim_conn_config){
        .h2 = {.server = server,
               .path = CALL_PATH,
               .stream_window_bytes = MIB,
               .connection_window_bytes = 16 * MIB,
               .max_frame_bytes = 16384,
               .announce_frame = true,
               .max_header_list_bytes = 16384,
               .max_message_bytes = 4 * MIB,
               .max_streams = 4},
        .events = {.open = on_open, .message = on_message, .end = on_end, .gone = on_gone},
        .tls = tls,
        .setup_timeout_ns = 3600 * S_NS,
        .ready = server ? NULL : on_ready,
        .aged = on_aged,
        .closed = on_closed,
    };
    slim_conn_config_ready(&e->cfg);
}

static void tls_make(net *n)
{
    test_cert x = test_cert_make(&(test_cert_spec){.subject = "node", .names = "DNS:localhost"});
    char *pem = test_cert_pem(&x), *key = test_key_pem(&x, true, NULL), why[300] = "";
    slim_tls_config s = {.cert.text = pem, .key.text = key, .version = 13, .where = "server"},
                    c = {.ca.text = pem, .version = 13, .where = "client"};

    cr_assert_eq(slim_tls_server_new(&s, &n->server_tls, why, sizeof(why)), SLIM_OK, "%s", why);
    cr_assert_eq(slim_tls_client_new(&c, &n->client_tls, why, sizeof(why)), SLIM_OK, "%s", why);
    test_cert_free(&x);
    free(pem);
    free(key);
}

static void net_open(net *n, slim_ring_backend backend, bool tls)
{
    slim_ring_config cfg = {backend, 32, 0};
    const char *why = "";
    slim_err e;

    memset(n, 0, sizeof(*n));
    for (size_t i = 0; i < sizeof(pattern); i++)
        pattern[i] = (uint8_t)(i * 31 + i / 256 * 7 + i / 65536);
    n->budget.limit_bytes = 1 << 30;
    test_mem_init(&n->mem, -1);
    e = slim_io_init(&n->s, &cfg, &n->mem.mem, &n->budget, &why);
    if (e == SLIM_E_SYS && backend != SLIM_RING_EPOLL && (strstr(why, "forbidden") != NULL || strstr(why, "not built in") != NULL))
        cr_skip_test("io_uring cannot be used here: %s", why);
    cr_assert_eq(e, SLIM_OK, "%s", why);
    cr_assert_eq(slim_io_init(&n->c, &cfg, &n->mem.mem, &n->budget, &why), SLIM_OK, "%s", why);
    if (tls)
        tls_make(n);
    end_init(&n->server, true, n->server_tls);
    end_init(&n->client, false, n->client_tls);
}

static void io_close(slim_io *io)
{
    cr_assert_null(io->conns);
    cr_assert_null(io->dirty);
    cr_assert_eq(io->n_conns, 0);
    cr_assert_eq(slim_ring_slabs_free(io->ring), slim_ring_slabs_total(io->ring));
    slim_io_free(io);
}

/* All connections are gone, and everything with them. */
static void net_close(net *n)
{
    io_close(&n->s);
    io_close(&n->c);
    cr_assert_eq(n->mem.live, 0, "%ld blocks of memory are left", n->mem.live);
    cr_assert_eq(n->budget.used_bytes + n->s.purse.unsettled_bytes + n->c.purse.unsettled_bytes, 0);
    slim_tls_ctx_free(n->server_tls);
    slim_tls_ctx_free(n->client_tls);
}

static void turn(slim_io *io)
{
    size_t n = slim_io_wait(io, slim_clock_ns() + MS_NS, NULL, NULL);

    slim_io_dispatch(io, n);
    slim_io_flush(io);
}

static void turn_both(net *n)
{
    turn(&n->s);
    turn(&n->c);
}

/* Turns (one io or both) until cond holds; far too long is a failure. */
#define WAIT(turning, cond)                                                                                                        \
    do {                                                                                                                           \
        uint64_t until_ = slim_clock_ns() + 6 * PATIENCE_NS;                                                                       \
        while (!(cond)) {                                                                                                          \
            cr_assert(slim_clock_ns() < until_, "never came: %s", #cond);                                                          \
            turning;                                                                                                               \
        }                                                                                                                          \
    } while (0)

/* What comes by itself in so many milliseconds. */
#define FOR_MS(turning, ms)                                                                                                        \
    for (uint64_t end_ = slim_clock_ns() + (ms)*MS_NS; slim_clock_ns() < end_;)                                                    \
    turning

static int accept_one(int l)
{
    int fd;

    cr_assert_eq(poll(&(struct pollfd){l, POLLIN, 0}, 1, 10000), 1);
    fd = accept4(l, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    cr_assert_geq(fd, 0);
    slim_listen_close(l);
    return fd;
}

static void dial_out(net *n, const struct sockaddr_storage *at, socklen_t len)
{
    const char *why = "";

    n->client.conn = slim_conn_connect(&n->c, &n->client.cfg, (const struct sockaddr *)at, len, "localhost", &n->client, &why);
    cr_assert_not_null(n->client.conn, "%s", why);
}

static void serve(net *n, int fd)
{
    n->server.conn = slim_conn_accept(&n->s, &n->server.cfg, fd, &n->server);
    cr_assert_not_null(n->server.conn);
}

/* Two ends; receive_bytes limits the server's kernel buffer. */
static void join_small(net *n, int receive_bytes)
{
    struct sockaddr_storage at;
    socklen_t len;
    int l = listener(&at, &len);

    if (receive_bytes != 0)
        setsockopt(l, SOL_SOCKET, SO_RCVBUF, &receive_bytes, sizeof(receive_bytes));
    dial_out(n, &at, len);
    serve(n, accept_one(l));
}

/* A raw descriptor on the client's side. */
static int join_raw_client(net *n)
{
    struct sockaddr_storage at;
    socklen_t len;
    int l = listener(&at, &len), fd = dial(&at, len);

    serve(n, accept_one(l));
    return fd;
}

/* A raw descriptor on the server's side, which the test's own code reads and writes. */
static int join_raw_server(net *n)
{
    struct sockaddr_storage at;
    socklen_t len;
    int l = listener(&at, &len), fd;

    dial_out(n, &at, len);
    fd = accept_one(l);
    fcntl(fd, F_SETFL, 0);
    return fd;
}

static call *call_open(end *e)
{
    call *k = &e->calls[e->n_calls++];

    *k = (call){.echo = e->echo, .pause_after = e->pause_after};
    cr_assert_eq(slim_h2_call(slim_conn_h2(e->conn), "http", "localhost", "test", NULL, 0, k, &k->s), SLIM_OK);
    slim_conn_set_idle(e->conn, false);
    return k;
}

static void talk_on(net *n, int receive_bytes, int calls)
{
    join_small(n, receive_bytes);
    WAIT(turn_both(n), n->client.ready == 1);
    for (int i = 0; i < calls; i++)
        call_open(&n->client);
    for (int i = 0; i < calls; i++)
        WAIT(turn_both(n), n->client.calls[i].opened && n->server.n_calls == calls);
}

static void talk(net *n, int calls)
{
    talk_on(n, 0, calls);
}

static void expect_closed(const end *e, slim_err why, const char *text)
{
    cr_assert_eq(e->closed, 1);
    cr_assert_eq(e->why, why, "%s (%s)", slim_err_text(e->why), e->text);
    cr_assert_not_null(strstr(e->text, text), "\"%s\" is not in \"%s\"", text, e->text);
}

static void part(net *n)
{
    slim_conn_close(n->client.conn);
    WAIT(turn_both(n), n->client.closed && n->server.closed);
    expect_closed(&n->client, SLIM_OK, "");
    expect_closed(&n->server, SLIM_OK, "");
}

/* Each test on each back end, plain and with TLS. */
#define CONN_TEST(name)                                                                                                            \
    static void name##_body(net *n, slim_ring_backend backend, bool tls);                                                          \
    CONN_CASE(conn_uring, name, SLIM_RING_URING, false)                                                                            \
    CONN_CASE(conn_uring61, name, SLIM_RING_URING61, false)                                                                        \
    CONN_CASE(conn_epoll, name, SLIM_RING_EPOLL, false)                                                                            \
    CONN_CASE(conn_uring_tls, name, SLIM_RING_URING, true)                                                                         \
    CONN_CASE(conn_uring61_tls, name, SLIM_RING_URING61, true)                                                                     \
    CONN_CASE(conn_epoll_tls, name, SLIM_RING_EPOLL, true)                                                                         \
    static void name##_body(net *n, slim_ring_backend backend, bool tls)
#define PLAIN_TEST(name)                                                                                                           \
    static void name##_body(net *n, slim_ring_backend backend, bool tls);                                                          \
    CONN_CASE(conn_uring, name, SLIM_RING_URING, false)                                                                            \
    CONN_CASE(conn_uring61, name, SLIM_RING_URING61, false)                                                                        \
    CONN_CASE(conn_epoll, name, SLIM_RING_EPOLL, false)                                                                            \
    static void name##_body(net *n, slim_ring_backend backend, bool tls)
#define CONN_CASE(suite, name, backend, tls)                                                                                       \
    Test(suite, name)                                                                                                              \
    {                                                                                                                              \
        static net n;                                                                                                              \
        net_open(&n, backend, tls);                                                                                                \
        name##_body(&n, backend, tls);                                                                                             \
        net_close(&n);                                                                                                             \
    }

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
