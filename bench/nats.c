#include "bench/nats.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* One read takes many small messages; INFO has to fit as well. */
#define READ_BYTES (256u * 1024)

__attribute__((format(printf, 2, 3))) static bool fail(nats_link *l, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(l->why, sizeof(l->why), format, args);
    va_end(args);
    return false;
}

static bool dial(nats_link *l, const char *host, const char *port)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM}, *found;
    struct timeval silence = {.tv_sec = NATS_SILENCE_S};
    int e, one = 1;

    if ((e = getaddrinfo(host, port, &hints, &found)) != 0)
        return fail(l, "cannot resolve %s port %s: %s", host, port, gai_strerror(e));
    l->fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    e = l->fd < 0 || connect(l->fd, found->ai_addr, found->ai_addrlen) != 0 ? errno : 0;
    freeaddrinfo(found);
    if (e != 0)
        return fail(l, "cannot connect to %s port %s: %s", host, port, strerror(e));
    setsockopt(l->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    setsockopt(l->fd, SOL_SOCKET, SO_RCVTIMEO, &silence, sizeof(silence));
    setsockopt(l->fd, SOL_SOCKET, SO_SNDTIMEO, &silence, sizeof(silence));
    return true;
}

bool nats_open(nats_link *l, const char *host, const char *port, size_t payload_n)
{
    *l = (nats_link){.fd = -1, .in_capacity = payload_n + READ_BYTES};
    if ((l->in = malloc(l->in_capacity)) == NULL)
        return fail(l, "no memory for a buffer of %zu bytes", l->in_capacity);
    return dial(l, host, port) &&
           nats_send_text(l, "CONNECT {\"verbose\":false,\"pedantic\":false,\"lang\":\"c\","
                             "\"name\":\"natsbench\",\"version\":\"1\",\"protocol\":1}\r\n") &&
           nats_flush(l);
}

void nats_close(nats_link *l)
{
    if (l->in != NULL && l->fd >= 0)
        close(l->fd);
    free(l->in);
    l->in = NULL;
}

bool nats_send(nats_link *l, const void *p, size_t n)
{
    const uint8_t *from = p;

    while (n > 0) {
        ssize_t done = send(l->fd, from, n, MSG_NOSIGNAL);

        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return fail(l, "the server takes nothing: %s", errno == EAGAIN ? "it stands still" : strerror(errno));
        from += done;
        n -= (size_t)done;
    }
    return true;
}

bool nats_send_text(nats_link *l, const char *text)
{
    return nats_send(l, text, strlen(text));
}

bool nats_read(nats_link *l, bool wait)
{
    ssize_t n;

    memmove(l->in, l->in + l->at, l->end - l->at);
    l->end -= l->at;
    l->at = 0;
    if (l->end == l->in_capacity)
        return fail(l, "a message is longer than the %zu bytes that are kept for it", l->in_capacity);
    do {
        n = recv(l->fd, l->in + l->end, l->in_capacity - l->end, wait ? 0 : MSG_DONTWAIT);
    } while (n < 0 && errno == EINTR);
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
        return wait ? fail(l, "nothing came for %d s", NATS_SILENCE_S) : true;
    if (n <= 0)
        return fail(l, "the server ended the link%s%s", n < 0 ? ": " : "", n < 0 ? strerror(errno) : "");
    l->end += (size_t)n;
    return true;
}

/* The last word of a line is the payload's length. */
static bool length_of(const char *line, const char *end, size_t *out)
{
    const char *p = end;
    size_t v = 0;

    while (p > line && p[-1] != ' ')
        p--;
    if (p == end)
        return false;
    for (; p < end; p++) {
        if (*p < '0' || *p > '9' || v > NATS_PAYLOAD_MAX_BYTES)
            return false;
        v = v * 10 + (size_t)(*p - '0');
    }
    *out = v;
    return true;
}

static bool begins(const char *line, const char *end, const char *with)
{
    size_t n = strlen(with);

    return (size_t)(end - line) >= n && memcmp(line, with, n) == 0;
}

nats_event nats_next(nats_link *l, slim_bytes *payload)
{
    for (;;) {
        const char *line = (const char *)l->in + l->at, *end = memchr(line, '\n', l->end - l->at);
        size_t head, n;

        if (end == NULL)
            return NATS_MORE;
        head = (size_t)(end + 1 - line);
        if (end > line && end[-1] == '\r')
            end--;
        if (begins(line, end, "MSG ")) {
            if (!length_of(line, end, &n)) {
                fail(l, "cannot read \"%.*s\"", (int)(end - line), line);
                return NATS_FAILED;
            }
            if (l->end - l->at < head + n + 2)
                return NATS_MORE;
            *payload = slim_bytes_of(line + head, n);
            l->at += head + n + 2;
            return NATS_MESSAGE;
        }
        l->at += head;
        if (begins(line, end, "PONG"))
            return NATS_PONG;
        if (begins(line, end, "PING")) {
            if (!nats_send_text(l, "PONG\r\n"))
                return NATS_FAILED;
        } else if (!begins(line, end, "INFO ")) {
            fail(l, "the server says \"%.*s\"", (int)(end - line), line);
            return NATS_FAILED;
        }
    }
}

bool nats_flush(nats_link *l)
{
    slim_bytes unused;
    nats_event e;

    if (!nats_send_text(l, "PING\r\n"))
        return false;
    while ((e = nats_next(l, &unused)) == NATS_MORE) {
        if (!nats_read(l, true))
            return false;
    }
    return e == NATS_PONG || (e == NATS_MESSAGE && fail(l, "a message came without a subscription"));
}
