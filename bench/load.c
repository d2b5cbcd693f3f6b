#include "bench/load.h"

#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <unistd.h>

#define LOOK_NS 5000000
#define STUCK_NS 30000000000u
#define PROGRESS_NS 200000000u
/* How long ended links may take to say goodbye. */
#define GOODBYE_NS 3000000000u

_Atomic bool bench_interrupted;

void bench_load_fail(bench_load *l, const char *format, ...)
{
    va_list args;

    pthread_mutex_lock(&l->lock);
    if (!atomic_load(&l->failed)) {
        va_start(args, format);
        vsnprintf(l->why, sizeof(l->why), format, args);
        va_end(args);
        atomic_store(&l->failed, true);
    }
    pthread_mutex_unlock(&l->lock);
}

bool bench_load_init(bench_load *l, const bench_options *o, const bench_work *work, void *mode)
{
    slim_tls_config tls = {.cert = {o->cert, NULL},
                           .key = {o->key, NULL},
                           .ca = {o->ca, NULL},
                           .system_roots = o->ca == NULL,
                           .skip_verify = o->skip_verify,
                           .version = 13,
                           .where = "tls"};
    char why[256];
    bench_usage usage;

    *l = (bench_load){.options = o, .work = *work, .mode = mode, .mem = &slim_mem_libc, .n_threads = o->threads};
    atomic_store(&l->measured_from_ns, UINT64_MAX);
    pthread_mutex_init(&l->lock, NULL);
    l->budget.limit_bytes = INT64_MAX / 4;
    l->target.kind = SLIM_EDGE;
    l->target.offers_no_key = o->no_mac;
    snprintf(l->run, sizeof(l->run), "%x-%llx", (unsigned)getpid(), (unsigned long long)(slim_wall_ns() / 1000 % 0xffffffffffu));
    l->run_hash = slim_component_hash(slim_bytes_str(l->run));
    bench_process_descriptors();
    if (bench_target_ready(&l->target, o->server, &tls, why, sizeof(why)) != SLIM_OK) {
        fprintf(stderr, "slimbench: --server: %s\n", why);
        return false;
    }
    if (o->pid != 0 && !bench_process_usage(o->pid, &usage, why, sizeof(why))) {
        fprintf(stderr, "slimbench: --pid %ld: %s\n", o->pid, why);
        return false;
    }
    if ((l->threads = slim_zalloc(l->mem, l->n_threads, sizeof(*l->threads))) == NULL) {
        fprintf(stderr, "slimbench: no memory for %u threads; use fewer (--threads)\n", l->n_threads);
        return false;
    }
    return true;
}

/* Before the batch is read: what came is acknowledged while it is handled. */
static void quick_ack(slim_io *io, size_t n)
{
    int on = 1;

    for (size_t i = 0; i < n; i++) {
        if (io->ev[i].kind == SLIM_EV_RECV && io->ev[i].res > 0)
            setsockopt(slim_sock_fd(io->ev[i].sock), IPPROTO_TCP, TCP_QUICKACK, &on, sizeof(on));
    }
}

static void thread_run(bench_thread *t)
{
    bench_load *l = t->load;
    bool closing = false;
    uint64_t goodbye = UINT64_MAX, until;
    size_t n;

    l->work.open(t);
    for (;;) {
        if (!closing && bench_load_now(l) == BENCH_CLOSE) {
            closing = true;
            l->work.close(t);
            goodbye = slim_clock_ns() + GOODBYE_NS;
        }
        until = closing ? goodbye : l->work.turn(t);
        slim_io_flush(&t->io);
        atomic_store_explicit(&t->sent_seen, t->sent, memory_order_relaxed);
        atomic_store_explicit(&t->repeats_seen, t->repeats, memory_order_relaxed);
        atomic_store_explicit(&t->received_seen, t->received, memory_order_release);
        if (closing && t->io.n_conns == 0)
            return;
        n = slim_io_wait(&t->io, t->io.dirty != NULL ? 0 : until, NULL, NULL);
        if (l->options->quick_ack)
            quick_ack(&t->io, n);
        slim_io_dispatch(&t->io, n);
        if (t->io.now_ns >= goodbye) {
            slim_io_abort_all(&t->io);
            goodbye = UINT64_MAX;
        }
    }
}

static void *thread_main(void *arg)
{
    bench_thread *t = arg;
    slim_ring_config ring = {.backend = SLIM_RING_AUTO};
    const char *why = "";

    /* Sleeps end when they should, not up to 50 us later. */
    prctl(PR_SET_TIMERSLACK, 1);
    if (slim_io_init(&t->io, &ring, t->load->mem, &t->load->budget, &why) != SLIM_OK) {
        bench_load_fail(t->load, "a thread cannot start: %s", why);
        atomic_fetch_add(&t->load->n_attached, 1);
        return NULL;
    }
    t->started = true;
    atomic_fetch_add(&t->load->n_attached, 1);
    thread_run(t);
    /* Whoever wakes rings must not meet one that is being freed. */
    pthread_mutex_lock(&t->load->lock);
    t->started = false;
    pthread_mutex_unlock(&t->load->lock);
    slim_io_free(&t->io);
    return NULL;
}

bool bench_load_start(bench_load *l)
{
    unsigned n = 0;

    for (; n < l->n_threads; n++) {
        bench_thread *t = &l->threads[n];

        t->load = l;
        t->index = n;
        if (pthread_create(&t->id, NULL, thread_main, t) != 0)
            break;
    }
    if (n < l->n_threads) {
        bench_load_fail(l, "cannot make thread %u of %u; use fewer (--threads)", n + 1, l->n_threads);
        l->n_threads = n;
    }
    while (atomic_load(&l->n_attached) < n)
        usleep(1000);
    return !atomic_load(&l->failed);
}

void bench_load_phase(bench_load *l, bench_phase phase)
{
    atomic_store_explicit(&l->phase, (int)phase, memory_order_release);
    pthread_mutex_lock(&l->lock);
    for (unsigned i = 0; i < l->n_threads; i++) {
        if (l->threads[i].started)
            slim_ring_wake_xt(l->threads[i].io.ring);
    }
    pthread_mutex_unlock(&l->lock);
}

void bench_load_end(bench_load *l)
{
    bench_load_phase(l, BENCH_CLOSE);
    for (unsigned i = 0; i < l->n_threads; i++)
        pthread_join(l->threads[i].id, NULL);
}

void bench_load_free(bench_load *l)
{
    slim_free(l->mem, l->threads);
    if (l->target.tls != NULL)
        slim_tls_ctx_free(l->target.tls);
    pthread_mutex_destroy(&l->lock);
}

uint64_t bench_load_sent(const bench_load *l)
{
    uint64_t n = 0;

    for (unsigned i = 0; i < l->n_threads; i++)
        n += atomic_load_explicit(&l->threads[i].sent_seen, memory_order_relaxed);
    return n;
}

uint64_t bench_load_received(const bench_load *l)
{
    uint64_t n = 0;

    for (unsigned i = 0; i < l->n_threads; i++)
        n += atomic_load_explicit(&l->threads[i].received_seen, memory_order_acquire);
    return n;
}

uint64_t bench_load_repeats(const bench_load *l)
{
    uint64_t n = 0;

    for (unsigned i = 0; i < l->n_threads; i++)
        n += atomic_load_explicit(&l->threads[i].repeats_seen, memory_order_relaxed);
    return n;
}

void bench_load_mark(bench_load *l, bench_mark *m)
{
    char why[200];

    if (l->options->pid != 0 && !bench_process_usage(l->options->pid, &m->node, why, sizeof(why)))
        bench_load_fail(l, "--pid %ld: %s", l->options->pid, why);
    m->sent = bench_load_sent(l);
    m->received = bench_load_received(l);
    m->time_ns = slim_clock_ns();
    for (unsigned i = 0; i < l->n_threads; i++)
        l->threads[i].cpu_ns = bench_thread_cpu_ns(l->threads[i].id) - (m == &l->to ? l->threads[i].cpu_ns : 0);
}

bool bench_load_watch(bench_load *l)
{
    struct timespec nap = {0, LOOK_NS};

    if (atomic_load(&bench_interrupted))
        l->interrupted = true;
    if (l->interrupted || atomic_load(&l->failed))
        return false;
    nanosleep(&nap, NULL);
    return true;
}

bool bench_load_await(bench_load *l, const _Atomic uint64_t *counter, uint64_t n, const char *what)
{
    uint64_t seen = 0, now, moved_ns = slim_clock_ns(), started_ns = moved_ns;

    while ((now = atomic_load(counter)) < n) {
        uint64_t time_ns = slim_clock_ns();

        if (now != seen) {
            seen = now;
            moved_ns = time_ns;
        }
        if (time_ns - moved_ns > STUCK_NS)
            bench_load_fail(l, "%s: %llu of %llu done, then nothing for 30 s; is \"%s\" a SLIM node?", what,
                            (unsigned long long)now, (unsigned long long)n, l->options->server);
        bench_load_progress(l, what, (double)now / (double)n, (double)now / ((double)(time_ns - started_ns + 1) / 1e9), "/s");
        if (!bench_load_watch(l))
            return false;
    }
    return true;
}

static bool progress_shown;

void bench_load_progress(bench_load *l, const char *what, double share, double rate, const char *unit)
{
    static uint64_t next_ns, began_ns;
    static const char *last;
    uint64_t now = slim_clock_ns();
    double took;

    if (what != last)
        began_ns = now;
    if (isatty(STDERR_FILENO) == 0 || (what == last && now < next_ns))
        return;
    last = what;
    next_ns = now + PROGRESS_NS;
    took = (double)(now - began_ns) / 1e9;
    fprintf(stderr, "\r\033[K%s: %3.0f %%, %.0f%s", what, share * 100, rate, unit);
    if (share > 0.001)
        fprintf(stderr, ", %.0f s to go", took / share - took < 0 ? 0 : took / share - took);
    fflush(stderr);
    progress_shown = true;
}

void bench_load_progress_end(void)
{
    if (progress_shown)
        fprintf(stderr, "\r\033[K");
    progress_shown = false;
}
