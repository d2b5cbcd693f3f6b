/* A publish whose header is made once and written again and again: as real clients send them, with a fresh identity token in each.
 */
#ifndef SLIM_BENCH_MESSAGE_H
#define SLIM_BENCH_MESSAGE_H

#include "auth/mac.h"
#include "bench/payload.h"

typedef struct bench_message {
    slim_mem *mem;
    uint8_t *head, *preimage; /* head: the header with its key and length, then the session */
    size_t head_n, preimage_n;
    size_t identity_n;
    size_t identity_at, mac_at; /* in head; mac_at 0: no MAC */
    size_t preimage_identity_at;
    uint32_t fanout;
    bool with_mac;
    uint64_t token;
} bench_message;

/* E_NOMEM. */
slim_err bench_message_make(bench_message *m, slim_mem *mem, const slim_name *source, const slim_name *destination,
                            size_t identity_n, uint32_t fanout, bool with_mac);
/* The same for other names. */
void bench_message_aim(bench_message *m, const slim_name *source, const slim_name *destination);
void bench_message_free(bench_message *m);
/* Bytes of the whole message with such a payload. */
size_t bench_message_size(const bench_message *m, size_t payload_n);
/* Writes the message with a new token, signed for the link when it was made with a MAC. */
void bench_message_put(bench_message *m, slim_mac *mac, bench_stamp stamp, size_t payload_n, uint8_t *out);

#endif
