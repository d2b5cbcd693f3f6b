#include "node/listener.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "io/address.h"
#include "io/listen.h"
#include "node/move.h"

#define SETUP_TIMEOUT_NS 10000000000u
#define STREAM_WINDOW_BYTES (1024u * 1024)
/* Given back at once, so it only has to exceed what all busy streams of one connection may have under way. */
#define CONNECTION_WINDOW_BYTES (16u * 1024 * 1024)
#define STREAMS_MAX 100u
#define BIND_PATIENCE_MS 3000u
/* Connections refused at once while no descriptor is left; the accepting worker has other things to do. */
#define REFUSALS_PER_TURN 64
/* How long callers may wait for a descriptor. An upstream client that is turned away may never try again, so a shortage that passes
 * must not cost any. */
#define SHORTAGE_PATIENCE_NS 10000000000u

typedef struct x_socket {
    slim_xrec rec;
    slim_listener *listener;
    slim_caller *caller;
    int fd;
} x_socket;

static void leave(slim_hub *h, slim_caller *caller)
{
    if (caller != NULL)
        slim_callers_leave_xt(&h->callers, caller);
}

static void conn_aged(slim_conn *c)
{
    slim_worker *w = slim_worker_of_io(slim_conn_io(c));

    for (slim_link *l = w->live; l != NULL; l = l->next)
        if (l->conn == c)
            slim_link_end(l, 0, NULL);
    slim_conn_close(c);
}

static void conn_closed(slim_conn *c, slim_err why, const char *text)
{
    slim_worker *w = slim_worker_of_io(slim_conn_io(c));

    atomic_fetch_sub_explicit(&w->load, 1, memory_order_relaxed);
    leave(w->hub, slim_conn_user(c));
    if (slim_err_is_peer(why) || why == SLIM_E_TIMEOUT)
        slim_worker_blame(w, SLIM_WARN, "connection ended peer=%s reason=\"%s\"", slim_conn_peer(c), text);
    else
        slim_log(SLIM_DEBUG, DATAPATH, "connection ended peer=%s reason=\"%s\"", slim_conn_peer(c), text);
}

static void serve(slim_worker *w, slim_listener *l, int fd, slim_caller *caller)
{
    if (w->draining || slim_conn_accept(&w->io, &l->conn, fd, caller) == NULL) {
        if (w->draining)
            close(fd);
        leave(w->hub, caller);
        atomic_fetch_sub_explicit(&w->load, 1, memory_order_relaxed);
    }
}

void slim_listener_take(slim_worker *w, const slim_xrec *rec)
{
    const x_socket *x = (const x_socket *)rec;

    serve(w, x->listener, x->fd, x->caller);
}

void slim_listener_discard(const slim_xrec *rec)
{
    const x_socket *x = (const x_socket *)rec;

    close(x->fd);
    leave(x->listener->hub, x->caller);
}

/* No descriptor is left, and whoever waits in the backlog hangs there for as long as that lasts. When it has lasted, the spare one
 * is given up for a moment, so that they are turned away and may go to another node. */
static void refuse_waiting(slim_listener *l)
{
    uint64_t now = l->worker->io.now_ns;
    int fd;

    if (l->short_since_ns == 0)
        l->short_since_ns = now;
    if (now < l->short_since_ns + SHORTAGE_PATIENCE_NS)
        return;
    for (int i = 0; i < REFUSALS_PER_TURN; i++) {
        if (l->spare >= 0)
            close(l->spare);
        fd = accept4(l->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd >= 0)
            close(fd);
        l->spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
        if (fd < 0 || l->spare < 0)
            break;
    }
}

/* False: the address has all the connections it may have, and this one is closed. */
static bool admit(slim_listener *l, int fd, slim_caller **caller)
{
    slim_hub *h = l->hub;
    char text[SLIM_SOCKADDR_TEXT];
    slim_network from;
    uint32_t quiet;

    *caller = NULL;
    if (h->per_address_max == 0 || !slim_peer_network(fd, &from, text) || (from.loopback && h->per_address_spares_local))
        return true;
    switch (slim_callers_enter_xt(&h->callers, &from, h->per_address_max, caller)) {
    case SLIM_OK: return true;
    case SLIM_E_TOO_LARGE:
        if (slim_log_rate_take(&l->crowd_rate, l->worker->io.now_ns, 1, 1, &quiet))
            slim_log(SLIM_WARN, SERVICE,
                     "connection refused: its address has too many open; --per-address sets the limit endpoint=%s peer=%s limit=%u "
                     "suppressed=%u",
                     l->bound, text, h->per_address_max, quiet);
        break;
    default: break; /* no memory for a count, so none for a connection */
    }
    close(fd);
    return false;
}

static void listener_event(slim_io_user *user, const slim_ring_event *ev)
{
    slim_listener *l = (slim_listener *)user;
    slim_worker *w = l->worker, *to;
    slim_caller *caller;
    uint32_t quiet;
    x_socket *x;

    if (ev->kind != SLIM_EV_ACCEPT)
        return;
    if (ev->res < 0) {
        if (ev->res == -EMFILE || ev->res == -ENFILE)
            refuse_waiting(l);
        if (slim_log_rate_take(&l->refused_rate, w->io.now_ns, 1, 1, &quiet))
            slim_log(SLIM_ERROR, SERVICE, "accept failed%s endpoint=%s reason=\"%s\" suppressed=%u",
                     ev->res == -EMFILE
                         ? "; callers wait, and are turned away after 10 s; raise the limit of open files (ulimit -n)"
                         : "",
                     l->bound, strerror(-ev->res), quiet);
        return;
    }
    l->short_since_ns = 0;
    if (slim_budget_pressure_xt(&l->hub->budget) == SLIM_PRESSURE_FULL) {
        close(ev->fd);
        if (slim_log_rate_take(&l->refused_rate, w->io.now_ns, 1, 1, &quiet))
            slim_log(SLIM_ERROR, SERVICE,
                     "connection refused: the memory limit for messages is reached endpoint=%s limit_bytes=%lld suppressed=%u",
                     l->bound, (long long)l->hub->budget.limit_bytes, quiet);
        return;
    }
    if (!admit(l, ev->fd, &caller))
        return;
    to = slim_hub_place(l->hub);
    atomic_fetch_add_explicit(&to->load, 1, memory_order_relaxed);
    if (to == w) {
        serve(w, l, ev->fd, caller);
    } else if ((x = slim_worker_put(w, to->index, SLIM_X_SOCKET, sizeof(*x), 0)) != NULL) {
        x->listener = l;
        x->caller = caller;
        x->fd = ev->fd;
    } else {
        close(ev->fd);
        leave(l->hub, caller);
        atomic_fetch_sub_explicit(&to->load, 1, memory_order_relaxed);
    }
}

typedef struct start_mail {
    slim_mail mail;
    slim_listener *l;
} start_mail;

static void start(slim_mail *mail, slim_worker *w)
{
    start_mail *m = (start_mail *)mail;

    m->l->acceptor = slim_ring_accept_start(w->io.ring, m->l->fd, &m->l->io_user);
    if (m->l->acceptor == NULL)
        slim_log(SLIM_ERROR, SERVICE, "cannot accept: out of memory endpoint=%s", m->l->bound);
    slim_free(w->hub->mem, m);
}

slim_err slim_listener_open(slim_hub *h, const slim_hub_server *s, slim_listener **out, char *why, size_t why_n)
{
    slim_listener *l = slim_zalloc(h->mem, 1, sizeof(*l));
    start_mail *m = slim_zalloc(h->mem, 1, sizeof(*m));
    slim_err e = SLIM_E_NOMEM;

    snprintf(why, why_n, "out of memory");
    if (l == NULL || m == NULL)
        goto fail;
    l->io_user.event = listener_event;
    l->hub = h;
    l->worker = &h->workers[0];
    l->spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
    l->conn = (slim_conn_config){
        .h2 = {.server = true,
               .path = SLIM_DATA_PLANE_PATH,
               .stream_window_bytes = STREAM_WINDOW_BYTES,
               .connection_window_bytes = CONNECTION_WINDOW_BYTES,
               .max_frame_bytes = s->max_frame_bytes != 0 ? s->max_frame_bytes : 16384,
               .announce_frame = true,
               .max_header_list_bytes = s->max_header_list_bytes != 0 ? s->max_header_list_bytes : 16384,
               .max_message_bytes = SLIM_MESSAGE_MAX_BYTES,
               .max_streams = STREAMS_MAX},
        .events = slim_link_events,
        .tls = s->tls,
        .setup_timeout_ns = SETUP_TIMEOUT_NS,
        .ping_interval_ns = s->ping_interval_ns,
        .ping_timeout_ns = s->ping_timeout_ns,
        .max_age_ns = s->max_age_ns,
        .aged = conn_aged,
        .left = slim_move_left,
        .closed = conn_closed,
    };
    slim_conn_config_ready(&l->conn);
    if ((e = slim_listen_open(&(slim_listen_config){s->endpoint, 0, BIND_PATIENCE_MS}, &l->fd, l->bound, sizeof(l->bound), why,
                              why_n)) != SLIM_OK)
        goto fail;
    m->mail.run = start;
    m->l = l;
    slim_worker_post_xt(l->worker, &m->mail);
    *out = l;
    return SLIM_OK;
fail:
    if (l != NULL && l->spare >= 0)
        close(l->spare);
    slim_free(h->mem, l);
    slim_free(h->mem, m);
    return e;
}

static void descriptors_close(slim_listener *l)
{
    if (l->fd >= 0)
        slim_listen_close(l->fd);
    if (l->spare >= 0)
        close(l->spare);
    l->fd = l->spare = -1;
}

void slim_listener_stop(slim_listener *l)
{
    if (l->acceptor != NULL)
        slim_ring_accept_stop(l->acceptor);
    l->acceptor = NULL;
    descriptors_close(l);
}

void slim_listener_free(slim_listener *l)
{
    descriptors_close(l);
    slim_free(l->hub->mem, l);
}
