/* Every encoding that upstream takes means the same here (data-plane.md 2.6), and costs little. */
#include <criterion/criterion.h>

#include "auth/negotiation_kit.h"

/* The link is accepted with this id and type, with a key. */
static void expect_read(slim_bytes msg, const char *link_id, slim_link_kind kind)
{
    answer a = ask(&strict, msg);

    cr_assert_eq(a.e, SLIM_OK, "%s: %s", slim_err_text(a.e), a.why);
    cr_assert(slim_bytes_eq(slim_bytes_of(a.peer.link_id, a.peer.link_id_bytes), slim_bytes_str(link_id)), "%.*s instead of %s",
              (int)a.peer.link_id_bytes, (const char *)a.peer.link_id, link_id);
    cr_assert_eq(a.peer.kind, kind);
    cr_assert(a.peer.has_key);
    answer_free(&a);
}

static slim_bytes good(void)
{
    return cat(text(1, "x"), request_rest());
}

Test(negotiation_wire, the_last_of_a_field_counts)
{
    answer a;

    expect_read(message(cat(good(), text(1, "y"))), "y", SLIM_EDGE);
    expect_read(message(cat(part(1, nothing()), good())), "x", SLIM_EDGE);
    expect_read(message(cat(good(), number(5, 1))), "x", SLIM_PEER);
    expect_read(message(cat(good(), number(5, 0))), "x", SLIM_REMOTE);
    expect_read(message(cat3(number(3, 1), good(), number(3, 0))), "x", SLIM_EDGE);
    expect_read(message(cat3(text(2, "banana"), part(4, zeros(3)), good())), "x", SLIM_EDGE);
    expect_read(message(cat3(part(8, zeros(1184)), good(), part(8, zeros(3)))), "x", SLIM_EDGE);
    a = ask(&lenient, message(cat(good(), part(4, nothing()))));
    cr_assert_eq(a.e, SLIM_OK);
    cr_assert_not(a.peer.has_key, "an empty key replaces the good one");
    answer_free(&a);
    a = ask(&lenient, message(cat(good(), part(1, nothing()))));
    cr_assert_eq(a.e, SLIM_E_NEGOTIATION, "an empty link_id replaces the good one");
    answer_free(&a);
}

/* Repeated parts are merged, at each of the three levels. */
Test(negotiation_wire, parts_are_merged)
{
    slim_bytes a = text(1, "x"), b = request_rest();

    expect_read(part(5, cat(part(1, a), part(1, b))), "x", SLIM_EDGE);
    expect_read(part(5, cat3(part(1, cat(b, text(1, "y"))), text(9, "unknown"), part(1, a))), "x", SLIM_EDGE);
    expect_read(cat(part(5, part(1, a)), part(5, part(1, b))), "x", SLIM_EDGE);
    expect_read(cat3(part(5, part(1, b)), part(4, cat(text(1, "k"), text(2, "v"))), part(5, part(1, a))), "x", SLIM_EDGE);
    expect_read(cat3(message(a), part(5, nothing()), message(b)), "x", SLIM_EDGE);
}

/* Another member of the oneof wipes what was there. */
Test(negotiation_wire, members_replace_each_other)
{
    slim_bytes subscribe = part(1, number(2, 5));
    answer a;

    expect_read(cat(subscribe, message(good())), "x", SLIM_EDGE);
    expect_read(cat3(message(text(1, "old")), subscribe, message(good())), "x", SLIM_EDGE);
    a = ask(&lenient, cat(message(good()), subscribe));
    cr_assert_eq(a.e, SLIM_E_NEGOTIATION);
    cr_assert_str_eq(a.why, "the first message is no link negotiation");
    answer_free(&a);
    a = ask(&lenient, cat3(message(good()), subscribe, message(request_rest())));
    cr_assert_eq(a.e, SLIM_E_NEGOTIATION, "the link_id was in the part that was replaced");
    answer_free(&a);
    a = ask(&lenient, cat4(message(good()), subscribe, part(5, nothing()), nothing()));
    cr_assert_eq(a.e, SLIM_E_NEGOTIATION);
    cr_assert_str_eq(a.why, "the first message is no link negotiation");
    answer_free(&a);
}

/* The same through slim_view_normalise, as the node does it. */
Test(negotiation_wire, merged_before)
{
    slim_bytes msg = cat3(message(text(1, "x")), part(1, nothing()), cat(message(text(1, "x")), message(request_rest())));
    uint8_t *merged;
    size_t n;
    slim_view v;

    cr_assert_eq(slim_view_scan(msg, &v), SLIM_OK);
    cr_assert_not(v.plain);
    cr_assert_eq(slim_view_normalise(msg, &slim_mem_libc, &merged, &n, &v), SLIM_OK);
    expect_read(slim_bytes_of(merged, n), "x", SLIM_EDGE);
    slim_free(&slim_mem_libc, merged);
}

/* What prost skips. Field 9 of every wire type, and groups within groups. */
static const char *const unknown[] = {
    "4801",                   /* varint */
    "48ffffffffffffffffff01", /* long varint */
    "490102030405060708",     /* 64 bits */
    "4d01020304",             /* 32 bits */
    "4a03616263",             /* bytes */
    "4b4c",                   /* empty group */
    "4b0801120161534c4c",     /* the inner group ends as the outer one: refused */
    "4b080112016153544c",     /* group with fields and a group */
    "f8ffffff0f01",           /* the largest field number */
};

Test(negotiation_wire, unknown_fields)
{
    size_t taken = 0;

    for (size_t i = 0; i < sizeof(unknown) / sizeof(*unknown); i++) {
        slim_bytes u = hx(unknown[i]);
        slim_view v;

        if (slim_view_scan(message(cat(u, good())), &v) != SLIM_OK) {
            cr_assert_eq(i, 6, "the scanner refuses only the group that ends wrongly: %s", unknown[i]);
            continue;
        }
        taken++;
        expect_read(message(cat3(u, good(), u)), "x", SLIM_EDGE);
        expect_read(part(5, cat3(u, part(1, good()), u)), "x", SLIM_EDGE);
        expect_read(cat3(u, message(good()), u), "x", SLIM_EDGE);
    }
    cr_assert_eq(taken, sizeof(unknown) / sizeof(*unknown) - 1);
}

/* Keys, lengths and numbers that are longer than needed. */
Test(negotiation_wire, long_forms)
{
    expect_read(message(cat(good(), hx("8a80808000 01 79"))), "y", SLIM_EDGE);
    expect_read(message(cat(good(), hx("8a8080808000 01 79"))), "y", SLIM_EDGE);
    expect_read(message(cat(good(), hx("8a808080808080808000 01 79"))), "y", SLIM_EDGE);
    expect_read(message(cat(good(), hx("0a 818080808000 79"))), "y", SLIM_EDGE);
    expect_read(message(cat(good(), hx("0a 81808080808080808000 79"))), "y", SLIM_EDGE);
    expect_read(message(cat(good(), hx("28 81808080808080808000"))), "x", SLIM_PEER);
    expect_read(message(cat(good(), hx("a88080808080808000 81808080808080808000"))), "x", SLIM_PEER);
    expect_read(message(cat3(number(3, 1), good(), hx("18 80808080808080808000"))), "x", SLIM_EDGE);
    /* and around it: key and length of Link, key and length of the payload */
    slim_bytes body = cat(good(), text(40, "filler that makes the length two bytes long: .................................."));
    uint8_t length[2] = {(uint8_t)(body.n | 0x80), (uint8_t)(body.n >> 7)};
    slim_bytes inner, outer;

    cr_assert(body.n >= 128 && body.n < 16384);
    inner = cat4(hx("8a8080808000"), slim_bytes_of(length, 1), slim_bytes_of((uint8_t[]){length[1] | 0x80}, 1),
                 cat(hx("808000"), body));
    length[0] = (uint8_t)(inner.n | 0x80);
    length[1] = (uint8_t)(inner.n >> 7);
    outer = cat4(hx("aa8080808000"), slim_bytes_of(length, 1), slim_bytes_of((uint8_t[]){length[1] | 0x80}, 1),
                 cat(hx("808000"), inner));
    expect_read(outer, "x", SLIM_EDGE);
}

/* A request may be as large as any message; what it costs does not depend on how many fields it is cut into. */
Test(negotiation_wire, a_flood_of_fields_costs_nothing)
{
    size_t n = 1000000;
    uint8_t *flood = malloc(n + 200), *p;
    slim_bytes front = good();
    test_mem m;
    answer a;

    test_mem_init(&m, 1000000000);
    /* field 5 of Message, field 1 of Link, then the good fields and half a million unknown ones of two bytes */
    p = flood;
    *p++ = 0x2a;
    p = slim_varint_put(p, 1 + slim_varint_size(n + front.n) + n + front.n);
    *p++ = 0x0a;
    p = slim_varint_put(p, n + front.n);
    p = slim_put(p, front.p, front.n);
    for (size_t i = 0; i < n; i += 2) {
        *p++ = 0x48;
        *p++ = 0x01;
    }
    a = ask_with(&strict, slim_bytes_of(flood, (size_t)(p - flood)), &slim_random_openssl, &m.mem);
    cr_assert_eq(a.e, SLIM_OK);
    cr_assert_leq(m.calls, 5, "link id, three texts, reply: %ld allocations", m.calls);
    slim_negotiated_clear(&a.peer);
    slim_free(&m.mem, (void *)(uintptr_t)a.reply.p);
    cr_assert_eq(m.live, 0);
    free(flood);
}
