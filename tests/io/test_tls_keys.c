/* Keys that change while a connection lasts: the peer's and ours. */
#include "tls_kit.h"

Test(tls, new_keys_from_the_peer)
{
    for (int update = SSL_KEY_UPDATE_NOT_REQUESTED; update <= SSL_KEY_UPDATE_REQUESTED; update++) {
        mixed m = slim_server_up(13, "\2h2");

        for (int i = 0; i < 3; i++) {
            cr_assert_eq(SSL_key_update(m.r.raw, update), 1);
            cr_assert_eq(SSL_do_handshake(m.r.raw), 1);
            expect_talk(&m.r, &m.t);
        }
        mixed_free(&m);
    }
}

/* Many changes are allowed when as much data flows, and none but the first few without. */
Test(tls, flood_of_new_keys)
{
    static uint8_t data[65536];
    mixed m = slim_server_up(13, "\2h2");
    int updates = 0;

    for (int i = 0; i < 60; i++) {
        cr_assert_eq(SSL_key_update(m.r.raw, SSL_KEY_UPDATE_REQUESTED), 1);
        cr_assert_eq(SSL_do_handshake(m.r.raw), 1);
        say(&m.r, data, sizeof(data));
        move(&m.r, &m.t, 0);
        cr_assert_eq(m.t.e, SLIM_OK, "change %d: %s", i, slim_tls_why(m.t.t));
        settle(&m.r, &m.t, 0);
    }
    for (; m.t.e == SLIM_OK && updates < 1000; updates++) {
        SSL_key_update(m.r.raw, SSL_KEY_UPDATE_NOT_REQUESTED);
        SSL_do_handshake(m.r.raw);
        move(&m.r, &m.t, 0);
    }
    cr_assert_geq(updates, 30);
    cr_assert_leq(updates, 40);
    expect_why(&m.t, SLIM_E_PROTOCOL, "TLS failed: the peer changes its keys too often");
    mixed_free(&m);

    /* Thousands in one piece end it as well, before most of them are looked at. */
    m = slim_server_up(13, "\2h2");
    for (int i = 0; i < 5000; i++) {
        SSL_key_update(m.r.raw, SSL_KEY_UPDATE_REQUESTED);
        SSL_do_handshake(m.r.raw);
    }
    move(&m.r, &m.t, 0);
    expect_why(&m.t, SLIM_E_PROTOCOL, "TLS failed: the peer changes its keys too often");
    cr_assert_lt(slim_tls_pending(m.t.t), 4096);
    mixed_free(&m);
}

/* Whoever asks for answers has to read them, however much data flows. */
Test(tls, answers_that_nobody_reads)
{
    static uint8_t data[65536];
    mixed m = slim_server_up(13, "\2h2");
    int updates = 0;

    for (; m.t.e == SLIM_OK && updates < 1000; updates++) {
        cr_assert_eq(SSL_key_update(m.r.raw, SSL_KEY_UPDATE_REQUESTED), 1);
        cr_assert_eq(SSL_do_handshake(m.r.raw), 1);
        say(&m.r, data, sizeof(data));
        move(&m.r, &m.t, 0);
    }
    cr_assert_gt(updates, 100);
    expect_why(&m.t, SLIM_E_PROTOCOL, "TLS failed: the peer asks for new keys and does not read the answers");
    cr_assert_lt(slim_tls_pending(m.t.t), 8192);
    mixed_free(&m);
}

/* ---- keys of our own ---- */

static int updates_seen;

static void note_update(int writes, int version, int type, const void *bytes, size_t n, SSL *ssl, void *arg)
{
    if (!writes && type == SSL3_RT_HANDSHAKE && n > 4 && *(const uint8_t *)bytes == SSL3_MT_KEY_UPDATE) {
        cr_assert_eq(((const uint8_t *)bytes)[4], SSL_KEY_UPDATE_NOT_REQUESTED);
        updates_seen++;
    }
}

/* A server whose keys last for a megabyte. */
static mixed short_keys_up(int version, const char *ciphers)
{
    slim_tls_config cfg = server_config(version);
    mixed m;

    cfg.key_bytes = 1 << 20;
    m = (mixed){.ctx = server_ctx(&cfg), .raw = raw_ctx(version)};
    if (ciphers != NULL)
        cr_assert_eq(SSL_CTX_set_cipher_list(m.raw, ciphers), 1);
    m.t = slim_peer(slim_tls_accept(m.ctx, &slim_mem_libc));
    m.r = raw_peer(m.raw, false);
    SSL_set_msg_callback(m.r.raw, note_update);
    settle(&m.r, &m.t, 0);
    cr_assert(slim_tls_established(m.t.t), "%s", slim_tls_why(m.t.t));
    updates_seen = 0;
    return m;
}

/* n messages of so many bytes, each of which arrives as it was. */
static void say_much(mixed *m, size_t n, size_t bytes)
{
    static uint8_t data[100000];

    for (size_t i = 0; i < n; i++) {
        memset(data, (int)i, bytes);
        say(&m->t, data, bytes);
        move(&m->t, &m->r, 0);
        expect_rx(&m->r, data, bytes);
    }
}

Test(tls, a_key_of_ours_that_has_encrypted_enough)
{
    mixed m = short_keys_up(13, NULL);

    say_much(&m, 10, 100000);
    cr_assert_eq(updates_seen, 0);
    say_much(&m, 100, 100000);
    cr_assert_eq(updates_seen, 10);
    /* Small records count for more than their bytes. */
    say_much(&m, 20000, 8);
    cr_assert_eq(updates_seen, 11);
    cr_assert_not(slim_tls_worn(m.t.t));
    expect_talk(&m.r, &m.t);
    mixed_free(&m);
}

/* The peer's wish for new keys gives us a new one as well, which may encrypt as much again. */
Test(tls, a_key_that_the_peer_had_renewed)
{
    mixed m = short_keys_up(13, NULL);

    say_much(&m, 8, 100000);
    SSL_key_update(m.r.raw, SSL_KEY_UPDATE_REQUESTED);
    SSL_do_handshake(m.r.raw);
    settle(&m.r, &m.t, 0);
    say_much(&m, 8, 100000);
    cr_assert_eq(updates_seen, 1); /* the answer, and none of our own */
    say_much(&m, 4, 100000);
    cr_assert_eq(updates_seen, 2);
    mixed_free(&m);
}

Test(tls, a_worn_key_of_the_older_version)
{
    mixed m = short_keys_up(12, "ECDHE+AESGCM");

    say_much(&m, 10, 100000);
    cr_assert_not(slim_tls_worn(m.t.t));
    say_much(&m, 2, 100000);
    cr_assert(slim_tls_worn(m.t.t));
    expect_talk(&m.r, &m.t); /* to the end */
    mixed_free(&m);

    m = short_keys_up(12, "ECDHE+CHACHA20");
    say_much(&m, 12, 100000);
    cr_assert_not(slim_tls_worn(m.t.t));
    mixed_free(&m);
}
