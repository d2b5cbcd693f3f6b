/* Byte spans, a cursor that cannot overrun, protobuf varints, UTF-8. */
#ifndef SLIM_CORE_BYTES_H
#define SLIM_CORE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "core/err.h"

typedef struct slim_bytes {
    const uint8_t *p;
    size_t n;
} slim_bytes;

typedef struct slim_cur {
    const uint8_t *p, *end;
} slim_cur;

#define SLIM_VARINT_MAX 10 /* bytes of the longest 64-bit varint */

static inline slim_bytes slim_bytes_of(const void *p, size_t n)
{
    return (slim_bytes){(const uint8_t *)p, n};
}
static inline slim_bytes slim_bytes_str(const char *s)
{
    return (slim_bytes){(const uint8_t *)s, strlen(s)};
}
static inline bool slim_bytes_eq(slim_bytes a, slim_bytes b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}
static inline slim_cur slim_cur_of(slim_bytes b)
{
    return (slim_cur){b.p, b.n != 0 ? b.p + b.n : b.p};
}
static inline size_t slim_cur_left(const slim_cur *c)
{
    return (size_t)(c->end - c->p);
}

/* Reads a varint of at most 64 bits; longer-than-needed encodings are fine, as prost takes them.
 * E_TRUNCATED, E_VARINT (more than 10 bytes, or a tenth byte above 1). */
slim_err slim_cur_varint_slow(slim_cur *c, uint64_t *out);
static inline slim_err slim_cur_varint(slim_cur *c, uint64_t *out)
{
    if (c->p < c->end && *c->p < 0x80) {
        *out = *c->p++;
        return SLIM_OK;
    }
    return slim_cur_varint_slow(c, out);
}

/* Splits a length-prefixed part off c; sub borrows from c's memory. E_TRUNCATED, E_VARINT. */
slim_err slim_cur_sub(slim_cur *c, slim_bytes *sub);

size_t slim_varint_size(uint64_t v);
/* Writes v and returns the end; the caller has room for slim_varint_size(v). */
uint8_t *slim_varint_put(uint8_t *p, uint64_t v);

static inline uint8_t *slim_put(uint8_t *p, const void *src, size_t n)
{
    if (n != 0)
        memcpy(p, src, n);
    return p + n;
}

/* Strict UTF-8 as Rust's str: no overlong forms, no surrogates, nothing above U+10FFFF; NUL is fine. */
bool slim_utf8_valid(slim_bytes b);

#endif
