#include "core/timers.h"

#include <string.h>

#define TICK_NS 1000000u
#define LEVEL_BITS 6

/* _tick is the next tick to be run. A level's slot covers 64^level ticks; a timer sits on the lowest level whose span reaches it
 * and moves down as its time comes near. */
static void place(slim_timers *t, slim_timer *timer)
{
    uint64_t due = timer->_due_tick > t->_tick ? timer->_due_tick : t->_tick, far = due ^ t->_tick;
    unsigned level = far == 0 ? 0 : (63 - (unsigned)__builtin_clzll(far)) / LEVEL_BITS;
    unsigned slot;
    slim_timer **head;

    slot = (unsigned)(due >> (LEVEL_BITS * level)) & (SLIM_TIMERS_SLOTS - 1);
    head = &t->_slot[level][slot];
    timer->_next = *head;
    timer->_pprev = head;
    if (*head != NULL)
        (*head)->_pprev = &timer->_next;
    *head = timer;
    t->_used[level] |= UINT64_C(1) << slot;
}

static void unlink_timer(slim_timer *timer)
{
    *timer->_pprev = timer->_next;
    if (timer->_next != NULL)
        timer->_next->_pprev = timer->_pprev;
    timer->_next = NULL;
    timer->_pprev = NULL;
}

void slim_timers_init(slim_timers *t, uint64_t now_ns)
{
    memset(t, 0, sizeof(*t));
    t->_tick = now_ns / TICK_NS;
}

void slim_timer_set(slim_timers *t, slim_timer *timer, uint64_t due_ns)
{
    slim_timer_cancel(t, timer);
    /* Rounded up: never early. */
    timer->_due_tick = due_ns / TICK_NS + (due_ns % TICK_NS != 0);
    if (timer->_due_tick < t->_tick)
        timer->_due_tick = t->_tick;
    t->_count++;
    place(t, timer);
}

void slim_timer_cancel(slim_timers *t, slim_timer *timer)
{
    if (timer->_pprev == NULL)
        return;
    unlink_timer(timer);
    t->_count--;
}

/* Distance in slots from the current position to the next used one on a level, 64 when there is none. Bits of slots that were
 * emptied by cancel are dropped on the way. */
static unsigned next_used(slim_timers *t, unsigned level, unsigned from)
{
    for (unsigned k = 0; k < SLIM_TIMERS_SLOTS;) {
        unsigned at = (from + k) & (SLIM_TIMERS_SLOTS - 1);
        uint64_t rotated = (t->_used[level] >> at) | (at == 0 ? 0 : t->_used[level] << (SLIM_TIMERS_SLOTS - at));

        if (rotated == 0)
            return SLIM_TIMERS_SLOTS;
        k += (unsigned)__builtin_ctzll(rotated);
        if (k >= SLIM_TIMERS_SLOTS)
            break;
        at = (from + k) & (SLIM_TIMERS_SLOTS - 1);
        if (t->_slot[level][at] != NULL)
            return k;
        t->_used[level] &= ~(UINT64_C(1) << at);
    }
    return SLIM_TIMERS_SLOTS;
}

/* The tick at which something must be done: a level-0 slot fires, or a higher slot is spread out. */
static uint64_t next_tick(slim_timers *t)
{
    uint64_t best = UINT64_MAX;

    for (unsigned level = 0; level < SLIM_TIMERS_LEVELS; level++) {
        unsigned shift = LEVEL_BITS * level, from = (unsigned)(t->_tick >> shift) & (SLIM_TIMERS_SLOTS - 1);
        unsigned k = next_used(t, level, from);
        uint64_t tick;

        if (k == SLIM_TIMERS_SLOTS)
            continue;
        tick = ((t->_tick >> shift) + k) << shift;
        if (tick < t->_tick)
            tick = t->_tick;
        if (tick < best)
            best = tick;
    }
    return best;
}

uint64_t slim_timers_next_ns(const slim_timers *t)
{
    /* Only stale bits are dropped, which no caller can see. */
    uint64_t tick = t->_count == 0 ? UINT64_MAX : next_tick((slim_timers *)(uintptr_t)t);

    return tick > UINT64_MAX / TICK_NS ? SLIM_TIMERS_NEVER : tick * TICK_NS;
}

void slim_timers_run(slim_timers *t, uint64_t now_ns)
{
    uint64_t now = now_ns / TICK_NS;

    while (t->_count > 0) {
        uint64_t tick = next_tick(t);

        if (tick > now)
            break;
        t->_tick = tick;
        /* From the top: what a higher slot spreads may be due in this very tick. */
        for (unsigned level = SLIM_TIMERS_LEVELS - 1; level > 0; level--) {
            unsigned slot = (unsigned)(tick >> (LEVEL_BITS * level)) & (SLIM_TIMERS_SLOTS - 1);
            slim_timer *list = t->_slot[level][slot];

            t->_slot[level][slot] = NULL;
            t->_used[level] &= ~(UINT64_C(1) << slot);
            while (list != NULL) {
                slim_timer *timer = list;

                list = timer->_next;
                place(t, timer);
            }
        }
        {
            unsigned slot = (unsigned)tick & (SLIM_TIMERS_SLOTS - 1);
            slim_timer *due = t->_slot[0][slot];

            /* Taken off as a list of its own: a callback may cancel others of it, and what it sets anew comes later. */
            t->_slot[0][slot] = NULL;
            t->_used[0] &= ~(UINT64_C(1) << slot);
            t->_tick = tick + 1;
            if (due != NULL)
                due->_pprev = &due;
            while (due != NULL) {
                slim_timer *timer = due;

                unlink_timer(timer);
                t->_count--;
                timer->fire(timer, now_ns);
            }
        }
    }
    if (now > t->_tick)
        t->_tick = now;
}
