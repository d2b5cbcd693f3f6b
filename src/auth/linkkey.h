/* Key agreement of a link (data-plane.md 4.3): X25519, then HKDF-SHA256 salted with the link id. A failure leaves nothing in
 * OpenSSL's error queue of the thread. */
#ifndef SLIM_AUTH_LINKKEY_H
#define SLIM_AUTH_LINKKEY_H

#include "core/bytes.h"

#define SLIM_X25519_BYTES 32

/* Makes the public key of a secret. E_CRYPTO. */
slim_err slim_x25519_public(const uint8_t secret[SLIM_X25519_BYTES], uint8_t pub[SLIM_X25519_BYTES]);
/* E_CRYPTO also when the shared secret would be all zero; shared is the caller's to wipe. */
slim_err slim_x25519_shared(const uint8_t secret[SLIM_X25519_BYTES], const uint8_t peer[SLIM_X25519_BYTES],
                            uint8_t shared[SLIM_X25519_BYTES]);
/* One key for both directions. E_CRYPTO, E_TOO_LARGE (link_id of 2 GiB and more). */
slim_err slim_linkkey_derive(const uint8_t shared[SLIM_X25519_BYTES], slim_bytes link_id, uint8_t key[32]);

#endif
