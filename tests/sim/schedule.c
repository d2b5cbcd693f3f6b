#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <string.h>
#include <time.h>

#include "sim.h"

#define ACTORS_MAX 64
/* Far more than any scenario takes. */
#define STEPS_MAX 4000000u

typedef enum actor_state { ACTOR_READY, ACTOR_RING, ACTOR_COND, ACTOR_JOIN, ACTOR_DONE } actor_state;

typedef struct actor {
    pthread_t thread;
    sem_t go;
    actor_state state;
    slim_ring *ring;
    uint64_t due_ns;
    uint64_t signals; /* seen when the wait began */
    struct actor *joins;
    void *(*main)(void *);
    void *arg;
} actor;

static actor actors[ACTORS_MAX];
static unsigned n_actors;
static sem_t director;
static uint64_t now_ns = 1000000000u, signals, chance_state, notes, steps;
static _Thread_local actor *self;

int __real_pthread_create(pthread_t *t, const pthread_attr_t *a, void *(*main)(void *), void *arg);
int __real_pthread_join(pthread_t t, void **out);
int __wrap_pthread_create(pthread_t *t, const pthread_attr_t *a, void *(*main)(void *), void *arg);
int __wrap_pthread_join(pthread_t t, void **out);
int __wrap_pthread_cond_wait(pthread_cond_t *c, pthread_mutex_t *m);
int __wrap_pthread_cond_timedwait(pthread_cond_t *c, pthread_mutex_t *m, const struct timespec *t);
int __wrap_pthread_cond_signal(pthread_cond_t *c);
int __wrap_pthread_cond_broadcast(pthread_cond_t *c);
int __wrap_RAND_bytes(unsigned char *p, int n);

/* ---- chance, time ---- */

void sim_chance_init(uint64_t seed)
{
    chance_state = seed * 0x9e3779b97f4a7c15u + 1;
}

uint64_t sim_chance(void)
{
    uint64_t z = chance_state += 0x9e3779b97f4a7c15u;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

int __wrap_RAND_bytes(unsigned char *p, int n)
{
    for (int i = 0; i < n; i++)
        p[i] = (unsigned char)sim_chance();
    return 1;
}

void sim_note(uint64_t what)
{
    notes = (notes ^ what) * 0x100000001b3u;
}
uint64_t sim_noted(void)
{
    return notes;
}

uint64_t sim_now_ns(void)
{
    return now_ns;
}
uint64_t slim_clock_ns(void)
{
    return now_ns;
}
uint64_t slim_wall_ns(void)
{
    return 1700000000000000000u + now_ns;
}
/* Nobody is ever busy, so that loads never keep a link from moving. */
void slim_thread_meter_open(slim_thread_meter *m)
{
    *m = (slim_thread_meter){.fd = -1};
}
void slim_thread_meter_read(slim_thread_meter *m) {}
void slim_thread_meter_close(slim_thread_meter *m) {}

/* ---- one at a time ---- */

static void give_way(actor_state state)
{
    self->state = state;
    sem_post(&director);
    while (sem_wait(&self->go) != 0)
        ;
    self->state = ACTOR_READY;
}

static bool runnable(const actor *a)
{
    switch (a->state) {
    case ACTOR_READY: return true;
    case ACTOR_RING: return now_ns >= a->due_ns || sim_ring_ready(a->ring);
    case ACTOR_COND: return now_ns >= a->due_ns || signals != a->signals;
    case ACTOR_JOIN: return a->joins->state == ACTOR_DONE;
    case ACTOR_DONE: return false;
    }
    return false;
}

/* Nobody can do anything: the time of the next who waits for one. False: all have ended. */
static bool time_passes(void)
{
    uint64_t next = sim_network_due_ns();
    bool any = false;

    for (unsigned i = 0; i < n_actors; i++) {
        const actor *a = &actors[i];

        any |= a->state != ACTOR_DONE;
        if ((a->state == ACTOR_RING || a->state == ACTOR_COND) && a->due_ns < next)
            next = a->due_ns;
    }
    SIM_REQUIRE(!any || next != UINT64_MAX, "nobody can go on, and nothing will ever happen");
    if (any && next > now_ns)
        now_ns = next;
    return any;
}

static void *actor_main(void *arg)
{
    self = arg;
    while (sem_wait(&self->go) != 0)
        ;
    self->main(self->arg);
    self->state = ACTOR_DONE;
    sem_post(&director);
    return NULL;
}

int __wrap_pthread_create(pthread_t *t, const pthread_attr_t *attr, void *(*main)(void *), void *arg)
{
    actor *a = &actors[n_actors];

    SIM_REQUIRE(n_actors < ACTORS_MAX, "too many threads");
    *a = (actor){.main = main, .arg = arg};
    sem_init(&a->go, 0, 0);
    n_actors++;
    SIM_REQUIRE(__real_pthread_create(&a->thread, attr, actor_main, a) == 0, "pthread_create");
    *t = a->thread;
    return 0;
}

void sim_run(void *(*first)(void *), void *arg)
{
    pthread_t t;

    sem_init(&director, 0, 0);
    pthread_create(&t, NULL, first, arg);
    for (;;) {
        actor *ready[ACTORS_MAX], *a;
        unsigned n = 0;

        for (unsigned i = 0; i < n_actors; i++)
            if (runnable(&actors[i]))
                ready[n++] = &actors[i];
        if (n == 0) {
            if (!time_passes())
                break;
            continue;
        }
        a = ready[sim_below(n)];
        SIM_REQUIRE(++steps < STEPS_MAX, "the scenario does not come to an end");
        sim_note((uint64_t)(a - actors) << 48 ^ now_ns);
        sem_post(&a->go);
        while (sem_wait(&director) != 0)
            ;
        now_ns += 100 + sim_below(20000);
    }
    /* What a thread gives back when it ends belongs to the scenario too. */
    for (unsigned i = 0; i < n_actors; i++)
        __real_pthread_join(actors[i].thread, NULL);
}

void sim_pause(void)
{
    give_way(ACTOR_READY);
}

void sim_wait_ring(slim_ring *r, uint64_t due_ns)
{
    self->ring = r;
    self->due_ns = due_ns;
    give_way(ACTOR_RING);
}

bool sim_wait_until(bool (*cond)(void *arg), void *arg, uint64_t timeout_ns)
{
    uint64_t due_ns = now_ns + timeout_ns;

    while (!cond(arg)) {
        if (now_ns >= due_ns)
            return false;
        self->signals = signals;
        self->due_ns = now_ns + 1000000;
        give_way(ACTOR_COND);
    }
    return true;
}

int __wrap_pthread_join(pthread_t t, void **out)
{
    for (unsigned i = 0; i < n_actors; i++)
        if (pthread_equal(actors[i].thread, t))
            self->joins = &actors[i];
    give_way(ACTOR_JOIN);
    return 0;
}

static void cond_wait(pthread_mutex_t *m, uint64_t due_ns)
{
    pthread_mutex_unlock(m);
    self->signals = signals;
    self->due_ns = due_ns;
    give_way(ACTOR_COND);
    pthread_mutex_lock(m);
}

int __wrap_pthread_cond_wait(pthread_cond_t *c, pthread_mutex_t *m)
{
    cond_wait(m, UINT64_MAX);
    return 0;
}

int __wrap_pthread_cond_timedwait(pthread_cond_t *c, pthread_mutex_t *m, const struct timespec *t)
{
    uint64_t due_ns = (uint64_t)t->tv_sec * 1000000000u + (uint64_t)t->tv_nsec;

    cond_wait(m, due_ns);
    return now_ns >= due_ns ? ETIMEDOUT : 0;
}

int __wrap_pthread_cond_signal(pthread_cond_t *c)
{
    signals++;
    return 0;
}

int __wrap_pthread_cond_broadcast(pthread_cond_t *c)
{
    signals++;
    return 0;
}
