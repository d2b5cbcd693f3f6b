/* Endpoints of clients and the addresses behind them. */
#ifndef SLIM_IO_RESOLVE_H
#define SLIM_IO_RESOLVE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "core/err.h"
#include "io/pool.h"

#define SLIM_HOST_MAX 256
#define SLIM_ADDRESSES_MAX 16

typedef struct slim_endpoint {
    bool tls; /* https */
    bool is_unix;
    char host[SLIM_HOST_MAX]; /* without brackets; for a unix socket its path */
    uint16_t port;
    char authority[SLIM_HOST_MAX + 16]; /* as the request shows it */
} slim_endpoint;

/* `http://host[:port]`, `https://host[:port]` (ports 80 and 443 by default), `unix:///path`; a path, query or fragment behind host
 * and port is cut. E_CONFIG with why, which begins with the endpoint in quotes. */
slim_err slim_endpoint_parse(const char *text, slim_endpoint *out, char *why, size_t why_n);

typedef struct slim_address {
    struct sockaddr_storage ss;
    socklen_t len;
} slim_address;

typedef struct slim_resolve slim_resolve;
struct slim_resolve {
    /* results: none when it failed, with why */
    uint32_t n_addresses;
    slim_address address[SLIM_ADDRESSES_MAX];
    char why[160];
    /* not yours */
    slim_job _job;
    slim_endpoint _endpoint;
    void (*_done)(slim_resolve *r);
};

/* Calls done on the port's thread, for literals and unix paths at once. r must live until then; one run at a time. */
void slim_resolve_start(slim_resolve *r, const slim_endpoint *endpoint, slim_pool *pool, slim_pool_port *port,
                        void (*done)(slim_resolve *r));
/* The same in the calling thread, which waits for the resolver. */
void slim_resolve_now(slim_resolve *r, const slim_endpoint *endpoint);

#endif
