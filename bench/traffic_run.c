/* The phases of a run of publishers and subscribers, and what it found. */
#include <math.h>

#include "bench/traffic.h"

/* When less of what was sent has come within the window, queues and windows on the way were filling. */
#define STEADY 0.9
/* What has not come when nothing came for so long is lost. */
#define QUIET_NS 3000000000u
#define SETTLE_NS 20000000u

/* Until all messages were sent, or, when all is 0, a time has come. False: interrupted or failed. */
static bool run_until(bench_load *l, uint64_t all, uint64_t began_ns, uint64_t end_ns, const char *what)
{
    uint64_t received = bench_load_received(l), now;

    for (;;) {
        uint64_t sent = bench_load_sent(l);
        double took, share;

        now = slim_clock_ns();
        if (all != 0 ? sent >= all : now >= end_ns)
            return true;
        took = (double)(now - began_ns + 1) / 1e9;
        share = all != 0 ? (double)sent / (double)all : (double)(now - began_ns) / (double)(end_ns - began_ns);
        bench_load_progress(l, what, share, (double)(bench_load_received(l) - received) / took, " delivered/s");
        if (!bench_load_watch(l))
            return false;
    }
}

/* Until all is delivered, and some more for what comes twice, or nothing has come for a while. A count ends where all has come. */
static void drain(bench_traffic *t)
{
    bench_load *l = t->load;
    uint64_t seen = 0, moved_ns = slim_clock_ns();
    bool ended = t->options->count == 0;

    for (;;) {
        uint64_t all = bench_load_sent(l), received = bench_load_received(l), now = slim_clock_ns();
        bool complete;

        all *= t->to_all ? t->n_subscribers : t->answered ? 2 : 1;
        complete = received - bench_load_repeats(l) >= all;
        if (received != seen) {
            seen = received;
            moved_ns = now;
        }
        if (complete && !ended) {
            bench_load_mark(l, &l->to);
            ended = true;
        }
        if (now - moved_ns > (complete ? SETTLE_NS : QUIET_NS) || atomic_load(&l->failed))
            break;
        bench_load_progress(l, "draining", (double)received / (double)all, (double)(all - received), " on the way");
        nanosleep(&(struct timespec){0, 1000000}, NULL);
    }
    if (!ended)
        bench_load_mark(l, &l->to);
}

void bench_traffic_run(bench_traffic *t)
{
    bench_load *l = t->load;
    uint64_t now = slim_clock_ns(), end;
    bool on = true;

    atomic_store(&l->run_from_ns, now);
    if (t->options->warmup_s > 0) {
        bench_load_phase(l, BENCH_RUN);
        on = run_until(l, 0, now, now + (uint64_t)(t->options->warmup_s * 1e9), "warming up");
    }
    bench_load_mark(l, &l->from);
    atomic_store(&l->measured_from_ns, l->from.time_ns);
    if (t->options->warmup_s <= 0)
        bench_load_phase(l, BENCH_RUN);
    end = l->from.time_ns + (uint64_t)(t->options->duration_s * 1e9);
    if (on)
        run_until(l, t->options->count * t->n_publishers, l->from.time_ns, end, "running");
    if (t->options->count == 0)
        bench_load_mark(l, &l->to);
    bench_load_phase(l, BENCH_DRAIN);
    drain(t);
    bench_load_progress_end();
}

void bench_traffic_tally(bench_traffic *t, bench_tally *sum)
{
    bench_load *l = t->load;

    for (uint32_t s = 0; s < t->n_subscribers; s++) {
        for (uint32_t a = 0; a < t->n_accounts; a++) {
            uint64_t p = t->to_all ? a : (uint64_t)a * t->n_subscribers + s;

            if (p < t->n_publishers)
                bench_account_close(&t->subscribers[s].accounts[a], l->mem, t->publishers[p].sent, sum);
        }
    }
    for (uint32_t p = 0; t->answered && p < t->n_publishers; p++)
        bench_account_close(&t->publishers[p].answers, l->mem, t->publishers[p].sent, sum);
    for (unsigned i = 0; i < l->n_threads; i++)
        sum->corrupt += l->threads[i].corrupt;
}

void bench_traffic_report(bench_traffic *t, bench_report *r, bench_tally *sum)
{
    bench_load *l = t->load;
    const bench_options *o = t->options;
    static bench_histogram latency, lateness;
    double seconds, messages = (double)(l->to.received - l->from.received);
    uint64_t to_ns = l->to.time_ns, last = 0, foreign = 0, bad_mac = 0;

    for (unsigned i = 0; i < l->n_threads; i++) {
        bench_thread *thread = &l->threads[i];

        bench_histogram_merge(&latency, &thread->latency);
        bench_histogram_merge(&lateness, &thread->lateness);
        foreign += thread->foreign;
        bad_mac += thread->bad_mac;
        last = thread->last_received_ns > last ? thread->last_received_ns : last;
    }
    if (o->count != 0 && last > l->from.time_ns && last < to_ns)
        to_ns = last;
    seconds = (double)(to_ns - l->from.time_ns) / 1e9;
    bench_report_number(r, "publishers", "publishers", o->publishers, 0, NULL);
    bench_report_number(r, "subscribers", "subscribers", o->subscribers, 0, NULL);
    bench_report_text(r, "payload", "payload bytes", o->payload_text);
    bench_report_number(r, "identity", "identity bytes", o->identity_bytes, 0, NULL);
    bench_report_text(r, "mac", "header MAC", o->no_mac ? "no" : "yes");
    bench_report_number(r, "seconds", "measured", seconds, 3, "s");
    bench_report_number(r, "sent", "sent", (double)(l->to.sent - l->from.sent), 0, NULL);
    bench_report_number(r, "delivered", "delivered", messages, 0, NULL);
    bench_report_number(r, "rate", t->answered ? "rate of deliveries" : "rate", seconds > 0 ? messages / seconds : NAN, 0, "/s");
    if (t->answered)
        bench_report_number(r, "requests_rate", "rate of requests", seconds > 0 ? (double)latency.n / seconds : NAN, 0, "/s");
    bench_report_latency(r, &latency, "latency", t->answered ? "round trip" : "latency");
    if (o->rate > 0)
        bench_report_number(r, "late_p99_us", "own lateness p99",
                            lateness.n != 0 ? (double)bench_histogram_at(&lateness, 0.99) / 1000 : NAN, 1, "us");
    bench_report_cost(r, l, messages, "message");
    bench_report_tally(r, sum);
    if (o->count == 0 && !t->answered && messages < STEADY * (double)(l->to.sent - l->from.sent) * (t->to_all ? o->subscribers : 1))
        bench_report_warn(
            r, "more was sent than delivered while it was measured: windows and queues were still filling, so the figures "
               "are not steady; measure longer (--warmup, --duration) or at a --rate");
    if (bad_mac != 0)
        bench_report_warn(r, "%llu messages had a wrong header MAC", (unsigned long long)bad_mac);
    if (foreign != 0)
        bench_report_warn(r, "%llu messages came that were sent to someone else", (unsigned long long)foreign);
    sum->corrupt += foreign;
    if (o->rate > 0 && seconds > 0 && (double)(l->to.sent - l->from.sent) < 0.98 * o->rate * seconds && !l->interrupted)
        bench_report_warn(
            r, "only %.0f of %.0f messages a second were sent: the node, or slimbench, is at its limit; latencies count the wait",
            (double)(l->to.sent - l->from.sent) / seconds, o->rate);
}
