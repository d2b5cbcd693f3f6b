/* Who is let in, what is answered, and that both sides come to the same key (data-plane.md 2.5, 4.2, 4.3). */
#include <criterion/criterion.h>

#include "auth/negotiation_kit.h"
#include "support/golden.h"
#include "support/slow_decode.h"

/* The reply's fields as an independent decoder sees them. */
static slow_node *reply_of(const answer *a, slow_node **root)
{
    slow_node *n;

    cr_assert_eq(a->e, SLIM_OK, "%s", a->why);
    *root = slow_decode(a->reply);
    cr_assert_not_null(*root);
    n = slow_child(slow_child(*root, SLIM_MSG_LINK), 1);
    cr_assert_not_null(n);
    return n;
}

static void expect_refused(const slim_negotiation_config *cfg, slim_bytes msg, const char *why)
{
    answer a = ask(cfg, msg);

    cr_assert_eq(a.e, SLIM_E_NEGOTIATION, "%s: %s", why, slim_err_text(a.e));
    cr_assert_not_null(a.why);
    cr_assert_not_null(strstr(a.why, why), "\"%s\" instead of \"%s\"", a.why, why);
    cr_assert_null(a.reply.p);
    cr_assert_null(a.peer.link_id);
    cr_assert_not(a.peer.has_key);
    answer_free(&a);
}

/* What the acceptor makes of a request that is fine; key: shall there be one. Also checks that the reply is exactly the fields
 * of 2.5. */
static void expect_accepted(const slim_negotiation_config *cfg, slim_bytes msg, slim_bytes link_id, slim_link_kind kind, bool key)
{
    answer a = ask(cfg, msg);
    slow_node *root, *n = reply_of(&a, &root);
    uint64_t wire = kind == SLIM_PEER ? 1 : kind == SLIM_EDGE ? 2 : 0;
    slim_bytes tail, want;

    cr_assert(slim_bytes_eq(slim_bytes_of(a.peer.link_id, a.peer.link_id_bytes), link_id));
    cr_assert_eq(a.peer.kind, kind);
    cr_assert_eq(a.peer.has_key, key);
    tail = cat(wire != 0 ? number(5, wire) : nothing(), text(6, cfg->node_id));
    if (cfg->deployment_name[0] != '\0')
        tail = cat(tail, text(7, cfg->deployment_name));
    if (key)
        tail = cat(part(4, n->field[4].bytes), tail);
    want = message(cat4(part(1, link_id), text(2, cfg->version), number(3, 1), tail));
    cr_assert(slim_bytes_eq(a.reply, want), "the reply has other fields");
    cr_assert_eq(n->field[4].bytes.n, key ? SLIM_X25519_BYTES : 0);
    slow_free(root);
    answer_free(&a);
}

static slim_bytes golden_link_id(void)
{
    return slim_bytes_str("944e9351-7879-4d0d-9509-3f6e9c9df47b");
}

Test(negotiation, golden_request)
{
    slim_negotiation_config deployed = lenient;
    answer a;

    deployed.deployment_name = "prod";
    expect_accepted(&lenient, hx(GOLDEN_LINK_REQUEST), golden_link_id(), SLIM_EDGE, true);
    expect_accepted(&strict, hx(GOLDEN_LINK_REQUEST), golden_link_id(), SLIM_EDGE, true);
    expect_accepted(&deployed, hx(GOLDEN_LINK_REQUEST), golden_link_id(), SLIM_EDGE, true);
    a = ask(&strict, hx(GOLDEN_LINK_REQUEST));
    cr_assert_str_eq(a.peer.peer_version, "3.4.6");
    cr_assert_str_eq(a.peer.peer_node_id, "node-7e5c3aa8-cfb8-4e9a-a93b-be44ece2ea40");
    cr_assert_str_eq(a.peer.peer_deployment, "");
    answer_free(&a);
}

/* Our key is fresh from the generator, public in the reply, and the link's key follows from it and theirs. */
Test(negotiation, key_of_the_golden_request)
{
    slim_bytes theirs = hx("1924c96582233ad33962d1d365207a8dd79cd5f678ada4f609b4371da3bfdb75");
    known_random secret = {{7, 1, 2, 3}, true};
    slim_random rnd = {known_fill, &secret};
    answer a = ask_with(&strict, hx(GOLDEN_LINK_REQUEST), &rnd, &slim_mem_libc);
    uint8_t ours[SLIM_X25519_BYTES], shared[SLIM_X25519_BYTES], key[SLIM_MAC_KEY_BYTES];
    slow_node *root, *n = reply_of(&a, &root);

    cr_assert_eq(slim_x25519_public(secret.bytes, ours), SLIM_OK);
    cr_assert(slim_bytes_eq(n->field[4].bytes, slim_bytes_of(ours, sizeof(ours))));
    cr_assert_eq(slim_x25519_shared(secret.bytes, theirs.p, shared), SLIM_OK);
    cr_assert_eq(slim_linkkey_derive(shared, golden_link_id(), key), SLIM_OK);
    cr_assert_arr_eq(a.peer.key, key, sizeof(key));
    slow_free(root);
    answer_free(&a);
}

Test(negotiation, no_randomness)
{
    known_random secret = {{0}, false};
    slim_random rnd = {known_fill, &secret};
    uint8_t *request = (uint8_t *)-1;
    answer a = ask_with(&lenient, hx(GOLDEN_LINK_REQUEST), &rnd, &slim_mem_libc);
    size_t n;

    cr_assert_eq(a.e, SLIM_E_CRYPTO, "a link must not fall back to no key when ours cannot be made");
    cr_assert_null(a.reply.p);
    cr_assert_null(a.peer.link_id);
    cr_assert_null(a.why, "there is a reason only for E_NEGOTIATION");
    cr_assert_null(slim_negotiation_start(&strict, slim_bytes_str("x"), SLIM_EDGE, &rnd, &slim_mem_libc, &request, &n));
    cr_assert_null(request);
    /* Without a key from the peer none of ours is needed. */
    a = ask_with(&lenient, message(cat(text(1, "x"), version())), &rnd, &slim_mem_libc);
    cr_assert_eq(a.e, SLIM_OK);
    answer_free(&a);
}

Test(negotiation, first_message_of_another_type)
{
    static const char *const other[] = {GOLDEN_SUBSCRIBE, GOLDEN_PUBLISH, GOLDEN_SUBSCRIPTION_ACK, "", "1200",
                                        "3a00",           "2a00",         "2204080112 00"};

    for (size_t i = 0; i < sizeof(other) / sizeof(*other); i++) {
        slim_view v;

        if (slim_view_scan(hx(other[i]), &v) == SLIM_OK)
            expect_refused(&lenient, hx(other[i]), "no link negotiation");
        else
            cr_assert_eq(i, 7, "only the last is undecodable: a metadata key that is a number");
    }
    expect_refused(&lenient, slim_bytes_of(NULL, 0), "no link negotiation");
    expect_refused(&lenient, part(5, part(2, nothing())), "no link negotiation");
    expect_refused(&lenient, cat(text(40, "unknown"), part(4, cat(text(1, "k"), text(2, "v")))), "no link negotiation");
}

Test(negotiation, is_reply)
{
    slim_bytes good = cat(text(1, "x"), request_rest());

    expect_refused(&lenient, hx(GOLDEN_LINK_REPLY), "unexpected reply");
    expect_refused(&lenient, message(cat(good, number(3, 1))), "unexpected reply");
    expect_refused(&lenient, message(cat(good, number(3, UINT64_C(1) << 63))), "unexpected reply");
    expect_accepted(&lenient, message(cat(good, number(3, 0))), slim_bytes_str("x"), SLIM_EDGE, true);
}

Test(negotiation, versions)
{
    static const char *const bad[] = {"", "banana", "1.2", "v1.2.3", "01.2.3", "1.2.3-", "18446744073709551616.0.0"};
    static const char *const good[] = {"0.0.1", "1.2.3-rc.1+b", "99.0.0"};
    slim_bytes rest = cat3(text(1, "x"), key_field(), number(5, 2));

    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        expect_refused(&lenient, message(cat(rest, text(2, bad[i]))), "slim_version");
    expect_refused(&lenient, message(rest), "slim_version");
    expect_refused(&lenient, message(cat(rest, part(2, slim_bytes_of("1.2.3\0", 6)))), "slim_version");
    for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++)
        expect_accepted(&strict, message(cat(rest, text(2, good[i]))), slim_bytes_str("x"), SLIM_EDGE, true);
}

Test(negotiation, link_ids)
{
    uint8_t *long_id = wire_room(5000);

    memset(long_id, 'L', 5000);
    expect_refused(&lenient, message(request_rest()), "link_id");
    expect_refused(&lenient, message(cat(part(1, nothing()), request_rest())), "link_id");
    for (size_t n = 1; n <= 5000; n = n < 4000 ? n * 2 : n + 1000 - n % 1000)
        expect_accepted(&strict, message(cat(part(1, slim_bytes_of(long_id, n)), request_rest())), slim_bytes_of(long_id, n),
                        SLIM_EDGE, true);
    /* Any string is echoed byte for byte: NULs, blanks at the ends, several bytes a character. */
    for (size_t i = 0; i < 6; i++) {
        static const struct {
            const char *p;
            size_t n;
        } odd[] = {{"a\0b", 3}, {"\0", 1}, {"a\0", 2}, {" a ", 3}, {"\xc3\xa4\xf0\x9f\x98\x80", 6}, {"\n\r\t\x7f", 4}};
        slim_bytes id = slim_bytes_of(odd[i].p, odd[i].n);

        expect_accepted(&strict, message(cat(part(1, id), request_rest())), id, SLIM_EDGE, true);
    }
}

Test(negotiation, missing_and_wrong_keys)
{
    slim_bytes front = cat(text(1, "x"), version()), x = slim_bytes_str("x");
    static const char *const low_order[] = {"0000000000000000000000000000000000000000000000000000000000000000",
                                            "0100000000000000000000000000000000000000000000000000000000000080",
                                            "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"};
    static const size_t lengths[] = {0, 1, 31, 33, 64, 1184};

    expect_refused(&strict, message(front), "public key length is invalid");
    expect_accepted(&lenient, message(front), x, SLIM_REMOTE, false);
    for (size_t i = 0; i < sizeof(lengths) / sizeof(*lengths); i++) {
        slim_bytes key = zeros(lengths[i]);

        memset((uint8_t *)(uintptr_t)key.p, 9, key.n);
        expect_refused(&strict, message(cat(front, part(4, key))), "public key length is invalid");
        expect_accepted(&lenient, message(cat(front, part(4, key))), x, SLIM_REMOTE, false);
    }
    for (size_t i = 0; i < sizeof(low_order) / sizeof(*low_order); i++) {
        expect_refused(&strict, message(cat(front, part(4, hx(low_order[i])))), "public key");
        expect_accepted(&lenient, message(cat(front, part(4, hx(low_order[i])))), x, SLIM_REMOTE, false);
    }
}

Test(negotiation, connection_types)
{
    static const struct {
        uint64_t wire;
        slim_link_kind kind;
    } rows[] = {{0, SLIM_REMOTE},
                {1, SLIM_PEER},
                {2, SLIM_EDGE},
                {3, SLIM_REMOTE},
                {77, SLIM_REMOTE},
                {UINT32_MAX, SLIM_REMOTE},
                {UINT64_MAX, SLIM_REMOTE},
                /* an enum takes the low 32 bits (2.6) */
                {(UINT64_C(1) << 32) + 1, SLIM_PEER},
                {(UINT64_C(5) << 32) + 2, SLIM_EDGE},
                {UINT64_C(2) << 32, SLIM_REMOTE}};
    slim_bytes front = cat3(text(1, "x"), version(), key_field());

    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
        expect_accepted(&strict, message(cat(front, number(5, rows[i].wire))), slim_bytes_str("x"), rows[i].kind, true);
    expect_accepted(&strict, message(front), slim_bytes_str("x"), SLIM_REMOTE, true);
}

/* There is no ML-KEM here: field 8 never changes anything and is never answered. */
Test(negotiation, kem_payload_is_ignored)
{
    static const size_t lengths[] = {0, 1, 1088, 1183, 1184, 1185, 5000};
    slim_bytes good = cat(text(1, "x"), request_rest());

    for (size_t i = 0; i < sizeof(lengths) / sizeof(*lengths); i++) {
        expect_accepted(&strict, message(cat(good, part(8, zeros(lengths[i])))), slim_bytes_str("x"), SLIM_EDGE, true);
        expect_accepted(&lenient, message(cat3(text(1, "x"), version(), part(8, zeros(lengths[i])))), slim_bytes_str("x"),
                        SLIM_REMOTE, false);
        expect_refused(&strict, message(cat3(text(1, "x"), version(), part(8, zeros(lengths[i])))), "public key length is invalid");
    }
}

/* These are for logs and comparisons: a NUL must not hide what follows it. */
Test(negotiation, texts_of_the_peer)
{
    slim_bytes front = cat3(text(1, "x"), version(), key_field());
    answer a = ask(&strict, message(cat3(front, part(6, slim_bytes_of("node\0-a", 7)), part(7, slim_bytes_of("prod\0", 5)))));

    cr_assert_eq(a.e, SLIM_OK);
    cr_assert_str_eq(a.peer.peer_node_id, "node -a");
    cr_assert_str_eq(a.peer.peer_deployment, "prod ");
    answer_free(&a);
    a = ask(&strict, message(front));
    cr_assert_eq(a.e, SLIM_OK, "an empty node id is fine");
    cr_assert_str_eq(a.peer.peer_node_id, "");
    answer_free(&a);
}

/* One negotiation between our two sides; true when both have a key. */
static bool both_sides(const slim_negotiation_config *dialler, const slim_negotiation_config *acceptor, slim_bytes link_id,
                       slim_link_kind kind)
{
    uint8_t *request, tag[SLIM_MAC_TAG_BYTES];
    size_t n;
    slim_negotiation *asking = slim_negotiation_start(dialler, link_id, kind, &slim_random_openssl, &slim_mem_libc, &request, &n);
    slim_negotiated peer;
    const char *why = NULL;
    bool keys;
    slim_view v;
    answer a;

    cr_assert_not_null(asking);
    a = ask(acceptor, slim_bytes_of(request, n));
    cr_assert_eq(a.e, SLIM_OK, "%s", a.why);
    cr_assert_eq(slim_view_scan(a.reply, &v), SLIM_OK);
    cr_assert_eq(slim_negotiation_finish(asking, &v, &peer, &why), SLIM_OK, "%s", why);
    slim_negotiation_free(asking);
    cr_assert_eq(a.peer.kind, kind);
    cr_assert_eq(peer.kind, kind);
    cr_assert_str_eq(a.peer.peer_node_id, dialler->node_id);
    cr_assert_str_eq(a.peer.peer_version, dialler->version);
    cr_assert_str_eq(a.peer.peer_deployment, dialler->deployment_name);
    cr_assert_str_eq(peer.peer_node_id, acceptor->node_id);
    cr_assert_str_eq(peer.peer_version, acceptor->version);
    cr_assert_str_eq(peer.peer_deployment, acceptor->deployment_name);
    cr_assert(slim_bytes_eq(slim_bytes_of(peer.link_id, peer.link_id_bytes), link_id));
    cr_assert_eq(peer.has_key, a.peer.has_key);
    if ((keys = peer.has_key)) {
        slim_mac *one = slim_mac_new(&slim_mem_libc, a.peer.key, slim_bytes_of(a.peer.link_id, a.peer.link_id_bytes));
        slim_mac *two = slim_mac_new(&slim_mem_libc, peer.key, slim_bytes_of(peer.link_id, peer.link_id_bytes));

        slim_mac_sign(one, slim_bytes_str("hello"), tag);
        cr_assert(slim_mac_verify(two, slim_bytes_str("hello"), slim_bytes_of(tag, sizeof(tag))));
        slim_mac_free(one);
        slim_mac_free(two);
    }
    slim_negotiated_clear(&peer);
    slim_free(&slim_mem_libc, request);
    answer_free(&a);
    return keys;
}

Test(negotiation, both_sides_agree)
{
    static const slim_link_kind kinds[] = {SLIM_REMOTE, SLIM_PEER, SLIM_EDGE};
    const slim_negotiation_config other = {"node-other", "3.4.6-rc.1+x", "prod", true};
    uint8_t *id = wire_room(5000);

    for (size_t i = 0; i < 5000; i++)
        id[i] = (uint8_t)(i % 128);
    for (size_t k = 0; k < 3; k++) {
        for (size_t n = 1; n <= 5000; n += n < 40 ? 1 : 620) {
            cr_assert(both_sides(&strict, &other, slim_bytes_of(id, n), kinds[k]));
            cr_assert(both_sides(&other, &lenient, slim_bytes_of(id, n), kinds[k]));
            cr_assert(both_sides(&lenient, &strict, slim_bytes_of(id, n), kinds[k]));
        }
    }
}

/* Two runs give two requests: the key is fresh. */
Test(negotiation, fresh_keys)
{
    uint8_t *request[2];
    size_t n[2];

    for (int i = 0; i < 2; i++)
        slim_negotiation_free(
            slim_negotiation_start(&strict, golden_link_id(), SLIM_EDGE, &slim_random_openssl, &slim_mem_libc, &request[i], &n[i]));
    cr_assert_eq(n[0], n[1]);
    cr_assert_neq(memcmp(request[0], request[1], n[0]), 0);
    for (int i = 0; i < 2; i++)
        slim_free(&slim_mem_libc, request[i]);
}

/* The dialler's view of one hand-made answer to a request with link id "x". */
static slim_err dialled(const slim_negotiation_config *cfg, slim_bytes msg, slim_negotiated *peer, const char **why)
{
    uint8_t *request;
    size_t n;
    slim_negotiation *asking =
        slim_negotiation_start(cfg, slim_bytes_str("x"), SLIM_EDGE, &slim_random_openssl, &slim_mem_libc, &request, &n);
    slim_view v;
    slim_err e;

    cr_assert_not_null(asking);
    cr_assert_eq(slim_view_scan(msg, &v), SLIM_OK);
    memset(peer, 0xa5, sizeof(*peer));
    *why = "untouched";
    e = slim_negotiation_finish(asking, &v, peer, why);
    slim_negotiation_free(asking);
    slim_free(&slim_mem_libc, request);
    return e;
}

static void expect_dialled(const slim_negotiation_config *cfg, slim_bytes msg, bool key)
{
    slim_negotiated peer;
    const char *why;

    cr_assert_eq(dialled(cfg, msg, &peer, &why), SLIM_OK, "%s", why);
    cr_assert_null(why);
    cr_assert_eq(peer.has_key, key);
    cr_assert_eq(peer.kind, SLIM_EDGE, "what we asked for, whatever the reply says");
    cr_assert(slim_bytes_eq(slim_bytes_of(peer.link_id, peer.link_id_bytes), slim_bytes_str("x")));
    slim_negotiated_clear(&peer);
}

static void expect_hung_up(const slim_negotiation_config *cfg, slim_bytes msg, const char *text)
{
    slim_negotiated peer;
    const char *why;

    cr_assert_eq(dialled(cfg, msg, &peer, &why), SLIM_E_NEGOTIATION, "%s", text);
    cr_assert_not_null(strstr(why, text), "\"%s\" instead of \"%s\"", why, text);
    cr_assert_null(peer.link_id);
    cr_assert_not(peer.has_key);
    slim_negotiated_clear(&peer);
}

Test(negotiation, dialler_table)
{
    slim_bytes front = cat3(text(1, "x"), version(), number(3, 1)), x = slim_bytes_of("x\0", 2);
    const slim_negotiation_config *both[] = {&lenient, &strict};

    for (int i = 0; i < 2; i++) {
        const slim_negotiation_config *cfg = both[i];

        expect_dialled(cfg, message(cat(front, key_field())), true);
        expect_dialled(cfg, message(cat4(front, key_field(), number(5, 77), part(8, zeros(1088)))), true);
        expect_dialled(cfg, message(cat3(front, key_field(), number(5, 1))), true);
        expect_hung_up(cfg, message(cat4(text(1, "x"), version(), key_field(), nothing())), "unexpected request");
        expect_hung_up(cfg, message(cat4(text(1, "y"), version(), key_field(), number(3, 1))), "another link_id");
        expect_hung_up(cfg, message(cat4(text(1, "xx"), version(), key_field(), number(3, 1))), "another link_id");
        expect_hung_up(cfg, message(cat4(part(1, x), version(), key_field(), number(3, 1))), "another link_id");
        expect_hung_up(cfg, message(cat3(version(), key_field(), number(3, 1))), "another link_id");
        expect_hung_up(cfg, message(cat4(text(1, "x"), text(2, "1.2"), key_field(), number(3, 1))), "slim_version");
        expect_hung_up(cfg, message(cat3(text(1, "x"), key_field(), number(3, 1))), "slim_version");
        expect_hung_up(cfg, hx(GOLDEN_LINK_REPLY), "another link_id");
        expect_hung_up(cfg, hx(GOLDEN_SUBSCRIBE), "no link negotiation");
        expect_hung_up(cfg, hx(GOLDEN_SUBSCRIPTION_ACK), "no link negotiation");
        expect_hung_up(cfg, hx("2a00"), "no link negotiation");
        expect_hung_up(cfg, slim_bytes_of(NULL, 0), "no link negotiation");
    }
    expect_dialled(&lenient, message(front), false);
    expect_hung_up(&strict, message(front), "public key length is invalid");
    expect_dialled(&lenient, message(cat(front, part(4, zeros(31)))), false);
    expect_hung_up(&strict, message(cat(front, part(4, zeros(31)))), "public key length is invalid");
    expect_dialled(&lenient, message(cat(front, part(4, zeros(32)))), false);
    expect_hung_up(&strict, message(cat(front, part(4, zeros(32)))), "public key");
}

/* A key that did not come about leaves nothing behind. */
Test(negotiation, no_key_is_all_zero)
{
    slim_bytes front = cat(text(1, "x"), version());
    static const uint8_t zero[SLIM_MAC_KEY_BYTES];
    slim_negotiated peer;
    const char *why;
    answer a = ask(&lenient, message(cat(front, part(4, zeros(32)))));

    cr_assert_eq(a.e, SLIM_OK);
    cr_assert_arr_eq(a.peer.key, zero, sizeof(zero));
    answer_free(&a);
    cr_assert_eq(dialled(&lenient, message(cat3(front, number(3, 1), part(4, zeros(32)))), &peer, &why), SLIM_OK);
    cr_assert_arr_eq(peer.key, zero, sizeof(zero));
    slim_negotiated_clear(&peer);
    slim_negotiated_clear(&peer);
}
