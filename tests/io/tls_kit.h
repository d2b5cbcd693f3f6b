/* What the tests of TLS share: certificates, and two ends in memory, one of which may be OpenSSL itself. */
#ifndef SLIM_TESTS_TLS_KIT_H
#define SLIM_TESTS_TLS_KIT_H

#include "io/tls.h"
#include <criterion/criterion.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "support/certs.h"
#include "support/support.h"

/* ---- the certificates that most tests need ---- */

typedef struct pki {
    test_cert root, stranger, server, client, alien; /* stranger: an authority nobody trusts; alien: its client */
    char *root_pem, *stranger_pem, *server_pem, *server_key, *client_pem, *client_key, *alien_pem, *alien_key;
} pki;

static pki p __attribute__((unused));

static inline void pki_make(void)
{
    p.root = test_cert_make(&(test_cert_spec){.subject = "root", .authority = true});
    p.stranger = test_cert_make(&(test_cert_spec){.subject = "stranger", .authority = true});
    p.server = test_cert_make(
        &(test_cert_spec){.subject = "node", .names = "DNS:hub.example,DNS:*.wild.example,IP:127.0.0.1,IP:::1", .issuer = &p.root});
    p.client = test_cert_make(&(test_cert_spec){.subject = "app", .names = "DNS:app.example", .issuer = &p.root});
    p.alien = test_cert_make(&(test_cert_spec){.subject = "alien", .names = "DNS:hub.example", .issuer = &p.stranger});
    p.root_pem = test_cert_pem(&p.root);
    p.stranger_pem = test_cert_pem(&p.stranger);
    p.server_pem = test_cert_pem(&p.server);
    p.server_key = test_key_pem(&p.server, true, NULL);
    p.client_pem = test_cert_pem(&p.client);
    p.client_key = test_key_pem(&p.client, true, NULL);
    p.alien_pem = test_cert_pem(&p.alien);
    p.alien_key = test_key_pem(&p.alien, true, NULL);
}

static inline void pki_free(void)
{
    test_cert *certs[] = {&p.root, &p.stranger, &p.server, &p.client, &p.alien};
    char *texts[] = {p.root_pem, p.stranger_pem, p.server_pem, p.server_key, p.client_pem, p.client_key, p.alien_pem, p.alien_key};

    for (size_t i = 0; i < sizeof(certs) / sizeof(*certs); i++)
        test_cert_free(certs[i]);
    for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++)
        free(texts[i]);
}

TestSuite(tls, .init = pki_make, .fini = pki_free);

static inline slim_pem text(const char *pem)
{
    return (slim_pem){NULL, pem};
}
static inline slim_tls_config server_config(int version)
{
    return (slim_tls_config){.cert = text(p.server_pem), .key = text(p.server_key), .version = version, .where = "w"};
}
static inline slim_tls_config client_config(int version)
{
    return (slim_tls_config){.ca = text(p.root_pem), .version = version, .where = "w"};
}

static inline slim_tls_ctx *server_ctx(const slim_tls_config *cfg)
{
    slim_tls_ctx *c = NULL;
    char why[300] = "";

    cr_assert_eq(slim_tls_server_new(cfg, &c, why, sizeof(why)), SLIM_OK, "%s", why);
    return c;
}

static inline slim_tls_ctx *client_ctx(const slim_tls_config *cfg)
{
    slim_tls_ctx *c = NULL;
    char why[300] = "";

    cr_assert_eq(slim_tls_client_new(cfg, &c, why, sizeof(why)), SLIM_OK, "%s", why);
    return c;
}

/* ---- two ends in memory; one of them may be OpenSSL itself ---- */

typedef struct peer {
    slim_tls *t;
    SSL *raw;
    BIO *in, *out;
    slim_err e;  /* of the last read */
    uint8_t *rx; /* what was decrypted */
    size_t rx_n, rx_cap;
    uint8_t *wire; /* all that this end sent */
    size_t wire_n, wire_cap;
} peer;

static inline void add(uint8_t **to, size_t *n, size_t *cap, const void *from, size_t k)
{
    if (*n + k > *cap) {
        *cap = (*n + k) * 2;
        *to = realloc(*to, *cap);
    }
    memcpy(*to + *n, from, k);
    *n += k;
}

static inline peer slim_peer(slim_tls *t)
{
    cr_assert_not_null(t);
    return (peer){.t = t};
}

static inline peer raw_peer(SSL_CTX *ctx, bool server)
{
    peer r = {.raw = SSL_new(ctx), .in = BIO_new(BIO_s_mem()), .out = BIO_new(BIO_s_mem())};

    SSL_set_bio(r.raw, r.in, r.out);
    if (server)
        SSL_set_accept_state(r.raw);
    else
        SSL_set_connect_state(r.raw);
    return r;
}

static inline void peer_free(peer *a)
{
    slim_tls_free(a->t);
    SSL_free(a->raw);
    free(a->rx);
    free(a->wire);
}

/* Gives n bytes of ciphertext (0: just runs on) in memory that is gone afterwards. */
static inline void take(peer *a, const uint8_t *from, size_t n)
{
    uint8_t *copy = malloc(n + (n == 0)), plain[5000];
    size_t got;

    slim_put(copy, from, n);
    if (a->raw != NULL) {
        if (n > 0)
            cr_assert_eq(BIO_write(a->in, copy, (int)n), (int)n);
        ERR_clear_error();
        while (SSL_read_ex(a->raw, plain, sizeof(plain), &got) == 1)
            add(&a->rx, &a->rx_n, &a->rx_cap, plain, got);
        ERR_clear_error();
    } else {
        slim_tls_feed(a->t, slim_bytes_of(copy, n));
        while ((a->e = slim_tls_read(a->t, plain, sizeof(plain), &got)) == SLIM_OK && got > 0)
            add(&a->rx, &a->rx_n, &a->rx_cap, plain, got);
        cr_assert_eq(got, 0);
    }
    free(copy);
}

/* Takes all that waits, which must fit into max bytes. */
static inline size_t pull(slim_tls *t, uint8_t *to, size_t max)
{
    size_t n = slim_tls_pending(t);
    slim_bytes cipher;
    slim_buf *block = slim_tls_take(t, &cipher);

    cr_assert_eq(block == NULL, n == 0);
    cr_assert_eq(slim_tls_pending(t), 0);
    if (block == NULL)
        return 0;
    cr_assert_eq(cipher.n, n);
    cr_assert_leq(n, max);
    memcpy(to, cipher.p, n);
    slim_buf_unref(block);
    return n;
}

/* Moves what waits in a over to b, in pieces of so many bytes (0: all at once). Returns how much. */
static inline size_t move(peer *a, peer *b, size_t piece)
{
    uint8_t buf[3000];
    size_t from = a->wire_n, n;

    if (a->raw != NULL) {
        int k;

        while ((k = BIO_read(a->out, buf, sizeof(buf))) > 0)
            add(&a->wire, &a->wire_n, &a->wire_cap, buf, (size_t)k);
    } else {
        slim_bytes cipher;
        slim_buf *block = slim_tls_take(a->t, &cipher);

        if (block != NULL) {
            add(&a->wire, &a->wire_n, &a->wire_cap, cipher.p, cipher.n);
            slim_buf_unref(block);
        }
        cr_assert_null(slim_tls_take(a->t, &cipher));
    }
    for (size_t at = from; at < a->wire_n; at += n) {
        n = a->wire_n - at;
        if (piece != 0 && n > piece)
            n = piece;
        take(b, a->wire + at, n);
    }
    return a->wire_n - from;
}

static inline void settle(peer *a, peer *b, size_t piece)
{
    take(a, NULL, 0);
    take(b, NULL, 0);
    for (int i = 0; i < 20; i++)
        if (move(a, b, piece) + move(b, a, piece) == 0)
            return;
    cr_assert_fail("the two never come to rest");
}

static inline void say(peer *a, const void *what, size_t n)
{
    slim_bytes part = slim_bytes_of(what, n);
    size_t done;

    if (a->raw != NULL)
        cr_assert_eq(SSL_write_ex(a->raw, what, n, &done), 1);
    else
        cr_assert_eq(slim_tls_write(a->t, &part, 1), SLIM_OK, "%s", slim_tls_why(a->t));
}

static inline void expect_rx(peer *a, const void *what, size_t n)
{
    cr_assert_eq(a->rx_n, n, "%zu bytes came, not %zu", a->rx_n, n);
    cr_assert_arr_eq(a->rx, what, n);
    a->rx_n = 0;
}

/* Both directions work. */
static inline void expect_talk(peer *a, peer *b)
{
    say(a, "question", 8);
    settle(a, b, 0);
    expect_rx(b, "question", 8);
    say(b, "answer", 6);
    settle(a, b, 0);
    expect_rx(a, "answer", 6);
}

static inline void expect_why(const peer *a, slim_err e, const char *part)
{
    cr_assert_eq(a->e, e, "%d instead of %d, for \"%s\"", a->e, e, part);
    cr_assert_not_null(strstr(slim_tls_why(a->t), part), "\"%s\" is not in \"%s\"", part, slim_tls_why(a->t));
}

/* A pair of slim ends, the handshake run as far as it goes. */
typedef struct pair {
    slim_tls_ctx *sc, *cc;
    peer s, c;
} pair;

static inline pair pair_of(const slim_tls_config *server, const slim_tls_config *client, const char *name, size_t piece)
{
    pair q = {.sc = server_ctx(server), .cc = client_ctx(client)};

    q.s = slim_peer(slim_tls_accept(q.sc, &slim_mem_libc));
    q.c = slim_peer(slim_tls_connect(q.cc, &slim_mem_libc, name));
    settle(&q.c, &q.s, piece);
    return q;
}

static inline pair pair_up(int version)
{
    slim_tls_config s = server_config(version), c = client_config(version);
    pair q = pair_of(&s, &c, "hub.example", 0);

    cr_assert(slim_tls_established(q.s.t) && slim_tls_established(q.c.t));
    return q;
}

static inline void pair_free(pair *q)
{
    peer_free(&q->s);
    peer_free(&q->c);
    slim_tls_ctx_free(q->sc);
    slim_tls_ctx_free(q->cc);
}

static inline void expect_works(const slim_tls_config *s, const slim_tls_config *c, const char *name)
{
    pair q = pair_of(s, c, name, 0);

    cr_assert(slim_tls_established(q.s.t) && slim_tls_established(q.c.t), "%s / %s", slim_tls_why(q.s.t), slim_tls_why(q.c.t));
    expect_talk(&q.c, &q.s);
    cr_assert_str_empty(slim_tls_why(q.s.t));
    cr_assert_str_empty(slim_tls_why(q.c.t));
    pair_free(&q);
}

/* ---- a slim end and OpenSSL itself ---- */

static inline SSL_CTX *raw_ctx(int version)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_method());
    int v = version == 12 ? TLS1_2_VERSION : TLS1_3_VERSION;

    cr_assert_not_null(ctx);
    SSL_CTX_set_min_proto_version(ctx, v);
    SSL_CTX_set_max_proto_version(ctx, v);
    return ctx;
}

typedef struct mixed {
    slim_tls_ctx *ctx;
    SSL_CTX *raw;
    peer t, r;
} mixed;

/* alpn: in the form of the wire; NULL: not offered. */
static inline mixed slim_server_up(int version, const char *alpn)
{
    slim_tls_config cfg = server_config(version);
    mixed m = {.ctx = server_ctx(&cfg), .raw = raw_ctx(version)};

    m.t = slim_peer(slim_tls_accept(m.ctx, &slim_mem_libc));
    m.r = raw_peer(m.raw, false);
    if (alpn != NULL)
        cr_assert_eq(SSL_set_alpn_protos(m.r.raw, (const unsigned char *)alpn, (unsigned)strlen(alpn)), 0);
    settle(&m.r, &m.t, 0);
    cr_assert(slim_tls_established(m.t.t), "%s", slim_tls_why(m.t.t));
    cr_assert(SSL_is_init_finished(m.r.raw));
    return m;
}

static inline void mixed_free(mixed *m)
{
    peer_free(&m->t);
    peer_free(&m->r);
    slim_tls_ctx_free(m->ctx);
    SSL_CTX_free(m->raw);
}

#endif
