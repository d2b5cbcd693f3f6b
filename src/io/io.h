/* What one worker's I/O is made of: ring, timers, purse, clock reading of the batch, and the connections that want a flush. */
#ifndef SLIM_IO_IO_H
#define SLIM_IO_IO_H

#include "core/budget.h"
#include "core/timers.h"
#include "io/ring.h"

typedef struct slim_conn slim_conn;

/* What a ring's user pointer points to: the receiver of its events. */
typedef struct slim_io_user slim_io_user;
struct slim_io_user {
    void (*event)(slim_io_user *self, const slim_ring_event *ev);
};

#define SLIM_IO_BATCH 256

typedef struct slim_io {
    slim_ring *ring;
    slim_mem *mem;
    slim_timers timers;
    slim_purse purse;
    uint64_t now_ns;  /* read once per turn */
    slim_conn *dirty; /* connections with something to send or to end */
    slim_conn *conns; /* all of them */
    uint32_t n_conns;
    uint64_t date_s; /* second that `date` shows */
    char date[32];   /* RFC 9110 date for response headers */
    uint64_t bytes_in, bytes_out, turns;
    slim_ring_event ev[SLIM_IO_BATCH];
} slim_io;

/* Makes the ring; call in the worker's thread. E_SYS with *why, E_NOMEM. */
slim_err slim_io_init(slim_io *io, const slim_ring_config *cfg, slim_mem *m, slim_budget *budget, const char **why);
/* All connections must be gone. */
void slim_io_free(slim_io *io);

/* Waits (not beyond the next timer) and takes one batch of events into io->ev; the clock is read. Returns how many. */
size_t slim_io_wait(slim_io *io, uint64_t deadline_ns, bool (*about_to_sleep)(void *arg), void *arg);
/* Gives each event to its user, then fires due timers. */
void slim_io_dispatch(slim_io *io, size_t n);
/* Sends what the batch left behind, once per dirty connection. */
void slim_io_flush(slim_io *io);

#endif
