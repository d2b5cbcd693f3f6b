/* The daemon's log sink: lines go through a bounded ring to a thread that writes stdout, so that no worker waits for a slow reader.
 */
#ifndef SLIM_BIN_LOGGER_H
#define SLIM_BIN_LOGGER_H

#include "core/err.h"

slim_err slim_logger_start(void);
/* Writes what is left and ends the thread. */
void slim_logger_stop(void);

#endif
