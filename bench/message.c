#include "bench/message.h"

#include "core/head.h"
#include "core/wire.h"

#define TTL 8
#define NAME_MAX_BYTES 256
/* Header, without identity, and session. */
#define HEAD_MAX_BYTES 1024

static const uint8_t session[] = {0x08, 1, 0x10, 1, 0x18, 5, 0x20, 1};
static const char version[] = "3.4.6", type[] = "msg";

static uint8_t *put_part_head(uint8_t *p, unsigned number, size_t n)
{
    *p++ = (uint8_t)SLIM_KEY_LEN(number);
    return slim_varint_put(p, n);
}

static uint8_t *put_number(uint8_t *p, unsigned number, uint64_t v)
{
    *p++ = (uint8_t)SLIM_KEY_VARINT(number);
    return slim_varint_put(p, v);
}

static size_t part_size(size_t n)
{
    return 1 + slim_varint_size(n) + n;
}

/* A Name message, into out of at least NAME_MAX_BYTES. */
static size_t name_encode(const slim_name *n, uint8_t *out)
{
    uint8_t encoded[64], text[160], id[24], *e = encoded, *t = text, *p = out;

    for (unsigned k = 0; k < 3; k++) {
        e = put_number(e, k + 1, n->key.c[k]);
        t = slim_put(put_part_head(t, k + 1, n->str[k].n), n->str[k].p, n->str[k].n);
    }
    if (n->has_id) {
        size_t id_n = (size_t)(put_number(put_number(id, 1, n->id.hi), 2, n->id.lo) - id);

        e = slim_put(put_part_head(e, 4, id_n), id, id_n);
    }
    p = slim_put(put_part_head(p, 1, (size_t)(e - encoded)), encoded, (size_t)(e - encoded));
    p = slim_put(put_part_head(p, 2, (size_t)(t - text)), text, (size_t)(t - text));
    return (size_t)(p - out);
}

void bench_message_aim(bench_message *m, const slim_name *source, const slim_name *destination)
{
    slim_view v = {.source = *source, .destination = *destination, .fanout = m->fanout};
    uint8_t from[NAME_MAX_BYTES], to[NAME_MAX_BYTES], *p = m->head;
    size_t from_n = name_encode(source, from), to_n = name_encode(destination, to);
    size_t header = part_size(from_n) + part_size(to_n) + (m->identity_n > 0 ? part_size(m->identity_n) : 0) + 1 +
                    slim_varint_size(m->fanout) + part_size(sizeof(version) - 1) + 2 + 2 +
                    (m->with_mac ? part_size(SLIM_MAC_TAG_BYTES) : 0);

    p = put_part_head(p, 1, header);
    p = slim_put(put_part_head(p, 1, from_n), from, from_n);
    p = slim_put(put_part_head(p, 2, to_n), to, to_n);
    if (m->identity_n > 0) {
        p = put_part_head(p, 3, m->identity_n);
        m->identity_at = (size_t)(p - m->head);
        for (size_t i = 0; i < m->identity_n; i++)
            *p++ = (uint8_t)('a' + i % 26);
    }
    p = put_number(p, 4, m->fanout);
    p = slim_put(put_part_head(p, 5, sizeof(version) - 1), version, sizeof(version) - 1);
    p = put_number(p, 6, TTL);
    p = put_number(p, 9, 1);
    if (m->with_mac) {
        p = put_part_head(p, 11, SLIM_MAC_TAG_BYTES);
        m->mac_at = (size_t)(p - m->head);
        memset(p, 0, SLIM_MAC_TAG_BYTES);
        p += SLIM_MAC_TAG_BYTES;
    }
    p = slim_put(put_part_head(p, 2, sizeof(session)), session, sizeof(session));
    m->head_n = (size_t)(p - m->head);
    v.identity = slim_bytes_of(m->head + m->identity_at, m->identity_n);
    m->preimage_n = slim_preimage_build(&v, TTL, false, m->preimage);
    /* The token stands before fanout, two absent directions, error and ttl (data-plane.md 4.4). */
    m->preimage_identity_at = m->preimage_n - (4 + 1 + 1 + 1 + 4) - m->identity_n;
}

slim_err bench_message_make(bench_message *m, slim_mem *mem, const slim_name *source, const slim_name *destination,
                            size_t identity_n, uint32_t fanout, bool with_mac)
{
    *m = (bench_message){.mem = mem, .identity_n = identity_n, .fanout = fanout, .with_mac = with_mac};
    m->head = slim_alloc(mem, HEAD_MAX_BYTES + identity_n);
    m->preimage = slim_alloc(mem, HEAD_MAX_BYTES + identity_n);
    if (m->head == NULL || m->preimage == NULL) {
        bench_message_free(m);
        return SLIM_E_NOMEM;
    }
    bench_message_aim(m, source, destination);
    return SLIM_OK;
}

void bench_message_free(bench_message *m)
{
    if (m->mem == NULL)
        return;
    slim_free(m->mem, m->head);
    slim_free(m->mem, m->preimage);
    m->head = m->preimage = NULL;
}

/* Sixteen letters, as a nonce would be. */
static void token_put(uint8_t *p, size_t room, uint64_t token)
{
    for (size_t i = 0; i < room && i < 16; i++)
        p[i] = (uint8_t)('A' + (token >> (4 * i) & 15));
}

static size_t app_size(size_t payload_n)
{
    return part_size(sizeof(type) - 1) + part_size(payload_n);
}

size_t bench_message_size(const bench_message *m, size_t payload_n)
{
    return part_size(m->head_n + part_size(part_size(app_size(payload_n))));
}

void bench_message_put(bench_message *m, slim_mac *mac, bench_stamp stamp, size_t payload_n, uint8_t *out)
{
    size_t app = app_size(payload_n), content = part_size(app);

    m->token++;
    token_put(m->head + m->identity_at, m->identity_n, m->token);
    token_put(m->preimage + m->preimage_identity_at, m->identity_n, m->token);
    if (m->with_mac && mac != NULL)
        slim_mac_sign(mac, slim_bytes_of(m->preimage, m->preimage_n), m->head + m->mac_at);
    out = put_part_head(out, SLIM_MSG_PUBLISH, m->head_n + part_size(content));
    out = slim_put(out, m->head, m->head_n);
    out = put_part_head(out, 3, content);
    out = put_part_head(out, 1, app);
    out = slim_put(put_part_head(out, 1, sizeof(type) - 1), type, sizeof(type) - 1);
    bench_payload_put(put_part_head(out, 2, payload_n), payload_n, stamp);
}
