#include "node/hub.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "node/forward.h"
#include "node/link.h"
#include "node/listener.h"
#include "node/move.h"
#include "node/outbound.h"
#include "node/peers.h"

#define EGRESS_HIGH_BYTES (4u * 1024 * 1024)
#define RESOLVER_THREADS 1

static char *copy_text(slim_mem *m, const char *s)
{
    size_t n = strlen(s) + 1;
    char *p = slim_alloc(m, n);

    if (p != NULL)
        memcpy(p, s, n);
    return p;
}

/* What was still under way between workers: loans go home, sockets are closed. */
static void queue_discard(slim_hub *h, slim_xq *q)
{
    slim_parcel *p;

    do {
        while ((p = slim_xq_take(q)) != NULL) {
            for (size_t at = 0; at < p->used_bytes;) {
                const slim_xrec *rec = (const slim_xrec *)(p->data + at);

                at += rec->size_bytes;
                if (rec->kind == SLIM_X_MESSAGE || rec->kind == SLIM_X_RETURN)
                    slim_forward_discard(rec);
                else if (rec->kind == SLIM_X_SOCKET)
                    slim_listener_discard(rec);
                else if (rec->kind == SLIM_X_LINK)
                    slim_move_discard(h, rec);
            }
            slim_xq_done(q, p);
        }
    } while (slim_xq_flush(q, 0));
}

static void mail_discard(slim_worker *w)
{
    while (w->mail != NULL) {
        slim_mail *next = w->mail->next;

        slim_free(w->hub->mem, w->mail);
        w->mail = next;
    }
}

static void hub_destroy(slim_hub *h)
{
    /* First, because its jobs belong to outbounds and ports. */
    if (h->pool != NULL)
        slim_pool_free(h->pool);
    for (slim_outbound *o = h->outbounds; o != NULL;) {
        slim_outbound *next = *slim_outbound_next(o);

        slim_outbound_free(o);
        o = next;
    }
    /* Loans that come home may lie in receive buffers, so the queues go before the rings. */
    for (uint16_t i = 0; i < h->n_workers; i++)
        slim_forward_forget_owed(&h->workers[i]);
    for (uint16_t i = 0; i < h->n_workers; i++) {
        for (uint16_t k = 0; k < h->n_workers; k++) {
            slim_xq *q = atomic_load(&h->xq[i][k]);

            if (q != NULL) {
                queue_discard(h, q);
                slim_xq_free(q);
            }
        }
    }
    for (uint16_t i = 0; i < h->n_workers; i++) {
        slim_worker *w = &h->workers[i];

        if (!w->started)
            continue;
        if (w->port != NULL)
            slim_pool_port_free(w->port);
        slim_io_free(&w->io);
        mail_discard(w);
        pthread_mutex_destroy(&w->mail_lock);
    }
    while (h->listeners != NULL) {
        slim_listener *next = h->listeners->next;

        slim_listener_free(h->listeners);
        h->listeners = next;
    }
    slim_peers_free(h);
    if (h->routes != NULL)
        slim_routes_free(h->routes);
    if (h->links != NULL)
        slim_links_free(h->links);
    slim_callers_free(&h->callers);
    slim_free(h->mem, h->node_id);
    slim_free(h->mem, h->version);
    slim_free(h->mem, h->deployment);
    slim_free(h->mem, h->thread_name);
    slim_free(h->mem, h->workers);
    pthread_mutex_destroy(&h->lock);
    pthread_mutex_destroy(&h->peers_lock);
    pthread_cond_destroy(&h->cond);
    slim_free(h->mem, h);
}

typedef struct order {
    slim_mail mail;
    slim_hub *hub;
} order;

/* Posts run to one worker; the hub's condition tells when it is done. False: no memory. */
static bool give_order(slim_worker *w, void (*run)(slim_mail *, slim_worker *))
{
    order *o = slim_zalloc(w->hub->mem, 1, sizeof(*o));

    if (o == NULL)
        return false;
    o->mail.run = run;
    o->hub = w->hub;
    slim_worker_post_xt(w, &o->mail);
    return true;
}

static void stop_outbounds(slim_worker *w)
{
    for (slim_outbound *o = w->hub->outbounds; o != NULL; o = *slim_outbound_next(o))
        if (slim_outbound_worker(o) == w)
            slim_outbound_stop(o);
}

static void order_stop(slim_mail *mail, slim_worker *w)
{
    slim_free(w->hub->mem, mail);
    w->draining = true;
    w->stopping = true;
    stop_outbounds(w);
    slim_io_abort_all(&w->io);
}

slim_err slim_hub_new(const slim_hub_config *cfg, slim_hub **out, char *why, size_t why_n)
{
    slim_hub *h = slim_zalloc(cfg->mem, 1, sizeof(*h));
    pthread_condattr_t attr;
    uint64_t seed;
    slim_err e = SLIM_E_NOMEM;

    snprintf(why, why_n, "out of memory");
    if (h == NULL)
        return SLIM_E_NOMEM;
    h->mem = cfg->mem;
    h->random = slim_random_openssl;
    slim_callers_init(&h->callers, h->mem, 0);
    pthread_mutex_init(&h->lock, NULL);
    pthread_mutex_init(&h->peers_lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&h->cond, &attr);
    pthread_condattr_destroy(&attr);
    h->node_id = copy_text(h->mem, cfg->node_id);
    h->version = copy_text(h->mem, cfg->version);
    h->deployment = copy_text(h->mem, cfg->deployment_name);
    h->thread_name = copy_text(h->mem, cfg->thread_name);
    h->workers = slim_zalloc(h->mem, cfg->workers, sizeof(*h->workers));
    if (h->node_id == NULL || h->version == NULL || h->deployment == NULL || h->thread_name == NULL || h->workers == NULL)
        goto fail;
    h->n_workers = (uint16_t)cfg->workers;
    h->inbound = (slim_negotiation_config){h->node_id, h->version, h->deployment, cfg->strict};
    h->negotiation_timeout_ns = cfg->negotiation_timeout_ns;
    h->egress_high_bytes = cfg->egress_high_bytes != 0 ? cfg->egress_high_bytes : EGRESS_HIGH_BYTES;
    h->budget.limit_bytes = cfg->memory_limit_bytes;
    h->per_address_max = cfg->per_address_max;
    h->slow_reader_ns = cfg->slow_reader_ns;
    h->per_address_spares_local = cfg->per_address_spares_local;
    h->ring_config = cfg->ring;
    h->placement = cfg->placement;
    if (!h->random.fill(h->random.arg, (uint8_t *)&seed, sizeof(seed))) {
        snprintf(why, why_n, "no random numbers from the system");
        e = SLIM_E_CRYPTO;
        goto fail;
    }
    h->callers.seed = seed;
    if ((h->links = slim_links_new(h->mem, SLIM_LINKS_MAX)) == NULL ||
        (h->routes = slim_routes_new(h->mem, h->links, seed)) == NULL ||
        (h->pool = slim_pool_new(h->mem, RESOLVER_THREADS)) == NULL)
        goto fail;
    for (uint16_t i = 0; i < h->n_workers; i++) {
        if (slim_worker_start(&h->workers[i], h, i) != SLIM_OK) {
            pthread_mutex_lock(&h->lock);
            h->n_failed++;
            snprintf(h->start_why, sizeof(h->start_why), "cannot start a thread: %s", strerror(errno));
            pthread_mutex_unlock(&h->lock);
        }
    }
    pthread_mutex_lock(&h->lock);
    while (h->n_ready + h->n_failed < h->n_workers)
        pthread_cond_wait(&h->cond, &h->lock);
    pthread_mutex_unlock(&h->lock);
    if (h->n_failed > 0) {
        snprintf(why, why_n, "%s", h->start_why);
        e = SLIM_E_SYS;
        goto fail;
    }
    *out = h;
    return SLIM_OK;
fail:
    slim_hub_free(h);
    return e;
}

const char *slim_hub_backend(const slim_hub *h)
{
    return h->backend;
}

slim_err slim_hub_listen(slim_hub *h, const slim_hub_server *s, char *bound, size_t bound_n, char *why, size_t why_n)
{
    slim_listener *l;
    slim_err e = slim_listener_open(h, s, &l, why, why_n);

    if (e != SLIM_OK)
        return e;
    l->next = h->listeners;
    h->listeners = l;
    snprintf(bound, bound_n, "%s", l->bound);
    return SLIM_OK;
}

slim_worker *slim_hub_place(slim_hub *h)
{
    slim_worker *best = &h->workers[0];

    for (uint16_t i = 1; i < h->n_workers; i++)
        if (atomic_load_explicit(&h->workers[i].load, memory_order_relaxed) <
            atomic_load_explicit(&best->load, memory_order_relaxed))
            best = &h->workers[i];
    return best;
}

typedef struct dial_order {
    slim_mail mail;
    slim_outbound *o;
} dial_order;

static void order_dial(slim_mail *mail, slim_worker *w)
{
    dial_order *d = (dial_order *)mail;

    slim_outbound_start(d->o);
    slim_free(w->hub->mem, d);
}

slim_err slim_hub_dial(slim_hub *h, const slim_hub_client *c, char *why, size_t why_n)
{
    slim_worker *w = slim_hub_place(h);
    dial_order *d = slim_zalloc(h->mem, 1, sizeof(*d));
    slim_outbound *o = NULL;
    slim_err e = SLIM_E_NOMEM;

    snprintf(why, why_n, "out of memory");
    if (d == NULL || (e = slim_outbound_new(h, w, c, &o, why, why_n)) != SLIM_OK) {
        slim_free(h->mem, d);
        return e;
    }
    atomic_fetch_add(&w->load, 1);
    *slim_outbound_next(o) = h->outbounds;
    h->outbounds = o;
    d->mail.run = order_dial;
    d->o = o;
    slim_worker_post_xt(w, &d->mail);
    return SLIM_OK;
}

static void order_close_listeners(slim_mail *mail, slim_worker *w)
{
    slim_hub *h = w->hub;

    slim_free(h->mem, mail);
    for (slim_listener *l = h->listeners; l != NULL; l = l->next)
        slim_listener_stop(l);
    pthread_mutex_lock(&h->lock);
    h->n_listening_workers = 0;
    pthread_cond_broadcast(&h->cond);
    pthread_mutex_unlock(&h->lock);
}

static void order_drain(slim_mail *mail, slim_worker *w)
{
    slim_free(w->hub->mem, mail);
    w->draining = true;
    stop_outbounds(w);
    for (slim_link *l = w->live; l != NULL; l = l->next) {
        if (l->state == SLIM_LINK_LIVE)
            slim_log(SLIM_INFO, DATAPATH, "shutting down stream on drain conn_index=%u", l->id.slot);
        slim_link_end(l, 0, NULL);
    }
    slim_io_close_all(&w->io);
}

void slim_hub_worker_drained(slim_worker *w)
{
    slim_hub *h = w->hub;

    w->drained = true;
    pthread_mutex_lock(&h->lock);
    h->n_drained++;
    pthread_cond_broadcast(&h->cond);
    pthread_mutex_unlock(&h->lock);
}

static struct timespec deadline_of(uint64_t timeout_ns)
{
    uint64_t due = slim_clock_ns() + timeout_ns;

    return (struct timespec){(time_t)(due / 1000000000u), (long)(due % 1000000000u)};
}

bool slim_hub_drain(slim_hub *h, uint64_t timeout_ns)
{
    struct timespec due = deadline_of(timeout_ns);
    bool in_time = true;

    atomic_store(&h->draining, true);
    /* The order is vital: a client's first reconnect must find a closed port (data-plane.md 6.3). Closing listeners is never cut
     * short. */
    pthread_mutex_lock(&h->lock);
    h->n_listening_workers = 1;
    pthread_mutex_unlock(&h->lock);
    if (give_order(&h->workers[0], order_close_listeners)) {
        pthread_mutex_lock(&h->lock);
        while (h->n_listening_workers > 0)
            pthread_cond_wait(&h->cond, &h->lock);
        pthread_mutex_unlock(&h->lock);
    }
    for (uint16_t i = 0; i < h->n_workers; i++)
        in_time &= give_order(&h->workers[i], order_drain);
    pthread_mutex_lock(&h->lock);
    while (in_time && h->n_drained < h->n_workers)
        if (pthread_cond_timedwait(&h->cond, &h->lock, &due) == ETIMEDOUT)
            in_time = h->n_drained == h->n_workers;
    pthread_mutex_unlock(&h->lock);
    return in_time;
}

void slim_hub_free(slim_hub *h)
{
    if (h == NULL)
        return;
    for (uint16_t i = 0; i < h->n_workers; i++) {
        slim_worker *w = &h->workers[i];

        if (!w->started)
            continue;
        while (!give_order(w, order_stop))
            ;
    }
    for (uint16_t i = 0; i < h->n_workers; i++)
        if (h->workers[i].started)
            pthread_join(h->workers[i].thread, NULL);
    hub_destroy(h);
}

void slim_hub_stats_xt(slim_hub *h, slim_hub_stats *out)
{
    slim_routes_stats r;

    *out = (slim_hub_stats){0};
    slim_routes_stats_xt(h->routes, &r);
    out->links = slim_links_count_xt(h->links);
    out->names = r.names;
    out->records = r.records;
    out->memory_bytes = atomic_load_explicit(&h->budget.used_bytes, memory_order_relaxed);
    /* Plain counters of the workers: a reading may be a moment old, never torn on the machines we run on. */
    for (uint16_t i = 0; i < h->n_workers; i++) {
        const volatile slim_counters *c = &h->workers[i].count;

        out->messages_in += c->messages_in;
        out->messages_out += c->messages_out;
        out->dropped_mac += c->dropped_mac;
        out->dropped_ttl += c->dropped_ttl;
        out->dropped_unrouted += c->dropped_unrouted;
        out->dropped_invalid += c->dropped_invalid;
        out->dropped_oversize += c->dropped_oversize;
    }
}
