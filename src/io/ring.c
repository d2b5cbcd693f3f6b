#include "io/ring.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "io/ring_int.h"

#define DEFAULT_SLABS 128u
#define DEFAULT_SLAB_BYTES 65536u
#define MAX_SLABS 32768u
#define MIN_SLAB_BYTES 256u
#define MAX_SLAB_BYTES (16u << 20)
#define MAX_IOV 256
/* How often work that the kernel does not take is offered before waiting, and how long is waited then. */
#define MAX_TURNS 100
#define RETRY_NS 10000000u

/* ------------------------------------------------------------------ lists */

void ring_mark(slim_sock *s)
{
    if (s->flags & SOCK_DIRTY)
        return;
    s->flags |= SOCK_DIRTY;
    TAILQ_INSERT_TAIL(&s->ring->dirty, s, dirty_link);
}

void ring_out(slim_sock *s, uint32_t event)
{
    s->flags |= event;
    if (s->flags & SOCK_OUT)
        return;
    s->flags |= SOCK_OUT;
    TAILQ_INSERT_TAIL(&s->ring->out, s, out_link);
}

/* Whoever comes first after a shortage may take all buffers there are. So who got none the last time stands before those who did,
 * or a flood would starve the others for good. */
void ring_starve(slim_sock *s)
{
    slim_ring *r = s->ring;

    if (s->flags & SOCK_STARVED)
        return;
    if (s->flags & SOCK_FED)
        TAILQ_INSERT_TAIL(&r->starved, s, wait_link);
    else
        TAILQ_INSERT_TAIL(&r->urgent, s, wait_link);
    s->flags |= s->flags & SOCK_FED ? SOCK_STARVED : SOCK_STARVED | SOCK_URGENT;
    s->flags &= ~(uint32_t)SOCK_FED;
}

void ring_unstarve(slim_sock *s)
{
    if (!(s->flags & SOCK_STARVED))
        return;
    if (s->flags & SOCK_URGENT)
        TAILQ_REMOVE(&s->ring->urgent, s, wait_link);
    else
        TAILQ_REMOVE(&s->ring->starved, s, wait_link);
    s->flags &= ~(uint32_t)(SOCK_STARVED | SOCK_URGENT);
}

slim_sock *ring_starved_next(slim_ring *r, uint32_t *n)
{
    slim_sock *s = TAILQ_FIRST(&r->urgent);

    if (s == NULL)
        s = TAILQ_FIRST(&r->starved);
    if (s == NULL || *n == 0)
        return NULL;
    --*n;
    ring_unstarve(s);
    return s;
}

/* ------------------------------------------------------------------ the ring */

slim_err ring_base_init(slim_ring *r, const slim_ring_config *cfg, const char **what)
{
    slim_err e;

    TAILQ_INIT(&r->dirty);
    TAILQ_INIT(&r->out);
    TAILQ_INIT(&r->urgent);
    TAILQ_INIT(&r->starved);
    TAILQ_INIT(&r->grave);
    LIST_INIT(&r->acceptors);
    LIST_INIT(&r->watches);
    atomic_init(&r->woken, 0);
    if ((r->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) < 0) {
        *what = "eventfd";
        return SLIM_E_SYS;
    }
    if ((e = ring_pool_init(&r->pool, cfg->slabs, cfg->slab_bytes)) != SLIM_OK)
        close(r->wake_fd);
    return e;
}

static void graves_empty(slim_ring *r)
{
    slim_sock *s;

    while ((s = TAILQ_FIRST(&r->grave)) != NULL) {
        TAILQ_REMOVE(&r->grave, s, out_link);
        free(s);
    }
}

void ring_base_fini(slim_ring *r)
{
    slim_acceptor *a;
    ring_watch *w;

    graves_empty(r);
    while ((a = LIST_FIRST(&r->acceptors)) != NULL) {
        LIST_REMOVE(a, link);
        free(a);
    }
    while ((w = LIST_FIRST(&r->watches)) != NULL) {
        LIST_REMOVE(w, link);
        free(w);
    }
    close(r->wake_fd);
    ring_pool_fini(&r->pool);
}

slim_err slim_ring_new(const slim_ring_config *given, slim_ring **out, const char **why)
{
    static _Thread_local char text[256];
    slim_ring_config cfg = *given;
    const char *what = "", *hint = "";
    slim_err e;

    *out = NULL;
    *why = "";
    if (cfg.slabs == 0)
        cfg.slabs = DEFAULT_SLABS;
    if (cfg.slab_bytes == 0)
        cfg.slab_bytes = DEFAULT_SLAB_BYTES;
    if (cfg.slabs < 2 || cfg.slabs > MAX_SLABS || cfg.slab_bytes < MIN_SLAB_BYTES || cfg.slab_bytes > MAX_SLAB_BYTES) {
        snprintf(text, sizeof(text), "%u receive buffers of %u bytes: 2 to %u buffers of %u to %u bytes are possible", cfg.slabs,
                 cfg.slab_bytes, MAX_SLABS, MIN_SLAB_BYTES, MAX_SLAB_BYTES);
        *why = text;
        return SLIM_E_ARG;
    }
    if (cfg.backend != SLIM_RING_EPOLL) {
        e = ring_uring_new(&cfg, cfg.backend == SLIM_RING_URING61, out, &what);
        if (e == SLIM_OK || cfg.backend != SLIM_RING_AUTO)
            goto done;
    }
    e = ring_epoll_new(&cfg, out, &what);
done:
    if (e == SLIM_E_SYS) {
        if (errno == EPERM || errno == ENOSYS)
            hint = " (forbidden by kernel.io_uring_disabled or a sandbox; use epoll)";
        else if (errno == EINVAL)
            hint = " (io_uring needs Linux 6.1; use epoll)";
        else if (errno == ENOMEM)
            hint = " (raise RLIMIT_MEMLOCK or use epoll)";
        snprintf(text, sizeof(text), "%s: %s%s", what, strerror(errno),
                 cfg.backend == SLIM_RING_AUTO || cfg.backend == SLIM_RING_EPOLL ? "" : hint);
        *why = text;
    } else if (e != SLIM_OK) {
        *why = slim_err_text(e);
    }
    return e;
}

void slim_ring_free(slim_ring *r)
{
    slim_acceptor *a, *next;

    if (r == NULL)
        return;
    for (a = LIST_FIRST(&r->acceptors); a != NULL; a = next) {
        next = LIST_NEXT(a, link);
        if (!a->stopped)
            slim_ring_accept_stop(a);
    }
    assert(r->socks == 0);
    assert(r->pool.in_stack + r->held == r->pool.total);
    r->ops->fini(r);
}

const char *slim_ring_name(const slim_ring *r)
{
    return r->name;
}

void slim_ring_wake_xt(slim_ring *r)
{
    const uint64_t one = 1;

    /* Only the first caller since the last WAKE event needs the system call. The exchange publishes what the caller did before. */
    if (atomic_exchange_explicit(&r->woken, 1, memory_order_acq_rel) != 0)
        return;
    /* Cannot fill up: 2^64 writes. */
    while (write(r->wake_fd, &one, sizeof(one)) < 0 && errno == EINTR)
        ;
}

/* ------------------------------------------------------------------ waiting */

/* The events that do not come from the kernel's queue. */
static size_t out_take(slim_ring *r, slim_ring_event *ev, size_t max)
{
    size_t n = 0;
    slim_sock *s;

    if (n < max && atomic_load_explicit(&r->woken, memory_order_relaxed) != 0 &&
        atomic_exchange_explicit(&r->woken, 0, memory_order_acq_rel) != 0)
        ev[n++] = (slim_ring_event){.kind = SLIM_EV_WAKE, .fd = -1};
    while (n < max && (s = TAILQ_FIRST(&r->out)) != NULL) {
        if (s->flags & SOCK_EV_CONNECT) {
            s->flags &= ~(uint32_t)SOCK_EV_CONNECT;
            ev[n++] = ring_event(SLIM_EV_CONNECT, s->connect_res, s);
        } else if (s->flags & SOCK_EV_SENT) {
            s->flags &= ~(uint32_t)SOCK_EV_SENT;
            ev[n++] = ring_event(SLIM_EV_SENT, s->sent_res, s);
        } else if (s->flags & SOCK_EV_CLOSED) {
            s->flags &= ~(uint32_t)SOCK_EV_CLOSED;
            ev[n] = ring_event(s->flags & SOCK_RELEASE ? SLIM_EV_RELEASED : SLIM_EV_CLOSED, 0, s);
            ev[n++].fd = s->fd;
            r->socks--;
        }
        if (s->flags & (SOCK_EV_CONNECT | SOCK_EV_SENT | SOCK_EV_CLOSED))
            continue;
        TAILQ_REMOVE(&r->out, s, out_link);
        s->flags &= ~(uint32_t)SOCK_OUT;
        /* The caller may still look at the handle while it works through this batch. */
        if (s->flags & SOCK_DETACHED)
            TAILQ_INSERT_TAIL(&r->grave, s, out_link);
    }
    return n;
}

static size_t events_take(slim_ring *r, slim_ring_event *ev, size_t max)
{
    size_t n = out_take(r, ev, max);

    n += r->ops->reap(r, ev + n, max - n);
    if (!TAILQ_EMPTY(&r->out))
        n += out_take(r, ev + n, max - n);
    return n;
}

void ring_accept_pause(slim_acceptor *a)
{
    a->resume_ns = slim_clock_ns() + RING_ACCEPT_PAUSE_NS;
    a->ring->paused++;
    a->ring->fd_freed = false;
}

/* Lets paused acceptors go on when their time has come; returns when the next one's comes. */
static uint64_t accept_resume(slim_ring *r)
{
    uint64_t next = UINT64_MAX, now;
    slim_acceptor *a;

    if (r->paused == 0)
        return next;
    now = slim_clock_ns();
    LIST_FOREACH(a, &r->acceptors, link)
    {
        if (a->resume_ns == 0)
            continue;
        if (r->fd_freed || a->resume_ns <= now) {
            a->resume_ns = 0;
            r->paused--;
            r->idle++;
        } else if (a->resume_ns < next) {
            next = a->resume_ns;
        }
    }
    r->fd_freed = false;
    return next;
}

/* True when submit would find something to do. */
static bool work_left(const slim_ring *r)
{
    return !TAILQ_EMPTY(&r->dirty) || r->idle > 0 ||
           (ring_starved_any(r) && r->held + ring_pool_spare(&r->pool) >= ring_pool_resume_at(&r->pool));
}

size_t slim_ring_wait(slim_ring *r, uint64_t deadline_ns, bool (*about_to_sleep)(void *arg), void *arg, slim_ring_event *ev,
                      size_t max)
{
    unsigned turns = 0;
    bool last = false;
    size_t n;

    graves_empty(r);
    if (max == 0)
        return 0;
    for (;;) {
        uint64_t timeout_ns = 0, until, now;

        r->ops->submit(r);
        if ((n = events_take(r, ev, max)) > 0 || last)
            return n;
        /* Submitting may have closed descriptors, so only now. */
        until = accept_resume(r);
        /* Completions that were no event may have left work. When it does not go away the kernel does not take it. */
        if (work_left(r) && turns++ < MAX_TURNS)
            continue;
        if (deadline_ns < until)
            until = deadline_ns;
        if (deadline_ns == 0) {
            last = true;
        } else if (until == UINT64_MAX) {
            timeout_ns = UINT64_MAX;
        } else {
            now = slim_clock_ns();
            timeout_ns = until > now ? until - now : 0;
            last = deadline_ns <= now;
        }
        if (work_left(r) && timeout_ns > RETRY_NS)
            timeout_ns = RETRY_NS;
        turns = 0;
        if (timeout_ns > 0 && about_to_sleep != NULL && !about_to_sleep(arg)) {
            timeout_ns = 0;
            last = true;
        }
        if (r->ops->poll(r, timeout_ns) != 0)
            last = true;
    }
}

/* ------------------------------------------------------------------ accepting, watching */

slim_acceptor *slim_ring_accept_start(slim_ring *r, int fd, void *user)
{
    slim_acceptor *a = calloc(1, sizeof(*a));

    if (a == NULL)
        return NULL;
    a->ring = r;
    a->fd = fd;
    a->user = user;
    if (r->ops->accept_open(a) != SLIM_OK) {
        free(a);
        return NULL;
    }
    LIST_INSERT_HEAD(&r->acceptors, a, link);
    r->idle++;
    return a;
}

void slim_ring_accept_stop(slim_acceptor *a)
{
    slim_ring *r = a->ring;

    if (a->resume_ns != 0) {
        a->resume_ns = 0;
        r->paused--;
    } else if (!a->armed) {
        r->idle--;
    }
    if (r->ops->accept_close(a)) {
        LIST_REMOVE(a, link);
        free(a);
    }
}

slim_err slim_ring_watch(slim_ring *r, int fd, void *user)
{
    ring_watch *w = calloc(1, sizeof(*w));
    slim_err e;

    if (w == NULL)
        return SLIM_E_NOMEM;
    w->ring = r;
    w->fd = fd;
    w->user = user;
    if ((e = r->ops->watch_open(w)) != SLIM_OK) {
        free(w);
        return e;
    }
    LIST_INSERT_HEAD(&r->watches, w, link);
    return SLIM_OK;
}

/* ------------------------------------------------------------------ sockets */

/* Takes fd in any case; errno is kept on NULL. */
static slim_sock *sock_new(slim_ring *r, int fd, void *user, uint32_t flags)
{
    slim_sock *s = calloc(1, sizeof(*s));
    int saved;

    if (s == NULL)
        goto fail;
    s->ring = r;
    s->fd = fd;
    s->user = user;
    s->flags = flags;
    if (r->ops->attach(s) != SLIM_OK)
        goto fail;
    r->socks++;
    return s;
fail:
    saved = errno;
    free(s);
    close(fd);
    errno = saved;
    return NULL;
}

slim_sock *slim_ring_adopt(slim_ring *r, int fd, void *user)
{
    return sock_new(r, fd, user, 0);
}

slim_sock *slim_ring_connect(slim_ring *r, const struct sockaddr *addr, socklen_t len, void *user)
{
    const int on = 1;
    slim_sock *s;
    int fd, rc, err;

    if ((fd = socket(addr->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)) < 0)
        return NULL;
    if (addr->sa_family == AF_INET || addr->sa_family == AF_INET6)
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    /* Attached only afterwards: a socket that was never connected counts as hung up. */
    do
        rc = connect(fd, addr, len);
    while (rc < 0 && errno == EINTR);
    err = rc < 0 ? errno : 0;
    if ((s = sock_new(r, fd, user, SOCK_CONNECTING)) == NULL)
        return NULL;
    if (err == EINPROGRESS) {
        ring_mark(s);
    } else {
        s->flags &= ~(uint32_t)SOCK_CONNECTING;
        s->connect_res = -err;
        ring_out(s, SOCK_EV_CONNECT);
    }
    return s;
}

void ring_connected(slim_sock *s)
{
    struct sockaddr_storage peer;
    socklen_t n = sizeof(int);
    int err = 0;

    s->flags &= ~(uint32_t)SOCK_CONNECTING;
    if (getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &err, &n) < 0)
        err = errno;
    n = sizeof(peer);
    if (err == 0 && getpeername(s->fd, (struct sockaddr *)&peer, &n) < 0)
        err = errno;
    s->connect_res = -err;
    ring_out(s, SOCK_EV_CONNECT);
    ring_mark(s);
}

void slim_sock_set_user(slim_sock *s, void *user)
{
    s->user = user;
}

int slim_sock_fd(const slim_sock *s)
{
    return s->fd;
}

void slim_sock_recv_start(slim_sock *s)
{
    if (s->flags & (SOCK_WANT_RECV | SOCK_EOF | SOCK_CLOSING))
        return;
    s->flags |= SOCK_WANT_RECV;
    ring_mark(s);
}

void slim_sock_recv_stop(slim_sock *s)
{
    if (!(s->flags & SOCK_WANT_RECV))
        return;
    s->flags &= ~(uint32_t)SOCK_WANT_RECV;
    ring_unstarve(s);
    ring_mark(s);
}

void slim_sock_send(slim_sock *s, const struct iovec *iov, size_t n)
{
    assert(n > 0 && n <= MAX_IOV);
    assert(!(s->flags & (SOCK_SEND | SOCK_SENDING | SOCK_EV_SENT)));
    assert(!(s->flags & (SOCK_SHUT | SOCK_CLOSING)));
    s->iov = iov;
    s->n_iov = n;
    s->flags |= SOCK_SEND;
    ring_mark(s);
}

void slim_sock_shutdown(slim_sock *s)
{
    if (s->flags & (SOCK_SHUT | SOCK_CLOSING))
        return;
    s->flags |= SOCK_SHUT;
    ring_mark(s);
}

void ring_shutdown_due(slim_sock *s)
{
    if (!(s->flags & SOCK_SHUT) || s->flags & (SOCK_SEND | SOCK_SENDING | SOCK_CONNECTING | SOCK_SHUT_DONE))
        return;
    s->flags |= SOCK_SHUT_DONE;
    shutdown(s->fd, SHUT_WR);
}

void slim_sock_close(slim_sock *s)
{
    if (s->flags & SOCK_CLOSING)
        return;
    s->flags |= SOCK_CLOSING;
    s->flags &= ~(uint32_t)(SOCK_WANT_RECV | SOCK_EV_CONNECT);
    ring_unstarve(s);
    if (s->flags & SOCK_SEND) {
        s->flags &= ~(uint32_t)SOCK_SEND;
        s->sent_res = -ECANCELED;
        ring_out(s, SOCK_EV_SENT);
    }
    ring_mark(s);
}

void slim_sock_release(slim_sock *s)
{
    assert(!(s->flags & (SOCK_SEND | SOCK_SENDING | SOCK_EV_SENT | SOCK_SHUT | SOCK_CONNECTING)));
    if (s->flags & SOCK_CLOSING)
        return;
    s->flags |= SOCK_CLOSING | SOCK_RELEASE;
    s->flags &= ~(uint32_t)SOCK_WANT_RECV;
    ring_unstarve(s);
    ring_mark(s);
}

void ring_finish(slim_sock *s)
{
    slim_ring *r = s->ring;

    assert(s->inflight == 0 && !(s->flags & (SOCK_DETACHED | SOCK_STARVED)));
    r->ops->detach(s);
    if (!(s->flags & SOCK_RELEASE)) {
        close(s->fd);
        s->fd = -1;
        r->fd_freed = true;
    }
    s->flags |= SOCK_DETACHED;
    if (s->flags & SOCK_DIRTY) {
        s->flags &= ~(uint32_t)SOCK_DIRTY;
        TAILQ_REMOVE(&r->dirty, s, dirty_link);
    }
    ring_out(s, SOCK_EV_CLOSED);
}

/* ------------------------------------------------------------------ slabs */

uint32_t slim_ring_slabs_free(const slim_ring *r)
{
    return r->pool.in_stack + r->held;
}

uint32_t slim_ring_slabs_total(const slim_ring *r)
{
    return r->pool.total;
}

slim_buf *slim_ring_slab_take(slim_ring *r)
{
    return ring_pool_take(&r->pool);
}
