#include <openssl/rand.h>

#include "auth/negotiation.h"

static bool fill(void *arg, uint8_t *p, size_t n) { return n <= INT32_MAX && RAND_bytes(p, (int)n) == 1; }

const slim_random slim_random_openssl = {fill, NULL};
