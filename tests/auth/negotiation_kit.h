/* What the negotiation tests share: configurations, a generator that repeats itself, and messages built by hand. */
#ifndef SLIM_TESTS_NEGOTIATION_KIT_H
#define SLIM_TESTS_NEGOTIATION_KIT_H

#include "auth/linkkey.h"
#include "auth/negotiation.h"
#include "support/wire_build.h"

#define OUR_NODE "node-ours"
#define OUR_VERSION "0.1.0"
static const slim_negotiation_config lenient = {OUR_NODE, OUR_VERSION, "", false};
static const slim_negotiation_config strict = {OUR_NODE, OUR_VERSION, "", true};

/* The public keys of RFC 7748, 6.1. */
#define ALICE_SECRET "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a"
#define ALICE_PUBLIC "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"

/* Always the same bytes, so that a test knows our secret; works is false for a generator that fails. */
typedef struct known_random {
    uint8_t bytes[SLIM_X25519_BYTES];
    bool works;
} known_random;

static inline bool known_fill(void *arg, uint8_t *p, size_t n)
{
    const known_random *k = arg;

    for (size_t i = 0; i < n; i++)
        p[i] = k->bytes[i % sizeof(k->bytes)];
    return k->works;
}

static inline slim_bytes zeros(size_t n)
{
    uint8_t *p = wire_room(n);

    memset(p, 0, n);
    return slim_bytes_of(p, n);
}

static inline slim_bytes message(slim_bytes negotiation)
{
    return part(5, part(1, negotiation));
}

static inline slim_bytes version(void)
{
    return text(2, "3.4.6");
}
static inline slim_bytes key_field(void)
{
    return part(4, hx(ALICE_PUBLIC));
}

/* A good request without its link id. */
static inline slim_bytes request_rest(void)
{
    return cat4(version(), key_field(), number(5, 2), text(6, "node-theirs"));
}

/* What a call of the acceptor gives. */
typedef struct answer {
    slim_err e;
    slim_negotiated peer;
    slim_bytes reply;
    const char *why;
} answer;

static inline answer ask_with(const slim_negotiation_config *cfg, slim_bytes msg, const slim_random *rnd, slim_mem *m)
{
    answer a = {.why = NULL};
    uint8_t *reply = (uint8_t *)-1;
    size_t n = 0;
    slim_view v;

    /* Whatever lay there before. */
    memset(&a.peer, 0xa5, sizeof(a.peer));
    if (slim_view_scan(msg, &v) != SLIM_OK)
        abort();
    a.e = slim_negotiation_accept(cfg, &v, rnd, m, &a.peer, &reply, &n, &a.why);
    a.reply = slim_bytes_of(reply, reply != NULL ? n : 0);
    return a;
}

static inline answer ask(const slim_negotiation_config *cfg, slim_bytes msg)
{
    return ask_with(cfg, msg, &slim_random_openssl, &slim_mem_libc);
}

static inline void answer_free(answer *a)
{
    slim_negotiated_clear(&a->peer);
    slim_free(&slim_mem_libc, (void *)(uintptr_t)a->reply.p);
}

#endif
