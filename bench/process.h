/* What processes and threads have used, ours and the node's. */
#ifndef SLIM_BENCH_PROCESS_H
#define SLIM_BENCH_PROCESS_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct bench_usage {
    uint64_t cpu_ns, rss_bytes;
} bench_usage;

/* Of another process, all its threads. False with why: there is none with that number, or it may not be looked at. */
bool bench_process_usage(long pid, bench_usage *out, char *why, size_t why_n);
uint64_t bench_thread_cpu_ns(pthread_t thread);
/* Raises the limit of open descriptors to what the system allows and returns it. */
uint64_t bench_process_descriptors(void);

#endif
