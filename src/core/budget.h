/* The memory budget of the process: what messages in flight may hold. Each worker counts in its own purse and settles with the
 * shared sum in steps, so that the hot path touches no shared cache line. */
#ifndef SLIM_CORE_BUDGET_H
#define SLIM_CORE_BUDGET_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct slim_budget {
    _Atomic int64_t used_bytes; /* +- SLIM_PURSE_STEP per worker */
    int64_t limit_bytes;
    _Atomic int64_t promised_bytes; /* receive windows that peers may fill, and messages larger than them */
} slim_budget;

/* A window is a promise of memory. Makes it when the sum of all stays within max_bytes. */
static inline bool slim_budget_promise_xt(slim_budget *b, int64_t bytes, int64_t max_bytes)
{
    if (atomic_fetch_add_explicit(&b->promised_bytes, bytes, memory_order_relaxed) + bytes <= max_bytes)
        return true;
    atomic_fetch_sub_explicit(&b->promised_bytes, bytes, memory_order_relaxed);
    return false;
}

static inline void slim_budget_release_xt(slim_budget *b, int64_t bytes)
{
    atomic_fetch_sub_explicit(&b->promised_bytes, bytes, memory_order_relaxed);
}

typedef struct slim_purse {
    slim_budget *budget;
    int64_t unsettled_bytes;
} slim_purse;

#define SLIM_PURSE_STEP (256 * 1024)

/* How tight memory is: below a half, above a half, above three quarters, over the limit (architecture 4.6). */
typedef enum slim_pressure { SLIM_PRESSURE_NONE, SLIM_PRESSURE_HALF, SLIM_PRESSURE_HIGH, SLIM_PRESSURE_FULL } slim_pressure;

static inline void slim_purse_add(slim_purse *p, int64_t bytes)
{
    p->unsettled_bytes += bytes;
    if (p->unsettled_bytes >= SLIM_PURSE_STEP || p->unsettled_bytes <= -SLIM_PURSE_STEP) {
        atomic_fetch_add_explicit(&p->budget->used_bytes, p->unsettled_bytes, memory_order_relaxed);
        p->unsettled_bytes = 0;
    }
}

static inline slim_pressure slim_budget_pressure_xt(const slim_budget *b)
{
    int64_t used = atomic_load_explicit(&b->used_bytes, memory_order_relaxed);

    if (used < b->limit_bytes / 2)
        return SLIM_PRESSURE_NONE;
    if (used < b->limit_bytes / 4 * 3)
        return SLIM_PRESSURE_HALF;
    return used < b->limit_bytes ? SLIM_PRESSURE_HIGH : SLIM_PRESSURE_FULL;
}

#endif
