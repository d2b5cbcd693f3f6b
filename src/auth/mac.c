/* The low-level SHA-256 interface is deprecated in OpenSSL 3, but its state can be copied: 219 ns for a MAC of 200 bytes instead of
 * 475 with a kept EVP context (docs/performance.md). */
#define OPENSSL_SUPPRESS_DEPRECATED
#include "auth/mac.h"

#include <openssl/crypto.h>
#include <openssl/sha.h>

#define BLOCK_BYTES 64

struct slim_mac {
    SHA256_CTX inner; /* key block, domain string, link id */
    SHA256_CTX outer; /* key block */
    slim_mem *mem;
};

static const uint8_t domain[15] = "SLIM-DP-HDR-v1"; /* with its NUL */

slim_mac *slim_mac_new(slim_mem *m, const uint8_t key[SLIM_MAC_KEY_BYTES], slim_bytes link_id)
{
    slim_mac *mac = slim_alloc(m, sizeof(*mac));
    uint8_t block[BLOCK_BYTES] = {0}, length[4];

    if (mac == NULL)
        return NULL;
    mac->mem = m;
    memcpy(block, key, SLIM_MAC_KEY_BYTES);
    for (int i = 0; i < BLOCK_BYTES; i++)
        block[i] ^= 0x36;
    SHA256_Init(&mac->inner);
    SHA256_Update(&mac->inner, block, sizeof(block));
    for (int i = 0; i < BLOCK_BYTES; i++)
        block[i] ^= 0x36 ^ 0x5c;
    SHA256_Init(&mac->outer);
    SHA256_Update(&mac->outer, block, sizeof(block));
    OPENSSL_cleanse(block, sizeof(block));
    for (int i = 0; i < 4; i++)
        length[i] = (uint8_t)(link_id.n >> (8 * i));
    SHA256_Update(&mac->inner, domain, sizeof(domain));
    SHA256_Update(&mac->inner, length, sizeof(length));
    SHA256_Update(&mac->inner, link_id.p, link_id.n);
    return mac;
}

void slim_mac_free(slim_mac *mac)
{
    if (mac == NULL)
        return;
    OPENSSL_cleanse(&mac->inner, sizeof(mac->inner));
    OPENSSL_cleanse(&mac->outer, sizeof(mac->outer));
    slim_free(mac->mem, mac);
}

void slim_mac_sign(const slim_mac *mac, slim_bytes preimage, uint8_t tag[SLIM_MAC_TAG_BYTES])
{
    SHA256_CTX c = mac->inner;
    uint8_t digest[SHA256_DIGEST_LENGTH];

    SHA256_Update(&c, preimage.p, preimage.n);
    SHA256_Final(digest, &c);
    c = mac->outer;
    SHA256_Update(&c, digest, sizeof(digest));
    SHA256_Final(tag, &c);
}

bool slim_mac_verify(const slim_mac *mac, slim_bytes preimage, slim_bytes tag)
{
    uint8_t own[SLIM_MAC_TAG_BYTES];

    if (tag.n != sizeof(own))
        return false;
    slim_mac_sign(mac, preimage, own);
    return CRYPTO_memcmp(own, tag.p, sizeof(own)) == 0;
}
