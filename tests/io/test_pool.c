#include <criterion/criterion.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "io/pool.h"
#include "support/support.h"

typedef struct job {
    slim_job job;
    pthread_t ran_on, done_on;
    int runs, dones;
    slim_pool *again; /* submit once more from done */
    slim_pool_port *port;
} job;

static void run(slim_job *self)
{
    job *j = (job *)self;

    j->ran_on = pthread_self();
    j->runs++;
}

static void done(slim_job *self)
{
    job *j = (job *)self;

    j->done_on = pthread_self();
    j->dones++;
    if (j->again != NULL) {
        slim_pool *p = j->again;

        j->again = NULL;
        slim_pool_submit_xt(p, j->port, self);
    }
}

static bool readable(slim_pool_port *port, int timeout_ms)
{
    struct pollfd p = {slim_pool_port_fd(port), POLLIN, 0};

    return poll(&p, 1, timeout_ms) == 1;
}

Test(pool, results_come_back_to_the_port, .timeout = 60)
{
    test_mem m;
    slim_pool *p;
    slim_pool_port *port;
    job j = {.job = {.run = run, .done = done}};

    test_mem_init(&m, -1);
    p = slim_pool_new(&m.mem, 1);
    port = slim_pool_port_new(&m.mem);
    cr_assert(p != NULL && port != NULL);
    cr_assert_not(readable(port, 0));
    slim_pool_port_drain(port);
    slim_pool_submit_xt(p, port, &j.job);
    cr_assert(readable(port, 30000));
    cr_assert_eq(j.dones, 0, "only a drain calls done");
    slim_pool_port_drain(port);
    cr_assert_eq(j.runs, 1);
    cr_assert_eq(j.dones, 1);
    cr_assert(pthread_equal(j.done_on, pthread_self()));
    cr_assert_not(pthread_equal(j.ran_on, pthread_self()));
    cr_assert_not(readable(port, 0), "nothing is left to be read");
    slim_pool_free(p);
    slim_pool_port_free(port);
    cr_assert_eq(m.live, 0);
}

Test(pool, a_job_may_be_submitted_from_done, .timeout = 60)
{
    slim_pool *p = slim_pool_new(&slim_mem_libc, 2);
    slim_pool_port *port = slim_pool_port_new(&slim_mem_libc);
    job j = {.job = {.run = run, .done = done}, .again = p, .port = port};

    slim_pool_submit_xt(p, port, &j.job);
    while (j.dones < 2 && readable(port, 30000))
        slim_pool_port_drain(port);
    cr_assert_eq(j.runs, 2);
    cr_assert_eq(j.dones, 2);
    slim_pool_free(p);
    slim_pool_port_free(port);
}

Test(pool, free_finishes_what_is_queued, .timeout = 60)
{
    slim_pool *p = slim_pool_new(&slim_mem_libc, 3);
    slim_pool_port *port = slim_pool_port_new(&slim_mem_libc);
    job *jobs = calloc(1000, sizeof(*jobs));

    for (int i = 0; i < 1000; i++) {
        jobs[i].job = (slim_job){.run = run, .done = done};
        slim_pool_submit_xt(p, port, &jobs[i].job);
    }
    slim_pool_free(p);
    for (int i = 0; i < 1000; i++)
        cr_assert_eq(jobs[i].runs, 1);
    cr_assert(readable(port, 0));
    slim_pool_port_drain(port);
    for (int i = 0; i < 1000; i++)
        cr_assert_eq(jobs[i].dones, 1);
    slim_pool_port_free(port);
    free(jobs);
}

Test(pool, two_ports, .timeout = 60)
{
    slim_pool *p = slim_pool_new(&slim_mem_libc, 2);
    slim_pool_port *a = slim_pool_port_new(&slim_mem_libc), *b = slim_pool_port_new(&slim_mem_libc);
    job ja = {.job = {.run = run, .done = done}}, jb = ja;

    slim_pool_submit_xt(p, a, &ja.job);
    slim_pool_submit_xt(p, b, &jb.job);
    slim_pool_free(p);
    slim_pool_port_drain(a);
    cr_assert_eq(ja.dones, 1);
    cr_assert_eq(jb.dones, 0, "each port has its own");
    slim_pool_port_drain(b);
    cr_assert_eq(jb.dones, 1);
    slim_pool_port_free(a);
    slim_pool_port_free(b);
}

Test(pool, no_memory)
{
    test_mem m;

    test_mem_init(&m, 0);
    cr_assert_null(slim_pool_new(&m.mem, 1));
    test_mem_init(&m, 0);
    cr_assert_null(slim_pool_port_new(&m.mem));
    slim_pool_free(NULL);
    slim_pool_port_free(NULL);
}
