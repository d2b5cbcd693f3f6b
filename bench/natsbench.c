/* The load of slimbench's modes stream and connections, on a NATS server: what the figures of a node are held against. Reports have
 * the keys of slimbench's. */
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench/nats.h"
#include "bench/payload.h"
#include "bench/report.h"

/* So much may be sent and not yet received: a server drops who lags behind by 64 MiB. */
#define AHEAD_BYTES (1024u * 1024)
/* One send takes about so much. */
#define BATCH_BYTES (64u * 1024)
#define HEAD_MAX_BYTES 96
#define LINKS_MAX 100000

typedef struct setup {
    const char *mode, *server;
    char host[128];
    const char *port;
    uint32_t payload, links;
    double duration_s, warmup_s;
    long pid;
    bench_format format;
} setup;

typedef struct run {
    const setup *setup;
    char subject[32];
    nats_link publisher, subscriber;
    pthread_t threads[2]; /* the publisher's, the subscriber's */
    _Atomic uint64_t sent, received, measured_from_ns;
    _Atomic bool stop, failed;
    pthread_mutex_t lock;
    pthread_cond_t room; /* the publisher waits for it */
    bool is_waiting;
    bench_account account;
    uint64_t corrupt;
    bench_histogram latency;
} run;

typedef struct mark {
    uint64_t time_ns, sent, received, cpu_ns[2];
    bench_usage server;
} mark;

static run the_run; /* the histogram is too large for a stack */

static void fail(run *r, const char *who, const nats_link *l)
{
    if (!atomic_exchange(&r->failed, true))
        fprintf(stderr, "natsbench: %s, %s: %s\n", r->setup->server, who, l->why);
    pthread_mutex_lock(&r->lock);
    pthread_cond_signal(&r->room);
    pthread_mutex_unlock(&r->lock);
}

static uint64_t ahead_bytes(const run *r, uint64_t sent)
{
    return (sent - atomic_load(&r->received)) * (r->setup->payload + HEAD_MAX_BYTES);
}

/* False: the run ends. A single message always has room. */
static bool room_await(run *r, uint64_t sent)
{
    if (ahead_bytes(r, sent) > AHEAD_BYTES) {
        pthread_mutex_lock(&r->lock);
        r->is_waiting = true;
        while (ahead_bytes(r, sent) > AHEAD_BYTES / 2 && !atomic_load(&r->failed) && !atomic_load(&r->stop))
            pthread_cond_wait(&r->room, &r->lock);
        r->is_waiting = false;
        pthread_mutex_unlock(&r->lock);
    }
    return !atomic_load(&r->failed) && !atomic_load(&r->stop);
}

static bool batch_send(run *r, uint8_t *out, const char *head, size_t head_n, uint64_t *sent)
{
    uint64_t now = slim_clock_ns();
    slim_bytes unused;
    size_t n = 0;

    do {
        memcpy(out + n, head, head_n);
        bench_payload_put(out + n + head_n, r->setup->payload, (bench_stamp){*sent, now});
        n += head_n + r->setup->payload;
        out[n++] = '\r';
        out[n++] = '\n';
        ++*sent;
    } while (n < BATCH_BYTES && ahead_bytes(r, *sent) <= AHEAD_BYTES);
    if (!nats_send(&r->publisher, out, n))
        return false;
    atomic_store(&r->sent, *sent);
    return nats_read(&r->publisher, false) && nats_next(&r->publisher, &unused) == NATS_MORE;
}

static void *publish(void *context)
{
    run *r = context;
    uint8_t *out = malloc(BATCH_BYTES + HEAD_MAX_BYTES + 2 + (size_t)r->setup->payload);
    char head[HEAD_MAX_BYTES];
    uint64_t sent = 0;
    size_t head_n = (size_t)snprintf(head, sizeof(head), "PUB %s %u\r\n", r->subject, r->setup->payload);
    bool well = out != NULL;

    if (!well)
        snprintf(r->publisher.why, sizeof(r->publisher.why), "no memory");
    while (well && room_await(r, sent))
        well = batch_send(r, out, head, head_n, &sent);
    if (!well || (!atomic_load(&r->failed) && !nats_flush(&r->publisher)))
        fail(r, "publisher", &r->publisher);
    free(out);
    return NULL;
}

static void take(run *r, slim_bytes payload, uint64_t now)
{
    bench_stamp stamp;

    if (payload.n != r->setup->payload || !bench_stamp_read(payload, &stamp) || !bench_payload_check(payload, stamp)) {
        r->corrupt++;
        return;
    }
    if (bench_account_take(&r->account, &slim_mem_libc, stamp.sequence) && stamp.time_ns >= atomic_load(&r->measured_from_ns))
        bench_histogram_add(&r->latency, now - stamp.time_ns);
}

/* Until the answer to the PING that comes behind the last message. */
static void *receive(void *context)
{
    run *r = context;
    nats_event e = NATS_MORE;

    while (e == NATS_MORE) {
        uint64_t n = 0, now;
        slim_bytes payload;

        if (!nats_read(&r->subscriber, true)) {
            e = NATS_FAILED;
            break;
        }
        now = slim_clock_ns();
        for (; (e = nats_next(&r->subscriber, &payload)) == NATS_MESSAGE; n++)
            take(r, payload, now);
        atomic_fetch_add(&r->received, n);
        pthread_mutex_lock(&r->lock);
        if (r->is_waiting)
            pthread_cond_signal(&r->room);
        pthread_mutex_unlock(&r->lock);
    }
    if (e == NATS_FAILED)
        fail(r, "subscriber", &r->subscriber);
    return NULL;
}

static bool mark_take(run *r, mark *m)
{
    char why[256];

    m->time_ns = slim_clock_ns();
    m->sent = atomic_load(&r->sent);
    m->received = atomic_load(&r->received);
    for (int i = 0; i < 2; i++)
        m->cpu_ns[i] = bench_thread_cpu_ns(r->threads[i]);
    if (r->setup->pid == 0 || bench_process_usage(r->setup->pid, &m->server, why, sizeof(why)))
        return true;
    fprintf(stderr, "natsbench: %s\n", why);
    return false;
}

static void pause_until(const run *r, uint64_t until_ns)
{
    uint64_t now;

    while (!atomic_load(&r->failed) && (now = slim_clock_ns()) < until_ns)
        usleep((useconds_t)(until_ns - now > 10000000 ? 10000 : (until_ns - now) / 1000 + 1));
}

static void report_head(bench_report *out, const setup *s)
{
    bench_report_text(out, "mode", "mode", s->mode);
    bench_report_text(out, "server", "server", s->server);
    bench_report_text(out, "tls", "TLS", "no");
}

static int stream_report(run *r, const mark *from, const mark *to)
{
    static bench_report out;
    bench_tally sum = {0};
    const setup *s = r->setup;
    double seconds = (double)(to->time_ns - from->time_ns) / 1e9, messages = (double)(to->received - from->received);
    double cpu = s->pid != 0 ? (double)(to->server.cpu_ns - from->server.cpu_ns) / 1e9 : NAN;
    double own[2] = {(double)(to->cpu_ns[0] - from->cpu_ns[0]) / 1e9, (double)(to->cpu_ns[1] - from->cpu_ns[1]) / 1e9};
    char payload[16];

    snprintf(payload, sizeof(payload), "%u", s->payload);
    report_head(&out, s);
    bench_report_text(&out, "payload", "payload bytes", payload);
    bench_report_number(&out, "seconds", "measured", seconds, 3, "s");
    bench_report_number(&out, "sent", "sent", (double)(to->sent - from->sent), 0, NULL);
    bench_report_number(&out, "delivered", "delivered", messages, 0, NULL);
    bench_report_number(&out, "rate", "rate", messages / seconds, 0, "/s");
    bench_report_latency(&out, &r->latency, "latency", "latency");
    bench_report_number(&out, "node_cpu_us", "server CPU", messages > 0 ? cpu * 1e6 / messages : NAN, 3, "us per message");
    bench_report_number(&out, "node_busy", "server busy", cpu / seconds * 100, 0, "% of a core");
    bench_report_number(&out, "node_rss_mib", "server memory", s->pid != 0 ? (double)to->server.rss_bytes / 1048576 : NAN, 1,
                        "MiB");
    bench_report_number(&out, "own_cpu_us", "own CPU", messages > 0 ? (own[0] + own[1]) * 1e6 / messages : NAN, 3,
                        "us per message");
    bench_report_number(&out, "own_busiest", "own busiest thread", fmax(own[0], own[1]) / seconds * 100, 0, "% of a core");
    bench_account_close(&r->account, &slim_mem_libc, atomic_load(&r->sent), &sum);
    sum.corrupt += r->corrupt;
    bench_report_tally(&out, &sum);
    bench_report_print(&out, s->format);
    if (sum.lost + sum.duplicates + sum.reordered + sum.corrupt == 0)
        return 0;
    fprintf(stderr, "natsbench: of %llu messages %llu were lost, %llu came twice, %llu out of order, %llu corrupt\n",
            (unsigned long long)sum.expected, (unsigned long long)sum.lost, (unsigned long long)sum.duplicates,
            (unsigned long long)sum.reordered, (unsigned long long)sum.corrupt);
    return 3;
}

static bool threads_start(run *r)
{
    if (pthread_create(&r->threads[1], NULL, receive, r) != 0)
        return false;
    if (pthread_create(&r->threads[0], NULL, publish, r) == 0)
        return true;
    shutdown(r->subscriber.fd, SHUT_RDWR);
    pthread_join(r->threads[1], NULL);
    return false;
}

static int stream(const setup *s)
{
    run *r = &the_run;
    char subscribe[64];
    mark from = {0}, to = {0};
    uint64_t began;
    bool well;
    int status = 1;

    r->setup = s;
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->room, NULL);
    atomic_store(&r->measured_from_ns, UINT64_MAX);
    snprintf(r->subject, sizeof(r->subject), "bench.%ld", (long)getpid());
    snprintf(subscribe, sizeof(subscribe), "SUB bench.%ld 1\r\n", (long)getpid());
    if (!nats_open(&r->publisher, s->host, s->port, 0)) {
        fail(r, "publisher", &r->publisher);
        goto out;
    }
    if (!nats_open(&r->subscriber, s->host, s->port, s->payload) || !nats_send_text(&r->subscriber, subscribe) ||
        !nats_flush(&r->subscriber)) {
        fail(r, "subscriber", &r->subscriber);
        goto out;
    }
    if (!threads_start(r)) {
        fprintf(stderr, "natsbench: cannot start a thread\n");
        goto out;
    }
    began = slim_clock_ns();
    pause_until(r, began + (uint64_t)(s->warmup_s * 1e9));
    well = mark_take(r, &from);
    atomic_store(&r->measured_from_ns, from.time_ns);
    pause_until(r, from.time_ns + (uint64_t)(s->duration_s * 1e9));
    well = mark_take(r, &to) && well;
    pthread_mutex_lock(&r->lock);
    atomic_store(&r->stop, true);
    pthread_cond_signal(&r->room);
    pthread_mutex_unlock(&r->lock);
    pthread_join(r->threads[0], NULL);
    /* The server has read all messages, so that the answer to this comes behind the last of them. */
    if (atomic_load(&r->failed) || !nats_send_text(&r->subscriber, "PING\r\n"))
        shutdown(r->subscriber.fd, SHUT_RDWR);
    pthread_join(r->threads[1], NULL);
    if (well && !atomic_load(&r->failed))
        status = stream_report(r, &from, &to);
out:
    nats_close(&r->publisher);
    nats_close(&r->subscriber);
    return status;
}

static int connections(const setup *s)
{
    static bench_report out;
    nats_link *links = calloc(s->links, sizeof(*links));
    bench_usage before = {0}, after = {0};
    uint32_t opened = 0;
    uint64_t began, took;
    char why[sizeof(links->why) + 160] = "";
    int status = 1;

    if (links == NULL) {
        fprintf(stderr, "natsbench: no memory for %u links\n", s->links);
        return 1;
    }
    bench_process_descriptors();
    if (s->pid != 0 && !bench_process_usage(s->pid, &before, why, sizeof(why)))
        goto out;
    began = slim_clock_ns();
    while (opened < s->links) {
        if (!nats_open(&links[opened++], s->host, s->port, 0)) {
            snprintf(why, sizeof(why), "%.128s, link %u: %s", s->server, opened, links[opened - 1].why);
            goto out;
        }
    }
    took = slim_clock_ns() - began;
    usleep((useconds_t)(s->duration_s * 1e6));
    if (s->pid != 0 && !bench_process_usage(s->pid, &after, why, sizeof(why)))
        goto out;
    report_head(&out, s);
    bench_report_number(&out, "links", "links wanted", s->links, 0, NULL);
    bench_report_number(&out, "opened", "links opened", opened, 0, NULL);
    bench_report_number(&out, "rate", "rate", (double)opened * 1e9 / (double)took, 0, "links/s");
    bench_report_number(&out, "node_rss_mib", "server memory", s->pid != 0 ? (double)after.rss_bytes / 1048576 : NAN, 1, "MiB");
    bench_report_number(&out, "node_link_kib", "server memory per link",
                        s->pid != 0 ? ((double)after.rss_bytes - (double)before.rss_bytes) / 1024 / opened : NAN, 1, "KiB");
    bench_report_print(&out, s->format);
    status = 0;
out:
    if (status != 0)
        fprintf(stderr, "natsbench: %s\n", why);
    for (uint32_t i = 0; i < opened; i++)
        nats_close(&links[i]);
    free(links);
    return status;
}

static void help(void)
{
    printf("natsbench, slimbench's load for a NATS server\n\n"
           "Usage: natsbench stream|connections [options]\n\n"
           "  --server HOST:PORT  the server [127.0.0.1:4222]\n"
           "  --payload BYTES     of each message, %d to %u [64]\n"
           "  --links N           connections to open, 1 to %d [1000]\n"
           "  --duration SECONDS  how long to measure, or to hold the connections [10; 1]\n"
           "  --warmup SECONDS    traffic in front of that which is not measured [1]\n"
           "  --pid PID           the server's process, to report its CPU and memory\n"
           "  --json              report as one line of JSON\n\n"
           "Exit status: 0 all well, 1 the run was not possible or a link was lost, 2 wrong usage,\n"
           "3 messages were lost, duplicated, out of order or corrupt.\n",
           BENCH_STAMP_BYTES, NATS_PAYLOAD_MAX_BYTES, LINKS_MAX);
}

static bool number(const char *name, const char *text, double min, double max, double *out)
{
    char *end;

    *out = strtod(text, &end);
    if (end != text && *end == '\0' && *out >= min && *out <= max)
        return true;
    fprintf(stderr, "natsbench: --%s: \"%s\" is no number from %.15g to %.15g\n", name, text, min, max);
    return false;
}

static bool server_parse(setup *s)
{
    const char *colon = strrchr(s->server, ':');

    if (colon == NULL || colon == s->server || (size_t)(colon - s->server) >= sizeof(s->host)) {
        fprintf(stderr, "natsbench: --server: \"%s\" is no HOST:PORT\n", s->server);
        return false;
    }
    snprintf(s->host, sizeof(s->host), "%.*s", (int)(colon - s->server), s->server);
    s->port = colon + 1;
    return true;
}

int main(int argc, char **argv)
{
    static const struct option names[] = {{"server", required_argument, NULL, 's'},
                                          {"payload", required_argument, NULL, 'p'},
                                          {"links", required_argument, NULL, 'l'},
                                          {"duration", required_argument, NULL, 'd'},
                                          {"warmup", required_argument, NULL, 'w'},
                                          {"pid", required_argument, NULL, 'P'},
                                          {"json", no_argument, NULL, 'j'},
                                          {"help", no_argument, NULL, 'h'},
                                          {NULL, 0, NULL, 0}};
    setup s = {.mode = "", .server = "127.0.0.1:4222", .payload = 64, .links = 1000, .duration_s = -1, .warmup_s = 1};
    bool well = true, is_stream;
    double v = 0;
    int c;

    while (well && (c = getopt_long(argc, argv, "h", names, NULL)) != -1) {
        switch (c) {
        case 's': s.server = optarg; break;
        case 'p': well = number("payload", optarg, BENCH_STAMP_BYTES, NATS_PAYLOAD_MAX_BYTES, &v), s.payload = (uint32_t)v; break;
        case 'l': well = number("links", optarg, 1, LINKS_MAX, &v), s.links = (uint32_t)v; break;
        case 'd': well = number("duration", optarg, 0.01, 1e6, &s.duration_s); break;
        case 'w': well = number("warmup", optarg, 0, 1e6, &s.warmup_s); break;
        case 'P': well = number("pid", optarg, 1, 4194304, &v), s.pid = (long)v; break;
        case 'j': s.format = BENCH_JSON; break;
        case 'h': help(); return 0;
        default: well = false;
        }
    }
    if (well && optind + 1 == argc)
        s.mode = argv[optind];
    is_stream = strcmp(s.mode, "stream") == 0;
    if (well && !is_stream && strcmp(s.mode, "connections") != 0) {
        fprintf(stderr, "natsbench: one mode is needed, stream or connections; see natsbench --help\n");
        well = false;
    }
    if (!well || !server_parse(&s))
        return 2;
    if (s.duration_s < 0)
        s.duration_s = is_stream ? 10 : 1;
    return is_stream ? stream(&s) : connections(&s);
}
