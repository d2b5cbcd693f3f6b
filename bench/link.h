/* The load side of a SLIM link: dials, negotiates, subscribes, publishes prepared messages. One thread's, on its slim_io. */
#ifndef SLIM_BENCH_LINK_H
#define SLIM_BENCH_LINK_H

#include "auth/negotiation.h"
#include "core/head.h"
#include "io/conn.h"
#include "io/resolve.h"

typedef struct bench_link bench_link;

/* What a link is dialled with; shared by all links of a run and read only then. */
typedef struct bench_target {
    slim_endpoint endpoint;
    slim_address address;
    slim_tls_ctx *tls; /* NULL: plaintext */
    slim_link_kind kind;
    bool offers_no_key;    /* the link goes without a header MAC, if the node is lenient */
    slim_conn_config conn; /* filled in by bench_target_ready */
} bench_target;

struct bench_link {
    const bench_target *target;
    slim_io *io;
    slim_conn *conn;
    slim_stream *stream;
    slim_mac *mac; /* NULL: the node gave no key */
    slim_negotiation *asking;
    slim_negotiated peer;
    bool live, ended;
    char why[160];
    /* The owner's, set before bench_link_dial. */
    void (*on_live)(bench_link *l);
    void (*on_publish)(bench_link *l, const slim_view *v);
    void (*on_ack)(bench_link *l, uint64_t id, bool success);
    void (*on_end)(bench_link *l); /* once; why tells */
};

/* Looks the endpoint up (blocking) and prepares the rest. E_CONFIG, E_NOT_FOUND with why. */
slim_err bench_target_ready(bench_target *t, const char *server, const slim_tls_config *tls, char *why, size_t why_n);

/* Starts dialling. False: could not even start; why tells. */
bool bench_link_dial(bench_link *l, const bench_target *t, slim_io *io);
/* Sends Subscribe or Unsubscribe for a name; the ack comes by on_ack unless id is 0. */
bool bench_link_subscribe(bench_link *l, const slim_name *name, bool unsubscribe, uint64_t id);
/* Room for a message of n bytes that is queued with this, to be filled before the next call. NULL: the call has ended, or no
 * memory. */
uint8_t *bench_link_begin(bench_link *l, size_t n);
/* Queues a protobuf message as it is. */
bool bench_link_send(bench_link *l, slim_bytes message);
/* Bytes that wait behind the peer's window. */
size_t bench_link_queued(const bench_link *l);
/* Ends the call, then the connection. */
void bench_link_close(bench_link *l);

/* Is the MAC of a received message right? True on a link without one. */
bool bench_link_verify(const bench_link *l, const slim_view *v);

/* A name of three strings and an id (0: none), with the hashes of the strings. The strings must outlive it. */
void bench_name(slim_name *out, const char *a, const char *b, const char *c, uint64_t id);

#endif
