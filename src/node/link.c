#include "node/link.h"

#include "core/probe.h"
#include "node/forward.h"
#include "node/move.h"
#include "node/outbound.h"
#include "node/peers.h"
#include "node/subscribe.h"

#define ACKS_HIGH_BYTES (256u * 1024)
#define ACKS_LOW_BYTES (64u * 1024)
#define CLEAN_UP_SLICE 512u
#define HTTP2_ENHANCE_YOUR_CALM 0xbu

static void link_timer(slim_timer *timer, uint64_t now_ns);

static inline slim_link *link_of_timer(slim_timer *t)
{
    return (slim_link *)((char *)t - offsetof(slim_link, timer));
}

void slim_link_enlist(slim_link *l)
{
    slim_worker *w = l->worker;

    l->prev = NULL;
    if ((l->next = w->live) != NULL)
        w->live->prev = l;
    w->live = l;
}

void slim_link_delist(slim_link *l)
{
    if (l->prev != NULL)
        l->prev->next = l->next;
    else
        l->worker->live = l->next;
    if (l->next != NULL)
        l->next->prev = l->prev;
}

static slim_link *link_new(slim_worker *w, slim_conn *c, slim_link_state state)
{
    slim_link *l = slim_zalloc(w->io.mem, 1, sizeof(*l));

    if (l == NULL)
        return NULL;
    l->worker = w;
    l->conn = c;
    l->state = state;
    l->strict = w->hub->inbound.strict;
    l->timer.fire = link_timer;
    slim_acks_init(&l->acks, w->io.mem);
    l->toward = w->index;
    slim_link_enlist(l);
    slim_timer_set(&w->io.timers, &l->timer, w->io.now_ns + w->hub->negotiation_timeout_ns);
    return l;
}

static void link_free(slim_link *l)
{
    slim_worker *w = l->worker;

    slim_timer_cancel(&w->io.timers, &l->timer);
    slim_link_delist(l);
    w->n_followers -= l->follows;
    slim_acks_free(&l->acks);
    slim_mac_free(l->mac);
    slim_negotiation_free(l->asking);
    slim_negotiated_clear(&l->peer);
    slim_free(w->io.mem, l->waiters);
    slim_free(w->io.mem, l);
}

static bool link_unlist(slim_link **at, slim_link *l, size_t next_offset)
{
    for (; *at != NULL; at = (slim_link **)((char *)*at + next_offset)) {
        if (*at == l) {
            *at = *(slim_link **)((char *)l + next_offset);
            return true;
        }
    }
    return false;
}

typedef struct x_wait {
    slim_xrec rec;
    slim_link_id target, waiting;
    uint16_t worker;
} x_wait;

typedef struct x_resume {
    slim_xrec rec;
    slim_link_id link;
} x_resume;

static void wake_waiter(slim_worker *w, slim_waiter waiter)
{
    slim_link *held;
    x_resume *x;

    if (waiter.worker != w->index) {
        if ((x = slim_worker_put(w, waiter.worker, SLIM_X_RESUME, sizeof(*x), 0)) != NULL)
            x->link = waiter.link;
    } else if ((held = slim_worker_link(w, waiter.link)) != NULL) {
        slim_link_release(held);
    }
}

static void let_go(slim_link *l)
{
    slim_worker *w = l->worker;
    slim_waiter *waiters = l->waiters;
    uint32_t n = l->n_waiters;

    /* A released link runs at once and may come to wait for l again. */
    l->waiters = NULL;
    l->n_waiters = l->cap_waiters = 0;
    for (uint32_t i = 0; i < n; i++)
        wake_waiter(w, waiters[i]);
    slim_free(w->io.mem, waiters);
}

void slim_link_close_routes(slim_worker *w, slim_link_id id)
{
    slim_cleanup *c = slim_alloc(w->io.mem, sizeof(*c));
    bool more;

    slim_links_close_xt(w->hub->links, id);
    if (c != NULL) {
        *c = (slim_cleanup){w->cleanups, id};
        w->cleanups = c;
    } else {
        /* No memory for doing it in slices: do it now. */
        slim_routes_drop_link_xt(w->hub->routes, id, UINT32_MAX, slim_peers_name_gone, w, &more);
    }
}

static void link_lost(slim_link *l)
{
    slim_worker *w = l->worker;
    bool was_live = l->state == SLIM_LINK_LIVE;

    if (l->state == SLIM_LINK_ENDED)
        return;
    l->state = SLIM_LINK_ENDED;
    slim_timer_cancel(&w->io.timers, &l->timer);
    if (was_live) {
        slim_move_lost(l);
        w->links[l->id.slot] = NULL;
        w->n_links--;
        w->count.links_closed++;
        SLIM_PROBE1(link_closed, l->id.slot);
        if (l->syncing)
            link_unlist(&w->syncing, l, offsetof(slim_link, next_syncing));
        if (l->kind == SLIM_PEER)
            slim_peers_leave(l);
        if (l->outbound == NULL || !slim_outbound_keep(l->outbound, l))
            slim_link_close_routes(w, l->id);
        slim_log(SLIM_INFO, DATAPATH, "connection closed conn_index=%u peer=%s node_id=%s", l->id.slot, slim_conn_peer(l->conn),
                 l->peer.peer_node_id != NULL ? l->peer.peer_node_id : "");
    }
    /* Not found: slim_links_let_go holds the list in hand and will come to it. */
    if (l->crowded && link_unlist(&w->crowded, l, offsetof(slim_link, next_crowded)))
        l->crowded = false;
    let_go(l);
    slim_subscribe_link_lost(l);
}

void slim_link_end(slim_link *l, int grpc_status, const char *grpc_message)
{
    link_lost(l);
    if (l->stream != NULL)
        slim_stream_finish(l->stream, grpc_status, grpc_message);
}

static void link_refuse(slim_link *l, const char *why)
{
    slim_worker_blame(l->worker, SLIM_WARN, "link negotiation error %s peer=%s", why, slim_conn_peer(l->conn));
    if (l->outbound != NULL)
        slim_outbound_refused(l->outbound, SLIM_E_NEGOTIATION, why);
    slim_link_end(l, 0, NULL);
    if (l->outbound != NULL)
        slim_conn_close(l->conn);
}

/* What is queued for it is lost, so that its senders are heard again. */
static void link_evict(slim_link *l)
{
    slim_worker_blame(l->worker, SLIM_WARN, "link closed: for %llu s it has not read what is sent to it conn_index=%u peer=%s",
                      (unsigned long long)(l->worker->hub->slow_reader_ns / 1000000000u), l->id.slot, slim_conn_peer(l->conn));
    link_lost(l);
    slim_stream_reset(l->stream, HTTP2_ENHANCE_YOUR_CALM);
    if (slim_h2_streams(slim_stream_h2(l->stream)) <= 1)
        slim_conn_close(l->conn);
}

static void link_timer(slim_timer *timer, uint64_t now_ns)
{
    slim_link *l = link_of_timer(timer);

    if (l->state == SLIM_LINK_LIVE) {
        link_evict(l);
        return;
    }
    link_refuse(l, l->state == SLIM_LINK_CALLING ? "timed out waiting for the response headers"
                                                 : "timed out waiting for link negotiation");
}

/* Both sides agreed: the link becomes visible to routing. */
static slim_err link_go_live(slim_link *l)
{
    slim_worker *w = l->worker;
    slim_hub *h = w->hub;
    slim_link_slot *slot;
    slim_err e;

    if (l->peer.has_key &&
        (l->mac = slim_mac_new(w->io.mem, l->peer.key, slim_bytes_of(l->peer.link_id, l->peer.link_id_bytes))) == NULL)
        return SLIM_E_NOMEM;
    /* The MAC was the last to need it, and it may be long. */
    slim_free(w->io.mem, l->peer.link_id);
    l->peer.link_id = NULL;
    l->kind = l->peer.kind;
    if (l->outbound != NULL)
        l->id = slim_outbound_kept(l->outbound);
    if (l->id.gen == 0 && (e = slim_links_open_xt(h->links, w->index, l->kind, &l->id)) != SLIM_OK)
        return e;
    if ((e = slim_worker_keep_link(w, l)) != SLIM_OK) {
        if (l->outbound == NULL || slim_outbound_kept(l->outbound).gen == 0)
            slim_links_close_xt(h->links, l->id);
        return e;
    }
    slot = slim_links_slot_xt(h->links, l->id.slot);
    atomic_store_explicit(&slot->congested, 0, memory_order_relaxed);
    atomic_store_explicit(&slot->signs, slim_link_signs(l), memory_order_release);
    l->state = SLIM_LINK_LIVE;
    w->count.links_opened++;
    SLIM_PROBE2(link_open, l->id.slot, (int)l->kind);
    slim_timer_cancel(&w->io.timers, &l->timer);
    return SLIM_OK;
}

static const char *kind_name(slim_link_kind k)
{
    static const char *const names[SLIM_LINK_KINDS] = {"local", "remote", "peer", "edge"};

    return names[k];
}

static void link_log_negotiation(slim_link *l, bool is_reply)
{
    slim_log(SLIM_DEBUG, DATAPATH, "received link negotiation link_id=%.*s remote_version=%s is_reply=%s is_client=%s",
             (int)(l->peer.link_id_bytes < 80 ? l->peer.link_id_bytes : 80), (const char *)l->peer.link_id, l->peer.peer_version,
             is_reply ? "true" : "false", l->outbound != NULL ? "true" : "false");
}

/* Acceptor: the first message must be a negotiation request. */
static void link_negotiate(slim_link *l, const slim_view *v)
{
    slim_worker *w = l->worker;
    slim_hub *h = w->hub;
    const char *why = "internal error";
    uint8_t *reply = NULL;
    size_t n;
    slim_err e = slim_negotiation_accept(&h->inbound, v, &h->random, w->io.mem, &l->peer, &reply, &n, &why);

    if (e != SLIM_OK) {
        link_refuse(l, e == SLIM_E_NEGOTIATION ? why : slim_err_text(e));
        return;
    }
    link_log_negotiation(l, false);
    if (l->peer.kind == SLIM_PEER && strcmp(l->peer.peer_node_id, h->node_id) == 0) {
        slim_log(SLIM_WARN, DATAPATH, "peer refused: self-connection rejected: same node_id peer=%s", slim_conn_peer(l->conn));
        slim_link_end(l, 7, "self-connection rejected: same node_id");
        goto out;
    }
    if (l->peer.kind == SLIM_PEER && h->deployment[0] != '\0' && strcmp(l->peer.peer_deployment, h->deployment) != 0) {
        slim_log(SLIM_WARN, DATAPATH, "peer refused: deployment_name mismatch ours=%s theirs=%s peer=%s", h->deployment,
                 l->peer.peer_deployment, slim_conn_peer(l->conn));
        slim_link_end(l, 7, "deployment_name mismatch");
        goto out;
    }
    if (!slim_link_send(l, slim_bytes_of(reply, n)) || (e = link_go_live(l)) != SLIM_OK) {
        link_refuse(l, slim_err_text(e != SLIM_OK ? e : SLIM_E_NOMEM));
        goto out;
    }
    slim_log(SLIM_INFO, DATAPATH, "new connection received from remote conn_index=%u peer=%s type=%s node_id=%s version=%s mac=%s",
             l->id.slot, slim_conn_peer(l->conn), kind_name(l->kind), l->peer.peer_node_id, l->peer.peer_version,
             l->mac != NULL ? "yes" : "no");
    if (l->kind == SLIM_PEER)
        slim_peers_join(l, false);
out:
    slim_free(w->io.mem, reply);
}

/* Dialler: the one answer. */
static void link_negotiated(slim_link *l, const slim_view *v)
{
    const char *why = "internal error";
    slim_err e = slim_negotiation_finish(l->asking, v, &l->peer, &why);

    if (e != SLIM_OK) {
        link_refuse(l, e == SLIM_E_NEGOTIATION ? why : slim_err_text(e));
        return;
    }
    slim_negotiation_free(l->asking);
    l->asking = NULL;
    link_log_negotiation(l, true);
    if ((e = link_go_live(l)) != SLIM_OK) {
        link_refuse(l, slim_err_text(e));
        return;
    }
    slim_outbound_live(l->outbound, l);
    if (l->kind == SLIM_PEER)
        slim_peers_join(l, slim_outbound_is_return(l->outbound));
}

static void link_first_message(slim_link *l, slim_bytes msg)
{
    uint8_t *merged = NULL;
    slim_view v;
    size_t n;
    slim_err e = slim_view_scan(msg, &v);

    if (e == SLIM_OK && !v.plain)
        e = slim_view_normalise(msg, l->worker->io.mem, &merged, &n, &v);
    if (e != SLIM_OK)
        link_refuse(l, slim_err_text(e));
    else if (l->outbound != NULL)
        link_negotiated(l, &v);
    else
        link_negotiate(l, &v);
    slim_free(l->worker->io.mem, merged);
}

static void on_open(slim_h2 *h, slim_stream *s)
{
    slim_conn *c = slim_h2_user(h);
    slim_worker *w = slim_worker_of_io(slim_conn_io(c));
    slim_link *l = slim_stream_user(s);
    uint8_t *request;
    slim_bytes link_id;
    size_t n;

    if (l != NULL) { /* dialler: the call was accepted */
        slim_negotiation_config cfg = w->hub->inbound;

        cfg.strict = l->strict;
        l->state = SLIM_LINK_NEGOTIATING;
        slim_timer_set(&w->io.timers, &l->timer, w->io.now_ns + w->hub->negotiation_timeout_ns);
        link_id = slim_outbound_link_id(l->outbound);
        l->asking =
            slim_negotiation_start(&cfg, link_id, slim_outbound_kind(l->outbound), &w->hub->random, w->io.mem, &request, &n);
        if (l->asking == NULL || !slim_link_send(l, slim_bytes_of(request, n)))
            link_refuse(l, "failed to send link negotiation request");
        if (l->asking != NULL)
            slim_free(w->io.mem, request);
        return;
    }
    if ((l = link_new(w, c, SLIM_LINK_NEGOTIATING)) == NULL || w->draining) {
        slim_stream_finish(s, 14, "error processing stream: the node is shutting down or out of memory");
        if (l != NULL)
            link_free(l);
        return;
    }
    l->stream = s;
    slim_stream_set_user(s, l);
    slim_conn_set_idle(c, false);
    slim_move_opened(l);
}

static void on_message(slim_stream *s, slim_bytes msg, slim_buf *hold)
{
    slim_link *l = slim_stream_user(s);

    if (l == NULL)
        return;
    switch (l->state) {
    case SLIM_LINK_LIVE: slim_forward_message(l, msg, hold); return;
    case SLIM_LINK_NEGOTIATING: link_first_message(l, msg); return;
    case SLIM_LINK_CALLING:
    case SLIM_LINK_ENDED: return;
    }
}

static void on_end(slim_stream *s, slim_stream_end why)
{
    static const char *const texts[] = {"",
                                        "",
                                        "message larger than 4194304 bytes announced",
                                        "compressed flag set",
                                        "stream ended inside a message",
                                        "no memory for its message, the limit is reached"};
    slim_link *l = slim_stream_user(s);

    if (l == NULL)
        return;
    if (why != SLIM_END_CLEAN && why != SLIM_END_RESET)
        slim_worker_blame(l->worker, SLIM_WARN, "link closed: %s peer=%s", texts[why], slim_conn_peer(l->conn));
    if (l->outbound != NULL) {
        int http;
        const char *message = NULL;
        int status = slim_stream_status(s, &http, &message);

        slim_outbound_stream_ended(l->outbound, l->state == SLIM_LINK_LIVE, status, http, message);
        slim_conn_close(l->conn);
    }
    link_lost(l);
    if (why != SLIM_END_RESET && why != SLIM_END_NO_MEMORY)
        slim_stream_finish(s, 0, NULL);
}

static void on_gone(slim_stream *s)
{
    slim_link *l = slim_stream_user(s);
    slim_conn *c;

    if (l == NULL)
        return;
    c = l->conn;
    link_lost(l);
    link_free(l);
    slim_stream_set_user(s, NULL);
    if (slim_h2_streams(slim_stream_h2(s)) <= 1)
        slim_conn_set_idle(c, true);
}

const slim_h2_events slim_link_events = {.open = on_open, .message = on_message, .end = on_end, .gone = on_gone};

slim_link *slim_link_call(slim_worker *w, slim_conn *c, slim_outbound *o)
{
    slim_link *l = link_new(w, c, SLIM_LINK_CALLING);
    const slim_h2_header *headers;
    const char *scheme, *authority;
    uint64_t timeout_ns;
    size_t n;

    if (l == NULL)
        return NULL;
    l->outbound = o;
    slim_outbound_call(o, &scheme, &authority, &headers, &n, &l->strict, &timeout_ns);
    if (timeout_ns != 0)
        slim_timer_set(&w->io.timers, &l->timer, w->io.now_ns + timeout_ns);
    else
        slim_timer_cancel(&w->io.timers, &l->timer);
    if (slim_h2_call(slim_conn_h2(c), scheme, authority, "slimrouter", headers, n, l, &l->stream) != SLIM_OK) {
        link_free(l);
        return NULL;
    }
    slim_conn_set_idle(c, false);
    return l;
}

bool slim_link_has_room(const slim_link *l)
{
    return l->stream == NULL || slim_stream_queued(l->stream) < slim_worker_high_bytes(l->worker);
}

static void link_crowd(slim_link *l)
{
    slim_worker *w = l->worker;

    l->crowded = true;
    l->next_crowded = w->crowded;
    w->crowded = l;
    if (w->hub->slow_reader_ns != 0)
        slim_timer_set(&w->io.timers, &l->timer, w->io.now_ns + w->hub->slow_reader_ns);
}

/* Notes that the queue is over its mark, for senders of other workers. */
static void link_after_send(slim_link *l, size_t bytes)
{
    slim_worker *w = l->worker;

    SLIM_PROBE2(message_out, l->id.slot, bytes);
    w->count.messages_out++;
    if (l->state == SLIM_LINK_LIVE && !l->crowded && !slim_link_has_room(l)) {
        atomic_store_explicit(&slim_links_slot_xt(w->hub->links, l->id.slot)->congested, 1, memory_order_relaxed);
        link_crowd(l);
    }
}

bool slim_link_deliver(slim_link *l, const slim_copy *copy)
{
    bool signs = slim_link_signs(l);
    slim_bytes head = copy->head[signs];
    bool by_copy = copy->hold == NULL || copy->tail.n <= SLIM_COPY_BYTES;
    uint8_t *room;

    if (l->state != SLIM_LINK_LIVE || l->stream == NULL || head.p == NULL)
        return false;
    if (l->strict && l->mac == NULL && l->kind != SLIM_PEER)
        return false;
    room = slim_stream_begin(l->stream, head.n + copy->tail.n, by_copy ? head.n + copy->tail.n : head.n);
    if (room == NULL)
        return false;
    memcpy(room, head.p, head.n);
    if (signs)
        slim_mac_sign(l->mac, copy->preimage, room + copy->mac_offset);
    if (by_copy)
        slim_put(room + head.n, copy->tail.p, copy->tail.n);
    else if (slim_stream_append(l->stream, copy->tail, copy->hold) != SLIM_OK)
        return false;
    link_after_send(l, head.n + copy->tail.n);
    return true;
}

bool slim_link_send(slim_link *l, slim_bytes message)
{
    uint8_t *room;

    if (l->stream == NULL || l->state == SLIM_LINK_ENDED || (room = slim_stream_begin(l->stream, message.n, message.n)) == NULL)
        return false;
    slim_put(room, message.p, message.n);
    link_after_send(l, message.n);
    return true;
}

void slim_link_acknowledge(slim_link *l, uint64_t subscription_id, const char *error)
{
    size_t n = slim_subscription_ack_bound(error);
    uint8_t stack[256], *out = n <= sizeof(stack) ? stack : slim_alloc(l->worker->io.mem, n);

    if (out == NULL)
        return;
    if (subscription_id != 0 && l->state == SLIM_LINK_LIVE) {
        n = slim_subscription_ack_build(subscription_id, error, out);
        if (slim_link_send(l, slim_bytes_of(out, n)) && (l->ack_bytes += n) > ACKS_HIGH_BYTES) {
            /* A client that pipelines requests without reading the answers holds back itself, nobody else. */
            if (slim_stream_queued(l->stream) > ACKS_HIGH_BYTES) {
                slim_link_hold(l);
                slim_link_wait_for(l, (slim_waiter){l->id, l->worker->index});
            }
            l->ack_bytes = 0;
        }
    }
    if (out != stack)
        slim_free(l->worker->io.mem, out);
}

void slim_link_hold(slim_link *l)
{
    if (l->waits++ == 0 && l->stream != NULL) {
        SLIM_PROBE1(link_held, l->id.slot);
        slim_stream_pause(l->stream);
    }
}

void slim_link_release(slim_link *l)
{
    if (l->waits > 0 && --l->waits == 0 && l->stream != NULL && l->state != SLIM_LINK_ENDED && !slim_move_rested(l)) {
        SLIM_PROBE1(link_released, l->id.slot);
        slim_stream_resume(l->stream);
    }
}

void slim_link_wait_for(slim_link *l, slim_waiter waiter)
{
    slim_worker *w = l->worker;

    if (l->n_waiters == l->cap_waiters) {
        uint32_t cap = l->cap_waiters == 0 ? 8 : l->cap_waiters * 2;
        slim_waiter *v = slim_resize(w->io.mem, l->waiters, cap * sizeof(*v));

        if (v != NULL) {
            l->waiters = v;
            l->cap_waiters = cap;
        }
    }
    if (l->n_waiters < l->cap_waiters && l->state == SLIM_LINK_LIVE) {
        l->waiters[l->n_waiters++] = waiter;
        if (!l->crowded)
            link_crowd(l);
        return;
    }
    /* The link ended, or there is no memory to remember the waiter: it goes on. */
    wake_waiter(w, waiter);
}

void slim_link_wait_or_wake(slim_worker *w, slim_link_id id, slim_waiter waiter)
{
    slim_link *l = slim_worker_link(w, id);

    if (l != NULL && !slim_link_has_room(l))
        slim_link_wait_for(l, waiter);
    else if (l != NULL || !slim_move_keep_waiter(w, id, waiter))
        wake_waiter(w, waiter);
}

bool slim_link_wait_across(slim_worker *w, uint16_t owner, slim_link_id target, slim_link_id waiting)
{
    x_wait *x = slim_worker_put(w, owner, SLIM_X_WAIT, sizeof(*x), 0);

    if (x == NULL)
        return false;
    x->target = target;
    x->waiting = waiting;
    x->worker = w->index;
    return true;
}

void slim_link_hold_for(slim_link *l, slim_link_id receiver)
{
    slim_worker *w = l->worker;
    const slim_link_slot *slot = slim_links_live_xt(w->hub->links, receiver);
    uint16_t owner = slot != NULL ? atomic_load_explicit(&slot->worker, memory_order_relaxed) : 0;
    slim_link *to;

    if (slot == NULL)
        return;
    if (owner == w->index) {
        if ((to = slim_worker_link(w, receiver)) != NULL ? !slim_link_has_room(to) : !slim_move_has_room(w, receiver)) {
            slim_link_hold(l);
            slim_link_wait_or_wake(w, receiver, (slim_waiter){l->id, w->index});
        }
    } else if (atomic_load_explicit(&slot->congested, memory_order_relaxed) != 0 &&
               slim_link_wait_across(w, owner, receiver, l->id)) {
        slim_link_hold(l);
    }
}

void slim_link_hold_for_queue(slim_link *l, uint16_t to)
{
    slim_worker *w = l->worker;
    slim_xq *q = slim_worker_queue(w, to);
    struct slim_xwait *x = &w->xwait[to];

    if (q == NULL || slim_xq_under_way_bytes(q) < SLIM_XQ_HIGH_BYTES)
        return;
    if (x->n == x->cap) {
        uint32_t cap = x->cap == 0 ? 16 : x->cap * 2;
        slim_link_id *v = slim_resize(w->io.mem, x->v, cap * sizeof(*v));

        if (v == NULL)
            return;
        x->v = v;
        x->cap = cap;
    }
    x->v[x->n++] = l->id;
    atomic_store_explicit(&q->wanted, true, memory_order_seq_cst);
    slim_link_hold(l);
}

void slim_link_take_wait(slim_worker *w, const slim_xrec *rec)
{
    const x_wait *x = (const x_wait *)rec;

    slim_link_wait_or_wake(w, x->target, (slim_waiter){x->waiting, x->worker});
}

void slim_link_take_resume(slim_worker *w, const slim_xrec *rec)
{
    slim_link *l = slim_worker_link(w, ((const x_resume *)rec)->link);

    if (l != NULL)
        slim_link_release(l);
}

void slim_links_let_go(slim_worker *w)
{
    uint64_t low = slim_worker_low_bytes(w);
    slim_link *list = w->crowded;

    w->crowded = NULL;
    while (list != NULL) {
        slim_link *l = list;
        uint64_t queued = l->stream != NULL ? slim_stream_queued(l->stream) : 0;

        list = l->next_crowded;
        if (queued > low && queued > ACKS_LOW_BYTES) {
            l->next_crowded = w->crowded;
            w->crowded = l;
            continue;
        }
        l->crowded = false;
        slim_timer_cancel(&w->io.timers, &l->timer);
        if (l->state == SLIM_LINK_LIVE)
            atomic_store_explicit(&slim_links_slot_xt(w->hub->links, l->id.slot)->congested, 0, memory_order_relaxed);
        let_go(l);
    }
}

void slim_links_clean_up(slim_worker *w)
{
    slim_cleanup *c = w->cleanups;
    uint32_t added = w->subscribed;
    bool more = false;

    w->subscribed = 0;
    if (c == NULL)
        return;
    /* Always more than was added in this turn, or a client that reconnects could fill the table by leaving. */
    slim_routes_drop_link_xt(w->hub->routes, c->id, CLEAN_UP_SLICE + 2 * added, slim_peers_name_gone, w, &more);
    if (!more) {
        /* New ones were put in front meanwhile, if any. */
        slim_cleanup **at = &w->cleanups;

        while (*at != c)
            at = &(*at)->next;
        *at = c->next;
        slim_free(w->io.mem, c);
    }
}
