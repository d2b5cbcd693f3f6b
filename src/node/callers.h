/* How many connections each remote network holds, so that one address cannot take them all. Shared by the workers of a hub: who
 * accepts counts up, who ends the connection counts down. */
#ifndef SLIM_NODE_CALLERS_H
#define SLIM_NODE_CALLERS_H

#include <pthread.h>
#include <stdint.h>

#include "core/err.h"
#include "core/mem.h"
#include "io/address.h"

#define SLIM_CALLERS_BUCKETS 4096u

/* An address with at least one connection; freed with its last. */
typedef struct slim_caller slim_caller;

typedef struct slim_callers {
    slim_mem *mem;
    pthread_mutex_t lock;
    uint64_t seed;
    uint32_t n;            /* addresses */
    slim_caller **buckets; /* made at first use */
} slim_callers;

/* seed, which peers must not know, may still be set until the first one enters. */
void slim_callers_init(slim_callers *t, slim_mem *m, uint64_t seed);
/* Everybody has left. */
void slim_callers_free(slim_callers *t);

/* One more connection of the address. *out is for slim_callers_leave_xt. E_TOO_LARGE: it has max already; E_NOMEM. */
slim_err slim_callers_enter_xt(slim_callers *t, const slim_network *from, uint32_t max, slim_caller **out);
void slim_callers_leave_xt(slim_callers *t, slim_caller *c);

#endif
