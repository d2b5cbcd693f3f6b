#include "io/conn_int.h"

#include <errno.h>
#include <linux/sockios.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* How long an ended connection waits for the peer's FIN, and how often it looks whether the peer's kernel has all: what the peer
 * sends to a descriptor that is closed already is answered by a reset, and that would take our last bytes with it. */
#define LINGER_NS 200000000u
/* A receive of this size means that data streams: the kernel acknowledges it in time by itself. */
#define STREAMING_BYTES 16384
/* The time limit of the setup, times this, for those who leave in order. */
#define PATIENT_TIMES 12

static void conn_event(slim_io_user *user, const slim_ring_event *ev);
static void conn_timer(slim_timer *timer, uint64_t now_ns);

static inline slim_conn *conn_of_timer(slim_timer *t)
{
    return (slim_conn *)((char *)t - offsetof(slim_conn, timer));
}

void conn_mark_dirty(slim_conn *c)
{
    if (c->is_dirty)
        return;
    c->is_dirty = true;
    c->next_dirty = c->io->dirty;
    c->io->dirty = c;
}

static void conn_forget_dirty(slim_conn *c)
{
    slim_conn **at = &c->io->dirty;

    while (c->is_dirty && *at != NULL && *at != c)
        at = &(*at)->next_dirty;
    if (c->is_dirty && *at == c)
        *at = c->next_dirty;
    c->is_dirty = false;
}

static void conn_h2_dirty(slim_h2 *h)
{
    conn_mark_dirty(slim_h2_user(h));
}

void slim_conn_config_ready(slim_conn_config *cfg)
{
    cfg->events.dirty = conn_h2_dirty;
    cfg->h2.events = &cfg->events;
}

static void conn_name_peer(slim_conn *c)
{
    struct sockaddr_storage ss = {.ss_family = AF_UNSPEC};
    socklen_t len = sizeof(ss);

    snprintf(c->peer, sizeof(c->peer), "unknown");
    if (c->sock != NULL && getpeername(slim_sock_fd(c->sock), (struct sockaddr *)&ss, &len) == 0)
        c->is_tcp = slim_sockaddr_text((const struct sockaddr *)&ss, c->peer);
}

static void conn_tcp_options(slim_conn *c)
{
    int fd = slim_sock_fd(c->sock), on = 1, idle_s = (int)(c->cfg->tcp_keepalive_ns / 1000000000u);

    if (!c->is_tcp || c->cfg->tcp_keepalive_ns == 0)
        return;
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
    if (idle_s > 0)
        setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof(idle_s));
}

static void conn_list(slim_conn *c)
{
    slim_io *io = c->io;

    c->next = io->conns;
    if (io->conns != NULL)
        io->conns->prev = c;
    io->conns = c;
    io->n_conns++;
}

static void conn_unlist(slim_conn *c)
{
    if (c->prev != NULL)
        c->prev->next = c->next;
    else
        c->io->conns = c->next;
    if (c->next != NULL)
        c->next->prev = c->prev;
    c->io->n_conns--;
}

static void conn_iov_drop(slim_conn *c)
{
    if (c->iov != c->few)
        slim_free(c->io->mem, c->iov);
    c->iov = NULL;
    c->n_iov = c->iov_at = 0;
}

bool conn_iov_keep(slim_conn *c, const struct iovec *iov, size_t n)
{
    if ((c->iov = n <= CONN_OUT_FEW ? c->few : slim_alloc(c->io->mem, n * sizeof(*iov))) == NULL)
        return false;
    memcpy(c->iov, iov, n * sizeof(*iov));
    c->n_iov = n;
    c->iov_at = 0;
    return true;
}

static void conn_free(slim_conn *c)
{
    slim_timer_cancel(&c->io->timers, &c->timer);
    if (c->h2 != NULL)
        slim_h2_free(c->h2);
    if (c->tls != NULL)
        slim_tls_free(c->tls);
    conn_tls_drop(c);
    conn_iov_drop(c);
    slim_free(c->io->mem, c);
}

static slim_conn *conn_new(slim_io *io, const slim_conn_config *cfg, void *user)
{
    slim_conn *c = slim_zalloc(io->mem, 1, sizeof(*c));
    slim_h2_config h2 = cfg->h2;

    if (c == NULL)
        return NULL;
    c->io_user.event = conn_event;
    c->io = io;
    c->cfg = cfg;
    c->user = user;
    c->born_ns = io->now_ns;
    c->idle = true;
    c->idle_since_ns = io->now_ns;
    c->timer.fire = conn_timer;
    c->ping_due_ns = SLIM_TIMERS_NEVER;
    h2.compact = true;
    h2.mem = io->mem;
    h2.purse = &io->purse;
    h2.http_date = io->date;
    if ((c->h2 = slim_h2_new(&h2, c)) == NULL) {
        conn_free(c);
        return NULL;
    }
    return c;
}

static uint64_t conn_age_due(const slim_conn *c)
{
    if (c->aged)
        return SLIM_TIMERS_NEVER;
    if (c->tls != NULL && slim_tls_worn(c->tls))
        return c->born_ns;
    return c->cfg->max_age_ns == 0 ? SLIM_TIMERS_NEVER : c->born_ns + c->cfg->max_age_ns;
}

static uint64_t conn_idle_due(const slim_conn *c)
{
    return c->idle ? c->idle_since_ns + c->cfg->setup_timeout_ns : SLIM_TIMERS_NEVER;
}

/* How long an ended connection may take nothing of what it is still owed. After an orderly end a receiver that pauses loses
 * nothing. */
static uint64_t conn_patience_ns(const slim_conn *c)
{
    return c->patient ? c->cfg->setup_timeout_ns * PATIENT_TIMES : c->cfg->setup_timeout_ns;
}

void conn_arm(slim_conn *c)
{
    uint64_t due = SLIM_TIMERS_NEVER, now = c->io->now_ns;

    switch (c->state) {
    case CONN_CONNECTING:
    case CONN_HANDSHAKE: due = c->born_ns + c->cfg->setup_timeout_ns; break;
    case CONN_OPEN:
        if (!slim_h2_alive(c->h2))
            due = c->born_ns + c->cfg->setup_timeout_ns;
        else
            due = c->ping_due_ns;
        if (conn_age_due(c) < due)
            due = conn_age_due(c);
        if (conn_idle_due(c) < due)
            due = conn_idle_due(c);
        break;
    case CONN_LINGERING: due = now + LINGER_NS; break;
    case CONN_FLUSHING: due = c->progress_ns + conn_patience_ns(c); break;
    case CONN_CLOSED: break;
    }
    if (due != SLIM_TIMERS_NEVER)
        slim_timer_set(&c->io->timers, &c->timer, due);
    else
        slim_timer_cancel(&c->io->timers, &c->timer);
}

/* After what a PING waits for has changed. */
static void conn_ping_arm(slim_conn *c)
{
    if (c->cfg->ping_interval_ns != 0)
        c->ping_due_ns = c->io->now_ns + (slim_h2_ping_pending(c->h2) ? c->cfg->ping_timeout_ns : c->cfg->ping_interval_ns);
}

static void conn_flush_begin(slim_conn *c)
{
    c->state = CONN_FLUSHING;
    c->progress_ns = c->io->now_ns;
    conn_arm(c);
    conn_mark_dirty(c);
}

/* The transport stands: TLS first, else HTTP/2 at once. */
static void conn_established(slim_conn *c)
{
    c->state = c->tls != NULL ? CONN_HANDSHAKE : CONN_OPEN;
    conn_arm(c);
    slim_sock_recv_start(c->sock);
    conn_mark_dirty(c);
    if (c->tls != NULL && !c->cfg->h2.server)
        conn_tls_feed(c, slim_bytes_of(NULL, 0)); /* a client has the first word */
    if (c->state == CONN_OPEN && c->cfg->ready != NULL)
        c->cfg->ready(c);
}

slim_conn *slim_conn_accept(slim_io *io, const slim_conn_config *cfg, int fd, void *user)
{
    slim_conn *c = conn_new(io, cfg, user);

    if (c == NULL)
        goto fail;
    if (cfg->tls != NULL && (c->tls = slim_tls_accept(cfg->tls, io->mem)) == NULL)
        goto fail;
    if ((c->sock = slim_ring_adopt(io->ring, fd, &c->io_user)) == NULL) {
        conn_free(c);
        return NULL;
    }
    conn_list(c);
    conn_name_peer(c);
    conn_tcp_options(c);
    conn_established(c);
    return c;
fail:
    close(fd);
    if (c != NULL)
        conn_free(c);
    return NULL;
}

slim_conn *slim_conn_connect(slim_io *io, const slim_conn_config *cfg, const struct sockaddr *addr, socklen_t len,
                             const char *server_name, void *user, const char **why)
{
    slim_conn *c = conn_new(io, cfg, user);

    *why = "out of memory";
    if (c == NULL)
        return NULL;
    if (cfg->tls != NULL && (c->tls = slim_tls_connect(cfg->tls, io->mem, server_name)) == NULL)
        goto fail;
    if ((c->sock = slim_ring_connect(io->ring, addr, len, &c->io_user)) == NULL) {
        *why = strerror(errno);
        goto fail;
    }
    conn_list(c);
    c->state = CONN_CONNECTING;
    conn_arm(c);
    return c;
fail:
    conn_free(c);
    return NULL;
}

void *slim_conn_user(const slim_conn *c)
{
    return c->user;
}
void slim_conn_set_user(slim_conn *c, void *user)
{
    c->user = user;
}
slim_h2 *slim_conn_h2(slim_conn *c)
{
    return c->h2;
}
slim_io *slim_conn_io(slim_conn *c)
{
    return c->io;
}
const slim_conn_config *slim_conn_config_of(const slim_conn *c)
{
    return c->cfg;
}
const char *slim_conn_peer(const slim_conn *c)
{
    return c->peer;
}

void slim_conn_leave(slim_conn *c)
{
    if (c->state != CONN_OPEN)
        return;
    c->leaving = true;
    conn_mark_dirty(c);
}

/* The last event of a socket that has none any more. */
static void conn_gone(slim_conn *c)
{
    c->sock = NULL;
    conn_unlist(c);
    if (c->h2 != NULL) {
        slim_h2_free(c->h2);
        c->h2 = NULL;
    }
    conn_forget_dirty(c);
    c->cfg->closed(c, c->why, c->text);
    conn_free(c);
}

static bool conn_adopt(slim_conn *c, int fd)
{
    c->leaving = c->released = false;
    if ((c->sock = slim_ring_adopt(c->io->ring, fd, &c->io_user)) == NULL) {
        slim_conn_abort(c, SLIM_E_SYS, strerror(errno));
        conn_gone(c);
        return false;
    }
    slim_sock_recv_start(c->sock);
    conn_arm(c);
    conn_mark_dirty(c);
    return true;
}

static void conn_released(slim_conn *c, int fd)
{
    c->sock = NULL;
    if (c->state == CONN_OPEN && !slim_h2_detach(c->h2))
        slim_conn_abort(c, SLIM_E_NOMEM, "out of memory");
    if (c->state == CONN_CLOSED) {
        shutdown(fd, SHUT_RDWR);
        close(fd);
        conn_gone(c);
    } else if (c->state != CONN_OPEN) {
        conn_adopt(c, fd); /* it began to end meanwhile */
    } else {
        slim_timer_cancel(&c->io->timers, &c->timer);
        conn_unlist(c);
        conn_forget_dirty(c);
        c->prev = c->next = NULL;
        c->fd = fd;
        c->cfg->left(c, c->io);
    }
}

bool slim_conn_join(slim_conn *c, slim_io *io)
{
    c->io = io;
    slim_h2_attach(c->h2, &io->purse, io->date);
    conn_list(c);
    return conn_adopt(c, c->fd);
}

void slim_conn_discard(slim_conn *c)
{
    c->state = CONN_CLOSED;
    close(c->fd);
    conn_free(c);
}

void slim_conn_close(slim_conn *c)
{
    if (c->state >= CONN_FLUSHING)
        return;
    if (c->state < CONN_OPEN) { /* nothing to say yet */
        slim_conn_abort(c, SLIM_OK, "closed");
        return;
    }
    c->patient = true;
    conn_flush_begin(c);
}

void slim_conn_abort(slim_conn *c, slim_err why, const char *text)
{
    if (c->state == CONN_CLOSED)
        return;
    if (c->why == SLIM_OK) {
        c->why = why;
        snprintf(c->text, sizeof(c->text), "%s", text);
    }
    c->state = CONN_CLOSED;
    conn_arm(c);
    conn_mark_dirty(c); /* the flush closes the socket: never inside a callback of h2 */
}

void conn_fail(slim_conn *c, slim_err why, const char *text)
{
    if (c->why == SLIM_OK) {
        c->why = why;
        snprintf(c->text, sizeof(c->text), "%s", text);
    }
    c->patient = false;
    if (c->state < CONN_FLUSHING)
        conn_flush_begin(c);
    else
        conn_mark_dirty(c);
}

void slim_io_close_all(slim_io *io)
{
    for (slim_conn *c = io->conns; c != NULL; c = c->next)
        slim_conn_close(c);
}

void slim_io_abort_all(slim_io *io)
{
    for (slim_conn *c = io->conns; c != NULL; c = c->next)
        slim_conn_abort(c, SLIM_OK, "the node stops");
}

void slim_conn_set_idle(slim_conn *c, bool idle)
{
    c->idle = idle;
    c->idle_since_ns = c->io->now_ns;
    if (idle && c->state == CONN_OPEN)
        conn_arm(c);
}

/* What the peer's kernel has not acknowledged. */
static size_t conn_outq(slim_conn *c)
{
    int n = 0;

    if (ioctl(slim_sock_fd(c->sock), SIOCOUTQ, &n) != 0 || n <= 0)
        return 0;
    if ((size_t)n < c->outq_bytes)
        c->progress_ns = c->io->now_ns;
    return c->outq_bytes = (size_t)n;
}

static void conn_timer(slim_timer *timer, uint64_t now_ns)
{
    slim_conn *c = conn_of_timer(timer);

    switch (c->state) {
    case CONN_CONNECTING: slim_conn_abort(c, SLIM_E_TIMEOUT, "connect timed out"); return;
    case CONN_HANDSHAKE: slim_conn_abort(c, SLIM_E_TIMEOUT, "TLS handshake timed out"); return;
    case CONN_OPEN:
        if (!slim_h2_alive(c->h2) && now_ns >= c->born_ns + c->cfg->setup_timeout_ns) {
            slim_conn_abort(c, SLIM_E_TIMEOUT, "no HTTP/2 preface in time");
            return;
        }
        if (now_ns >= conn_idle_due(c)) {
            slim_h2_goaway(c->h2, 0);
            conn_fail(c, SLIM_E_TIMEOUT, "no call was opened in time");
            return;
        }
        if (now_ns >= conn_age_due(c)) {
            c->aged = true;
            slim_h2_goaway(c->h2, 0);
            if (c->cfg->aged != NULL)
                c->cfg->aged(c);
            else
                slim_conn_close(c);
        } else if (now_ns >= c->ping_due_ns) {
            if (slim_h2_ping_pending(c->h2)) {
                slim_conn_abort(c, SLIM_E_TIMEOUT, "keep-alive PING not answered in time");
                return;
            }
            slim_h2_ping(c->h2);
            conn_ping_arm(c);
        }
        conn_arm(c);
        conn_mark_dirty(c);
        return;
    case CONN_LINGERING:
        if (conn_outq(c) == 0) {
            slim_conn_abort(c, SLIM_OK, "");
            return;
        }
        /* fall through */
    case CONN_FLUSHING:
        if (now_ns >= c->progress_ns + conn_patience_ns(c))
            slim_conn_abort(c, SLIM_E_TIMEOUT, "the peer did not take the rest in time");
        else
            conn_arm(c);
        return;
    case CONN_CLOSED: return;
    }
}

void conn_feed(slim_conn *c, slim_bytes in, slim_buf *hold)
{
    slim_err e;
    bool was_alive, pinged;

    if (c->state != CONN_OPEN && !(c->state == CONN_FLUSHING && c->patient && !c->said_goodbye))
        return; /* ending: nothing that comes matters any more */
    was_alive = slim_h2_alive(c->h2);
    pinged = slim_h2_ping_pending(c->h2);
    e = slim_h2_feed(c->h2, in, hold);
    if (e != SLIM_OK) {
        conn_fail(c, e, e == SLIM_E_PROTOCOL ? slim_h2_why(c->h2) : slim_err_text(e));
        return;
    }
    if (was_alive != slim_h2_alive(c->h2) || pinged != slim_h2_ping_pending(c->h2)) {
        conn_ping_arm(c);
        if (c->state == CONN_OPEN)
            conn_arm(c);
    }
    if (c->state == CONN_FLUSHING || slim_h2_wants_write(c->h2) || slim_h2_finished(c->h2))
        conn_mark_dirty(c);
}

static void conn_recv(slim_conn *c, const slim_ring_event *ev)
{
    if (ev->res > 0) {
        slim_bytes in = slim_bytes_of(ev->p, (size_t)ev->res);

        c->io->bytes_in += in.n;
        c->wants_quick_ack = c->is_tcp && in.n < STREAMING_BYTES;
        if (c->tls != NULL && c->state != CONN_LINGERING)
            conn_tls_feed(c, in);
        else
            conn_feed(c, in, ev->slab);
        if (c->wants_quick_ack)
            conn_mark_dirty(c);
        slim_buf_unref(ev->slab);
        return;
    }
    /* End of stream or error: nothing can come, and what we still have to say has no reader that would answer. */
    if (ev->res == 0)
        slim_conn_abort(c, SLIM_OK, "closed by peer");
    else
        slim_conn_abort(c, SLIM_E_SYS, strerror(-ev->res));
}

static void conn_sent(slim_conn *c, int res)
{
    c->sending = false;
    if (res < 0) {
        slim_conn_abort(c, SLIM_E_SYS, strerror(-res));
        return;
    }
    c->io->bytes_out += (size_t)res;
    c->progress_ns = c->io->now_ns;
    if (c->tls == NULL)
        slim_h2_sent(c->h2, (size_t)res);
    for (size_t left = (size_t)res; c->iov_at < c->n_iov; c->iov_at++) {
        struct iovec *v = &c->iov[c->iov_at];

        if (left < v->iov_len) {
            v->iov_base = (char *)v->iov_base + left;
            v->iov_len -= left;
            break;
        }
        left -= v->iov_len;
    }
    if (c->iov_at == c->n_iov) {
        conn_iov_drop(c);
        conn_tls_drop(c);
    }
    conn_mark_dirty(c);
}

static void conn_event(slim_io_user *user, const slim_ring_event *ev)
{
    slim_conn *c = (slim_conn *)user;

    switch (ev->kind) {
    case SLIM_EV_CONNECT:
        if (c->state != CONN_CONNECTING)
            return;
        if (ev->res != 0) {
            slim_conn_abort(c, SLIM_E_SYS, strerror(-ev->res));
            return;
        }
        conn_name_peer(c);
        conn_tcp_options(c);
        conn_established(c);
        return;
    case SLIM_EV_RECV: conn_recv(c, ev); return;
    case SLIM_EV_SENT: conn_sent(c, ev->res); return;
    case SLIM_EV_CLOSED: conn_gone(c); return;
    case SLIM_EV_RELEASED: conn_released(c, ev->fd); return;
    case SLIM_EV_ACCEPT:
    case SLIM_EV_WAKE:
    case SLIM_EV_FD: return;
    }
}

/* Collects what is to be sent next; false when no memory is left. */
static bool conn_collect(slim_conn *c)
{
    struct iovec iov[CONN_OUT_IOV];

    if (c->tls != NULL)
        return conn_tls_seal(c);
    return conn_iov_keep(c, iov, slim_h2_pull(c->h2, iov, CONN_OUT_IOV, CONN_OUT_BYTES));
}

/* Ends the socket; SLIM_EV_CLOSED frees the connection. The streams end here, outside of every callback of h2. */
static void conn_end(slim_conn *c)
{
    if (c->h2 != NULL && !c->sending) {
        slim_h2_free(c->h2);
        c->h2 = NULL;
    }
    if (c->sock != NULL && !c->ended)
        slim_sock_close(c->sock);
    c->ended = true;
}

static void conn_send_next(slim_conn *c)
{
    if (c->state == CONN_CLOSED) {
        conn_end(c);
        return;
    }
    if (c->sending || c->released || c->state == CONN_CONNECTING)
        return;
    if (c->leaving && c->state == CONN_OPEN && c->n_iov == 0) {
        c->released = true;
        slim_sock_release(c->sock);
        return;
    }
    if (c->n_iov == 0 && c->state != CONN_LINGERING && !conn_collect(c)) {
        slim_conn_abort(c, SLIM_E_NOMEM, "out of memory");
        return;
    }
    if (c->n_iov > 0) {
        c->sending = true;
        c->wants_quick_ack = false; /* our bytes carry the ACK */
        slim_sock_send(c->sock, c->iov + c->iov_at, c->n_iov - c->iov_at);
        return;
    }
    if (c->state == CONN_OPEN && slim_h2_finished(c->h2)) {
        if (slim_h2_failed(c->h2))
            conn_fail(c, SLIM_E_PROTOCOL, slim_h2_why(c->h2));
        else
            conn_flush_begin(c);
    }
    if (c->state == CONN_FLUSHING && !(c->patient && slim_h2_owes(c->h2))) {
        if (c->tls != NULL && !c->said_goodbye) {
            c->said_goodbye = true;
            slim_tls_shutdown(c->tls);
            conn_mark_dirty(c);
            return;
        }
        c->state = CONN_LINGERING;
        c->progress_ns = c->io->now_ns;
        c->outq_bytes = SIZE_MAX;
        conn_arm(c);
        slim_sock_shutdown(c->sock);
    }
}

void slim_conn_flush_list(slim_conn *list)
{
    while (list != NULL) {
        slim_conn *c = list;

        list = c->next_dirty;
        c->is_dirty = false;
        c->next_dirty = NULL;
        conn_send_next(c);
        if (c->wants_quick_ack && c->sock != NULL && c->state == CONN_OPEN) {
            int on = 1;

            /* Upstream's clients keep Nagle on, so their next small message waits for this ACK; the flag is not sticky. */
            setsockopt(slim_sock_fd(c->sock), IPPROTO_TCP, TCP_QUICKACK, &on, sizeof(on));
        }
        c->wants_quick_ack = false;
    }
}
