/* Drives one ring for the tests of ring.h: what each socket was told is recorded, slabs may be kept back. */
#ifndef SLIM_TESTS_RING_HARNESS_H
#define SLIM_TESTS_RING_HARNESS_H

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "io/listen.h"
#include "io/ring.h"
#include "support/support.h"

#define BATCH 64
#define PATIENCE_NS 10000000000ull

typedef struct conn {
    slim_sock *s;
    uint8_t *rx;
    size_t rx_n, rx_cap;
    int end;       /* 1: none yet */
    int connected; /* 1: none yet */
    int sent_last; /* of the last SENT */
    int sents, closes, recvs;
    int released_fd; /* -1: none */
    int after_close; /* RECV or CONNECT events in a later batch than the close */
    bool closing;
    bool echo;
    uint8_t *tx;
    size_t tx_n, tx_at;
    struct iovec iov[4];
    bool sending;
} conn;

typedef struct world {
    slim_ring *r;
    size_t batch;
    int wakes, fds, sleeps;
    int accepted[1024];
    int n_accepted, accept_errors, accept_error;
    bool keep; /* slabs go to kept instead of back */
    slim_buf *kept[4096];
    int n_kept;
    bool (*on_sleep)(void *);
} world;

static inline void world_open(world *w, slim_ring_backend b, uint32_t slabs, uint32_t slab_bytes)
{
    slim_ring_config cfg = {b, slabs, slab_bytes};
    const char *why;
    slim_err e;

    signal(SIGPIPE, SIG_DFL);
    memset(w, 0, sizeof(*w));
    w->batch = BATCH;
    e = slim_ring_new(&cfg, &w->r, &why);
    if (e == SLIM_E_SYS && b != SLIM_RING_EPOLL && (strstr(why, "forbidden") != NULL || strstr(why, "not built in") != NULL))
        cr_skip_test("io_uring cannot be used here: %s", why);
    cr_assert_eq(e, SLIM_OK, "%s", why);
}

static inline void world_close(world *w)
{
    cr_expect_eq(slim_ring_slabs_free(w->r), slim_ring_slabs_total(w->r));
    slim_ring_free(w->r);
}

static inline void conn_init(conn *c)
{
    memset(c, 0, sizeof(*c));
    c->end = c->connected = 1;
    c->released_fd = -1;
}

static inline void conn_pump(conn *c)
{
    if (c->sending || c->closing || c->tx_at == c->tx_n)
        return;
    c->iov[0] = (struct iovec){c->tx + c->tx_at, c->tx_n - c->tx_at};
    c->sending = true;
    slim_sock_send(c->s, c->iov, 1);
}

static inline void conn_queue(conn *c, const void *p, size_t n)
{
    /* The kernel may still read from tx while a send is under way: it must not move. */
    if (c->tx == NULL)
        c->tx = malloc(64u << 20);
    memcpy(c->tx + c->tx_n, p, n);
    c->tx_n += n;
    conn_pump(c);
}

static inline void conn_close(conn *c)
{
    c->closing = true;
    slim_sock_close(c->s);
}

static inline void conn_free(conn *c)
{
    free(c->rx);
    free(c->tx);
}

static inline void on_event(world *w, const slim_ring_event *ev, bool fresh)
{
    conn *c = ev->sock != NULL ? ev->user : NULL;

    switch (ev->kind) {
    case SLIM_EV_ACCEPT:
        if (ev->res < 0) {
            w->accept_errors++;
            w->accept_error = ev->res;
        } else {
            w->accepted[w->n_accepted++] = ev->fd;
        }
        break;
    case SLIM_EV_CONNECT: c->connected = ev->res; break;
    case SLIM_EV_RECV:
        c->recvs++;
        c->after_close += fresh && c->closing;
        cr_assert_eq(c->end, 1, "RECV after the end");
        if (ev->res <= 0) {
            c->end = ev->res;
            break;
        }
        cr_assert(ev->p >= ev->slab->mem && ev->p + ev->res <= ev->slab->mem + ev->slab->cap_bytes);
        if (c->rx_n + (size_t)ev->res > c->rx_cap) {
            c->rx_cap = (c->rx_n + (size_t)ev->res) * 2;
            c->rx = realloc(c->rx, c->rx_cap);
        }
        memcpy(c->rx + c->rx_n, ev->p, (size_t)ev->res);
        c->rx_n += (size_t)ev->res;
        if (c->echo)
            conn_queue(c, ev->p, (size_t)ev->res);
        if (w->keep)
            w->kept[w->n_kept++] = ev->slab;
        else
            slim_buf_unref(ev->slab);
        break;
    case SLIM_EV_SENT:
        c->sents++;
        c->sent_last = ev->res;
        cr_assert_eq(c->closes, 0, "SENT after CLOSED");
        c->sending = false;
        if (ev->res > 0 && c->tx != NULL) {
            c->tx_at += (size_t)ev->res;
            conn_pump(c);
        }
        break;
    case SLIM_EV_CLOSED: c->closes++; break;
    case SLIM_EV_RELEASED:
        c->closes++;
        c->released_fd = ev->fd;
        break;
    case SLIM_EV_WAKE: w->wakes++; break;
    case SLIM_EV_FD: w->fds++; break;
    }
}

static inline size_t step(world *w, uint64_t deadline_ns)
{
    slim_ring_event ev[BATCH];
    size_t n = slim_ring_wait(w->r, deadline_ns, NULL, NULL, ev, w->batch);

    for (size_t i = 0; i < n; i++)
        on_event(w, &ev[i], true);
    return n;
}

/* Steps until cond holds; far too long is a failure. */
#define UNTIL(w, cond)                                                                                                             \
    do {                                                                                                                           \
        uint64_t until_ = slim_clock_ns() + PATIENCE_NS;                                                                           \
        while (!(cond)) {                                                                                                          \
            cr_assert(slim_clock_ns() < until_, "never came: %s", #cond);                                                          \
            step((w), slim_clock_ns() + 50000000);                                                                                 \
        }                                                                                                                          \
    } while (0)

/* What comes by itself within ms. */
static inline void idle(world *w, int ms)
{
    uint64_t end = slim_clock_ns() + (uint64_t)ms * 1000000;

    while (slim_clock_ns() < end)
        step(w, end);
}

static inline int listener(struct sockaddr_storage *at, socklen_t *len)
{
    char bound[128], why[256];
    int fd;

    cr_assert_eq(slim_listen_open(&(slim_listen_config){"127.0.0.1:0", 0, 0}, &fd, bound, sizeof(bound), why, sizeof(why)), SLIM_OK,
                 "%s", why);
    *len = sizeof(*at);
    cr_assert_eq(getsockname(fd, (struct sockaddr *)at, len), 0);
    return fd;
}

static inline int dial(const struct sockaddr_storage *at, socklen_t len)
{
    int fd = socket(at->ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

    cr_assert_eq(connect(fd, (const struct sockaddr *)at, len), 0, "%s", strerror(errno));
    return fd;
}

/* A TCP connection: one end with the ring (in c, receiving when recv), the other an ordinary blocking descriptor. */
static inline int join(world *w, conn *c, bool recv)
{
    struct sockaddr_storage at;
    socklen_t len;
    int l = listener(&at, &len), fd = dial(&at, len), mine;

    cr_assert_eq(poll(&(struct pollfd){l, POLLIN, 0}, 1, 5000), 1);
    mine = accept4(l, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    cr_assert_geq(mine, 0);
    slim_listen_close(l);
    conn_init(c);
    c->s = slim_ring_adopt(w->r, mine, c);
    cr_assert_not_null(c->s);
    if (recv)
        slim_sock_recv_start(c->s);
    return fd;
}

static inline void leave(world *w, conn *c)
{
    conn_close(c);
    UNTIL(w, c->closes == 1);
    cr_expect_eq(c->after_close, 0);
    conn_free(c);
}

static inline void write_all(int fd, const void *p, size_t n)
{
    for (size_t at = 0; at < n;) {
        ssize_t k = send(fd, (const char *)p + at, n - at, MSG_NOSIGNAL);

        cr_assert(k > 0, "%s", strerror(errno));
        at += (size_t)k;
    }
}

static inline uint8_t *noise(uint64_t seed, size_t n)
{
    uint8_t *p = malloc(n + 8);

    for (size_t i = 0; i < n; i += 8) {
        uint64_t v = test_rand(&seed);

        memcpy(p + i, &v, 8);
    }
    return p;
}

static const slim_ring_backend backends[] = {SLIM_RING_URING, SLIM_RING_URING61, SLIM_RING_EPOLL};

/* One test body run over each back end. */
#define BACKEND_TEST(name)                                                                                                         \
    static void name##_body(slim_ring_backend backend);                                                                            \
    Test(ring_uring, name)                                                                                                         \
    {                                                                                                                              \
        name##_body(backends[0]);                                                                                                  \
    }                                                                                                                              \
    Test(ring_uring61, name)                                                                                                       \
    {                                                                                                                              \
        name##_body(backends[1]);                                                                                                  \
    }                                                                                                                              \
    Test(ring_epoll, name)                                                                                                         \
    {                                                                                                                              \
        name##_body(backends[2]);                                                                                                  \
    }                                                                                                                              \
    static void name##_body(slim_ring_backend backend)

#endif
