/* sim --seed N, or --seeds A..B: scenarios, each in a process of its own. The first that fails is told with the way to repeat it.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "node/hub.h"
#include "sim.h"

#define JOBS_MAX 16
#define SCENARIO_S 120

sim_faults sim_faults_now;

/* ---- the hub's memory ---- */

static void *mem_resize(slim_mem *m, void *p, size_t n)
{
    sim_mem *s = (sim_mem *)m;
    void *q;

    if (s->failing && sim_happens(sim_faults_now.no_memory))
        return NULL;
    if ((q = realloc(p, n != 0 ? n : 1)) != NULL && p == NULL)
        s->live++;
    return q;
}

static void mem_release(slim_mem *m, void *p)
{
    ((sim_mem *)m)->live--;
    free(p);
}

sim_mem sim_hub_mem = {.mem = {mem_resize, mem_release}};

/* ---- one scenario ---- */

static void choose_faults(void)
{
    sim_faults *f = &sim_faults_now;

    *f = (sim_faults){
        .part_recv = sim_below(2) ? (uint32_t)sim_below(600) : 0,
        .part_send = sim_below(2) ? (uint32_t)sim_below(600) : 0,
        .late_send = sim_below(2) ? (uint32_t)sim_below(700) : 0,
        .late_bytes = sim_below(3) == 0 ? (uint32_t)sim_below(200) : 0,
        .no_buffers = sim_below(3) == 0 ? (uint32_t)sim_below(200) : 0,
        .no_descriptor = sim_below(4) == 0 ? (uint32_t)sim_below(400) : 0,
        .no_memory = sim_below(4) == 0 ? 1 + (uint32_t)sim_below(sim_below(2) ? 20 : 400) : 0,
        .pipe_bytes = 1u << (10 + sim_below(9)),
        .slabs = 4 + (uint32_t)sim_below(28),
        .slab_bytes = 512u << sim_below(8),
        .workers = 1 + (uint32_t)sim_below(4),
        .placement = sim_below(3) == 0 ? SLIM_PLACEMENT_FOLLOW : SLIM_PLACEMENT_RESTLESS,
        .egress_high_bytes = sim_below(2) ? 16384 + sim_below(200000) : 0,
        .memory_bytes = sim_below(3) == 0 ? (8 << 20) + (int64_t)sim_below(32 << 20) : 1 << 30,
    };
}

static void *scenario(void *unused)
{
    slim_hub_config cfg = {.node_id = "sim",
                           .version = "3.4.6",
                           .deployment_name = "",
                           .thread_name = "sim",
                           .negotiation_timeout_ns = 5000000000u,
                           .workers = sim_faults_now.workers,
                           .placement = (slim_placement)sim_faults_now.placement,
                           .ring = {SLIM_RING_EPOLL, sim_faults_now.slabs, sim_faults_now.slab_bytes},
                           .memory_limit_bytes = sim_faults_now.memory_bytes,
                           .egress_high_bytes = sim_faults_now.egress_high_bytes,
                           .mem = &sim_hub_mem.mem};
    slim_hub_server server = {.endpoint = "127.0.0.1:0", .ping_interval_ns = 60000000000u, .ping_timeout_ns = 20000000000u};
    char bound[128], why[200] = "";
    slim_hub_stats stats;
    slim_hub *h;
    pthread_t t;
    bool in_time;

    SIM_REQUIRE(slim_hub_new(&cfg, &h, why, sizeof(why)) == SLIM_OK, "%s", why);
    SIM_REQUIRE(slim_hub_listen(h, &server, bound, sizeof(bound), why, sizeof(why)) == SLIM_OK, "%s", why);
    pthread_create(&t, NULL, sim_population, bound);
    SIM_REQUIRE(sim_wait_until(sim_population_over, NULL, UINT64_MAX / 2), "never");
    in_time = slim_hub_drain(h, sim_below(2) ? 600000000000u : sim_below(3000000000u));
    slim_hub_stats_xt(h, &stats);
    SIM_REQUIRE(!in_time || stats.links == 0, "%llu links are left after the drain", (unsigned long long)stats.links);
    sim_note(stats.messages_in << 32 ^ stats.messages_out);
    slim_hub_free(h);
    pthread_join(t, NULL);
    /* No abort: a leak checker tells at the end of the process where they come from. */
    if (sim_hub_mem.live != 0)
        fprintf(stderr, "%ld blocks of memory are left\n", sim_hub_mem.live);
    return NULL;
}

static int scenario_run(uint64_t seed, bool tell)
{
    sim_chance_init(seed);
    choose_faults();
    signal(SIGPIPE, SIG_IGN);
    alarm(SCENARIO_S); /* a loop that never waits */
    sim_run(scenario, NULL);
    if (tell)
        printf("seed %llu: %016llx\n", (unsigned long long)seed, (unsigned long long)sim_noted());
    fflush(NULL);
    return sim_hub_mem.live != 0;
}

/* ---- many ---- */

static bool range_parse(const char *text, uint64_t *first, uint64_t *last)
{
    char *end;

    errno = 0;
    *first = *last = strtoull(text, &end, 10);
    if (end != text && strncmp(end, "..", 2) == 0)
        *last = strtoull(end + 2, &end, 10);
    return errno == 0 && *end == '\0' && *first <= *last && text[0] != '\0';
}

int main(int argc, char **argv)
{
    uint64_t first = 1, last = 100, next, failed = 0, failed_seed = 0, running = 0;
    long jobs = sysconf(_SC_NPROCESSORS_ONLN);
    struct {
        pid_t pid;
        uint64_t seed;
    } job[JOBS_MAX];

    if (argc != 3 || (strcmp(argv[1], "--seed") != 0 && strcmp(argv[1], "--seeds") != 0) || !range_parse(argv[2], &first, &last)) {
        fprintf(stderr, "usage: sim --seed N | --seeds A..B\n");
        return 2;
    }
    if (strcmp(argv[1], "--seed") == 0)
        return scenario_run(first, true);
    if (jobs > JOBS_MAX)
        jobs = JOBS_MAX;
    for (next = first; next <= last || running > 0;) {
        int status;
        pid_t pid;

        if (next <= last && running < (uint64_t)jobs) {
            if ((pid = fork()) == 0)
                exit(scenario_run(next, false)); /* with the check for leaks that belongs to a sanitized build */
            if (pid < 0) {
                perror("fork");
                return 1;
            }
            job[running].pid = pid;
            job[running++].seed = next++;
            continue;
        }
        pid = wait(&status);
        for (uint64_t i = 0; i < running; i++) {
            if (job[i].pid != pid)
                continue;
            if (status != 0) {
                failed++;
                fprintf(stderr, "seed %llu failed (status %#x); repeat it with: sim --seed %llu\n", (unsigned long long)job[i].seed,
                        (unsigned)status, (unsigned long long)job[i].seed);
                if (failed_seed == 0 || job[i].seed < failed_seed)
                    failed_seed = job[i].seed;
            }
            job[i] = job[--running];
        }
    }
    printf("%llu seeds passed, %llu failed\n", (unsigned long long)(last - first + 1 - failed), (unsigned long long)failed);
    return failed != 0;
}
