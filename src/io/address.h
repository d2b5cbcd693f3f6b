/* Socket addresses as logs show them, and what counts as one address. */
#ifndef SLIM_IO_ADDRESS_H
#define SLIM_IO_ADDRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#define SLIM_SOCKADDR_TEXT 64

/* The network a peer comes from: an IPv4 address, or the first 64 bits of an IPv6 address, since a host may use as many of the rest
 * as it likes. */
typedef struct slim_network {
    uint64_t w[2];
    bool loopback; /* this machine's own */
} slim_network;

/* "IP:port", "[v6]:port", or "unix" for every other family. True for the first two. */
bool slim_sockaddr_text(const struct sockaddr *addr, char text[SLIM_SOCKADDR_TEXT]);
/* False for every other family than IPv4 and IPv6. An IPv4 address mapped into IPv6 is the same network as itself. */
bool slim_sockaddr_network(const struct sockaddr *addr, slim_network *out);
/* Both, of the peer of a connected descriptor. False: it has none, or is gone already. */
bool slim_peer_network(int fd, slim_network *out, char text[SLIM_SOCKADDR_TEXT]);

#endif
