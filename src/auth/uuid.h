/* Random UUIDs in text form. */
#ifndef SLIM_AUTH_UUID_H
#define SLIM_AUTH_UUID_H

#include "auth/negotiation.h"

/* A version 4 UUID (RFC 9562, 5.4) in lower case with its NUL. E_CRYPTO: no randomness. */
slim_err slim_uuid4(const slim_random *rnd, char out[37]);

#endif
