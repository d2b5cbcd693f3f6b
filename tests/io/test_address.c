#include "io/address.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>

static struct sockaddr_storage parsed(const char *text)
{
    struct sockaddr_storage ss = {.ss_family = AF_UNSPEC};
    struct sockaddr_in *v4 = (struct sockaddr_in *)&ss;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&ss;

    if (inet_pton(AF_INET, text, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons(4711);
    } else {
        cr_assert_eq(inet_pton(AF_INET6, text, &v6->sin6_addr), 1, "%s is no address", text);
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons(4711);
    }
    return ss;
}

static slim_network network(const char *text)
{
    struct sockaddr_storage ss = parsed(text);
    slim_network n;

    cr_assert(slim_sockaddr_network((const struct sockaddr *)&ss, &n));
    return n;
}

static bool same(const char *a, const char *b)
{
    slim_network x = network(a), y = network(b);

    return x.w[0] == y.w[0] && x.w[1] == y.w[1];
}

Test(address, what_counts_as_one_network)
{
    struct sockaddr other = {.sa_family = AF_UNIX};
    slim_network n;

    cr_assert(same("192.0.2.1", "::ffff:192.0.2.1"), "a mapped address is the IPv4 address");
    cr_assert_not(same("192.0.2.1", "192.0.2.2"));
    cr_assert(same("2001:db8::1", "2001:db8::ffff:1"), "one host owns the lower 64 bits");
    cr_assert_not(same("2001:db8::1", "2001:db8:0:1::1"));
    cr_assert_not(same("::c000:201", "192.0.2.1"));
    cr_assert(network("127.8.9.10").loopback);
    cr_assert(network("::ffff:127.0.0.1").loopback);
    cr_assert(network("::1").loopback);
    cr_assert_not(network("128.0.0.1").loopback);
    cr_assert_not(slim_sockaddr_network(&other, &n));
}

Test(address, text)
{
    struct sockaddr other = {.sa_family = AF_UNIX};
    struct sockaddr_storage ss = parsed("192.0.2.1");
    char text[SLIM_SOCKADDR_TEXT];

    cr_assert(slim_sockaddr_text((const struct sockaddr *)&ss, text));
    cr_assert_str_eq(text, "192.0.2.1:4711");
    ss = parsed("2001:db8::1");
    cr_assert(slim_sockaddr_text((const struct sockaddr *)&ss, text));
    cr_assert_str_eq(text, "[2001:db8::1]:4711");
    cr_assert_not(slim_sockaddr_text(&other, text));
    cr_assert_str_eq(text, "unix");
}

Test(address, peer_that_is_gone)
{
    char text[SLIM_SOCKADDR_TEXT];
    slim_network n;

    cr_assert_not(slim_peer_network(-1, &n, text));
}
