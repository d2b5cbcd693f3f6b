#include "ring_harness.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

/* ------------------------------------------------------------------ connecting */

BACKEND_TEST(connects_and_is_refused)
{
    struct sockaddr_storage at;
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    char dir[] = "/tmp/slim-ring-XXXXXX", endpoint[128], bound[128], why[256];
    socklen_t len;
    world w;
    conn c;
    int l, fd;

    world_open(&w, backend, 8, 4096);
    l = listener(&at, &len);
    conn_init(&c);
    cr_assert_not_null(c.s = slim_ring_connect(w.r, (struct sockaddr *)&at, len, &c));
    slim_sock_recv_start(c.s);
    UNTIL(&w, c.connected != 1);
    cr_assert_eq(c.connected, 0);
    fd = accept(l, NULL, NULL);
    write_all(fd, "welcome", 7);
    UNTIL(&w, c.rx_n == 7);
    leave(&w, &c);
    close(fd);
    slim_listen_close(l);

    conn_init(&c);
    cr_assert_not_null(c.s = slim_ring_connect(w.r, (struct sockaddr *)&at, len, &c));
    UNTIL(&w, c.connected != 1);
    cr_assert_eq(c.connected, -ECONNREFUSED);
    leave(&w, &c);

    cr_assert_not_null(mkdtemp(dir));
    snprintf(endpoint, sizeof(endpoint), "unix://%s/s", dir);
    snprintf(un.sun_path, sizeof(un.sun_path), "%s/s", dir);
    conn_init(&c);
    cr_assert_not_null(c.s = slim_ring_connect(w.r, (struct sockaddr *)&un, sizeof(un), &c));
    UNTIL(&w, c.connected != 1);
    cr_assert_eq(c.connected, -ENOENT);
    leave(&w, &c);

    cr_assert_eq(slim_listen_open(&(slim_listen_config){endpoint, 0, 0}, &l, bound, sizeof(bound), why, sizeof(why)), SLIM_OK, "%s",
                 why);
    conn_init(&c);
    cr_assert_not_null(c.s = slim_ring_connect(w.r, (struct sockaddr *)&un, sizeof(un), &c));
    c.echo = true;
    UNTIL(&w, c.connected != 1);
    cr_assert_eq(c.connected, 0);
    slim_sock_recv_start(c.s);
    fd = accept(l, NULL, NULL);
    for (int i = 0; i < 100; i++) {
        char b[6];

        write_all(fd, "hello", 5);
        UNTIL(&w, c.rx_n == 5 * (size_t)(i + 1) && !c.sending);
        cr_assert_eq(recv(fd, b, 5, MSG_WAITALL), 5);
    }
    close(fd);
    UNTIL(&w, c.end == 0);
    leave(&w, &c);
    slim_listen_close(l);
    rmdir(dir);

    errno = 0;
    cr_assert_null(slim_ring_connect(w.r, &(struct sockaddr){.sa_family = 9999}, sizeof(struct sockaddr), NULL));
    cr_assert_eq(errno, EAFNOSUPPORT);
    world_close(&w);
}

BACKEND_TEST(a_pending_connect_can_be_closed)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(at);
    int l = socket(AF_INET, SOCK_STREAM, 0), fill[3];
    world w;
    conn c;

    /* With a full backlog the kernel drops further SYNs: connecting hangs. */
    cr_assert_eq(bind(l, (struct sockaddr *)&at, len), 0);
    listen(l, 0);
    getsockname(l, (struct sockaddr *)&at, &len);
    for (int i = 0; i < 3; i++) {
        fill[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        (void)!connect(fill[i], (struct sockaddr *)&at, len);
    }
    world_open(&w, backend, 8, 4096);
    conn_init(&c);
    cr_assert_not_null(c.s = slim_ring_connect(w.r, (struct sockaddr *)&at, len, &c));
    idle(&w, 20);
    cr_assert_eq(c.connected, 1, "connected in spite of a full backlog: %d", c.connected);
    conn_close(&c);
    UNTIL(&w, c.closes == 1);
    cr_assert_eq(c.connected, 1, "CONNECT after the close");
    for (int i = 0; i < 3; i++)
        close(fill[i]);
    close(l);
    world_close(&w);
}

/* ------------------------------------------------------------------ waiting */

typedef struct waker {
    slim_ring *r;
    _Atomic uint32_t told, seen;
    uint32_t n;
} waker;

static void *wake_often(void *arg)
{
    waker *k = arg;
    uint64_t seed = 7;

    for (uint32_t i = 1; i <= k->n; i++) {
        k->told = i;
        slim_ring_wake_xt(k->r);
        /* Lock-step: were one wake lost, both would wait for ever. */
        while (k->seen < i)
            ;
        if (test_rand(&seed) % 32 == 0)
            usleep(50);
    }
    return NULL;
}

BACKEND_TEST(no_wake_is_lost)
{
    waker k = {.n = 10000};
    pthread_t t;
    world w;

    world_open(&w, backend, 8, 4096);
    k.r = w.r;
    pthread_create(&t, NULL, wake_often, &k);
    while (k.seen < k.n) {
        int before = w.wakes;
        uint64_t patience = slim_clock_ns() + PATIENCE_NS;

        step(&w, patience);
        cr_assert_leq(w.wakes - before, 1);
        cr_assert(slim_clock_ns() < patience, "a wake was lost after %u", k.seen);
        if (w.wakes > before)
            k.seen = k.told;
    }
    pthread_join(t, NULL);
    cr_assert_eq(w.wakes, 10000);
    /* Several wakes before a wait are one event. */
    for (int i = 0; i < 5; i++)
        slim_ring_wake_xt(w.r);
    idle(&w, 10);
    cr_assert_eq(w.wakes, 10001);
    world_close(&w);
}

static void *wake_storm(void *arg)
{
    waker *k = arg;

    for (uint32_t i = 0; i < k->n; i++) {
        atomic_fetch_add(&k->told, 1);
        slim_ring_wake_xt(k->r);
    }
    return NULL;
}

BACKEND_TEST(wakes_of_many_threads_are_seen)
{
    waker k = {.n = 20000};
    pthread_t t[3];
    world w;

    world_open(&w, backend, 8, 4096);
    k.r = w.r;
    for (int i = 0; i < 3; i++)
        pthread_create(&t[i], NULL, wake_storm, &k);
    while (k.seen < 3 * k.n) {
        int before = w.wakes;

        step(&w, slim_clock_ns() + PATIENCE_NS);
        cr_assert_gt(w.wakes, before, "no wake, %u told, %u seen", k.told, k.seen);
        k.seen = k.told;
    }
    for (int i = 0; i < 3; i++)
        pthread_join(t[i], NULL);
    world_close(&w);
}

static bool sleep_yes(void *arg)
{
    ++*(int *)arg;
    return true;
}

static bool sleep_no(void *arg)
{
    ++*(int *)arg;
    return false;
}

BACKEND_TEST(deadlines_are_kept)
{
    slim_ring_event ev[4];
    uint64_t t;
    int asked = 0;
    world w;

    world_open(&w, backend, 8, 4096);
    for (uint64_t us = 1; us < 30000; us = us * 3 + 7) {
        uint64_t deadline = slim_clock_ns() + us * 1000;

        cr_assert_eq(slim_ring_wait(w.r, deadline, NULL, NULL, ev, 4), 0);
        t = slim_clock_ns();
        cr_assert_geq(t, deadline, "%lu ns early", (unsigned long)(deadline - t));
    }
    /* In the past, and none. */
    cr_assert_eq(slim_ring_wait(w.r, 1, sleep_yes, &asked, ev, 4), 0);
    cr_assert_eq(slim_ring_wait(w.r, 0, sleep_yes, &asked, ev, 4), 0);
    cr_assert_eq(asked, 0, "asked before a wait that cannot block");
    cr_assert_eq(slim_ring_wait(w.r, slim_clock_ns() + 3000000, sleep_yes, &asked, ev, 4), 0);
    cr_assert_geq(asked, 1);
    asked = 0;
    cr_assert_eq(slim_ring_wait(w.r, UINT64_MAX, sleep_no, &asked, ev, 4), 0);
    cr_assert_eq(asked, 1);
    /* With an event at hand nobody goes to sleep. */
    asked = 0;
    slim_ring_wake_xt(w.r);
    cr_assert_eq(slim_ring_wait(w.r, UINT64_MAX, sleep_no, &asked, ev, 4), 1);
    cr_assert_eq(ev[0].kind, SLIM_EV_WAKE);
    cr_assert_eq(asked, 0);
    world_close(&w);
}

static bool wake_itself(void *arg)
{
    slim_ring_wake_xt(arg);
    return true;
}

BACKEND_TEST(a_wake_between_asking_and_sleeping_counts)
{
    slim_ring_event ev[4];
    world w;

    world_open(&w, backend, 8, 4096);
    for (int i = 0; i < 1000; i++) {
        cr_assert_eq(slim_ring_wait(w.r, slim_clock_ns() + PATIENCE_NS, wake_itself, w.r, ev, 4), 1);
        cr_assert_eq(ev[0].kind, SLIM_EV_WAKE);
    }
    world_close(&w);
}

BACKEND_TEST(watched_descriptors_are_level_triggered)
{
    int efd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    uint64_t one = 1;
    world w;

    world_open(&w, backend, 8, 4096);
    cr_assert_eq(slim_ring_watch(w.r, efd, &w), SLIM_OK);
    idle(&w, 5);
    cr_assert_eq(w.fds, 0);
    cr_assert_eq(write(efd, &one, 8), 8);
    UNTIL(&w, w.fds >= 3);
    cr_assert_eq(read(efd, &one, 8), 8);
    step(&w, 0);
    step(&w, 0);
    w.fds = 0;
    idle(&w, 5);
    cr_assert_eq(w.fds, 0);
    cr_assert_eq(write(efd, &one, 8), 8);
    UNTIL(&w, w.fds >= 1);
    world_close(&w);
    close(efd);
}

BACKEND_TEST(says_what_it_is)
{
    const char *names[] = {"io_uring", "io_uring (6.1 features)", "epoll"};
    world w;

    world_open(&w, backend, 0, 0);
    for (size_t i = 0; i < 3; i++) {
        if (backends[i] == backend)
            cr_assert_str_eq(slim_ring_name(w.r), names[i]);
    }
    cr_assert_eq(slim_ring_slabs_total(w.r), 128);
    world_close(&w);
}

/* ------------------------------------------------------------------ releasing */

BACKEND_TEST(a_released_socket_goes_on_in_another_ring)
{
    enum { N = 300, ROUNDS = 40 };
    uint64_t seed = test_seed();
    uint8_t *sent = noise(seed, N * ROUNDS);
    int fd, at = 0;
    world w[2];
    conn c;

    world_open(&w[0], backend, 8, 256);
    world_open(&w[1], backend, 8, 256);
    fd = join(&w[0], &c, true);
    for (int round = 0; round < ROUNDS; round++) {
        world *next = &w[1 - at];

        write_all(fd, sent + round * N, N);
        for (uint64_t i = test_rand(&seed) % 3; i > 0; i--)
            step(&w[at], 0);
        c.closes = 0;
        slim_sock_release(c.s);
        UNTIL(&w[at], c.closes == 1);
        cr_assert_geq(c.released_fd, 0);
        c.s = slim_ring_adopt(next->r, c.released_fd, &c);
        cr_assert_not_null(c.s);
        slim_sock_recv_start(c.s);
        at = 1 - at;
    }
    c.closes = 0;
    UNTIL(&w[at], c.rx_n == N * ROUNDS);
    cr_assert_eq(memcmp(c.rx, sent, N * ROUNDS), 0);
    conn_queue(&c, "answer", 6);
    UNTIL(&w[at], c.sents == 1);
    {
        char back[8];

        cr_assert_eq(recv(fd, back, sizeof(back), 0), 6);
    }
    leave(&w[at], &c);
    close(fd);
    free(sent);
    world_close(&w[0]);
    world_close(&w[1]);
}

BACKEND_TEST(a_released_socket_tells_the_end_of_the_stream_first)
{
    world w;
    conn c;
    int fd;

    world_open(&w, backend, 8, 4096);
    fd = join(&w, &c, true);
    idle(&w, 5);
    close(fd);
    UNTIL(&w, c.end == 0);
    slim_sock_release(c.s);
    slim_sock_close(c.s); /* too late: it is on its way out */
    UNTIL(&w, c.closes == 1);
    cr_assert_geq(c.released_fd, 0);
    close(c.released_fd);
    conn_free(&c);
    world_close(&w);
}

Test(ring, bad_sizes_are_refused_with_the_limits)
{
    const char *why;
    slim_ring *r;

    cr_assert_eq(slim_ring_new(&(slim_ring_config){SLIM_RING_EPOLL, 1, 4096}, &r, &why), SLIM_E_ARG);
    cr_assert_str_eq(why, "1 receive buffers of 4096 bytes: 2 to 32768 buffers of 256 to 16777216 bytes are possible");
    cr_assert_null(r);
    cr_assert_eq(slim_ring_new(&(slim_ring_config){SLIM_RING_AUTO, 40000, 0}, &r, &why), SLIM_E_ARG);
    cr_assert_eq(slim_ring_new(&(slim_ring_config){SLIM_RING_AUTO, 4, 100}, &r, &why), SLIM_E_ARG);
    slim_ring_free(NULL);
}

/* What the default filter of container engines does. */
static void forbid_io_uring(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog prog = {sizeof(code) / sizeof(code[0]), code};

    cr_assert_eq(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
    cr_assert_eq(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog), 0, "%s", strerror(errno));
}

Test(ring, a_sandbox_without_io_uring_gets_epoll)
{
    const char *why;
    slim_ring *r;

    forbid_io_uring();
    cr_assert_eq(slim_ring_new(&(slim_ring_config){SLIM_RING_URING, 0, 0}, &r, &why), SLIM_E_SYS);
    if (strstr(why, "not built in") == NULL)
        cr_assert_str_eq(why, "io_uring: Operation not permitted (forbidden by kernel.io_uring_disabled or a sandbox; use epoll)");
    cr_assert_null(r);
    cr_assert_eq(slim_ring_new(&(slim_ring_config){SLIM_RING_AUTO, 0, 0}, &r, &why), SLIM_OK);
    cr_assert_str_eq(slim_ring_name(r), "epoll");
    slim_ring_free(r);
}

/* ------------------------------------------------------------------ kill -9 */

enum { VICTIMS = 8 };

/* Accepts VICTIMS connections, says so through the pipe and goes on for ever. */
static void serve_until_killed(slim_ring_backend backend, int l, int pipe_fd)
{
    slim_ring_config cfg = {backend, 64, 4096};
    static conn c[VICTIMS];
    const char *why;
    world w = {.batch = BATCH};
    int n = 0;

    if (slim_ring_new(&cfg, &w.r, &why) != SLIM_OK)
        _exit(1);
    slim_ring_accept_start(w.r, l, NULL);
    for (;;) {
        step(&w, UINT64_MAX);
        for (; n < w.n_accepted && n < VICTIMS; n++) {
            conn_init(&c[n]);
            c[n].s = slim_ring_adopt(w.r, w.accepted[n], &c[n]);
            slim_sock_recv_start(c[n].s);
            if (n == VICTIMS - 1) {
                step(&w, 0);
                (void)!write(pipe_fd, "x", 1);
            }
        }
    }
}

/* A client that reconnects the moment its connection ends must not find the listener of the dead process. */
BACKEND_TEST(a_killed_process_loses_its_listener_first)
{
    enum { ROUNDS = 25 };
    int hits = 0;
    world probe;

    world_open(&probe, backend, 8, 4096);
    world_close(&probe);
    for (int round = 0; round < ROUNDS; round++) {
        struct pollfd p[VICTIMS];
        struct sockaddr_storage at;
        socklen_t len;
        int l = listener(&at, &len), ends[2], left = VICTIMS;
        pid_t child;
        char b;

        cr_assert_eq(pipe(ends), 0);
        if ((child = fork()) == 0)
            serve_until_killed(backend, l, ends[1]);
        close(l); /* the file of a unix socket would be the child's now; this one is TCP */
        for (int i = 0; i < VICTIMS; i++)
            p[i] = (struct pollfd){dial(&at, len), POLLIN, 0};
        cr_assert_eq(read(ends[0], &b, 1), 1);
        kill(child, SIGKILL);
        while (left > 0) {
            poll(p, VICTIMS, 1000);
            for (int i = 0; i < VICTIMS; i++) {
                int fd;

                if (p[i].fd < 0 || p[i].revents == 0)
                    continue;
                fd = socket(AF_INET, SOCK_STREAM, 0);
                hits += connect(fd, (struct sockaddr *)&at, len) == 0;
                close(fd);
                close(p[i].fd);
                p[i].fd = -1;
                left--;
            }
        }
        waitpid(child, NULL, 0);
        close(ends[0]);
        close(ends[1]);
    }
    cr_assert_eq(hits, 0, "%d of %d found the listener open", hits, ROUNDS * VICTIMS);
}
