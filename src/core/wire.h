/* Fields of protobuf messages, read by prost's rules (data-plane.md 2.6): keys, skipping, and whole messages by descriptor.
 * Pointers walk: a reader returns the byte behind what it read, or NULL with *err set. */
#ifndef SLIM_CORE_WIRE_H
#define SLIM_CORE_WIRE_H

#include <endian.h>

#include "core/bytes.h"

enum { SLIM_WIRE_VARINT = 0, SLIM_WIRE_64 = 1, SLIM_WIRE_LEN = 2, SLIM_WIRE_GROUP = 3, SLIM_WIRE_END_GROUP = 4, SLIM_WIRE_32 = 5 };

#define SLIM_KEY(number, wire) ((uint32_t)(number) << 3 | (uint32_t)(wire))
#define SLIM_KEY_VARINT(number) SLIM_KEY(number, SLIM_WIRE_VARINT)
#define SLIM_KEY_LEN(number) SLIM_KEY(number, SLIM_WIRE_LEN)

/* prost's recursion limit, which sub-messages and unknown groups share. */
#define SLIM_WIRE_DEPTH 100

const uint8_t *slim_wire_varint_long(const uint8_t *p, const uint8_t *end, uint64_t *out, slim_err *err);
/* E_TRUNCATED, E_VARINT. */
static inline const uint8_t *slim_wire_varint(const uint8_t *p, const uint8_t *end, uint64_t *out, slim_err *err)
{
    if (p < end && *p < 0x80) {
        *out = *p;
        return p + 1;
    }
    return slim_wire_varint_long(p, end, out, err);
}

#define SLIM_VARINT_STOP_BITS 0x8080808080808080u

/* The same for numbers that are mostly long, as hashes are: eight bytes at a time. limit is the end of readable memory, at or
 * behind end. */
static inline const uint8_t *slim_wire_varint_wide(const uint8_t *p, const uint8_t *end, const uint8_t *limit, uint64_t *out,
                                                   slim_err *err)
{
    uint64_t w, stop;
    const uint8_t *behind;

    if (limit - p < SLIM_VARINT_MAX)
        return slim_wire_varint(p, end, out, err);
    memcpy(&w, p, sizeof w);
    w = le64toh(w);
    stop = ~w & SLIM_VARINT_STOP_BITS;
    if (stop != 0)
        w &= stop ^ (stop - 1);
    w &= ~SLIM_VARINT_STOP_BITS;
    /* 8 x 7 bits become 56. */
    w = (w & 0x007f007f007f007fu) | (w & 0x7f007f007f007f00u) >> 1;
    w = (w & 0x00003fff00003fffu) | (w & 0x3fff00003fff0000u) >> 2;
    w = (w & 0x000000000fffffffu) | (w & 0x0fffffff00000000u) >> 4;
    if (stop != 0) {
        behind = p + __builtin_ctzll(stop) / 8 + 1;
    } else if (p[8] < 0x80) {
        w |= (uint64_t)p[8] << 56;
        behind = p + 9;
    } else if (p[9] <= 1) {
        w |= (uint64_t)(p[8] & 0x7f) << 56 | (uint64_t)p[9] << 63;
        behind = p + 10;
    } else {
        return slim_wire_varint_long(p, end, out, err);
    }
    if (behind > end)
        return slim_wire_varint_long(p, end, out, err);
    *out = w;
    return behind;
}

/* A length and that many bytes, which part borrows. E_TRUNCATED, E_VARINT. */
static inline const uint8_t *slim_wire_part(const uint8_t *p, const uint8_t *end, slim_bytes *part, slim_err *err)
{
    uint64_t n;

    if ((p = slim_wire_varint(p, end, &n, err)) == NULL)
        return NULL;
    if (n > (size_t)(end - p)) {
        *err = SLIM_E_TRUNCATED;
        return NULL;
    }
    *part = slim_bytes_of(p, (size_t)n);
    return p + n;
}

/* Skips the value of an unknown field behind its key, a group to its matching end. depth: how many messages are around the
 * message that the field is in. E_TAG (the key itself, or a group end out of place), E_TRUNCATED, E_VARINT, E_DEPTH. */
const uint8_t *slim_wire_skip(const uint8_t *p, const uint8_t *end, uint64_t key, unsigned depth, slim_err *err);

typedef enum slim_field_kind {
    SLIM_FIELD_UNKNOWN = 0,
    SLIM_FIELD_VARINT,
    SLIM_FIELD_BYTES,
    SLIM_FIELD_STRING,
    SLIM_FIELD_MESSAGE
} slim_field_kind;

typedef struct slim_schema slim_schema;
typedef struct slim_field {
    slim_field_kind kind;
    const slim_schema *sub; /* of a MESSAGE */
} slim_field;

/* What is known of a message type: field[number] for numbers below n. No type contains itself. */
struct slim_schema {
    uint32_t n;
    const slim_field *field;
};

/* Is body an acceptable message of this type, all sub-messages included? E_TRUNCATED, E_WIRETYPE, E_VARINT, E_TAG, E_UTF8, E_DEPTH.
 */
slim_err slim_wire_check(const slim_schema *schema, slim_bytes body, unsigned depth);

/* The parts of a Message that the hub never reads (data-plane.md 2.1 to 2.5). */
extern const slim_schema slim_schema_metadata, slim_schema_session, slim_schema_content, slim_schema_link_negotiation,
    slim_schema_subscription_ack;

#endif
