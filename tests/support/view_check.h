/* Everything that must hold between the scanner, the merger, the head writer and the slow decoder for one message. */
#ifndef SLIM_TESTS_VIEW_CHECK_H
#define SLIM_TESTS_VIEW_CHECK_H

#include "core/view.h"

/* Aborts with a text and the message in hex when something does not hold. salt varies what is written by the head writer. True when
 * the message was accepted. */
bool view_check(slim_bytes msg, uint64_t salt);

/* A random message, at most max bytes: after the schema, with parts repeated, out of order and unknown, and often damaged. */
size_t view_random(uint64_t *state, uint8_t *out, size_t max);

#endif
