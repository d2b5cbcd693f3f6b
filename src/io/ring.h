/* The seam between everything above and the kernel: sockets, buffers and waiting, by io_uring or by epoll. One ring belongs to one
 * thread; only functions with _xt may be called from others. Both back ends deliver into slabs of the same kind of pool and give
 * the same events in the same order for the same traffic. */
#ifndef SLIM_IO_RING_H
#define SLIM_IO_RING_H

#include <netinet/in.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>

#include "core/buf.h"
#include "core/err.h"

typedef struct slim_ring slim_ring;
typedef struct slim_sock slim_sock; /* one stream socket, owned by the ring until its CLOSED event */

typedef enum slim_ring_backend {
    SLIM_RING_AUTO,    /* io_uring, epoll where the kernel or a sandbox forbids it */
    SLIM_RING_URING,   /* fail rather than fall back */
    SLIM_RING_URING61, /* io_uring with nothing newer than Linux 6.1 */
    SLIM_RING_EPOLL,
} slim_ring_backend;

typedef struct slim_ring_config {
    slim_ring_backend backend;
    uint32_t slabs;      /* receive buffers; 0: default 128 */
    uint32_t slab_bytes; /* 0: default 65536 */
} slim_ring_config;

typedef enum slim_ring_event_kind {
    SLIM_EV_ACCEPT, /* fd: an accepted, non-blocking, close-on-exec descriptor, now the caller's; res < 0: -errno (EMFILE and such),
                     * accepting goes on by itself after 100 ms or when a socket of this ring was closed */
    SLIM_EV_CONNECT, /* res 0: connected; else -errno, and the socket is to be closed by the caller */
    SLIM_EV_RECV, /* res > 0: bytes at p inside slab, one reference for the taker; 0: end of stream; < 0: -errno. After <= 0 no more
                   */
    SLIM_EV_SENT, /* res: bytes taken (maybe fewer than asked) or -errno; the iovecs of the send are free again */
    SLIM_EV_CLOSED,   /* last event of a socket: its handle is gone */
    SLIM_EV_RELEASED, /* last event of a socket that was released: fd is the caller's */
    SLIM_EV_WAKE,     /* slim_ring_wake_xt was called since the last one */
    SLIM_EV_FD,       /* a watched descriptor is readable (res < 0: cannot be watched) */
} slim_ring_event_kind;

typedef struct slim_ring_event {
    slim_ring_event_kind kind;
    int res;
    void *user; /* of the socket, listener or watch */
    slim_sock *sock;
    slim_buf *slab;
    uint8_t *p;
    int fd;
} slim_ring_event;

/* Call in the thread that will use it. E_SYS with *why (a static or thread-local text with the system's reason) when the back end
 * cannot be had, E_ARG (slabs: 2 to 32768, slab_bytes: 256 to 16 MiB), E_NOMEM. */
slim_err slim_ring_new(const slim_ring_config *cfg, slim_ring **out, const char **why);
/* All sockets must have been closed (CLOSED seen), all slabs returned. */
void slim_ring_free(slim_ring *r);
const char *slim_ring_name(const slim_ring *r); /* "io_uring", "io_uring (6.1 features)", "epoll" */

/* Waits until an event or deadline_ns (CLOCK_MONOTONIC; 0: do not wait, UINT64_MAX: no limit) and stores up to max events. All work
 * that was started since the last call is submitted here. about_to_sleep, when not NULL, is called right before a wait that may
 * block and may forbid it by returning false (used for the wake protocol: set "asleep", fence, re-check). May return 0 before the
 * deadline when a signal came. An event that was handed out stands: a RECV that follows in the same batch after slim_sock_close of
 * its socket still carries a slab reference to give back, and user must stay valid until CLOSED. The handle itself is valid until
 * the next call. */
size_t slim_ring_wait(slim_ring *r, uint64_t deadline_ns, bool (*about_to_sleep)(void *arg), void *arg, slim_ring_event *ev,
                      size_t max);
/* Makes the next or the current wait return, with one WAKE event. Any thread. */
void slim_ring_wake_xt(slim_ring *r);

/* Starts accepting on a listening descriptor; the caller keeps owning fd. stop: no ACCEPT follows; a descriptor accepted meanwhile
 * is closed. After stop returns (it waits for the kernel to let go) the ring holds no reference to fd. NULL: no memory. */
typedef struct slim_acceptor slim_acceptor;
slim_acceptor *slim_ring_accept_start(slim_ring *r, int fd, void *user);
void slim_ring_accept_stop(slim_acceptor *a);

/* Takes over a connected descriptor. With io_uring the connection also lives in the ring's direct table, so that after SIGKILL it
 * ends later than every listener (data-plane.md 6.3). On NULL (no memory, table full) fd is closed. */
slim_sock *slim_ring_adopt(slim_ring *r, int fd, void *user);
/* Starts connecting; CONNECT follows. NULL with errno set: could not even start. */
slim_sock *slim_ring_connect(slim_ring *r, const struct sockaddr *addr, socklen_t len, void *user);
void slim_sock_set_user(slim_sock *s, void *user);
/* The ordinary descriptor, for getpeername and setsockopt only. */
int slim_sock_fd(const slim_sock *s);

/* Receives until stop, end or error. When the pool is empty receiving pauses by itself and goes on when slabs return. */
void slim_sock_recv_start(slim_sock *s);
void slim_sock_recv_stop(slim_sock *s); /* RECVs that were already under way may still come; nothing is lost */
/* One send at a time; iov and what it names must stay until SENT. n <= 256. */
void slim_sock_send(slim_sock *s, const struct iovec *iov, size_t n);
/* Half-closes our side (FIN) when no send is in flight, else right after its SENT; what that one did not take is lost. */
void slim_sock_shutdown(slim_sock *s);
/* Ends the socket: outstanding work is cancelled, the SENT of an outstanding send still comes, then CLOSED, after which buffers are
 * free. The descriptor is closed before CLOSED is told. */
void slim_sock_close(slim_sock *s);

/* Takes the socket out of the ring, open as it is, for another ring to adopt. No send may be under way. What was received meanwhile
 * still comes, the end of the stream too, then RELEASED. */
void slim_sock_release(slim_sock *s);

/* A descriptor to watch for reading (an eventfd of another thread) until the ring is freed. Level triggered. E_NOMEM, E_SYS. */
slim_err slim_ring_watch(slim_ring *r, int fd, void *user);

/* Free and total slabs, for the pinning rule. */
uint32_t slim_ring_slabs_free(const slim_ring *r);
uint32_t slim_ring_slabs_total(const slim_ring *r);
/* A slab for the caller's own use (decrypted bytes), one reference; NULL when none is free. cap_bytes is its size. A quarter of the
 * slabs is never used for receiving, so that there are some while receiving is at its limit. */
slim_buf *slim_ring_slab_take(slim_ring *r);

/* CLOCK_MONOTONIC now. */
uint64_t slim_clock_ns(void);
uint64_t slim_wall_ns(void);

/* What the scheduler counts for the thread that opened it: how long it ran, and how long it was kept from running by others (0
 * where the kernel does not tell). */
typedef struct slim_thread_meter {
    int fd;
    uint64_t ran_ns, waited_ns;
} slim_thread_meter;
void slim_thread_meter_open(slim_thread_meter *m);
void slim_thread_meter_read(slim_thread_meter *m);
void slim_thread_meter_close(slim_thread_meter *m);

#endif
