#include "node/outbound.h"

#include <stdio.h>

#include "auth/uuid.h"
#include "node/forwarded.h"
#include "node/subscribe.h"

/* An interval of zero must not become a loop that only dials. */
#define INTERVAL_MIN_NS 10000000u
#define SETUP_TIMEOUT_NS 10000000000u
#define STREAM_WINDOW_BYTES (2u * 1024 * 1024)
#define CONNECTION_WINDOW_BYTES (16u * 1024 * 1024)

typedef enum outbound_state {
    OUT_IDLE,
    OUT_RESOLVING,
    OUT_CONNECTING,
    OUT_CALLING,
    OUT_LIVE,
    OUT_WAITING,
    OUT_STOPPED
} outbound_state;

struct slim_outbound {
    slim_outbound *next;
    slim_hub *hub;
    slim_worker *worker;
    outbound_state state;
    slim_hub_client cfg; /* texts point into this object's own copies */
    char *texts;
    slim_h2_header *headers;
    slim_endpoint endpoint;
    slim_conn_config conn_config;
    slim_conn *conn;
    slim_resolve resolve;
    uint32_t address_at;
    uint64_t attempts; /* failed ones since the last success */
    uint64_t next_delay_ns;
    slim_timer timer;
    bool settled, was_live, final; /* final: the peer said never again */
    slim_link_id kept;             /* of the link while its connection is away */
    slim_forwarded forwarded;
    char why[256];
};

static void dial(slim_outbound *o);

static void settle(slim_outbound *o, slim_err e, const char *why)
{
    if (o->settled)
        return;
    o->settled = true;
    if (o->cfg.settled != NULL)
        o->cfg.settled(o->cfg.settled_arg, e, why);
}

static void kept_drop(slim_outbound *o)
{
    if (o->kept.gen != 0)
        slim_link_close_routes(o->worker, o->kept);
    o->kept = SLIM_LINK_NONE;
}

static void give_up(slim_outbound *o)
{
    o->state = OUT_STOPPED;
    kept_drop(o);
    slim_log(SLIM_ERROR, CONFIG, "outbound link given up endpoint=%s reason=\"%s\"", o->cfg.endpoint, o->why);
    settle(o, SLIM_E_CLOSED, o->why);
}

/* Attempt k waits min(base^k * factor ms, max_delay), computed step by step so that nothing overflows. */
static uint64_t delay_ns(slim_outbound *o)
{
    uint64_t wait;

    if (!o->cfg.exponential)
        return o->cfg.interval_ns > INTERVAL_MIN_NS ? o->cfg.interval_ns : INTERVAL_MIN_NS;
    wait = o->cfg.factor;
    for (uint64_t k = 0; k < o->attempts && wait < o->cfg.max_delay_ns / 1000000u; k++) {
        if (o->cfg.base != 0 && wait > UINT64_MAX / o->cfg.base)
            wait = UINT64_MAX / 1000000u;
        else
            wait *= o->cfg.base;
    }
    wait = wait > o->cfg.max_delay_ns / 1000000u ? o->cfg.max_delay_ns : wait * 1000000u;
    if (o->cfg.jitter && wait > 0) {
        uint64_t r = 0;

        o->hub->random.fill(o->hub->random.arg, (uint8_t *)&r, sizeof(r));
        wait = r % wait;
    }
    return wait;
}

static void retry(slim_outbound *o)
{
    if (o->state == OUT_STOPPED)
        return;
    if (o->final || o->attempts >= o->cfg.max_attempts) {
        give_up(o);
        return;
    }
    o->attempts++;
    o->state = OUT_WAITING;
    slim_log(SLIM_WARN, CONFIG, "transient connect error, retrying endpoint=%s attempt=%llu reason=\"%s\"", o->cfg.endpoint,
             (unsigned long long)o->attempts, o->why);
    slim_timer_set(&o->worker->io.timers, &o->timer, o->worker->io.now_ns + delay_ns(o));
}

static void outbound_timer(slim_timer *timer, uint64_t now_ns)
{
    dial((slim_outbound *)((char *)timer - offsetof(slim_outbound, timer)));
}

static void conn_ready(slim_conn *c)
{
    slim_outbound *o = slim_conn_user(c);

    o->state = OUT_CALLING;
    if (slim_link_call(o->worker, c, o) == NULL)
        slim_conn_abort(c, SLIM_E_NOMEM, "the call could not be started");
}

static void connect_next(slim_outbound *o)
{
    const char *why = "no address";

    while (o->address_at < o->resolve.n_addresses) {
        const slim_address *a = &o->resolve.address[o->address_at++];

        o->state = OUT_CONNECTING;
        o->conn = slim_conn_connect(
            &o->worker->io, &o->conn_config, (const struct sockaddr *)&a->ss, a->len,
            o->cfg.server_name != NULL && o->cfg.server_name[0] != '\0' ? o->cfg.server_name : o->endpoint.host, o, &why);
        if (o->conn != NULL)
            return;
    }
    if (why[0] != '\0' && o->why[0] == '\0')
        snprintf(o->why, sizeof(o->why), "%s", why);
    retry(o);
}

static void conn_closed(slim_conn *c, slim_err why, const char *text)
{
    slim_outbound *o = slim_conn_user(c);
    outbound_state was = o->state;

    o->conn = NULL;
    if (was == OUT_STOPPED)
        return;
    if (text[0] != '\0' && (o->why[0] == '\0' || was == OUT_CONNECTING))
        snprintf(o->why, sizeof(o->why), "%s", text);
    if (was == OUT_CONNECTING) {
        connect_next(o);
        return;
    }
    if (was == OUT_LIVE && !o->final) {
        slim_log(SLIM_INFO, CONFIG, "connection lost, reconnecting endpoint=%s reason=\"%s\"", o->cfg.endpoint, o->why);
        o->attempts = 0;
        dial(o); /* the first attempt is at once */
        return;
    }
    retry(o);
}

static void resolved(slim_resolve *r)
{
    slim_outbound *o = (slim_outbound *)((char *)r - offsetof(slim_outbound, resolve));

    if (o->state != OUT_RESOLVING)
        return;
    if (r->n_addresses == 0)
        snprintf(o->why, sizeof(o->why), "%s", r->why);
    connect_next(o);
}

static void dial(slim_outbound *o)
{
    o->why[0] = '\0';
    o->address_at = 0;
    o->state = OUT_RESOLVING;
    slim_resolve_start(&o->resolve, &o->endpoint, o->hub->pool, o->worker->port, resolved);
}

void slim_outbound_start(slim_outbound *o)
{
    dial(o);
}

void slim_outbound_stop(slim_outbound *o)
{
    o->state = OUT_STOPPED;
    kept_drop(o);
    slim_timer_cancel(&o->worker->io.timers, &o->timer);
}

slim_worker *slim_outbound_worker(const slim_outbound *o)
{
    return o->worker;
}
slim_outbound **slim_outbound_next(slim_outbound *o)
{
    return &o->next;
}
slim_bytes slim_outbound_link_id(const slim_outbound *o)
{
    return slim_bytes_str(o->cfg.link_id);
}
slim_link_kind slim_outbound_kind(const slim_outbound *o)
{
    return o->cfg.kind;
}
bool slim_outbound_is_return(const slim_outbound *o)
{
    return o->was_live;
}

void slim_outbound_call(const slim_outbound *o, const char **scheme, const char **authority, const slim_h2_header **headers,
                        size_t *n, bool *strict, uint64_t *timeout_ns)
{
    *scheme = o->cfg.tls != NULL ? "https" : "http";
    *authority = o->cfg.origin != NULL ? o->cfg.origin : o->endpoint.authority;
    *headers = o->headers;
    *n = o->cfg.n_headers;
    *strict = o->cfg.strict;
    *timeout_ns = o->cfg.request_timeout_ns;
}

void slim_outbound_live(slim_outbound *o, slim_link *l)
{
    o->state = OUT_LIVE;
    o->attempts = 0;
    o->why[0] = '\0';
    o->kept = SLIM_LINK_NONE;
    slim_log(SLIM_INFO, SERVICE, "client connected endpoint=%s conn_index=%u node_id=%s version=%s", o->cfg.endpoint, l->id.slot,
             l->peer.peer_node_id, l->peer.peer_version);
    settle(o, SLIM_OK, "");
    slim_subscribe_replay(l, &o->forwarded);
}

slim_err slim_outbound_note(slim_outbound *o, const slim_view *v)
{
    return slim_forwarded_note(&o->forwarded, v);
}
slim_link_id slim_outbound_kept(const slim_outbound *o)
{
    return o->kept;
}

bool slim_outbound_keep(slim_outbound *o, const slim_link *l)
{
    if (o->cfg.kind != SLIM_EDGE || o->final || o->state == OUT_STOPPED)
        return false;
    o->kept = l->id;
    return true;
}

void slim_outbound_refused(slim_outbound *o, slim_err e, const char *why)
{
    snprintf(o->why, sizeof(o->why), "link negotiation error %s", why);
    if (!o->was_live && !o->settled)
        o->final = true; /* at start-up a refusal is the operator's to see, as upstream */
}

void slim_outbound_stream_ended(slim_outbound *o, bool was_live, int grpc_status, int http_status, const char *message)
{
    o->was_live |= was_live;
    if (grpc_status > 0 || http_status >= 400)
        snprintf(o->why, sizeof(o->why), "refused: grpc-status %d, HTTP %d%s%s", grpc_status, http_status,
                 message != NULL && message[0] != '\0' ? ": " : "", message != NULL ? message : "");
    else if (o->why[0] == '\0')
        snprintf(o->why, sizeof(o->why), "%s", was_live ? "stream ended by the peer" : "stream closed before link negotiation");
    /* 7 means that the peer will never have us (data-plane.md 1.5). Before the first success every refusal ends the start-up. */
    if (grpc_status == 7 || (!o->was_live && !o->settled))
        o->final = true;
}

/* All texts in one block, so that there is one thing to free. */
static slim_err copy_config(slim_outbound *o, const slim_hub_client *c)
{
    const char **texts[4] = {&o->cfg.endpoint, &o->cfg.origin, &o->cfg.server_name, &o->cfg.link_id};
    char uuid[37] = "";
    size_t total = 1;
    char *at;

    o->cfg = *c;
    if (c->link_id == NULL) {
        if (slim_uuid4(&o->hub->random, uuid) != SLIM_OK)
            return SLIM_E_CRYPTO;
        o->cfg.link_id = uuid;
    }
    for (int i = 0; i < 4; i++)
        total += *texts[i] != NULL ? strlen(*texts[i]) + 1 : 0;
    for (size_t i = 0; i < c->n_headers; i++)
        total += strlen(c->headers[i].name) + strlen(c->headers[i].value);
    if ((o->texts = at = slim_alloc(o->hub->mem, total)) == NULL)
        return SLIM_E_NOMEM;
    for (int i = 0; i < 4; i++) {
        if (*texts[i] != NULL) {
            size_t n = strlen(*texts[i]) + 1;

            memcpy(at, *texts[i], n);
            *texts[i] = at;
            at += n;
        }
    }
    if (c->n_headers > 0 && (o->headers = slim_zalloc(o->hub->mem, c->n_headers, sizeof(*o->headers))) == NULL)
        return SLIM_E_NOMEM;
    for (size_t i = 0; i < c->n_headers; i++) {
        size_t name_n = strlen(c->headers[i].name), value_n = strlen(c->headers[i].value);

        /* HTTP/2 header names are lower case. */
        for (size_t k = 0; k < name_n; k++)
            at[k] = (char)(c->headers[i].name[k] >= 'A' && c->headers[i].name[k] <= 'Z' ? c->headers[i].name[k] + 32
                                                                                        : c->headers[i].name[k]);
        o->headers[i].name = slim_bytes_of(at, name_n);
        at += name_n;
        memcpy(at, c->headers[i].value, value_n);
        o->headers[i].value = slim_bytes_of(at, value_n);
        at += value_n;
    }
    return SLIM_OK;
}

slim_err slim_outbound_new(slim_hub *h, slim_worker *w, const slim_hub_client *c, slim_outbound **out, char *why, size_t why_n)
{
    slim_outbound *o = slim_zalloc(h->mem, 1, sizeof(*o));
    slim_err e;

    snprintf(why, why_n, "out of memory");
    if (o == NULL)
        return SLIM_E_NOMEM;
    o->hub = h;
    o->worker = w;
    o->timer.fire = outbound_timer;
    o->forwarded.mem = h->mem;
    if ((e = slim_endpoint_parse(c->endpoint, &o->endpoint, why, why_n)) != SLIM_OK || (e = copy_config(o, c)) != SLIM_OK) {
        slim_outbound_free(o);
        return e;
    }
    o->conn_config = (slim_conn_config){
        .h2 = slim_h2_client_config(SLIM_DATA_PLANE_PATH, STREAM_WINDOW_BYTES, CONNECTION_WINDOW_BYTES, SLIM_MESSAGE_MAX_BYTES),
        .events = slim_link_events,
        .tls = c->tls,
        .setup_timeout_ns = c->connect_timeout_ns != 0 ? c->connect_timeout_ns : SETUP_TIMEOUT_NS,
        .ping_interval_ns = c->ping_interval_ns,
        .ping_timeout_ns = c->ping_timeout_ns,
        .tcp_keepalive_ns = c->tcp_keepalive_ns,
        .ready = conn_ready,
        .closed = conn_closed,
    };
    slim_conn_config_ready(&o->conn_config);
    *out = o;
    return SLIM_OK;
}

void slim_outbound_free(slim_outbound *o)
{
    slim_forwarded_free(&o->forwarded);
    slim_free(o->hub->mem, o->texts);
    slim_free(o->hub->mem, o->headers);
    slim_free(o->hub->mem, o);
}
