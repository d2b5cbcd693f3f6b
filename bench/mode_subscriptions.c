/* Many subscriptions, then messages to random ones of them. */
#include <math.h>
#include <stdio.h>

#include "bench/message.h"
#include "bench/mode.h"

/* Subscriptions of a link that are not acked yet, and bytes queued for them. */
#define UNDER_WAY 20000u
#define QUEUED_BYTES (256u * 1024)
#define BURST 256
#define QUIET_NS 3000000000u
#define SETTLE_NS 20000000u /* what comes twice may come behind the last one */
#define PUBLISHER "p"

typedef struct subscriptions subscriptions;

typedef struct holder {
    bench_link link;
    subscriptions *mode;
    bench_thread *thread;
    uint32_t number;
    uint64_t sent, acked; /* subscriptions */
    uint64_t published;   /* lookups sent to it; the publisher's thread counts */
    uint8_t *answered;    /* a bit for each of its subscriptions */
    bench_account account;
} holder;

struct subscriptions {
    bench_load *load;
    uint64_t all;
    bool by_id;
    uint32_t n;
    holder *holders;
    bench_link publisher;
    bench_thread *publisher_thread;
    bench_message message;
    slim_name source;
    uint64_t looked_up;
    _Atomic uint64_t acked, wrong;
    _Atomic uint64_t acked_ns; /* when the last ack came */
};

/* Of subscription i of all. The name borrows from app. */
static void name_of(const subscriptions *m, uint64_t i, char app[24], slim_name *out)
{
    snprintf(app, 24, "n%08llx", m->by_id ? 0 : (unsigned long long)i);
    bench_name(out, "slimbench", m->load->run, app, m->by_id ? i + 1 : 1);
}

/* How many of all belong to a holder: number, number + n, ... */
static uint64_t share_of(const subscriptions *m, uint32_t number)
{
    return (m->all - number + m->n - 1) / m->n;
}

static void lost(bench_load *l, const bench_link *link, const char *who, uint32_t number)
{
    if (bench_load_now(l) != BENCH_CLOSE)
        bench_load_fail(l, "%s: %s %u: %s", l->options->server, who, number, link->why);
}

static void holder_live(bench_link *link)
{
    atomic_fetch_add(&((holder *)link)->mode->load->n_ready, 1);
}

static void holder_end(bench_link *link)
{
    holder *h = (holder *)link;

    lost(h->mode->load, link, "link", h->number);
}

static void holder_ack(bench_link *link, uint64_t id, bool success)
{
    holder *h = (holder *)link;

    if (!success) {
        bench_load_fail(h->mode->load, "the node refused subscription %llu of link %u", (unsigned long long)id, h->number);
        return;
    }
    /* Ids are counted from 1; acks come in any order, each once. */
    if (id == 0 || id > h->sent || (h->answered[(id - 1) / 8] & 1u << (id - 1) % 8) != 0) {
        atomic_fetch_add(&h->mode->wrong, 1);
        return;
    }
    h->answered[(id - 1) / 8] |= (uint8_t)(1u << (id - 1) % 8);
    h->acked++;
    if (atomic_fetch_add_explicit(&h->mode->acked, 1, memory_order_relaxed) + 1 == h->mode->all)
        atomic_store(&h->mode->acked_ns, slim_clock_ns());
}

static void holder_publish(bench_link *link, const slim_view *v)
{
    holder *h = (holder *)link;
    const bench_options *o = h->mode->load->options;
    slim_bytes payload;
    bench_stamp stamp;

    h->thread->received++;
    h->thread->last_received_ns = h->thread->io.now_ns;
    if (v->source.key.c[1] != h->mode->load->run_hash || !bench_payload_find(v, &payload) || !bench_stamp_read(payload, &stamp) ||
        payload.n != bench_sizes_of(&o->payload, h->number, stamp.sequence) || !bench_payload_check(payload, stamp) ||
        (o->verify == BENCH_VERIFY_ON && !bench_link_verify(link, v))) {
        h->thread->corrupt++;
        return;
    }
    if (!bench_account_take(&h->account, h->mode->load->mem, stamp.sequence))
        h->thread->repeats++;
    bench_histogram_add(&h->thread->latency, h->thread->io.now_ns > stamp.time_ns ? h->thread->io.now_ns - stamp.time_ns : 0);
}

static subscriptions *of_publisher(bench_link *link)
{
    return (subscriptions *)((char *)link - offsetof(subscriptions, publisher));
}

static void publisher_live(bench_link *link)
{
    subscriptions *m = of_publisher(link);
    slim_name to;
    char app[24];

    bench_name(&m->source, "slimbench", m->load->run, PUBLISHER, 1);
    name_of(m, 0, app, &to);
    if (bench_message_make(&m->message, m->load->mem, &m->source, &to, m->load->options->identity_bytes, 1, link->mac != NULL) !=
        SLIM_OK)
        bench_load_fail(m->load, "no memory for a message");
    atomic_fetch_add(&m->load->n_ready, 1);
}

static void publisher_end(bench_link *link)
{
    lost(of_publisher(link)->load, link, "publisher", 0);
}

static void publisher_publish(bench_link *link, const slim_view *v)
{
    of_publisher(link)->publisher_thread->foreign++;
}

static void publisher_ack(bench_link *link, uint64_t id, bool success) {}

static void open(bench_thread *t)
{
    subscriptions *m = t->load->mode;

    for (uint32_t i = t->index; i < m->n; i += t->load->n_threads) {
        holder *h = &m->holders[i];

        h->thread = t;
        h->link.on_live = holder_live;
        h->link.on_publish = holder_publish;
        h->link.on_ack = holder_ack;
        h->link.on_end = holder_end;
        if (!bench_link_dial(&h->link, &t->load->target, &t->io))
            bench_load_fail(t->load, "%s: link %u: %s", t->load->options->server, i, h->link.why);
    }
    if (t != m->publisher_thread)
        return;
    m->publisher.on_live = publisher_live;
    m->publisher.on_publish = publisher_publish;
    m->publisher.on_ack = publisher_ack;
    m->publisher.on_end = publisher_end;
    if (!bench_link_dial(&m->publisher, &t->load->target, &t->io))
        bench_load_fail(t->load, "%s: publisher: %s", t->load->options->server, m->publisher.why);
}

static uint64_t subscribe_more(bench_thread *t)
{
    subscriptions *m = t->load->mode;
    uint64_t until = UINT64_MAX;
    slim_name name;
    char app[24];

    for (uint32_t i = t->index; i < m->n; i += t->load->n_threads) {
        holder *h = &m->holders[i];
        uint64_t mine = share_of(m, i);
        int n = 0;

        while (n < BURST && h->link.live && h->sent < mine && h->sent - h->acked < UNDER_WAY &&
               bench_link_queued(&h->link) < QUEUED_BYTES) {
            name_of(m, h->sent * m->n + i, app, &name);
            if (!bench_link_subscribe(&h->link, &name, false, h->sent + 1))
                break;
            h->sent++;
            n++;
        }
        if (n == BURST)
            until = 0;
    }
    return until;
}

static uint64_t look_up(bench_thread *t)
{
    subscriptions *m = t->load->mode;
    const bench_options *o = t->load->options;
    uint64_t now = slim_clock_ns();
    slim_name to;
    char app[24];
    int n = 0;

    if (t != m->publisher_thread)
        return UINT64_MAX;
    while (n < BURST && m->publisher.live && m->looked_up < o->lookups && bench_link_queued(&m->publisher) < QUEUED_BYTES) {
        uint64_t i = bench_mix(m->looked_up) % m->all;
        holder *h = &m->holders[i % m->n];
        size_t payload_n = bench_sizes_of(&o->payload, h->number, h->published);
        uint8_t *room;

        name_of(m, i, app, &to);
        bench_message_aim(&m->message, &m->source, &to);
        if ((room = bench_link_begin(&m->publisher, bench_message_size(&m->message, payload_n))) == NULL)
            break;
        bench_message_put(&m->message, m->publisher.mac, (bench_stamp){h->published, now}, payload_n, room);
        h->published++;
        m->looked_up++;
        t->sent++;
        n++;
    }
    return n == BURST ? 0 : UINT64_MAX;
}

static uint64_t turn(bench_thread *t)
{
    switch (bench_load_now(t->load)) {
    case BENCH_RUN: return subscribe_more(t);
    case BENCH_DRAIN: return look_up(t);
    case BENCH_OPEN:
    case BENCH_CLOSE: break;
    }
    return UINT64_MAX;
}

static void end(bench_thread *t)
{
    subscriptions *m = t->load->mode;

    for (uint32_t i = t->index; i < m->n; i += t->load->n_threads)
        bench_link_close(&m->holders[i].link);
    if (t == m->publisher_thread)
        bench_link_close(&m->publisher);
}

/* Until all lookups came back or nothing has come for a while. */
static void await_lookups(bench_load *l)
{
    uint64_t all = l->options->lookups, seen = 0, moved_ns = slim_clock_ns(), began = moved_ns;

    for (;;) {
        uint64_t now = slim_clock_ns(), received = bench_load_received(l);

        if (received != seen) {
            seen = received;
            moved_ns = now;
        }
        if (now - moved_ns > (received - bench_load_repeats(l) >= all ? SETTLE_NS : QUIET_NS) || !bench_load_watch(l))
            return;
        bench_load_progress(l, "looking up", (double)received / (double)all, (double)received / ((double)(now - began + 1) / 1e9),
                            "/s");
    }
}

typedef struct findings {
    bench_mark begun, acked, done;
    bool was_acked;
} findings;

static int report(subscriptions *m, bench_load *l, const findings *f)
{
    static bench_histogram latency;
    const bench_options *o = l->options;
    uint64_t acked_ns = f->was_acked ? atomic_load(&m->acked_ns) : f->acked.time_ns;
    double seconds = (double)(acked_ns - f->begun.time_ns) / 1e9, grown;
    uint64_t acked = atomic_load(&m->acked), wrong = atomic_load(&m->wrong), last_ns = 0;
    bench_report r = {0};
    bench_tally sum = {0};

    for (unsigned i = 0; i < l->n_threads; i++) {
        last_ns = l->threads[i].last_received_ns > last_ns ? l->threads[i].last_received_ns : last_ns;
        bench_histogram_merge(&latency, &l->threads[i].latency);
        sum.corrupt += l->threads[i].corrupt + l->threads[i].foreign;
    }
    for (uint32_t i = 0; i < m->n; i++)
        bench_account_close(&m->holders[i].account, l->mem, m->holders[i].published, &sum);
    sum.duplicates += wrong;
    grown = (double)f->acked.node.rss_bytes - (double)f->begun.node.rss_bytes;
    bench_report_setup(&r, l);
    bench_report_text(&r, "mac", "header MAC", o->no_mac ? "no" : "yes");
    bench_report_number(&r, "links", "links", m->n, 0, NULL);
    bench_report_number(&r, m->by_id ? "ids" : "names", m->by_id ? "ids of one name" : "names", (double)m->all, 0, NULL);
    bench_report_number(&r, "acked", "acked", (double)acked, 0, NULL);
    bench_report_number(&r, "seconds", "until all were acked", seconds, 3, "s");
    bench_report_number(&r, "rate", "rate", seconds > 0 ? (double)acked / seconds : NAN, 0, "/s");
    bench_report_number(&r, "node_subscribe_us", "node CPU, subscribing",
                        o->pid != 0 && acked != 0 ? (double)(f->acked.node.cpu_ns - f->begun.node.cpu_ns) / 1e3 / (double)acked
                                                  : NAN,
                        3, "us per subscription");
    bench_report_number(&r, "node_name_bytes", "node memory, each", o->pid != 0 && acked != 0 ? grown / (double)acked : NAN, 0,
                        "bytes");
    l->from = f->acked;
    l->to = f->done;
    seconds = last_ns > f->acked.time_ns ? (double)(last_ns - f->acked.time_ns) / 1e9 : 0;
    bench_report_number(&r, "lookups", "lookups", (double)m->looked_up, 0, NULL);
    bench_report_number(&r, "lookup_rate", "lookup rate",
                        seconds > 0 ? (double)(f->done.received - f->acked.received) / seconds : NAN, 0, "/s");
    bench_report_latency(&r, &latency, "latency", "latency");
    bench_report_cost(&r, l, (double)(f->done.received - f->acked.received), "message");
    bench_report_tally(&r, &sum);
    if (wrong != 0)
        bench_report_warn(&r, "%llu acks came twice or for no subscription of ours", (unsigned long long)wrong);
    return bench_mode_end(l, &r, &sum);
}

int bench_mode_subscriptions(const bench_options *o)
{
    static const bench_work work = {open, turn, end};
    subscriptions m = {.all = o->ids != 0 ? o->ids : o->names, .by_id = o->ids != 0, .n = o->links};
    int status = BENCH_EXIT_FAILED;
    findings f = {0};
    bench_load l;

    if (m.all < m.n) {
        fprintf(stderr, "slimbench: --links: %u links are more than the %llu subscriptions\n", m.n, (unsigned long long)m.all);
        return BENCH_EXIT_USAGE;
    }
    if (!bench_load_init(&l, o, &work, &m))
        return status;
    m.load = &l;
    m.publisher_thread = &l.threads[m.n % l.n_threads];
    if ((m.holders = slim_zalloc(l.mem, m.n, sizeof(*m.holders))) == NULL)
        goto no_memory;
    for (uint32_t i = 0; i < m.n; i++) {
        m.holders[i].mode = &m;
        m.holders[i].number = i;
        if ((m.holders[i].answered = slim_zalloc(l.mem, share_of(&m, i) / 8 + 1, 1)) == NULL)
            goto no_memory;
    }
    if (bench_load_start(&l) && bench_load_await(&l, &l.n_ready, (uint64_t)m.n + 1, "opening links")) {
        bench_load_mark(&l, &f.begun);
        bench_load_phase(&l, BENCH_RUN);
        f.was_acked = bench_load_await(&l, &m.acked, m.all, "subscribing");
        l.to = l.from = f.begun;
        bench_load_mark(&l, &f.acked);
        if (f.was_acked) {
            bench_load_phase(&l, BENCH_DRAIN);
            await_lookups(&l);
        }
        bench_load_mark(&l, &l.to);
        f.done = l.to;
        bench_load_progress_end();
        bench_load_end(&l);
        status = report(&m, &l, &f);
    } else {
        bench_load_end(&l);
        fprintf(stderr, "slimbench: %s\n",
                l.why[0] != '\0' ? l.why : "interrupted before all links were open; nothing was measured");
    }
    goto out;
no_memory:
    fprintf(stderr, "slimbench: no memory for %llu subscriptions; use fewer\n", (unsigned long long)m.all);
out:
    for (uint32_t i = 0; m.holders != NULL && i < m.n; i++)
        slim_free(l.mem, m.holders[i].answered);
    slim_free(l.mem, m.holders);
    bench_message_free(&m.message);
    bench_load_free(&l);
    return status;
}
