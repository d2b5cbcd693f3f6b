/* Link negotiation, both sides (data-plane.md 2.5, 4.2, 4.3). Sans-I/O: protobuf bytes in, protobuf bytes out. */
#ifndef SLIM_AUTH_NEGOTIATION_H
#define SLIM_AUTH_NEGOTIATION_H

#include "auth/mac.h"
#include "core/links.h"
#include "core/view.h"

/* Fills n bytes; false: no randomness, the negotiation fails with E_CRYPTO. */
typedef struct slim_random {
    bool (*fill)(void *arg, uint8_t *p, size_t n);
    void *arg;
} slim_random;
extern const slim_random slim_random_openssl;

typedef struct slim_negotiation_config {
    const char *node_id;         /* ours */
    const char *version;         /* semver that we announce */
    const char *deployment_name; /* "" when there is none */
    bool strict;                 /* a link without a key is refused */
} slim_negotiation_config;

/* What both sides know afterwards; strings are NUL-free copies owned by the object. */
typedef struct slim_negotiated {
    uint8_t *link_id; /* not NUL-terminated: any non-empty string */
    size_t link_id_bytes;
    char *peer_version, *peer_node_id, *peer_deployment;
    slim_link_kind kind; /* acceptor: as requested; dialler: as asked for */
    bool has_key;
    uint8_t key[SLIM_MAC_KEY_BYTES];
    slim_mem *mem;
} slim_negotiated;
void slim_negotiated_clear(slim_negotiated *n); /* wipes the key */

/* Acceptor: v is the scanned first message of a link (any type; it need not be plain). On success *reply (slim_free with m) is the
 * protobuf Message to send. E_NEGOTIATION with *why set to a static text: close the link. E_NOMEM, E_CRYPTO (no randomness, no key
 * of our own), *why NULL. A key of theirs that is of no use is as none. After an error out is cleared and *reply NULL. */
slim_err slim_negotiation_accept(const slim_negotiation_config *cfg, const slim_view *v, const slim_random *rnd, slim_mem *m,
                                 slim_negotiated *out, uint8_t **reply, size_t *reply_n, const char **why);

/* Dialler: start makes the request (*request, slim_free with m; fresh X25519 key each time; NULL: no memory, no randomness), finish
 * takes the one answer, with errors as accept has them. */
typedef struct slim_negotiation slim_negotiation;
slim_negotiation *slim_negotiation_start(const slim_negotiation_config *cfg, slim_bytes link_id, slim_link_kind kind,
                                         const slim_random *rnd, slim_mem *m, uint8_t **request, size_t *request_n);
slim_err slim_negotiation_finish(slim_negotiation *n, const slim_view *v, slim_negotiated *out, const char **why);
void slim_negotiation_free(slim_negotiation *n); /* wipes the secret */

/* Strict semver 2.0.0; each of the three numbers fits 64 bits, as Rust's semver crate wants it. */
bool slim_version_valid(slim_bytes v);

/* SubscriptionAck (2.1): build and decode. error NULL or "" is success. out has room for bound bytes. */
size_t slim_subscription_ack_bound(const char *error);
size_t slim_subscription_ack_build(uint64_t id, const char *error, uint8_t *out);
typedef struct slim_subscription_ack {
    uint64_t id;
    bool success;
    slim_bytes error;
} slim_subscription_ack;
/* body: slim_view.body of an accepted plain message of that type; error borrows from it. E_TRUNCATED, E_VARINT, E_TAG, E_WIRETYPE
 * and E_DEPTH for a body that was not scanned. */
slim_err slim_subscription_ack_decode(slim_bytes body, slim_subscription_ack *out);

#endif
