/* What the steps of a message's way cost one by one, in nanoseconds: `micro [part of a name]`. Each figure is the best of several
 * rounds, with everything in the caches that a busy worker would have there. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "auth/mac.h"
#include "core/head.h"
#include "core/routes.h"
#include "node/xq.h"

#define ROUNDS 7
#define ROUND_NS 40000000

/* One thing to measure: runs n operations. What it computes goes into sink, so that no compiler leaves it out. */
typedef struct bench {
    const char *name;
    void (*run)(void *arg, uint64_t n);
    void *arg;
} bench;

static volatile uint64_t sink;
static const char *wanted = "";

static uint64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static bool selected(const char *name)
{
    return strstr(name, wanted) != NULL;
}

static void measure(const bench *b)
{
    uint64_t n = 1, took, best;

    if (!selected(b->name))
        return;
    /* Enough operations for a round; also warms up. */
    for (;;) {
        uint64_t start = now_ns();

        b->run(b->arg, n);
        if ((took = now_ns() - start) >= ROUND_NS / 4)
            break;
        n *= 2;
    }
    n = n * ROUND_NS / took + 1;
    best = UINT64_MAX;
    for (int i = 0; i < ROUNDS; i++) {
        uint64_t start = now_ns();

        b->run(b->arg, n);
        took = now_ns() - start;
        if (took < best)
            best = took;
    }
    printf("%-48s %10.1f\n", b->name, (double)best / (double)n);
    fflush(stdout);
}

static void *need(void *p)
{
    if (p == NULL) {
        fprintf(stderr, "micro: out of memory\n");
        exit(1);
    }
    return p;
}

/* splitmix64's output function: numbers that are spread like hashes. */
static uint64_t mix(uint64_t z)
{
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* --- scanner and head --- */

static uint8_t *put_number(uint8_t *p, unsigned field, uint64_t v)
{
    p = slim_varint_put(p, field << 3);
    return slim_varint_put(p, v);
}

static uint8_t *put_part(uint8_t *p, unsigned field, const void *body, size_t n)
{
    p = slim_varint_put(p, field << 3 | 2);
    p = slim_varint_put(p, n);
    return slim_put(p, body, n);
}

static uint8_t *put_text(uint8_t *p, unsigned field, const char *s)
{
    return put_part(p, field, s, strlen(s));
}

static uint8_t *put_name(uint8_t *p, unsigned field, const char *app)
{
    static const char *const front[2] = {"org", "ns"};
    uint8_t id[32], encoded[96], strings[64], name[192], *at = id, *e = encoded, *s = strings, *n = name;

    at = put_number(at, 1, mix(1));
    at = put_number(at, 2, mix(2));
    for (unsigned i = 0; i < 3; i++) {
        const char *text = i < 2 ? front[i] : app;

        e = put_number(e, i + 1, slim_component_hash(slim_bytes_str(text)));
        s = put_text(s, i + 1, text);
    }
    e = put_part(e, 4, id, (size_t)(at - id));
    n = put_part(n, 1, encoded, (size_t)(e - encoded));
    n = put_part(n, 2, strings, (size_t)(s - strings));
    return put_part(p, field, name, (size_t)(n - name));
}

/* A publish as clients send it, with a payload of so many bytes. */
static size_t publish_build(uint8_t *out, size_t payload_bytes)
{
    static const uint8_t zeros[512];
    uint8_t header[512], session[32], app[600], content[640], member[1200], *h = header, *s = session, *a = app, *c = content,
                                                                            *m = member;

    h = put_name(h, 1, "alice");
    h = put_name(h, 2, "bob");
    h = put_number(h, 4, 1);
    h = put_text(h, 5, "3.4.6");
    h = put_number(h, 6, 8);
    h = put_number(h, 9, 1);
    h = put_part(h, 11, zeros, SLIM_MAC_BYTES);
    s = put_number(s, 1, 1);
    s = put_number(s, 2, 1);
    s = put_number(s, 3, 1234567);
    s = put_number(s, 4, 1);
    a = put_text(a, 1, "msg");
    a = put_part(a, 2, zeros, payload_bytes);
    c = put_part(c, 1, app, (size_t)(a - app));
    m = put_part(m, 1, header, (size_t)(h - header));
    m = put_part(m, 2, session, (size_t)(s - session));
    m = put_part(m, 3, content, (size_t)(c - content));
    return (size_t)(put_part(out, SLIM_MSG_PUBLISH, member, (size_t)(m - member)) - out);
}

#define PUBLISH_BYTES 292

typedef struct message {
    uint8_t bytes[1300];
    size_t n;
    slim_view view;
} message;

static void message_make(message *msg)
{
    size_t payload = 0;

    while ((msg->n = publish_build(msg->bytes, payload)) < PUBLISH_BYTES)
        payload++;
    if (msg->n != PUBLISH_BYTES || slim_view_scan(slim_bytes_of(msg->bytes, msg->n), &msg->view) != SLIM_OK || !msg->view.plain) {
        fprintf(stderr, "micro: the sample message is wrong (%zu bytes)\n", msg->n);
        exit(1);
    }
}

static void run_scan(void *arg, uint64_t n)
{
    const message *msg = arg;
    slim_view v;

    for (uint64_t i = 0; i < n; i++) {
        if (slim_view_scan(slim_bytes_of(msg->bytes, msg->n), &v) != SLIM_OK)
            abort();
        sink += v.ttl;
    }
}

static void run_head(void *arg, uint64_t n)
{
    const message *msg = arg;
    slim_head_patch patch = {7, true, 5, true, false};
    uint8_t out[1300];
    size_t mac;

    for (uint64_t i = 0; i < n; i++) {
        patch.incoming_conn = i & 127;
        sink += slim_head_build(&msg->view, &patch, out, &mac);
    }
}

static void run_preimage(void *arg, uint64_t n)
{
    const message *msg = arg;
    uint8_t out[1300];

    for (uint64_t i = 0; i < n; i++)
        sink += slim_preimage_build(&msg->view, (uint32_t)i & 7, false, out);
}

static void bench_message(void)
{
    message msg;

    message_make(&msg);
    measure(&(bench){"scan, publish of 292 bytes", run_scan, &msg});
    measure(&(bench){"head, publish of 292 bytes", run_head, &msg});
    measure(&(bench){"MAC preimage, publish of 292 bytes", run_preimage, &msg});
}

/* --- header MAC --- */

typedef struct signing {
    slim_mac *mac;
    uint8_t preimage[1200];
    size_t n;
} signing;

static void run_sign(void *arg, uint64_t n)
{
    signing *s = arg;
    uint8_t tag[SLIM_MAC_TAG_BYTES];

    for (uint64_t i = 0; i < n; i++) {
        s->preimage[0] = (uint8_t)i;
        slim_mac_sign(s->mac, slim_bytes_of(s->preimage, s->n), tag);
        sink += tag[0];
    }
}

static void bench_mac(void)
{
    static const size_t sizes[] = {200, 429, 1200};
    static const uint8_t key[SLIM_MAC_KEY_BYTES] = {1, 2, 3};
    signing s = {.mac = need(slim_mac_new(&slim_mem_libc, key, slim_bytes_str("944e9351-7879-4d0d-9509-3f6e9c9df47b")))};
    char name[64];

    for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
        s.n = sizes[i];
        snprintf(name, sizeof(name), "MAC sign, preimage of %zu bytes", s.n);
        measure(&(bench){name, run_sign, &s});
    }
    slim_mac_free(s.mac);
}

/* --- routing table --- */

#define LINKS 64
#define BATCH 32 /* lookups in one epoch section */

typedef struct table {
    slim_routes_reader *reader;
    slim_targets targets;
    uint64_t names, at;
} table;

static slim_name name_of(uint64_t i)
{
    slim_name n = {.present = true, .has_name = true, .has_id = true, .has_str = true};

    n.key = (slim_key){{mix(7), mix(8), mix(2 * i + 100)}};
    n.id = (slim_id){mix(2 * i + 101), i};
    n.str[0] = slim_bytes_str("org");
    n.str[1] = slim_bytes_str("ns");
    n.str[2] = slim_bytes_str("application");
    return n;
}

static void run_lookup(void *arg, uint64_t n)
{
    table *t = arg;

    for (uint64_t i = 0; i < n; i += BATCH) {
        slim_routes_enter(t->reader);
        for (uint64_t k = 0; k < BATCH && i + k < n; k++) {
            slim_name name = name_of(mix(t->at++) % t->names);

            if (slim_routes_match(t->reader, &name.key, name.id, 1, SLIM_LINK_NONE, SLIM_KINDS_ALL, &t->targets) != SLIM_OK)
                abort();
            sink += t->targets.v[0].slot;
        }
        slim_routes_leave(t->reader);
    }
}

static void bench_routes(uint64_t names)
{
    table t = {.targets = {.mem = &slim_mem_libc}, .names = names};
    slim_link_id link[LINKS];
    slim_links *links;
    slim_routes *routes;
    char name[64];

    snprintf(name, sizeof(name), "route lookup, %llu names", (unsigned long long)names);
    if (!selected(name))
        return;
    links = need(slim_links_new(&slim_mem_libc, LINKS));
    routes = need(slim_routes_new(&slim_mem_libc, links, 42));
    t.reader = need(slim_routes_reader_new(routes));
    for (int i = 0; i < LINKS; i++)
        if (slim_links_open_xt(links, 0, SLIM_EDGE, &link[i]) != SLIM_OK)
            need(NULL);
    for (uint64_t i = 0; i < names; i++) {
        slim_name n = name_of(i);
        slim_change change;

        if (slim_routes_subscribe_xt(routes, link[i % LINKS], SLIM_EDGE, i + 1, &n, &change) != SLIM_OK)
            need(NULL);
    }
    measure(&(bench){name, run_lookup, &t});
    slim_targets_free(&t.targets);
    slim_routes_free(routes);
    slim_links_free(links);
}

/* --- core-to-core queue --- */

#define RECORD_BYTES 320
#define RECORDS 32 /* in one batch */

static void run_handover(void *arg, uint64_t n)
{
    slim_xq *q = arg;

    for (uint64_t i = 0; i < n; i += RECORDS) {
        slim_parcel *p;

        for (uint64_t k = 0; k < RECORDS && i + k < n; k++)
            ((slim_xrec *)need(slim_xq_put(q, 1, RECORD_BYTES, 0)))[1].kind = (uint32_t)i;
        slim_xq_flush(q, 0);
        while ((p = slim_xq_take(q)) != NULL) {
            for (size_t at = 0; at < p->used_bytes;) {
                const slim_xrec *rec = (const slim_xrec *)(p->data + at);

                sink += rec[1].kind;
                at += rec->size_bytes;
            }
            slim_xq_done(q, p);
        }
    }
}

static void bench_queue(void)
{
    slim_xq *q = need(slim_xq_new(&slim_mem_libc));

    measure(&(bench){"queue hand-over, records of 320 bytes, 32 at once", run_handover, q});
    slim_xq_free(q);
}

int main(int argc, char **argv)
{
    if (argc > 2) {
        fprintf(stderr, "usage: micro [part of a name]\n");
        return 2;
    }
    if (argc == 2)
        wanted = argv[1];
    printf("%-48s %10s\n", "operation", "ns");
    bench_message();
    bench_mac();
    bench_routes(1000);
    bench_routes(100000);
    bench_routes(1000000);
    bench_queue();
    return 0;
}
