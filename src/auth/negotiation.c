#include "auth/negotiation.h"

#include <openssl/crypto.h>

#include "auth/linkkey.h"
#include "data_plane.pb-c.h"

typedef Dataplane__Proto__V1__LinkNegotiationPayload payload;

struct slim_negotiation {
    slim_mem *mem;
    slim_link_kind kind;
    bool strict;
    uint8_t secret[SLIM_X25519_BYTES];
    size_t link_id_n;
    uint8_t link_id[];
};

/* protobuf-c's allocator over ours. */
static void *pb_alloc(void *m, size_t n) { return slim_alloc(m, n); }
static void pb_free(void *m, void *p) { slim_free(m, p); }

static slim_bytes bytes_of(ProtobufCBinaryData d) { return slim_bytes_of(d.data, d.len); }
static ProtobufCBinaryData data_of(slim_bytes b) { return (ProtobufCBinaryData){b.n, (uint8_t *)(uintptr_t)b.p}; }

static slim_link_kind kind_of_wire(int type) { return type == 1 ? SLIM_PEER : type == 2 ? SLIM_EDGE : SLIM_REMOTE; }
static int wire_of_kind(slim_link_kind k) { return k == SLIM_PEER ? 1 : k == SLIM_EDGE ? 2 : 0; }

/* NUL bytes inside become blanks: these texts are for logs and comparisons of sane names. */
static char *text_of(slim_mem *m, slim_bytes b)
{
    char *s = slim_alloc(m, b.n + 1);

    if (s == NULL)
        return NULL;
    for (size_t i = 0; i < b.n; i++)
        s[i] = b.p[i] == 0 ? ' ' : (char)b.p[i];
    s[b.n] = '\0';
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

static slim_err negotiated_fill(slim_negotiated *out, const payload *p, slim_bytes link_id, slim_link_kind kind, slim_mem *m)
{
    *out = (slim_negotiated){.mem = m, .kind = kind, .link_id_bytes = link_id.n};
    if ((out->link_id = slim_alloc(m, link_id.n)) != NULL)
        memcpy(out->link_id, link_id.p, link_id.n);
    out->peer_version = text_of(m, bytes_of(p->slim_version));
    out->peer_node_id = text_of(m, bytes_of(p->node_id));
    out->peer_deployment = text_of(m, bytes_of(p->deployment_name));
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

/* The decoded negotiation of a link message; NULL with *why or E_NOMEM's meaning (*why NULL). */
static Dataplane__Proto__V1__Link *link_unpack(const slim_view *v, ProtobufCAllocator *a, const char **why)
{
    Dataplane__Proto__V1__Link *link;

    *why = "the first message is no link negotiation";
    if (v->type != SLIM_MSG_LINK)
        return NULL;
    if ((link = dataplane__proto__v1__link__unpack(a, v->body.n, v->body.p)) == NULL) {
        *why = NULL;
        return NULL;
    }
    if (link->link_type_case != DATAPLANE__PROTO__V1__LINK__LINK_TYPE_LINK_NEGOTIATION) {
        dataplane__proto__v1__link__free_unpacked(link, a);
        return NULL;
    }
    return link;
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
    return e;
}

slim_err slim_negotiation_accept(const slim_negotiation_config *cfg, const slim_view *v, const slim_random *rnd, slim_mem *m,
                                 slim_negotiated *out, uint8_t **reply, size_t *reply_n, const char **why)
{
    ProtobufCAllocator a = {pb_alloc, pb_free, m};
    Dataplane__Proto__V1__Link *link = link_unpack(v, &a, why);
    uint8_t secret[SLIM_X25519_BYTES], pub[SLIM_X25519_BYTES];
    const payload *p;
    slim_bytes link_id;
    slim_err e = SLIM_E_NEGOTIATION;
    payload answer;

    *reply = NULL;
    *out = (slim_negotiated){0};
    if (link == NULL)
        return *why != NULL ? SLIM_E_NEGOTIATION : SLIM_E_NOMEM;
    p = link->link_negotiation;
    link_id = bytes_of(p->link_id);
    if (p->is_reply) {
        *why = "unexpected reply instead of a request";
        goto out;
    }
    if (!slim_version_valid(bytes_of(p->slim_version))) {
        *why = "slim_version is no semantic version";
        goto out;
    }
    if (link_id.n == 0) {
        *why = "link_id is empty";
        goto out;
    }
    if ((e = negotiated_fill(out, p, link_id, kind_of_wire((int)p->connection_type), m)) != SLIM_OK)
        goto out;
    payload_init(&answer, cfg, link_id, out->kind);
    answer.is_reply = true;
    if (p->link_ecdh_public_key.len == SLIM_X25519_BYTES) {
        if (!rnd->fill(rnd->arg, secret, sizeof(secret))) {
            e = SLIM_E_CRYPTO;
            goto out;
        }
        if (agree(secret, bytes_of(p->link_ecdh_public_key), link_id, out) == SLIM_OK && slim_x25519_public(secret, pub) == SLIM_OK)
            answer.link_ecdh_public_key = data_of(slim_bytes_of(pub, sizeof(pub)));
        else
            out->has_key = false;
        OPENSSL_cleanse(secret, sizeof(secret));
    }
    if (!out->has_key && cfg->strict) {
        *why = "public key length is invalid";
        e = SLIM_E_NEGOTIATION;
        goto out;
    }
    if ((*reply = message_pack(&answer, m, reply_n)) == NULL)
        e = SLIM_E_NOMEM;
out:
    dataplane__proto__v1__link__free_unpacked(link, &a);
    if (e != SLIM_OK)
        slim_negotiated_clear(out);
    return e;
}

slim_negotiation *slim_negotiation_start(const slim_negotiation_config *cfg, slim_bytes link_id, slim_link_kind kind, const slim_random *rnd,
                                         slim_mem *m, uint8_t **request, size_t *request_n)
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
    ProtobufCAllocator a = {pb_alloc, pb_free, n->mem};
    Dataplane__Proto__V1__Link *link = link_unpack(v, &a, why);
    slim_bytes link_id = slim_bytes_of(n->link_id, n->link_id_n);
    const payload *p;
    slim_err e = SLIM_E_NEGOTIATION;

    *out = (slim_negotiated){0};
    if (link == NULL)
        return *why != NULL ? SLIM_E_NEGOTIATION : SLIM_E_NOMEM;
    p = link->link_negotiation;
    if (!p->is_reply) {
        *why = "unexpected request instead of a reply";
        goto out;
    }
    if (!slim_version_valid(bytes_of(p->slim_version))) {
        *why = "slim_version is no semantic version";
        goto out;
    }
    if (!slim_bytes_eq(bytes_of(p->link_id), link_id)) {
        *why = "the reply names another link_id";
        goto out;
    }
    if ((e = negotiated_fill(out, p, link_id, n->kind, n->mem)) != SLIM_OK)
        goto out;
    if (agree(n->secret, bytes_of(p->link_ecdh_public_key), link_id, out) != SLIM_OK && n->strict) {
        *why = "public key length is invalid";
        e = SLIM_E_NEGOTIATION;
    }
out:
    dataplane__proto__v1__link__free_unpacked(link, &a);
    if (e != SLIM_OK)
        slim_negotiated_clear(out);
    return e;
}

void slim_negotiation_free(slim_negotiation *n)
{
    if (n == NULL)
        return;
    OPENSSL_cleanse(n->secret, sizeof(n->secret));
    slim_free(n->mem, n);
}
