#include <criterion/criterion.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>

#include "auth/linkkey.h"
#include "support/wire_build.h"

static void expect_shared(const char *scalar, const char *point, const char *want)
{
    uint8_t out[SLIM_X25519_BYTES];

    cr_assert_eq(slim_x25519_shared(hx(scalar).p, hx(point).p, out), SLIM_OK);
    cr_assert(slim_bytes_eq(slim_bytes_of(out, sizeof(out)), hx(want)), "%s", want);
}

static void expect_public(const char *secret, const char *want)
{
    uint8_t out[SLIM_X25519_BYTES];

    cr_assert_eq(slim_x25519_public(hx(secret).p, out), SLIM_OK);
    cr_assert(slim_bytes_eq(slim_bytes_of(out, sizeof(out)), hx(want)), "%s", want);
}

/* RFC 7748, 5.2. The second u-coordinate has its top bit set, which does not count. */
Test(linkkey, rfc7748_one_step)
{
    expect_shared("a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4",
                  "e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c",
                  "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552");
    expect_shared("4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d",
                  "e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493",
                  "95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957");
}

/* RFC 7748, 5.2: k and u start as the base point; each step's result is the next k, and k the next u. */
Test(linkkey, rfc7748_iterated)
{
    slim_bytes base = hx("0900000000000000000000000000000000000000000000000000000000000000");
    uint8_t k[SLIM_X25519_BYTES], u[SLIM_X25519_BYTES], next[SLIM_X25519_BYTES];

    memcpy(k, base.p, sizeof(k));
    memcpy(u, base.p, sizeof(u));
    for (int i = 1; i <= 1000; i++) {
        cr_assert_eq(slim_x25519_shared(k, u, next), SLIM_OK);
        memcpy(u, k, sizeof(u));
        memcpy(k, next, sizeof(k));
        if (i == 1)
            cr_assert(
                slim_bytes_eq(slim_bytes_of(k, sizeof(k)), hx("422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079")));
    }
    cr_assert(slim_bytes_eq(slim_bytes_of(k, sizeof(k)), hx("684cf59ba83309552800ef566f2f4d3c1c3887c49360e3875f2eb94d99532c51")));
}

/* RFC 7748, 6.1 */
#define ALICE_SECRET "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a"
#define ALICE_PUBLIC "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"
#define BOB_SECRET "5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb"
#define BOB_PUBLIC "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f"
#define THEIR_SHARED "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742"

Test(linkkey, rfc7748_diffie_hellman)
{
    expect_public(ALICE_SECRET, ALICE_PUBLIC);
    expect_public(BOB_SECRET, BOB_PUBLIC);
    expect_shared(ALICE_SECRET, BOB_PUBLIC, THEIR_SHARED);
    expect_shared(BOB_SECRET, ALICE_PUBLIC, THEIR_SHARED);
}

/* Every encoding of a point whose order divides 8 (RFC 7748, 6.1 and 7): 0, 1, two of order 8, p-1, and p and p+1, which are 0 and
 * 1 again. The top bit of the last byte does not count. */
static const char *const low_order[] = {
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
};

Test(linkkey, low_order_points_are_refused)
{
    uint64_t seed = test_seed();

    for (size_t i = 0; i < 2 * sizeof(low_order) / sizeof(*low_order); i++) {
        uint8_t point[SLIM_X25519_BYTES], secret[SLIM_X25519_BYTES], shared[SLIM_X25519_BYTES];

        memcpy(point, hx(low_order[i / 2]).p, sizeof(point));
        point[31] |= i % 2 != 0 ? 0x80 : 0;
        for (size_t k = 0; k < sizeof(secret); k++)
            secret[k] = (uint8_t)test_rand(&seed);
        cr_assert_eq(slim_x25519_shared(secret, point, shared), SLIM_E_CRYPTO, "%s", low_order[i / 2]);
    }
}

/* The library's error queue belongs to the thread, and TLS reads it after each of its own calls: what a bad key of one peer leaves
 * there would end the connection of another. What was there before stays. */
Test(linkkey, a_refused_point_leaves_no_trace)
{
    uint8_t shared[SLIM_X25519_BYTES];

    ERR_clear_error();
    cr_assert_eq(slim_x25519_shared(hx(ALICE_SECRET).p, hx(low_order[0]).p, shared), SLIM_E_CRYPTO);
    cr_assert_eq(ERR_peek_error(), 0, "%s", ERR_reason_error_string(ERR_peek_error()));
    ERR_raise(ERR_LIB_USER, 77);
    cr_assert_eq(slim_x25519_shared(hx(ALICE_SECRET).p, hx(low_order[2]).p, shared), SLIM_E_CRYPTO);
    cr_assert_eq(ERR_GET_REASON(ERR_get_error()), 77);
    cr_assert_eq(ERR_peek_error(), 0);
}

/* data-plane.md 8.2 */
#define GOLDEN_LINK_ID "ccb827ab-06dc-463a-96a4-d0c573c3627c"
#define GOLDEN_SHARED "00b71c3797336dcc800ffc10b065b74dad094ae059e9709f29b9dff5854a9713"
#define GOLDEN_KEY "755afe675a5f5aef3f579cba8c718adc0595a9b22d784984c25577e454d89cca"

Test(linkkey, golden_derivation)
{
    uint8_t key[32];

    cr_assert_eq(slim_linkkey_derive(hx(GOLDEN_SHARED).p, slim_bytes_str(GOLDEN_LINK_ID), key), SLIM_OK);
    cr_assert(slim_bytes_eq(slim_bytes_of(key, sizeof(key)), hx(GOLDEN_KEY)));
}

/* Both steps of RFC 5869 once more, without the shortcut of one block; salts shorter and longer than the hash's block. */
static void reference(slim_bytes shared, slim_bytes salt, uint8_t key[32])
{
    EVP_PKEY_CTX *c = EVP_PKEY_CTX_new_id(EVP_PKEY_HKDF, NULL);
    size_t n = 32;

    cr_assert_eq(EVP_PKEY_derive_init(c), 1);
    cr_assert_eq(EVP_PKEY_CTX_set_hkdf_md(c, EVP_sha256()), 1);
    cr_assert_eq(EVP_PKEY_CTX_set1_hkdf_salt(c, salt.p, (int)salt.n), 1);
    cr_assert_eq(EVP_PKEY_CTX_set1_hkdf_key(c, shared.p, (int)shared.n), 1);
    cr_assert_eq(EVP_PKEY_CTX_add1_hkdf_info(c, (const uint8_t *)"SLIM-DP-inter-node-hmac-v1", 26), 1);
    cr_assert_eq(EVP_PKEY_derive(c, key, &n), 1);
    EVP_PKEY_CTX_free(c);
}

Test(linkkey, equals_the_library)
{
    static const size_t lengths[] = {1, 2, 31, 32, 36, 63, 64, 65, 128, 1000, 5000};
    uint8_t *salt = wire_room(5000), shared[32], own[32], want[32];
    uint64_t seed = test_seed();

    for (size_t i = 0; i < sizeof(lengths) / sizeof(*lengths); i++) {
        for (size_t k = 0; k < lengths[i]; k++)
            salt[k] = (uint8_t)test_rand(&seed);
        for (size_t k = 0; k < sizeof(shared); k++)
            shared[k] = (uint8_t)test_rand(&seed);
        cr_assert_eq(slim_linkkey_derive(shared, slim_bytes_of(salt, lengths[i]), own), SLIM_OK);
        reference(slim_bytes_of(shared, sizeof(shared)), slim_bytes_of(salt, lengths[i]), want);
        cr_assert_arr_eq(own, want, sizeof(own), "salt of %zu bytes", lengths[i]);
    }
}

Test(linkkey, absurd_link_ids)
{
    uint8_t key[32], shared[32] = {1};

    cr_assert_eq(slim_linkkey_derive(shared, slim_bytes_of(shared, (size_t)INT32_MAX + 1), key), SLIM_E_TOO_LARGE);
    cr_assert_eq(slim_linkkey_derive(shared, slim_bytes_of(NULL, 0), key), SLIM_OK, "no salt is a salt of zeros");
}
