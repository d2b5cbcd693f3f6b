/* What the messages of a run carry: sizes that follow from the sequence number, a stamp, and letters whose place follows from the
 * stamp, so that a receiver knows every byte without being told. */
#ifndef SLIM_BENCH_PAYLOAD_H
#define SLIM_BENCH_PAYLOAD_H

#include "core/view.h"

#define BENCH_STAMP_BYTES 16 /* sequence number and time, when the payload has room for them */
#define BENCH_SIZES_MAX 32
#define BENCH_IDENTITY_MAX_BYTES 16384
#define BENCH_PAYLOAD_MAX_BYTES (4u * 1024 * 1024 - 65536)

typedef struct bench_stamp {
    uint64_t sequence, time_ns;
} bench_stamp;

/* One size, or one of a list, or any from size[0] to size[1]. */
typedef struct bench_sizes {
    bool is_range;
    uint32_t n;
    uint32_t size[BENCH_SIZES_MAX];
} bench_sizes;

/* "64", "64-4096" or "64,1024,16384". False with why. */
bool bench_sizes_parse(const char *text, bench_sizes *out, char *why, size_t why_n);
uint32_t bench_sizes_min(const bench_sizes *s);
uint32_t bench_sizes_max(const bench_sizes *s);
/* The size of a sender's message. */
uint32_t bench_sizes_of(const bench_sizes *s, uint64_t sender, uint64_t sequence);

/* Writes n bytes. */
void bench_payload_put(uint8_t *p, size_t n, bench_stamp stamp);
/* Reads the stamp; false: too short to carry one. */
bool bench_stamp_read(slim_bytes payload, bench_stamp *out);
/* Are the letters as bench_payload_put leaves them for this stamp? */
bool bench_payload_check(slim_bytes payload, bench_stamp stamp);

/* The application payload of a publish. False: there is none. */
bool bench_payload_find(const slim_view *v, slim_bytes *out);

/* Numbers that are spread like hashes. */
static inline uint64_t bench_mix(uint64_t z)
{
    z += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

#endif
