#include "bench/link.h"

#include <stdio.h>
#include <stdlib.h>

#include "auth/uuid.h"
#include "core/wire.h"

#define PATH "/dataplane.proto.v1.DataPlaneService/OpenChannel"
#define STREAM_WINDOW_BYTES (2u * 1024 * 1024)
#define CONNECTION_WINDOW_BYTES (5u * 1024 * 1024)
#define SETUP_TIMEOUT_NS 30000000000u

static void link_over(bench_link *l, const char *why)
{
    if (l->ended)
        return;
    l->ended = true;
    l->live = false;
    snprintf(l->why, sizeof(l->why), "%s", why);
    l->on_end(l);
}

static void conn_ready(slim_conn *c)
{
    bench_link *l = slim_conn_user(c);

    if (slim_h2_call(slim_conn_h2(c), l->target->tls != NULL ? "https" : "http", l->target->endpoint.authority, "slimbench", NULL,
                     0, l, &l->stream) != SLIM_OK)
        slim_conn_abort(c, SLIM_E_NOMEM, "out of memory");
    slim_conn_set_idle(c, false);
}

static void conn_closed(slim_conn *c, slim_err why, const char *text)
{
    bench_link *l = slim_conn_user(c);

    l->conn = NULL;
    l->stream = NULL;
    link_over(l, text[0] != '\0' ? text : "connection closed");
    slim_mac_free(l->mac);
    slim_negotiation_free(l->asking);
    slim_negotiated_clear(&l->peer);
    l->mac = NULL;
    l->asking = NULL;
}

static uint8_t *put_string(uint8_t *p, unsigned number, const char *text)
{
    size_t n = strlen(text);

    *p++ = (uint8_t)SLIM_KEY_LEN(number);
    p = slim_varint_put(p, n);
    return slim_put(p, text, n);
}

/* The request of a client that has no key to offer (data-plane.md 2.5). */
static bool send_without_key(bench_link *l, const slim_negotiation_config *cfg, const char *id)
{
    uint8_t payload[256], link[264], message[272], *p = payload;
    size_t n;

    p = put_string(p, 1, id);
    p = put_string(p, 2, cfg->version);
    if (l->target->kind != SLIM_REMOTE) {
        *p++ = SLIM_KEY_VARINT(5);
        *p++ = l->target->kind == SLIM_PEER ? 1 : 2;
    }
    p = put_string(p, 6, cfg->node_id);
    n = (size_t)(p - payload);
    link[0] = SLIM_KEY_LEN(1);
    n = (size_t)(slim_put(slim_varint_put(link + 1, n), payload, n) - link);
    message[0] = SLIM_KEY_LEN(SLIM_MSG_LINK);
    n = (size_t)(slim_put(slim_varint_put(message + 1, n), link, n) - message);
    return bench_link_send(l, slim_bytes_of(message, n));
}

static void on_open(slim_h2 *h, slim_stream *s)
{
    bench_link *l = slim_stream_user(s);
    slim_negotiation_config cfg = {.version = "3.4.6", .deployment_name = "", .strict = false};
    char id[37], node[48] = "node-";
    uint8_t *request;
    bool sent;
    size_t n;

    if (slim_uuid4(&slim_random_openssl, id) != SLIM_OK || slim_uuid4(&slim_random_openssl, node + 5) != SLIM_OK)
        goto fail;
    cfg.node_id = node;
    l->asking = slim_negotiation_start(&cfg, slim_bytes_str(id), l->target->kind, &slim_random_openssl, l->io->mem, &request, &n);
    if (l->asking == NULL)
        goto fail;
    sent = l->target->offers_no_key ? send_without_key(l, &cfg, id) : bench_link_send(l, slim_bytes_of(request, n));
    slim_free(l->io->mem, request);
    if (sent)
        return;
fail:
    slim_conn_abort(l->conn, SLIM_E_NOMEM, "no memory or no randomness for the negotiation");
}

static void link_negotiated(bench_link *l, const slim_view *v)
{
    const char *why = "out of memory";

    if (slim_negotiation_finish(l->asking, v, &l->peer, &why) != SLIM_OK) {
        link_over(l, why);
        slim_conn_close(l->conn);
        return;
    }
    if (l->peer.has_key)
        l->mac = slim_mac_new(l->io->mem, l->peer.key, slim_bytes_of(l->peer.link_id, l->peer.link_id_bytes));
    l->live = true;
    l->on_live(l);
}

static void on_message(slim_stream *s, slim_bytes msg, slim_buf *hold)
{
    bench_link *l = slim_stream_user(s);
    slim_subscription_ack ack;
    slim_view v;

    if (l->ended)
        return;
    if (slim_view_scan(msg, &v) != SLIM_OK) {
        link_over(l, "the node sent a message that cannot be decoded");
        slim_conn_close(l->conn);
        return;
    }
    if (!l->live)
        link_negotiated(l, &v);
    else if (v.type == SLIM_MSG_PUBLISH)
        l->on_publish(l, &v);
    else if (v.type == SLIM_MSG_SUBSCRIPTION_ACK && slim_subscription_ack_decode(v.body, &ack) == SLIM_OK)
        l->on_ack(l, ack.id, ack.success);
}

static void on_end(slim_stream *s, slim_stream_end why)
{
    bench_link *l = slim_stream_user(s);
    const char *message;
    char text[160];
    int http, status = slim_stream_status(s, &http, &message);

    if (l->conn == NULL)
        return;
    snprintf(text, sizeof(text), "the node ended the call: HTTP %d, grpc-status %d%s%s", http, status,
             message[0] != '\0' ? ": " : "", message);
    link_over(l, text);
    slim_conn_close(l->conn);
}

static void on_gone(slim_stream *s)
{
    bench_link *l = slim_stream_user(s);

    l->stream = NULL;
}

static const slim_h2_events stream_events = {.open = on_open, .message = on_message, .end = on_end, .gone = on_gone};

slim_err bench_target_ready(bench_target *t, const char *server, const slim_tls_config *tls, char *why, size_t why_n)
{
    char text[SLIM_HOST_MAX + 32];
    slim_resolve r = {.n_addresses = 0};
    slim_err e;

    snprintf(text, sizeof(text), "%s%s", strstr(server, "://") == NULL ? "http://" : "", server);
    if ((e = slim_endpoint_parse(text, &t->endpoint, why, why_n)) != SLIM_OK)
        return e;
    slim_resolve_now(&r, &t->endpoint);
    if (r.n_addresses == 0) {
        snprintf(why, why_n, "%s", r.why);
        return SLIM_E_NOT_FOUND;
    }
    t->address = r.address[0];
    if (t->endpoint.tls && (e = slim_tls_client_new(tls, &t->tls, why, why_n)) != SLIM_OK)
        return e;
    t->conn = (slim_conn_config){
        .h2 = slim_h2_client_config(PATH, STREAM_WINDOW_BYTES, CONNECTION_WINDOW_BYTES, SLIM_MESSAGE_MAX_BYTES),
        .events = stream_events,
        .tls = t->tls,
        .setup_timeout_ns = SETUP_TIMEOUT_NS,
        .ready = conn_ready,
        .closed = conn_closed,
    };
    slim_conn_config_ready(&t->conn);
    return SLIM_OK;
}

bool bench_link_dial(bench_link *l, const bench_target *t, slim_io *io)
{
    const char *why;

    l->target = t;
    l->io = io;
    l->live = l->ended = false;
    l->conn = slim_conn_connect(io, &t->conn, (const struct sockaddr *)&t->address.ss, t->address.len, t->endpoint.host, l, &why);
    if (l->conn == NULL)
        snprintf(l->why, sizeof(l->why), "%s", why);
    return l->conn != NULL;
}

uint8_t *bench_link_begin(bench_link *l, size_t n)
{
    return l->stream != NULL ? slim_stream_begin(l->stream, n, n) : NULL;
}

bool bench_link_send(bench_link *l, slim_bytes message)
{
    uint8_t *room = bench_link_begin(l, message.n);

    if (room != NULL)
        slim_put(room, message.p, message.n);
    return room != NULL;
}

bool bench_link_verify(const bench_link *l, const slim_view *v)
{
    uint8_t pre[32768];

    if (l->mac == NULL)
        return true;
    return v->has_mac && slim_preimage_bound(v) <= sizeof(pre) &&
           slim_mac_verify(l->mac, slim_bytes_of(pre, slim_preimage_build(v, v->ttl, true, pre)), v->mac);
}

bool bench_link_subscribe(bench_link *l, const slim_name *name, bool unsubscribe, uint64_t id)
{
    uint8_t plain[512], head[600], pre[600];
    slim_head_patch patch = {.ttl = 8, .has_incoming_conn = true, .incoming_conn = 1, .with_mac = l->mac != NULL};
    size_t n, offset;
    slim_view v;

    if (slim_subscribe_bound(name) > sizeof(plain))
        return false;
    n = slim_subscribe_build(name, unsubscribe, id, 8, plain);
    if (slim_view_scan(slim_bytes_of(plain, n), &v) != SLIM_OK || slim_head_bound(&v) + v.tail.n > sizeof(head) ||
        slim_preimage_bound(&v) > sizeof(pre))
        return false;
    n = slim_head_build(&v, &patch, head, &offset);
    if (l->mac != NULL)
        slim_mac_sign(l->mac, slim_bytes_of(pre, slim_preimage_build(&v, 8, false, pre)), head + offset);
    n = (size_t)(slim_put(head + n, v.tail.p, v.tail.n) - head);
    return bench_link_send(l, slim_bytes_of(head, n));
}

size_t bench_link_queued(const bench_link *l)
{
    return l->stream != NULL ? slim_stream_queued(l->stream) : 0;
}

void bench_link_close(bench_link *l)
{
    if (l->conn == NULL)
        return;
    if (l->stream != NULL)
        slim_stream_finish(l->stream, 0, NULL);
    link_over(l, "closed");
    slim_conn_close(l->conn);
}

void bench_name(slim_name *out, const char *a, const char *b, const char *c, uint64_t id)
{
    const char *parts[3] = {a, b, c};

    *out = (slim_name){
        .present = true, .has_name = true, .has_id = id != 0, .has_str = true, .id = id != 0 ? (slim_id){0, id} : SLIM_ID_NULL};
    for (int i = 0; i < 3; i++) {
        out->str[i] = slim_bytes_str(parts[i]);
        out->key.c[i] = slim_component_hash(out->str[i]);
    }
}
