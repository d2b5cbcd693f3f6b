/* The threads of a run, each with its own slim_io, and the run's phases. The mode gives three functions that a thread calls; the
 * main thread moves the phases on and watches. */
#ifndef SLIM_BENCH_LOAD_H
#define SLIM_BENCH_LOAD_H

#include <pthread.h>

#include "bench/account.h"
#include "bench/histogram.h"
#include "bench/link.h"
#include "bench/options.h"
#include "bench/process.h"

typedef struct bench_load bench_load;
typedef struct bench_thread bench_thread;

/* OPEN: links are dialled and subscribed; RUN: messages are sent; DRAIN: none is sent any more; CLOSE: links end. */
typedef enum bench_phase { BENCH_OPEN, BENCH_RUN, BENCH_DRAIN, BENCH_CLOSE } bench_phase;

typedef struct bench_work {
    /* Once, in the thread: starts dialling. */
    void (*open)(bench_thread *t);
    /* After each batch of events; says until when the thread may sleep (0: not at all). */
    uint64_t (*turn)(bench_thread *t);
    /* Once, at the beginning of CLOSE: closes the links. */
    void (*close)(bench_thread *t);
} bench_work;

struct bench_thread {
    slim_io io;
    bench_load *load;
    unsigned index;
    pthread_t id;
    bool started;
    uint64_t sent, received,
        repeats; /* by this thread; others read the copies below. repeats: received, but not for the first time */
    uint64_t last_received_ns;
    _Atomic uint64_t sent_seen, received_seen, repeats_seen;
    uint64_t cpu_ns; /* at the beginning of the window, then of the whole window */
    bench_histogram latency, lateness;
    uint64_t corrupt, bad_mac, foreign, verified_at;
};

/* What the clock and the processes said at one end of the measured window. */
typedef struct bench_mark {
    uint64_t time_ns, sent, received;
    bench_usage node;
} bench_mark;

struct bench_load {
    const bench_options *options;
    bench_work work;
    void *mode; /* the mode's own */
    bench_target target;
    slim_budget budget;
    slim_mem *mem;
    char run[24]; /* second component of all names: no two runs share any */
    uint64_t run_hash;
    unsigned n_threads;
    bench_thread *threads;
    _Atomic int phase;
    _Atomic uint64_t measured_from_ns; /* latencies count from then on */
    _Atomic uint64_t run_from_ns;      /* the schedule begins */
    _Atomic uint64_t n_ready, n_ended, n_attached;
    _Atomic bool failed;
    char why[256]; /* of the first failure */
    pthread_mutex_t lock;
    bench_mark from, to;
    bool interrupted;
};

/* E: status 1, told on stderr. */
bool bench_load_init(bench_load *l, const bench_options *o, const bench_work *work, void *mode);
bool bench_load_start(bench_load *l);
void bench_load_phase(bench_load *l, bench_phase phase);
/* Closes all links and joins the threads. */
void bench_load_end(bench_load *l);
void bench_load_free(bench_load *l);

/* The first failure counts; any thread. */
void bench_load_fail(bench_load *l, const char *format, ...) __attribute__((format(printf, 2, 3)));

static inline bench_phase bench_load_now(const bench_load *l)
{
    return (bench_phase)atomic_load_explicit(&l->phase, memory_order_acquire);
}

uint64_t bench_load_sent(const bench_load *l);
uint64_t bench_load_received(const bench_load *l);
uint64_t bench_load_repeats(const bench_load *l);
/* One end of the measured window. */
void bench_load_mark(bench_load *l, bench_mark *m);
/* The main thread's nap between two looks. False: interrupted or failed. */
bool bench_load_watch(bench_load *l);
/* Waits until *counter has reached n; false when the run failed, was interrupted, or nothing moved for 30 s, which is told as a
 * failure to do what. */
bool bench_load_await(bench_load *l, const _Atomic uint64_t *counter, uint64_t n, const char *what);
/* On a terminal; done and all in what is counted; all 0: time counts. */
void bench_load_progress(bench_load *l, const char *what, double share, double rate, const char *unit);
void bench_load_progress_end(void);

/* Set by Ctrl-C. */
extern _Atomic bool bench_interrupted;

#endif
