/* The io_uring back end: multishot accept and receive, receive buffers from a provided ring, one send in flight per socket.
 *
 * Each connection also has a place in the ring's table of direct descriptors, only as an anchor: that reference goes with the
 * ring's own teardown, after every listener of a killed process (data-plane.md 6.3). Requests use the ordinary descriptor. Before
 * Linux 6.13 a request on a direct descriptor would keep every file that is taken out of the table later alive until it ends: one
 * idle connection, whose receive waits for hours, would hold all that were closed since. */
#include "io/ring_int.h"

#ifdef SLIM_HAVE_URING

#include <stdlib.h>
#include <sys/poll.h>
#include <sys/resource.h>
#include <unistd.h>

#include "io/uring_compat.h"

#define SQ_ENTRIES 1024
#define CQ_ENTRIES 8192
#define MAX_DIRECT 32768u
#define MIN_DIRECT 64u
#define BUF_GROUP 0
/* Milliseconds that stopping to accept waits for kernel memory. */
#define STOP_TRIES 100
/* How long a released socket keeps its place, so that it has one somewhere while it is on its way to another ring. */
#define ANCHOR_NS 1000000000u
#define ANCHORS 64u

/* The low bits of user_data say what completed, the rest is the object's address: an object lives until its last completion. */
enum { TAG_NONE, TAG_RECV, TAG_SEND, TAG_POLL, TAG_ACCEPT, TAG_WATCH, TAG_WAKE, TAG_MASK = 7 };

typedef struct uring_ring {
    slim_ring base;
    struct io_uring u;
    bool wake_armed;
    struct io_uring_buf_ring *br;
    unsigned br_entries;
    uint32_t depth;   /* buffers the kernel gets at most */
    uint32_t direct;  /* size of the direct table */
    uint32_t virgin;  /* slots from here on were never used */
    uint32_t n_spare; /* used once and free again */
    uint32_t *spare;
    struct {
        uint32_t slot;
        uint64_t due_ns;
    } anchor[ANCHORS]; /* a ring */
    uint32_t anchor_at, n_anchors;
} uring_ring;

static uint64_t tagged(void *object, unsigned tag)
{
    return (uint64_t)(uintptr_t)object | tag;
}

/* NULL: the kernel does not take more for now. */
static struct io_uring_sqe *sqe_get(uring_ring *q)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&q->u);

    if (sqe == NULL && io_uring_submit(&q->u) >= 0)
        sqe = io_uring_get_sqe(&q->u);
    return sqe;
}

/* ------------------------------------------------------------------ submitting */

/* Gives slabs back to the kernel, all with one store. While somebody starves only from a quarter on: otherwise one whose receive is
 * still armed would eat each buffer that comes back, and those who wait for a quarter would wait for good. */
static void buffers_refill(uring_ring *q)
{
    slim_ring *r = &q->base;
    int mask = io_uring_buf_ring_mask(q->br_entries), added = 0;

    if (ring_starved_any(r) && r->held + ring_pool_spare(&r->pool) < ring_pool_resume_at(&r->pool))
        return;
    while (r->held < q->depth && ring_pool_spare(&r->pool) > 0) {
        slim_buf *b = ring_pool_take(&r->pool);

        io_uring_buf_ring_add(q->br, b->mem, b->cap_bytes, (unsigned short)ring_slab_index(&r->pool, b), mask, added++);
        r->held++;
    }
    if (added > 0)
        io_uring_buf_ring_advance(q->br, added);
}

static bool recv_arm(uring_ring *q, slim_sock *s)
{
    struct io_uring_sqe *sqe = sqe_get(q);

    if (sqe == NULL)
        return false;
    io_uring_prep_recv_multishot(sqe, s->fd, NULL, 0, 0);
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = BUF_GROUP;
    sqe->user_data = tagged(s, TAG_RECV);
    s->flags |= SOCK_RECV_ARMED;
    s->inflight++;
    return true;
}

/* By user_data: the kernel finds that through a hash, while by descriptor it would look at every waiting request. */
static bool cancel(uring_ring *q, void *object, unsigned tag)
{
    struct io_uring_sqe *sqe = sqe_get(q);

    if (sqe == NULL)
        return false;
    io_uring_prep_cancel64(sqe, tagged(object, tag), 0);
    sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
    sqe->user_data = TAG_NONE;
    return true;
}

static bool recv_cancel(uring_ring *q, slim_sock *s)
{
    if (!(s->flags & SOCK_RECV_ARMED) || s->flags & SOCK_RECV_CANCEL)
        return true;
    if (!cancel(q, s, TAG_RECV))
        return false;
    s->flags |= SOCK_RECV_CANCEL;
    return true;
}

static bool send_start(uring_ring *q, slim_sock *s)
{
    struct io_uring_sqe *sqe = sqe_get(q);

    if (sqe == NULL)
        return false;
    if (s->n_iov == 1) {
        io_uring_prep_send(sqe, s->fd, s->iov->iov_base, s->iov->iov_len, MSG_NOSIGNAL);
    } else {
        s->msg = (struct msghdr){.msg_iov = (struct iovec *)(uintptr_t)s->iov, .msg_iovlen = s->n_iov};
        io_uring_prep_sendmsg(sqe, s->fd, &s->msg, MSG_NOSIGNAL);
    }
    sqe->user_data = tagged(s, TAG_SEND);
    s->flags = (s->flags & ~(uint32_t)SOCK_SEND) | SOCK_SENDING;
    s->inflight++;
    return true;
}

static bool connect_poll(uring_ring *q, slim_sock *s)
{
    struct io_uring_sqe *sqe = sqe_get(q);

    if (sqe == NULL)
        return false;
    io_uring_prep_poll_add(sqe, s->fd, POLLOUT);
    sqe->user_data = tagged(s, TAG_POLL);
    s->flags |= SOCK_POLLING;
    s->inflight++;
    return true;
}

static bool close_start(uring_ring *q, slim_sock *s)
{
    if (s->inflight == 0) {
        ring_finish(s);
        return true;
    }
    if (s->flags & SOCK_CANCELLED)
        return true;
    /* Ends requests that cancelling cannot reach (one that a kernel thread is working on). */
    if (!(s->flags & SOCK_RELEASE))
        shutdown(s->fd, SHUT_RDWR);
    if (!recv_cancel(q, s) || (s->flags & SOCK_SENDING && !cancel(q, s, TAG_SEND)) ||
        (s->flags & SOCK_POLLING && !cancel(q, s, TAG_POLL)))
        return false;
    s->flags |= SOCK_CANCELLED;
    return true;
}

/* False: the submission queue is full, try again later. */
static bool sock_work(uring_ring *q, slim_sock *s)
{
    const uint32_t no_recv = SOCK_RECV_ARMED | SOCK_STARVED | SOCK_EOF;

    if (s->flags & SOCK_CLOSING)
        return close_start(q, s);
    if (s->flags & SOCK_CONNECTING)
        return s->flags & SOCK_POLLING || connect_poll(q, s);
    if (s->flags & SOCK_WANT_RECV && !(s->flags & no_recv) && !recv_arm(q, s))
        return false;
    if (!(s->flags & SOCK_WANT_RECV) && !recv_cancel(q, s))
        return false;
    if (s->flags & SOCK_SEND && !send_start(q, s))
        return false;
    ring_shutdown_due(s);
    return true;
}

static void starved_resume(uring_ring *q)
{
    slim_ring *r = &q->base;
    slim_sock *s;
    uint32_t n = r->held;

    if (n < ring_pool_resume_at(&r->pool))
        return;
    while ((s = ring_starved_next(r, &n)) != NULL)
        ring_mark(s);
}

static bool idle_arm(uring_ring *q)
{
    struct io_uring_sqe *sqe;
    slim_acceptor *a;
    ring_watch *w;

    LIST_FOREACH(a, &q->base.acceptors, link)
    {
        if (a->armed || a->stopped || a->resume_ns != 0)
            continue;
        if ((sqe = sqe_get(q)) == NULL)
            return false;
        io_uring_prep_multishot_accept(sqe, a->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        sqe->user_data = tagged(a, TAG_ACCEPT);
        a->armed = true;
        q->base.idle--;
    }
    LIST_FOREACH(w, &q->base.watches, link)
    {
        if (w->armed)
            continue;
        if ((sqe = sqe_get(q)) == NULL)
            return false;
        /* Armed anew after each event: that is what makes it level triggered. */
        io_uring_prep_poll_add(sqe, w->fd, POLLIN);
        sqe->user_data = tagged(w, TAG_WATCH);
        w->armed = true;
        q->base.idle--;
    }
    return true;
}

static int uring_poll(slim_ring *r, uint64_t timeout_ns)
{
    uring_ring *q = (uring_ring *)r;
    struct __kernel_timespec ts;
    struct io_uring_cqe *cqe;
    int rc;

    if (timeout_ns == 0 || io_uring_cq_ready(&q->u) > 0) {
        if (io_uring_sq_ready(&q->u) == 0 && !uring_needs_enter(&q->u))
            return 0;
        rc = io_uring_submit_and_get_events(&q->u);
    } else if (timeout_ns == UINT64_MAX) {
        rc = io_uring_submit_and_wait(&q->u, 1);
    } else {
        ts = (struct __kernel_timespec){(long long)(timeout_ns / 1000000000u), (long long)(timeout_ns % 1000000000u)};
        rc = io_uring_submit_and_wait_timeout(&q->u, &cqe, 1, &ts, NULL);
    }
    if (rc == -EINTR)
        return rc;
    /* Out of kernel memory: what was not submitted stays queued; do not burn the time until there is some. */
    if (rc < 0 && rc != -ETIME)
        usleep(1000);
    return 0;
}

static void slot_free(uring_ring *q, uint32_t slot)
{
    int none = -1;

    /* A slot that could not be emptied for want of memory is emptied by its next user. */
    io_uring_register_files_update(&q->u, slot, &none, 1);
    q->spare[q->n_spare++] = slot;
}

static void anchor_lift(uring_ring *q)
{
    slot_free(q, q->anchor[q->anchor_at % ANCHORS].slot);
    q->anchor_at++;
    q->n_anchors--;
}

static void uring_submit(slim_ring *r)
{
    uring_ring *q = (uring_ring *)r;
    struct io_uring_sqe *sqe;
    slim_sock *s;

    buffers_refill(q);
    if (ring_starved_any(r))
        starved_resume(q);
    while ((s = TAILQ_FIRST(&r->dirty)) != NULL) {
        if (!sock_work(q, s))
            break;
        if (s->flags & SOCK_DIRTY) {
            s->flags &= ~(uint32_t)SOCK_DIRTY;
            TAILQ_REMOVE(&r->dirty, s, dirty_link);
        }
    }
    if (!q->wake_armed && (sqe = sqe_get(q)) != NULL) {
        io_uring_prep_poll_multishot(sqe, r->wake_fd, POLLIN);
        sqe->user_data = TAG_WAKE;
        q->wake_armed = true;
    }
    if (r->idle > 0)
        idle_arm(q);
    while (q->n_anchors > 0 && slim_clock_ns() >= q->anchor[q->anchor_at % ANCHORS].due_ns)
        anchor_lift(q);
    uring_poll(r, 0);
}

/* ------------------------------------------------------------------ completions */

static size_t on_recv(uring_ring *q, slim_sock *s, int res, uint32_t flags, slim_ring_event *ev)
{
    slim_ring *r = &q->base;
    slim_buf *b = NULL;
    size_t n = 0;

    if (flags & IORING_CQE_F_BUFFER) {
        b = ring_slab_at(&r->pool, flags >> IORING_CQE_BUFFER_SHIFT);
        r->held--;
    }
    if (!(flags & IORING_CQE_F_MORE)) {
        s->flags &= ~(uint32_t)(SOCK_RECV_ARMED | SOCK_RECV_CANCEL);
        s->inflight--;
    }
    if ((s->flags & (SOCK_CLOSING | SOCK_RELEASE)) == SOCK_CLOSING)
        goto out;
    if (res > 0 && b != NULL) {
        *ev = ring_event(SLIM_EV_RECV, res, s);
        ev->slab = b;
        ev->p = b->mem;
        s->flags |= SOCK_FED;
        b = NULL;
        n = 1;
    } else if (res == -ENOBUFS) {
        if (s->flags & SOCK_WANT_RECV)
            ring_starve(s);
    } else if (res != -ECANCELED && res != -EINTR && res != -EAGAIN) {
        *ev = ring_event(SLIM_EV_RECV, res, s);
        s->flags |= SOCK_EOF;
        n = 1;
    }
    /* A starved one is marked when its turn has come: the order of the queue is what keeps it fair. */
    if (!(s->flags & (SOCK_RECV_ARMED | SOCK_STARVED)))
        ring_mark(s);
out:
    if (b != NULL)
        slim_buf_unref(b);
    return n;
}

static size_t on_sock(uring_ring *q, slim_sock *s, unsigned tag, const struct io_uring_cqe *cqe, slim_ring_event *ev)
{
    size_t n = 0;

    if (tag == TAG_RECV) {
        n = on_recv(q, s, cqe->res, cqe->flags, ev);
    } else if (tag == TAG_SEND) {
        s->inflight--;
        s->flags &= ~(uint32_t)SOCK_SENDING;
        *ev = ring_event(SLIM_EV_SENT, cqe->res, s);
        n = 1;
        if (s->flags & SOCK_SHUT)
            ring_mark(s);
    } else {
        s->inflight--;
        s->flags &= ~(uint32_t)SOCK_POLLING;
        if (!(s->flags & SOCK_CLOSING))
            ring_connected(s);
    }
    if (s->flags & SOCK_CLOSING && s->inflight == 0)
        ring_finish(s);
    return n;
}

static size_t on_accept(slim_acceptor *a, int res, uint32_t flags, slim_ring_event *ev)
{
    bool over = !(flags & IORING_CQE_F_MORE);
    bool error = res < 0 && !ring_accept_transient(-res);

    if (a->stopped) {
        if (res >= 0)
            close(res);
        if (over) {
            LIST_REMOVE(a, link);
            free(a);
        }
        return 0;
    }
    if (over) {
        a->armed = false;
        if (error)
            ring_accept_pause(a);
        else
            a->ring->idle++;
    }
    if (res < 0 && !error)
        return 0;
    *ev = (slim_ring_event){.kind = SLIM_EV_ACCEPT, .res = res < 0 ? res : 0, .user = a->user, .fd = res < 0 ? -1 : res};
    return 1;
}

static size_t on_watch(ring_watch *w, int res, slim_ring_event *ev)
{
    w->armed = false;
    w->ring->idle++;
    *ev = (slim_ring_event){.kind = SLIM_EV_FD, .res = res < 0 ? res : 0, .user = w->user, .fd = w->fd};
    return 1;
}

static size_t uring_reap(slim_ring *r, slim_ring_event *ev, size_t max)
{
    uring_ring *q = (uring_ring *)r;
    struct io_uring_cqe *cqe;
    unsigned head, seen = 0;
    size_t n = 0;

    io_uring_for_each_cqe(&q->u, head, cqe)
    {
        unsigned tag = cqe->user_data & TAG_MASK;
        void *object = (void *)(uintptr_t)(cqe->user_data & ~(uint64_t)TAG_MASK);

        if (n == max)
            break;
        seen++;
        if (tag == TAG_ACCEPT)
            n += on_accept(object, cqe->res, cqe->flags, ev + n);
        else if (tag == TAG_WATCH)
            n += on_watch(object, cqe->res, ev + n);
        else if (tag == TAG_WAKE)
            q->wake_armed = cqe->flags & IORING_CQE_F_MORE;
        else if (tag != TAG_NONE)
            n += on_sock(q, object, tag, cqe, ev + n);
    }
    io_uring_cq_advance(&q->u, seen);
    return n;
}

/* ------------------------------------------------------------------ opening, closing */

static slim_err uring_attach(slim_sock *s)
{
    uring_ring *q = (uring_ring *)s->ring;
    int rc;

    if (q->n_spare == 0 && q->virgin == q->direct && q->n_anchors > 0)
        anchor_lift(q);
    if (q->n_spare > 0) {
        s->slot = q->spare[--q->n_spare];
    } else if (q->virgin < q->direct) {
        s->slot = q->virgin++;
    } else {
        errno = ENFILE;
        return SLIM_E_SYS;
    }
    if ((rc = io_uring_register_files_update(&q->u, s->slot, &s->fd, 1)) == 1)
        return SLIM_OK;
    q->spare[q->n_spare++] = s->slot;
    errno = rc < 0 ? -rc : EIO;
    return SLIM_E_SYS;
}

static void uring_detach(slim_sock *s)
{
    uring_ring *q = (uring_ring *)s->ring;

    if (s->flags & SOCK_RELEASE) {
        if (q->n_anchors == ANCHORS)
            anchor_lift(q);
        q->anchor[(q->anchor_at + q->n_anchors) % ANCHORS].slot = s->slot;
        q->anchor[(q->anchor_at + q->n_anchors++) % ANCHORS].due_ns = slim_clock_ns() + ANCHOR_NS;
        return;
    }
    /* Up to Linux 6.12 the table lets go of the file only up to a second later; the peer is told now. */
    shutdown(s->fd, SHUT_RDWR);
    slot_free(q, s->slot);
}

static slim_err uring_accept_open(slim_acceptor *a)
{
    (void)a;
    return SLIM_OK;
}

/* Looks for the acceptor's completions that were not taken yet, disposes of them in place (the queue can only be consumed in order)
 * and returns true when the last one was among them. */
static bool accept_purge(uring_ring *q, slim_acceptor *a)
{
    struct io_uring_cqe *cqe;
    bool over = false;
    unsigned head;

    io_uring_for_each_cqe(&q->u, head, cqe)
    {
        if (cqe->user_data != tagged(a, TAG_ACCEPT))
            continue;
        if (cqe->res >= 0)
            close(cqe->res);
        over = over || !(cqe->flags & IORING_CQE_F_MORE);
        cqe->user_data = TAG_NONE;
    }
    return over;
}

static bool uring_accept_close(slim_acceptor *a)
{
    uring_ring *q = (uring_ring *)a->ring;
    int rc = 0, tries = 0;

    if (!a->armed)
        return true;
    a->stopped = true;
    while (!cancel(q, a, TAG_ACCEPT)) {
        if (++tries == STOP_TRIES)
            return false;
        usleep(1000);
    }
    while (!accept_purge(q, a)) {
        /* With a full queue the last one comes through slim_ring_wait. */
        if (io_uring_cq_ready(&q->u) == q->u.cq.ring_entries || (rc < 0 && rc != -EINTR))
            return false;
        rc = io_uring_submit_and_wait(&q->u, io_uring_cq_ready(&q->u) + 1);
    }
    return true;
}

static slim_err uring_watch_open(ring_watch *w)
{
    w->ring->idle++;
    return SLIM_OK;
}

static void uring_fini(slim_ring *r)
{
    uring_ring *q = (uring_ring *)r;
    slim_acceptor *a;

    /* What was accepted for those whose last completion is still to come would be lost with the queue. */
    LIST_FOREACH(a, &r->acceptors, link)
    {
        accept_purge(q, a);
    }
    if (q->br != NULL)
        uring_buf_ring_free(&q->u, q->br, q->br_entries, BUF_GROUP);
    io_uring_queue_exit(&q->u);
    free(q->spare);
    ring_base_fini(r);
    free(q);
}

static const ring_ops uring_ops = {
    .fini = uring_fini,
    .submit = uring_submit,
    .poll = uring_poll,
    .reap = uring_reap,
    .attach = uring_attach,
    .detach = uring_detach,
    .accept_open = uring_accept_open,
    .accept_close = uring_accept_close,
    .watch_open = uring_watch_open,
};

/* As many places as there can be descriptors. */
static slim_err direct_table_new(uring_ring *q)
{
    struct rlimit limit = {.rlim_cur = 1024};
    int rc;

    getrlimit(RLIMIT_NOFILE, &limit);
    q->direct = limit.rlim_cur < MAX_DIRECT ? (uint32_t)limit.rlim_cur : MAX_DIRECT;
    while ((rc = io_uring_register_files_sparse(&q->u, q->direct)) == -ENOMEM && q->direct > MIN_DIRECT)
        q->direct /= 2;
    if (rc < 0) {
        errno = -rc;
        return SLIM_E_SYS;
    }
    return (q->spare = calloc(q->direct, sizeof(*q->spare))) == NULL ? SLIM_E_NOMEM : SLIM_OK;
}

slim_err ring_uring_new(const slim_ring_config *cfg, bool only61, slim_ring **out, const char **what)
{
    struct io_uring_params params = {
        .flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG |
                 IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP,
        .cq_entries = CQ_ENTRIES,
    };
    uring_ring *q = calloc(1, sizeof(*q));
    slim_ring *r;
    slim_err e;
    int rc;

    if (q == NULL)
        return SLIM_E_NOMEM;
    r = &q->base;
    *what = "io_uring";
    if ((rc = io_uring_queue_init_params(SQ_ENTRIES, &q->u, &params)) < 0) {
        free(q);
        errno = -rc;
        return SLIM_E_SYS;
    }
    if ((e = ring_base_init(r, cfg, what)) != SLIM_OK) {
        rc = errno;
        io_uring_queue_exit(&q->u);
        free(q);
        errno = rc;
        return e;
    }
    r->ops = &uring_ops;
    r->name = only61 ? "io_uring (6.1 features)" : "io_uring";
    *what = "io_uring direct descriptors";
    if ((e = direct_table_new(q)) != SLIM_OK)
        goto fail;
    q->depth = r->pool.total - r->pool.reserve;
    for (q->br_entries = 1; q->br_entries < q->depth;)
        q->br_entries *= 2;
    *what = "io_uring receive buffers";
    if ((q->br = uring_buf_ring_new(&q->u, q->br_entries, BUF_GROUP)) == NULL) {
        e = SLIM_E_SYS;
        goto fail;
    }
    /* Saves the look-up of the descriptor in each system call; nothing depends on it. */
    io_uring_register_ring_fd(&q->u);
    *out = r;
    return SLIM_OK;
fail:
    rc = errno;
    uring_fini(r);
    errno = rc;
    return e;
}

#else

#include <errno.h>

slim_err ring_uring_new(const slim_ring_config *cfg, bool only61, slim_ring **out, const char **what)
{
    *what = "io_uring (not built in)";
    errno = ENOTSUP;
    return SLIM_E_SYS;
}

#endif
