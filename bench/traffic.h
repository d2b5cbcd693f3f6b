/* Publishers and subscribers with exact accounts between them: what stream, fanout, latency, request and churn share. */
#ifndef SLIM_BENCH_TRAFFIC_H
#define SLIM_BENCH_TRAFFIC_H

#include "bench/load.h"
#include "bench/message.h"
#include "bench/report.h"

typedef struct bench_traffic bench_traffic;

/* One that sends. Its number travels as the id of the source name. */
typedef struct bench_publisher {
    bench_link link;
    bench_traffic *traffic;
    bench_thread *thread;
    uint32_t number;
    char app[16];
    slim_name name;
    bench_message message;
    bool made;
    uint64_t sent;
    uint64_t turn_ns; /* when the one message in flight was sent; 0: none is */
    /* The subscriber's: how it answers this publisher, and what came. */
    bench_message answer;
    bool answer_made;
    bench_account answers;
} bench_publisher;

typedef struct bench_subscriber {
    bench_link link;
    bench_traffic *traffic;
    bench_thread *thread;
    uint32_t number;
    char app[16];
    slim_name name;
    bench_account *accounts; /* of each publisher that sends to it */
} bench_subscriber;

struct bench_traffic {
    bench_load *load;
    const bench_options *options;
    bool to_all, answered;                            /* fanout; request */
    uint32_t n_publishers, n_subscribers, n_accounts; /* accounts of one subscriber */
    bench_publisher *publishers;
    bench_subscriber *subscribers;
    struct bench_lane {
        uint32_t first;  /* which of this thread's publishers has the next turn */
        uint64_t rounds; /* by the clock: how often all of them have had theirs */
    } lane[BENCH_THREADS_MAX];
};

/* Its next message, stamped with this time. False: the link has ended, or no memory. */
bool bench_publisher_send(bench_publisher *p, bench_thread *thread, uint64_t time_ns);

/* E_NOMEM. */
slim_err bench_traffic_init(bench_traffic *t, bench_load *l);
void bench_traffic_free(bench_traffic *t);
/* What a bench_work does, for a load whose mode is anything. */
void bench_traffic_open(bench_traffic *t, bench_thread *thread);
uint64_t bench_traffic_turn(bench_traffic *t, bench_thread *thread);
void bench_traffic_close(bench_traffic *t, bench_thread *thread);
/* Main thread, links ready: runs the phases up to DRAIN, and marks the window. */
void bench_traffic_run(bench_traffic *t);
/* After bench_load_end. */
void bench_traffic_tally(bench_traffic *t, bench_tally *sum);
void bench_traffic_report(bench_traffic *t, bench_report *r, bench_tally *sum);
/* How many links become ready. */
static inline uint64_t bench_traffic_links(const bench_traffic *t)
{
    return (uint64_t)t->n_publishers + t->n_subscribers;
}

#endif
