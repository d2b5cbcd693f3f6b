#include "auth/negotiation.h"

#include <openssl/crypto.h>

#include "auth/linkkey.h"
#include "core/wire.h"
#include "data_plane.pb-c.h"

#define TEXT_MAX_BYTES 1024

typedef Dataplane__Proto__V1__LinkNegotiationPayload payload;

struct slim_negotiation {
    slim_mem *mem;
    slim_link_kind kind;
    bool strict;
    uint8_t secret[SLIM_X25519_BYTES];
    size_t link_id_n;
    uint8_t link_id[];
};

/* What the other side says (2.5); spans borrow from its message. */
typedef struct offer {
    slim_bytes link_id, version, public_key, node_id, deployment;
    bool is_reply;
    slim_link_kind kind;
} offer;

static ProtobufCBinaryData data_of(slim_bytes b)
{
    return (ProtobufCBinaryData){b.n, (uint8_t *)(uintptr_t)b.p};
}

static slim_link_kind kind_of_wire(uint32_t type)
{
    return type == 1 ? SLIM_PEER : type == 2 ? SLIM_EDGE : SLIM_REMOTE;
}
static int wire_of_kind(slim_link_kind k)
{
    return k == SLIM_PEER ? 1 : k == SLIM_EDGE ? 2 : 0;
}

/* NUL bytes inside become blanks and the rest of a very long one is left out: these texts are for logs and comparisons of sane
 * names, and every link keeps them. */
static char *text_of(slim_mem *m, slim_bytes b)
{
    size_t n = b.n < TEXT_MAX_BYTES ? b.n : TEXT_MAX_BYTES;
    char *s = slim_alloc(m, n + 1);

    if (s == NULL)
        return NULL;
    for (size_t i = 0; i < n; i++)
        s[i] = b.p[i] == 0 ? ' ' : (char)b.p[i];
    s[n] = '\0';
    return s;
}

void slim_negotiated_clear(slim_negotiated *n)
{
    OPENSSL_cleanse(n->key, sizeof(n->key));
    if (n->mem == NULL)
        return;
    slim_free(n->mem, n->link_id);
    slim_free(n->mem, n->peer_version);
    slim_free(n->mem, n->peer_node_id);
    slim_free(n->mem, n->peer_deployment);
    *n = (slim_negotiated){0};
}

static slim_err negotiated_fill(slim_negotiated *out, const offer *o, slim_link_kind kind, slim_mem *m)
{
    *out = (slim_negotiated){.mem = m, .kind = kind, .link_id_bytes = o->link_id.n};
    if ((out->link_id = slim_alloc(m, o->link_id.n)) != NULL)
        memcpy(out->link_id, o->link_id.p, o->link_id.n);
    out->peer_version = text_of(m, o->version);
    out->peer_node_id = text_of(m, o->node_id);
    out->peer_deployment = text_of(m, o->deployment);
    if (out->link_id != NULL && out->peer_version != NULL && out->peer_node_id != NULL && out->peer_deployment != NULL)
        return SLIM_OK;
    slim_negotiated_clear(out);
    return SLIM_E_NOMEM;
}

static uint8_t *message_pack(payload *p, slim_mem *m, size_t *n)
{
    Dataplane__Proto__V1__Link link = DATAPLANE__PROTO__V1__LINK__INIT;
    Dataplane__Proto__V1__Message msg = DATAPLANE__PROTO__V1__MESSAGE__INIT;
    uint8_t *out;

    link.link_type_case = DATAPLANE__PROTO__V1__LINK__LINK_TYPE_LINK_NEGOTIATION;
    link.link_negotiation = p;
    msg.message_type_case = DATAPLANE__PROTO__V1__MESSAGE__MESSAGE_TYPE_LINK;
    msg.link = &link;
    *n = dataplane__proto__v1__message__get_packed_size(&msg);
    if ((out = slim_alloc(m, *n)) != NULL)
        dataplane__proto__v1__message__pack(&msg, out);
    return out;
}

static void payload_init(payload *p, const slim_negotiation_config *cfg, slim_bytes link_id, slim_link_kind kind)
{
    dataplane__proto__v1__link_negotiation_payload__init(p);
    p->link_id = data_of(link_id);
    p->slim_version = data_of(slim_bytes_str(cfg->version));
    p->connection_type = (Dataplane__Proto__V1__ConnectionType)wire_of_kind(kind);
    p->node_id = data_of(slim_bytes_str(cfg->node_id));
    p->deployment_name = data_of(slim_bytes_str(cfg->deployment_name));
}

/* One LinkNegotiationPayload, over what earlier occurrences said: the last of a field counts (2.6). Read by hand because protobuf-c
 * knows neither groups nor long forms of keys and lengths, and copies every unknown field: 200 MiB for a message of 4 MiB. */
static slim_err payload_read(slim_bytes body, offer *o)
{
    const uint8_t *p = body.p, *end = p + body.n;
    slim_err e = SLIM_OK;
    uint64_t key, n;

    while (p != end) {
        if ((p = slim_wire_varint(p, end, &key, &e)) == NULL)
            return e;
        switch (key) {
        case SLIM_KEY_LEN(1): p = slim_wire_part(p, end, &o->link_id, &e); break;
        case SLIM_KEY_LEN(2): p = slim_wire_part(p, end, &o->version, &e); break;
        case SLIM_KEY_VARINT(3):
            if ((p = slim_wire_varint(p, end, &n, &e)) != NULL)
                o->is_reply = n != 0;
            break;
        case SLIM_KEY_LEN(4): p = slim_wire_part(p, end, &o->public_key, &e); break;
        case SLIM_KEY_VARINT(5):
            if ((p = slim_wire_varint(p, end, &n, &e)) != NULL)
                o->kind = kind_of_wire((uint32_t)n);
            break;
        case SLIM_KEY_LEN(6): p = slim_wire_part(p, end, &o->node_id, &e); break;
        case SLIM_KEY_LEN(7): p = slim_wire_part(p, end, &o->deployment, &e); break;
        default: p = slim_wire_skip(p, end, key, 2, &e);
        }
        if (p == NULL)
            return e;
    }
    return SLIM_OK;
}

/* One Link; *found when it holds a negotiation. */
static slim_err link_read(slim_bytes body, offer *o, bool *found)
{
    const uint8_t *p = body.p, *end = p + body.n;
    slim_err e = SLIM_OK;
    slim_bytes part;
    uint64_t key;

    while (p != end) {
        if ((p = slim_wire_varint(p, end, &key, &e)) == NULL)
            return e;
        if (key != SLIM_KEY_LEN(1)) {
            p = slim_wire_skip(p, end, key, 1, &e);
        } else if ((p = slim_wire_part(p, end, &part, &e)) != NULL) {
            *found = true;
            e = payload_read(part, o);
        }
        if (p == NULL || e != SLIM_OK)
            return e;
    }
    return SLIM_OK;
}

/* The negotiation of a message: each occurrence of the member merged, and begun anew behind another member. E_NEGOTIATION with
 * *why: the message holds none. */
static slim_err offer_read(const slim_view *v, offer *o, const char **why)
{
    const uint8_t *p = v->msg.p, *end = v->msg.n != 0 ? p + v->msg.n : p;
    slim_err e = SLIM_OK;
    bool found = false;
    slim_bytes part;
    uint64_t key;

    *why = NULL;
    *o = (offer){.kind = SLIM_REMOTE};
    while (p != end) {
        if ((p = slim_wire_varint(p, end, &key, &e)) == NULL)
            return e;
        switch (key) {
        case SLIM_KEY_LEN(SLIM_MSG_LINK):
            if ((p = slim_wire_part(p, end, &part, &e)) != NULL)
                e = link_read(part, o, &found);
            break;
        case SLIM_KEY_LEN(SLIM_MSG_SUBSCRIBE):
        case SLIM_KEY_LEN(SLIM_MSG_UNSUBSCRIBE):
        case SLIM_KEY_LEN(SLIM_MSG_PUBLISH):
        case SLIM_KEY_LEN(SLIM_MSG_SUBSCRIPTION_ACK):
            found = false;
            *o = (offer){.kind = SLIM_REMOTE};
            p = slim_wire_part(p, end, &part, &e);
            break;
        default: p = slim_wire_skip(p, end, key, 0, &e);
        }
        if (p == NULL || e != SLIM_OK)
            return e;
    }
    if (found)
        return SLIM_OK;
    *why = "the first message is no link negotiation";
    return SLIM_E_NEGOTIATION;
}

/* Our fresh key pair against the peer's public key. Any failure of the agreement itself counts as "no key". */
static slim_err agree(const uint8_t secret[SLIM_X25519_BYTES], slim_bytes peer_key, slim_bytes link_id, slim_negotiated *out)
{
    uint8_t shared[SLIM_X25519_BYTES];
    slim_err e;

    if (peer_key.n != SLIM_X25519_BYTES)
        return SLIM_E_CRYPTO;
    e = slim_x25519_shared(secret, peer_key.p, shared);
    if (e == SLIM_OK)
        e = slim_linkkey_derive(shared, link_id, out->key);
    OPENSSL_cleanse(shared, sizeof(shared));
    out->has_key = e == SLIM_OK;
    if (!out->has_key)
        OPENSSL_cleanse(out->key, sizeof(out->key));
    return e;
}

slim_err slim_negotiation_accept(const slim_negotiation_config *cfg, const slim_view *v, const slim_random *rnd, slim_mem *m,
                                 slim_negotiated *out, uint8_t **reply, size_t *reply_n, const char **why)
{
    uint8_t secret[SLIM_X25519_BYTES], pub[SLIM_X25519_BYTES];
    slim_err e;
    payload answer;
    offer o;

    *reply = NULL;
    *out = (slim_negotiated){0};
    if ((e = offer_read(v, &o, why)) != SLIM_OK)
        return e;
    if (o.is_reply)
        *why = "unexpected reply instead of a request";
    else if (!slim_version_valid(o.version))
        *why = "slim_version is no semantic version";
    else if (o.link_id.n == 0)
        *why = "link_id is empty";
    if (*why != NULL)
        return SLIM_E_NEGOTIATION;
    if ((e = negotiated_fill(out, &o, o.kind, m)) != SLIM_OK)
        return e;
    payload_init(&answer, cfg, o.link_id, out->kind);
    answer.is_reply = true;
    if (o.public_key.n == SLIM_X25519_BYTES) {
        if (!rnd->fill(rnd->arg, secret, sizeof(secret)) || slim_x25519_public(secret, pub) != SLIM_OK) {
            e = SLIM_E_CRYPTO;
            goto out;
        }
        if (agree(secret, o.public_key, o.link_id, out) == SLIM_OK)
            answer.link_ecdh_public_key = data_of(slim_bytes_of(pub, sizeof(pub)));
    }
    if (!out->has_key && cfg->strict) {
        *why = "public key length is invalid";
        e = SLIM_E_NEGOTIATION;
        goto out;
    }
    if ((*reply = message_pack(&answer, m, reply_n)) == NULL)
        e = SLIM_E_NOMEM;
out:
    OPENSSL_cleanse(secret, sizeof(secret));
    if (e != SLIM_OK)
        slim_negotiated_clear(out);
    return e;
}

slim_negotiation *slim_negotiation_start(const slim_negotiation_config *cfg, slim_bytes link_id, slim_link_kind kind,
                                         const slim_random *rnd, slim_mem *m, uint8_t **request, size_t *request_n)
{
    slim_negotiation *n = slim_alloc(m, sizeof(*n) + link_id.n);
    uint8_t pub[SLIM_X25519_BYTES];
    payload p;

    *request = NULL;
    if (n == NULL)
        return NULL;
    n->mem = m;
    n->kind = kind;
    n->strict = cfg->strict;
    n->link_id_n = link_id.n;
    slim_put(n->link_id, link_id.p, link_id.n);
    if (!rnd->fill(rnd->arg, n->secret, sizeof(n->secret)) || slim_x25519_public(n->secret, pub) != SLIM_OK)
        goto fail;
    payload_init(&p, cfg, link_id, kind);
    p.link_ecdh_public_key = data_of(slim_bytes_of(pub, sizeof(pub)));
    if ((*request = message_pack(&p, m, request_n)) != NULL)
        return n;
fail:
    slim_negotiation_free(n);
    return NULL;
}

slim_err slim_negotiation_finish(slim_negotiation *n, const slim_view *v, slim_negotiated *out, const char **why)
{
    slim_bytes link_id = slim_bytes_of(n->link_id, n->link_id_n);
    slim_err e;
    offer o;

    *out = (slim_negotiated){0};
    if ((e = offer_read(v, &o, why)) != SLIM_OK)
        return e;
    if (!o.is_reply)
        *why = "unexpected request instead of a reply";
    else if (!slim_version_valid(o.version))
        *why = "slim_version is no semantic version";
    else if (!slim_bytes_eq(o.link_id, link_id))
        *why = "the reply names another link_id";
    if (*why != NULL)
        return SLIM_E_NEGOTIATION;
    if ((e = negotiated_fill(out, &o, n->kind, n->mem)) != SLIM_OK)
        return e;
    if (agree(n->secret, o.public_key, link_id, out) != SLIM_OK && n->strict) {
        slim_negotiated_clear(out);
        *why = "public key length is invalid";
        return SLIM_E_NEGOTIATION;
    }
    return SLIM_OK;
}

void slim_negotiation_free(slim_negotiation *n)
{
    if (n == NULL)
        return;
    OPENSSL_cleanse(n->secret, sizeof(n->secret));
    slim_free(n->mem, n);
}
