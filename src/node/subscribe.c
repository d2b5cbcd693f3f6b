#include "node/subscribe.h"

#include <stdio.h>

#include "core/head.h"
#include "node/forward.h"
#include "node/move.h"
#include "node/outbound.h"
#include "node/peers.h"

/* How long an acknowledgement waits for peers; a silent peer is no error (5.4). */
#define PEERS_WAIT_NS 5000000000u
/* forward_to: one try and three more, each with its own wait, then the requester gets an error. */
#define FORWARD_WAIT_NS 5000000000u
#define FORWARD_TRIES 4
#define STANDALONE_TTL 8
/* How many subscriptions pass between two looks at the size of the table, and from which length on a name is worth one. */
#define TABLE_LOOK 64u
#define TABLE_LONG_BYTES 4096u

/* One acknowledgement that waits for others. */
typedef struct slim_op slim_op;
struct slim_op {
    slim_op *prev, *next;
    slim_worker *w;
    uint64_t number;
    slim_link_id requester;
    uint64_t subscription_id; /* as the requester sent it */
    uint32_t outstanding;
    slim_timer timer;
    /* forward_to only */
    bool forward;
    uint32_t tries;
    slim_link_id target;
    size_t message_n;
    uint8_t *message;
};

typedef struct x_send {
    slim_xrec rec;
    slim_link_id to;
    uint64_t op, subscription_id;
    uint32_t n;
    uint16_t from;
    bool keep;
    uint8_t message[];
} x_send;

typedef struct x_acked {
    slim_xrec rec;
    uint64_t op;
    bool success;
} x_acked;

static void op_timer(slim_timer *timer, uint64_t now_ns);

static inline slim_op *op_of_timer(slim_timer *t)
{
    return (slim_op *)((char *)t - offsetof(slim_op, timer));
}

static slim_op *op_new(slim_worker *w, slim_link *in, uint64_t subscription_id)
{
    slim_op *op = slim_zalloc(w->io.mem, 1, sizeof(*op)), **at;

    if (op == NULL)
        return NULL;
    op->w = w;
    op->number = ++w->next_op;
    op->requester = in->id;
    in->ops++;
    op->subscription_id = subscription_id;
    op->timer.fire = op_timer;
    at = &w->ops[op->number % SLIM_OPS_BUCKETS];
    op->next = *at;
    if (*at != NULL)
        (*at)->prev = op;
    *at = op;
    return op;
}

static void op_free(slim_op *op)
{
    slim_worker *w = op->w;
    slim_link *l = slim_worker_link(w, op->requester);

    if (l != NULL)
        l->ops--;
    slim_timer_cancel(&w->io.timers, &op->timer);
    if (op->prev != NULL)
        op->prev->next = op->next;
    else
        w->ops[op->number % SLIM_OPS_BUCKETS] = op->next;
    if (op->next != NULL)
        op->next->prev = op->prev;
    slim_free(w->io.mem, op->message);
    slim_free(w->io.mem, op);
}

static void op_finish(slim_op *op, const char *error)
{
    slim_link *l = slim_worker_link(op->w, op->requester);

    if (l != NULL)
        slim_link_acknowledge(l, op->subscription_id, error);
    op_free(op);
}

void slim_subscribe_ops_free(slim_worker *w)
{
    for (uint32_t i = 0; i < SLIM_OPS_BUCKETS; i++)
        while (w->ops[i] != NULL)
            op_free(w->ops[i]);
}

static void op_timer(slim_timer *timer, uint64_t now_ns)
{
    slim_op *op = op_of_timer(timer);

    if (!op->forward) {
        op_finish(op, NULL);
        return;
    }
    if (op->tries >= FORWARD_TRIES || slim_subscribe_send(op->w, op->target, slim_bytes_of(op->message, op->message_n), op->number,
                                                          op->subscription_id, true) != SLIM_OK) {
        op_finish(op, "remote subscription ack error");
        return;
    }
    op->tries++;
    slim_timer_set(&op->w->io.timers, &op->timer, now_ns + FORWARD_WAIT_NS);
}

static void op_answered(slim_worker *w, uint64_t number, bool success)
{
    for (slim_op *op = w->ops[number % SLIM_OPS_BUCKETS]; op != NULL; op = op->next) {
        if (op->number != number)
            continue;
        if (op->forward)
            op_finish(op, success ? NULL : "remote subscription ack error");
        else if (--op->outstanding == 0)
            op_finish(op, NULL); /* a peer's failure is not the requester's */
        return;
    }
}

/* Tells whoever waits, on this or another worker. */
static void report(slim_worker *w, slim_ack_owner owner, bool success)
{
    x_acked *x;

    if (owner.worker == w->index) {
        op_answered(w, owner.op, success);
        return;
    }
    if ((x = slim_worker_put(w, owner.worker, SLIM_X_ACKED, sizeof(*x), 0)) != NULL) {
        x->op = owner.op;
        x->success = success;
    }
}

void slim_subscribe_take_acked(slim_worker *w, const slim_xrec *rec)
{
    const x_acked *x = (const x_acked *)rec;

    op_answered(w, x->op, x->success);
}

void slim_subscribe_acked(slim_link *in, const slim_view *v)
{
    slim_subscription_ack ack;
    slim_ack_owner owner;

    if (slim_subscription_ack_decode(v->body, &ack) == SLIM_OK && slim_acks_take(&in->acks, ack.id, &owner))
        report(in->worker, owner, ack.success);
}

void slim_subscribe_link_lost(slim_link *l)
{
    slim_ack_owner owner;

    while (slim_acks_take_any(&l->acks, &owner))
        report(l->worker, owner, false);
}

/* A message for a link that signs has its tag made here. */
static bool send_signed(slim_worker *w, slim_link *l, const slim_view *v)
{
    slim_head_patch patch = {
        .ttl = v->ttl, .has_incoming_conn = v->has_incoming_conn, .incoming_conn = v->incoming_conn, .with_mac = true};
    slim_copy copy = {.hold = NULL};
    uint8_t *head, *pre;
    size_t offset;

    if ((head = slim_scratch_room(w, &w->head[1], slim_head_bound(v))) == NULL ||
        (pre = slim_scratch_room(w, &w->preimage, slim_preimage_bound(v))) == NULL)
        return false;
    copy.head[1] = slim_bytes_of(head, slim_head_build(v, &patch, head, &offset));
    copy.mac_offset = offset;
    copy.preimage = slim_bytes_of(pre, slim_preimage_build(v, v->ttl, false, pre));
    copy.tail = v->tail;
    return slim_link_deliver(l, &copy);
}

/* Sends on a link of this worker. */
static void send_here(slim_worker *w, slim_link *l, slim_bytes message, slim_ack_owner owner, uint64_t subscription_id, bool keep)
{
    slim_view v;
    bool sent;

    keep = keep && l->outbound != NULL && l->kind == SLIM_EDGE;
    if (!keep && !slim_link_signs(l))
        sent = slim_link_send(l, message);
    else if (slim_view_scan(message, &v) != SLIM_OK || !v.plain || (keep && slim_outbound_note(l->outbound, &v) != SLIM_OK))
        sent = false;
    else
        sent = slim_link_signs(l) ? send_signed(w, l, &v) : slim_link_send(l, message);
    if (owner.op != 0 && (!sent || slim_acks_add(&l->acks, subscription_id, owner, w->io.now_ns) != SLIM_OK))
        report(w, owner, false);
}

static void replay_one(void *arg, slim_bytes message)
{
    slim_link *l = arg;

    send_here(l->worker, l, message, (slim_ack_owner){0, 0}, 0, false);
}

void slim_subscribe_replay(slim_link *l, const slim_forwarded *kept)
{
    slim_forwarded_each(kept, replay_one, l);
}

slim_err slim_subscribe_send(slim_worker *w, slim_link_id to, slim_bytes message, uint64_t op, uint64_t subscription_id, bool keep)
{
    const slim_link_slot *slot = slim_links_live_xt(w->hub->links, to);
    uint16_t worker;
    x_send *x;

    if (slot == NULL)
        return SLIM_E_NOT_FOUND;
    worker = atomic_load_explicit(&slot->worker, memory_order_relaxed);
    if (worker == w->index && !slim_move_coming(w, to)) {
        slim_link *l = slim_worker_link(w, to);

        if (l == NULL)
            return SLIM_E_NOT_FOUND;
        send_here(w, l, message, (slim_ack_owner){op, w->index}, subscription_id, keep);
        return SLIM_OK;
    }
    if ((x = slim_worker_put(w, worker, SLIM_X_SEND, sizeof(*x) + message.n, 0)) == NULL)
        return SLIM_E_NOMEM;
    x->to = to;
    x->op = op;
    x->subscription_id = subscription_id;
    x->n = (uint32_t)message.n;
    x->from = w->index;
    x->keep = keep;
    slim_put(x->message, message.p, message.n);
    return SLIM_OK;
}

void slim_subscribe_take_send(slim_worker *w, const slim_xrec *rec)
{
    const x_send *x = (const x_send *)rec;
    slim_link *l = slim_worker_link(w, x->to);
    slim_ack_owner owner = {x->op, x->from};

    if (l == NULL && slim_move_keep_record(w, x->to, rec))
        return;
    if (l != NULL)
        send_here(w, l, slim_bytes_of(x->message, x->n), owner, x->subscription_id, x->keep);
    else if (owner.op != 0)
        report(w, owner, false);
}

/* A requester whose messages fill the queue of the link they are for waits like a publisher. */
static void hold_for(slim_link *in, slim_link_id to)
{
    slim_worker *w = in->worker;
    const slim_link_slot *slot = slim_links_live_xt(w->hub->links, to);
    uint16_t owner = slot != NULL ? atomic_load_explicit(&slot->worker, memory_order_relaxed) : w->index;

    if (owner != w->index)
        slim_link_hold_for_queue(in, owner);
    slim_link_hold_for(in, to);
}

/* What a change at this node means for its peers: the message they get, or none. */
typedef struct tell {
    bool tell;
    uint64_t id;
    uint32_t ttl;
} tell;

static tell tell_peers(slim_link *in, const slim_view *v, uint32_t ttl, bool subscribe, const slim_change *change)
{
    slim_hub *h = in->worker->hub;
    tell t = {false, v->subscription_id, STANDALONE_TTL};

    if (atomic_load_explicit(&h->n_peers, memory_order_acquire) == 0)
        return t;
    if (in->kind == SLIM_PEER) {
        t.ttl = ttl;
        if (ttl < 2)
            return t;
        t.tell = true;
        if (subscribe)
            slim_peers_relayed_xt(h, &v->destination, v->subscription_id, in->id);
        else
            slim_peers_unrelayed_xt(h, &v->destination, v->subscription_id);
        return t;
    }
    if (subscribe)
        t.tell = change->edge && slim_peers_announce_xt(h, &v->destination, in->kind, v->subscription_id, &t.id);
    else
        t.tell =
            (change->edge || change->unmatched) && slim_peers_withdraw_xt(h, &v->destination, in->kind, change->unmatched, &t.id);
    return t;
}

/* True when an operation now waits and will acknowledge. */
static bool forward_to_peers(slim_link *in, const slim_view *v, bool subscribe, const tell *t, bool wait)
{
    slim_worker *w = in->worker;
    slim_link_id *peers = NULL;
    uint8_t *message = NULL;
    slim_op *op = NULL;
    uint64_t number = 0;
    uint32_t n = 0;
    size_t size;
    bool waits = false;

    if (slim_peers_list_xt(w->hub, in->id, &peers, &n) != SLIM_OK || n == 0)
        goto out;
    if ((message = slim_alloc(w->io.mem, slim_subscribe_bound(&v->destination))) == NULL)
        goto out;
    size = slim_subscribe_build(&v->destination, !subscribe, t->id, t->ttl, message);
    if (wait && v->subscription_id != 0 && t->id != 0 && (op = op_new(w, in, v->subscription_id)) != NULL) {
        op->outstanding = n + 1; /* ours until all are sent, so that an answer on the spot cannot finish it */
        number = op->number;
        waits = true;
        slim_timer_set(&w->io.timers, &op->timer, w->io.now_ns + PEERS_WAIT_NS);
    }
    for (uint32_t i = 0; i < n; i++) {
        if (slim_subscribe_send(w, peers[i], slim_bytes_of(message, size), number, t->id, false) != SLIM_OK && number != 0)
            op_answered(w, number, false);
        hold_for(in, peers[i]);
    }
    if (number != 0)
        op_answered(w, number, true);
out:
    slim_free(w->io.mem, message);
    slim_free(w->io.mem, peers);
    return waits;
}

/* forward_to: the original message, re-signed, to the link it names. Returns the error for the requester, or NULL; *waits when an
 * operation acknowledges later. */
static const char *forward_to_link(slim_link *in, const slim_view *v, uint32_t ttl, bool *waits)
{
    slim_worker *w = in->worker;
    slim_link_id to = v->forward_to <= UINT32_MAX ? slim_links_at_xt(w->hub->links, (uint32_t)v->forward_to) : SLIM_LINK_NONE;
    slim_head_patch patch = {.ttl = ttl, .has_incoming_conn = true, .incoming_conn = in->id.slot};
    size_t n, offset, bound = slim_head_bound(v) + v->tail.n;
    uint8_t *message;
    slim_op *op;

    if (to.gen == 0)
        return "remote subscription ack error";
    if ((message = slim_alloc(w->io.mem, bound)) == NULL || (op = op_new(w, in, v->subscription_id)) == NULL) {
        slim_free(w->io.mem, message);
        return "remote subscription ack error";
    }
    n = slim_head_build(v, &patch, message, &offset);
    op->message = message;
    op->message_n = (size_t)(slim_put(message + n, v->tail.p, v->tail.n) - message);
    op->forward = true;
    op->target = to;
    op->tries = 1;
    slim_timer_set(&w->io.timers, &op->timer, w->io.now_ns + FORWARD_WAIT_NS);
    *waits = true;
    if (slim_subscribe_send(w, to, slim_bytes_of(op->message, op->message_n), op->number, v->subscription_id, true) != SLIM_OK)
        op_finish(op, "remote subscription ack error");
    hold_for(in, to);
    return NULL;
}

/* Whether the link may add to the table. It may grow to the memory limit, and one link may fill no more than half of it. The sum is
 * taken now and then; while it is tight, each time. */
static bool table_bears(slim_link *in, slim_link_id target, const slim_name *name)
{
    slim_worker *w = in->worker;
    uint64_t limit = (uint64_t)w->hub->budget.limit_bytes;
    slim_routes_stats stats;

    if (!w->table_crowded && w->table_looks++ < TABLE_LOOK && name->str[0].n + name->str[1].n + name->str[2].n < TABLE_LONG_BYTES)
        return true;
    w->table_looks = 0;
    slim_routes_stats_xt(w->hub->routes, &stats);
    w->table_crowded = stats.bytes >= limit / 2;
    return stats.bytes < limit && (!w->table_crowded || slim_routes_link_records_xt(w->hub->routes, target) <= stats.records / 2);
}

/* Changes the table; the text of the failure goes into error. */
static slim_err change_table(slim_link *in, const slim_view *v, slim_link_id target, slim_change *change, char *error,
                             size_t error_n)
{
    slim_routes *r = in->worker->hub->routes;
    const slim_link_slot *slot = slim_links_live_xt(in->worker->hub->links, target);
    slim_unsub_miss miss = SLIM_UNSUB_FOUND;
    char id[SLIM_ID_TEXT];
    slim_err e;

    if (slot == NULL) {
        snprintf(error, error_n, "connection not found: %u", target.slot);
        return SLIM_E_NOT_FOUND;
    }
    if (v->type == SLIM_MSG_SUBSCRIBE) {
        if (!table_bears(in, target, &v->destination)) {
            snprintf(error, error_n, "too many subscriptions: the memory limit is reached");
            slim_worker_blame(in->worker, SLIM_WARN, "subscription refused: the memory limit is reached limit_bytes=%lld peer=%s",
                              (long long)in->worker->hub->budget.limit_bytes, slim_conn_peer(in->conn));
            return SLIM_E_NOMEM;
        }
        in->worker->subscribed++;
        e = slim_routes_subscribe_xt(r, target, atomic_load_explicit(&slot->kind, memory_order_relaxed), v->subscription_id,
                                     &v->destination, change);
        if (e != SLIM_OK)
            snprintf(error, error_n, "%s", slim_err_text(e));
        return e;
    }
    e = slim_routes_unsubscribe_xt(r, target, v->subscription_id, &v->destination, change, &miss);
    switch (miss) {
    case SLIM_UNSUB_FOUND: break;
    case SLIM_UNSUB_NO_NAME: snprintf(error, error_n, "subscription not found"); break;
    case SLIM_UNSUB_NO_ID: snprintf(error, error_n, "id not found: %s", slim_id_text(v->destination.id, id)); break;
    case SLIM_UNSUB_NO_RECORD:
        snprintf(error, error_n, "subscription id not found: %llu", (unsigned long long)v->subscription_id);
        break;
    }
    return e;
}

void slim_subscribe_change(slim_link *in, const slim_view *v, uint32_t ttl)
{
    slim_worker *w = in->worker;
    bool subscribe = v->type == SLIM_MSG_SUBSCRIBE, waits = false;
    slim_link_id target = in->id;
    slim_change change = {false, false};
    const char *failed = NULL;
    char error[96];
    tell t;

    if (v->has_recv_from) {
        target = v->recv_from <= UINT32_MAX ? slim_links_at_xt(w->hub->links, (uint32_t)v->recv_from) : SLIM_LINK_NONE;
        if (target.gen == 0) {
            snprintf(error, sizeof(error), "connection not found: %llu", (unsigned long long)v->recv_from);
            slim_link_acknowledge(in, v->subscription_id, error);
            return;
        }
    }
    if (subscribe && in->kind == SLIM_PEER && v->subscription_id != 0 &&
        slim_peers_seen_xt(w->hub, &v->destination, v->subscription_id, in->id)) {
        slim_link_acknowledge(in, v->subscription_id, NULL);
        return;
    }
    if (change_table(in, v, target, &change, error, sizeof(error)) != SLIM_OK) {
        slim_link_acknowledge(in, v->subscription_id, error);
        return;
    }
    t = tell_peers(in, v, ttl, subscribe, &change);
    /* With a forward_to its outcome is the answer, and peers are only told. */
    if (v->has_forward_to)
        failed = forward_to_link(in, v, ttl, &waits);
    if (t.tell)
        waits |= forward_to_peers(in, v, subscribe, &t, !waits && failed == NULL);
    if (!waits)
        slim_link_acknowledge(in, v->subscription_id, failed);
}
