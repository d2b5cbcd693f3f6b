/* What the two back ends of ring.h share: the objects, their lists, the pool and the table of functions a back end provides.
 *
 * A call from above only records what is wanted and marks the socket; slim_ring_wait then lets the back end bring the kernel in
 * line with it. So both back ends start work at the same point, and nothing is lost when a submission queue is full. */
#ifndef SLIM_IO_RING_INT_H
#define SLIM_IO_RING_INT_H

#include <errno.h>
#include <stdatomic.h>
#include <sys/queue.h>

#include "io/ring.h"

/* How long accepting rests after an error such as EMFILE, unless a descriptor of the ring is closed before. */
#define RING_ACCEPT_PAUSE_NS 100000000ull

typedef struct ring_pool ring_pool;
typedef struct ring_slab ring_slab;

struct ring_slab {
    slim_buf buf;
    ring_pool *pool;
    ring_slab *below; /* in the free stack */
};

/* Slabs in one mapping; a stack, so that the one used last, whose lines are still in the cache, is used first. */
struct ring_pool {
    uint8_t *mem;
    size_t map_bytes;
    ring_slab *slabs;
    ring_slab *top;
    uint32_t total, in_stack;
    uint32_t reserve; /* receiving leaves so many for slim_ring_slab_take */
    uint32_t slab_bytes;
};

slim_err ring_pool_init(ring_pool *p, uint32_t slabs, uint32_t slab_bytes);
void ring_pool_fini(ring_pool *p);
/* One reference; NULL when the stack is empty. */
slim_buf *ring_pool_take(ring_pool *p);
static inline uint32_t ring_slab_index(const ring_pool *p, const slim_buf *b)
{
    return (uint32_t)((const ring_slab *)b - p->slabs);
}
static inline slim_buf *ring_slab_at(ring_pool *p, uint32_t index)
{
    return &p->slabs[index].buf;
}
/* How many more the pool may give to receiving. */
static inline uint32_t ring_pool_spare(const ring_pool *p)
{
    return p->in_stack > p->reserve ? p->in_stack - p->reserve : 0;
}
/* Starved receivers go on when so many buffers are to be had: a quarter of all, so that they do not fail again at once. */
static inline uint32_t ring_pool_resume_at(const ring_pool *p)
{
    uint32_t quarter = (p->total - p->reserve) / 4;

    return quarter > 0 ? quarter : 1;
}

enum {
    /* what the user wants */
    SOCK_WANT_RECV = 1 << 0,
    SOCK_SEND = 1 << 1, /* iov is to be sent and not in the kernel's hands */
    SOCK_SHUT = 1 << 2,
    SOCK_CLOSING = 1 << 3,
    /* what is */
    SOCK_CONNECTING = 1 << 4,
    SOCK_EOF = 1 << 5, /* the end or an error was delivered, nothing more is received */
    SOCK_STARVED = 1 << 6,
    SOCK_READY = 1 << 7, /* epoll: in the ready list */
    SOCK_DIRTY = 1 << 8,
    SOCK_OUT = 1 << 9,
    SOCK_DETACHED = 1 << 10,
    /* events that wait in the out list */
    SOCK_EV_CONNECT = 1 << 11,
    SOCK_EV_SENT = 1 << 12,
    SOCK_EV_CLOSED = 1 << 13,
    /* io_uring: requests in the kernel */
    SOCK_RECV_ARMED = 1 << 14,
    SOCK_RECV_CANCEL = 1 << 15,
    SOCK_SENDING = 1 << 16,
    SOCK_POLLING = 1 << 17,
    SOCK_CANCELLED = 1 << 18,
    /* epoll: what the kernel said */
    SOCK_READABLE = 1 << 19,
    SOCK_HUP = 1 << 20,     /* the end is near: a short read does not mean that nothing follows */
    SOCK_BLOCKED = 1 << 21, /* waits for room in the send buffer */
    SOCK_DRAIN = 1 << 22,   /* unix: only EAGAIN means empty */
    SOCK_SHUT_DONE = 1 << 23,
    SOCK_FED = 1 << 24, /* received something since it starved last */
    SOCK_URGENT = 1 << 25,
    SOCK_RELEASE = 1 << 26, /* with CLOSING: the descriptor stays open */
};

struct slim_sock {
    slim_ring *ring;
    void *user;
    int fd;
    uint32_t flags;
    uint32_t slot;     /* io_uring: in the direct table */
    uint32_t inflight; /* io_uring: requests whose last completion is to come */
    int connect_res, sent_res;
    const struct iovec *iov;
    size_t n_iov;
    struct msghdr msg;
    TAILQ_ENTRY(slim_sock) dirty_link;
    TAILQ_ENTRY(slim_sock) out_link;  /* the graveyard too */
    TAILQ_ENTRY(slim_sock) wait_link; /* starved or ready */
};
typedef TAILQ_HEAD(ring_socks, slim_sock) ring_socks;

struct slim_acceptor {
    slim_ring *ring;
    void *user;
    int fd;
    bool armed;         /* the kernel reports connections */
    bool ready;         /* epoll: there are some */
    bool stopped;       /* io_uring: kept only for its last completion */
    uint64_t resume_ns; /* 0: not paused */
    LIST_ENTRY(slim_acceptor) link;
};

typedef struct ring_watch {
    slim_ring *ring;
    void *user;
    int fd;
    bool armed, ready;
    LIST_ENTRY(ring_watch) link;
} ring_watch;

typedef struct ring_ops {
    void (*fini)(slim_ring *r);
    /* Brings the kernel in line with the dirty sockets, idle acceptors and returned slabs. Does not block. */
    void (*submit)(slim_ring *r);
    /* Asks the kernel for events, up to timeout_ns (0: at once, UINT64_MAX: no limit). 0 or -EINTR. */
    int (*poll)(slim_ring *r, uint64_t timeout_ns);
    /* Stores up to max of the events the kernel has. */
    size_t (*reap)(slim_ring *r, slim_ring_event *ev, size_t max);
    /* SLIM_OK, E_NOMEM or E_SYS with errno. */
    slim_err (*attach)(slim_sock *s);
    void (*detach)(slim_sock *s);
    slim_err (*accept_open)(slim_acceptor *a);
    /* True: the acceptor is done with; false: the back end frees it later. */
    bool (*accept_close)(slim_acceptor *a);
    slim_err (*watch_open)(ring_watch *w);
} ring_ops;

struct slim_ring {
    const ring_ops *ops;
    const char *name;
    ring_pool pool;
    uint32_t held; /* slabs lying in the kernel's buffer ring */
    uint32_t socks;
    uint32_t idle;   /* acceptors and watches to be (re)armed by submit */
    uint32_t paused; /* acceptors */
    bool fd_freed;   /* since the acceptors were looked at */
    ring_socks dirty, out, grave;
    ring_socks urgent, starved; /* no buffer was left for them; urgent: not even one since the last time */
    LIST_HEAD(, slim_acceptor) acceptors;
    LIST_HEAD(, ring_watch) watches;
    int wake_fd; /* an eventfd that is only ever written: each write is one edge */
    _Atomic uint32_t woken;
};

void ring_mark(slim_sock *s);
void ring_out(slim_sock *s, uint32_t event);
void ring_starve(slim_sock *s);
void ring_unstarve(slim_sock *s);
/* The starved sockets that may go on with n buffers: one each, the next in line first. NULL: no more. */
slim_sock *ring_starved_next(slim_ring *r, uint32_t *n);
static inline bool ring_starved_any(const slim_ring *r)
{
    return !TAILQ_EMPTY(&r->urgent) || !TAILQ_EMPTY(&r->starved);
}
/* The last request of a closing socket is done: releases it and has CLOSED told. */
void ring_finish(slim_sock *s);
/* The kernel finished connecting. */
void ring_connected(slim_sock *s);
/* Half-closes when that is wanted and due. */
void ring_shutdown_due(slim_sock *s);
void ring_accept_pause(slim_acceptor *a);

static inline slim_ring_event ring_event(slim_ring_event_kind kind, int res, slim_sock *s)
{
    return (slim_ring_event){.kind = kind, .res = res, .user = s->user, .sock = s, .fd = -1};
}

/* An errno-like result of accept that says nothing about us: try the next. */
static inline bool ring_accept_transient(int err)
{
    return err == EAGAIN || err == EINTR || err == ECONNABORTED;
}

/* Each allocates the ring, sets ops, name and what is its own; the rest is filled in before. errno on E_SYS. */
slim_err ring_uring_new(const slim_ring_config *cfg, bool only61, slim_ring **out, const char **what);
slim_err ring_epoll_new(const slim_ring_config *cfg, slim_ring **out, const char **what);
/* Sets up the shared part; wake_fd is open afterwards. */
slim_err ring_base_init(slim_ring *r, const slim_ring_config *cfg, const char **what);
void ring_base_fini(slim_ring *r);

#endif
