#include "io/listen.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

typedef struct opened {
    slim_err e;
    int fd;
    char bound[160], why[300];
} opened;

static opened open_at(const char *endpoint)
{
    opened o;

    o.e = slim_listen_open(&(slim_listen_config){endpoint, 0, 0}, &o.fd, o.bound, sizeof(o.bound), o.why, sizeof(o.why));
    return o;
}

static void expect_ok(const opened *o)
{
    int on = 0;
    socklen_t n = sizeof(on);

    cr_assert_eq(o->e, SLIM_OK, "%s", o->why);
    cr_assert_eq(getsockopt(o->fd, SOL_SOCKET, SO_ACCEPTCONN, &on, &n), 0);
    cr_assert_eq(on, 1);
    cr_assert(fcntl(o->fd, F_GETFL) & O_NONBLOCK);
    cr_assert(fcntl(o->fd, F_GETFD) & FD_CLOEXEC);
}

static void expect_error(const char *endpoint, slim_err e, const char *why)
{
    opened o = open_at(endpoint);

    cr_expect_eq(o.e, e, "%s: %d", endpoint, o.e);
    cr_expect_eq(o.fd, -1);
    cr_expect_str_eq(o.why, why, "%s", o.why);
}

static int dial_unix(const char *path)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    snprintf(at.sun_path, sizeof(at.sun_path), "%s", path);
    if (connect(fd, (struct sockaddr *)&at, sizeof(at)) == 0)
        return fd;
    close(fd);
    return -1;
}

Test(listen, v4_with_a_port_of_the_kernels_choice)
{
    opened o = open_at("127.0.0.1:0"), again;
    struct sockaddr_in at;
    socklen_t n = sizeof(at);
    char expected[64], why[400];
    int fd, got, on = 0;

    expect_ok(&o);
    cr_assert_eq(getsockname(o.fd, (struct sockaddr *)&at, &n), 0);
    cr_assert_neq(at.sin_port, 0);
    snprintf(expected, sizeof(expected), "127.0.0.1:%u", ntohs(at.sin_port));
    cr_assert_str_eq(o.bound, expected);
    fd = socket(AF_INET, SOCK_STREAM, 0);
    cr_assert_eq(connect(fd, (struct sockaddr *)&at, sizeof(at)), 0);
    while ((got = accept(o.fd, NULL, NULL)) < 0)
        cr_assert_eq(errno, EAGAIN);
    n = sizeof(on);
    cr_assert_eq(getsockopt(got, IPPROTO_TCP, TCP_NODELAY, &on, &n), 0);
    cr_assert_eq(on, 1);

    again = open_at(expected);
    cr_assert_eq(again.e, SLIM_E_SYS);
    snprintf(why, sizeof(why), "endpoint \"%s\": cannot bind: Address already in use", expected);
    cr_assert_str_eq(again.why, why);

    /* Connections of the old one do not keep a new one from starting. */
    slim_listen_close(o.fd);
    close(got);
    close(fd);
    o = open_at(expected);
    expect_ok(&o);
    slim_listen_close(o.fd);
}

Test(listen, v6)
{
    opened o = open_at("[::1]:0");
    struct sockaddr_in6 at;
    socklen_t n = sizeof(at);
    char expected[64];

    if (o.e == SLIM_E_SYS)
        cr_skip_test("no IPv6 here: %s", o.why);
    expect_ok(&o);
    getsockname(o.fd, (struct sockaddr *)&at, &n);
    snprintf(expected, sizeof(expected), "[::1]:%u", ntohs(at.sin6_port));
    cr_assert_str_eq(o.bound, expected);
    slim_listen_close(o.fd);
}

Test(listen, bad_endpoints_say_what_is_wrong)
{
    char path[200] = "unix:///", why[300];

    expect_error("", SLIM_E_CONFIG, "endpoint \"\": the port is missing, write IP:port, [IPv6]:port or unix:///path");
    expect_error("127.0.0.1", SLIM_E_CONFIG,
                 "endpoint \"127.0.0.1\": the port is missing, write IP:port, [IPv6]:port or unix:///path");
    expect_error("[::1]", SLIM_E_CONFIG, "endpoint \"[::1]\": the port is missing, write IP:port, [IPv6]:port or unix:///path");
    expect_error("[::1]8080", SLIM_E_CONFIG,
                 "endpoint \"[::1]8080\": the port is missing, write IP:port, [IPv6]:port or unix:///path");
    expect_error("127.0.0.1:", SLIM_E_CONFIG, "endpoint \"127.0.0.1:\": the port is not a number from 0 to 65535");
    expect_error("127.0.0.1:65536", SLIM_E_CONFIG, "endpoint \"127.0.0.1:65536\": the port is not a number from 0 to 65535");
    expect_error("127.0.0.1:4294967297", SLIM_E_CONFIG,
                 "endpoint \"127.0.0.1:4294967297\": the port is not a number from 0 to 65535");
    expect_error("127.0.0.1:+1", SLIM_E_CONFIG, "endpoint \"127.0.0.1:+1\": the port is not a number from 0 to 65535");
    expect_error("127.0.0.1:80x", SLIM_E_CONFIG, "endpoint \"127.0.0.1:80x\": the port is not a number from 0 to 65535");
    expect_error(
        "localhost:80", SLIM_E_CONFIG,
        "endpoint \"localhost:80\": the host is not an IP address (names are not looked up), write IP:port, [IPv6]:port or "
        "unix:///path");
    expect_error(
        ":80", SLIM_E_CONFIG,
        "endpoint \":80\": the host is not an IP address (names are not looked up), write IP:port, [IPv6]:port or unix:///path");
    expect_error("[]:80", SLIM_E_CONFIG,
                 "endpoint \"[]:80\": the host is not an IP address (names are not looked up), write IP:port, [IPv6]:port or "
                 "unix:///path");
    expect_error("::1:80", SLIM_E_CONFIG,
                 "endpoint \"::1:80\": the host is not an IP address (names are not looked up), write IP:port, [IPv6]:port or "
                 "unix:///path");
    expect_error(
        "1.2.3.4.5:80", SLIM_E_CONFIG,
        "endpoint \"1.2.3.4.5:80\": the host is not an IP address (names are not looked up), write IP:port, [IPv6]:port or "
        "unix:///path");
    expect_error("http://127.0.0.1:80", SLIM_E_CONFIG,
                 "endpoint \"http://127.0.0.1:80\": not an address to listen on, write IP:port, [IPv6]:port or unix:///path");
    expect_error("unix://", SLIM_E_CONFIG, "endpoint \"unix://\": the path of a unix socket must be absolute: write unix:///path");
    expect_error("unix://a/b", SLIM_E_CONFIG,
                 "endpoint \"unix://a/b\": the path of a unix socket must be absolute: write unix:///path");
    expect_error("unix://?q", SLIM_E_CONFIG,
                 "endpoint \"unix://?q\": the path of a unix socket must be absolute: write unix:///path");
    expect_error("unix:///nowhere-at-all/s", SLIM_E_SYS,
                 "endpoint \"unix:///nowhere-at-all/s\": cannot bind: No such file or directory");
    expect_error("192.0.2.1:0", SLIM_E_SYS, "endpoint \"192.0.2.1:0\": cannot bind: Cannot assign requested address");

    /* One byte too long for the kernel; one less is accepted by the parser. */
    memset(path + 8, 'x', 107);
    path[8 + 107] = '\0';
    snprintf(why, sizeof(why), "endpoint \"%s\": the path has 108 bytes, a unix socket's may have at most 107", path);
    expect_error(path, SLIM_E_CONFIG, why);
}

Test(listen, unix_sockets)
{
    char dir[] = "/tmp/slim-listen-XXXXXX", endpoint[200], path[100], bound[120], why[300];
    struct stat st;
    opened o, second;
    FILE *f;
    int fd;

    cr_assert_not_null(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/s", dir);
    snprintf(endpoint, sizeof(endpoint), "unix://%s?mode=0600#part", path);
    snprintf(bound, sizeof(bound), "unix://%s", path);
    o = open_at(endpoint);
    expect_ok(&o);
    cr_assert_str_eq(o.bound, bound);
    cr_assert_geq(fd = dial_unix(path), 0);
    close(fd);

    /* A living one is not taken away. */
    second = open_at(endpoint);
    cr_assert_eq(second.e, SLIM_E_SYS);
    snprintf(why, sizeof(why), "endpoint \"%s\": cannot bind: Address already in use", endpoint);
    cr_assert_str_eq(second.why, why);
    cr_assert_geq(fd = dial_unix(path), 0);
    close(fd);

    /* What a crashed process left is. */
    close(o.fd);
    cr_assert_eq(lstat(path, &st), 0);
    cr_assert_eq(dial_unix(path), -1);
    o = open_at(endpoint);
    expect_ok(&o);
    cr_assert_geq(fd = dial_unix(path), 0);
    close(fd);
    slim_listen_close(o.fd);
    cr_assert_eq(lstat(path, &st), -1, "the file is left behind");

    /* One that somebody else put in the place stays. */
    o = open_at(endpoint);
    expect_ok(&o);
    cr_assert_eq(unlink(path), 0);
    second = open_at(endpoint);
    expect_ok(&second);
    slim_listen_close(o.fd);
    cr_assert_geq(fd = dial_unix(path), 0);
    close(fd);
    slim_listen_close(second.fd);
    cr_assert_eq(lstat(path, &st), -1);

    /* Other files are never removed. */
    cr_assert_not_null(f = fopen(path, "w"));
    fclose(f);
    o = open_at(endpoint);
    cr_assert_eq(o.e, SLIM_E_SYS);
    cr_assert_eq(lstat(path, &st), 0);
    unlink(path);
    rmdir(dir);
}

Test(listen, stands_at_the_top)
{
    struct rlimit limit;
    opened o[3];
    int fd;

    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = 500;
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
    for (int i = 0; i < 3; i++) {
        o[i] = open_at("127.0.0.1:0");
        expect_ok(&o[i]);
        cr_assert_eq(o[i].fd, 499 - i);
    }
    cr_assert_lt(fd = dup(0), 400);
    close(fd);
    slim_listen_close(o[1].fd);
    o[1] = open_at("127.0.0.1:0");
    cr_assert_eq(o[1].fd, 498);
    /* With everything taken it still opens, or says that it cannot. */
    while (dup(0) >= 0)
        ;
    expect_error("127.0.0.1:0", SLIM_E_SYS, "endpoint \"127.0.0.1:0\": socket: Too many open files");
    slim_listen_close(o[0].fd);
    o[0] = open_at("127.0.0.1:0");
    expect_ok(&o[0]);
    cr_assert_eq(o[0].fd, 499);
}

Test(listen, limit_is_raised)
{
    struct rlimit limit;
    rlim_t hard;

    getrlimit(RLIMIT_NOFILE, &limit);
    hard = limit.rlim_max;
    limit.rlim_cur = 300;
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
    cr_assert_eq(slim_nofile_raise(), hard < 262144 ? hard : 262144);
    getrlimit(RLIMIT_NOFILE, &limit);
    cr_assert_eq(limit.rlim_cur, hard < 262144 ? hard : 262144);
    cr_assert_eq(slim_nofile_raise(), limit.rlim_cur);
}

static void *close_later(void *fd)
{
    usleep(100000);
    slim_listen_close(*(int *)fd);
    return NULL;
}

/* As after a kill, when the kernel takes a moment to close what the dead process listened on. */
static void waits_for(const char *endpoint)
{
    opened first = open_at(endpoint), second = {.fd = -1};
    pthread_t thread;

    expect_ok(&first);
    cr_assert_eq(pthread_create(&thread, NULL, close_later, &first.fd), 0);
    second.e = slim_listen_open(&(slim_listen_config){first.bound, 0, 20000}, &second.fd, second.bound, sizeof(second.bound),
                                second.why, sizeof(second.why));
    pthread_join(thread, NULL);
    expect_ok(&second);
    cr_assert_str_eq(second.bound, first.bound);
    slim_listen_close(second.fd);
}

Test(listen, waits_for_an_address_that_becomes_free)
{
    char endpoint[64];

    waits_for("127.0.0.1:0");
    snprintf(endpoint, sizeof(endpoint), "unix:///tmp/slim-listen-wait-%d", (int)getpid());
    waits_for(endpoint);
}
