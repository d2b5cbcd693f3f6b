/* Each allocation fails once: the error says so, nothing leaks, and no memory is given back with a secret in it. */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "auth/negotiation_kit.h"
#include "support/golden.h"

/* An allocator over the failing one that looks at what is given back. */
typedef struct watch {
    slim_mem mem;
    test_mem under;
    slim_bytes secret[4]; /* must not occur in a freed block */
    size_t n_secrets;
    size_t leaks;
    size_t nonzero; /* bytes in the last freed block */
} watch;

#define HEAD 16 /* the size lies in front of each block */

static void *watch_resize(slim_mem *self, void *p, size_t n)
{
    watch *w = (watch *)self;
    size_t *block;

    cr_assert_null(p, "nothing here grows a block");
    if ((block = slim_alloc(&w->under.mem, HEAD + n)) == NULL)
        return NULL;
    memset((uint8_t *)block + HEAD, 0, n);
    *block = n;
    return (uint8_t *)block + HEAD;
}

static bool holds(const uint8_t *p, size_t n, slim_bytes secret)
{
    return secret.n <= n && memmem(p, n, secret.p, secret.n) != NULL;
}

static void watch_release(slim_mem *self, void *p)
{
    watch *w = (watch *)self;
    uint8_t *block = (uint8_t *)p - HEAD;
    size_t n = *(size_t *)(void *)block;

    w->nonzero = 0;
    for (size_t i = 0; i < n; i++)
        w->nonzero += ((uint8_t *)p)[i] != 0;
    for (size_t i = 0; i < w->n_secrets; i++)
        w->leaks += holds(p, n, w->secret[i]);
    slim_free(&w->under.mem, block);
}

static void watch_init(watch *w, long fail_at)
{
    *w = (watch){.mem = {watch_resize, watch_release}};
    test_mem_init(&w->under, fail_at);
}

static bool all_zero(const void *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (((const uint8_t *)p)[i] != 0)
            return false;
    return true;
}

static const known_random our_secret = {{0x51, 0x52, 0x53, 0x54, 5, 6, 7, 8, 9, 10, 11}, true};
static slim_random known(void)
{
    return (slim_random){known_fill, (void *)(uintptr_t)&our_secret};
}

/* The key that our secret and the golden request's key give. */
static void golden_key(uint8_t key[SLIM_MAC_KEY_BYTES])
{
    slim_bytes theirs = hx("1924c96582233ad33962d1d365207a8dd79cd5f678ada4f609b4371da3bfdb75");
    uint8_t shared[SLIM_X25519_BYTES];

    cr_assert_eq(slim_x25519_shared(our_secret.bytes, theirs.p, shared), SLIM_OK);
    cr_assert_eq(slim_linkkey_derive(shared, slim_bytes_str("944e9351-7879-4d0d-9509-3f6e9c9df47b"), key), SLIM_OK);
}

Test(auth_alloc, acceptor)
{
    uint8_t key[SLIM_MAC_KEY_BYTES];
    slim_random rnd = known();
    long n;

    golden_key(key);
    for (n = 0;; n++) {
        watch w;
        answer a;

        watch_init(&w, n);
        w.secret[w.n_secrets++] = slim_bytes_of(key, sizeof(key));
        w.secret[w.n_secrets++] = slim_bytes_of(our_secret.bytes, sizeof(our_secret.bytes));
        a = ask_with(&strict, hx(GOLDEN_LINK_REQUEST), &rnd, &w.mem);
        if (!w.under.failed) {
            cr_assert_eq(a.e, SLIM_OK);
            cr_assert_arr_eq(a.peer.key, key, sizeof(key), "what we look for is what there is");
            slim_negotiated_clear(&a.peer);
            cr_assert(all_zero(&a.peer, sizeof(a.peer)), "clear wipes the key and forgets everything");
            slim_free(&w.mem, (void *)(uintptr_t)a.reply.p);
            cr_assert_eq(w.under.live, 0);
            cr_assert_eq(w.leaks, 0);
            break;
        }
        cr_assert_eq(a.e, SLIM_E_NOMEM, "allocation %ld: %s", n, slim_err_text(a.e));
        cr_assert_null(a.why);
        cr_assert_null(a.reply.p);
        cr_assert(all_zero(&a.peer, sizeof(a.peer)), "allocation %ld", n);
        cr_assert_eq(w.under.live, 0, "allocation %ld", n);
        cr_assert_eq(w.leaks, 0, "allocation %ld", n);
    }
    cr_assert_geq(n, 5, "link id, three texts, reply");
}

Test(auth_alloc, dialler)
{
    slim_bytes id = slim_bytes_str("x"), reply = message(cat4(text(1, "x"), version(), number(3, 1), key_field()));
    slim_random rnd = known();
    long n;

    for (n = 0;; n++) {
        uint8_t *request = (uint8_t *)-1;
        slim_negotiated peer;
        slim_negotiation *asking;
        const char *why;
        size_t request_n;
        slim_view v;
        slim_err e;
        watch w;

        watch_init(&w, n);
        w.secret[w.n_secrets++] = slim_bytes_of(our_secret.bytes, sizeof(our_secret.bytes));
        asking = slim_negotiation_start(&strict, id, SLIM_EDGE, &rnd, &w.mem, &request, &request_n);
        if (asking == NULL) {
            cr_assert(w.under.failed);
            cr_assert_null(request);
            cr_assert_eq(w.under.live, 0, "allocation %ld", n);
            cr_assert_eq(w.leaks, 0, "allocation %ld", n);
            continue;
        }
        cr_assert_eq(slim_view_scan(reply, &v), SLIM_OK);
        memset(&peer, 0xa5, sizeof(peer));
        e = slim_negotiation_finish(asking, &v, &peer, &why);
        cr_assert_eq(e, w.under.failed ? SLIM_E_NOMEM : SLIM_OK, "allocation %ld: %s", n, slim_err_text(e));
        if (e != SLIM_OK) {
            cr_assert(all_zero(&peer, sizeof(peer)), "allocation %ld", n);
            cr_assert_null(why);
            /* There is memory again: the same negotiation can still be finished. */
            cr_assert_eq(slim_negotiation_finish(asking, &v, &peer, &why), SLIM_OK);
        }
        cr_assert(peer.has_key);
        slim_free(&w.mem, request);
        slim_negotiated_clear(&peer);
        cr_assert(all_zero(&peer, sizeof(peer)));
        slim_negotiation_free(asking);
        cr_assert_eq(w.under.live, 0);
        cr_assert_eq(w.leaks, 0, "the secret is wiped before its memory goes back");
        if (!w.under.failed)
            break;
    }
    cr_assert_geq(n, 6, "the object, the request, link id, three texts");
    slim_negotiation_free(NULL);
}

/* A strict refusal comes after the copies were made: they go too. */
Test(auth_alloc, refusals_leak_nothing)
{
    slim_bytes front = cat(text(1, "x"), version());
    slim_negotiated peer;
    uint8_t *request;
    slim_negotiation *asking;
    const char *why;
    size_t n;
    slim_view v;
    watch w;
    answer a;

    watch_init(&w, -1);
    a = ask_with(&strict, message(cat(front, part(4, zeros(32)))), &slim_random_openssl, &w.mem);
    cr_assert_eq(a.e, SLIM_E_NEGOTIATION);
    cr_assert_eq(w.under.live, 0);
    asking = slim_negotiation_start(&strict, slim_bytes_str("x"), SLIM_EDGE, &slim_random_openssl, &w.mem, &request, &n);
    cr_assert_eq(slim_view_scan(message(cat3(front, number(3, 1), part(4, zeros(32)))), &v), SLIM_OK);
    cr_assert_eq(slim_negotiation_finish(asking, &v, &peer, &why), SLIM_E_NEGOTIATION);
    slim_negotiation_free(asking);
    slim_free(&w.mem, request);
    cr_assert_eq(w.under.live, 0);
}

Test(auth_alloc, mac)
{
    static const uint8_t key[SLIM_MAC_KEY_BYTES] = {1, 2, 3, 4, 5, 6, 7, 8, 9};
    uint8_t pad[SLIM_MAC_KEY_BYTES];
    slim_mac *mac;
    watch w;

    watch_init(&w, 0);
    cr_assert_null(slim_mac_new(&w.mem, key, slim_bytes_str("x")));
    cr_assert_eq(w.under.live, 0);
    watch_init(&w, -1);
    for (size_t i = 0; i < sizeof(pad); i++)
        pad[i] = key[i] ^ 0x36;
    w.secret[w.n_secrets++] = slim_bytes_of(key, sizeof(key));
    w.secret[w.n_secrets++] = slim_bytes_of(pad, sizeof(pad));
    mac = slim_mac_new(&w.mem, key, slim_bytes_str("x"));
    cr_assert_not_null(mac);
    slim_mac_free(mac);
    cr_assert_eq(w.under.live, 0);
    cr_assert_eq(w.leaks, 0);
    cr_assert_leq(w.nonzero, sizeof(void *),
                  "the hash states are as good as the key; only the allocator's address may stay: %zu bytes", w.nonzero);
}
