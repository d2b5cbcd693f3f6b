#include "bench/traffic.h"

#include <stdio.h>

/* How many receivers a fanout message asks for, when there are fewer. */
#define FANOUT_MIN 256u
/* One of so many received MACs is verified. */
#define SAMPLE 64
#define SUBSCRIPTION_ID 1

slim_err bench_traffic_init(bench_traffic *t, bench_load *l)
{
    const bench_options *o = l->options;

    *t = (bench_traffic){.load = l,
                         .options = o,
                         .to_all = o->mode == BENCH_FANOUT,
                         .answered = o->mode == BENCH_REQUEST,
                         .n_publishers = o->publishers,
                         .n_subscribers = o->subscribers};
    t->n_accounts = t->to_all ? o->publishers : (o->publishers + o->subscribers - 1) / o->subscribers;
    t->publishers = slim_zalloc(l->mem, o->publishers, sizeof(*t->publishers));
    t->subscribers = slim_zalloc(l->mem, o->subscribers, sizeof(*t->subscribers));
    if (t->publishers == NULL || t->subscribers == NULL)
        return SLIM_E_NOMEM;
    for (uint32_t i = 0; i < t->n_publishers; i++) {
        bench_publisher *p = &t->publishers[i];

        p->traffic = t;
        p->number = i;
        p->thread = &l->threads[i % l->n_threads];
        snprintf(p->app, sizeof(p->app), "p%u", i);
        bench_name(&p->name, "slimbench", l->run, p->app, (uint64_t)i + 1);
    }
    for (uint32_t i = 0; i < t->n_subscribers; i++) {
        bench_subscriber *s = &t->subscribers[i];

        s->traffic = t;
        s->number = i;
        s->thread = &l->threads[(t->n_publishers + i) % l->n_threads];
        if (t->to_all)
            snprintf(s->app, sizeof(s->app), "all");
        else
            snprintf(s->app, sizeof(s->app), "s%u", i);
        bench_name(&s->name, "slimbench", l->run, s->app, (uint64_t)i + 1);
        if ((s->accounts = slim_zalloc(l->mem, t->n_accounts, sizeof(*s->accounts))) == NULL)
            return SLIM_E_NOMEM;
    }
    return SLIM_OK;
}

void bench_traffic_free(bench_traffic *t)
{
    if (t->load == NULL)
        return;
    for (uint32_t i = 0; t->publishers != NULL && i < t->n_publishers; i++) {
        bench_message_free(&t->publishers[i].message);
        bench_message_free(&t->publishers[i].answer);
    }
    for (uint32_t i = 0; t->subscribers != NULL && i < t->n_subscribers; i++)
        slim_free(t->load->mem, t->subscribers[i].accounts);
    slim_free(t->load->mem, t->publishers);
    slim_free(t->load->mem, t->subscribers);
}

static void count_ready(bench_load *l)
{
    atomic_fetch_add(&l->n_ready, 1);
}

/* A link that ends before it is told to ends the run. */
static void link_lost(bench_load *l, bench_link *link, const char *who, uint32_t number)
{
    const char *way_out = "";

    if (bench_load_now(l) == BENCH_CLOSE)
        return;
    if (link->peer.link_id == NULL)
        way_out =
            l->options->no_mac ? "; with --no-mac the node needs require_header_mac: false" : "; is a SLIM node there (--server)?";
    bench_load_fail(l, "%s: %s %u: %s%s", l->options->server, who, number, link->why, way_out);
}

static void publisher_end(bench_link *link)
{
    bench_publisher *p = (bench_publisher *)link;

    link_lost(p->traffic->load, link, "publisher", p->number);
}

static void subscriber_end(bench_link *link)
{
    bench_subscriber *s = (bench_subscriber *)link;

    link_lost(s->traffic->load, link, "subscriber", s->number);
}

static void refused(bench_load *l, const char *who, uint32_t number)
{
    bench_load_fail(l, "%s: %s %u: the node refused the subscription", l->options->server, who, number);
}

static void publisher_ack(bench_link *link, uint64_t id, bool success)
{
    bench_publisher *p = (bench_publisher *)link;

    if (success)
        count_ready(p->traffic->load);
    else
        refused(p->traffic->load, "publisher", p->number);
}

static void subscriber_ack(bench_link *link, uint64_t id, bool success)
{
    bench_subscriber *s = (bench_subscriber *)link;

    if (success)
        count_ready(s->traffic->load);
    else
        refused(s->traffic->load, "subscriber", s->number);
}

/* A link without a MAC where one was asked for would make all figures look better than they are. */
static bool mac_as_wanted(bench_load *l, const bench_link *link)
{
    if (link->mac != NULL || l->options->no_mac)
        return true;
    bench_load_fail(l, "%s gives no key, so headers would go without a MAC; run with --no-mac if that is meant",
                    l->options->server);
    return false;
}

static void publisher_live(bench_link *link)
{
    bench_publisher *p = (bench_publisher *)link;
    bench_traffic *t = p->traffic;
    bench_load *l = t->load;
    slim_name to = t->subscribers[p->number % t->n_subscribers].name;
    uint32_t fanout = 1;

    if (!mac_as_wanted(l, link))
        return;
    if (t->to_all) {
        to.has_id = false;
        to.id = SLIM_ID_NULL;
        fanout = t->n_subscribers > FANOUT_MIN ? t->n_subscribers : FANOUT_MIN;
    }
    if (bench_message_make(&p->message, l->mem, &p->name, &to, l->options->identity_bytes, fanout, link->mac != NULL) != SLIM_OK) {
        bench_load_fail(l, "publisher %u: no memory for its message", p->number);
        return;
    }
    p->made = true;
    if (!t->answered)
        count_ready(l);
    else if (!bench_link_subscribe(link, &p->name, false, SUBSCRIPTION_ID))
        bench_load_fail(l, "publisher %u: cannot subscribe: no memory", p->number);
}

static void subscriber_live(bench_link *link)
{
    bench_subscriber *s = (bench_subscriber *)link;

    if (mac_as_wanted(s->traffic->load, link) && !bench_link_subscribe(link, &s->name, false, SUBSCRIPTION_ID))
        bench_load_fail(s->traffic->load, "subscriber %u: cannot subscribe: no memory", s->number);
}

static bool send_one(bench_link *link, bench_message *m, bench_thread *thread, bench_stamp stamp, size_t payload_n)
{
    uint8_t *room = bench_link_begin(link, bench_message_size(m, payload_n));

    if (room == NULL)
        return false;
    bench_message_put(m, link->mac, stamp, payload_n, room);
    thread->sent++;
    return true;
}

bool bench_publisher_send(bench_publisher *p, bench_thread *thread, uint64_t time_ns)
{
    bench_stamp stamp = {p->sent, time_ns};

    if (!send_one(&p->link, &p->message, thread, stamp, bench_sizes_of(&p->traffic->options->payload, p->number, p->sent)))
        return false;
    p->sent++;
    return true;
}

/* What came, byte by byte: source, size, letters, MAC. False: it does not count as the message it says it is. */
static bool message_sound(bench_traffic *t, bench_thread *thread, const bench_link *link, const slim_view *v, uint64_t sender,
                          slim_bytes *payload, bench_stamp *stamp, bool *stamped)
{
    const bench_options *o = t->options;

    if (!bench_payload_find(v, payload))
        goto corrupt;
    *stamped = bench_stamp_read(*payload, stamp);
    if (!*stamped)
        *stamp = (bench_stamp){0, 0};
    if ((*stamped || o->payload.n == 1) && payload->n != bench_sizes_of(&o->payload, sender, stamp->sequence))
        goto corrupt;
    if (v->identity.n != o->identity_bytes || !bench_payload_check(*payload, *stamp))
        goto corrupt;
    if (o->verify != BENCH_VERIFY_OFF && (o->verify == BENCH_VERIFY_ON || thread->verified_at++ % SAMPLE == 0) &&
        !bench_link_verify(link, v)) {
        thread->bad_mac++;
        goto corrupt;
    }
    return true;
corrupt:
    thread->corrupt++;
    return false;
}

static void latency_note(bench_load *l, bench_thread *thread, bench_stamp stamp)
{
    if (stamp.time_ns >= atomic_load_explicit(&l->measured_from_ns, memory_order_relaxed))
        bench_histogram_add(&thread->latency, thread->io.now_ns > stamp.time_ns ? thread->io.now_ns - stamp.time_ns : 0);
}

static void answer(bench_subscriber *s, bench_publisher *p, bench_stamp stamp, size_t payload_n)
{
    bench_load *l = s->traffic->load;

    if (!p->answer_made) {
        if (bench_message_make(&p->answer, l->mem, &s->name, &p->name, l->options->identity_bytes, 1, s->link.mac != NULL) !=
            SLIM_OK) {
            bench_load_fail(l, "subscriber %u: no memory for its answer", s->number);
            return;
        }
        p->answer_made = true;
    }
    if (send_one(&s->link, &p->answer, s->thread, stamp, payload_n))
        s->thread->sent--; /* only what publishers send counts */
}

static void subscriber_publish(bench_link *link, const slim_view *v)
{
    bench_subscriber *s = (bench_subscriber *)link;
    bench_traffic *t = s->traffic;
    bench_thread *thread = s->thread;
    uint64_t sender = v->source.id.lo - 1;
    bench_account *a;
    bench_stamp stamp;
    slim_bytes payload;
    bool stamped;

    if (v->source.key.c[1] != t->load->run_hash || sender >= t->n_publishers ||
        (!t->to_all && sender % t->n_subscribers != s->number)) {
        thread->foreign++;
        return;
    }
    thread->received++;
    thread->last_received_ns = thread->io.now_ns;
    if (!message_sound(t, thread, link, v, sender, &payload, &stamp, &stamped))
        return;
    a = &s->accounts[t->to_all ? sender : sender / t->n_subscribers];
    if (!stamped) {
        bench_account_count(a);
        return;
    }
    if (!bench_account_take(a, t->load->mem, stamp.sequence)) {
        thread->repeats++;
        return;
    }
    if (t->answered)
        answer(s, &t->publishers[sender], stamp, payload.n);
    else
        latency_note(t->load, thread, stamp);
}

/* An answer to a request. */
static void publisher_publish(bench_link *link, const slim_view *v)
{
    bench_publisher *p = (bench_publisher *)link;
    bench_thread *thread = p->thread;
    bench_stamp stamp;
    slim_bytes payload;
    bool stamped;

    if (v->source.key.c[1] != p->traffic->load->run_hash) {
        thread->foreign++;
        return;
    }
    thread->received++;
    thread->last_received_ns = thread->io.now_ns;
    if (!message_sound(p->traffic, thread, link, v, p->number, &payload, &stamp, &stamped) || !stamped)
        return;
    if (!bench_account_take(&p->answers, p->traffic->load->mem, stamp.sequence))
        thread->repeats++;
    /* A late answer to a request that was given up does not let go the one in flight. */
    if (stamp.sequence + 1 != p->sent)
        return;
    if (stamp.time_ns >= atomic_load_explicit(&p->traffic->load->measured_from_ns, memory_order_relaxed))
        bench_histogram_add(&thread->latency, slim_clock_ns() - stamp.time_ns);
    p->turn_ns = 0;
}

void bench_traffic_open(bench_traffic *t, bench_thread *thread)
{
    bench_load *l = t->load;

    for (uint32_t i = 0; i < t->n_publishers; i++) {
        bench_publisher *p = &t->publishers[i];

        if (p->thread != thread)
            continue;
        p->link.on_live = publisher_live;
        p->link.on_publish = publisher_publish;
        p->link.on_ack = publisher_ack;
        p->link.on_end = publisher_end;
        if (!bench_link_dial(&p->link, &l->target, &thread->io))
            bench_load_fail(l, "%s: publisher %u: %s", l->options->server, i, p->link.why);
    }
    for (uint32_t i = 0; i < t->n_subscribers; i++) {
        bench_subscriber *s = &t->subscribers[i];

        if (s->thread != thread)
            continue;
        s->link.on_live = subscriber_live;
        s->link.on_publish = subscriber_publish;
        s->link.on_ack = subscriber_ack;
        s->link.on_end = subscriber_end;
        if (!bench_link_dial(&s->link, &l->target, &thread->io))
            bench_load_fail(l, "%s: subscriber %u: %s", l->options->server, i, s->link.why);
    }
}

void bench_traffic_close(bench_traffic *t, bench_thread *thread)
{
    for (uint32_t i = 0; i < t->n_publishers; i++) {
        if (t->publishers[i].thread == thread)
            bench_link_close(&t->publishers[i].link);
    }
    for (uint32_t i = 0; i < t->n_subscribers; i++) {
        if (t->subscribers[i].thread == thread)
            bench_link_close(&t->subscribers[i].link);
    }
}
