#include <openssl/err.h>
#include <openssl/rand.h>

#include "auth/negotiation.h"

static bool fill(void *arg, uint8_t *p, size_t n)
{
    bool ok;

    ERR_set_mark();
    ok = n <= INT32_MAX && RAND_bytes(p, (int)n) == 1;
    ERR_pop_to_mark();
    return ok;
}

const slim_random slim_random_openssl = {fill, NULL};
