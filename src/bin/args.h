/* The command line of slimrouter: upstream's flags (node.md 1.1) and ours. */
#ifndef SLIM_BIN_ARGS_H
#define SLIM_BIN_ARGS_H

#include "core/err.h"
#include "io/ring.h"
#include "node/hub.h"

typedef enum slim_command { SLIM_CMD_RUN, SLIM_CMD_VERSION, SLIM_CMD_HELP, SLIM_CMD_CHECK } slim_command;

typedef struct slim_args {
    slim_command command;
    const char *config; /* NULL: the built-in default */
    const char *listen; /* of the built-in default */
    slim_ring_backend backend;
    slim_placement placement;
    int64_t slow_reader_s; /* 0: never */
    int64_t per_address;   /* connections of one remote address; 0: no limit, -1: the default */
    int64_t memory_bytes;  /* 0: half of what the machine or the control group has */
} slim_args;

/* E_ARG with why: usage error, exit code 2. env_config: the CONFIG variable or NULL. */
slim_err slim_args_parse(int argc, char **argv, const char *env_config, slim_args *out, char *why, size_t why_n);
const char *slim_args_help(void);

#endif
