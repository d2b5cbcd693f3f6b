/* Clients that come, talk, stall, break and go, and what must hold for each message that one of them gets. */
#include <string.h>
#include <unistd.h>

#include "bench/link.h"
#include "bench/message.h"
#include "sim.h"

#define CLIENTS_MAX 10
#define LIVES 64
#define NOISE_MAX 6
#define GOOD 2 /* the first ones: nobody breaks or stalls them */
/* In how much time of theirs all that was sent to a good client has to be there. */
#define PATIENCE_NS 120000000000u

typedef struct client {
    bench_link link; /* first */
    unsigned index;
    uint32_t life;
    int fd;
    bool subscribed, everybody, stalled;
    uint64_t said, wanted, heard; /* to and from the other good one */
    uint64_t last[CLIENTS_MAX][LIVES];
    slim_name name;
    char text[16];
} client;

static client clients[CLIENTS_MAX];
static unsigned n_clients;
static slim_io io;
static slim_budget budget = {.limit_bytes = 1 << 30};
static bench_target target;
static slim_name everybody;
static int noise[NOISE_MAX];
static bool settled;

bool sim_population_over(void *unused)
{
    return settled;
}

static bool good(const client *c)
{
    return c->index < GOOD && sim_faults_now.no_memory == 0;
}

/* ---- what a link tells ---- */

static void on_live(bench_link *l)
{
    client *c = (client *)l;

    bench_link_subscribe(l, &c->name, false, 1);
}

static void on_ack(bench_link *l, uint64_t id, bool success)
{
    client *c = (client *)l;

    SIM_REQUIRE(success || !good(c), "client %u: subscription %llu was refused", c->index, (unsigned long long)id);
    if (id == 1)
        c->subscribed = success;
}

static void on_publish(bench_link *l, const slim_view *v)
{
    client *c = (client *)l;
    slim_bytes payload;
    bench_stamp stamp;
    unsigned from;
    uint32_t life;
    uint64_t *last;

    SIM_REQUIRE(bench_payload_find(v, &payload) && bench_stamp_read(payload, &stamp), "client %u got a message without a stamp",
                c->index);
    SIM_REQUIRE(bench_payload_check(payload, stamp), "client %u got a damaged message", c->index);
    SIM_REQUIRE(bench_link_verify(l, v), "client %u got a message with a wrong tag", c->index);
    from = (unsigned)(stamp.sequence >> 56);
    life = (uint32_t)(stamp.sequence >> 32) & 0xffffff;
    SIM_REQUIRE(from < n_clients, "a message of nobody");
    last = &c->last[from][life % LIVES];
    SIM_REQUIRE((uint32_t)stamp.sequence > *last, "client %u got message %u of client %u (life %u) after message %llu", c->index,
                (uint32_t)stamp.sequence, from, life, (unsigned long long)*last);
    *last = (uint32_t)stamp.sequence;
    if (stamp.time_ns == 1)
        c->heard++;
}

static void on_over(bench_link *l)
{
    client *c = (client *)l;

    SIM_REQUIRE(settled || !good(c) || !c->subscribed, "good client %u was thrown out: %s", c->index, l->why);
    c->subscribed = false;
}

/* ---- what clients do ---- */

/* The connection of a link breaks in the middle of whatever is under way. */
static void sim_break(const client *c)
{
    if (c->fd >= 0 && sim_end_of(c->fd) != NULL)
        sim_end_reset(sim_end_of(c->fd));
}

static void dial(client *c)
{
    bench_link *l = &c->link;

    if (l->conn != NULL)
        return;
    c->life++;
    c->subscribed = c->everybody = c->stalled = false;
    memset(c->last, 0, sizeof(c->last));
    c->said = 0;
    *l = (bench_link){.on_live = on_live, .on_publish = on_publish, .on_ack = on_ack, .on_end = on_over};
    c->fd = bench_link_dial(l, &target, &io) ? sim_last_dialled() : -1;
}

static size_t some_size(void)
{
    uint64_t most = 16u * sim_faults_now.pipe_bytes < 300000 ? 16u * sim_faults_now.pipe_bytes : 300000;

    switch (sim_below(20)) {
    case 0: return BENCH_STAMP_BYTES + sim_below(most);
    case 1:
    case 2: return BENCH_STAMP_BYTES + sim_below(20000);
    default: return BENCH_STAMP_BYTES + sim_below(600);
    }
}

/* counts: the other good one waits for it. spoil: a byte of the header is another one. */
static void publish(client *c, const slim_name *to, uint32_t fanout, bool counts, bool spoil)
{
    bench_stamp stamp = {(uint64_t)c->index << 56 | (uint64_t)(c->life & 0xffffff) << 32 | ++c->said, counts};
    bench_message m;
    size_t payload_n = some_size(), n;
    uint8_t *room;

    if (bench_link_queued(&c->link) > 4u << 20)
        return;
    SIM_REQUIRE(bench_message_make(&m, &slim_mem_libc, &c->name, to, sim_below(300), fanout, c->link.mac != NULL) == SLIM_OK,
                "no memory");
    n = bench_message_size(&m, payload_n);
    if ((room = bench_link_begin(&c->link, n)) != NULL) {
        bench_message_put(&m, c->link.mac, stamp, payload_n, room);
        if (spoil)
            room[sim_below(m.head_n)] ^= (uint8_t)(1 + sim_below(255));
        if (counts)
            clients[1 - c->index].wanted++;
    }
    bench_message_free(&m);
}

static void talk(client *c)
{
    const slim_name *to = sim_below(3) == 0 ? &everybody : &clients[sim_below(n_clients)].name;

    publish(c, to, (uint32_t)sim_below(2), false, c->index >= GOOD && sim_below(40) == 0);
}

static void make_noise(void)
{
    int *fd = &noise[sim_below(NOISE_MAX)];
    uint8_t bytes[600];
    size_t n = sim_below(sizeof(bytes));

    if (*fd >= 0 && sim_below(4) == 0) {
        close(*fd);
        *fd = -1;
        return;
    }
    if (*fd < 0 && (*fd = sim_dial()) < 0)
        return;
    for (size_t i = 0; i < n; i++)
        bytes[i] = (uint8_t)sim_chance();
    if (sim_below(2) == 0) {
        static const char start[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0";

        memcpy(bytes, start, n < sizeof(start) - 1 ? n : sizeof(start) - 1);
    }
    sim_end_write(sim_end_of(*fd), &(struct iovec){bytes, n}, 1, n);
}

static void act(client *c)
{
    bench_link *l = &c->link;

    if (l->conn == NULL) {
        dial(c);
        return;
    }
    if (!l->live || l->stream == NULL)
        return;
    if (c->index < GOOD) {
        if (c->subscribed && clients[1 - c->index].subscribed && sim_below(2) == 0)
            publish(c, &clients[1 - c->index].name, 1, true, false);
        else
            talk(c);
        return;
    }
    switch (sim_below(40)) {
    case 0: slim_conn_abort(l->conn, SLIM_OK, "given up"); return;
    case 1: bench_link_close(l); return;
    case 2: sim_break(c); return;
    case 3:
    case 4:
        c->stalled = !c->stalled;
        if (c->stalled)
            slim_stream_pause(l->stream);
        else
            slim_stream_resume(l->stream);
        return;
    case 5:
    case 6:
        c->everybody = !c->everybody;
        bench_link_subscribe(l, &everybody, !c->everybody, 2);
        return;
    case 7: bench_link_subscribe(l, &c->name, true, 1); return;
    case 8: bench_link_subscribe(l, &c->name, false, 1); return;
    default: talk(c);
    }
}

static void turn(uint64_t wait_ns)
{
    size_t n = slim_io_wait(&io, sim_now_ns() + wait_ns, NULL, NULL);

    slim_io_dispatch(&io, n);
}

static bool all_heard(void)
{
    return !good(&clients[0]) || (clients[0].heard == clients[0].wanted && clients[1].heard == clients[1].wanted);
}

void *sim_population(void *address)
{
    const char *why = "";
    char why_not[200];
    uint64_t due_ns, rounds = 100 + sim_below(300);

    SIM_REQUIRE(bench_target_ready(&target, address, NULL, why_not, sizeof(why_not)) == SLIM_OK, "%s", why_not);
    SIM_REQUIRE(slim_io_init(&io, &(slim_ring_config){SLIM_RING_EPOLL, 16, 8192}, &slim_mem_libc, &budget, &why) == SLIM_OK, "%s",
                why);
    n_clients = GOOD + 1 + (unsigned)sim_below(CLIENTS_MAX - GOOD);
    bench_name(&everybody, "sim", "ns", "everybody", 0);
    for (unsigned i = 0; i < n_clients; i++) {
        client *c = &clients[i];

        c->index = i;
        snprintf(c->text, sizeof(c->text), "c%u", i);
        bench_name(&c->name, "sim", "ns", c->text, 0);
    }
    for (int i = 0; i < NOISE_MAX; i++)
        noise[i] = -1;
    while (rounds-- > 0) {
        turn(sim_below(8) == 0 ? sim_below(300000000) : sim_below(2000000));
        for (uint64_t i = sim_below(6); i > 0; i--)
            act(&clients[sim_below(n_clients)]);
        if (sim_below(10) == 0)
            make_noise();
        if (sim_faults_now.no_memory != 0 && sim_below(10) == 0)
            sim_hub_mem.failing = !sim_hub_mem.failing;
        slim_io_flush(&io);
    }
    sim_hub_mem.failing = false;
    for (due_ns = sim_now_ns() + PATIENCE_NS; !all_heard();) {
        SIM_REQUIRE(sim_now_ns() < due_ns, "good clients heard %llu of %llu and %llu of %llu", (unsigned long long)clients[0].heard,
                    (unsigned long long)clients[0].wanted, (unsigned long long)clients[1].heard,
                    (unsigned long long)clients[1].wanted);
        /* Stalled ones go on, or nobody who waits for them would. */
        for (unsigned i = GOOD; i < n_clients; i++) {
            if (clients[i].stalled && clients[i].link.stream != NULL)
                slim_stream_resume(clients[i].link.stream);
            clients[i].stalled = false;
        }
        turn(1000000);
        slim_io_flush(&io);
    }
    sim_note(clients[0].heard << 32 | clients[1].heard);
    settled = true;
    if (sim_below(2) == 0)
        for (unsigned i = 0; i < n_clients; i++)
            bench_link_close(&clients[i].link);
    for (int i = 0; i < NOISE_MAX; i++)
        if (noise[i] >= 0)
            close(noise[i]);
    for (due_ns = sim_now_ns() + PATIENCE_NS; io.n_conns > 0;) {
        SIM_REQUIRE(sim_now_ns() < due_ns, "%u connections of clients never end", io.n_conns);
        for (unsigned i = 0; i < n_clients; i++)
            if (clients[i].stalled && clients[i].link.stream != NULL)
                slim_stream_resume(clients[i].link.stream);
        turn(1000000);
        slim_io_flush(&io);
    }
    slim_io_free(&io);
    return NULL;
}
