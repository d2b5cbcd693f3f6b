/* Opens idle links, holds them, and says how fast they came and what each costs the node. */
#include <math.h>
#include <stdio.h>

#include "bench/mode.h"

/* Links of a thread that are being set up at the same time. */
#define UNDER_WAY 64u

typedef struct idle_link {
    bench_link link;
    bench_thread *thread;
} idle_link;

typedef struct connections {
    idle_link *links;
    uint32_t n;
    struct lane {
        uint32_t dialled, under_way; /* of this thread's */
        bench_histogram setup;
    } * lane;
    uint64_t *dialled_ns;
    _Atomic uint64_t settled, refused, lost;
    _Atomic uint64_t settled_ns; /* when the last one was open or had failed */
    uint64_t held_rss_bytes;
    _Atomic bool closing;
    char why[200]; /* of the first refusal; under the load's lock */
} connections;

static connections *mode_of(const bench_link *link)
{
    return ((const idle_link *)link)->thread->load->mode;
}

static void why_keep(connections *c, bench_load *l, const char *why)
{
    pthread_mutex_lock(&l->lock);
    if (c->why[0] == '\0')
        snprintf(c->why, sizeof(c->why), "%s", why);
    pthread_mutex_unlock(&l->lock);
}

static void settle(connections *c)
{
    if (atomic_fetch_add(&c->settled, 1) + 1 == c->n)
        atomic_store(&c->settled_ns, slim_clock_ns());
}

static void live(bench_link *link)
{
    connections *c = mode_of(link);
    bench_thread *t = ((idle_link *)link)->thread;
    uint64_t since = c->dialled_ns[(idle_link *)link - c->links];

    c->lane[t->index].under_way--;
    bench_histogram_add(&c->lane[t->index].setup, slim_clock_ns() - since);
    settle(c);
}

static void ended(bench_link *link)
{
    connections *c = mode_of(link);
    bench_thread *t = ((idle_link *)link)->thread;

    if (atomic_load(&c->closing))
        return;
    why_keep(c, t->load, link->why);
    if (link->peer.link_id != NULL) {
        atomic_fetch_add(&c->lost, 1);
        return;
    }
    c->lane[t->index].under_way--;
    atomic_fetch_add(&c->refused, 1);
    settle(c);
}

static void publish(bench_link *link, const slim_view *v)
{
    ((idle_link *)link)->thread->foreign++;
}

static void ack(bench_link *link, uint64_t id, bool success) {}

static void open_none(bench_thread *t) {}

static uint64_t turn(bench_thread *t)
{
    connections *c = t->load->mode;
    struct lane *lane = &c->lane[t->index];

    if (bench_load_now(t->load) != BENCH_RUN)
        return UINT64_MAX;
    while (lane->under_way < UNDER_WAY && (uint64_t)t->index + (uint64_t)lane->dialled * t->load->n_threads < c->n) {
        uint32_t i = t->index + lane->dialled++ * t->load->n_threads;
        idle_link *l = &c->links[i];

        l->thread = t;
        l->link.on_live = live;
        l->link.on_publish = publish;
        l->link.on_ack = ack;
        l->link.on_end = ended;
        c->dialled_ns[i] = slim_clock_ns();
        lane->under_way++;
        if (!bench_link_dial(&l->link, &t->load->target, &t->io))
            ended(&l->link);
    }
    return UINT64_MAX;
}

static void end(bench_thread *t)
{
    connections *c = t->load->mode;

    atomic_store(&c->closing, true);
    for (uint32_t i = t->index; i < c->n; i += t->load->n_threads)
        bench_link_close(&c->links[i].link);
}

/* What a link costs shows when its setup is long over. */
static void hold(connections *c, bench_load *l)
{
    bench_usage usage;
    char why[200];

    uint64_t began = slim_clock_ns(), length = (uint64_t)(l->options->duration_s * 1e9), now;

    while ((now = slim_clock_ns()) - began < length && bench_load_watch(l))
        bench_load_progress(l, "holding", (double)(now - began) / (double)length, (double)atomic_load(&c->lost), " lost");
    if (l->options->pid != 0 && bench_process_usage(l->options->pid, &usage, why, sizeof(why)))
        c->held_rss_bytes = usage.rss_bytes;
}

static int report(connections *c, bench_load *l, uint64_t settled)
{
    static bench_histogram setup;
    bench_report r = {0};
    bench_tally none = {0};
    uint64_t settled_ns = atomic_load(&c->settled_ns);
    double seconds = (double)((settled_ns != 0 ? settled_ns : l->to.time_ns) - l->from.time_ns) / 1e9;
    uint64_t refused = atomic_load(&c->refused), lost = atomic_load(&c->lost), opened = settled - refused;
    double grown = (double)c->held_rss_bytes - (double)l->from.node.rss_bytes;

    for (unsigned i = 0; i < l->n_threads; i++)
        bench_histogram_merge(&setup, &c->lane[i].setup);
    bench_report_setup(&r, l);
    bench_report_text(&r, "mac", "header MAC", l->options->no_mac ? "no" : "yes");
    bench_report_number(&r, "links", "links wanted", c->n, 0, NULL);
    bench_report_number(&r, "opened", "links opened", (double)opened, 0, NULL);
    bench_report_number(&r, "failed", "links failed", (double)refused, 0, NULL);
    bench_report_number(&r, "lost", "links lost later", (double)lost, 0, NULL);
    bench_report_number(&r, "seconds", "measured", seconds, 3, "s");
    bench_report_number(&r, "rate", "rate", seconds > 0 ? (double)opened / seconds : NAN, 0, "links/s");
    bench_report_latency(&r, &setup, "setup", "setup");
    bench_report_number(&r, "node_link_kib", "node memory per link",
                        l->options->pid != 0 && opened != 0 ? grown / 1024 / (double)opened : NAN, 2, "KiB");
    bench_report_cost(&r, l, (double)opened, "link");
    if (refused + lost != 0)
        bench_report_warn(&r, "%llu links failed and %llu were lost: %s", (unsigned long long)refused, (unsigned long long)lost,
                          c->why);
    bench_mode_end(l, &r, &none);
    return refused + lost != 0 || l->why[0] != '\0' ? BENCH_EXIT_FAILED : BENCH_EXIT_FINE;
}

int bench_mode_connections(const bench_options *o)
{
    static const bench_work work = {open_none, turn, end};
    connections c = {.n = o->links};
    uint64_t descriptors = bench_process_descriptors(), settled;
    int status = BENCH_EXIT_FAILED;
    bench_load l;

    if (descriptors < (uint64_t)o->links + 64) {
        fprintf(stderr,
                "slimbench: --links: %u links need %u open files and the limit is %llu; raise it (ulimit -n) or open fewer\n",
                o->links, o->links + 64, (unsigned long long)descriptors);
        return status;
    }
    if (!bench_load_init(&l, o, &work, &c))
        return status;
    c.links = slim_zalloc(l.mem, c.n, sizeof(*c.links));
    c.dialled_ns = slim_zalloc(l.mem, c.n, sizeof(*c.dialled_ns));
    c.lane = slim_zalloc(l.mem, l.n_threads, sizeof(*c.lane));
    if (c.links == NULL || c.dialled_ns == NULL || c.lane == NULL) {
        fprintf(stderr, "slimbench: no memory for %u links; open fewer (--links)\n", c.n);
    } else {
        bool on = bench_load_start(&l);

        if (on) {
            bench_load_mark(&l, &l.from);
            bench_load_phase(&l, BENCH_RUN);
            bench_load_await(&l, &c.settled, c.n, "opening links");
        }
        settled = atomic_load(&c.settled);
        if (on) {
            bench_load_mark(&l, &l.to);
            hold(&c, &l);
            bench_load_progress_end();
        }
        bench_load_end(&l);
        if (on)
            status = report(&c, &l, settled);
        else
            fprintf(stderr, "slimbench: %s\n", l.why);
    }
    slim_free(l.mem, c.links);
    slim_free(l.mem, c.dialled_ns);
    slim_free(l.mem, c.lane);
    bench_load_free(&l);
    return status;
}
