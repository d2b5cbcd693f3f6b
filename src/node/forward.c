#include "node/forward.h"

#include "core/head.h"
#include "core/probe.h"
#include "node/move.h"
#include "node/subscribe.h"

/* As SLIM_COPY_BYTES between workers, where a reference also costs a return trip. */
#define COPY_ACROSS_BYTES 2048u

/* One message on its way through this worker: the parts are made when the first target needs them. */
typedef struct passage {
    slim_worker *w;
    slim_link *in;
    const slim_view *v;
    uint32_t ttl;
    bool have_head[2], have_preimage;
    slim_copy copy;
    slim_buf *block; /* a copy of the tail, made when the message lies in no counted buffer */
} passage;

/* SLIM_X_MESSAGE: ids, head, preimage and, when it is not lent, the tail follow the struct. */
typedef struct x_message {
    slim_xrec rec;
    slim_loan *loan;
    uint32_t n_targets, head_n, mac_offset, preimage_n, tail_n;
    bool signs;
    slim_link_id targets[];
} x_message;

typedef struct x_return {
    slim_xrec rec;
    slim_loan *loan;
} x_return;

static bool passage_head(passage *p, bool with_mac)
{
    slim_worker *w = p->w;
    slim_head_patch patch = {.ttl = p->ttl, .has_incoming_conn = true, .incoming_conn = p->in->id.slot, .with_mac = with_mac};
    size_t offset;
    uint8_t *room;

    if (p->have_head[with_mac])
        return true;
    if ((room = slim_scratch_room(w, &w->head[with_mac], slim_head_bound(p->v))) == NULL)
        return false;
    p->copy.head[with_mac] = slim_bytes_of(room, slim_head_build(p->v, &patch, room, &offset));
    if (with_mac)
        p->copy.mac_offset = offset;
    p->have_head[with_mac] = true;
    return true;
}

/* The preimage for the next hop: as verified on arrival, but with the decremented ttl (its last four bytes) and no directions. */
static bool passage_preimage(passage *p)
{
    slim_worker *w = p->w;
    uint8_t *room;

    if (p->have_preimage)
        return true;
    if ((room = slim_scratch_room(w, &w->preimage, slim_preimage_bound(p->v))) == NULL)
        return false;
    p->copy.preimage = slim_bytes_of(room, slim_preimage_build(p->v, p->ttl, false, room));
    p->have_preimage = true;
    return true;
}

static bool passage_prepare(passage *p, bool with_mac)
{
    if (!passage_head(p, with_mac) || (with_mac && !passage_preimage(p)))
        return false;
    if (p->copy.head[with_mac].n + p->copy.tail.n <= SLIM_MESSAGE_MAX_BYTES)
        return true;
    p->w->count.dropped_oversize++;
    slim_worker_blame(p->w, SLIM_WARN,
                      "message dropped: it would exceed the receiver's limit after the header rewrite peer=%s bytes=%zu limit=%u",
                      slim_conn_peer(p->in->conn), p->copy.head[with_mac].n + p->copy.tail.n, SLIM_MESSAGE_MAX_BYTES);
    return false;
}

/* A big tail must lie in a counted buffer before it can be referred to. */
static bool passage_hold(passage *p, size_t copy_limit)
{
    if (p->copy.hold != NULL || p->copy.tail.n <= copy_limit)
        return true;
    if ((p->block = slim_block_new(p->w->io.mem, p->copy.tail.n)) == NULL)
        return false;
    memcpy(p->block->mem, p->copy.tail.p, p->copy.tail.n);
    p->copy.tail.p = p->block->mem;
    p->copy.hold = p->block;
    return true;
}

/* The lender's reference ends, in its thread or when there are no threads any more. */
static void loan_free(slim_loan *loan)
{
    slim_buf_unref(loan->origin);
    slim_free(loan->mem, loan);
}

static bool loan_return(slim_loan *loan)
{
    x_return *x = slim_worker_put(loan->holder, loan->lender, SLIM_X_RETURN, sizeof(*x), 0);

    if (x != NULL)
        x->loan = loan;
    return x != NULL;
}

static void loan_release(slim_buf *b)
{
    slim_loan *loan = (slim_loan *)b;

    if (!loan_return(loan)) {
        loan->next = loan->holder->returns_owed;
        loan->holder->returns_owed = loan;
    }
}

void slim_forward_return_owed(slim_worker *w)
{
    slim_loan *loan;

    while ((loan = w->returns_owed) != NULL) {
        slim_loan *next = loan->next;

        if (!loan_return(loan))
            return;
        w->returns_owed = next;
    }
}

void slim_forward_forget_owed(slim_worker *w)
{
    slim_loan *loan;

    while ((loan = w->returns_owed) != NULL) {
        w->returns_owed = loan->next;
        loan_free(loan);
    }
}

void slim_forward_take_return(slim_worker *w, const slim_xrec *rec)
{
    loan_free(((const x_return *)rec)->loan);
}

void slim_forward_discard(const slim_xrec *rec)
{
    slim_loan *loan = rec->kind == SLIM_X_MESSAGE ? ((const x_message *)rec)->loan : ((const x_return *)rec)->loan;

    if (loan != NULL)
        loan_free(loan);
}

static slim_loan *loan_new(slim_worker *w, slim_buf *origin)
{
    slim_loan *loan = slim_alloc(w->io.mem, sizeof(*loan));

    if (loan == NULL)
        return NULL;
    loan->buf = (slim_buf){1, origin->cap_bytes, origin->mem, loan_release};
    loan->origin = slim_buf_ref(origin);
    loan->holder = NULL;
    loan->next = NULL;
    loan->lender = w->index;
    loan->mem = w->io.mem;
    return loan;
}

/* Hands the message to another worker for those of its links that (do not) sign. */
static bool passage_across(passage *p, uint16_t to, bool with_mac, const slim_link_id *ids, uint32_t n)
{
    slim_bytes head = p->copy.head[with_mac], pre = with_mac ? p->copy.preimage : slim_bytes_of(NULL, 0);
    bool lend = p->copy.tail.n > COPY_ACROSS_BYTES;
    slim_loan *loan = NULL;
    x_message *x;
    uint8_t *at;

    if (lend && (!passage_hold(p, COPY_ACROSS_BYTES) || (loan = loan_new(p->w, p->copy.hold)) == NULL))
        return false;
    x = slim_worker_put(p->w, to, SLIM_X_MESSAGE,
                        sizeof(*x) + n * sizeof(*ids) + head.n + pre.n + (lend ? sizeof(uint8_t *) : p->copy.tail.n),
                        lend ? p->copy.tail.n : 0);
    if (x == NULL) {
        if (loan != NULL)
            loan_free(loan);
        return false;
    }
    x->loan = loan;
    x->n_targets = n;
    x->head_n = (uint32_t)head.n;
    x->mac_offset = (uint32_t)p->copy.mac_offset;
    x->preimage_n = (uint32_t)pre.n;
    x->tail_n = (uint32_t)p->copy.tail.n;
    x->signs = with_mac;
    at = slim_put((uint8_t *)x->targets, ids, n * sizeof(*ids));
    at = slim_put(at, head.p, head.n);
    at = slim_put(at, pre.p, pre.n);
    if (lend)
        slim_put(at, &p->copy.tail.p, sizeof(p->copy.tail.p));
    else
        slim_put(at, p->copy.tail.p, p->copy.tail.n);
    return true;
}

void slim_forward_take(slim_worker *w, const slim_xrec *rec)
{
    const x_message *x = (const x_message *)rec;
    const uint8_t *at = (const uint8_t *)(x->targets + x->n_targets);
    slim_copy copy = {.mac_offset = x->mac_offset};

    copy.head[x->signs] = slim_bytes_of(at, x->head_n);
    at += x->head_n;
    copy.preimage = slim_bytes_of(at, x->preimage_n);
    at += x->preimage_n;
    copy.tail = slim_bytes_of(at, x->tail_n);
    if (x->loan != NULL) {
        memcpy(&copy.tail.p, at, sizeof(copy.tail.p));
        x->loan->holder = w;
        copy.hold = &x->loan->buf;
    }
    for (uint32_t i = 0; i < x->n_targets; i++) {
        slim_link *l = slim_worker_link(w, x->targets[i]);

        /* A link that lost or gained its key since belongs to another generation, so signs cannot differ here. */
        if (l != NULL)
            slim_link_deliver(l, &copy);
        else
            slim_move_keep_copy(w, x->targets[i], &copy, x->signs);
    }
    if (x->loan != NULL)
        slim_buf_unref(&x->loan->buf);
}

static inline bool slot_signs(const slim_link_slot *slot)
{
    return atomic_load_explicit(&slot->signs, memory_order_relaxed) != 0;
}

static void passage_local(passage *p, slim_link_id id, bool signs)
{
    slim_link *l = slim_worker_link(p->w, id);

    if ((l == NULL && !slim_move_coming(p->w, id)) || !passage_prepare(p, signs) || !passage_hold(p, SLIM_COPY_BYTES))
        return;
    if (l != NULL)
        slim_link_deliver(l, &p->copy);
    else
        slim_move_keep_copy(p->w, id, &p->copy, signs);
}

/* Where a target is: its worker's index, whether its copy gets a tag, or nowhere. */
#define WAY_SIGNS 0x40u
#define WAY_NONE 0xffu
#define WAYS_AT_HAND 64
_Static_assert(SLIM_WORKERS_MAX <= WAY_SIGNS, "a worker's index and the flag share a byte");

/* Read once per target: a link may be on its way to another worker, and each message must reach it on one of them only. */
static uint8_t way_of(const slim_worker *w, slim_link_id id)
{
    const slim_link_slot *slot = slim_links_live_xt(w->hub->links, id);

    if (slot == NULL)
        return WAY_NONE;
    return (uint8_t)(atomic_load_explicit(&slot->worker, memory_order_relaxed) | (slot_signs(slot) ? WAY_SIGNS : 0));
}

/* One record per worker and kind of head, or a few when they are many. */
static bool passage_to_worker(passage *p, uint16_t to, const slim_link_id *ids, const uint8_t *ways, uint32_t n)
{
    bool any = false;

    for (int with_mac = 0; with_mac < 2; with_mac++) {
        uint8_t way = (uint8_t)(to | (with_mac ? WAY_SIGNS : 0));
        slim_link_id group[64];
        uint32_t k = 0;

        for (uint32_t i = 0; i < n; i++) {
            if (ways[i] == way)
                group[k++] = ids[i];
            if (k == 64 || (k > 0 && i + 1 == n)) {
                if (passage_prepare(p, with_mac))
                    any |= passage_across(p, to, with_mac, group, k);
                k = 0;
            }
        }
    }
    return any;
}

/* Delivers to every target: own links at once, those of other workers by records. */
static void passage_run(passage *p, const slim_link_id *ids, uint32_t n)
{
    slim_worker *w = p->w;
    uint8_t at_hand[WAYS_AT_HAND], *ways = n <= WAYS_AT_HAND ? at_hand : slim_scratch_room(w, &w->ways, n);
    uint64_t others = 0;
    bool mine = false;

    if (ways == NULL)
        return;
    for (uint32_t i = 0; i < n; i++) {
        ways[i] = way_of(w, ids[i]);
        if (ways[i] == WAY_NONE)
            continue;
        if ((ways[i] & (WAY_SIGNS - 1)) == w->index) {
            passage_local(p, ids[i], (ways[i] & WAY_SIGNS) != 0);
            mine = true;
        } else {
            others |= (uint64_t)1 << (ways[i] & (WAY_SIGNS - 1));
        }
    }
    for (uint64_t left = others; left != 0; left &= left - 1) {
        uint16_t to = (uint16_t)__builtin_ctzll(left);

        if (passage_to_worker(p, to, ids, ways, n))
            slim_link_hold_for_queue(p->in, to);
    }
    for (uint32_t i = 0; i < n; i++)
        if (ways[i] != WAY_NONE)
            slim_link_hold_for(p->in, ids[i]);
    if (w->hub->n_workers > 1)
        slim_move_note(p->in, !mine && others != 0 && (others & (others - 1)) == 0 ? (uint16_t)__builtin_ctzll(others) : w->index,
                       p->copy.tail.n);
}

static void passage_init(passage *p, slim_worker *w, slim_link *in, const slim_view *v, uint32_t ttl, slim_buf *hold)
{
    *p = (passage){.w = w, .in = in, .v = v, .ttl = ttl};
    p->copy.tail = v->tail;
    /* While receive buffers are short, big tails go into memory of their own instead of pinning another one. */
    if (hold != NULL && (v->tail.n <= COPY_ACROSS_BYTES || !slim_worker_slabs_low(w)))
        p->copy.hold = hold;
}

static void forward_publish(passage *p)
{
    slim_worker *w = p->w;
    slim_link *in = p->in;
    const slim_view *v = p->v;
    slim_err e;

    w->targets.n = 0;
    if (v->has_forward_to) {
        slim_link_id to = v->forward_to <= UINT32_MAX ? slim_links_at_xt(w->hub->links, (uint32_t)v->forward_to) : SLIM_LINK_NONE;

        if (to.gen == 0) {
            w->count.dropped_unrouted++;
            slim_log(SLIM_DEBUG, DATAPATH, "publish dropped: connection not found conn=%llu peer=%s",
                     (unsigned long long)v->forward_to, slim_conn_peer(in->conn));
            return;
        }
        passage_run(p, &to, 1);
        return;
    }
    e = slim_routes_match(w->reader, &v->destination.key, v->destination.id, v->fanout, in->id, SLIM_KINDS_ALL, &w->targets);
    if (e != SLIM_OK || w->targets.n == 0) {
        char id[SLIM_ID_TEXT];

        w->count.dropped_unrouted++;
        slim_log(SLIM_DEBUG, DATAPATH, "publish dropped: no matching found for [%llx, %llx, %llx, %s] peer=%s",
                 (unsigned long long)v->destination.key.c[0], (unsigned long long)v->destination.key.c[1],
                 (unsigned long long)v->destination.key.c[2], slim_id_text(v->destination.id, id), slim_conn_peer(in->conn));
        return;
    }
    passage_run(p, w->targets.v, w->targets.n);
}

/* Table of data-plane.md 4.4: what a tag, its absence and a missing key mean for this link. */
static bool mac_acceptable(slim_worker *w, slim_link *in, const slim_view *v, passage *p)
{
    bool publish = v->type == SLIM_MSG_PUBLISH;

    if (in->kind == SLIM_PEER || in->kind == SLIM_LOCAL)
        return true;
    if (!publish && !in->strict) {
        if (!v->has_mac || v->mac.n == 0 || in->mac == NULL)
            return true;
    } else if (in->mac == NULL) {
        return !v->has_mac && !in->strict;
    }
    if (!v->has_mac || v->mac.n != SLIM_MAC_TAG_BYTES)
        return false;
    {
        uint8_t *room = slim_scratch_room(w, &w->preimage, slim_preimage_bound(v));
        size_t n;

        if (room == NULL)
            return false;
        n = slim_preimage_build(v, v->ttl, true, room);
        if (!slim_mac_verify(in->mac, slim_bytes_of(room, n), v->mac))
            return false;
        if (!v->has_recv_from && !v->has_forward_to && v->ttl > 0) {
            uint32_t ttl = v->ttl - 1;

            for (int i = 0; i < 4; i++)
                room[n - 4 + (size_t)i] = (uint8_t)(ttl >> (8 * i));
            p->copy.preimage = slim_bytes_of(room, n);
            p->have_preimage = true;
        }
    }
    return true;
}

static void forward_view(slim_link *in, const slim_view *v, slim_buf *hold)
{
    slim_worker *w = in->worker;
    uint32_t ttl;
    passage p;

    switch (v->type) {
    case SLIM_MSG_NONE:
        w->count.dropped_invalid++;
        slim_log(SLIM_DEBUG, DATAPATH, "message without a known type dropped peer=%s", slim_conn_peer(in->conn));
        return;
    case SLIM_MSG_LINK: return; /* a second negotiation is ignored */
    case SLIM_MSG_SUBSCRIPTION_ACK: slim_subscribe_acked(in, v); return;
    case SLIM_MSG_SUBSCRIBE:
    case SLIM_MSG_UNSUBSCRIBE:
    case SLIM_MSG_PUBLISH: break;
    }
    passage_init(&p, w, in, v, 0, hold);
    if (!mac_acceptable(w, in, v, &p)) {
        w->count.dropped_mac++;
        slim_worker_blame(w, SLIM_ERROR, "SLIM header integrity verification failed peer=%s conn_index=%u",
                          slim_conn_peer(in->conn), in->id.slot);
        return;
    }
    if (slim_view_validate(v) != SLIM_OK) {
        w->count.dropped_invalid++;
        slim_worker_blame(w, SLIM_WARN, "message dropped: a mandatory part is missing peer=%s", slim_conn_peer(in->conn));
        return;
    }
    ttl = v->ttl > 0 ? v->ttl - 1 : 0;
    if (ttl == 0) {
        w->count.dropped_ttl++;
        slim_log(SLIM_DEBUG, DATAPATH, "message dropped: ttl is used up peer=%s", slim_conn_peer(in->conn));
        return;
    }
    p.ttl = ttl;
    if (v->type == SLIM_MSG_PUBLISH)
        forward_publish(&p);
    else
        slim_subscribe_change(in, v, ttl);
    if (p.block != NULL)
        slim_buf_unref(p.block);
}

void slim_forward_message(slim_link *in, slim_bytes msg, slim_buf *hold)
{
    slim_worker *w = in->worker;
    slim_view v;
    slim_err e = slim_view_scan(msg, &v);

    w->count.messages_in++;
    SLIM_PROBE2(message_in, in->id.slot, msg.n);
    if (e != SLIM_OK) {
        w->count.dropped_invalid++;
        slim_worker_blame(w, SLIM_WARN, "link closed: the message cannot be decoded peer=%s reason=\"%s\"",
                          slim_conn_peer(in->conn), slim_err_text(e));
        slim_link_end(in, 0, NULL);
        return;
    }
    if (v.plain) {
        forward_view(in, &v, hold);
    } else {
        uint8_t *merged = NULL;
        size_t n;

        if (slim_view_normalise(msg, w->io.mem, &merged, &n, &v) == SLIM_OK)
            forward_view(in, &v, NULL);
        else
            w->count.dropped_invalid++;
        slim_free(w->io.mem, merged);
    }
}
