/* When publishers send: as fast as it goes, by the clock, or when the answer has come. */
#include "bench/traffic.h"

/* A publisher queues so much ahead of its window, and in one turn so many messages, that the others get theirs. */
#define AHEAD_BYTES (128u * 1024)
#define BURST 128
#define TURN 1024
/* By the clock it queues ahead until memory would suffer; what is due later keeps its time. */
#define BEHIND_BYTES (16u * 1024 * 1024)
/* A request that is not answered by then is given up. */
#define ANSWER_NS 5000000000u

static bool may_send(const bench_publisher *p)
{
    return p->made && p->link.live && (p->traffic->options->count == 0 || p->sent < p->traffic->options->count);
}

/* As fast as the windows allow, but not faster than what comes back is read: a bounded helping per turn, and the next publisher's
 * turn comes first then. */
static uint64_t turn_fast(bench_traffic *t, bench_thread *thread)
{
    struct bench_lane *lane = &t->lane[thread->index];
    uint32_t mine = (t->n_publishers - thread->index + t->load->n_threads - 1) / t->load->n_threads;
    uint64_t until = UINT64_MAX, now = slim_clock_ns();
    int all = 0;

    if (thread->index >= t->n_publishers)
        return UINT64_MAX;
    for (uint32_t i = 0; i < mine && all < TURN; i++) {
        bench_publisher *p = &t->publishers[thread->index + lane->first * t->load->n_threads];
        int n = 0;

        while (n < BURST && may_send(p) && bench_link_queued(&p->link) < AHEAD_BYTES && bench_publisher_send(p, thread, now))
            n++;
        if (n == BURST)
            until = 0;
        all += n;
        lane->first = lane->first + 1 < mine ? lane->first + 1 : 0;
    }
    return all < TURN ? until : 0;
}

/* By the schedule: publisher i's message k is due at (k * publishers + i) / rate. */
static uint64_t turn_paced(bench_traffic *t, bench_thread *thread)
{
    struct bench_lane *lane = &t->lane[thread->index];
    uint64_t began = atomic_load(&t->load->run_from_ns), now = slim_clock_ns(), due;
    double step = 1e9 / t->options->rate;

    if (thread->index >= t->n_publishers)
        return UINT64_MAX;
    for (;;) {
        bench_publisher *p = &t->publishers[thread->index + lane->first * t->load->n_threads];

        due = began + (uint64_t)(((double)lane->rounds * t->n_publishers + p->number) * step);
        if (due > now)
            return due;
        if (may_send(p)) {
            if (bench_link_queued(&p->link) > BEHIND_BYTES)
                return UINT64_MAX;
            if (now >= atomic_load_explicit(&t->load->measured_from_ns, memory_order_relaxed))
                bench_histogram_add(&thread->lateness, now - due);
            bench_publisher_send(p, thread, due);
        } else if (t->options->count != 0 && lane->rounds >= t->options->count) {
            return UINT64_MAX;
        }
        lane->first++;
        if (thread->index + lane->first * t->load->n_threads >= t->n_publishers) {
            lane->first = 0;
            lane->rounds++;
        }
    }
}

/* One in flight each. */
static uint64_t turn_request(bench_traffic *t, bench_thread *thread)
{
    uint64_t until = UINT64_MAX, now = thread->io.now_ns;

    for (uint32_t i = thread->index; i < t->n_publishers; i += t->load->n_threads) {
        bench_publisher *p = &t->publishers[i];

        if (p->turn_ns != 0 && now > p->turn_ns + ANSWER_NS)
            p->turn_ns = 0;
        if (p->turn_ns == 0 && may_send(p)) {
            p->turn_ns = slim_clock_ns();
            if (!bench_publisher_send(p, thread, p->turn_ns))
                p->turn_ns = 0;
        }
        if (p->turn_ns != 0 && p->turn_ns + ANSWER_NS < until)
            until = p->turn_ns + ANSWER_NS;
    }
    return until;
}

uint64_t bench_traffic_turn(bench_traffic *t, bench_thread *thread)
{
    if (bench_load_now(t->load) != BENCH_RUN)
        return UINT64_MAX;
    if (t->answered)
        return turn_request(t, thread);
    return t->options->rate > 0 ? turn_paced(t, thread) : turn_fast(t, thread);
}
