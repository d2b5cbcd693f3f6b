/* Timers of one thread, with an injected clock. Intrusive: no allocation, set and cancel in O(1). */
#ifndef SLIM_CORE_TIMERS_H
#define SLIM_CORE_TIMERS_H

#include <stdbool.h>
#include <stdint.h>

typedef struct slim_timer slim_timer;
struct slim_timer {
    void (*fire)(slim_timer *self, uint64_t now_ns); /* set by the owner before the first use */
    /* not yours */
    slim_timer *_next, **_pprev;
    uint64_t _due_tick;
};

#define SLIM_TIMERS_NEVER UINT64_MAX
typedef struct slim_timers slim_timers;
#define SLIM_TIMERS_SLOTS 64
#define SLIM_TIMERS_LEVELS 11 /* 66 bits of ticks: no time is too far */
/* A hierarchical wheel of 1 ms ticks. */
struct slim_timers {
    uint64_t _tick, _count;
    uint64_t _used[SLIM_TIMERS_LEVELS];
    slim_timer *_slot[SLIM_TIMERS_LEVELS][SLIM_TIMERS_SLOTS];
};

void slim_timers_init(slim_timers *t, uint64_t now_ns);
/* (Re)arms: fires once at or up to 1 ms after due_ns. */
void slim_timer_set(slim_timers *t, slim_timer *timer, uint64_t due_ns);
void slim_timer_cancel(slim_timers *t, slim_timer *timer);
static inline bool slim_timer_armed(const slim_timer *timer)
{
    return timer->_pprev != 0;
}
/* Fires what is due; a callback may set and cancel any timer, itself too. */
void slim_timers_run(slim_timers *t, uint64_t now_ns);
/* When the next timer may be due, never later than it is (possibly earlier: then run does nothing), or SLIM_TIMERS_NEVER. */
uint64_t slim_timers_next_ns(const slim_timers *t);

#endif
