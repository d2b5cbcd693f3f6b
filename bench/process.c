#include "bench/process.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

static uint64_t ns_of(struct timespec t)
{
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static bool rss_read(long pid, uint64_t *bytes, char *why, size_t why_n)
{
    char path[64], line[256];
    unsigned long long kib;
    bool found = false;
    FILE *f;

    snprintf(path, sizeof(path), "/proc/%ld/status", pid);
    if ((f = fopen(path, "re")) == NULL) {
        snprintf(why, why_n, "cannot read %s: %s", path, strerror(errno));
        return false;
    }
    while (!found && fgets(line, sizeof(line), f) != NULL)
        found = sscanf(line, "VmRSS: %llu kB", &kib) == 1;
    fclose(f);
    if (found)
        *bytes = (uint64_t)kib * 1024;
    else
        snprintf(why, why_n, "%s has no line VmRSS (has the process ended?)", path);
    return found;
}

/* The process's CPU clock counts nanoseconds where /proc has hundredths of a second. */
bool bench_process_usage(long pid, bench_usage *out, char *why, size_t why_n)
{
    struct timespec t;
    clockid_t clock;
    int e;

    *out = (bench_usage){0};
    if (!rss_read(pid, &out->rss_bytes, why, why_n))
        return false;
    if ((e = clock_getcpuclockid((pid_t)pid, &clock)) != 0 || clock_gettime(clock, &t) != 0) {
        snprintf(why, why_n, "cannot read the CPU time of process %ld: %s", pid, strerror(e != 0 ? e : errno));
        return false;
    }
    out->cpu_ns = ns_of(t);
    return true;
}

uint64_t bench_thread_cpu_ns(pthread_t thread)
{
    struct timespec t;
    clockid_t clock;

    return pthread_getcpuclockid(thread, &clock) == 0 && clock_gettime(clock, &t) == 0 ? ns_of(t) : 0;
}

uint64_t bench_process_descriptors(void)
{
    struct rlimit r;

    if (getrlimit(RLIMIT_NOFILE, &r) != 0)
        return 1024;
    if (r.rlim_cur < r.rlim_max) {
        r.rlim_cur = r.rlim_max;
        if (setrlimit(RLIMIT_NOFILE, &r) != 0)
            getrlimit(RLIMIT_NOFILE, &r);
    }
    return r.rlim_cur;
}
