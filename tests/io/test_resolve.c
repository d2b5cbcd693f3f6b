#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/un.h>

#include "io/resolve.h"
#include "support/support.h"

Test(resolve, endpoints)
{
    static const struct {
        const char *text, *host, *authority;
        uint16_t port;
        bool tls, is_unix;
    } cases[] = {
        {"http://127.0.0.1:46357", "127.0.0.1", "127.0.0.1:46357", 46357, false, false},
        {"http://a.example", "a.example", "a.example", 80, false, false},
        {"https://a.example", "a.example", "a.example", 443, true, false},
        {"https://a.example:1/path?q#f", "a.example", "a.example:1", 1, true, false},
        {"http://a.example?q", "a.example", "a.example", 80, false, false},
        {"http://a.example#f", "a.example", "a.example", 80, false, false},
        {"http://a.example:65535/", "a.example", "a.example:65535", 65535, false, false},
        {"http://[::1]:80", "::1", "[::1]:80", 80, false, false},
        {"https://[fe80::1]", "fe80::1", "[fe80::1]", 443, true, false},
        {"http://[::1]/x:y]", "::1", "[::1]", 80, false, false},
        {"unix:///run/slim.sock", "/run/slim.sock", "localhost", 0, false, true},
        {"unix:///run/slim.sock?x#y", "/run/slim.sock", "localhost", 0, false, true},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        slim_endpoint e;
        char why[200] = "";

        cr_assert_eq(slim_endpoint_parse(cases[i].text, &e, why, sizeof(why)), SLIM_OK, "%s: %s", cases[i].text, why);
        cr_assert_str_eq(e.host, cases[i].host, "%s: %s", cases[i].text, e.host);
        cr_assert_str_eq(e.authority, cases[i].authority, "%s: %s", cases[i].text, e.authority);
        cr_assert_eq(e.tls, cases[i].tls, "%s", cases[i].text);
        cr_assert_eq(e.is_unix, cases[i].is_unix, "%s", cases[i].text);
        if (!e.is_unix)
            cr_assert_eq(e.port, cases[i].port, "%s: %u", cases[i].text, e.port);
    }
}

Test(resolve, bad_endpoints)
{
    static const char *const cases[] = {"",
                                        "127.0.0.1:46357",
                                        "ftp://a",
                                        "http:/a",
                                        "http://",
                                        "http:///path",
                                        "http://:80",
                                        "http://a:",
                                        "http://a:0",
                                        "http://a:65536",
                                        "http://a:99999999999999999999",
                                        "http://a:8o",
                                        "http://a:-1",
                                        "http://[::1",
                                        "http://[::1]80",
                                        "http://[::1]:",
                                        "http://[]:80",
                                        "unix://",
                                        "unix://?x"};
    char longer[600], why[800];
    slim_endpoint e;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char want[100];

        cr_assert_eq(slim_endpoint_parse(cases[i], &e, why, sizeof(why)), SLIM_E_CONFIG, "%s", cases[i]);
        snprintf(want, sizeof(want), "\"%s\": ", cases[i]);
        cr_assert_eq(strncmp(why, want, strlen(want)), 0, "it begins with the endpoint: %s", why);
    }
    /* Lengths: 255 bytes of host, 107 of a path. */
    for (size_t n = 255; n <= 256; n++) {
        memset(longer, 'a', sizeof(longer));
        memcpy(longer, "http://", 7);
        longer[7 + n] = '\0';
        cr_assert_eq(slim_endpoint_parse(longer, &e, why, sizeof(why)), n == 255 ? SLIM_OK : SLIM_E_CONFIG);
    }
    for (size_t n = 107; n <= 108; n++) {
        memset(longer, 'a', sizeof(longer));
        memcpy(longer, "unix://", 7);
        longer[7 + n] = '\0';
        cr_assert_eq(slim_endpoint_parse(longer, &e, why, sizeof(why)), n == 107 ? SLIM_OK : SLIM_E_CONFIG);
    }
    /* A long text for a short why is cut, not more. */
    cr_assert_eq(slim_endpoint_parse("nonsense", &e, longer, 5), SLIM_E_CONFIG);
    cr_assert_str_eq(longer, "\"non");
}

static int n_done;

static void done(slim_resolve *r)
{
    n_done++;
}

static slim_endpoint endpoint(const char *text)
{
    slim_endpoint e;
    char why[100];

    if (slim_endpoint_parse(text, &e, why, sizeof(why)) != SLIM_OK)
        abort();
    return e;
}

Test(resolve, literals_at_once)
{
    slim_resolve r;
    slim_endpoint e = endpoint("http://127.0.0.2:99");
    const struct sockaddr_in *in = (const struct sockaddr_in *)&r.address[0].ss;
    const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&r.address[0].ss;
    const struct sockaddr_un *un = (const struct sockaddr_un *)&r.address[0].ss;

    n_done = 0;
    memset(&r, 0xff, sizeof(r));
    slim_resolve_start(&r, &e, NULL, NULL, done);
    cr_assert_eq(n_done, 1);
    cr_assert_eq(r.n_addresses, 1);
    cr_assert_str_eq(r.why, "");
    cr_assert(in->sin_family == AF_INET && ntohs(in->sin_port) == 99 && ntohl(in->sin_addr.s_addr) == 0x7f000002);
    cr_assert_eq(r.address[0].len, sizeof(*in));

    e = endpoint("http://[::1]:99");
    memset(&r, 0xff, sizeof(r));
    slim_resolve_start(&r, &e, NULL, NULL, done);
    cr_assert_eq(n_done, 2);
    cr_assert(in6->sin6_family == AF_INET6 && ntohs(in6->sin6_port) == 99 && IN6_IS_ADDR_LOOPBACK(&in6->sin6_addr));
    cr_assert_eq(in6->sin6_scope_id, 0);
    cr_assert_eq(r.address[0].len, sizeof(*in6));

    e = endpoint("unix:///tmp/x");
    memset(&r, 0xff, sizeof(r));
    slim_resolve_start(&r, &e, NULL, NULL, done);
    cr_assert_eq(n_done, 3);
    cr_assert_eq(un->sun_family, AF_UNIX);
    cr_assert_str_eq(un->sun_path, "/tmp/x");
}

Test(resolve, names_by_the_pool, .timeout = 120)
{
    slim_pool *p = slim_pool_new(&slim_mem_libc, 1);
    slim_pool_port *port = slim_pool_port_new(&slim_mem_libc);
    slim_resolve r;
    slim_endpoint e = endpoint("http://localhost:4711");
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list;
    uint32_t n = 0;

    cr_assert_eq(getaddrinfo("localhost", NULL, &hints, &list), 0);
    for (const struct addrinfo *a = list; a != NULL; a = a->ai_next)
        n++;
    freeaddrinfo(list);
    n_done = 0;
    slim_resolve_start(&r, &e, p, port, done);
    cr_assert_eq(n_done, 0, "not before the port is drained");
    slim_pool_free(p);
    slim_pool_port_drain(port);
    cr_assert_eq(n_done, 1);
    cr_assert_eq(r.n_addresses, n < SLIM_ADDRESSES_MAX ? n : SLIM_ADDRESSES_MAX, "all of them, also ::1 where no other IPv6 is: %s",
                 r.why);
    for (uint32_t i = 0; i < r.n_addresses; i++) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)&r.address[i].ss;

        cr_assert(in->sin_family == AF_INET || in->sin_family == AF_INET6);
        cr_assert_eq(ntohs(in->sin_port), 4711, "of both families the port lies here");
    }
    /* A name that no resolver can know: its label is too long. */
    p = slim_pool_new(&slim_mem_libc, 1);
    e = endpoint("http://xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx.invalid");
    slim_resolve_start(&r, &e, p, port, done);
    slim_pool_free(p);
    slim_pool_port_drain(port);
    cr_assert_eq(n_done, 2);
    cr_assert_eq(r.n_addresses, 0);
    cr_assert_eq(strncmp(r.why, "cannot resolve \"xxx", 19), 0, "%s", r.why);
    slim_pool_port_free(port);
}
