#include "node/move.h"

#include "core/probe.h"
#include "node/subscribe.h"

#define RETRY_NS 1000000u
/* How long one link may keep others from moving, and an answer may take. */
#define PATIENCE_NS 1000000000u
/* Between two thoughts about the same link. */
#define REST_NS 20000000u
/* What the new worker would be busy with, per mille of a core: without the hand-over a message costs about three quarters. */
#define BUSY_MAX 1150u
/* Threads that wait so long for a core have no second one to themselves anyway. */
#define WAITING_MAX 100u
#define BUSY_EVERY_NS 50000000u
/* A worker that is full gives links away, when another one has half of a core left and a core is to be had. */
#define FULL_MIN 950u
#define FULL_WAITING_MAX 50u
#define FULL_LOOKS 10u
#define ROOM_MAX 500u
/* Then it stays away for a while, though it may be drawn back. */
#define EXILE_NS 30000000000u
/* Restless: among how many one is chosen. */
#define WANDERERS 64u
/* A busy time that is older belongs to a worker that sleeps. */
#define BUSY_STALE_NS 200000000u

typedef struct x_move {
    slim_xrec rec;
    slim_link_id id;
    slim_link *link; /* LINK: NULL when it is gone */
    uint32_t number;
    uint16_t from;
    bool ok; /* READY */
} x_move;

/* What came for a link before the link. */
typedef enum parked_kind { PARKED_COPY, PARKED_WAITER, PARKED_RECORD } parked_kind;
typedef struct parked parked;
struct parked {
    parked *next;
    parked_kind kind;
    slim_copy copy; /* heads, preimage and, without hold, the tail lie in data */
    slim_waiter waiter;
    _Alignas(8) uint8_t data[];
};

struct slim_arrival {
    slim_arrival *next;
    slim_link_id id;
    uint32_t number;
    size_t bytes;
    parked *first, **tail;
};

static bool tell(slim_worker *w, uint16_t to, slim_xkind kind, x_move what)
{
    x_move *x = slim_worker_put(w, to, kind, sizeof(*x), 0);

    if (x == NULL)
        return false;
    what.rec = x->rec;
    *x = what;
    return true;
}

/* The links of a connection; usually there is one. */
#define EACH_LINK(l, c)                                                                                                            \
    for (slim_stream *s_ = slim_h2_first_stream(slim_conn_h2(c)); s_ != NULL; s_ = slim_stream_next(s_))                           \
        for (slim_link *l = slim_stream_user(s_); l != NULL; l = NULL)

static void count_anew(slim_link *l)
{
    l->pull = 0;
    l->published = 0;
    l->worker_in = l->worker->count.messages_in;
}

/* --- the new worker ------------------------------------------------------------------------------------------------------------
 */

static slim_arrival *arrival_of(const slim_worker *w, slim_link_id id)
{
    slim_arrival *a = w->arrivals;

    while (a != NULL && !slim_link_id_eq(a->id, id))
        a = a->next;
    return a;
}

static void arrival_unlist(slim_worker *w, slim_arrival *a)
{
    slim_arrival **at = &w->arrivals;

    while (*at != a)
        at = &(*at)->next;
    *at = a->next;
}

/* Gives what was kept to the link, in order, or says that the link is gone. */
static void arrival_end(slim_worker *w, slim_arrival *a)
{
    parked *p = a->first;

    slim_purse_add(&w->io.purse, -(int64_t)a->bytes);
    while (p != NULL) {
        parked *next = p->next;
        slim_link *l = slim_worker_link(w, a->id);

        switch (p->kind) {
        case PARKED_COPY:
            if (l != NULL)
                slim_link_deliver(l, &p->copy);
            if (p->copy.hold != NULL)
                slim_buf_unref(p->copy.hold);
            break;
        case PARKED_WAITER: slim_link_wait_or_wake(w, a->id, p->waiter); break;
        case PARKED_RECORD: slim_subscribe_take_send(w, (const slim_xrec *)p->data); break;
        }
        slim_free(w->io.mem, p);
        p = next;
    }
    slim_free(w->io.mem, a);
}

static parked *park(slim_worker *w, slim_arrival *a, parked_kind kind, size_t n, size_t extra)
{
    parked *p = slim_alloc(w->io.mem, sizeof(*p) + n);
    size_t cost_bytes = sizeof(*p) + n + extra;
    slim_link_slot *slot;

    if (p == NULL)
        return NULL;
    *p = (parked){.kind = kind};
    *a->tail = p;
    a->tail = &p->next;
    a->bytes += cost_bytes;
    slim_purse_add(&w->io.purse, (int64_t)cost_bytes);
    if (a->bytes >= slim_worker_high_bytes(w) && (slot = slim_links_live_xt(w->hub->links, a->id)) != NULL)
        atomic_store_explicit(&slot->congested, 1, memory_order_relaxed);
    return p;
}

bool slim_move_coming(const slim_worker *w, slim_link_id id)
{
    return arrival_of(w, id) != NULL;
}

bool slim_move_has_room(const slim_worker *w, slim_link_id id)
{
    const slim_arrival *a = arrival_of(w, id);

    return a == NULL || a->bytes < slim_worker_high_bytes(w);
}

bool slim_move_keep_copy(slim_worker *w, slim_link_id id, const slim_copy *copy, bool signs)
{
    slim_arrival *a = arrival_of(w, id);
    slim_bytes head = copy->head[signs], pre = signs ? copy->preimage : slim_bytes_of(NULL, 0);
    size_t tail_n = copy->hold == NULL ? copy->tail.n : 0;
    parked *p;
    uint8_t *at;

    if (a == NULL || (p = park(w, a, PARKED_COPY, head.n + pre.n + tail_n, copy->tail.n - tail_n)) == NULL)
        return false;
    p->copy.mac_offset = copy->mac_offset;
    p->copy.head[signs] = slim_bytes_of(p->data, head.n);
    at = slim_put(p->data, head.p, head.n);
    p->copy.preimage = slim_bytes_of(at, pre.n);
    at = slim_put(at, pre.p, pre.n);
    p->copy.tail = copy->tail;
    if (copy->hold != NULL) {
        p->copy.hold = slim_buf_ref(copy->hold);
    } else {
        p->copy.tail.p = at;
        slim_put(at, copy->tail.p, copy->tail.n);
    }
    return true;
}

bool slim_move_keep_waiter(slim_worker *w, slim_link_id id, slim_waiter waiter)
{
    slim_arrival *a = arrival_of(w, id);
    parked *p = a != NULL ? park(w, a, PARKED_WAITER, 0, 0) : NULL;

    if (p == NULL)
        return false;
    p->waiter = waiter;
    return true;
}

bool slim_move_keep_record(slim_worker *w, slim_link_id id, const slim_xrec *rec)
{
    slim_arrival *a = arrival_of(w, id);
    parked *p = a != NULL ? park(w, a, PARKED_RECORD, rec->size_bytes, 0) : NULL;

    if (p == NULL)
        return false;
    slim_put(p->data, rec, rec->size_bytes);
    return true;
}

static void take_coming(slim_worker *w, const x_move *x)
{
    slim_arrival *a = NULL;

    if (!w->draining && slim_worker_reserve_links(w, x->id.slot) == SLIM_OK &&
        (a = slim_zalloc(w->io.mem, 1, sizeof(*a))) != NULL) {
        a->id = x->id;
        a->number = x->number;
        a->tail = &a->first;
        a->next = w->arrivals;
        w->arrivals = a;
    }
    /* Without memory for the answer the owner gives up after a while. */
    tell(w, x->from, SLIM_X_READY, (x_move){.id = x->id, .number = x->number, .ok = a != NULL});
}

static void let_follow(slim_link *l)
{
    l->follows = false;
    l->worker->n_followers--;
    slim_link_release(l);
}

static void arrive(slim_worker *w, slim_link *l)
{
    l->worker = w;
    slim_link_enlist(l);
    l->toward = w->index;
    count_anew(l);
    w->n_followers += l->follows;
    if (l->state == SLIM_LINK_NEGOTIATING)
        slim_timer_set(&w->io.timers, &l->timer, w->io.now_ns + w->hub->negotiation_timeout_ns);
}

static void take_link(slim_worker *w, const x_move *x)
{
    slim_arrival *a = arrival_of(w, x->id);
    slim_link *l = x->link;
    slim_link_slot *slot;
    slim_conn *c;

    if (l == NULL) {
        if (a != NULL && a->number == x->number) {
            arrival_unlist(w, a);
            arrival_end(w, a);
        }
        return;
    }
    if (a != NULL)
        arrival_unlist(w, a);
    c = l->conn;
    EACH_LINK (each, c)
        arrive(w, each);
    SLIM_PROBE2(link_moved, l->id.slot, w->index);
    slim_worker_keep_link(w, l);
    atomic_fetch_add_explicit(&w->load, 1, memory_order_relaxed);
    if ((slot = slim_links_live_xt(w->hub->links, l->id)) != NULL)
        atomic_store_explicit(&slot->congested, 0, memory_order_relaxed);
    if (slim_conn_join(c, &w->io))
        slim_log(SLIM_DEBUG, DATAPATH, "connection moved conn_index=%u peer=%s from_worker=%u to_worker=%u", l->id.slot,
                 slim_conn_peer(c), x->from, w->index);
    else
        c = NULL;
    if (a != NULL)
        arrival_end(w, a);
    if (c == NULL)
        return;
    slim_link_release(l);
    EACH_LINK (each, c) {
        if (each->follows)
            let_follow(each);
        if (w->draining)
            slim_link_end(each, 0, NULL);
    }
    if (w->draining)
        slim_conn_close(c);
    if (w->stopping)
        slim_conn_abort(c, SLIM_OK, "the node stops");
}

/* Nobody goes on with the link: what it had in the table goes with the table. */
static void link_discard(slim_worker *w, slim_link *l)
{
    EACH_LINK (each, l->conn) {
        arrive(w, each);
        slim_timer_cancel(&w->io.timers, &each->timer);
        each->state = SLIM_LINK_ENDED;
    }
    slim_conn_discard(l->conn);
}

void slim_move_close(slim_worker *w)
{
    slim_link *l = w->move.state == SLIM_MOVE_LEFT ? w->move.link : NULL;
    slim_arrival *a;

    while ((a = w->arrivals) != NULL) {
        arrival_unlist(w, a);
        arrival_end(w, a);
    }
    if (l != NULL)
        link_discard(w, l);
}

/* --- the owner -----------------------------------------------------------------------------------------------------------------
 */

static void token_return(slim_worker *w)
{
    if (w->move.has_token)
        atomic_store_explicit(&w->hub->moving, false, memory_order_release);
    w->move.has_token = false;
}

static void move_over(slim_worker *w)
{
    token_return(w);
    w->move.link = NULL;
    w->move.state = SLIM_MOVE_NONE;
}

static void move_cancel(slim_worker *w)
{
    slim_move *m = &w->move;

    move_over(w);
    if (!tell(w, m->to, SLIM_X_LINK, (x_move){.id = m->id, .number = m->number, .from = w->index}))
        m->state = SLIM_MOVE_CANCELLED;
}

static void tell_fences(slim_worker *w)
{
    slim_move *m = &w->move;

    for (uint16_t to = 0; to < w->hub->n_workers; to++)
        if ((m->untold >> to & 1) != 0 && tell(w, to, SLIM_X_FENCE, (x_move){.id = m->id, .number = m->number, .from = w->index}))
            m->untold &= ~((uint64_t)1 << to);
}

static void take_ready(slim_worker *w, const x_move *x)
{
    slim_move *m = &w->move;

    if (m->state != SLIM_MOVE_ASKED || m->number != x->number)
        return;
    if (!x->ok) {
        move_over(w);
        return;
    }
    EACH_LINK (other, m->link->conn) {
        if (other != m->link && other->state == SLIM_LINK_LIVE) {
            move_cancel(w);
            return;
        }
    }
    /* Only its owner ever closes a slot, so it is still this link's. */
    atomic_store_explicit(&slim_links_slot_xt(w->hub->links, m->id.slot)->worker, m->to, memory_order_relaxed);
    m->state = SLIM_MOVE_FENCING;
    m->fences = w->hub->n_workers - 1u;
    for (uint16_t i = 0; i < w->hub->n_workers; i++)
        if (i != w->index)
            m->untold |= (uint64_t)1 << i;
    tell_fences(w);
    EACH_LINK (other, m->link->conn)
        slim_move_opened(other);
}

static bool leave_when_at_rest(slim_worker *w)
{
    slim_link *l = w->move.link;

    if (w->move.state != SLIM_MOVE_FENCED || l == NULL || l->waits != 0 || l->n_waiters != 0 || l->crowded || l->ops != 0)
        return false;
    w->move.state = SLIM_MOVE_LEAVING;
    slim_link_hold(l);
    slim_conn_leave(l->conn);
    return true;
}

static void take_fenced(slim_worker *w, const x_move *x)
{
    slim_move *m = &w->move;

    if (m->state != SLIM_MOVE_FENCING || m->number != x->number || --m->fences > 0)
        return;
    m->state = SLIM_MOVE_FENCED;
    leave_when_at_rest(w);
}

static void take_fence(slim_worker *w, const x_move *x)
{
    if (!tell(w, x->from, SLIM_X_FENCED, (x_move){.id = x->id, .number = x->number})) {
        w->fence_owed |= (uint64_t)1 << x->from;
        w->fence_number[x->from] = x->number;
    }
}

void slim_move_left(slim_conn *c, slim_io *io)
{
    slim_worker *w = slim_worker_of_io(io);
    slim_move *m = &w->move;
    slim_link *l = m->link;

    if (l == NULL || l->conn != c || m->state != SLIM_MOVE_LEAVING) { /* its link ended meanwhile */
        slim_conn_join(c, io);
        return;
    }
    w->links[l->id.slot] = NULL;
    w->n_links--;
    EACH_LINK (each, c) {
        slim_timer_cancel(&io->timers, &each->timer);
        w->n_followers -= each->follows;
        slim_link_delist(each);
    }
    m->state = SLIM_MOVE_LEFT;
}

void slim_move_opened(slim_link *l)
{
    slim_worker *w = l->worker;
    const slim_move *m = &w->move;

    if (m->state < SLIM_MOVE_FENCING || m->link == NULL || m->link == l || m->link->conn != l->conn || l->follows)
        return;
    l->follows = true;
    w->n_followers++;
    slim_link_hold(l);
}

/* Those that were held back for a move which came to nothing go on. */
static void followers_release(slim_worker *w)
{
    for (slim_link *l = w->live; l != NULL; l = l->next)
        if (l->follows && (w->move.link == NULL || w->move.link->conn != l->conn))
            let_follow(l);
}

bool slim_move_hand_over(slim_worker *w)
{
    slim_move *m = &w->move;

    if (m->state != SLIM_MOVE_LEFT ||
        !tell(w, m->to, SLIM_X_LINK, (x_move){.id = m->id, .link = m->link, .number = m->number, .from = w->index}))
        return false;
    atomic_fetch_sub_explicit(&w->load, 1, memory_order_relaxed);
    move_over(w);
    return true;
}

void slim_move_lost(slim_link *l)
{
    if (l->worker->move.link == l)
        move_cancel(l->worker);
}

bool slim_move_rested(slim_link *l)
{
    return l->worker->move.link == l && leave_when_at_rest(l->worker);
}

/* --- whether -------------------------------------------------------------------------------------------------------------------
 */

static bool fresh(const slim_worker *w, uint64_t now_ns)
{
    return now_ns < atomic_load_explicit(&w->busy_at_ns, memory_order_relaxed) + BUSY_STALE_NS;
}

static uint32_t busy_of(const slim_worker *w, uint64_t now_ns)
{
    return fresh(w, now_ns) ? atomic_load_explicit(&w->busy_permille, memory_order_relaxed) : 0;
}

static uint32_t waiting_of(const slim_worker *w, uint64_t now_ns)
{
    return fresh(w, now_ns) ? atomic_load_explicit(&w->waiting_permille, memory_order_relaxed) : 0;
}

/* The link's part of what its worker does, by the messages that came. */
static uint32_t busy_with(const slim_link *l)
{
    const slim_worker *w = l->worker;
    uint64_t all = w->count.messages_in - l->worker_in;

    return all > l->published ? (uint32_t)(busy_of(w, w->io.now_ns) * l->published / all) : busy_of(w, w->io.now_ns);
}

static bool worth_it(const slim_link *l)
{
    const slim_worker *w = l->worker, *to = &w->hub->workers[l->toward];
    uint64_t now = w->io.now_ns;

    if (waiting_of(w, now) > WAITING_MAX || waiting_of(to, now) > WAITING_MAX)
        return true;
    return busy_of(to, now) + busy_with(l) <= BUSY_MAX;
}

static bool movable(const slim_link *l)
{
    return l->state == SLIM_LINK_LIVE && l->kind != SLIM_PEER && l->outbound == NULL;
}

static void move_begin(slim_link *l, uint16_t to)
{
    slim_worker *w = l->worker;
    slim_hub *h = w->hub;
    slim_move *m = &w->move;

    if (m->state != SLIM_MOVE_NONE || w->draining || !movable(l) ||
        atomic_exchange_explicit(&h->moving, true, memory_order_acq_rel))
        return;
    *m = (slim_move){.state = SLIM_MOVE_ASKED,
                     .link = l,
                     .id = l->id,
                     .to = to,
                     .number = m->number + 1,
                     .began_ns = w->io.now_ns,
                     .has_token = true};
    if (!tell(w, to, SLIM_X_COMING, (x_move){.id = m->id, .number = m->number, .from = w->index}))
        move_over(w);
}

void slim_move_consider(slim_link *l)
{
    slim_worker *w = l->worker;

    if (w->io.now_ns >= l->move_after_ns) {
        l->move_after_ns = w->io.now_ns + REST_NS;
        if (w->hub->placement == SLIM_PLACEMENT_FOLLOW && worth_it(l))
            move_begin(l, l->toward);
    }
    count_anew(l);
}

/* Which of its links a full worker gives away: the one that sends most, when it is not the one all is about. */
static slim_link *link_to_spare(const slim_worker *w)
{
    slim_link *best = NULL;
    uint64_t all = 0;

    for (slim_link *l = w->live; l != NULL; l = l->next) {
        all += l->published;
        if (movable(l) && (best == NULL || l->published > best->published))
            best = l;
    }
    return best != NULL && best->published > 0 && best->published <= all / 2 ? best : NULL;
}

static void spread(slim_worker *w)
{
    uint64_t now = w->io.now_ns;
    slim_worker *to = NULL;
    slim_link *l;

    for (uint16_t i = 0; i < w->hub->n_workers; i++) {
        slim_worker *other = &w->hub->workers[i];

        if (other != w && busy_of(other, now) <= ROOM_MAX && waiting_of(other, now) <= FULL_WAITING_MAX &&
            (to == NULL || busy_of(other, now) < busy_of(to, now)))
            to = other;
    }
    if (to == NULL || (l = link_to_spare(w)) == NULL)
        return;
    move_begin(l, to->index);
    l->move_after_ns = now + EXILE_NS;
}

static void measure(slim_worker *w)
{
    uint64_t span_ns = w->io.now_ns - atomic_load_explicit(&w->busy_at_ns, memory_order_relaxed);
    slim_thread_meter before = w->meter;
    uint32_t busy, waiting;

    if (span_ns < BUSY_EVERY_NS || w->hub->n_workers == 1)
        return;
    slim_thread_meter_read(&w->meter);
    busy = (uint32_t)((w->meter.ran_ns - before.ran_ns) * 1000 / span_ns);
    waiting = (uint32_t)((w->meter.waited_ns - before.waited_ns) * 1000 / span_ns);
    atomic_store_explicit(&w->busy_permille, busy, memory_order_relaxed);
    atomic_store_explicit(&w->waiting_permille, waiting, memory_order_relaxed);
    atomic_store_explicit(&w->busy_at_ns, w->io.now_ns, memory_order_relaxed);
    w->full_looks = busy >= FULL_MIN && waiting <= FULL_WAITING_MAX ? w->full_looks + 1 : 0;
    if (w->full_looks == 1)
        for (slim_link *l = w->live; l != NULL; l = l->next)
            count_anew(l);
    if (w->full_looks >= FULL_LOOKS && w->hub->placement == SLIM_PLACEMENT_FOLLOW) {
        w->full_looks = 0;
        spread(w);
    }
}

/* Any link goes to the next worker, another one each time. */
static void wander(slim_worker *w)
{
    uint32_t n = w->n_links < WANDERERS ? w->n_links : WANDERERS;
    slim_link *l = w->live;

    for (uint64_t i = n > 0 ? w->io.turns % n : 0; i > 0 && l != NULL; i--)
        l = l->next;
    if (l != NULL)
        move_begin(l, (uint16_t)((w->index + 1) % w->hub->n_workers));
}

void slim_move_turn(slim_worker *w)
{
    slim_move *m = &w->move;

    measure(w);
    if (w->n_followers > 0)
        followers_release(w);
    for (uint16_t to = 0; w->fence_owed != 0 && to < w->hub->n_workers; to++)
        if ((w->fence_owed >> to & 1) != 0 && tell(w, to, SLIM_X_FENCED, (x_move){.number = w->fence_number[to]}))
            w->fence_owed &= ~((uint64_t)1 << to);
    switch (m->state) {
    case SLIM_MOVE_NONE:
        if (w->hub->placement == SLIM_PLACEMENT_RESTLESS && w->hub->n_workers > 1)
            wander(w);
        return;
    case SLIM_MOVE_ASKED:
        if (w->io.now_ns >= m->began_ns + PATIENCE_NS)
            move_cancel(w);
        return;
    case SLIM_MOVE_FENCING: tell_fences(w); break;
    case SLIM_MOVE_FENCED: leave_when_at_rest(w); break;
    case SLIM_MOVE_LEAVING:
    case SLIM_MOVE_LEFT: break;
    case SLIM_MOVE_CANCELLED: move_cancel(w); return;
    }
    if (w->io.now_ns >= m->began_ns + PATIENCE_NS)
        token_return(w);
}

uint64_t slim_move_due_ns(const slim_worker *w)
{
    return w->move.state != SLIM_MOVE_NONE || w->fence_owed != 0 ? w->io.now_ns + RETRY_NS : SLIM_TIMERS_NEVER;
}

/* --- records -------------------------------------------------------------------------------------------------------------------
 */

void slim_move_take(slim_worker *w, const slim_xrec *rec)
{
    const x_move *x = (const x_move *)rec;

    switch (rec->kind) {
    case SLIM_X_COMING: take_coming(w, x); return;
    case SLIM_X_READY: take_ready(w, x); return;
    case SLIM_X_FENCE: take_fence(w, x); return;
    case SLIM_X_FENCED: take_fenced(w, x); return;
    case SLIM_X_LINK: take_link(w, x); return;
    }
}

void slim_move_discard(slim_hub *h, const slim_xrec *rec)
{
    slim_link *l = ((const x_move *)rec)->link;

    if (l != NULL)
        link_discard(&h->workers[0], l);
}
