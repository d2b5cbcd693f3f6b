#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

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

void slim_thread_meter_open(slim_thread_meter *m)
{
    *m = (slim_thread_meter){.fd = open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC)};
    slim_thread_meter_read(m);
}

void slim_thread_meter_read(slim_thread_meter *m)
{
    char text[96];
    ssize_t n = m->fd >= 0 ? pread(m->fd, text, sizeof(text) - 1, 0) : -1;
    const char *second;

    m->ran_ns = clock_read(CLOCK_THREAD_CPUTIME_ID);
    if (n <= 0)
        return;
    text[n] = '\0';
    /* The first number is ran_ns again, but only up to the last tick. */
    if ((second = strchr(text, ' ')) != NULL)
        m->waited_ns = strtoull(second, NULL, 10);
}

void slim_thread_meter_close(slim_thread_meter *m)
{
    if (m->fd >= 0)
        close(m->fd);
    m->fd = -1;
}
