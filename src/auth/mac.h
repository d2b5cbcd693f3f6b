/* The header MAC of a link (data-plane.md 4.4): HMAC-SHA256 with the key block and the link's constant prefix already hashed. */
#ifndef SLIM_AUTH_MAC_H
#define SLIM_AUTH_MAC_H

#include "core/bytes.h"
#include "core/mem.h"

#define SLIM_MAC_KEY_BYTES 32
#define SLIM_MAC_TAG_BYTES 32

typedef struct slim_mac slim_mac;

/* key: 32 bytes; link_id: any length. One object serves both directions of a link and belongs to one thread. NULL: no memory. */
slim_mac *slim_mac_new(slim_mem *m, const uint8_t key[SLIM_MAC_KEY_BYTES], slim_bytes link_id);
void slim_mac_free(slim_mac *mac); /* wipes */

/* preimage: items 3 to 10, from slim_preimage_build. No fetch; what each direction allocates once in its life makes it faster
 * and may fail. What the last preimage began with stays hashed, so a stream between two names pays for what differs only. */
void slim_mac_sign(slim_mac *mac, slim_bytes preimage, uint8_t tag[SLIM_MAC_TAG_BYTES]);
/* Constant time. False also for a tag of another length. */
bool slim_mac_verify(slim_mac *mac, slim_bytes preimage, slim_bytes tag);

#endif
