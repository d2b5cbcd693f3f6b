#include "io/pool.h"

#include <pthread.h>
#include <stdbool.h>
#include <sys/eventfd.h>
#include <unistd.h>

typedef struct job_list {
    slim_job *first, **last;
} job_list;

struct slim_pool {
    slim_mem *mem;
    pthread_mutex_t lock;
    pthread_cond_t filled;
    job_list jobs;
    bool stop;
    uint32_t n_threads;
    pthread_t thread[];
};

struct slim_pool_port {
    slim_mem *mem;
    pthread_mutex_t lock;
    job_list results;
    int fd;
};

static void list_append(job_list *l, slim_job *job)
{
    job->_next = NULL;
    *l->last = job;
    l->last = &job->_next;
}

static slim_job *list_take(job_list *l)
{
    slim_job *job = l->first;

    if (job != NULL && (l->first = job->_next) == NULL)
        l->last = &l->first;
    return job;
}

static void *pool_main(void *arg)
{
    slim_pool *p = arg;

    pthread_mutex_lock(&p->lock);
    for (;;) {
        slim_job *job = list_take(&p->jobs);
        slim_pool_port *port;
        uint64_t one = 1;

        if (job == NULL) {
            if (p->stop)
                break;
            pthread_cond_wait(&p->filled, &p->lock);
            continue;
        }
        pthread_mutex_unlock(&p->lock);
        port = job->_port;
        job->run(job);
        pthread_mutex_lock(&port->lock);
        list_append(&port->results, job);
        pthread_mutex_unlock(&port->lock);
        /* A full counter is readable too, so a failed write loses nothing. */
        if (write(port->fd, &one, sizeof(one)) < 0)
            one = 0;
        pthread_mutex_lock(&p->lock);
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

slim_pool *slim_pool_new(slim_mem *m, uint32_t threads)
{
    slim_pool *p = slim_zalloc(m, 1, sizeof(*p) + threads * sizeof(*p->thread));

    if (p == NULL)
        return NULL;
    p->mem = m;
    p->jobs.last = &p->jobs.first;
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->filled, NULL);
    for (; p->n_threads < threads; p->n_threads++) {
        if (pthread_create(&p->thread[p->n_threads], NULL, pool_main, p) != 0) {
            slim_pool_free(p);
            return NULL;
        }
    }
    return p;
}

void slim_pool_free(slim_pool *p)
{
    if (p == NULL)
        return;
    pthread_mutex_lock(&p->lock);
    p->stop = true;
    pthread_cond_broadcast(&p->filled);
    pthread_mutex_unlock(&p->lock);
    for (uint32_t i = 0; i < p->n_threads; i++)
        pthread_join(p->thread[i], NULL);
    pthread_mutex_destroy(&p->lock);
    pthread_cond_destroy(&p->filled);
    slim_free(p->mem, p);
}

void slim_pool_submit_xt(slim_pool *p, slim_pool_port *port, slim_job *job)
{
    job->_port = port;
    pthread_mutex_lock(&p->lock);
    list_append(&p->jobs, job);
    pthread_cond_signal(&p->filled);
    pthread_mutex_unlock(&p->lock);
}

slim_pool_port *slim_pool_port_new(slim_mem *m)
{
    slim_pool_port *port = slim_zalloc(m, 1, sizeof(*port));

    if (port == NULL)
        return NULL;
    port->mem = m;
    port->results.last = &port->results.first;
    if ((port->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) < 0) {
        slim_free(m, port);
        return NULL;
    }
    pthread_mutex_init(&port->lock, NULL);
    return port;
}

void slim_pool_port_free(slim_pool_port *port)
{
    if (port == NULL)
        return;
    close(port->fd);
    pthread_mutex_destroy(&port->lock);
    slim_free(port->mem, port);
}

int slim_pool_port_fd(const slim_pool_port *port)
{
    return port->fd;
}

void slim_pool_port_drain(slim_pool_port *port)
{
    uint64_t count;
    slim_job *list;

    /* Before the list is taken: a result that comes later makes the descriptor readable again. */
    if (read(port->fd, &count, sizeof(count)) < 0)
        count = 0;
    pthread_mutex_lock(&port->lock);
    list = port->results.first;
    port->results = (job_list){NULL, &port->results.first};
    pthread_mutex_unlock(&port->lock);
    while (list != NULL) {
        slim_job *job = list;

        list = job->_next;
        job->done(job);
    }
}
