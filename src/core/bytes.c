#include "core/bytes.h"

slim_err slim_cur_varint_slow(slim_cur *c, uint64_t *out)
{
    const uint8_t *p = c->p;
    uint64_t v = 0;

    for (unsigned shift = 0; shift < 63; shift += 7) {
        if (p == c->end)
            return SLIM_E_TRUNCATED;
        v |= (uint64_t)(*p & 0x7f) << shift;
        if (*p++ < 0x80) {
            c->p = p;
            *out = v;
            return SLIM_OK;
        }
    }
    if (p == c->end)
        return SLIM_E_TRUNCATED;
    if (*p > 1)
        return SLIM_E_VARINT;
    c->p = p + 1;
    *out = v | (uint64_t)*p << 63;
    return SLIM_OK;
}

slim_err slim_cur_sub(slim_cur *c, slim_bytes *sub)
{
    slim_cur at = *c;
    uint64_t n;
    slim_err e = slim_cur_varint(&at, &n);

    if (e != SLIM_OK)
        return e;
    if (n > slim_cur_left(&at))
        return SLIM_E_TRUNCATED;
    *sub = slim_bytes_of(at.p, (size_t)n);
    c->p = at.p + n;
    return SLIM_OK;
}

size_t slim_varint_size(uint64_t v)
{
    unsigned bits = 64 - (unsigned)__builtin_clzll(v | 1);

    return (bits + 6) / 7;
}

uint8_t *slim_varint_put(uint8_t *p, uint64_t v)
{
    while (v >= 0x80) {
        *p++ = (uint8_t)(v | 0x80);
        v >>= 7;
    }
    *p++ = (uint8_t)v;
    return p;
}

#define HIGH_BITS 0x8080808080808080u

static inline uint64_t load64(const uint8_t *p)
{
    uint64_t v;

    memcpy(&v, p, sizeof v);
    return v;
}

static inline bool is_continuation(uint8_t b)
{
    return (b & 0xc0) == 0x80;
}

/* Size of the multi-byte character at p, 0 when it is not one. The range of the second byte excludes overlong forms,
 * surrogates and what is above U+10FFFF (Unicode, table 3-7). */
static unsigned multibyte_size(const uint8_t *p, size_t left)
{
    uint8_t low = 0x80, high = 0xbf;
    unsigned size;

    if (p[0] >= 0xc2 && p[0] <= 0xdf) {
        size = 2;
    } else if (p[0] >= 0xe0 && p[0] <= 0xef) {
        size = 3;
        if (p[0] == 0xe0)
            low = 0xa0;
        else if (p[0] == 0xed)
            high = 0x9f;
    } else if (p[0] >= 0xf0 && p[0] <= 0xf4) {
        size = 4;
        if (p[0] == 0xf0)
            low = 0x90;
        else if (p[0] == 0xf4)
            high = 0x8f;
    } else {
        return 0;
    }
    if (left < size || p[1] < low || p[1] > high)
        return 0;
    for (unsigned i = 2; i < size; i++) {
        if (!is_continuation(p[i]))
            return 0;
    }
    return size;
}

static inline uint32_t load32(const uint8_t *p)
{
    uint32_t v;

    memcpy(&v, p, sizeof v);
    return v;
}

/* Whole words first, then one that overlaps them: no loop over the last bytes. */
static bool is_ascii(const uint8_t *p, size_t n)
{
    uint64_t seen = 0;
    size_t i = 0;

    if (n >= 8) {
        for (; i + 32 <= n; i += 32)
            seen |= load64(p + i) | load64(p + i + 8) | load64(p + i + 16) | load64(p + i + 24);
        for (; i + 8 <= n; i += 8)
            seen |= load64(p + i);
        seen |= load64(p + n - 8);
    } else if (n >= 4) {
        seen = load32(p) | load32(p + n - 4);
    } else if (n > 0) {
        seen = p[0] | p[n / 2] | p[n - 1];
    }
    return (seen & HIGH_BITS) == 0;
}

bool slim_utf8_valid(slim_bytes b)
{
    const uint8_t *p = b.p;
    size_t left = b.n;

    if (is_ascii(p, left))
        return true;
    while (left > 0) {
        unsigned size;

        if (left >= 8 && (load64(p) & HIGH_BITS) == 0) {
            p += 8;
            left -= 8;
            continue;
        }
        size = *p < 0x80 ? 1 : multibyte_size(p, left);
        if (size == 0)
            return false;
        p += size;
        left -= size;
    }
    return true;
}
