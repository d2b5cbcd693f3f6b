/* Links that come, subscribe, unsubscribe and go, again and again, while a stream runs whose accounts must stay exact. */
#include <math.h>
#include <stdio.h>

#include "bench/mode.h"
#include "bench/traffic.h"

typedef enum comer_state { COMER_AWAY, COMER_DIALLING, COMER_SUBSCRIBING, COMER_UNSUBSCRIBING, COMER_LEAVING } comer_state;

typedef struct churn churn;

/* One link that comes and goes. */
typedef struct comer {
    bench_link link;
    churn *mode;
    bench_thread *thread;
    uint32_t number;
    comer_state state;
    uint64_t acked;
    bool counted; /* of this coming, as failed or as whole */
} comer;

struct churn {
    bench_traffic traffic;
    bench_load *load;
    comer *comers;
    _Atomic uint64_t cycles, failures, subscriptions;
    char why[200]; /* of the first failure; under the load's lock */
};

static void fail(comer *c, const char *why)
{
    bench_load *l = c->mode->load;

    if (c->counted || bench_load_now(l) == BENCH_CLOSE)
        return;
    c->counted = true;
    atomic_fetch_add(&c->mode->failures, 1);
    pthread_mutex_lock(&l->lock);
    if (c->mode->why[0] == '\0')
        snprintf(c->mode->why, sizeof(c->mode->why), "%s", why);
    pthread_mutex_unlock(&l->lock);
}

static void subscribe_all(comer *c, bool unsubscribe)
{
    uint64_t n = c->mode->load->options->names;
    slim_name name;
    char app[48];

    c->acked = 0;
    for (uint64_t i = 0; i < n; i++) {
        snprintf(app, sizeof(app), "c%u-%llu", c->number, (unsigned long long)i);
        bench_name(&name, "slimbench", c->mode->load->run, app, i + 1);
        if (!bench_link_subscribe(&c->link, &name, unsubscribe, i + 1)) {
            fail(c, "cannot subscribe: no memory");
            return;
        }
    }
}

static void live(bench_link *link)
{
    comer *c = (comer *)link;

    c->state = COMER_SUBSCRIBING;
    subscribe_all(c, false);
}

static void ack(bench_link *link, uint64_t id, bool success)
{
    comer *c = (comer *)link;

    if (!success)
        fail(c, "the node refused a subscription");
    if (++c->acked < c->mode->load->options->names)
        return;
    if (c->state == COMER_SUBSCRIBING) {
        atomic_fetch_add(&c->mode->subscriptions, c->acked);
        /* Every other time it goes without a word, and the node has to tidy up. */
        if ((atomic_load(&c->mode->cycles) & 1) == 0) {
            c->state = COMER_UNSUBSCRIBING;
            subscribe_all(c, true);
            return;
        }
    }
    c->state = COMER_LEAVING;
    if (!c->counted) {
        c->counted = true;
        atomic_fetch_add(&c->mode->cycles, 1);
    }
    bench_link_close(link);
}

static void ended(bench_link *link)
{
    comer *c = (comer *)link;

    fail(c, link->why);
    c->state = COMER_LEAVING;
}

static void publish(bench_link *link, const slim_view *v)
{
    ((comer *)link)->thread->foreign++;
}

static void open(bench_thread *t)
{
    churn *m = t->load->mode;

    for (uint32_t i = t->index; i < t->load->options->links; i += t->load->n_threads) {
        comer *c = &m->comers[i];

        c->mode = m;
        c->thread = t;
        c->number = i;
        c->link.on_live = live;
        c->link.on_publish = publish;
        c->link.on_ack = ack;
        c->link.on_end = ended;
    }
    bench_traffic_open(&m->traffic, t);
}

static uint64_t turn(bench_thread *t)
{
    churn *m = t->load->mode;

    for (uint32_t i = t->index; bench_load_now(t->load) == BENCH_RUN && i < t->load->options->links; i += t->load->n_threads) {
        comer *c = &m->comers[i];

        if ((c->state != COMER_AWAY && c->state != COMER_LEAVING) || c->link.conn != NULL)
            continue;
        c->state = COMER_DIALLING;
        c->counted = false;
        if (!bench_link_dial(&c->link, &t->load->target, &t->io)) {
            fail(c, c->link.why);
            c->state = COMER_AWAY;
        }
    }
    return bench_traffic_turn(&m->traffic, t);
}

static void end(bench_thread *t)
{
    churn *m = t->load->mode;

    for (uint32_t i = t->index; i < t->load->options->links; i += t->load->n_threads) {
        m->comers[i].counted = true;
        bench_link_close(&m->comers[i].link);
    }
    bench_traffic_close(&m->traffic, t);
}

static int report(churn *m, bench_load *l)
{
    double seconds = (double)(l->to.time_ns - l->run_from_ns) / 1e9;
    uint64_t failures = atomic_load(&m->failures);
    bench_report r = {0};
    bench_tally sum = {0};
    int status;

    bench_report_setup(&r, l);
    bench_report_number(&r, "links", "links that come and go", l->options->links, 0, NULL);
    bench_report_number(&r, "names", "names of each", (double)l->options->names, 0, NULL);
    bench_report_number(&r, "cycles", "times one came", (double)atomic_load(&m->cycles), 0, NULL);
    bench_report_number(&r, "cycles_rate", "rate of comings", seconds > 0 ? (double)atomic_load(&m->cycles) / seconds : NAN, 0,
                        "/s");
    bench_report_number(&r, "subscriptions", "subscriptions", (double)atomic_load(&m->subscriptions), 0, NULL);
    bench_report_number(&r, "failures", "comings that failed", (double)failures, 0, NULL);
    bench_traffic_tally(&m->traffic, &sum);
    bench_traffic_report(&m->traffic, &r, &sum);
    if (failures != 0)
        bench_report_warn(&r, "%llu links failed while they came or went: %s", (unsigned long long)failures, m->why);
    status = bench_mode_end(l, &r, &sum);
    return status == BENCH_EXIT_FINE && failures != 0 ? BENCH_EXIT_FAILED : status;
}

int bench_mode_churn(const bench_options *o)
{
    static const bench_work work = {open, turn, end};
    int status = BENCH_EXIT_FAILED;
    bench_load l;
    churn m = {0};

    if (!bench_load_init(&l, o, &work, &m))
        return status;
    m.load = &l;
    m.comers = slim_zalloc(l.mem, o->links, sizeof(*m.comers));
    if (m.comers == NULL || bench_traffic_init(&m.traffic, &l) != SLIM_OK) {
        fprintf(stderr, "slimbench: no memory for %u links; use fewer (--links, --publishers, --subscribers)\n", o->links);
        goto out;
    }
    if (bench_load_start(&l) && bench_load_await(&l, &l.n_ready, bench_traffic_links(&m.traffic), "opening links")) {
        bench_traffic_run(&m.traffic);
        bench_load_end(&l);
        status = report(&m, &l);
    } else {
        bench_load_end(&l);
        fprintf(stderr, "slimbench: %s\n",
                l.why[0] != '\0' ? l.why : "interrupted before all links were open; nothing was measured");
    }
out:
    bench_traffic_free(&m.traffic);
    slim_free(l.mem, m.comers);
    bench_load_free(&l);
    return status;
}
