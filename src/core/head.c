#include "core/head.h"

#include <endian.h>

#include "core/wire.h"

/* Fields of SLIMHeader that a hop rewrites (data-plane.md 2.2). */
enum { TTL = 6, RECV_FROM = 7, FORWARD_TO = 8, INCOMING_CONN = 9, HEADER_MAC = 11 };
#define KEY_MAX_BYTES 1
#define NUMBER_FIELD_MAX (KEY_MAX_BYTES + SLIM_VARINT_MAX)

size_t slim_head_bound(const slim_view *v)
{
    size_t n = v->lead.n + v->inner.n + 2 * NUMBER_FIELD_MAX + 4 * NUMBER_FIELD_MAX + KEY_MAX_BYTES + 1 + SLIM_MAC_BYTES;

    for (uint32_t i = 0; i < v->n_runs; i++)
        n += v->run[i].bytes.n;
    return n;
}

/* One rewritten field, as it goes out. */
typedef struct slot {
    uint32_t number;
    bool present;
    uint64_t value; /* of the MAC: its size */
} slot;
#define SLOTS 5

static void slots_fill(slot s[SLOTS], const slim_view *v, const slim_head_patch *patch)
{
    s[0] = (slot){TTL, patch->ttl != 0, patch->ttl};
    s[1] = (slot){RECV_FROM, patch->keep_directions && v->has_recv_from, v->recv_from};
    s[2] = (slot){FORWARD_TO, patch->keep_directions && v->has_forward_to, v->forward_to};
    s[3] = (slot){INCOMING_CONN, patch->has_incoming_conn, patch->incoming_conn};
    s[4] = (slot){HEADER_MAC, patch->with_mac, SLIM_MAC_BYTES};
}

static size_t slot_size(const slot *s)
{
    if (!s->present)
        return 0;
    return KEY_MAX_BYTES + slim_varint_size(s->value) + (s->number == HEADER_MAC ? SLIM_MAC_BYTES : 0);
}

static uint8_t *slot_put(uint8_t *p, const slot *s, const uint8_t *out, size_t *mac_offset)
{
    if (!s->present)
        return p;
    *p++ = (uint8_t)(s->number == HEADER_MAC ? SLIM_KEY_LEN(HEADER_MAC) : SLIM_KEY_VARINT(s->number));
    p = slim_varint_put(p, s->value);
    if (s->number == HEADER_MAC) {
        *mac_offset = (size_t)(p - out);
        memset(p, 0, SLIM_MAC_BYTES);
        p += SLIM_MAC_BYTES;
    }
    return p;
}

size_t slim_head_build(const slim_view *v, const slim_head_patch *patch, uint8_t *out, size_t *mac_offset)
{
    slot s[SLOTS];
    size_t header = 0, member;
    unsigned next = 0;
    uint8_t *p = out;

    slots_fill(s, v, patch);
    for (unsigned i = 0; i < SLOTS; i++)
        header += slot_size(&s[i]);
    for (uint32_t i = 0; i < v->n_runs; i++)
        header += v->run[i].bytes.n;
    member = v->inner.n + KEY_MAX_BYTES + slim_varint_size(header) + header + v->member_rest_bytes;

    *mac_offset = 0;
    p = slim_put(p, v->lead.p, v->lead.n);
    *p++ = (uint8_t)SLIM_KEY_LEN(v->type);
    p = slim_varint_put(p, member);
    p = slim_put(p, v->inner.p, v->inner.n);
    *p++ = SLIM_KEY_LEN(1);
    p = slim_varint_put(p, header);
    for (uint32_t i = 0; i < v->n_runs; i++) {
        const slim_header_run *r = &v->run[i];

        while (next < SLOTS && s[next].number < r->before)
            p = slot_put(p, &s[next++], out, mac_offset);
        p = slim_put(p, r->bytes.p, r->bytes.n);
    }
    while (next < SLOTS)
        p = slot_put(p, &s[next++], out, mac_offset);
    return (size_t)(p - out);
}

static uint8_t *put_le32(uint8_t *p, uint32_t v)
{
    v = htole32(v);
    return slim_put(p, &v, sizeof v);
}

static uint8_t *put_le64(uint8_t *p, uint64_t v)
{
    v = htole64(v);
    return slim_put(p, &v, sizeof v);
}

static uint8_t *put_sized(uint8_t *p, slim_bytes b)
{
    p = put_le32(p, (uint32_t)b.n);
    return slim_put(p, b.p, b.n);
}

static size_t name_preimage_bound(const slim_name *n)
{
    return 3 + 3 * 8 + 1 + 2 * 8 + 3 * 4 + n->str[0].n + n->str[1].n + n->str[2].n;
}

size_t slim_preimage_bound(const slim_view *v)
{
    return name_preimage_bound(&v->source) + name_preimage_bound(&v->destination) + 4 + v->identity.n + 4 + 2 * 9 + 2 + 4;
}

static uint8_t *put_name_preimage(uint8_t *p, const slim_name *n)
{
    *p++ = n->present;
    if (!n->present)
        return p;
    *p++ = n->has_name;
    if (n->has_name) {
        for (int i = 0; i < 3; i++)
            p = put_le64(p, n->key.c[i]);
        *p++ = n->has_id;
        if (n->has_id) {
            p = put_le64(p, n->id.hi);
            p = put_le64(p, n->id.lo);
        }
    }
    *p++ = n->has_str;
    if (n->has_str) {
        for (int i = 0; i < 3; i++)
            p = put_sized(p, n->str[i]);
    }
    return p;
}

static uint8_t *put_optional(uint8_t *p, bool present, uint64_t v)
{
    *p++ = present;
    return present ? put_le64(p, v) : p;
}

size_t slim_preimage_build(const slim_view *v, uint32_t ttl, bool keep_directions, uint8_t *out)
{
    uint8_t *p = put_name_preimage(out, &v->source);

    p = put_name_preimage(p, &v->destination);
    p = put_sized(p, v->identity);
    p = put_le32(p, v->fanout);
    p = put_optional(p, keep_directions && v->has_recv_from, v->recv_from);
    p = put_optional(p, keep_directions && v->has_forward_to, v->forward_to);
    *p++ = v->has_error;
    if (v->has_error)
        *p++ = v->error;
    p = put_le32(p, ttl);
    return (size_t)(p - out);
}

static size_t part_size(size_t n)
{
    return KEY_MAX_BYTES + slim_varint_size(n) + n;
}
static size_t number_size(uint64_t v)
{
    return v == 0 ? 0 : KEY_MAX_BYTES + slim_varint_size(v);
}
static size_t string_size(slim_bytes s)
{
    return s.n == 0 ? 0 : part_size(s.n);
}

static uint8_t *put_part_head(uint8_t *p, unsigned number, size_t n)
{
    *p++ = (uint8_t)SLIM_KEY_LEN(number);
    return slim_varint_put(p, n);
}

static uint8_t *put_number(uint8_t *p, unsigned number, uint64_t v)
{
    if (v == 0)
        return p;
    *p++ = (uint8_t)SLIM_KEY_VARINT(number);
    return slim_varint_put(p, v);
}

static uint8_t *put_string(uint8_t *p, unsigned number, slim_bytes s)
{
    return s.n == 0 ? p : slim_put(put_part_head(p, number, s.n), s.p, s.n);
}

typedef struct name_sizes {
    size_t id, encoded, strings, name;
} name_sizes;

static name_sizes name_measure(const slim_name *n)
{
    name_sizes z = {0, 0, 0, 0};

    z.id = number_size(n->id.hi) + number_size(n->id.lo);
    for (int i = 0; i < 3; i++) {
        z.encoded += number_size(n->key.c[i]);
        z.strings += string_size(n->str[i]);
    }
    if (n->has_id)
        z.encoded += part_size(z.id);
    z.name = part_size(z.encoded) + (n->has_str ? part_size(z.strings) : 0);
    return z;
}

static uint8_t *put_name(uint8_t *p, unsigned number, const slim_name *n, const name_sizes *z)
{
    p = put_part_head(p, number, z->name);
    p = put_part_head(p, 1, z->encoded);
    for (unsigned i = 0; i < 3; i++)
        p = put_number(p, i + 1, n->key.c[i]);
    if (n->has_id) {
        p = put_part_head(p, 4, z->id);
        p = put_number(p, 1, n->id.hi);
        p = put_number(p, 2, n->id.lo);
    }
    if (n->has_str) {
        p = put_part_head(p, 2, z->strings);
        for (unsigned i = 0; i < 3; i++)
            p = put_string(p, i + 1, n->str[i]);
    }
    return p;
}

size_t slim_subscribe_bound(const slim_name *name)
{
    name_sizes z = name_measure(name);

    return 2 * NUMBER_FIELD_MAX + 2 * (NUMBER_FIELD_MAX + z.name) + 3 * NUMBER_FIELD_MAX;
}

size_t slim_subscribe_build(const slim_name *name, bool unsubscribe, uint64_t subscription_id, uint32_t ttl, uint8_t *out)
{
    name_sizes z = name_measure(name);
    size_t header = 2 * part_size(z.name) + number_size(1) + number_size(ttl);
    uint8_t *p = out;

    p = put_part_head(p, unsubscribe ? SLIM_MSG_UNSUBSCRIBE : SLIM_MSG_SUBSCRIBE, part_size(header) + number_size(subscription_id));
    p = put_part_head(p, 1, header);
    p = put_name(p, 1, name, &z);
    p = put_name(p, 2, name, &z);
    p = put_number(p, 4, 1);
    p = put_number(p, TTL, ttl);
    p = put_number(p, 2, subscription_id);
    return (size_t)(p - out);
}
