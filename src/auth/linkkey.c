#include "auth/linkkey.h"

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

slim_err slim_x25519_public(const uint8_t secret[SLIM_X25519_BYTES], uint8_t pub[SLIM_X25519_BYTES])
{
    size_t n = SLIM_X25519_BYTES;
    slim_err e = SLIM_E_CRYPTO;
    EVP_PKEY *k;

    ERR_set_mark();
    k = EVP_PKEY_new_raw_private_key(EVP_PKEY_X25519, NULL, secret, SLIM_X25519_BYTES);
    if (k != NULL && EVP_PKEY_get_raw_public_key(k, pub, &n) == 1 && n == SLIM_X25519_BYTES)
        e = SLIM_OK;
    EVP_PKEY_free(k);
    ERR_pop_to_mark();
    return e;
}

slim_err slim_x25519_shared(const uint8_t secret[SLIM_X25519_BYTES], const uint8_t peer[SLIM_X25519_BYTES],
                            uint8_t shared[SLIM_X25519_BYTES])
{
    size_t n = SLIM_X25519_BYTES;
    slim_err e = SLIM_E_CRYPTO;
    EVP_PKEY_CTX *c = NULL;
    EVP_PKEY *k, *p;
    uint8_t any = 0;

    /* A peer chooses whether this fails; what failed must not stay in the thread's error queue, where TLS would find it. */
    ERR_set_mark();
    k = EVP_PKEY_new_raw_private_key(EVP_PKEY_X25519, NULL, secret, SLIM_X25519_BYTES);
    p = EVP_PKEY_new_raw_public_key(EVP_PKEY_X25519, NULL, peer, SLIM_X25519_BYTES);
    if (k != NULL)
        c = EVP_PKEY_CTX_new(k, NULL);
    if (p == NULL || c == NULL || EVP_PKEY_derive_init(c) != 1 || EVP_PKEY_derive_set_peer(c, p) != 1 ||
        EVP_PKEY_derive(c, shared, &n) != 1 || n != SLIM_X25519_BYTES)
        goto out;
    /* A low-order point gives zero whatever our secret is (RFC 7748, 6.1). */
    for (int i = 0; i < SLIM_X25519_BYTES; i++)
        any |= shared[i];
    if (any != 0)
        e = SLIM_OK;
out:
    EVP_PKEY_CTX_free(c);
    EVP_PKEY_free(p);
    EVP_PKEY_free(k);
    ERR_pop_to_mark();
    return e;
}

slim_err slim_linkkey_derive(const uint8_t shared[SLIM_X25519_BYTES], slim_bytes link_id, uint8_t key[32])
{
    /* HKDF (RFC 5869) with one block of output: info and the counter 1. */
    static const uint8_t info[] = "SLIM-DP-inter-node-hmac-v1\x01";
    uint8_t prk[32];
    unsigned int n = 0;
    slim_err e = SLIM_E_CRYPTO;

    if (link_id.n > INT32_MAX)
        return SLIM_E_TOO_LARGE;
    ERR_set_mark();
    if (HMAC(EVP_sha256(), link_id.p, (int)link_id.n, shared, SLIM_X25519_BYTES, prk, &n) != NULL &&
        HMAC(EVP_sha256(), prk, sizeof(prk), info, sizeof(info) - 1, key, &n) != NULL)
        e = SLIM_OK;
    ERR_pop_to_mark();
    OPENSSL_cleanse(prk, sizeof(prk));
    return e;
}
