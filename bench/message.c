#include "bench/message.h"

#include "core/head.h"
#include "core/wire.h"

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

/* A Name message, into out of at least 256 bytes. */
static size_t name_encode(const slim_name *n, uint8_t *out)
{
    uint8_t encoded[64], text[160], id[24], *e = encoded, *t = text, *i = id, *p = out;

    for (unsigned k = 0; k < 3; k++) {
        e = put_number(e, k + 1, n->key.c[k]);
        t = slim_put(put_part_head(t, k + 1, n->str[k].n), n->str[k].p, n->str[k].n);
    }
    if (n->has_id) {
        i = put_number(put_number(id, 1, n->id.hi), 2, n->id.lo);
        e = slim_put(put_part_head(e, 4, (size_t)(i - id)), id, (size_t)(i - id));
    }
    p = slim_put(put_part_head(p, 1, (size_t)(e - encoded)), encoded, (size_t)(e - encoded));
    p = slim_put(put_part_head(p, 2, (size_t)(t - text)), text, (size_t)(t - text));
    return (size_t)(p - out);
}

static void fill_letters(uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        p[i] = (uint8_t)('a' + i % 26);
}

static size_t message_encode(bench_message *m, const slim_name *source, const slim_name *destination, uint32_t fanout)
{
    static const uint8_t session[] = {0x08, 1, 0x10, 1, 0x18, 5, 0x20, 1};
    static const char version[] = "3.4.6", type[] = "msg";
    uint8_t from[256], to[256], *p = m->bytes;
    size_t from_n = name_encode(source, from), to_n = name_encode(destination, to);
    size_t header = part_size(from_n) + part_size(to_n) + (m->identity_n > 0 ? part_size(m->identity_n) : 0) + 1 +
                    slim_varint_size(fanout) + part_size(sizeof(version) - 1) + 2 + 2 + part_size(SLIM_MAC_TAG_BYTES);
    size_t app = part_size(sizeof(type) - 1) + part_size(m->payload_n), content = part_size(app);

    p = put_part_head(p, 3, part_size(header) + part_size(sizeof(session)) + part_size(content));
    p = put_part_head(p, 1, header);
    p = slim_put(put_part_head(p, 1, from_n), from, from_n);
    p = slim_put(put_part_head(p, 2, to_n), to, to_n);
    if (m->identity_n > 0) {
        p = put_part_head(p, 3, m->identity_n);
        m->identity_at = (size_t)(p - m->bytes);
        fill_letters(p, m->identity_n);
        p += m->identity_n;
    }
    p = put_number(p, 4, fanout);
    p = slim_put(put_part_head(p, 5, sizeof(version) - 1), version, sizeof(version) - 1);
    p = put_number(p, 6, 8);
    p = put_number(p, 9, 1);
    p = put_part_head(p, 11, SLIM_MAC_TAG_BYTES);
    m->mac_at = (size_t)(p - m->bytes);
    memset(p, 0, SLIM_MAC_TAG_BYTES);
    p += SLIM_MAC_TAG_BYTES;
    p = slim_put(put_part_head(p, 2, sizeof(session)), session, sizeof(session));
    p = put_part_head(p, 3, content);
    p = put_part_head(p, 1, app);
    p = slim_put(put_part_head(p, 1, sizeof(type) - 1), type, sizeof(type) - 1);
    p = put_part_head(p, 2, m->payload_n);
    m->payload_at = (size_t)(p - m->bytes);
    fill_letters(p, m->payload_n);
    return (size_t)(p + m->payload_n - m->bytes);
}

slim_err bench_message_make(bench_message *m, slim_mem *mem, const slim_name *source, const slim_name *destination,
                            size_t identity_n, size_t payload_n, uint32_t fanout)
{
    slim_view v;
    slim_err e;

    *m = (bench_message){.mem = mem, .identity_n = identity_n, .payload_n = payload_n};
    if ((m->bytes = slim_alloc(mem, 1024 + identity_n + payload_n)) == NULL)
        return SLIM_E_NOMEM;
    m->n = message_encode(m, source, destination, fanout);
    if ((e = slim_view_scan(slim_bytes_of(m->bytes, m->n), &v)) != SLIM_OK)
        goto fail;
    e = SLIM_E_NOMEM;
    if ((m->preimage = slim_alloc(mem, slim_preimage_bound(&v))) == NULL)
        goto fail;
    m->preimage_n = slim_preimage_build(&v, v.ttl, false, m->preimage);
    /* The token stands before fanout, two absent directions, error and ttl (data-plane.md 4.4). */
    m->preimage_identity_at = m->preimage_n - (4 + 1 + 1 + 1 + 4) - identity_n;
    return SLIM_OK;
fail:
    bench_message_free(m);
    return e;
}

void bench_message_free(bench_message *m)
{
    slim_free(m->mem, m->bytes);
    slim_free(m->mem, m->preimage);
    m->bytes = m->preimage = NULL;
}

/* Sixteen letters, as a nonce would be. */
static void token_put(uint8_t *p, size_t room, uint64_t token)
{
    for (size_t i = 0; i < room && i < 16; i++)
        p[i] = (uint8_t)('A' + (token >> (4 * i) & 15));
}

slim_bytes bench_message_stamp(bench_message *m, slim_mac *mac, bench_stamp stamp)
{
    if (m->identity_n > 0) {
        m->token++;
        token_put(m->bytes + m->identity_at, m->identity_n, m->token);
        token_put(m->preimage + m->preimage_identity_at, m->identity_n, m->token);
    }
    if (m->payload_n >= BENCH_STAMP_BYTES)
        memcpy(m->bytes + m->payload_at, &stamp, BENCH_STAMP_BYTES);
    if (mac != NULL)
        slim_mac_sign(mac, slim_bytes_of(m->preimage, m->preimage_n), m->bytes + m->mac_at);
    return slim_bytes_of(m->bytes, m->n);
}

bool bench_stamp_read(slim_bytes payload, bench_stamp *out)
{
    if (payload.n < BENCH_STAMP_BYTES)
        return false;
    memcpy(out, payload.p, BENCH_STAMP_BYTES);
    return true;
}
