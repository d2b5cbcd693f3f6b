/* How much memory this process may think of as its own. */
#ifndef SLIM_BIN_MEMORY_H
#define SLIM_BIN_MEMORY_H

#include <stdint.h>

/* The smaller of the machine's memory and the limit of the control group, in bytes. */
int64_t slim_memory_bytes(void);

#endif
