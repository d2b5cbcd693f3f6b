/* Builds small messages for tests. What is built lies in one arena that nobody frees: criterion gives each test its own process. */
#ifndef SLIM_TESTS_WIRE_BUILD_H
#define SLIM_TESTS_WIRE_BUILD_H

#include <stdlib.h>

#include "support/support.h"

static uint8_t wire_arena[1 << 20];
static size_t wire_used;

static inline uint8_t *wire_room(size_t n)
{
    uint8_t *p = wire_arena + wire_used;

    if (n > sizeof wire_arena - wire_used)
        abort();
    wire_used += n;
    return p;
}

static inline slim_bytes hx(const char *hex)
{
    slim_bytes b = test_hex(hex);
    uint8_t *p = wire_room(b.n);

    slim_put(p, b.p, b.n);
    free((void *)(uintptr_t)b.p);
    return slim_bytes_of(p, b.n);
}

static inline slim_bytes cat(slim_bytes a, slim_bytes b)
{
    uint8_t *p = wire_room(a.n + b.n);

    slim_put(slim_put(p, a.p, a.n), b.p, b.n);
    return slim_bytes_of(p, a.n + b.n);
}

static inline slim_bytes cat3(slim_bytes a, slim_bytes b, slim_bytes c)
{
    return cat(cat(a, b), c);
}
static inline slim_bytes cat4(slim_bytes a, slim_bytes b, slim_bytes c, slim_bytes d)
{
    return cat(cat(a, b), cat(c, d));
}

/* A length-delimited field. */
static inline slim_bytes part(unsigned number, slim_bytes body)
{
    uint8_t *start = wire_room(2 * SLIM_VARINT_MAX + body.n), *p = start;

    p = slim_varint_put(p, number << 3 | 2);
    p = slim_varint_put(p, body.n);
    p = slim_put(p, body.p, body.n);
    return slim_bytes_of(start, (size_t)(p - start));
}

static inline slim_bytes number(unsigned field, uint64_t v)
{
    uint8_t *start = wire_room(2 * SLIM_VARINT_MAX), *p = start;

    p = slim_varint_put(p, field << 3);
    p = slim_varint_put(p, v);
    return slim_bytes_of(start, (size_t)(p - start));
}

static inline slim_bytes text(unsigned field, const char *s)
{
    return part(field, slim_bytes_str(s));
}
static inline slim_bytes nothing(void)
{
    return slim_bytes_of(wire_arena, 0);
}

#endif
