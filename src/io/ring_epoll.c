/* The epoll back end. Sockets are registered once, edge triggered; those that may have data stand in a list and are read in turn,
 * a bounded number of times each. Writing is watched only while a send waits for room. */
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "io/ring_int.h"

#define BATCH 256
#define RECVS_PER_TURN 4
#define ACCEPTS_PER_TURN 64

enum { TAG_SOCK, TAG_ACCEPT, TAG_WATCH, TAG_WAKE, TAG_MASK = 7 };

typedef struct epoll_ring {
    slim_ring base;
    int fd;
    bool coarse;      /* epoll_pwait2 is not to be had: milliseconds */
    bool skipped;     /* the last wait returned without asking the kernel */
    uint32_t signals; /* acceptors and watches that are ready */
    ring_socks ready;
} epoll_ring;

static int control(slim_ring *r, int op, int fd, uint32_t events, void *object, unsigned tag)
{
    struct epoll_event e = {.events = events, .data.u64 = (uint64_t)(uintptr_t)object | tag};

    return epoll_ctl(((epoll_ring *)r)->fd, op, fd, &e);
}

/* ------------------------------------------------------------------ the ready list */

static void ready_put(epoll_ring *q, slim_sock *s)
{
    if (s->flags & SOCK_READY)
        return;
    s->flags |= SOCK_READY;
    TAILQ_INSERT_TAIL(&q->ready, s, wait_link);
}

static void ready_drop(epoll_ring *q, slim_sock *s)
{
    if (!(s->flags & SOCK_READY))
        return;
    s->flags &= ~(uint32_t)SOCK_READY;
    TAILQ_REMOVE(&q->ready, s, wait_link);
}

static void ready_update(epoll_ring *q, slim_sock *s)
{
    const uint32_t both = SOCK_WANT_RECV | SOCK_READABLE;

    if ((s->flags & both) == both && !(s->flags & (SOCK_EOF | SOCK_STARVED | SOCK_CONNECTING)))
        ready_put(q, s);
    else
        ready_drop(q, s);
}

/* ------------------------------------------------------------------ submitting */

static void send_blocked(slim_sock *s, bool blocked)
{
    const uint32_t events = EPOLLIN | EPOLLRDHUP | EPOLLET;

    s->flags = blocked ? s->flags | SOCK_BLOCKED : s->flags & ~(uint32_t)SOCK_BLOCKED;
    control(s->ring, EPOLL_CTL_MOD, s->fd, blocked ? events | EPOLLOUT : events, s, TAG_SOCK);
}

static void send_try(slim_sock *s)
{
    ssize_t n;

    if (s->n_iov == 1) {
        do
            n = send(s->fd, s->iov->iov_base, s->iov->iov_len, MSG_NOSIGNAL | MSG_DONTWAIT);
        while (n < 0 && errno == EINTR);
    } else {
        s->msg = (struct msghdr){.msg_iov = (struct iovec *)(uintptr_t)s->iov, .msg_iovlen = s->n_iov};
        do
            n = sendmsg(s->fd, &s->msg, MSG_NOSIGNAL | MSG_DONTWAIT);
        while (n < 0 && errno == EINTR);
    }
    if (n < 0 && errno == EAGAIN) {
        if (!(s->flags & SOCK_BLOCKED))
            send_blocked(s, true);
        return;
    }
    s->flags &= ~(uint32_t)SOCK_SEND;
    s->sent_res = n < 0 ? -errno : (int)n;
    ring_out(s, SOCK_EV_SENT);
}

static void sock_work(epoll_ring *q, slim_sock *s)
{
    if (s->flags & SOCK_CLOSING) {
        ready_drop(q, s);
        ring_finish(s);
        return;
    }
    if (s->flags & SOCK_SEND && !(s->flags & (SOCK_BLOCKED | SOCK_CONNECTING)))
        send_try(s);
    ring_shutdown_due(s);
    ready_update(q, s);
}

static void starved_resume(epoll_ring *q)
{
    slim_ring *r = &q->base;
    uint32_t n = ring_pool_spare(&r->pool);
    slim_sock *s;

    if (n < ring_pool_resume_at(&r->pool))
        return;
    while ((s = ring_starved_next(r, &n)) != NULL)
        ready_update(q, s);
}

static int epoll_ask(epoll_ring *q, struct epoll_event *e, uint64_t timeout_ns)
{
    struct timespec ts;
    int n;

    if (!q->coarse) {
        ts = (struct timespec){(time_t)(timeout_ns / 1000000000u), (long)(timeout_ns % 1000000000u)};
        n = epoll_pwait2(q->fd, e, BATCH, timeout_ns == UINT64_MAX ? NULL : &ts, NULL);
        if (n >= 0 || (errno != ENOSYS && errno != EPERM))
            return n;
        q->coarse = true;
    }
    if (timeout_ns == UINT64_MAX)
        return epoll_wait(q->fd, e, BATCH, -1);
    /* Rounded up, so that it is never early. */
    timeout_ns = (timeout_ns + 999999) / 1000000;
    return epoll_wait(q->fd, e, BATCH, timeout_ns < INT32_MAX ? (int)timeout_ns : INT32_MAX);
}

static void on_sock(epoll_ring *q, slim_sock *s, uint32_t events)
{
    if (s->flags & SOCK_CONNECTING) {
        if (!(events & (EPOLLOUT | EPOLLERR | EPOLLHUP)))
            return;
        send_blocked(s, false);
        ring_connected(s);
    } else if (s->flags & SOCK_BLOCKED && events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) {
        send_blocked(s, false);
        ring_mark(s);
    }
    if (events & (EPOLLRDHUP | EPOLLERR | EPOLLHUP))
        s->flags |= SOCK_HUP;
    if (events & (EPOLLIN | EPOLLRDHUP | EPOLLERR | EPOLLHUP)) {
        s->flags |= SOCK_READABLE;
        ready_update(q, s);
    }
}

static int epoll_poll(slim_ring *r, uint64_t timeout_ns)
{
    epoll_ring *q = (epoll_ring *)r;
    struct epoll_event e[BATCH];
    int n = epoll_ask(q, e, timeout_ns);

    q->skipped = false;
    if (n < 0)
        return -errno;
    for (int i = 0; i < n; i++) {
        void *object = (void *)(uintptr_t)(e[i].data.u64 & ~(uint64_t)TAG_MASK);
        slim_acceptor *a = object;
        ring_watch *w = object;

        switch (e[i].data.u64 & TAG_MASK) {
        case TAG_SOCK: on_sock(q, object, e[i].events); break;
        case TAG_ACCEPT:
            q->signals += !a->ready;
            a->ready = true;
            break;
        case TAG_WATCH:
            q->signals += !w->ready;
            w->ready = true;
            break;
        default: break;
        }
    }
    return 0;
}

static void epoll_submit(slim_ring *r)
{
    epoll_ring *q = (epoll_ring *)r;
    slim_acceptor *a;
    slim_sock *s;

    if (ring_starved_any(r))
        starved_resume(q);
    while ((s = TAILQ_FIRST(&r->dirty)) != NULL) {
        s->flags &= ~(uint32_t)SOCK_DIRTY;
        TAILQ_REMOVE(&r->dirty, s, dirty_link);
        sock_work(q, s);
    }
    if (r->idle > 0) {
        LIST_FOREACH(a, &r->acceptors, link)
        {
            if (a->armed || a->resume_ns != 0)
                continue;
            control(r, EPOLL_CTL_MOD, a->fd, EPOLLIN, a, TAG_ACCEPT);
            a->armed = true;
            r->idle--;
        }
    }
    /* While there is something to tell anyway the kernel is asked only every other time: in the rhythm of receiving and sending
     * that saves a call per round, and a caller that only sends still hears of the others. */
    if (TAILQ_EMPTY(&q->ready) && TAILQ_EMPTY(&r->out) && q->signals == 0 &&
        atomic_load_explicit(&r->woken, memory_order_relaxed) == 0)
        return;
    if (TAILQ_EMPTY(&q->ready) && !q->skipped)
        q->skipped = true;
    else
        epoll_poll(r, 0);
}

/* ------------------------------------------------------------------ events */

/* One event, or 0 when the socket has to wait for bytes or buffers. */
static size_t recv_one(epoll_ring *q, slim_sock *s, slim_ring_event *ev)
{
    slim_ring *r = &q->base;
    slim_buf *b;
    ssize_t n;

    if (ring_pool_spare(&r->pool) == 0) {
        ready_drop(q, s);
        ring_starve(s);
        return 0;
    }
    b = ring_pool_take(&r->pool);
    do
        n = recv(s->fd, b->mem, b->cap_bytes, MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    if (n > 0) {
        *ev = ring_event(SLIM_EV_RECV, (int)n, s);
        ev->slab = b;
        ev->p = b->mem;
        s->flags |= SOCK_FED;
        if ((size_t)n < b->cap_bytes && !(s->flags & (SOCK_HUP | SOCK_DRAIN)))
            s->flags &= ~(uint32_t)SOCK_READABLE;
        ready_update(q, s);
        return 1;
    }
    n = n < 0 ? -errno : 0;
    slim_buf_unref(b);
    if (n == -EAGAIN) {
        s->flags &= ~(uint32_t)SOCK_READABLE;
        ready_update(q, s);
        return 0;
    }
    s->flags |= SOCK_EOF;
    ready_update(q, s);
    *ev = ring_event(SLIM_EV_RECV, (int)n, s);
    return 1;
}

static size_t accept_some(epoll_ring *q, slim_acceptor *a, slim_ring_event *ev, size_t max)
{
    size_t n = 0;

    for (int i = 0; i < ACCEPTS_PER_TURN && n < max; i++) {
        int fd = accept4(a->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC), err = errno;

        if (fd < 0 && err == EAGAIN)
            break;
        if (fd < 0 && ring_accept_transient(err))
            continue;
        ev[n++] = (slim_ring_event){.kind = SLIM_EV_ACCEPT, .res = fd < 0 ? -err : 0, .user = a->user, .fd = fd};
        if (fd < 0) {
            control(&q->base, EPOLL_CTL_MOD, a->fd, 0, a, TAG_ACCEPT);
            a->armed = false;
            ring_accept_pause(a);
            break;
        }
    }
    /* What is left is told again, listeners are level triggered. */
    a->ready = false;
    q->signals--;
    return n;
}

static size_t signals_take(epoll_ring *q, slim_ring_event *ev, size_t max)
{
    slim_acceptor *a;
    ring_watch *w;
    size_t n = 0;

    LIST_FOREACH(a, &q->base.acceptors, link)
    {
        if (a->ready && n < max)
            n += accept_some(q, a, ev + n, max - n);
    }
    LIST_FOREACH(w, &q->base.watches, link)
    {
        if (!w->ready || n == max)
            continue;
        w->ready = false;
        q->signals--;
        ev[n++] = (slim_ring_event){.kind = SLIM_EV_FD, .user = w->user, .fd = w->fd};
    }
    return n;
}

static size_t epoll_reap(slim_ring *r, slim_ring_event *ev, size_t max)
{
    epoll_ring *q = (epoll_ring *)r;
    slim_sock *s, *last = TAILQ_LAST(&q->ready, ring_socks);
    size_t n = 0;

    if (q->signals > 0)
        n = signals_take(q, ev, max);
    while (n < max && last != NULL && (s = TAILQ_FIRST(&q->ready)) != NULL) {
        bool end = s == last;

        for (int i = 0; i < RECVS_PER_TURN && n < max && s->flags & SOCK_READY; i++)
            n += recv_one(q, s, ev + n);
        if (s->flags & SOCK_READY) {
            TAILQ_REMOVE(&q->ready, s, wait_link);
            TAILQ_INSERT_TAIL(&q->ready, s, wait_link);
        }
        if (end)
            break;
    }
    return n;
}

/* ------------------------------------------------------------------ opening, closing */

static slim_err epoll_attach(slim_sock *s)
{
    uint32_t events = EPOLLIN | EPOLLRDHUP | EPOLLET;
    socklen_t n = sizeof(int);
    int domain = 0;

    /* A short read of a unix socket may have ended at passed descriptors. */
    if (getsockopt(s->fd, SOL_SOCKET, SO_DOMAIN, &domain, &n) < 0 || domain == AF_UNIX)
        s->flags |= SOCK_DRAIN;
    if (s->flags & SOCK_CONNECTING)
        events |= EPOLLOUT;
    return control(s->ring, EPOLL_CTL_ADD, s->fd, events, s, TAG_SOCK) == 0 ? SLIM_OK : SLIM_E_SYS;
}

static void epoll_detach(slim_sock *s)
{
    /* Closing alone would not do when another process has a copy of the descriptor. */
    control(s->ring, EPOLL_CTL_DEL, s->fd, 0, s, TAG_SOCK);
    if (!(s->flags & SOCK_RELEASE))
        shutdown(s->fd, SHUT_RDWR);
}

static slim_err epoll_accept_open(slim_acceptor *a)
{
    return control(a->ring, EPOLL_CTL_ADD, a->fd, 0, a, TAG_ACCEPT) == 0 ? SLIM_OK : SLIM_E_SYS;
}

static bool epoll_accept_close(slim_acceptor *a)
{
    ((epoll_ring *)a->ring)->signals -= a->ready;
    control(a->ring, EPOLL_CTL_DEL, a->fd, 0, a, TAG_ACCEPT);
    return true;
}

static slim_err epoll_watch_open(ring_watch *w)
{
    w->armed = true;
    return control(w->ring, EPOLL_CTL_ADD, w->fd, EPOLLIN, w, TAG_WATCH) == 0 ? SLIM_OK : SLIM_E_SYS;
}

static void epoll_fini(slim_ring *r)
{
    close(((epoll_ring *)r)->fd);
    ring_base_fini(r);
    free(r);
}

static const ring_ops epoll_ops = {
    .fini = epoll_fini,
    .submit = epoll_submit,
    .poll = epoll_poll,
    .reap = epoll_reap,
    .attach = epoll_attach,
    .detach = epoll_detach,
    .accept_open = epoll_accept_open,
    .accept_close = epoll_accept_close,
    .watch_open = epoll_watch_open,
};

slim_err ring_epoll_new(const slim_ring_config *cfg, slim_ring **out, const char **what)
{
    epoll_ring *q = calloc(1, sizeof(*q));
    slim_ring *r;
    slim_err e;

    if (q == NULL)
        return SLIM_E_NOMEM;
    r = &q->base;
    if ((e = ring_base_init(r, cfg, what)) != SLIM_OK) {
        free(q);
        return e;
    }
    r->ops = &epoll_ops;
    r->name = "epoll";
    TAILQ_INIT(&q->ready);
    *what = "epoll";
    if ((q->fd = epoll_create1(EPOLL_CLOEXEC)) < 0 ||
        control(r, EPOLL_CTL_ADD, r->wake_fd, EPOLLIN | EPOLLET, NULL, TAG_WAKE) < 0) {
        e = SLIM_E_SYS;
        goto fail;
    }
    *out = r;
    return SLIM_OK;
fail:
    if (q->fd >= 0)
        close(q->fd);
    ring_base_fini(r);
    free(q);
    return e;
}
