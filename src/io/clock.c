#include <time.h>

#include "io/ring.h"

static uint64_t clock_read(clockid_t id)
{
    struct timespec t;

    clock_gettime(id, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

uint64_t slim_clock_ns(void)
{
    return clock_read(CLOCK_MONOTONIC);
}

uint64_t slim_wall_ns(void)
{
    return clock_read(CLOCK_REALTIME);
}
