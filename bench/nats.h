/* A client's connection to a NATS server, on blocking sockets. */
#ifndef SLIM_BENCH_NATS_H
#define SLIM_BENCH_NATS_H

#include "core/bytes.h"

#define NATS_PAYLOAD_MAX_BYTES (1024u * 1024) /* what a server takes unless it is told otherwise */
/* A server that neither takes nor gives anything for so long is given up. */
#define NATS_SILENCE_S 10

typedef enum nats_event { NATS_MESSAGE, NATS_PONG, NATS_MORE, NATS_FAILED } nats_event;

/* Zero is one that was never opened. */
typedef struct nats_link {
    int fd; /* valid when in is not NULL */
    uint8_t *in;
    size_t in_capacity, at, end;
    char why[256];
} nats_link;

/* Connects and waits until the server has answered; payload_n: the longest message it will read. False with why, then close it. */
bool nats_open(nats_link *l, const char *host, const char *port, size_t payload_n);
void nats_close(nats_link *l);
bool nats_send(nats_link *l, const void *p, size_t n);
bool nats_send_text(nats_link *l, const char *text);
/* The next thing in what was read, payload valid until the next nats_read; pings are answered on the way. NATS_MORE: read first. */
nats_event nats_next(nats_link *l, slim_bytes *payload);
/* Adds to what was read; wait: blocks until there is something. False with why: the link is over. */
bool nats_read(nats_link *l, bool wait);
/* A PING and its PONG: the server has then seen all that was sent. Only for a link that has no subscription. */
bool nats_flush(nats_link *l);

#endif
