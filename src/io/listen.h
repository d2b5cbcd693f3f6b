/* Opening listening sockets: TCP and unix, moved above every connection so that a killed process closes them first or last as
 * needed (data-plane.md 6.3). */
#ifndef SLIM_IO_LISTEN_H
#define SLIM_IO_LISTEN_H

#include <stddef.h>
#include <stdint.h>

#include "core/err.h"

typedef struct slim_listen_config {
    const char *endpoint; /* "IP:port", "[v6]:port", "unix:///path" (cut at ? or #; a stale socket file is unlinked) */
    int backlog;          /* 0: 4096 */
    uint32_t patience_ms; /* how long an address in use is waited for: the ring of a killed process lets go of its listener only
                           * when the process is gone already, and who starts it again at once would fail */
} slim_listen_config;

/* *fd: listening, non-blocking, close-on-exec, at the top of RLIMIT_NOFILE. Accepted sockets inherit TCP_NODELAY. bound: the real
 * address as text (port 0 resolved), n bytes. E_CONFIG (bad endpoint), E_SYS (bind failed); why names the endpoint and the reason.
 */
slim_err slim_listen_open(const slim_listen_config *cfg, int *fd, char *bound, size_t bound_n, char *why, size_t why_n);
/* Closes and, for a unix socket that is still ours, unlinks its path. */
void slim_listen_close(int fd);

/* Raises RLIMIT_NOFILE to its hard limit, but not above 262,144 (the kernel's table grows to the highest number in use, and
 * listeners stand at the top); a higher soft limit is left as it is. Returns the limit in force. */
uint64_t slim_nofile_raise(void);

#endif
