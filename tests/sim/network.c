#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "sim.h"

#define FDS_MAX 8192
#define ENDS_MAX 8192
#define CALLS_MAX 256

/* One side of a connection. What it receives lies in rx. */
struct sim_end {
    sim_end *peer;
    int fd;
    uint8_t *rx;
    size_t rx_at, rx_n;
    bool shut;   /* says nothing more */
    bool closed; /* nobody is there any more */
    bool reset;  /* told to this side */
    uint64_t late_until_ns;
};

static sim_end ends[ENDS_MAX];
static unsigned n_ends;
static sim_end *by_fd[FDS_MAX];
static sim_end *calls[CALLS_MAX];
static unsigned n_calls;
static bool listening;
static int last_dialled = -1;

int __real_close(int fd);
int __wrap_close(int fd);
int __wrap_shutdown(int fd, int how);
int __wrap_connect(int fd, const struct sockaddr *a, socklen_t n);

sim_end *sim_end_of(int fd)
{
    return fd >= 0 && fd < FDS_MAX ? by_fd[fd] : NULL;
}

static sim_end *end_new(int fd)
{
    sim_end *e = &ends[n_ends];

    SIM_REQUIRE(n_ends < ENDS_MAX && fd < FDS_MAX, "too many connections");
    n_ends++;
    *e = (sim_end){.fd = fd};
    e->rx = malloc(sim_faults_now.pipe_bytes);
    if (fd >= 0)
        by_fd[fd] = e;
    return e;
}

size_t sim_end_readable(const sim_end *e, int *end)
{
    size_t n = e->rx_n - e->rx_at;

    *end = 1;
    if (sim_now_ns() < e->late_until_ns)
        return 0;
    if (n == 0 && e->reset)
        *end = -ECONNRESET;
    else if (n == 0 && (e->peer->shut || e->peer->closed))
        *end = 0;
    return n;
}

size_t sim_end_read(sim_end *e, uint8_t *p, size_t max)
{
    size_t n = e->rx_n - e->rx_at < max ? e->rx_n - e->rx_at : max;

    memcpy(p, e->rx + e->rx_at, n);
    e->rx_at += n;
    if (e->rx_at == e->rx_n)
        e->rx_at = e->rx_n = 0;
    return n;
}

bool sim_end_writable(const sim_end *e)
{
    const sim_end *to = e->peer;

    return e->reset || to->closed || to->rx_n - to->rx_at < sim_faults_now.pipe_bytes;
}

ssize_t sim_end_write(sim_end *e, const struct iovec *iov, size_t n, size_t max)
{
    sim_end *to = e->peer;
    size_t taken = 0;

    if (e->reset)
        return -ECONNRESET;
    if (to->closed || e->shut) {
        e->reset = true;
        return -EPIPE;
    }
    if (to->rx_at > 0) {
        memmove(to->rx, to->rx + to->rx_at, to->rx_n - to->rx_at);
        to->rx_n -= to->rx_at;
        to->rx_at = 0;
    }
    for (size_t i = 0; i < n && taken < max && to->rx_n < sim_faults_now.pipe_bytes; i++) {
        size_t k = iov[i].iov_len;

        if (k > max - taken)
            k = max - taken;
        if (k > sim_faults_now.pipe_bytes - to->rx_n)
            k = sim_faults_now.pipe_bytes - to->rx_n;
        memcpy(to->rx + to->rx_n, iov[i].iov_base, k);
        to->rx_n += k;
        taken += k;
        if (k < iov[i].iov_len)
            break;
    }
    if (taken > 0 && sim_happens(sim_faults_now.late_bytes)) {
        uint64_t until_ns = sim_now_ns() + sim_below(50000000);

        if (until_ns > to->late_until_ns)
            to->late_until_ns = until_ns;
    }
    return (ssize_t)taken;
}

uint64_t sim_network_due_ns(void)
{
    uint64_t next = UINT64_MAX;

    for (unsigned i = 0; i < n_ends; i++)
        if (ends[i].late_until_ns > sim_now_ns() && ends[i].late_until_ns < next && !ends[i].closed)
            next = ends[i].late_until_ns;
    return next;
}

void sim_end_reset(sim_end *e)
{
    e->reset = e->peer->reset = true;
    e->rx_at = e->rx_n = 0;
}

static void end_close(sim_end *e)
{
    /* As TCP: unread bytes turn the end into a reset. */
    if (e->rx_n > e->rx_at)
        e->peer->reset = true;
    e->closed = e->shut = true;
    free(e->rx);
    e->rx = NULL;
    e->rx_at = e->rx_n = 0;
    if (e->fd >= 0)
        by_fd[e->fd] = NULL;
    e->fd = -1;
}

int __wrap_close(int fd)
{
    sim_end *e = sim_end_of(fd);

    if (e != NULL)
        end_close(e);
    return __real_close(fd);
}

int __wrap_shutdown(int fd, int how)
{
    sim_end *e = sim_end_of(fd);

    if (e != NULL && how != SHUT_RD)
        e->shut = true;
    return 0;
}

static int connect_end(int fd)
{
    sim_end *near, *far;

    if (!listening || n_calls == CALLS_MAX) {
        errno = ECONNREFUSED;
        return -1;
    }
    near = end_new(fd);
    far = end_new(-1);
    near->peer = far;
    far->peer = near;
    calls[n_calls++] = far;
    last_dialled = fd;
    return 0;
}

int __wrap_connect(int fd, const struct sockaddr *a, socklen_t n)
{
    return connect_end(fd);
}

int sim_dial(void)
{
    int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

    SIM_REQUIRE(fd >= 0, "no descriptor");
    if (connect_end(fd) == 0)
        return fd;
    close(fd);
    return -1;
}

int sim_last_dialled(void)
{
    return last_dialled;
}

void sim_listen(bool on)
{
    listening = on;
    while (!on && n_calls > 0) {
        sim_end *e = calls[--n_calls];

        e->peer->reset = true;
        end_close(e);
    }
}

bool sim_calls_wait(void)
{
    return n_calls > 0;
}

int sim_accept(void)
{
    sim_end *e = calls[0];
    int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

    SIM_REQUIRE(fd >= 0 && fd < FDS_MAX, "no descriptor");
    memmove(calls, calls + 1, --n_calls * sizeof(*calls));
    e->fd = fd;
    by_fd[fd] = e;
    return fd;
}
