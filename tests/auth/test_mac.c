#include <criterion/criterion.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdlib.h>

#include "auth/mac.h"
#include "core/head.h"
#include "support/golden.h"
#include "support/wire_build.h"

#define GOLDEN_LINK_ID "ccb827ab-06dc-463a-96a4-d0c573c3627c"
#define GOLDEN_KEY "755afe675a5f5aef3f579cba8c718adc0595a9b22d784984c25577e454d89cca"
#define GOLDEN_TAG "69c21b83651ab797257d10935173bf32bef51179040b21a2ad8b0d81db6470c2"

static slim_bytes golden_rest(void)
{
    slim_bytes whole = hx(GOLDEN_PREIMAGE);

    return slim_bytes_of(whole.p + GOLDEN_PREIMAGE_LINK_BYTES, whole.n - GOLDEN_PREIMAGE_LINK_BYTES);
}

static slim_mac *golden_mac(slim_mem *m)
{
    return slim_mac_new(m, hx(GOLDEN_KEY).p, slim_bytes_str(GOLDEN_LINK_ID));
}

Test(mac, golden_vector)
{
    slim_mac *mac = golden_mac(&slim_mem_libc);
    uint8_t tag[SLIM_MAC_TAG_BYTES];

    slim_mac_sign(mac, golden_rest(), tag);
    cr_assert(slim_bytes_eq(slim_bytes_of(tag, sizeof(tag)), hx(GOLDEN_TAG)));
    cr_assert(slim_mac_verify(mac, golden_rest(), hx(GOLDEN_TAG)));
    /* The kept states are not used up. */
    slim_mac_sign(mac, slim_bytes_str("another"), tag);
    cr_assert(slim_mac_verify(mac, golden_rest(), hx(GOLDEN_TAG)));
    slim_mac_free(mac);
}

/* The way of a received message: scanned, its own preimage, its own tag. A node in between changes the ttl, and with it the tag. */
Test(mac, golden_message)
{
    slim_mac *mac = golden_mac(&slim_mem_libc);
    uint8_t out[512];
    slim_view v;

    cr_assert_eq(slim_view_scan(hx(GOLDEN_PUBLISH), &v), SLIM_OK);
    cr_assert_leq(slim_preimage_bound(&v), sizeof(out));
    cr_assert(slim_mac_verify(mac, slim_bytes_of(out, slim_preimage_build(&v, v.ttl, true, out)), v.mac));
    cr_assert_not(slim_mac_verify(mac, slim_bytes_of(out, slim_preimage_build(&v, v.ttl - 1, true, out)), v.mac));
    slim_mac_free(mac);
}

Test(mac, every_bit_counts)
{
    slim_mac *mac = golden_mac(&slim_mem_libc);
    slim_bytes tag = hx(GOLDEN_TAG), rest = golden_rest();
    uint8_t bad[SLIM_MAC_TAG_BYTES], *text = wire_room(rest.n);

    for (size_t bit = 0; bit < 8 * sizeof(bad); bit++) {
        memcpy(bad, tag.p, sizeof(bad));
        bad[bit / 8] ^= (uint8_t)(1u << bit % 8);
        cr_assert_not(slim_mac_verify(mac, rest, slim_bytes_of(bad, sizeof(bad))), "bit %zu of the tag", bit);
    }
    for (size_t bit = 0; bit < 8 * rest.n; bit++) {
        memcpy(text, rest.p, rest.n);
        text[bit / 8] ^= (uint8_t)(1u << bit % 8);
        cr_assert_not(slim_mac_verify(mac, slim_bytes_of(text, rest.n), tag), "bit %zu of the preimage", bit);
    }
    slim_mac_free(mac);
}

Test(mac, other_lengths_are_refused)
{
    slim_mac *mac = golden_mac(&slim_mem_libc);
    slim_bytes longer = cat(hx(GOLDEN_TAG), hx(GOLDEN_TAG));

    /* A prefix of the right tag, and more than the right tag. */
    for (size_t n = 0; n <= longer.n; n++)
        cr_assert_eq(slim_mac_verify(mac, golden_rest(), slim_bytes_of(longer.p, n)), n == SLIM_MAC_TAG_BYTES, "%zu bytes", n);
    cr_assert_not(slim_mac_verify(mac, golden_rest(), slim_bytes_of(NULL, 0)));
    slim_mac_free(mac);
}

Test(mac, binds_the_link)
{
    slim_bytes key = hx(GOLDEN_KEY), tag = hx(GOLDEN_TAG);
    static const char *const others[] = {"ccb827ab-06dc-463a-96a4-d0c573c3627d", "ccb827ab-06dc-463a-96a4-d0c573c3627",
                                         "ccb827ab-06dc-463a-96a4-d0c573c3627c ", ""};

    for (size_t i = 0; i < sizeof(others) / sizeof(*others); i++) {
        slim_mac *mac = slim_mac_new(&slim_mem_libc, key.p, slim_bytes_str(others[i]));

        cr_assert_not(slim_mac_verify(mac, golden_rest(), tag), "\"%s\"", others[i]);
        slim_mac_free(mac);
    }
    for (size_t i = 0; i < SLIM_MAC_KEY_BYTES; i++) {
        uint8_t other[SLIM_MAC_KEY_BYTES];
        slim_mac *mac;

        memcpy(other, key.p, sizeof(other));
        other[i] ^= 0x80;
        mac = slim_mac_new(&slim_mem_libc, other, slim_bytes_str(GOLDEN_LINK_ID));
        cr_assert_not(slim_mac_verify(mac, golden_rest(), tag), "byte %zu of the key", i);
        slim_mac_free(mac);
    }
}

/* The whole preimage of data-plane.md 4.4 through the library's HMAC(). */
static void reference(const uint8_t *key, slim_bytes link_id, slim_bytes rest, uint8_t *room, uint8_t tag[SLIM_MAC_TAG_BYTES])
{
    uint8_t *p = slim_put(room, "SLIM-DP-HDR-v1", 15);
    unsigned int n = 0;

    for (int i = 0; i < 4; i++)
        *p++ = (uint8_t)(link_id.n >> (8 * i));
    p = slim_put(p, link_id.p, link_id.n);
    p = slim_put(p, rest.p, rest.n);
    cr_assert_not_null(HMAC(EVP_sha256(), key, SLIM_MAC_KEY_BYTES, room, (size_t)(p - room), tag, &n));
    cr_assert_eq(n, SLIM_MAC_TAG_BYTES);
}

static void fill(uint64_t *seed, uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        p[i] = (uint8_t)test_rand(seed);
}

Test(mac, equals_the_library)
{
    enum { ID_MAX = 5000, REST_MAX = 3000 };
    uint8_t key[SLIM_MAC_KEY_BYTES], own[SLIM_MAC_TAG_BYTES], want[SLIM_MAC_TAG_BYTES];
    uint8_t *id = malloc(ID_MAX), *rest = malloc(REST_MAX + 1), *room = malloc(19 + ID_MAX + REST_MAX);
    uint64_t seed = test_seed();

    fill(&seed, id, ID_MAX);
    fill(&seed, rest, REST_MAX + 1);
    /* Each length of the preimage once and the edges of the link id's; where both lie in their SHA-256 blocks differs each time. */
    for (size_t n = 0; n <= REST_MAX; n++) {
        size_t id_n = n < 300 ? n + 1 : n == 300 ? ID_MAX : 1 + test_rand(&seed) % ID_MAX;
        size_t shift = test_rand(&seed) % 2 != 0 && n < REST_MAX ? 1 : 0;
        slim_mac *mac;

        fill(&seed, key, sizeof(key));
        mac = slim_mac_new(&slim_mem_libc, key, slim_bytes_of(id, id_n));
        cr_assert_not_null(mac);
        slim_mac_sign(mac, slim_bytes_of(rest + shift, n), own);
        reference(key, slim_bytes_of(id, id_n), slim_bytes_of(rest + shift, n), room, want);
        cr_assert_arr_eq(own, want, sizeof(own), "link id of %zu, preimage of %zu bytes", id_n, n);
        cr_assert(slim_mac_verify(mac, slim_bytes_of(rest + shift, n), slim_bytes_of(want, sizeof(want))));
        slim_mac_free(mac);
    }
    free(room);
    free(rest);
    free(id);
}

Test(mac, empty_preimage)
{
    slim_mac *mac = golden_mac(&slim_mem_libc);
    uint8_t a[SLIM_MAC_TAG_BYTES], b[SLIM_MAC_TAG_BYTES], room[64];

    slim_mac_sign(mac, slim_bytes_of(NULL, 0), a);
    reference(hx(GOLDEN_KEY).p, slim_bytes_str(GOLDEN_LINK_ID), slim_bytes_of(NULL, 0), room, b);
    cr_assert_arr_eq(a, b, sizeof(a));
    slim_mac_free(mac);
    slim_mac_free(NULL);
}

Test(mac, preimages_that_begin_alike)
{
    enum { N = 500 };
    uint8_t key[SLIM_MAC_KEY_BYTES], own[SLIM_MAC_TAG_BYTES], want[SLIM_MAC_TAG_BYTES], rest[N], room[N + 400];
    uint64_t seed = test_seed();
    slim_mac *mac[3];
    slim_bytes id[3];

    fill(&seed, key, sizeof(key));
    fill(&seed, rest, N);
    for (int i = 0; i < 3; i++) {
        /* The constant part ends in the middle of a block, at its end, at its beginning. */
        id[i] = slim_bytes_of("0123456789abcdef0123456789abcdef0123456789abcdef", i == 0 ? 36 : i == 1 ? 45 : 46);
        mac[i] = slim_mac_new(&slim_mem_libc, key, id[i]);
        cr_assert_not_null(mac[i]);
    }
    for (int round = 0; round < 3000; round++) {
        slim_bytes pre = slim_bytes_of(rest, test_rand(&seed) % 3 == 0 ? test_rand(&seed) % N : N);
        int i = (int)(test_rand(&seed) % 3);

        /* Mostly behind the names, as in a stream; now and then in them. */
        rest[test_rand(&seed) % 4 == 0 ? test_rand(&seed) % 256 : 250 + test_rand(&seed) % 250] ^= 1;
        reference(key, id[i], pre, room, want);
        slim_mac_sign(mac[i], pre, own);
        cr_assert_arr_eq(own, want, sizeof(own), "round %d, %zu bytes", round, pre.n);
        cr_assert(slim_mac_verify(mac[i], pre, slim_bytes_of(want, sizeof(want))));
        want[round % 32] ^= 1;
        cr_assert_not(slim_mac_verify(mac[i], pre, slim_bytes_of(want, sizeof(want))));
    }
    for (int i = 0; i < 3; i++)
        slim_mac_free(mac[i]);
}

/* A link that said little has no room for the beginning of its preimages; one that gets none goes on without. */
Test(mac, room_for_a_stream_comes_late)
{
    enum { N = 500 };
    uint8_t key[SLIM_MAC_KEY_BYTES], own[SLIM_MAC_TAG_BYTES], want[SLIM_MAC_TAG_BYTES], rest[N], room[N + 400];
    uint64_t seed = test_seed();
    slim_bytes id = slim_bytes_str(GOLDEN_LINK_ID);

    fill(&seed, key, sizeof(key));
    fill(&seed, rest, N);
    for (int failing = 0; failing < 2; failing++) {
        test_mem heap;
        slim_mac *mac;

        test_mem_init(&heap, failing != 0 ? 1 : -1);
        mac = slim_mac_new(&heap.mem, key, id);
        for (int round = 0; round < 20; round++) {
            rest[N - 1] ^= 1;
            reference(key, id, slim_bytes_of(rest, N), room, want);
            slim_mac_sign(mac, slim_bytes_of(rest, N), own);
            cr_assert_arr_eq(own, want, sizeof(own), "round %d", round);
            if (round < 5)
                cr_assert_eq(heap.live, 1);
        }
        cr_assert_eq(heap.live, 2); /* after a failure it is tried again */
        cr_assert_eq(heap.failed, failing != 0);
        slim_mac_free(mac);
        cr_assert_eq(heap.live, 0);
    }
}
