/* The hub: workers, links, forwarding, listeners, outbound links, drain. One hub is one SLIM node with its own table and id. */
#ifndef SLIM_NODE_HUB_H
#define SLIM_NODE_HUB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/err.h"
#include "core/mem.h"
#include "core/links.h"
#include "io/ring.h"
#include "io/tls.h"

typedef struct slim_hub slim_hub;

/* Which worker serves a connection. */
typedef enum slim_placement {
    SLIM_PLACEMENT_FOLLOW,   /* where those are whom it sends to, as long as that worker is not too busy */
    SLIM_PLACEMENT_FIXED,    /* where it was accepted */
    SLIM_PLACEMENT_RESTLESS, /* moves again and again: for tests */
} slim_placement;

typedef struct slim_hub_config {
    const char *node_id;         /* copied, as all strings here */
    const char *version;         /* semver, announced to peers */
    const char *deployment_name; /* "" for none */
    const char *thread_name;     /* of the workers, in logs */
    bool strict;                 /* require_header_mac of the first server */
    uint64_t negotiation_timeout_ns;
    uint32_t workers; /* at least 1 */
    slim_placement placement;
    slim_ring_config ring;
    int64_t memory_limit_bytes;    /* of messages in flight, whole process */
    uint32_t per_address_max;      /* accepted connections of one remote address; 0: no limit */
    bool per_address_spares_local; /* loopback is not limited */
    uint64_t egress_high_bytes;    /* a receiver's queue above this holds its senders back; 0: 4 MiB */
    uint64_t slow_reader_ns;       /* a receiver that holds others back for so long is closed; 0: never */
    slim_mem *mem;
} slim_hub_config;

typedef struct slim_hub_server {
    const char *endpoint;     /* slim_listen_config */
    slim_tls_ctx *tls;        /* NULL: plaintext; must outlive the hub */
    uint32_t max_frame_bytes; /* 0: 16384, not announced beyond what upstream does */
    uint32_t max_header_list_bytes;
    uint64_t ping_interval_ns, ping_timeout_ns, max_age_ns;
} slim_hub_server;

typedef struct slim_hub_header {
    const char *name, *value;
} slim_hub_header;

typedef struct slim_hub_client {
    const char *endpoint, *origin, *server_name; /* the latter two may be NULL */
    slim_tls_ctx *tls;                           /* for https */
    const char *link_id;                         /* NULL: fresh UUID */
    slim_link_kind kind;
    bool strict;
    uint64_t connect_timeout_ns, request_timeout_ns, tcp_keepalive_ns, ping_interval_ns, ping_timeout_ns;
    const slim_hub_header *headers;
    size_t n_headers;
    bool exponential, jitter;
    uint64_t interval_ns, base, factor, max_delay_ns, max_attempts;
    /* Once: the first connection stands (SLIM_OK), or start-up must fail (why tells). On a worker's thread. */
    void (*settled)(void *arg, slim_err e, const char *why);
    void *settled_arg;
} slim_hub_client;

/* Starts the workers. E_SYS (no ring; why), E_NOMEM. */
slim_err slim_hub_new(const slim_hub_config *cfg, slim_hub **out, char *why, size_t why_n);
/* Binds and starts accepting. bound gets the real address. E_CONFIG, E_SYS with why. */
slim_err slim_hub_listen(slim_hub *h, const slim_hub_server *s, char *bound, size_t bound_n, char *why, size_t why_n);
/* Starts an outbound link that is kept up until the drain. E_CONFIG with why when the endpoint is wrong. */
slim_err slim_hub_dial(slim_hub *h, const slim_hub_client *c, char *why, size_t why_n);
/* Closes every listener on every worker first, then ends every link behind what is queued for it. false: the deadline passed. */
bool slim_hub_drain(slim_hub *h, uint64_t timeout_ns);
/* Ends what is left and joins the workers. */
void slim_hub_free(slim_hub *h);
const char *slim_hub_backend(const slim_hub *h);

typedef struct slim_hub_stats {
    uint64_t links, names, records, messages_in, messages_out, dropped_mac, dropped_ttl, dropped_unrouted, dropped_invalid,
        dropped_oversize;
    int64_t memory_bytes;
} slim_hub_stats;
void slim_hub_stats_xt(slim_hub *h, slim_hub_stats *out);

#endif
