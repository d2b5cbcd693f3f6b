#include "node/worker.h"

#include <stdio.h>

#include "node/forward.h"
#include "node/link.h"
#include "node/listener.h"
#include "node/move.h"
#include "node/peers.h"
#include "node/subscribe.h"

#define SCRATCH_KEEP_BYTES 65536u
#define PARCELS_PER_TURN 256
#define EVACUATE_EVERY_NS 100000000u
/* While the process is short of memory, a receiver may hold only this much before its senders are held back. */
#define TIGHT_HIGH_BYTES (64u * 1024)

uint8_t *slim_scratch_room(slim_worker *w, slim_scratch *s, size_t n)
{
    /* A huge header grows it once; the next ordinary one gives the memory back. */
    if (s->cap < n || (s->cap > SCRATCH_KEEP_BYTES && n <= SCRATCH_KEEP_BYTES)) {
        size_t cap = n < 4096 ? 4096 : n;
        uint8_t *p = slim_alloc(w->io.mem, cap);

        if (p == NULL)
            return s->cap >= n ? s->p : NULL;
        slim_free(w->io.mem, s->p);
        s->p = p;
        s->cap = cap;
    }
    return s->p;
}

uint64_t slim_worker_high_bytes(const slim_worker *w)
{
    uint64_t high = w->hub->egress_high_bytes;

    return slim_budget_pressure_xt(&w->hub->budget) >= SLIM_PRESSURE_HIGH && high > TIGHT_HIGH_BYTES ? TIGHT_HIGH_BYTES : high;
}

uint64_t slim_worker_low_bytes(const slim_worker *w)
{
    return slim_worker_high_bytes(w) / 4;
}

slim_xq *slim_worker_queue(slim_worker *w, uint16_t to)
{
    slim_xq *q = atomic_load_explicit(&w->hub->xq[w->index][to], memory_order_relaxed);

    if (q == NULL && (q = slim_xq_new(w->hub->mem)) != NULL)
        atomic_store_explicit(&w->hub->xq[w->index][to], q, memory_order_release);
    return q;
}

void *slim_worker_put(slim_worker *w, uint16_t to, slim_xkind kind, size_t n, size_t extra_bytes)
{
    slim_xq *q = slim_worker_queue(w, to);

    return q != NULL ? slim_xq_put(q, kind, n, extra_bytes) : NULL;
}

/* The fence orders the enqueue before the look at `asleep`; the sleeper does the mirror image (worker_may_sleep). */
static void wake_xt(slim_worker *w)
{
    atomic_thread_fence(memory_order_seq_cst);
    if (atomic_load_explicit(&w->asleep, memory_order_relaxed) && atomic_exchange_explicit(&w->asleep, false, memory_order_acq_rel))
        slim_ring_wake_xt(w->io.ring);
}

void slim_worker_post_xt(slim_worker *w, slim_mail *mail)
{
    mail->next = NULL;
    pthread_mutex_lock(&w->mail_lock);
    *w->mail_tail = mail;
    w->mail_tail = &mail->next;
    pthread_mutex_unlock(&w->mail_lock);
    wake_xt(w);
}

slim_link *slim_worker_link(const slim_worker *w, slim_link_id id)
{
    slim_link *l = id.slot < w->n_links_cap ? w->links[id.slot] : NULL;

    return l != NULL && l->id.gen == id.gen ? l : NULL;
}

slim_err slim_worker_reserve_links(slim_worker *w, uint32_t slot)
{
    if (slot >= w->n_links_cap) {
        uint32_t cap = w->n_links_cap == 0 ? 256 : w->n_links_cap;
        slim_link **v;

        while (cap <= slot)
            cap *= 2;
        if ((v = slim_resize(w->io.mem, w->links, cap * sizeof(*v))) == NULL)
            return SLIM_E_NOMEM;
        memset(v + w->n_links_cap, 0, (cap - w->n_links_cap) * sizeof(*v));
        w->links = v;
        w->n_links_cap = cap;
    }
    return SLIM_OK;
}

slim_err slim_worker_keep_link(slim_worker *w, slim_link *l)
{
    slim_err e = slim_worker_reserve_links(w, l->id.slot);

    if (e != SLIM_OK)
        return e;
    w->links[l->id.slot] = l;
    w->n_links++;
    return SLIM_OK;
}

static bool mail_waits(slim_worker *w)
{
    bool waits;

    pthread_mutex_lock(&w->mail_lock);
    waits = w->mail != NULL;
    pthread_mutex_unlock(&w->mail_lock);
    return waits;
}

static bool worker_may_sleep(void *arg)
{
    slim_worker *w = arg;

    atomic_store_explicit(&w->asleep, true, memory_order_relaxed);
    atomic_thread_fence(memory_order_seq_cst);
    for (uint16_t from = 0; from < w->hub->n_workers; from++) {
        slim_xq *q = atomic_load_explicit(&w->hub->xq[from][w->index], memory_order_acquire);

        if (q != NULL && !slim_xq_empty(q))
            goto stay;
    }
    if (!mail_waits(w))
        return true;
stay:
    atomic_store_explicit(&w->asleep, false, memory_order_relaxed);
    return false;
}

static void take_record(slim_worker *w, const slim_xrec *rec)
{
    switch ((slim_xkind)rec->kind) {
    case SLIM_X_MESSAGE: slim_forward_take(w, rec); return;
    case SLIM_X_SOCKET: slim_listener_take(w, rec); return;
    case SLIM_X_SEND: slim_subscribe_take_send(w, rec); return;
    case SLIM_X_ACKED: slim_subscribe_take_acked(w, rec); return;
    case SLIM_X_RETURN: slim_forward_take_return(w, rec); return;
    case SLIM_X_WAIT: slim_link_take_wait(w, rec); return;
    case SLIM_X_RESUME: slim_link_take_resume(w, rec); return;
    case SLIM_X_COMING:
    case SLIM_X_READY:
    case SLIM_X_FENCE:
    case SLIM_X_FENCED:
    case SLIM_X_LINK: slim_move_take(w, rec); return;
    }
}

/* The queue to this worker whose next parcel is the oldest and older than *least; NULL: there is none. */
static slim_xq *older_queue(slim_worker *w, uint64_t *least, uint16_t *from)
{
    slim_xq *best = NULL;

    for (uint16_t i = 0; i < w->hub->n_workers; i++) {
        slim_xq *q = atomic_load_explicit(&w->hub->xq[i][w->index], memory_order_acquire);
        uint64_t stamp = q != NULL ? slim_xq_stamp_ns(q) : UINT64_MAX;

        if (stamp < *least) {
            *least = stamp;
            best = q;
            *from = i;
        }
    }
    return best;
}

static slim_xq *oldest_queue(slim_worker *w, uint16_t *from)
{
    uint64_t least = UINT64_MAX;
    slim_xq *q = older_queue(w, &least, from), *older;

    /* What was handed over before the parcel that we see can be seen by now, also where we looked before it was there. */
    while (q != NULL && (older = older_queue(w, &least, from)) != NULL)
        q = older;
    return q;
}

/* In the order in which they were handed over, and before the sockets of the same turn: what a client sends in answer to a message
 * must not overtake what was sent before that message (see send_parcels in worker_turn). */
static void take_parcels(slim_worker *w)
{
    slim_parcel *p;
    uint16_t from;
    slim_xq *q;

    /* A bounded helping, so that a busy producer cannot keep this worker from its own sockets. */
    for (int i = 0; i < PARCELS_PER_TURN && (q = oldest_queue(w, &from)) != NULL && (p = slim_xq_take(q)) != NULL; i++) {
        /* What follows from a parcel is later than it, whatever this worker's clock reading was. */
        if (w->io.now_ns <= p->stamp_ns)
            w->io.now_ns = p->stamp_ns + 1;
        for (size_t at = 0; at < p->used_bytes;) {
            const slim_xrec *rec = (const slim_xrec *)(p->data + at);

            at += rec->size_bytes;
            take_record(w, rec);
        }
        slim_xq_done(q, p);
        if (atomic_load_explicit(&q->wanted, memory_order_seq_cst))
            wake_xt(&w->hub->workers[from]);
    }
}

/* Lets go the links that were held back because the way to another worker was full. */
static void release_queue_waits(slim_worker *w)
{
    for (uint16_t to = 0; to < w->hub->n_workers; to++) {
        struct slim_xwait held = w->xwait[to];
        slim_xq *q = atomic_load_explicit(&w->hub->xq[w->index][to], memory_order_relaxed);

        if (held.n == 0 || slim_xq_under_way_bytes(q) > SLIM_XQ_HIGH_BYTES / 2)
            continue;
        atomic_store_explicit(&q->wanted, false, memory_order_relaxed);
        /* Released links run at once and may come to wait again. */
        w->xwait[to] = (struct slim_xwait){0};
        for (uint32_t i = 0; i < held.n; i++) {
            slim_link *l = slim_worker_link(w, held.v[i]);

            if (l != NULL)
                slim_link_release(l);
        }
        slim_free(w->io.mem, held.v);
    }
}

static void take_mail(slim_worker *w)
{
    slim_mail *list;

    pthread_mutex_lock(&w->mail_lock);
    list = w->mail;
    w->mail = NULL;
    w->mail_tail = &w->mail;
    pthread_mutex_unlock(&w->mail_lock);
    while (list != NULL) {
        slim_mail *next = list->next;

        list->run(list, w);
        list = next;
    }
}

static void send_parcels(slim_worker *w)
{
    for (uint16_t to = 0; to < w->hub->n_workers; to++) {
        slim_xq *q = atomic_load_explicit(&w->hub->xq[w->index][to], memory_order_relaxed);

        if (q != NULL && slim_xq_flush(q, w->io.now_ns))
            wake_xt(&w->hub->workers[to]);
    }
}

static bool parcels_wait(slim_worker *w)
{
    for (uint16_t to = 0; to < w->hub->n_workers; to++) {
        slim_xq *q = atomic_load_explicit(&w->hub->xq[w->index][to], memory_order_relaxed);

        if (q != NULL && slim_xq_backlogged(q))
            return true;
    }
    return false;
}

/* Receivers that do not read must not keep receive buffers, neither ours nor those that other workers lent. */
static void evacuate(slim_worker *w)
{
    bool asked = atomic_load_explicit(&w->evacuate_asked, memory_order_relaxed);

    if (slim_worker_slabs_low(w) && w->io.now_ns - w->evacuated_ns >= EVACUATE_EVERY_NS) {
        w->evacuated_ns = w->io.now_ns;
        asked = true;
        for (uint16_t i = 0; i < w->hub->n_workers; i++) {
            slim_worker *other = &w->hub->workers[i];

            if (other == w)
                continue;
            atomic_store_explicit(&other->evacuate_asked, true, memory_order_relaxed);
            wake_xt(other);
        }
    }
    if (!asked)
        return;
    atomic_store_explicit(&w->evacuate_asked, false, memory_order_relaxed);
    for (slim_link *l = w->live; l != NULL; l = l->next)
        if (l->stream != NULL && slim_stream_queued(l->stream) > 0)
            slim_stream_evacuate(l->stream);
}

/* When to come back though nothing happens: at once for chores and for parcels that found their ring full. */
static uint64_t next_turn_ns(slim_worker *w)
{
    bool chores = w->cleanups != NULL;
    uint64_t due;

    for (slim_link *l = w->syncing; l != NULL && !chores; l = l->next_syncing)
        chores = l->stream != NULL && slim_link_has_room(l) && slim_peers_sync_ready(l);
    if (chores)
        return 0;
    if (parcels_wait(w))
        return w->io.now_ns + 100000;
    due = w->returns_owed != NULL ? w->io.now_ns + 1000000 : slim_move_due_ns(w);
    if (slim_worker_slabs_low(w) && due > w->io.now_ns + EVACUATE_EVERY_NS)
        due = w->io.now_ns + EVACUATE_EVERY_NS;
    return due;
}

static void worker_turn(slim_worker *w)
{
    size_t n = slim_io_wait(&w->io, next_turn_ns(w), worker_may_sleep, w);

    atomic_store_explicit(&w->asleep, false, memory_order_relaxed);
    slim_routes_enter(w->reader);
    take_parcels(w);
    slim_io_dispatch(&w->io, n);
    take_mail(w);
    slim_links_clean_up(w);
    slim_peers_sync(w);
    slim_links_let_go(w);
    release_queue_waits(w);
    slim_move_turn(w);
    evacuate(w);
    slim_forward_return_owed(w);
    /* Before anything of this turn can reach a client; again for loans that the flush gave back. */
    send_parcels(w);
    slim_io_flush(&w->io);
    send_parcels(w);
    if (!parcels_wait(w) && slim_move_hand_over(w))
        send_parcels(w);
    slim_routes_leave(w->reader);
    if (w->draining && !w->drained && w->io.n_conns == 0 && w->arrivals == NULL)
        slim_hub_worker_drained(w);
}

static void port_event(slim_io_user *user, const slim_ring_event *ev)
{
    slim_worker *w = (slim_worker *)((char *)user - offsetof(slim_worker, port_user));

    slim_pool_port_drain(w->port);
}

static slim_err worker_open(slim_worker *w, const char **why)
{
    slim_hub *h = w->hub;
    slim_err e = slim_io_init(&w->io, &h->ring_config, h->mem, &h->budget, why);

    if (e != SLIM_OK)
        return e;
    *why = "out of memory";
    if ((w->reader = slim_routes_reader_new(h->routes)) == NULL || (w->port = slim_pool_port_new(h->mem)) == NULL)
        return SLIM_E_NOMEM;
    w->targets.mem = h->mem;
    w->port_user.event = port_event;
    *why = "cannot watch the resolver's descriptor";
    return slim_ring_watch(w->io.ring, slim_pool_port_fd(w->port), &w->port_user);
}

static void worker_close(slim_worker *w)
{
    slim_thread_meter_close(&w->meter);
    slim_move_close(w);
    slim_subscribe_ops_free(w);
    while (w->cleanups != NULL)
        slim_links_clean_up(w);
    slim_targets_free(&w->targets);
    for (int i = 0; i < 2; i++)
        slim_free(w->hub->mem, w->head[i].p);
    slim_free(w->hub->mem, w->preimage.p);
    slim_free(w->hub->mem, w->ways.p);
    slim_free(w->hub->mem, w->links);
    for (uint16_t i = 0; i < SLIM_WORKERS_MAX; i++)
        slim_free(w->hub->mem, w->xwait[i].v);
}

static void *worker_main(void *arg)
{
    slim_worker *w = arg;
    slim_hub *h = w->hub;
    const char *why = "";
    slim_err e;

    slim_log_thread_name(h->thread_name);
    e = worker_open(w, &why);
    pthread_mutex_lock(&h->lock);
    if (e == SLIM_OK) {
        h->n_ready++;
        snprintf(h->backend, sizeof(h->backend), "%s", slim_ring_name(w->io.ring));
    } else {
        h->n_failed++;
        snprintf(h->start_why, sizeof(h->start_why), "%s", why);
    }
    pthread_cond_broadcast(&h->cond);
    pthread_mutex_unlock(&h->lock);
    if (e != SLIM_OK)
        return NULL;
    slim_thread_meter_open(&w->meter);
    while (!w->stopping || w->io.n_conns > 0)
        worker_turn(w);
    worker_close(w);
    return NULL;
}

slim_err slim_worker_start(slim_worker *w, slim_hub *h, uint16_t index)
{
    w->hub = h;
    w->index = index;
    pthread_mutex_init(&w->mail_lock, NULL);
    w->mail_tail = &w->mail;
    if (pthread_create(&w->thread, NULL, worker_main, w) != 0)
        return SLIM_E_SYS;
    w->started = true;
    return SLIM_OK;
}
