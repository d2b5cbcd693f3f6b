/* A publish that is made once and stamped again and again: as real clients send them, with a fresh identity token in each. */
#ifndef SLIM_BENCH_MESSAGE_H
#define SLIM_BENCH_MESSAGE_H

#include "auth/mac.h"
#include "core/name.h"

#define BENCH_STAMP_BYTES 16 /* sequence number and time, when the payload has room for them */

typedef struct bench_message {
    slim_mem *mem;
    uint8_t *bytes, *preimage;
    size_t n, preimage_n;
    size_t identity_n, payload_n;
    size_t identity_at, mac_at, payload_at; /* in bytes */
    size_t preimage_identity_at;
    uint64_t token;
} bench_message;

typedef struct bench_stamp {
    uint64_t sequence, time_ns;
} bench_stamp;

/* E_NOMEM. */
slim_err bench_message_make(bench_message *m, slim_mem *mem, const slim_name *source, const slim_name *destination,
                            size_t identity_n, size_t payload_n, uint32_t fanout);
void bench_message_free(bench_message *m);
/* A new token, sequence and time, signed for the link; mac may be NULL. The result borrows from m until the next stamp. */
slim_bytes bench_message_stamp(bench_message *m, slim_mac *mac, bench_stamp stamp);
/* Reads the stamp out of a received payload. False: it is too short to carry one. */
bool bench_stamp_read(slim_bytes payload, bench_stamp *out);

#endif
