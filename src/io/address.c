#include "io/address.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

bool slim_sockaddr_text(const struct sockaddr *addr, char text[SLIM_SOCKADDR_TEXT])
{
    char host[INET6_ADDRSTRLEN] = "";

    if (addr->sa_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)addr;

        inet_ntop(AF_INET, &in->sin_addr, host, sizeof(host));
        snprintf(text, SLIM_SOCKADDR_TEXT, "%s:%u", host, ntohs(in->sin_port));
        return true;
    }
    if (addr->sa_family == AF_INET6) {
        const struct sockaddr_in6 *in = (const struct sockaddr_in6 *)addr;

        inet_ntop(AF_INET6, &in->sin6_addr, host, sizeof(host));
        snprintf(text, SLIM_SOCKADDR_TEXT, "[%s]:%u", host, ntohs(in->sin6_port));
        return true;
    }
    snprintf(text, SLIM_SOCKADDR_TEXT, "unix");
    return false;
}

static bool network_v4(uint32_t network_order, slim_network *out)
{
    *out = (slim_network){{0, network_order}, ntohl(network_order) >> 24 == 127};
    return true;
}

bool slim_sockaddr_network(const struct sockaddr *addr, slim_network *out)
{
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)addr;
    uint32_t mapped;

    if (addr->sa_family == AF_INET)
        return network_v4(((const struct sockaddr_in *)addr)->sin_addr.s_addr, out);
    if (addr->sa_family != AF_INET6)
        return false;
    if (IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr)) {
        memcpy(&mapped, v6->sin6_addr.s6_addr + 12, sizeof(mapped));
        return network_v4(mapped, out);
    }
    *out = (slim_network){{0, UINT64_MAX}, IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr)}; /* apart from every IPv4 address */
    memcpy(&out->w[0], v6->sin6_addr.s6_addr, sizeof(out->w[0]));
    return true;
}

bool slim_peer_network(int fd, slim_network *out, char text[SLIM_SOCKADDR_TEXT])
{
    struct sockaddr_storage ss = {.ss_family = AF_UNSPEC};
    socklen_t len = sizeof(ss);

    if (getpeername(fd, (struct sockaddr *)&ss, &len) != 0 || !slim_sockaddr_network((const struct sockaddr *)&ss, out))
        return false;
    return slim_sockaddr_text((const struct sockaddr *)&ss, text);
}
