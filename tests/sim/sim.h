/* A hub and its clients in one process in which only one thread runs at a time, chosen by a seed, with a clock that goes on only
 * when nobody has anything to do, and a network whose every piece may come late, in parts, or not at all. The node's code is what
 * is shipped; what it calls from the system (threads, conditions, sockets, the clock, random numbers) is taken over by the linker.
 */
#ifndef SLIM_TESTS_SIM_H
#define SLIM_TESTS_SIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "io/ring_int.h"

/* What may go wrong in a run, and how often, per mille. */
typedef struct sim_faults {
    uint32_t part_recv, part_send, late_send, late_bytes, no_buffers, no_descriptor, no_memory;
    uint32_t pipe_bytes;        /* what a connection holds in each direction */
    uint32_t slabs, slab_bytes; /* of each ring */
    uint32_t workers, placement;
    uint64_t egress_high_bytes;
    int64_t memory_bytes;
} sim_faults;

extern sim_faults sim_faults_now;

/* --- chance: one stream of numbers for everything */
void sim_chance_init(uint64_t seed);
uint64_t sim_chance(void);
static inline uint64_t sim_below(uint64_t n)
{
    return n == 0 ? 0 : sim_chance() % n;
}
static inline bool sim_happens(uint32_t per_mille)
{
    return per_mille != 0 && sim_below(1000) < per_mille;
}
/* Mixed into what two runs of one seed must have in common. */
void sim_note(uint64_t what);
uint64_t sim_noted(void);

#define SIM_REQUIRE(cond, ...)                                                                                                     \
    do {                                                                                                                           \
        if (!(cond)) {                                                                                                             \
            fprintf(stderr, "%s:%d: ", __FILE__, __LINE__);                                                                        \
            fprintf(stderr, __VA_ARGS__);                                                                                          \
            fputc('\n', stderr);                                                                                                   \
            abort();                                                                                                               \
        }                                                                                                                          \
    } while (0)

/* --- threads and time (schedule.c) */
/* Runs the first thread and all that it starts, until all have ended. */
void sim_run(void *(*first)(void *), void *arg);
/* The calling thread waits until its ring has something or due_ns has come. */
void sim_wait_ring(slim_ring *r, uint64_t due_ns);
/* Another thread may go first. */
void sim_pause(void);
/* Until cond(arg) or the time has come; true: cond. */
bool sim_wait_until(bool (*cond)(void *arg), void *arg, uint64_t timeout_ns);
uint64_t sim_now_ns(void);

/* --- the network (network.c) */
typedef struct sim_end sim_end;
sim_end *sim_end_of(int fd);
/* Bytes that can be taken now; whether the end of the stream (0) or an error (-errno) follows at once, else 1. */
size_t sim_end_readable(const sim_end *e, int *end);
size_t sim_end_read(sim_end *e, uint8_t *p, size_t max);
/* How many were taken, 0 when the pipe is full, -errno. */
ssize_t sim_end_write(sim_end *e, const struct iovec *iov, size_t n, size_t max);
bool sim_end_writable(const sim_end *e);
/* The connection breaks. */
void sim_end_reset(sim_end *e);
/* When something that is late comes; UINT64_MAX: nothing. */
uint64_t sim_network_due_ns(void);
/* A descriptor that is connected to whoever accepts next; that of the last connect. */
int sim_dial(void);
int sim_last_dialled(void);
/* Accepting. A caller that waits: its descriptor, -1 none. */
void sim_listen(bool on);
bool sim_calls_wait(void);
int sim_accept(void);

/* --- the ring (ring_sim.c): whether it has something for its thread */
bool sim_ring_ready(slim_ring *r);

/* --- clients (population.c) */
/* Runs in a thread of its own until the scenario is over; arg: the listening address. */
void *sim_population(void *address);
bool sim_population_over(void *unused);
/* What the hub's memory shows. */
typedef struct sim_mem {
    slim_mem mem;
    long live;
    bool failing;
} sim_mem;
extern sim_mem sim_hub_mem;

#endif
