#include "ring_harness.h"

#include <netinet/tcp.h>
#include <sys/stat.h>

/* ------------------------------------------------------------------ accepting */

BACKEND_TEST(accepts_and_echoes_many)
{
    enum { N = 200 };
    static conn c[N];
    static int peer[N];
    uint64_t seed = test_seed();
    struct sockaddr_storage at;
    slim_acceptor *a;
    socklen_t len;
    world w;
    int l;

    world_open(&w, backend, 0, 0);
    l = listener(&at, &len);
    a = slim_ring_accept_start(w.r, l, NULL);
    cr_assert_not_null(a);
    for (int i = 0; i < N; i++)
        peer[i] = dial(&at, len);
    UNTIL(&w, w.n_accepted == N);
    for (int i = 0; i < N; i++) {
        int on = 0;
        socklen_t n = sizeof(on);

        cr_assert(fcntl(w.accepted[i], F_GETFL) & O_NONBLOCK);
        cr_assert(fcntl(w.accepted[i], F_GETFD) & FD_CLOEXEC);
        getsockopt(w.accepted[i], IPPROTO_TCP, TCP_NODELAY, &on, &n);
        cr_assert_eq(on, 1, "TCP_NODELAY is not inherited");
        conn_init(&c[i]);
        c[i].echo = true;
        c[i].s = slim_ring_adopt(w.r, w.accepted[i], &c[i]);
        cr_assert_not_null(c[i].s);
        slim_sock_recv_start(c[i].s);
    }
    for (int round = 0; round < 10; round++) {
        uint8_t *p[N];
        size_t n[N];

        for (int i = 0; i < N; i++) {
            n[i] = 1 + test_rand(&seed) % 3000;
            p[i] = noise(seed, n[i]);
            write_all(peer[i], p[i], n[i]);
        }
        for (int i = 0; i < N; i++) {
            size_t got = 0;
            uint8_t back[4096];

            while (got < n[i]) {
                ssize_t k = recv(peer[i], back + got, sizeof(back) - got, MSG_DONTWAIT);

                if (k > 0)
                    got += (size_t)k;
                else
                    step(&w, slim_clock_ns() + 1000000);
            }
            cr_assert_eq(got, n[i]);
            cr_assert_eq(memcmp(back, p[i], got), 0);
            free(p[i]);
        }
    }
    slim_ring_accept_stop(a);
    for (int i = 0; i < N; i++) {
        close(peer[i]);
        UNTIL(&w, c[i].end != 1);
        cr_assert_eq(c[i].end, 0);
        leave(&w, &c[i]);
    }
    slim_listen_close(l);
    world_close(&w);
}

BACKEND_TEST(accept_stop_lets_go)
{
    struct sockaddr_storage at;
    slim_acceptor *a;
    socklen_t len;
    int l, fd, again, late[8];
    world w;

    world_open(&w, backend, 8, 4096);
    l = listener(&at, &len);
    a = slim_ring_accept_start(w.r, l, NULL);
    fd = dial(&at, len);
    UNTIL(&w, w.n_accepted == 1);
    /* These are in the kernel's hands at most. */
    for (int i = 0; i < 8; i++)
        late[i] = dial(&at, len);
    slim_ring_accept_stop(a);
    slim_listen_close(l);
    cr_assert_eq(connect(again = socket(AF_INET, SOCK_STREAM, 0), (struct sockaddr *)&at, len), -1);
    cr_assert_eq(errno, ECONNREFUSED);
    close(again);
    for (int i = 0; i < 8; i++) {
        char b;

        cr_assert_leq(recv(late[i], &b, 1, 0), 0, "a late connection is still open");
        close(late[i]);
    }
    idle(&w, 20);
    cr_assert_eq(w.n_accepted, 1);
    /* Listening again at once, and without a start in between. */
    again = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(again, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    cr_assert_eq(bind(again, (struct sockaddr *)&at, len), 0, "%s", strerror(errno));
    cr_assert_eq(listen(again, 10), 0, "%s", strerror(errno));
    close(again);
    close(fd);
    close(w.accepted[0]);
    /* One that never came to run, and one that is stopped by the end of the ring. */
    l = listener(&at, &len);
    slim_ring_accept_stop(slim_ring_accept_start(w.r, l, NULL));
    slim_ring_accept_start(w.r, l, NULL);
    step(&w, 0);
    world_close(&w);
    slim_listen_close(l);
}

BACKEND_TEST(accept_survives_descriptor_exhaustion)
{
    struct rlimit limit, tight;
    struct sockaddr_storage at;
    slim_acceptor *a;
    int l, peer[3], fill[4096], n_fill = 0, fd;
    socklen_t len;
    uint64_t t;
    conn c;
    world w;

    world_open(&w, backend, 8, 4096);
    fd = join(&w, &c, true);
    l = listener(&at, &len);
    for (int i = 0; i < 3; i++)
        peer[i] = dial(&at, len);
    getrlimit(RLIMIT_NOFILE, &limit);
    tight = limit;
    tight.rlim_cur = 256;
    setrlimit(RLIMIT_NOFILE, &tight);
    while ((fill[n_fill] = dup(0)) >= 0)
        n_fill++;
    cr_assert_eq(errno, EMFILE);
    a = slim_ring_accept_start(w.r, l, NULL);
    t = slim_clock_ns();
    UNTIL(&w, w.accept_errors == 1);
    cr_assert_eq(w.accept_error, -EMFILE);
    /* Told again after each pause, not in a loop. */
    UNTIL(&w, w.accept_errors == 4);
    cr_assert_leq((uint64_t)w.accept_errors, 2 + (slim_clock_ns() - t) / 100000000);
    cr_assert_eq(w.n_accepted, 0);
    /* A socket of the ring ends: its descriptor is used at once. */
    leave(&w, &c);
    UNTIL(&w, w.n_accepted == 1);
    for (int i = 0; i < n_fill; i++)
        close(fill[i]);
    UNTIL(&w, w.n_accepted == 3);
    setrlimit(RLIMIT_NOFILE, &limit);
    slim_ring_accept_stop(a);
    slim_listen_close(l);
    for (int i = 0; i < 3; i++) {
        close(peer[i]);
        close(w.accepted[i]);
    }
    close(fd);
    world_close(&w);
}

/* ------------------------------------------------------------------ bytes */

typedef struct reader {
    int fd;
    uint64_t seed;
    size_t want, got;
    uint8_t *bytes;
} reader;

static void *slow_reader(void *arg)
{
    reader *p = arg;

    while (p->got < p->want) {
        size_t n = 1 + test_rand(&p->seed) % 100000;
        ssize_t k;

        if (test_rand(&p->seed) % 16 == 0)
            usleep(2000);
        k = recv(p->fd, p->bytes + p->got, n < p->want - p->got ? n : p->want - p->got, 0);
        if (k <= 0)
            break;
        p->got += (size_t)k;
    }
    return NULL;
}

static void *random_writer(void *arg)
{
    reader *p = arg;

    while (p->got < p->want) {
        size_t n = 1 + test_rand(&p->seed) % (test_rand(&p->seed) % 4 == 0 ? 200000 : 300);

        n = n < p->want - p->got ? n : p->want - p->got;
        write_all(p->fd, p->bytes + p->got, n);
        p->got += n;
    }
    return NULL;
}

BACKEND_TEST(large_sends_to_a_slow_reader)
{
    const size_t total = 12u << 20;
    uint64_t seed = test_seed();
    uint8_t *out = noise(seed, total), *in = malloc(total);
    struct iovec iov[256];
    bool partial = false;
    size_t at = 0;
    reader p;
    pthread_t t;
    world w;
    conn c;
    int fd;

    world_open(&w, backend, 8, 4096);
    fd = join(&w, &c, false);
    setsockopt(slim_sock_fd(c.s), SOL_SOCKET, SO_SNDBUF, &(int){32768}, sizeof(int));
    p = (reader){fd, seed, total, 0, in};
    pthread_create(&t, NULL, slow_reader, &p);
    while (at < total) {
        size_t n = 1 + test_rand(&seed) % 256, asked = 0, k = 0;
        int before = c.sents;

        for (; k < n && at + asked < total; k++) {
            size_t len = test_rand(&seed) % 5000;

            len = len < total - at - asked ? len : total - at - asked;
            iov[k] = (struct iovec){out + at + asked, len};
            asked += len;
        }
        slim_sock_send(c.s, iov, k);
        UNTIL(&w, c.sents > before);
        cr_assert_geq(c.sent_last, 0);
        cr_assert_leq((size_t)c.sent_last, asked);
        partial = partial || (size_t)c.sent_last < asked;
        at += (size_t)c.sent_last;
        memset(iov, 0xff, sizeof(iov));
    }
    pthread_join(t, NULL);
    cr_assert(partial, "never a partial write: the test does not test");
    cr_assert_eq(p.got, total);
    cr_assert_eq(memcmp(in, out, total), 0);
    leave(&w, &c);
    cr_assert_eq(recv(fd, in, 1, 0), 0);
    close(fd);
    free(out);
    free(in);
    world_close(&w);
}

BACKEND_TEST(receives_exactly_what_was_sent)
{
    const size_t total = 8u << 20;
    uint64_t seed = test_seed();
    static conn c[3];
    reader p[3];
    pthread_t t[3];
    world w;

    world_open(&w, backend, 24, 10000);
    w.batch = 3;
    for (int i = 0; i < 3; i++) {
        p[i] = (reader){join(&w, &c[i], true), seed + (uint64_t)i, total, 0, noise(seed * 3 + (uint64_t)i, total)};
        pthread_create(&t[i], NULL, random_writer, &p[i]);
    }
    UNTIL(&w, c[0].rx_n == total && c[1].rx_n == total && c[2].rx_n == total);
    for (int i = 0; i < 3; i++) {
        pthread_join(t[i], NULL);
        cr_assert_eq(memcmp(c[i].rx, p[i].bytes, total), 0);
        close(p[i].fd);
        UNTIL(&w, c[i].end == 0);
        leave(&w, &c[i]);
        free(p[i].bytes);
    }
    world_close(&w);
}

BACKEND_TEST(stop_and_start_lose_nothing)
{
    const size_t total = 4u << 20;
    uint64_t seed = test_seed();
    reader p;
    pthread_t t;
    world w;
    conn c;

    world_open(&w, backend, 16, 8192);
    p = (reader){join(&w, &c, true), seed, total, 0, noise(seed, total)};
    pthread_create(&t, NULL, random_writer, &p);
    while (c.rx_n < total) {
        step(&w, slim_clock_ns() + 1000000);
        slim_sock_recv_stop(c.s);
        if (test_rand(&seed) % 2 == 0)
            step(&w, test_rand(&seed) % 2 == 0 ? 0 : slim_clock_ns() + 100000);
        slim_sock_recv_start(c.s);
    }
    pthread_join(t, NULL);
    cr_assert_eq(memcmp(c.rx, p.bytes, total), 0);
    slim_sock_recv_stop(c.s);
    idle(&w, 5);
    write_all(p.fd, "late", 4);
    idle(&w, 20);
    cr_assert_eq(c.rx_n, total, "received while stopped");
    slim_sock_recv_start(c.s);
    UNTIL(&w, c.rx_n == total + 4);
    close(p.fd);
    free(p.bytes);
    UNTIL(&w, c.end == 0);
    leave(&w, &c);
    world_close(&w);
}

BACKEND_TEST(an_exhausted_pool_pauses_and_resumes)
{
    enum { SOCKS = 5 };
    const size_t each = 300000;
    static conn c[SOCKS];
    reader p[SOCKS];
    pthread_t t[SOCKS];
    slim_buf *own;
    int rounds = 0;
    world w;

    world_open(&w, backend, 16, 4096);
    w.keep = true;
    for (int i = 0; i < SOCKS; i++) {
        p[i] = (reader){join(&w, &c[i], true), test_seed() + (uint64_t)i, each, 0, noise((uint64_t)i, each)};
        pthread_create(&t[i], NULL, random_writer, &p[i]);
    }
    for (;;) {
        size_t sum = 0;

        for (int i = 0; i < SOCKS; i++)
            sum += c[i].rx_n;
        if (sum == SOCKS * each)
            break;
        if (rounds < 8) {
            UNTIL(&w, w.n_kept == 12);
            idle(&w, 10);
            cr_assert_eq(w.n_kept, 12, "the quarter for the caller was used");
            cr_assert_eq(slim_ring_slabs_free(w.r), 4);
            /* Which the caller gets. */
            cr_assert_not_null(own = slim_ring_slab_take(w.r));
            cr_assert_eq(own->cap_bytes, 4096);
            slim_buf_unref(own);
            rounds++;
        } else {
            step(&w, slim_clock_ns() + 1000000);
        }
        while (w.n_kept > 0)
            slim_buf_unref(w.kept[--w.n_kept]);
    }
    cr_assert_eq(rounds, 8);
    for (int i = 0; i < SOCKS; i++) {
        pthread_join(t[i], NULL);
        cr_assert_eq(memcmp(c[i].rx, p[i].bytes, each), 0);
        close(p[i].fd);
        UNTIL(&w, c[i].end == 0);
        leave(&w, &c[i]);
        free(p[i].bytes);
    }
    for (int i = 0; i < 16; i++) {
        w.kept[i] = slim_ring_slab_take(w.r);
        if (w.kept[i] != NULL)
            w.n_kept++;
    }
    cr_assert_geq(w.n_kept, 4);
    while (w.n_kept > 0)
        slim_buf_unref(w.kept[--w.n_kept]);
    world_close(&w);
}

/* Whoever always has something to tell must not keep the kernel from being asked. */
BACKEND_TEST(constant_wakes_do_not_starve_sockets)
{
    struct sockaddr_storage at;
    slim_acceptor *a;
    uint64_t patience;
    socklen_t len;
    int fd, l, late;
    world w;
    conn c;

    world_open(&w, backend, 8, 4096);
    fd = join(&w, &c, true);
    l = listener(&at, &len);
    a = slim_ring_accept_start(w.r, l, NULL);
    cr_assert_not_null(a);
    write_all(fd, "here", 4);
    late = dial(&at, len);
    patience = slim_clock_ns() + PATIENCE_NS;
    while (c.rx_n < 4 || w.n_accepted == 0) {
        cr_assert(slim_clock_ns() < patience);
        slim_ring_wake_xt(w.r);
        cr_assert_geq(step(&w, 0), 1);
    }
    leave(&w, &c);
    close(w.accepted[0]);
    close(fd);
    close(late);
    /* The acceptor ends with the ring. */
    world_close(&w);
    slim_listen_close(l);
}

BACKEND_TEST(a_starved_socket_can_be_closed)
{
    static uint8_t bytes[64 * 1024];
    world w;
    conn c[2];
    int fd[2];

    world_open(&w, backend, 4, 4096);
    w.keep = true;
    for (int i = 0; i < 2; i++) {
        fd[i] = join(&w, &c[i], true);
        write_all(fd[i], bytes, sizeof(bytes));
    }
    UNTIL(&w, w.n_kept == 3);
    idle(&w, 10);
    leave(&w, &c[0]);
    while (w.n_kept > 0)
        slim_buf_unref(w.kept[--w.n_kept]);
    w.keep = false;
    UNTIL(&w, c[1].rx_n == sizeof(bytes));
    leave(&w, &c[1]);
    close(fd[0]);
    close(fd[1]);
    world_close(&w);
}

static void *flood_writer(void *arg)
{
    const int *fd = arg;
    static char bytes[20000];

    while (send(*fd, bytes, sizeof(bytes), MSG_NOSIGNAL) > 0)
        ;
    return NULL;
}

BACKEND_TEST(a_flood_does_not_starve_others)
{
    world w;
    static conn flood, quiet;
    pthread_t t;
    int fd, flood_fd, before, worst = 0;

    world_open(&w, backend, 32, 4096);
    w.batch = 4;
    flood_fd = join(&w, &flood, true);
    fd = join(&w, &quiet, true);
    pthread_create(&t, NULL, flood_writer, &flood_fd);
    UNTIL(&w, flood.rx_n > 100000);
    for (size_t i = 1; i <= 200; i++) {
        write_all(fd, "x", 1);
        UNTIL(&w, quiet.rx_n == i || poll(&(struct pollfd){slim_sock_fd(quiet.s), POLLIN, 0}, 1, 0) == 1);
        /* From here on it is only the ring's doing. */
        before = flood.recvs;
        UNTIL(&w, quiet.rx_n == i);
        worst = flood.recvs - before > worst ? flood.recvs - before : worst;
    }
    cr_assert_leq(worst, 200, "the flood was served %d times in a row", worst);
    leave(&w, &flood);
    leave(&w, &quiet);
    pthread_join(t, NULL);
    close(fd);
    close(flood_fd);
    world_close(&w);
}

/* ------------------------------------------------------------------ ends */

BACKEND_TEST(a_reset_is_told)
{
    world w;
    conn c;
    int fd;

    world_open(&w, backend, 8, 4096);
    fd = join(&w, &c, true);
    step(&w, 0);
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &(struct linger){1, 0}, sizeof(struct linger));
    close(fd);
    UNTIL(&w, c.end != 1);
    cr_assert_eq(c.end, -ECONNRESET, "%d", c.end);
    /* Without a signal. */
    conn_queue(&c, "gone", 4);
    UNTIL(&w, c.sents == 1);
    cr_assert(c.sent_last == -EPIPE || c.sent_last == -ECONNRESET, "%d", c.sent_last);
    slim_sock_recv_start(c.s);
    idle(&w, 5);
    leave(&w, &c);
    world_close(&w);
}

BACKEND_TEST(half_close_in_both_directions)
{
    char buf[64];
    world w;
    conn c;
    int fd;

    world_open(&w, backend, 8, 4096);
    fd = join(&w, &c, true);
    conn_queue(&c, "farewell", 8);
    slim_sock_shutdown(c.s);
    UNTIL(&w, c.sents == 1);
    step(&w, 0);
    cr_assert_eq(recv(fd, buf, 8, MSG_WAITALL), 8);
    cr_assert_eq(memcmp(buf, "farewell", 8), 0);
    cr_assert_eq(recv(fd, buf, 8, 0), 0, "no end after the bytes");
    /* The other direction still works. */
    write_all(fd, "answer", 6);
    UNTIL(&w, c.rx_n == 6);
    cr_assert_eq(c.end, 1);
    shutdown(fd, SHUT_WR);
    UNTIL(&w, c.end == 0);
    leave(&w, &c);
    close(fd);

    /* The peer half-closes first, with bytes before it; ours goes on sending. */
    fd = join(&w, &c, true);
    write_all(fd, "last words", 10);
    shutdown(fd, SHUT_WR);
    UNTIL(&w, c.end == 0);
    cr_assert_eq(c.rx_n, 10);
    conn_queue(&c, "ok", 2);
    UNTIL(&w, c.sents == 1);
    cr_assert_eq(recv(fd, buf, 2, MSG_WAITALL), 2);
    leave(&w, &c);
    cr_assert_eq(recv(fd, buf, 8, 0), 0);
    close(fd);
    world_close(&w);
}

BACKEND_TEST(close_cancels_what_is_outstanding)
{
    static uint8_t bytes[1 << 20];
    world w;
    conn c;
    int fd, sents;

    world_open(&w, backend, 8, 4096);
    /* A send that is stuck, a receive that waits. */
    fd = join(&w, &c, true);
    for (int i = 0; i < 40; i++)
        conn_queue(&c, bytes, sizeof(bytes));
    idle(&w, 30);
    cr_assert(c.sending);
    sents = c.sents;
    conn_close(&c);
    slim_sock_close(c.s);
    UNTIL(&w, c.closes == 1);
    cr_assert_eq(c.sents, sents + 1);
    cr_assert(!c.sending);
    cr_assert_eq(c.after_close, 0);
    idle(&w, 10);
    cr_assert_eq(c.closes, 1);
    conn_free(&c);
    close(fd);

    /* Closed before anything reached the kernel. */
    fd = join(&w, &c, true);
    write_all(fd, "data", 4);
    conn_queue(&c, "never", 5);
    conn_close(&c);
    UNTIL(&w, c.closes == 1);
    cr_assert_eq(c.sents, 1);
    cr_assert_eq(c.sent_last, -ECANCELED);
    cr_assert_eq(c.recvs, 0);
    conn_free(&c);
    close(fd);

    /* Bytes that arrive meanwhile are dropped and their slabs come back. */
    fd = join(&w, &c, true);
    step(&w, 0);
    write_all(fd, bytes, 60000);
    leave(&w, &c);
    close(fd);
    world_close(&w);
}

BACKEND_TEST(many_sockets_come_and_go)
{
    enum { ROUNDS = 30, N = 30 };
    static conn c[N];
    int fd[N], fds_before, fds_after;
    uint64_t seed = test_seed();
    world w;

    world_open(&w, backend, 16, 4096);
    fds_before = dup(0);
    close(fds_before);
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < N; i++) {
            fd[i] = join(&w, &c[i], true);
            if (test_rand(&seed) % 2 == 0)
                write_all(fd[i], "hello", 5);
            if (test_rand(&seed) % 2 == 0)
                conn_queue(&c[i], "hello", 5);
            if (test_rand(&seed) % 4 == 0)
                step(&w, 0);
            if (test_rand(&seed) % 4 == 0)
                shutdown(fd[i], SHUT_RDWR);
        }
        for (int i = 0; i < N; i++)
            conn_close(&c[i]);
        for (int i = 0; i < N; i++) {
            UNTIL(&w, c[i].closes == 1);
            close(fd[i]);
            conn_free(&c[i]);
        }
    }
    fds_after = dup(0);
    close(fds_after);
    cr_assert_eq(fds_before, fds_after, "descriptors leak");
    world_close(&w);
}

BACKEND_TEST(nothing_accepted_is_left_behind)
{
    struct sockaddr_storage at;
    socklen_t len;
    int peer[8], before, after;
    world w;
    int l;

    l = listener(&at, &len);
    before = dup(0);
    close(before);
    for (int i = 0; i < 8; i++)
        peer[i] = dial(&at, len);
    world_open(&w, backend, 8, 4096);
    w.batch = 1;
    slim_ring_accept_start(w.r, l, NULL);
    UNTIL(&w, w.n_accepted == 1);
    close(w.accepted[0]);
    world_close(&w);
    for (int i = 0; i < 8; i++)
        close(peer[i]);
    after = dup(0);
    close(after);
    cr_assert_eq(before, after, "descriptors leak");
    slim_listen_close(l);
}
