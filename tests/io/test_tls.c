/* The handshake, who is who, bytes in any pieces, and the end. */
#include "tls_kit.h"

/* ---- handshake ---- */

/* The client refuses the server because of why, which the server hears as told. */
static void expect_refused(const slim_tls_config *s, const slim_tls_config *c, const char *name, const char *why, const char *told)
{
    pair q = pair_of(s, c, name, 0);

    expect_why(&q.c, SLIM_E_PROTOCOL, why);
    cr_assert_not(slim_tls_established(q.c.t));
    cr_assert_not(slim_tls_established(q.s.t));
    expect_why(&q.s, SLIM_E_PROTOCOL, "TLS handshake failed: the peer "); /* it was told */
    cr_assert_not_null(strstr(slim_tls_why(q.s.t), told), "\"%s\" is not in \"%s\"", told, slim_tls_why(q.s.t));
    pair_free(&q);
}

Test(tls, each_version_speaks_with_itself)
{
    static const char *names[] = {"TLSv1.2", "TLSv1.3"};

    for (int version = 12; version <= 13; version++) {
        pair q = pair_up(version);

        cr_assert_str_eq(slim_tls_version(q.s.t), names[version - 12]);
        cr_assert_str_eq(slim_tls_version(q.c.t), names[version - 12]);
        expect_talk(&q.c, &q.s);
        pair_free(&q);
    }
}

Test(tls, exactly_one_version_is_spoken)
{
    for (int version = 12; version <= 13; version++) {
        slim_tls_config s = server_config(version), c = client_config(25 - version);
        pair q = pair_of(&s, &c, "hub.example", 0);

        expect_why(&q.s, SLIM_E_PROTOCOL,
                   version == 12 ? "TLS handshake failed: the peer does not speak TLS 1.2: set tls_version"
                                 : "TLS handshake failed: the peer does not speak TLS 1.3: set tls_version");
        expect_why(&q.c, SLIM_E_PROTOCOL,
                   version == 12 ? "TLS handshake failed: the peer does not speak TLS 1.3: set tls_version"
                                 : "TLS handshake failed: the peer does not speak TLS 1.2: set tls_version");
        pair_free(&q);
    }
}

Test(tls, nothing_is_sealed_before_the_handshake)
{
    slim_tls_config s = server_config(13);
    slim_tls_ctx *ctx = server_ctx(&s);
    slim_tls *t = slim_tls_accept(ctx, &slim_mem_libc);
    slim_bytes part = slim_bytes_of("x", 1);

    cr_assert_eq(slim_tls_write(t, &part, 1), SLIM_E_AGAIN);
    cr_assert_not(slim_tls_established(t));
    slim_tls_shutdown(t);
    cr_assert_eq(slim_tls_pending(t), 0);
    slim_tls_free(t);
    slim_tls_ctx_free(ctx);
    slim_tls_free(NULL);
    slim_tls_ctx_free(NULL);
}

Test(tls, handshake_byte_by_byte)
{
    for (int version = 12; version <= 13; version++) {
        slim_tls_config s = server_config(version), c = client_config(version);
        pair q = pair_of(&s, &c, "hub.example", 1);

        cr_assert(slim_tls_established(q.s.t) && slim_tls_established(q.c.t));
        say(&q.c, "byte by byte", 12);
        move(&q.c, &q.s, 1);
        expect_rx(&q.s, "byte by byte", 12);
        pair_free(&q);
    }
}

/* ---- who is who ---- */

Test(tls, names_and_addresses)
{
    static const char *good[] = {"hub.example", "HUB.example", "a.wild.example", "127.0.0.1",   "::1",
                                 "[::1]",       "::1%lo",      "hub.example.",   "HUB.Example."};
    static const struct {
        const char *name, *why;
    } bad[] = {
        {"other.example", "the peer's certificate was refused: it is not for other.example: use a name that it has as server_name"},
        {"a.b.wild.example", "it is not for a.b.wild.example"},
        {"node", "it is not for node"}, /* the common name is no host name */
        {"other.example.", "it is not for other.example"},
        {"hub.example..", "it is not for hub.example."},
        {"[hub.example]", "it is not for"},
        {"127.0.0.2", "the peer's certificate was refused: it is not for the address 127.0.0.2: use a name"},
        {"::2", "it is not for the address 0:0:0:0:0:0:0:2"},
        {"[::2]", "it is not for the address 0:0:0:0:0:0:0:2"},
        {"[::2%lo]", "it is not for the address 0:0:0:0:0:0:0:2"},
    };
    slim_tls_config s = server_config(13), c = client_config(13);

    for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++)
        expect_works(&s, &c, good[i]);
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        expect_refused(&s, &c, bad[i].name, bad[i].why, "refuses our certificate (bad certificate)");
}

/* OpenSSL takes a name that is empty for any, and a dot in front for any name that ends so. */
Test(tls, what_is_no_name)
{
    static const char *bad[] = {"", ".", ".wild.example"};
    slim_tls_config cfg = client_config(13);
    slim_tls_ctx *ctx = client_ctx(&cfg);
    char longest[300];

    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        cr_assert_null(slim_tls_connect(ctx, &slim_mem_libc, bad[i]), "%s", bad[i]);
    memset(longest, 'a', sizeof(longest));
    longest[256] = '\0';
    cr_assert_null(slim_tls_connect(ctx, &slim_mem_libc, longest));
    longest[255] = '\0';
    slim_tls_free(slim_peer(slim_tls_connect(ctx, &slim_mem_libc, longest)).t);
    slim_tls_ctx_free(ctx);
}

Test(tls, a_certificate_without_names_fits_none)
{
    test_cert x = test_cert_make(&(test_cert_spec){.subject = "hub.example", .issuer = &p.root});
    char *pem = test_cert_pem(&x), *key = test_key_pem(&x, true, NULL);
    slim_tls_config s = {.cert = text(pem), .key = text(key), .version = 13, .where = "w"}, c = client_config(13);

    expect_refused(&s, &c, "hub.example", "it is not for hub.example", "refuses our certificate (bad certificate)");
    test_cert_free(&x);
    free(pem);
    free(key);
}

Test(tls, expired_and_not_yet_valid)
{
    static const struct {
        long from, to;
        const char *why, *told;
    } spans[] = {
        {-7200, -3600, "it has expired: the peer must renew it", "says that our certificate has expired: renew source.cert"},
        {3600, 7200, "it is not valid yet: compare the clocks", "refuses our certificate (bad certificate)"}};

    for (int i = 0; i < 2; i++) {
        test_cert x = test_cert_make(&(test_cert_spec){
            .subject = "old", .names = "DNS:hub.example", .issuer = &p.root, .from_s = spans[i].from, .to_s = spans[i].to});
        char *pem = test_cert_pem(&x), *key = test_key_pem(&x, true, NULL);
        slim_tls_config s = {.cert = text(pem), .key = text(key), .version = 13, .where = "w"}, c = client_config(13);

        expect_refused(&s, &c, "hub.example", spans[i].why, spans[i].told);
        c.skip_verify = true;
        expect_works(&s, &c, "hub.example");
        test_cert_free(&x);
        free(pem);
        free(key);
    }
}

Test(tls, unknown_authority)
{
    slim_tls_config s = server_config(13), c = {.ca = text(p.stranger_pem), .version = 13, .where = "w"};

    expect_refused(&s, &c, "hub.example", "no authority that we trust signed it: add the right one to ca_source",
                   "does not trust our certificate (unknown CA)");
    c.ca = text(NULL);
    expect_refused(&s, &c, "hub.example", "no authority that we trust signed it: add the right one to ca_source",
                   "does not trust our certificate (unknown CA)");
    c.system_roots = true;
    expect_refused(&s, &c, "hub.example", "no authority that we trust signed it: add the right one to ca_source",
                   "does not trust our certificate (unknown CA)");
    c.skip_verify = true;
    expect_works(&s, &c, "hub.example");
    expect_works(&s, &c, "any.example");
    expect_works(&s, &c, "10.9.8.7");
}

Test(tls, what_was_not_checked_is_no_reason_later)
{
    slim_tls_config s = server_config(13), c = {.skip_verify = true, .version = 13, .where = "w"};
    pair q = pair_of(&s, &c, "any.example", 0);
    uint8_t wire[64];
    size_t n;

    cr_assert(slim_tls_established(q.c.t));
    say(&q.s, "x", 1);
    n = pull(q.s.t, wire, sizeof(wire));
    wire[n - 1] ^= 1;
    take(&q.c, wire, n);
    expect_why(&q.c, SLIM_E_PROTOCOL, "TLS failed: bytes of the peer were changed on their way (bad record MAC)");
    pair_free(&q);
}

Test(tls, mutual)
{
    for (int version = 12; version <= 13; version++) {
        slim_tls_config s = server_config(version), c = client_config(version);
        pair q;

        s.ca = text(p.root_pem);
        c.cert = text(p.client_pem);
        c.key = text(p.client_key);
        expect_works(&s, &c, "hub.example");

        c.cert = text(p.alien_pem);
        c.key = text(p.alien_key);
        q = pair_of(&s, &c, "hub.example", 0);
        expect_why(
            &q.s, SLIM_E_PROTOCOL,
            "TLS handshake failed: the peer's certificate was refused: no authority that we trust signed it: add the right one "
            "to client_ca (unable to get local issuer certificate)");
        expect_why(&q.c, SLIM_E_PROTOCOL, "the peer does not trust our certificate (unknown CA)");
        cr_assert_not(slim_tls_established(q.s.t));
        pair_free(&q);

        c.cert = c.key = text(NULL);
        q = pair_of(&s, &c, "hub.example", 0);
        expect_why(&q.s, SLIM_E_PROTOCOL, "TLS handshake failed: the peer shows no certificate, and client_ca demands one");
        expect_why(&q.c, SLIM_E_PROTOCOL,
                   version == 13 ? "the peer demands a certificate (certificate required): set source to one that it trusts"
                                 : "the peer finds no common ground (handshake failure)");
        pair_free(&q);

        /* A server that asks for none is not disturbed by a client that has one. */
        s.ca = text(NULL);
        c.cert = text(p.alien_pem);
        c.key = text(p.alien_key);
        expect_works(&s, &c, "hub.example");
    }
}

Test(tls, kinds_and_forms_of_keys)
{
    static const char *kinds[] = {"EC", "RSA", "ED25519"};

    for (int i = 0; i < 3; i++) {
        test_cert x =
            test_cert_make(&(test_cert_spec){.subject = "k", .names = "DNS:hub.example", .issuer = &p.root, .kind = kinds[i]});
        char *pem = test_cert_pem(&x);

        for (int pkcs8 = 0; pkcs8 < 2; pkcs8++) {
            char *key;

            if (!pkcs8 && i == 2) /* has one form only */
                continue;
            key = test_key_pem(&x, pkcs8, NULL);
            for (int version = 12; version <= 13; version++) {
                slim_tls_config s = {.cert = text(pem), .key = text(key), .version = version, .where = "w"},
                                c = client_config(version);

                expect_works(&s, &c, "hub.example");
            }
            free(key);
        }
        test_cert_free(&x);
        free(pem);
    }
}

Test(tls, chains)
{
    test_cert middle = test_cert_make(&(test_cert_spec){.subject = "middle", .issuer = &p.root, .authority = true});
    test_cert leaf = test_cert_make(&(test_cert_spec){.subject = "leaf", .names = "DNS:hub.example", .issuer = &middle});
    char *alone = test_cert_pem(&leaf), *middle_pem = test_cert_pem(&middle), *key = test_key_pem(&leaf, true, NULL);
    char *chain = test_text_join(test_cert_pem(&leaf), test_cert_pem(&middle));
    char *two = test_text_join(test_cert_pem(&p.stranger), test_cert_pem(&p.root));
    slim_tls_config s = {.cert = {test_temp_file("chain.pem", chain, strlen(chain)), NULL},
                         .key = {test_temp_file("key.pem", key, strlen(key)), NULL},
                         .version = 13,
                         .where = "w"};
    slim_tls_config c = client_config(13);

    expect_works(&s, &c, "hub.example");
    c.ca = (slim_pem){test_temp_file("roots.pem", two, strlen(two)), NULL};
    expect_works(&s, &c, "hub.example");

    s.cert = text(alone);
    expect_refused(&s, &c, "hub.example", "no authority that we trust signed it: add the right one to ca_source",
                   "does not trust our certificate (unknown CA)");
    /* Whoever is named as an authority is one, root or not. */
    c.ca = text(middle_pem);
    expect_works(&s, &c, "hub.example");
    /* The chain that is sent is the one of source.cert, whatever authorities the server knows besides. */
    s.ca = text(middle_pem);
    c = client_config(13);
    c.cert = text(alone);
    c.key = s.key;
    expect_refused(&s, &c, "hub.example", "no authority that we trust signed it: add the right one to ca_source",
                   "does not trust our certificate (unknown CA)");
    test_cert_free(&middle);
    test_cert_free(&leaf);
    free(alone);
    free(middle_pem);
    free(key);
    free(chain);
    free(two);
}

/* ---- OpenSSL itself as the other end ---- */

static const char *offered; /* to the raw server, or the name the client sent */

static int note_name(SSL *ssl, int *alert, void *arg)
{
    static char name[64];
    const char *sent = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);

    snprintf(name, sizeof(name), "%s", sent != NULL ? sent : "(none)");
    offered = name;
    return SSL_TLSEXT_ERR_OK;
}

static int select_nothing(SSL *ssl, const unsigned char **out, unsigned char *out_n, const unsigned char *in, unsigned in_n,
                          void *arg)
{
    cr_assert_eq(in_n, 3);
    cr_assert_arr_eq(in, "\2h2", 3);
    (*(int *)arg)++;
    return SSL_TLSEXT_ERR_NOACK;
}

static mixed slim_client_up(int version, const char *name, int *alpn_seen)
{
    slim_tls_config cfg = client_config(version);
    mixed m = {.ctx = client_ctx(&cfg), .raw = raw_ctx(version)};

    cr_assert_eq(SSL_CTX_use_certificate(m.raw, p.server.x), 1);
    cr_assert_eq(SSL_CTX_use_PrivateKey(m.raw, p.server.key), 1);
    SSL_CTX_set_tlsext_servername_callback(m.raw, note_name);
    SSL_CTX_set_alpn_select_cb(m.raw, select_nothing, alpn_seen);
    m.t = slim_peer(slim_tls_connect(m.ctx, &slim_mem_libc, name));
    m.r = raw_peer(m.raw, true);
    settle(&m.t, &m.r, 0);
    cr_assert(slim_tls_established(m.t.t), "%s", slim_tls_why(m.t.t));
    return m;
}

Test(tls, server_selects_h2_or_nothing)
{
    static const struct {
        const char *offer;
        unsigned n;
    } cases[] = {{"\2h2", 2}, {"\x8http/1.1\2h2", 2}, {"\x8http/1.1", 0}, {"\3h2c", 0}, {NULL, 0}};

    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        mixed m = slim_server_up(12 + (int)(i % 2), cases[i].offer);
        const unsigned char *got;
        unsigned n;

        SSL_get0_alpn_selected(m.r.raw, &got, &n);
        cr_assert_eq(n, cases[i].n, "case %zu", i);
        if (n > 0)
            cr_assert_arr_eq(got, "h2", 2);
        expect_talk(&m.r, &m.t);
        mixed_free(&m);
    }
}

Test(tls, client_offers_h2_and_its_server_name)
{
    static const char *names[][2] = {{"hub.example", "hub.example"},
                                     {"hub.example.", "hub.example"},
                                     {"127.0.0.1", "(none)"},
                                     {"::1", "(none)"},
                                     {"[::1]", "(none)"},
                                     {"::1%lo", "(none)"}};

    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
        int seen = 0;
        mixed m = slim_client_up(13, names[i][0], &seen);

        cr_assert_eq(seen, 1);
        cr_assert_str_eq(offered, names[i][1]);
        expect_talk(&m.t, &m.r); /* whose server selected nothing, as upstream's */
        mixed_free(&m);
    }
}

Test(tls, nothing_is_left_for_resuming)
{
    for (int version = 12; version <= 13; version++) {
        mixed m = slim_server_up(version, "\2h2");
        SSL_SESSION *s;

        say(&m.t, "x", 1);
        settle(&m.t, &m.r, 0);
        s = SSL_get1_session(m.r.raw);
        cr_assert_not(SSL_SESSION_has_ticket(s));
        SSL_SESSION_free(s);
        mixed_free(&m);
    }
}

/* The peer asks again and again for a new handshake and takes none of the answers. */
Test(tls, renegotiation_is_refused)
{
    for (int server = 0; server < 2; server++) {
        int seen = 0;
        mixed m = server ? slim_server_up(12, "\2h2") : slim_client_up(12, "hub.example", &seen);

        cr_assert_eq(SSL_renegotiate(m.r.raw), 1);
        SSL_do_handshake(m.r.raw);
        move(&m.r, &m.t, 0);
        expect_why(&m.t, SLIM_E_PROTOCOL, "TLS failed: the peer asks for a new handshake");
        cr_assert_gt(slim_tls_pending(m.t.t), 0);
        cr_assert_eq(slim_tls_write(m.t.t, &(slim_bytes){(const uint8_t *)"x", 1}, 1), SLIM_E_PROTOCOL);
        mixed_free(&m);
    }
}

/* ---- bytes ---- */

/* The fed bytes are needed until read asks for more: in one piece, read in small portions. */
Test(tls, fed_bytes_are_read_in_place)
{
    pair q = pair_up(13);
    uint8_t *wire, *cipher, out[7];
    size_t total = 0, n, got, records = 5;

    for (size_t i = 0; i < records; i++)
        say(&q.c, "twelve bytes", 12);
    n = slim_tls_pending(q.c.t);
    wire = malloc(n);
    cr_assert_eq(pull(q.c.t, wire, n), n);
    cipher = malloc(n);
    memcpy(cipher, wire, n);
    slim_tls_feed(q.s.t, slim_bytes_of(cipher, n));
    do {
        cr_assert_eq(slim_tls_read(q.s.t, out, sizeof(out), &got), SLIM_OK);
        cr_assert_arr_eq(out, &"twelve bytestwelve bytes"[total % 12], got);
        total += got;
        if (total < records * 12)
            cr_assert_gt(got, 0);
    } while (got > 0);
    cr_assert_eq(total, records * 12);
    memset(cipher, 0xaa, n); /* read said that it is done with them */
    cr_assert_eq(slim_tls_read(q.s.t, out, sizeof(out), &got), SLIM_OK);
    cr_assert_eq(got, 0);
    free(cipher);
    free(wire);
    expect_talk(&q.c, &q.s);
    pair_free(&q);
}

Test(tls, a_megabyte_in_random_pieces)
{
    uint64_t seed = test_seed();
    size_t total = 1 << 20;
    uint8_t *data = malloc(total);

    for (size_t i = 0; i < total; i++)
        data[i] = (uint8_t)test_rand(&seed);
    for (int version = 12; version <= 13; version++) {
        pair q = pair_up(version);

        for (size_t at = 0; at < total;) {
            slim_bytes parts[9];
            size_t n_parts = test_rand(&seed) % 10;

            for (size_t i = 0; i < n_parts; i++) {
                size_t limit = 1u << test_rand(&seed) % 17, n = test_rand(&seed) % limit;

                if (n > total - at)
                    n = total - at;
                parts[i] = slim_bytes_of(data + at, n);
                at += n;
            }
            cr_assert_eq(slim_tls_write(q.c.t, parts, n_parts), SLIM_OK);
            if (test_rand(&seed) % 3 == 0)
                move(&q.c, &q.s, 1 + test_rand(&seed) % 20000);
        }
        move(&q.c, &q.s, 1 + test_rand(&seed) % 20000);
        expect_rx(&q.s, data, total);
        pair_free(&q);
    }
    free(data);
}

/* Counts the records in n bytes of the wire. */
static size_t records_in(const uint8_t *wire, size_t n)
{
    size_t records = 0, at = 0;

    while (at < n) {
        cr_assert_leq(at + 5, n);
        cr_assert_eq(wire[at], 23, "not application data");
        at += 5 + (size_t)(wire[at + 3] << 8 | wire[at + 4]);
        records++;
    }
    cr_assert_eq(at, n);
    return records;
}

Test(tls, small_pieces_become_full_records)
{
    enum { N = 4096, PIECE = 37 }; /* 151552 bytes: nine full records and a rest */
    static uint8_t data[N * PIECE];
    static slim_bytes parts[N];
    slim_bytes mixed_parts[] = {{data, 100}, {data + 100, 40000}, {data + 40100, 16384}, {data + 56484, 2}};
    pair q = pair_up(13);
    size_t before = q.c.wire_n;

    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (uint8_t)(i * 7 + i / 251);
    for (size_t i = 0; i < N; i++)
        parts[i] = slim_bytes_of(data + i * PIECE, PIECE);
    cr_assert_eq(slim_tls_write(q.c.t, parts, N), SLIM_OK);
    move(&q.c, &q.s, 0);
    expect_rx(&q.s, data, sizeof(data));
    cr_assert_eq(records_in(q.c.wire + before, q.c.wire_n - before), (sizeof(data) + 16383) / 16384);

    before = q.c.wire_n;
    cr_assert_eq(slim_tls_write(q.c.t, mixed_parts, 4), SLIM_OK);
    move(&q.c, &q.s, 0);
    expect_rx(&q.s, data, 56486);
    cr_assert_eq(records_in(q.c.wire + before, q.c.wire_n - before), (56486 + 16383) / 16384);

    cr_assert_eq(slim_tls_write(q.c.t, NULL, 0), SLIM_OK);
    cr_assert_eq(slim_tls_write(q.c.t, &(slim_bytes){data, 0}, 1), SLIM_OK);
    cr_assert_eq(slim_tls_pending(q.c.t), 0);
    pair_free(&q);
}

/* What was taken lies in memory of its own, whatever is sealed, taken or freed later. */
Test(tls, output_is_taken_whole)
{
    static uint8_t data[300000], wire[320000];
    slim_buf *block[10];
    slim_bytes cipher[10];
    pair q = pair_up(13);
    size_t n = 0, at = 0, step;

    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (uint8_t)(i * 11 + i / 239);
    for (int i = 0; i < 10; i++) {
        for (int k = 0; k < 3; k++, at += step) { /* several writes come out in one block */
            slim_bytes part = slim_bytes_of(data + at, step = 1000u * (unsigned)(i + k));

            cr_assert_eq(slim_tls_write(q.c.t, &part, 1), SLIM_OK);
        }
        cr_assert_gt(slim_tls_pending(q.c.t), at - n);
        n = at;
        block[i] = slim_tls_take(q.c.t, &cipher[i]);
        cr_assert_not_null(block[i]);
        cr_assert_eq(slim_tls_pending(q.c.t), 0);
    }
    n = 0;
    for (int i = 0; i < 10; i++) {
        memcpy(wire + n, cipher[i].p, cipher[i].n);
        n += cipher[i].n;
        slim_buf_unref(block[i]);
    }
    take(&q.s, wire, n);
    expect_rx(&q.s, data, at);
    pair_free(&q);
}

/* ---- the end ---- */

Test(tls, close_notify)
{
    for (int version = 12; version <= 13; version++) {
        pair q = pair_up(version);

        say(&q.c, "last words", 10);
        slim_tls_shutdown(q.c.t);
        slim_tls_shutdown(q.c.t);
        move(&q.c, &q.s, 0);
        expect_rx(&q.s, "last words", 10);
        cr_assert_eq(q.s.e, SLIM_E_CLOSED);
        cr_assert_str_empty(slim_tls_why(q.s.t));
        take(&q.s, NULL, 0);
        cr_assert_eq(q.s.e, SLIM_E_CLOSED);
        /* The other direction stands until its own end. */
        say(&q.s, "answer", 6);
        slim_tls_shutdown(q.s.t);
        move(&q.s, &q.c, 0);
        expect_rx(&q.c, "answer", 6);
        cr_assert_eq(q.c.e, SLIM_E_CLOSED);
        pair_free(&q);
    }
}

Test(tls, silence_is_no_end)
{
    pair q = pair_up(13);

    say(&q.c, "so long", 7);
    move(&q.c, &q.s, 0);
    expect_rx(&q.s, "so long", 7);
    take(&q.s, NULL, 0);
    cr_assert_eq(q.s.e, SLIM_OK); /* an end of stream here is the socket's matter: no close_notify has come */
    pair_free(&q);
}

static void expect_first_bytes(const void *bytes, size_t n, const char *why)
{
    slim_tls_config cfg = server_config(13);
    slim_tls_ctx *ctx = server_ctx(&cfg);
    peer s = slim_peer(slim_tls_accept(ctx, &slim_mem_libc));
    size_t got;

    take(&s, bytes, n);
    expect_why(&s, SLIM_E_PROTOCOL, why);
    cr_assert_not(slim_tls_established(s.t));
    /* It stays so. */
    slim_tls_feed(s.t, slim_bytes_of(bytes, n));
    cr_assert_eq(slim_tls_read(s.t, (uint8_t[8]){0}, 8, &got), SLIM_E_PROTOCOL);
    cr_assert_eq(got, 0);
    peer_free(&s);
    slim_tls_ctx_free(ctx);
}

Test(tls, peers_that_speak_something_else)
{
    static const char get[] = "GET / HTTP/1.1\r\nHost: hub\r\n\r\n",
                      preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0";
    static const char nonsense[] = "TLS handshake failed: the peer does not speak TLS";
    static const uint8_t zeros[64], alert[] = {21, 3, 3, 0, 2, 2, 40}, long_record[] = {22, 3, 1, 0xff, 0xff, 0, 0};
    static const uint8_t server_settings[] = {0, 0, 18, 4, 0, 0, 0, 0, 0, 0, 4, 0, 16, 0, 0};
    slim_tls_config cfg = client_config(13);
    slim_tls_ctx *ctx = client_ctx(&cfg);
    peer c = slim_peer(slim_tls_connect(ctx, &slim_mem_libc, "hub.example"));

    expect_first_bytes(get, sizeof(get) - 1, nonsense);
    expect_first_bytes("POST / HTTP/1.1\r\n\r\n", 19, nonsense);
    expect_first_bytes("CONNECT a:1 HTTP/1.1\r\n\r\n", 24, nonsense);
    expect_first_bytes(preface, sizeof(preface) - 1, nonsense);
    expect_first_bytes(zeros, sizeof(zeros), nonsense);
    expect_first_bytes(alert, sizeof(alert), "TLS handshake failed: ");
    expect_first_bytes(long_record, sizeof(long_record), "TLS handshake failed: ");

    take(&c, NULL, 0);
    take(&c, server_settings, sizeof(server_settings)); /* of a server without TLS */
    expect_why(&c, SLIM_E_PROTOCOL, nonsense);
    peer_free(&c);
    slim_tls_ctx_free(ctx);
}

Test(tls, garbage)
{
    uint64_t seed = test_seed();
    slim_tls_config cfg = server_config(13);
    slim_tls_ctx *ctx = server_ctx(&cfg);

    for (int i = 0; i < 300; i++) {
        peer s = slim_peer(slim_tls_accept(ctx, &slim_mem_libc));
        uint8_t junk[400];
        size_t n = sizeof(junk);

        for (size_t k = 0; k < n; k++)
            junk[k] = (uint8_t)test_rand(&seed);
        if (i % 2 != 0) /* a record it might be */
            memcpy(junk, (uint8_t[]){22, 3, 1, 1, 0, 1, 0, 0, 252, 3, 3}, 11);
        take(&s, junk, n);
        cr_assert_not(slim_tls_established(s.t));
        if (s.e == SLIM_OK) /* waits for the rest of a long record */
            cr_assert_eq(slim_tls_pending(s.t), 0);
        else
            expect_why(&s, SLIM_E_PROTOCOL, "TLS handshake failed: ");
        peer_free(&s);
    }
    slim_tls_ctx_free(ctx);
}

Test(tls, a_flipped_bit_anywhere_ends_it)
{
    for (size_t bit = 0; bit < 8 * 29; bit += 5) {
        pair q = pair_up(13);
        size_t from = q.c.wire_n, n;
        uint8_t wire[64];

        say(&q.c, "flip me", 7);
        n = pull(q.c.t, wire, sizeof(wire));
        cr_assert_lt(bit / 8, n);
        wire[bit / 8] ^= (uint8_t)(1u << bit % 8);
        take(&q.s, wire, n);
        cr_assert_eq(q.s.rx_n, 0);
        if (q.s.e != SLIM_OK) { /* a longer record is waited for */
            expect_why(&q.s, SLIM_E_PROTOCOL, "TLS failed: ");
            cr_assert_null(strstr(slim_tls_why(q.s.t), "does not speak TLS"));
        } else {
            cr_assert(bit / 8 == 3 || bit / 8 == 4);
        }
        cr_assert_eq(from, q.c.wire_n);
        pair_free(&q);
    }
}

/* OpenSSL keeps errors per thread: one connection's must not become another's. */
Test(tls, errors_of_one_are_none_of_another)
{
    pair q = pair_up(13);

    ERR_raise(ERR_LIB_SSL, SSL_R_WRONG_VERSION_NUMBER);
    take(&q.s, NULL, 0);
    cr_assert_eq(q.s.e, SLIM_OK);
    ERR_raise(ERR_LIB_SSL, SSL_R_WRONG_VERSION_NUMBER);
    say(&q.c, "x", 1);
    move(&q.c, &q.s, 0);
    expect_rx(&q.s, "x", 1);
    expect_first_bytes("GET / HTTP/1.1\r\n\r\n", 18, "does not speak TLS");
    cr_assert_eq(ERR_peek_error(), 0);
    expect_talk(&q.c, &q.s);
    ERR_raise(ERR_LIB_SSL, SSL_R_WRONG_VERSION_NUMBER);
    slim_tls_shutdown(q.c.t);
    move(&q.c, &q.s, 0);
    cr_assert_eq(q.s.e, SLIM_E_CLOSED);
    pair_free(&q);
}
