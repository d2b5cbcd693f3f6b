#include "bench/payload.h"

#include <stdio.h>
#include <stdlib.h>

#include "core/wire.h"

#define LETTERS 26u
#define STRIDE (LETTERS * 1260u) /* bytes of the table that are compared or copied at once */

static uint8_t table[STRIDE + LETTERS];

__attribute__((constructor)) static void table_fill(void)
{
    for (size_t i = 0; i < sizeof(table); i++)
        table[i] = (uint8_t)('a' + i % LETTERS);
}

static bool number(const char **at, uint32_t *out)
{
    char *end;
    unsigned long long v;

    if (**at < '0' || **at > '9')
        return false;
    v = strtoull(*at, &end, 10);
    *at = end;
    *out = v > BENCH_PAYLOAD_MAX_BYTES ? BENCH_PAYLOAD_MAX_BYTES + 1 : (uint32_t)v;
    return true;
}

bool bench_sizes_parse(const char *text, bench_sizes *out, char *why, size_t why_n)
{
    const char *p = text;

    *out = (bench_sizes){0};
    for (;;) {
        if (out->n == BENCH_SIZES_MAX) {
            snprintf(why, why_n, "\"%s\" has more than %d sizes", text, BENCH_SIZES_MAX);
            return false;
        }
        if (!number(&p, &out->size[out->n]))
            goto malformed;
        if (out->size[out->n] > BENCH_PAYLOAD_MAX_BYTES) {
            snprintf(why, why_n, "\"%s\" is more than the %u bytes that a message of 4 MiB has room for", text,
                     BENCH_PAYLOAD_MAX_BYTES);
            return false;
        }
        out->n++;
        if (*p == '\0')
            break;
        if (*p == '-' && out->n == 1)
            out->is_range = true;
        else if (*p != ',' || out->is_range)
            goto malformed;
        p++;
    }
    if (out->is_range && (out->n != 2 || out->size[0] > out->size[1]))
        goto malformed;
    return true;
malformed:
    snprintf(why, why_n, "\"%s\" is no size in bytes, no range like 64-4096 and no list like 64,1024", text);
    return false;
}

uint32_t bench_sizes_min(const bench_sizes *s)
{
    uint32_t v = s->size[0];

    for (uint32_t i = 1; i < s->n; i++)
        v = s->size[i] < v ? s->size[i] : v;
    return v;
}

uint32_t bench_sizes_max(const bench_sizes *s)
{
    uint32_t v = s->size[0];

    for (uint32_t i = 1; i < s->n; i++)
        v = s->size[i] > v ? s->size[i] : v;
    return v;
}

uint32_t bench_sizes_of(const bench_sizes *s, uint64_t sender, uint64_t sequence)
{
    uint64_t spread;

    if (s->n == 1)
        return s->size[0];
    spread = bench_mix(sender << 40 ^ sequence);
    if (s->is_range)
        return s->size[0] + (uint32_t)(spread % (s->size[1] - s->size[0] + 1u));
    return s->size[spread % s->n];
}

static size_t phase_of(bench_stamp stamp)
{
    return (size_t)((stamp.sequence * 7 + stamp.time_ns) % LETTERS);
}

void bench_payload_put(uint8_t *p, size_t n, bench_stamp stamp)
{
    size_t phase = 0;

    if (n >= BENCH_STAMP_BYTES) {
        memcpy(p, &stamp, BENCH_STAMP_BYTES);
        p += BENCH_STAMP_BYTES;
        n -= BENCH_STAMP_BYTES;
        phase = phase_of(stamp);
    }
    for (; n > STRIDE; p += STRIDE, n -= STRIDE)
        memcpy(p, table + phase, STRIDE);
    memcpy(p, table + phase, n);
}

bool bench_stamp_read(slim_bytes payload, bench_stamp *out)
{
    if (payload.n < BENCH_STAMP_BYTES)
        return false;
    memcpy(out, payload.p, BENCH_STAMP_BYTES);
    return true;
}

bool bench_payload_check(slim_bytes payload, bench_stamp stamp)
{
    const uint8_t *p = payload.p;
    size_t n = payload.n, phase = 0;

    if (n >= BENCH_STAMP_BYTES) {
        p += BENCH_STAMP_BYTES;
        n -= BENCH_STAMP_BYTES;
        phase = phase_of(stamp);
    }
    for (; n > STRIDE; p += STRIDE, n -= STRIDE) {
        if (memcmp(p, table + phase, STRIDE) != 0)
            return false;
    }
    return n == 0 || memcmp(p, table + phase, n) == 0;
}

/* The first part with this field number, empty when there is none. False: no message. */
static bool part_find(slim_bytes in, uint32_t key, slim_bytes *out, bool *found)
{
    const uint8_t *p = in.p, *end = p + in.n;
    slim_err e;
    uint64_t k;

    *found = false;
    *out = slim_bytes_of(end, 0);
    while (p < end) {
        if ((p = slim_wire_varint(p, end, &k, &e)) == NULL)
            return false;
        if (k == key) {
            *found = true;
            return slim_wire_part(p, end, out, &e) != NULL;
        }
        if ((p = slim_wire_skip(p, end, k, 0, &e)) == NULL)
            return false;
    }
    return true;
}

bool bench_payload_find(const slim_view *v, slim_bytes *out)
{
    slim_bytes content, app;
    bool found;

    /* Publish.msg, Content.app_payload, ApplicationPayload.blob; who encodes anew leaves out an empty blob. */
    if (!part_find(slim_bytes_of(v->tail.p, v->member_rest_bytes), SLIM_KEY_LEN(3), &content, &found) || !found)
        return false;
    if (!part_find(content, SLIM_KEY_LEN(1), &app, &found) || !found)
        return false;
    return part_find(app, SLIM_KEY_LEN(2), out, &found);
}
