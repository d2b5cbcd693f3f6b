/* A few threads for calls that block (name resolution). Jobs are embedded by their owner, so nothing is allocated per job; each
 * result comes back on the owner's thread, through a port whose descriptor its ring watches. */
#ifndef SLIM_IO_POOL_H
#define SLIM_IO_POOL_H

#include <stdint.h>

#include "core/mem.h"

typedef struct slim_pool slim_pool;
typedef struct slim_pool_port slim_pool_port;
typedef struct slim_job slim_job;
struct slim_job {
    void (*run)(slim_job *self);  /* on a thread of the pool */
    void (*done)(slim_job *self); /* on the port's thread, exactly once */
    /* not yours */
    slim_job *_next;
    slim_pool_port *_port;
};

/* NULL: no memory or no thread. */
slim_pool *slim_pool_new(slim_mem *m, uint32_t threads);
/* Finishes queued jobs and joins the threads; ports must outlive it. */
void slim_pool_free(slim_pool *p);
/* The job must live until its done was called. */
void slim_pool_submit_xt(slim_pool *p, slim_pool_port *port, slim_job *job);

slim_pool_port *slim_pool_port_new(slim_mem *m);
void slim_pool_port_free(slim_pool_port *port);
int slim_pool_port_fd(const slim_pool_port *port); /* readable while results wait */
void slim_pool_port_drain(slim_pool_port *port);   /* calls done of each */

#endif
