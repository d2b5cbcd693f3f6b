/* Two ends of connections on two slim_io in one thread, plain or with TLS, for the tests of conn.h: to leave one of them alone is
 * to let it hang. */
#ifndef SLIM_TESTS_CONN_HARNESS_H
#define SLIM_TESTS_CONN_HARNESS_H

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

static inline end *end_of(slim_h2 *h)
{
    return slim_conn_user(slim_h2_user(h));
}

static inline void on_open(slim_h2 *h, slim_stream *s)
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
static inline void say(call *k, size_t seq, size_t n)
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

static inline void on_message(slim_stream *s, slim_bytes msg, slim_buf *hold)
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

static inline void on_end(slim_stream *s, slim_stream_end why)
{
    call *k = slim_stream_user(s);

    cr_assert_not(k->ended);
    k->ended = true;
    k->end = why;
}

static inline void on_gone(slim_stream *s)
{
    call *k = slim_stream_user(s);

    cr_assert(k->ended && !k->gone);
    k->gone = true;
    k->s = NULL;
}

static inline void on_ready(slim_conn *c)
{
    ((end *)slim_conn_user(c))->ready++;
}

static inline void on_aged(slim_conn *c)
{
    end *e = slim_conn_user(c);

    e->aged++;
    if (e->close_when_aged)
        slim_conn_close(c);
}

static inline void on_closed(slim_conn *c, slim_err why, const char *text)
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

static inline void end_init(end *e, bool server, slim_tls_ctx *tls)
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

static inline void tls_make(net *n, int version, int64_t key_bytes)
{
    test_cert x = test_cert_make(&(test_cert_spec){.subject = "node", .names = "DNS:localhost"});
    char *pem = test_cert_pem(&x), *key = test_key_pem(&x, true, NULL), why[300] = "";
    slim_tls_config s = {.cert.text = pem, .key.text = key, .version = version, .where = "server", .key_bytes = key_bytes},
                    c = {.ca.text = pem, .version = version, .where = "client"};

    cr_assert_eq(slim_tls_server_new(&s, &n->server_tls, why, sizeof(why)), SLIM_OK, "%s", why);
    cr_assert_eq(slim_tls_client_new(&c, &n->client_tls, why, sizeof(why)), SLIM_OK, "%s", why);
    test_cert_free(&x);
    free(pem);
    free(key);
}

static inline void net_open(net *n, slim_ring_backend backend, bool tls)
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
        tls_make(n, 13, 0);
    end_init(&n->server, true, n->server_tls);
    end_init(&n->client, false, n->client_tls);
}

/* What messages hold. */
static inline int64_t net_used(const net *n)
{
    return n->budget.used_bytes + n->s.purse.unsettled_bytes + n->c.purse.unsettled_bytes;
}

static inline void io_close(slim_io *io)
{
    cr_assert_null(io->conns);
    cr_assert_null(io->dirty);
    cr_assert_eq(io->n_conns, 0);
    cr_assert_eq(slim_ring_slabs_free(io->ring), slim_ring_slabs_total(io->ring));
    slim_io_free(io);
}

/* All connections are gone, and everything with them. */
static inline void net_close(net *n)
{
    io_close(&n->s);
    io_close(&n->c);
    cr_assert_eq(n->mem.live, 0, "%ld blocks of memory are left", n->mem.live);
    cr_assert_eq(net_used(n), 0);
    slim_tls_ctx_free(n->server_tls);
    slim_tls_ctx_free(n->client_tls);
}

static inline void turn(slim_io *io)
{
    size_t n = slim_io_wait(io, slim_clock_ns() + MS_NS, NULL, NULL);

    slim_io_dispatch(io, n);
    slim_io_flush(io);
}

static inline void turn_both(net *n)
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

static inline int accept_one(int l)
{
    int fd;

    cr_assert_eq(poll(&(struct pollfd){l, POLLIN, 0}, 1, 10000), 1);
    fd = accept4(l, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    cr_assert_geq(fd, 0);
    slim_listen_close(l);
    return fd;
}

static inline void dial_out(net *n, const struct sockaddr_storage *at, socklen_t len)
{
    const char *why = "";

    n->client.conn = slim_conn_connect(&n->c, &n->client.cfg, (const struct sockaddr *)at, len, "localhost", &n->client, &why);
    cr_assert_not_null(n->client.conn, "%s", why);
}

static inline void serve(net *n, int fd)
{
    n->server.conn = slim_conn_accept(&n->s, &n->server.cfg, fd, &n->server);
    cr_assert_not_null(n->server.conn);
}

/* Two ends; receive_bytes limits the server's kernel buffer. */
static inline void join_small(net *n, int receive_bytes)
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
static inline int join_raw_client(net *n)
{
    struct sockaddr_storage at;
    socklen_t len;
    int l = listener(&at, &len), fd = dial(&at, len);

    serve(n, accept_one(l));
    return fd;
}

/* A raw descriptor on the server's side, which the test's own code reads and writes. */
static inline int join_raw_server(net *n)
{
    struct sockaddr_storage at;
    socklen_t len;
    int l = listener(&at, &len), fd;

    dial_out(n, &at, len);
    fd = accept_one(l);
    fcntl(fd, F_SETFL, 0);
    return fd;
}

static inline call *call_open(end *e)
{
    call *k = &e->calls[e->n_calls++];

    *k = (call){.echo = e->echo, .pause_after = e->pause_after};
    cr_assert_eq(slim_h2_call(slim_conn_h2(e->conn), "http", "localhost", "test", NULL, 0, k, &k->s), SLIM_OK);
    slim_conn_set_idle(e->conn, false);
    return k;
}

static inline void talk_on(net *n, int receive_bytes, int calls)
{
    join_small(n, receive_bytes);
    WAIT(turn_both(n), n->client.ready == 1);
    for (int i = 0; i < calls; i++)
        call_open(&n->client);
    for (int i = 0; i < calls; i++)
        WAIT(turn_both(n), n->client.calls[i].opened && n->server.n_calls == calls);
}

static inline void talk(net *n, int calls)
{
    talk_on(n, 0, calls);
}

static inline void expect_closed(const end *e, slim_err why, const char *text)
{
    cr_assert_eq(e->closed, 1);
    cr_assert_eq(e->why, why, "%s (%s)", slim_err_text(e->why), e->text);
    cr_assert_not_null(strstr(e->text, text), "\"%s\" is not in \"%s\"", text, e->text);
}

static inline void part(net *n)
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

#endif
