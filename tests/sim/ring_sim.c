/* The third back end of ring.h, in place of epoll's and io_uring's. */
#include <errno.h>
#include <string.h>

#include "sim.h"

#define SOCKS_MAX 512

typedef struct sim_ring {
    slim_ring base;
    slim_sock *sock[SOCKS_MAX];
    unsigned n;
} sim_ring;

static bool wants_bytes(const slim_sock *s)
{
    return s->flags & SOCK_WANT_RECV && !(s->flags & (SOCK_EOF | SOCK_STARVED | SOCK_CLOSING));
}

static bool sock_ready(const slim_sock *s)
{
    const sim_end *e = sim_end_of(s->fd);
    int end;

    if (s->flags & SOCK_RECV_ARMED)
        return true; /* a release that is under way */
    if (s->flags & SOCK_SENDING && sim_end_writable(e))
        return true;
    return wants_bytes(s) && (sim_end_readable(e, &end) > 0 || end <= 0);
}

bool sim_ring_ready(slim_ring *r)
{
    sim_ring *q = (sim_ring *)r;
    slim_acceptor *a;

    if (atomic_load_explicit(&r->woken, memory_order_relaxed) != 0 || !TAILQ_EMPTY(&r->out))
        return true;
    LIST_FOREACH(a, &r->acceptors, link)
    if (a->resume_ns == 0 && sim_calls_wait())
        return true;
    for (unsigned i = 0; i < q->n; i++)
        if (sock_ready(q->sock[i]))
            return true;
    return false;
}

/* ---- submitting ---- */

static void close_start(slim_sock *s)
{
    if (s->flags & SOCK_RELEASE && !(s->flags & SOCK_CANCELLED)) {
        /* What the kernel has received already still comes. */
        s->flags |= SOCK_CANCELLED | SOCK_RECV_ARMED;
        s->inflight++;
    }
    if (s->inflight == 0)
        ring_finish(s);
}

static void sim_submit(slim_ring *r)
{
    uint32_t n = ring_pool_spare(&r->pool);
    slim_acceptor *a;
    slim_sock *s;

    if (ring_starved_any(r) && n >= ring_pool_resume_at(&r->pool))
        while (ring_starved_next(r, &n) != NULL)
            ;
    while ((s = TAILQ_FIRST(&r->dirty)) != NULL) {
        s->flags &= ~(uint32_t)SOCK_DIRTY;
        TAILQ_REMOVE(&r->dirty, s, dirty_link);
        if (s->flags & SOCK_CLOSING) {
            close_start(s);
            continue;
        }
        if (s->flags & SOCK_SEND) {
            s->flags = (s->flags & ~(uint32_t)SOCK_SEND) | SOCK_SENDING;
            s->inflight++;
        }
        ring_shutdown_due(s);
    }
    LIST_FOREACH(a, &r->acceptors, link)
    if (!a->armed && a->resume_ns == 0) {
        a->armed = true;
        r->idle--;
    }
    if (sim_below(4) == 0)
        sim_pause();
}

static int sim_poll(slim_ring *r, uint64_t timeout_ns)
{
    uint64_t now = sim_now_ns();

    if (timeout_ns > 0)
        sim_wait_ring(r, timeout_ns < UINT64_MAX - now ? now + timeout_ns : UINT64_MAX);
    return 0;
}

/* ---- events ---- */

static size_t sent(slim_sock *s, int res, slim_ring_event *ev)
{
    s->flags &= ~(uint32_t)SOCK_SENDING;
    s->inflight--;
    *ev = ring_event(SLIM_EV_SENT, res, s);
    if (s->flags & SOCK_CLOSING && s->inflight == 0)
        ring_finish(s);
    else if (s->flags & SOCK_SHUT)
        ring_mark(s);
    return 1;
}

static size_t send_step(slim_sock *s, slim_ring_event *ev)
{
    sim_end *e = sim_end_of(s->fd);
    size_t all = 0;
    ssize_t n;

    if (s->flags & SOCK_CLOSING && sim_below(2) == 0)
        return sent(s, -ECANCELED, ev);
    if (sim_happens(sim_faults_now.late_send) && !(s->flags & SOCK_CLOSING))
        return 0;
    for (size_t i = 0; i < s->n_iov; i++)
        all += s->iov[i].iov_len;
    n = sim_end_write(e, s->iov, s->n_iov, sim_happens(sim_faults_now.part_send) ? 1 + sim_below(all) : all);
    if (n == 0)
        return s->flags & SOCK_CLOSING ? sent(s, -ECANCELED, ev) : 0;
    return sent(s, (int)n, ev);
}

static size_t recv_step(slim_ring *r, slim_sock *s, slim_ring_event *ev)
{
    sim_end *e = sim_end_of(s->fd);
    slim_buf *b;
    size_t n, max;
    int end;

    n = sim_end_readable(e, &end);
    if (n == 0 && end <= 0) {
        s->flags |= SOCK_EOF;
        *ev = ring_event(SLIM_EV_RECV, end, s);
        return 1;
    }
    if (n == 0)
        return 0;
    if (ring_pool_spare(&r->pool) == 0 ||
        (sim_happens(sim_faults_now.no_buffers) && ring_pool_spare(&r->pool) < r->pool.total / 2)) {
        if (s->flags & SOCK_WANT_RECV)
            ring_starve(s);
        return 0;
    }
    b = ring_pool_take(&r->pool);
    max = sim_happens(sim_faults_now.part_recv) ? 1 + sim_below(b->cap_bytes) : b->cap_bytes;
    if (sim_happens(sim_faults_now.part_recv / 4))
        max = 1;
    n = sim_end_read(e, b->mem, max);
    *ev = ring_event(SLIM_EV_RECV, (int)n, s);
    ev->slab = b;
    ev->p = b->mem;
    s->flags |= SOCK_FED;
    return 1;
}

static size_t release_step(slim_ring *r, slim_sock *s, slim_ring_event *ev)
{
    int end;

    if (!(s->flags & SOCK_EOF) && sim_below(2) == 0 && ring_pool_spare(&r->pool) > 0 &&
        (sim_end_readable(sim_end_of(s->fd), &end) > 0 || end <= 0))
        return recv_step(r, s, ev);
    s->flags &= ~(uint32_t)SOCK_RECV_ARMED;
    if (--s->inflight == 0)
        ring_finish(s);
    return 0;
}

static size_t sock_step(slim_ring *r, slim_sock *s, slim_ring_event *ev)
{
    if (s->flags & SOCK_SENDING && sim_below(3) != 0)
        return send_step(s, ev);
    if (s->flags & SOCK_RECV_ARMED)
        return release_step(r, s, ev);
    return wants_bytes(s) ? recv_step(r, s, ev) : 0;
}

static size_t accept_step(slim_acceptor *a, slim_ring_event *ev)
{
    *ev = (slim_ring_event){.kind = SLIM_EV_ACCEPT, .user = a->user, .fd = -1};
    if (sim_happens(sim_faults_now.no_descriptor)) {
        ev->res = -EMFILE;
        a->armed = false;
        ring_accept_pause(a);
    } else {
        ev->fd = sim_accept();
    }
    return 1;
}

static size_t sim_reap(slim_ring *r, slim_ring_event *ev, size_t max)
{
    sim_ring *q = (sim_ring *)r;
    slim_acceptor *a;
    size_t n = 0;

    if (max > 1 && sim_below(3) == 0)
        max = 1 + sim_below(max < 16 ? max : 16);
    LIST_FOREACH(a, &r->acceptors, link)
    while (n < max && a->resume_ns == 0 && sim_calls_wait())
        n += accept_step(a, ev + n);
    /* Anyone first, and each some times: the order of completions between sockets is nobody's promise. */
    for (unsigned tries = 2 * q->n; tries > 0 && n < max && q->n > 0; tries--)
        n += sock_step(r, q->sock[sim_below(q->n)], ev + n);
    for (size_t i = 0; i < n; i++)
        sim_note((uint64_t)ev[i].kind << 32 ^ (uint32_t)ev[i].res);
    return n;
}

/* ---- opening, closing ---- */

static slim_err sim_attach(slim_sock *s)
{
    sim_ring *q = (sim_ring *)s->ring;

    SIM_REQUIRE(q->n < SOCKS_MAX, "too many sockets");
    if (sim_end_of(s->fd) == NULL) {
        /* A connect that was refused: it has no connection, and its socket is closed at once. */
        errno = ECONNREFUSED;
        return SLIM_E_SYS;
    }
    q->sock[q->n++] = s;
    return SLIM_OK;
}

static void sim_detach(slim_sock *s)
{
    sim_ring *q = (sim_ring *)s->ring;

    for (unsigned i = 0; i < q->n; i++)
        if (q->sock[i] == s)
            q->sock[i] = q->sock[--q->n];
}

static slim_err sim_accept_open(slim_acceptor *a)
{
    sim_listen(true);
    return SLIM_OK;
}

static bool sim_accept_close(slim_acceptor *a)
{
    sim_listen(false);
    return true;
}

static slim_err sim_watch_open(ring_watch *w)
{
    return SLIM_OK; /* nobody is looked up here */
}

static void sim_fini(slim_ring *r)
{
    ring_base_fini(r);
    free(r);
}

static const ring_ops sim_ops = {
    .fini = sim_fini,
    .submit = sim_submit,
    .poll = sim_poll,
    .reap = sim_reap,
    .attach = sim_attach,
    .detach = sim_detach,
    .accept_open = sim_accept_open,
    .accept_close = sim_accept_close,
    .watch_open = sim_watch_open,
};

slim_err ring_epoll_new(const slim_ring_config *cfg, slim_ring **out, const char **what)
{
    sim_ring *q = calloc(1, sizeof(*q));
    slim_err e;

    SIM_REQUIRE(q != NULL, "no memory");
    if ((e = ring_base_init(&q->base, cfg, what)) != SLIM_OK) {
        free(q);
        return e;
    }
    q->base.ops = &sim_ops;
    q->base.name = "simulated";
    *out = &q->base;
    return SLIM_OK;
}

slim_err ring_uring_new(const slim_ring_config *cfg, bool only61, slim_ring **out, const char **what)
{
    return ring_epoll_new(cfg, out, what);
}
