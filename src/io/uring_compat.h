/* What liburing 2.3 lacks: a provided buffer ring whose memory is ours. */
#ifndef SLIM_IO_URING_COMPAT_H
#define SLIM_IO_URING_COMPAT_H

#include <errno.h>
#include <liburing.h>
#include <sys/mman.h>

/* entries: a power of two, at most 32768. NULL with errno. */
static inline struct io_uring_buf_ring *uring_buf_ring_new(struct io_uring *u, unsigned entries, int group)
{
    size_t n = entries * sizeof(struct io_uring_buf);
    struct io_uring_buf_ring *br = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct io_uring_buf_reg reg = {.ring_addr = (uintptr_t)br, .ring_entries = entries, .bgid = (uint16_t)group};
    int rc;

    if (br == MAP_FAILED)
        return NULL;
    if ((rc = io_uring_register_buf_ring(u, &reg, 0)) < 0) {
        munmap(br, n);
        errno = -rc;
        return NULL;
    }
    io_uring_buf_ring_init(br);
    return br;
}

static inline void uring_buf_ring_free(struct io_uring *u, struct io_uring_buf_ring *br, unsigned entries, int group)
{
    io_uring_unregister_buf_ring(u, group);
    munmap(br, entries * sizeof(struct io_uring_buf));
}

/* True when the kernel has work or completions that only a system call brings into the completion queue. */
static inline bool uring_needs_enter(const struct io_uring *u)
{
    return (IO_URING_READ_ONCE(*u->sq.kflags) & (IORING_SQ_CQ_OVERFLOW | IORING_SQ_TASKRUN)) != 0;
}

#endif
