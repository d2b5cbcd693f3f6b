#include "io/resolve.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

static slim_err unix_parse(const char *text, slim_endpoint *out, char *why, size_t why_n)
{
    size_t n = strcspn(text + 7, "?#");

    out->is_unix = true;
    if (n == 0 || n >= sizeof(((struct sockaddr_un *)NULL)->sun_path)) {
        snprintf(why, why_n, "\"%s\": a unix socket path has 1 to %zu bytes, this one has %zu", text,
                 sizeof(((struct sockaddr_un *)NULL)->sun_path) - 1, n);
        return SLIM_E_CONFIG;
    }
    snprintf(out->host, sizeof(out->host), "%.*s", (int)n, text + 7);
    snprintf(out->authority, sizeof(out->authority), "localhost");
    return SLIM_OK;
}

static slim_err port_parse(const char *text, const char *p, size_t n, uint16_t *port, char *why, size_t why_n)
{
    unsigned long v = 0;

    for (size_t i = 0; i < n; i++) {
        if (p[i] < '0' || p[i] > '9' || (v = v * 10 + (unsigned long)(p[i] - '0')) > 65535) {
            snprintf(why, why_n, "\"%s\": URI parse error: \"%.*s\" is no port (1 to 65535)", text, (int)n, p);
            return SLIM_E_CONFIG;
        }
    }
    if (v == 0) {
        snprintf(why, why_n, "\"%s\": URI parse error: the port is missing or 0", text);
        return SLIM_E_CONFIG;
    }
    *port = (uint16_t)v;
    return SLIM_OK;
}

slim_err slim_endpoint_parse(const char *text, slim_endpoint *out, char *why, size_t why_n)
{
    const char *host, *end, *colon;
    size_t n;

    *out = (slim_endpoint){.port = 80};
    if (strncmp(text, "unix://", 7) == 0)
        return unix_parse(text, out, why, why_n);
    if (strncmp(text, "https://", 8) == 0) {
        out->tls = true;
        out->port = 443;
        host = text + 8;
    } else if (strncmp(text, "http://", 7) == 0) {
        host = text + 7;
    } else {
        snprintf(why, why_n, "\"%s\": invalid endpoint scheme; allowed are http://, https:// and unix://", text);
        return SLIM_E_CONFIG;
    }
    end = host + strcspn(host, "/?#");
    n = (size_t)(end - host);
    if (n == 0 || n >= SLIM_HOST_MAX) {
        snprintf(why, why_n, "\"%s\": URI parse error: a host name has 1 to %d bytes, this one has %zu", text, SLIM_HOST_MAX - 1,
                 n);
        return SLIM_E_CONFIG;
    }
    snprintf(out->authority, sizeof(out->authority), "%.*s", (int)n, host);
    if (host[0] == '[') {
        const char *close = memchr(host, ']', n);

        if (close == NULL || (close + 1 < end && close[1] != ':')) {
            snprintf(why, why_n, "\"%s\": URI parse error: an IPv6 address is written [address]:port", text);
            return SLIM_E_CONFIG;
        }
        if (close == host + 1) {
            snprintf(why, why_n, "\"%s\": URI parse error: the host is missing", text);
            return SLIM_E_CONFIG;
        }
        snprintf(out->host, sizeof(out->host), "%.*s", (int)(close - host - 1), host + 1);
        return close + 1 < end ? port_parse(text, close + 2, (size_t)(end - close - 2), &out->port, why, why_n) : SLIM_OK;
    }
    colon = memchr(host, ':', n);
    snprintf(out->host, sizeof(out->host), "%.*s", (int)(colon != NULL ? colon - host : end - host), host);
    if (out->host[0] == '\0') {
        snprintf(why, why_n, "\"%s\": URI parse error: the host is missing", text);
        return SLIM_E_CONFIG;
    }
    return colon != NULL ? port_parse(text, colon + 1, (size_t)(end - colon - 1), &out->port, why, why_n) : SLIM_OK;
}

static bool literal(slim_resolve *r)
{
    const slim_endpoint *e = &r->_endpoint;
    slim_address *a = &r->address[0];

    memset(a, 0, sizeof(*a));
    if (e->is_unix) {
        struct sockaddr_un *un = (struct sockaddr_un *)&a->ss;

        un->sun_family = AF_UNIX;
        snprintf(un->sun_path, sizeof(un->sun_path), "%.107s", e->host);
        a->len = sizeof(*un);
    } else {
        struct sockaddr_in *in = (struct sockaddr_in *)&a->ss;
        struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&a->ss;

        if (inet_pton(AF_INET, e->host, &in->sin_addr) == 1) {
            in->sin_family = AF_INET;
            in->sin_port = htons(e->port);
            a->len = sizeof(*in);
        } else if (inet_pton(AF_INET6, e->host, &in6->sin6_addr) == 1) {
            in6->sin6_family = AF_INET6;
            in6->sin6_port = htons(e->port);
            a->len = sizeof(*in6);
        } else {
            return false;
        }
    }
    r->n_addresses = 1;
    return true;
}

static void resolve_run(slim_job *job)
{
    slim_resolve *r = (slim_resolve *)((char *)job - offsetof(slim_resolve, _job));
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM}, *list = NULL;
    char port[8];
    int rv;

    snprintf(port, sizeof(port), "%u", r->_endpoint.port);
    if ((rv = getaddrinfo(r->_endpoint.host, port, &hints, &list)) != 0) {
        snprintf(r->why, sizeof(r->why), "cannot resolve \"%.80s\": %s", r->_endpoint.host,
                 rv == EAI_SYSTEM ? strerror(errno) : gai_strerror(rv));
        return;
    }
    for (const struct addrinfo *a = list; a != NULL && r->n_addresses < SLIM_ADDRESSES_MAX; a = a->ai_next) {
        if (a->ai_addrlen > sizeof(r->address[0].ss))
            continue;
        memcpy(&r->address[r->n_addresses].ss, a->ai_addr, a->ai_addrlen);
        r->address[r->n_addresses++].len = a->ai_addrlen;
    }
    freeaddrinfo(list);
}

static void resolve_done(slim_job *job)
{
    slim_resolve *r = (slim_resolve *)((char *)job - offsetof(slim_resolve, _job));

    r->_done(r);
}

void slim_resolve_start(slim_resolve *r, const slim_endpoint *endpoint, slim_pool *pool, slim_pool_port *port,
                        void (*done)(slim_resolve *r))
{
    r->_endpoint = *endpoint;
    r->_done = done;
    r->_job = (slim_job){.run = resolve_run, .done = resolve_done};
    r->n_addresses = 0;
    r->why[0] = '\0';
    if (literal(r))
        done(r);
    else
        slim_pool_submit_xt(pool, port, &r->_job);
}

void slim_resolve_now(slim_resolve *r, const slim_endpoint *endpoint)
{
    r->_endpoint = *endpoint;
    r->n_addresses = 0;
    r->why[0] = '\0';
    if (!literal(r))
        resolve_run(&r->_job);
}
