/* Places in the node that perf, bpftrace and gdb can watch while it runs (USDT, provider "slimrouter"; docs/performance.md). One
 * that nobody watches costs an instruction that does nothing. Without sys/sdt.h there are none. */
#ifndef SLIM_CORE_PROBE_H
#define SLIM_CORE_PROBE_H

#ifdef SLIM_HAVE_SDT
#include <sys/sdt.h>
#define SLIM_PROBE1(name, a) DTRACE_PROBE1(slimrouter, name, a)
#define SLIM_PROBE2(name, a, b) DTRACE_PROBE2(slimrouter, name, a, b)
#else
#define SLIM_PROBE1(name, a) ((void)(a))
#define SLIM_PROBE2(name, a, b) ((void)(a), (void)(b))
#endif

#endif
