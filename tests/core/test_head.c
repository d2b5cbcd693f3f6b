#include <criterion/criterion.h>

#include "core/head.h"
#include "support/golden.h"
#include "support/view_check.h"
#include "support/wire_build.h"

static slim_view scanned(slim_bytes msg)
{
    slim_view v;

    view_check(msg, 31);
    cr_assert_eq(slim_view_scan(msg, &v), SLIM_OK);
    cr_assert(v.plain && v.has_header);
    return v;
}

/* The whole forwarded message. */
static slim_bytes forwarded(const slim_view *v, slim_head_patch patch, size_t *mac_offset)
{
    uint8_t *out = wire_room(slim_head_bound(v) + v->tail.n);
    size_t n = slim_head_build(v, &patch, out, mac_offset);

    cr_assert_leq(n, slim_head_bound(v));
    slim_put(out + n, v->tail.p, v->tail.n);
    return slim_bytes_of(out, n + v->tail.n);
}

/* Trace of data-plane.md 8: a forwarded copy has the same length; only ttl, incoming_conn and the MAC change. */
Test(head, forwarded_copy_is_upstreams)
{
    const char *const all[] = {GOLDEN_SUBSCRIBE, GOLDEN_PUBLISH};

    for (int i = 0; i < 2; i++) {
        slim_bytes msg = hx(all[i]), sent;
        slim_view v = scanned(msg);
        size_t mac, tag = (size_t)(v.mac.p - msg.p), ttl;
        uint8_t *want = wire_room(msg.n);

        sent = forwarded(&v, (slim_head_patch){v.ttl, true, 1, true, false}, &mac);
        cr_assert_eq(mac, tag);
        memcpy(want, msg.p, msg.n);
        memset(want + tag, 0, SLIM_MAC_BYTES);
        cr_assert(slim_bytes_eq(sent, slim_bytes_of(want, msg.n)), "nothing but the tag may change");

        sent = forwarded(&v, (slim_head_patch){v.ttl - 1, true, 0, true, false}, &mac);
        ttl = tag - 6; /* 30 ttl 48 conn 5a 20 tag */
        cr_assert_eq(want[ttl], 0x30);
        want[ttl + 1]--;
        want[ttl + 3] = 0;
        cr_assert(slim_bytes_eq(sent, slim_bytes_of(want, msg.n)));
    }
}

Test(head, preimage_of_the_golden_publish)
{
    slim_view v = scanned(hx(GOLDEN_PUBLISH));
    slim_bytes want = hx(GOLDEN_PREIMAGE);
    uint8_t out[512];
    size_t n = slim_preimage_build(&v, 7, false, out);

    cr_assert_leq(slim_preimage_bound(&v), sizeof out);
    cr_assert_leq(n, slim_preimage_bound(&v));
    cr_assert(slim_bytes_eq(slim_bytes_of(out, n),
                            slim_bytes_of(want.p + GOLDEN_PREIMAGE_LINK_BYTES, want.n - GOLDEN_PREIMAGE_LINK_BYTES)));
}

static void expect_preimage(slim_bytes header, uint32_t ttl, bool keep, const char *hex)
{
    slim_view v = scanned(part(3, part(1, header)));
    uint8_t out[512];
    size_t n = slim_preimage_build(&v, ttl, keep, out);

    cr_expect_leq(n, slim_preimage_bound(&v));
    cr_expect(slim_bytes_eq(slim_bytes_of(out, n), hx(hex)), "%s", hex);
}

/* data-plane.md 4.4: absent and present but empty are not the same. */
Test(head, preimage_presence)
{
    expect_preimage(nothing(), 0, false, "00 00 00000000 00000000 00 00 00 00000000");
    expect_preimage(cat(part(1, nothing()), part(2, part(1, nothing()))), 0x01020304, false,
                    "01 00 00  01 01 000000000000000000000000000000000000000000000000 00 00  00000000 00000000 00 00 00 04030201");
    expect_preimage(part(2, cat(part(1, part(4, nothing())), part(2, nothing()))), 0, false,
                    "00  01 01 000000000000000000000000000000000000000000000000 01 00000000000000000000000000000000"
                    "01 00000000 00000000 00000000   00000000 00000000 00 00 00 00000000");
    expect_preimage(part(1, part(2, cat(text(1, "a"), text(3, "bc")))), 8, false,
                    "01 00 01 01000000 61 00000000 02000000 6263  00  00000000 00000000 00 00 00 08000000");
    expect_preimage(cat4(text(3, "id"), number(4, 256), number(7, 1), cat(number(8, 0x0203), number(10, 0))), 8, true,
                    "00 00 02000000 6964 00010000 01 0100000000000000 01 0302000000000000 01 00 08000000");
    expect_preimage(cat4(text(3, "id"), number(4, 256), number(7, 1), cat(number(8, 0x0203), number(10, 1))), 8, false,
                    "00 00 02000000 6964 00010000 00 00 01 01 08000000");
}

static void expect_head(slim_bytes header, slim_head_patch patch, slim_bytes want)
{
    slim_view v = scanned(part(3, cat(part(1, header), part(2, nothing()))));
    size_t mac;
    slim_bytes sent = forwarded(&v, patch, &mac);

    cr_expect(slim_bytes_eq(sent, part(3, cat(part(1, want), part(2, nothing())))));
    if (patch.with_mac)
        cr_expect_eq(memcmp(sent.p + mac - 2, "\x5a\x20", 2), 0);
    else
        cr_expect_eq(mac, 0);
}

static slim_bytes zero_mac(void)
{
    return cat(hx("5a20"), hx("0000000000000000000000000000000000000000000000000000000000000000"));
}

Test(head, fields_go_where_their_numbers_say)
{
    slim_bytes front = cat(text(3, "id"), number(4, 1)), error = number(10, 1), sig = part(12, hx("aa")), future = text(40, "x");
    slim_head_patch all = {7, true, 300, true, false};

    /* Present before: replaced in place. */
    expect_head(cat4(cat(front, number(6, 8)), cat(number(9, 1), error), part(11, hx("01")), cat(sig, future)), all,
                cat4(cat(front, number(6, 7)), cat(number(9, 300), error), zero_mac(), cat(sig, future)));
    /* Absent before: the kept run goes out as it is, what is new goes behind it. */
    expect_head(front, all, cat4(front, number(6, 7), number(9, 300), zero_mac()));
    expect_head(nothing(), all, cat3(number(6, 7), number(9, 300), zero_mac()));
    /* In front of a run of larger numbers. */
    expect_head(sig, all, cat4(number(6, 7), number(9, 300), zero_mac(), sig));
    /* Odd order: still one of each. */
    expect_head(cat4(part(11, hx("0102")), sig, number(9, 1), cat4(error, number(6, 2), number(6, 3), front)), all,
                cat4(cat3(number(6, 7), number(9, 300), zero_mac()), sig, error, front));
    /* Unknown fields in front of everything and behind. */
    expect_head(cat4(future, front, number(6, 1), future), all,
                cat4(future, front, cat4(number(6, 7), number(9, 300), zero_mac(), future), nothing()));
}

Test(head, optional_fields)
{
    slim_bytes front = number(4, 1),
               in = cat4(front, number(6, 8), cat3(number(7, 3), number(8, 0), number(9, 4)), part(11, hx("00")));

    expect_head(in, (slim_head_patch){8, false, 0, false, false}, cat(front, number(6, 8)));
    expect_head(in, (slim_head_patch){0, false, 0, false, false}, front);
    expect_head(in, (slim_head_patch){0, true, 0, false, false}, cat(front, hx("4800")));
    expect_head(in, (slim_head_patch){8, true, UINT64_MAX, true, true},
                cat4(cat(front, number(6, 8)), cat(number(7, 3), number(8, 0)), number(9, UINT64_MAX), zero_mac()));
    expect_head(in, (slim_head_patch){UINT32_MAX, false, 0, true, false}, cat3(front, number(6, UINT32_MAX), zero_mac()));
}

/* Lengths of the member and of the header change their own size at 128 and 16384. */
Test(head, lengths_grow_and_shrink)
{
    for (size_t text_bytes = 60; text_bytes < 140; text_bytes++) {
        uint8_t *name = wire_room(text_bytes);

        memset(name, 'n', text_bytes);
        expect_head(part(3, slim_bytes_of(name, text_bytes)), (slim_head_patch){1, true, 1, true, false},
                    cat4(part(3, slim_bytes_of(name, text_bytes)), number(6, 1), number(9, 1), zero_mac()));
        expect_head(cat(part(3, slim_bytes_of(name, text_bytes)), zero_mac()), (slim_head_patch){0, false, 0, false, false},
                    part(3, slim_bytes_of(name, text_bytes)));
    }
    for (size_t text_bytes = 16384 - 60; text_bytes < 16384 + 10; text_bytes += 3) {
        uint8_t *name = wire_room(text_bytes);

        wire_used = text_bytes;
        memset(name, 'n', text_bytes);
        expect_head(part(3, slim_bytes_of(name, text_bytes)), (slim_head_patch){1, true, 1, true, false},
                    cat4(part(3, slim_bytes_of(name, text_bytes)), number(6, 1), number(9, 1), zero_mac()));
        wire_used = 0;
    }
}

Test(head, what_lies_around_the_header_stays)
{
    slim_bytes meta = part(4, cat(text(1, "k"), text(2, "v"))), unknown = number(19, 5), inner = cat(number(2, 9), text(30, "u"));
    slim_bytes msg = cat4(meta, part(1, cat3(inner, part(1, number(6, 5)), number(2, 10))), unknown, meta);
    slim_view v = scanned(msg);
    size_t mac;

    cr_expect_eq(v.subscription_id, 10);
    cr_expect(slim_bytes_eq(v.lead, meta));
    cr_expect(slim_bytes_eq(v.inner, inner));
    cr_expect_eq(v.member_rest_bytes, 2);
    cr_expect(slim_bytes_eq(forwarded(&v, (slim_head_patch){4, false, 0, false, false}, &mac),
                            cat4(meta, part(1, cat3(inner, part(1, number(6, 4)), number(2, 10))), unknown, meta)));
}

static void expect_subscribe(const slim_name *name, bool unsubscribe, uint64_t id, uint32_t ttl, slim_bytes want)
{
    uint8_t *out = wire_room(slim_subscribe_bound(name));
    size_t n = slim_subscribe_build(name, unsubscribe, id, ttl, out);

    cr_assert_leq(n, slim_subscribe_bound(name));
    cr_assert(slim_bytes_eq(slim_bytes_of(out, n), want));
}

Test(head, subscribe_of_the_node)
{
    slim_name name = {.present = true,
                      .has_name = true,
                      .has_id = true,
                      .has_str = true,
                      .key = {{5, 0, UINT64_MAX}},
                      .id = SLIM_ID_NULL,
                      .str = {slim_bytes_str("org"), slim_bytes_str(""), slim_bytes_str("bob")}};
    slim_bytes id = part(4, cat(number(1, UINT64_MAX), number(2, UINT64_MAX)));
    slim_bytes encoded = part(1, cat3(number(1, 5), number(3, UINT64_MAX), id)),
               strings = part(2, cat(text(1, "org"), text(3, "bob")));
    slim_bytes both = cat(encoded, strings);
    slim_view v;

    expect_subscribe(&name, false, 42, 2,
                     part(1, cat(part(1, cat4(part(1, both), part(2, both), number(4, 1), number(6, 2))), number(2, 42))));
    expect_subscribe(&name, true, 0, 8, part(2, part(1, cat4(part(1, both), part(2, both), number(4, 1), number(6, 8)))));

    /* Without an id and strings; the number of a present part of zeros stays present. */
    name = (slim_name){.present = true, .has_name = true, .id = SLIM_ID_NULL, .key = {{0, 0, 0}}};
    both = part(1, nothing());
    expect_subscribe(&name, false, 1, 1,
                     part(1, cat(part(1, cat4(part(1, both), part(2, both), number(4, 1), number(6, 1))), number(2, 1))));

    v = scanned(hx(GOLDEN_SUBSCRIBE));
    name = v.destination;
    {
        uint8_t *out = wire_room(slim_subscribe_bound(&name));
        slim_view again = scanned(slim_bytes_of(out, slim_subscribe_build(&name, false, 9, 2, out)));

        cr_assert_eq(slim_view_validate(&again), SLIM_OK);
        cr_assert(slim_key_eq(&again.source.key, &name.key) && slim_id_eq(again.destination.id, name.id));
        cr_assert(slim_bytes_eq(again.source.str[2], name.str[2]));
        cr_assert_eq(again.fanout, 1);
        cr_assert_eq(again.identity.n, 0);
    }
}
