#include "io/listen.h"

#include <arpa/inet.h>
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
#include <time.h>
#include <unistd.h>

#define DEFAULT_BACKLOG 4096
#define UNIX_PREFIX "unix://"
/* The kernel's table of descriptors grows to the highest number in use, 8 bytes each. */
#define TOP_DESCRIPTOR (1u << 18)
/* How many numbers below the top may be taken by other listeners. */
#define TOP_TRIES 1024
#define WAIT_STEP_MS 20

/* The socket files we made, known by their inode: one that was replaced since is not ours any more. */
typedef struct unix_file {
    struct unix_file *next;
    int fd;
    dev_t dev;
    ino_t ino;
    char path[sizeof(((struct sockaddr_un *)0)->sun_path) + 1];
} unix_file;

static pthread_mutex_t files_lock = PTHREAD_MUTEX_INITIALIZER;
static unix_file *files;

typedef struct address {
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
        struct sockaddr_un un;
    };
    socklen_t len;
} address;

/* ------------------------------------------------------------------ the endpoint */

#define WAYS "write IP:port, [IPv6]:port or unix:///path"

static slim_err bad_endpoint(const char *endpoint, const char *what, char *why, size_t why_n)
{
    snprintf(why, why_n, "endpoint \"%s\": %s", endpoint, what);
    return SLIM_E_CONFIG;
}

static slim_err parse_unix(const char *endpoint, address *a, char *why, size_t why_n)
{
    const char *path = endpoint + strlen(UNIX_PREFIX);
    size_t n = strcspn(path, "?#");
    char text[96];

    if (n == 0 || path[0] != '/')
        return bad_endpoint(endpoint, "the path of a unix socket must be absolute: write unix:///path", why, why_n);
    if (n >= sizeof(a->un.sun_path)) {
        snprintf(text, sizeof(text), "the path has %zu bytes, a unix socket's may have at most %zu", n, sizeof(a->un.sun_path) - 1);
        return bad_endpoint(endpoint, text, why, why_n);
    }
    memset(a, 0, sizeof(*a));
    a->un.sun_family = AF_UNIX;
    memcpy(a->un.sun_path, path, n);
    a->len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n + 1);
    return SLIM_OK;
}

/* Decimal digits only, 0 to 65535. */
static bool parse_port(const char *s, uint16_t *port)
{
    uint32_t v = 0;

    if (*s == '\0')
        return false;
    for (; *s != '\0'; s++) {
        if (*s < '0' || *s > '9' || (v = v * 10 + (uint32_t)(*s - '0')) > UINT16_MAX)
            return false;
    }
    *port = (uint16_t)v;
    return true;
}

static slim_err parse(const char *endpoint, address *a, char *why, size_t why_n)
{
    const char *colon = strrchr(endpoint, ':'), *host = endpoint;
    bool v6 = endpoint[0] == '[';
    char text[INET6_ADDRSTRLEN];
    uint16_t port;
    size_t n;

    if (strncmp(endpoint, UNIX_PREFIX, strlen(UNIX_PREFIX)) == 0)
        return parse_unix(endpoint, a, why, why_n);
    if (strstr(endpoint, "://") != NULL)
        return bad_endpoint(endpoint, "not an address to listen on, " WAYS, why, why_n);
    if (colon == NULL || (v6 && colon[-1] != ']'))
        return bad_endpoint(endpoint, "the port is missing, " WAYS, why, why_n);
    if (!parse_port(colon + 1, &port))
        return bad_endpoint(endpoint, "the port is not a number from 0 to 65535", why, why_n);
    n = (size_t)(colon - endpoint);
    if (v6) {
        host++;
        n -= 2;
    }
    memset(a, 0, sizeof(*a));
    if (n < sizeof(text)) {
        memcpy(text, host, n);
        text[n] = '\0';
        if (v6 && inet_pton(AF_INET6, text, &a->v6.sin6_addr) == 1) {
            a->v6.sin6_family = AF_INET6;
            a->v6.sin6_port = htons(port);
            a->len = sizeof(a->v6);
            return SLIM_OK;
        }
        if (!v6 && inet_pton(AF_INET, text, &a->v4.sin_addr) == 1) {
            a->v4.sin_family = AF_INET;
            a->v4.sin_port = htons(port);
            a->len = sizeof(a->v4);
            return SLIM_OK;
        }
    }
    return bad_endpoint(endpoint, "the host is not an IP address (names are not looked up), " WAYS, why, why_n);
}

/* ------------------------------------------------------------------ the socket */

/* A socket file that nobody listens on any more would make bind fail. Anything else at the path is left alone. */
static void stale_unlink(const address *a)
{
    struct stat st;
    int fd;

    if (lstat(a->un.sun_path, &st) < 0 || !S_ISSOCK(st.st_mode))
        return;
    if ((fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)) < 0)
        return;
    if (connect(fd, &a->any, a->len) < 0 && errno == ECONNREFUSED)
        unlink(a->un.sun_path);
    close(fd);
}

/* Moves *fd as high as RLIMIT_NOFILE allows; on failure it stays where it is, which costs a few lost clients after a SIGKILL only.
 */
static void move_up(int *fd)
{
    struct rlimit limit;
    uint64_t top = TOP_DESCRIPTOR;
    int high;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return;
    if (limit.rlim_cur < top)
        top = limit.rlim_cur;
    for (uint64_t i = 1; i <= TOP_TRIES && top > i && top - i > (uint64_t)*fd; i++) {
        if ((high = fcntl(*fd, F_DUPFD_CLOEXEC, (int)(top - i))) < 0)
            continue;
        close(*fd);
        *fd = high;
        return;
    }
}

static void bound_text(int fd, char *out, size_t n)
{
    char ip[INET6_ADDRSTRLEN] = "";
    address a = {.len = sizeof(struct sockaddr_un)};

    if (n == 0)
        return;
    out[0] = '\0';
    if (getsockname(fd, &a.any, &a.len) < 0)
        return;
    if (a.any.sa_family == AF_UNIX) {
        snprintf(out, n, UNIX_PREFIX "%s", a.un.sun_path);
    } else if (a.any.sa_family == AF_INET6) {
        inet_ntop(AF_INET6, &a.v6.sin6_addr, ip, sizeof(ip));
        snprintf(out, n, "[%s]:%u", ip, ntohs(a.v6.sin6_port));
    } else {
        inet_ntop(AF_INET, &a.v4.sin_addr, ip, sizeof(ip));
        snprintf(out, n, "%s:%u", ip, ntohs(a.v4.sin_port));
    }
}

static slim_err file_remember(int fd, const char *path)
{
    struct stat st;
    unix_file *f;

    /* Removed already: then there is nothing to clean up either. */
    if (lstat(path, &st) < 0)
        return SLIM_OK;
    if ((f = calloc(1, sizeof(*f))) == NULL)
        return SLIM_E_NOMEM;
    f->fd = fd;
    f->dev = st.st_dev;
    f->ino = st.st_ino;
    snprintf(f->path, sizeof(f->path), "%s", path);
    pthread_mutex_lock(&files_lock);
    f->next = files;
    files = f;
    pthread_mutex_unlock(&files_lock);
    return SLIM_OK;
}

static int bind_patiently(int s, const address *a, uint32_t patience_ms)
{
    const struct timespec step = {0, WAIT_STEP_MS * 1000000};

    for (uint32_t waited = 0;; waited += WAIT_STEP_MS) {
        if (a->any.sa_family == AF_UNIX)
            stale_unlink(a);
        if (bind(s, &a->any, a->len) == 0)
            return 0;
        if (errno != EADDRINUSE || waited >= patience_ms)
            return -1;
        nanosleep(&step, NULL);
    }
}

slim_err slim_listen_open(const slim_listen_config *cfg, int *fd, char *bound, size_t bound_n, char *why, size_t why_n)
{
    const char *verb = "socket";
    const int on = 1;
    address a;
    slim_err e;
    int s = -1;

    *fd = -1;
    if ((e = parse(cfg->endpoint, &a, why, why_n)) != SLIM_OK)
        return e;
    if ((s = socket(a.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)) < 0)
        goto fail;
    if (a.any.sa_family != AF_UNIX) {
        setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
        setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    }
    verb = "cannot bind";
    if (bind_patiently(s, &a, cfg->patience_ms) < 0)
        goto fail;
    verb = "cannot listen";
    if (listen(s, cfg->backlog > 0 ? cfg->backlog : DEFAULT_BACKLOG) < 0)
        goto fail;
    move_up(&s);
    if (a.any.sa_family == AF_UNIX && (e = file_remember(s, a.un.sun_path)) != SLIM_OK) {
        snprintf(why, why_n, "endpoint \"%s\": %s", cfg->endpoint, slim_err_text(e));
        unlink(a.un.sun_path);
        close(s);
        return e;
    }
    bound_text(s, bound, bound_n);
    *fd = s;
    return SLIM_OK;
fail:
    snprintf(why, why_n, "endpoint \"%s\": %s: %s", cfg->endpoint, verb, strerror(errno));
    if (s >= 0)
        close(s);
    return SLIM_E_SYS;
}

void slim_listen_close(int fd)
{
    unix_file **at, *f = NULL;
    struct stat st;

    pthread_mutex_lock(&files_lock);
    for (at = &files; *at != NULL; at = &(*at)->next) {
        if ((*at)->fd == fd) {
            f = *at;
            *at = f->next;
            break;
        }
    }
    pthread_mutex_unlock(&files_lock);
    if (f != NULL && lstat(f->path, &st) == 0 && st.st_dev == f->dev && st.st_ino == f->ino)
        unlink(f->path);
    free(f);
    close(fd);
}

uint64_t slim_nofile_raise(void)
{
    struct rlimit limit;
    rlim_t before;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return 0;
    before = limit.rlim_cur;
    if (before >= TOP_DESCRIPTOR || before == limit.rlim_max)
        return before;
    limit.rlim_cur = limit.rlim_max < TOP_DESCRIPTOR ? limit.rlim_max : TOP_DESCRIPTOR;
    return setrlimit(RLIMIT_NOFILE, &limit) == 0 ? limit.rlim_cur : before;
}
