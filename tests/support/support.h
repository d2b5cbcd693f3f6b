/* What the unit tests share: hex vectors, a failing allocator, a small random generator with a printed seed. */
#ifndef SLIM_TESTS_SUPPORT_H
#define SLIM_TESTS_SUPPORT_H

#include "core/bytes.h"
#include "core/mem.h"

/* Decodes hex (white space ignored) into malloc'd memory; aborts on bad input. */
slim_bytes test_hex(const char *hex);
/* A whole file; aborts when it cannot be read. */
slim_bytes test_file(const char *path);

/* An allocator that fails the n-th allocation from now (0: the next), counts what is live, and checks that all was freed. */
typedef struct test_mem {
    slim_mem mem;
    long fail_at; /* -1: never */
    long calls, live;
    bool failed; /* the failure was delivered */
} test_mem;
void test_mem_init(test_mem *t, long fail_at);

/* splitmix64; test_seed prints the seed (from SLIM_TEST_SEED or the clock) so that a failure can be repeated. */
uint64_t test_seed(void);
uint64_t test_rand(uint64_t *state);

#endif
