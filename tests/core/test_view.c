#include <criterion/criterion.h>
#include <stdio.h>

#include "core/view.h"
#include "support/golden.h"
#include "support/view_check.h"
#include "support/wire_build.h"

static slim_view scanned(slim_bytes msg)
{
    slim_view v;
    slim_err e;

    view_check(msg, 31);
    e = slim_view_scan(msg, &v);
    cr_assert_eq(e, SLIM_OK, "%s", slim_err_text(e));
    return v;
}

static slim_err refused(slim_bytes msg)
{
    slim_view v;

    view_check(msg, 0);
    return slim_view_scan(msg, &v);
}

static bool is_text(slim_bytes b, const char *s)
{
    return slim_bytes_eq(b, slim_bytes_str(s));
}

Test(view, golden_link)
{
    slim_view v = scanned(hx(GOLDEN_LINK_REQUEST));

    cr_expect_eq(v.type, SLIM_MSG_LINK);
    cr_expect(v.plain);
    cr_expect_not(v.link_empty);
    cr_expect_not(v.has_header);
    cr_expect_eq(v.body.n, 126);
    cr_expect_eq(slim_view_validate(&v), SLIM_OK);
    v = scanned(hx(GOLDEN_LINK_REPLY));
    cr_expect_eq(v.type, SLIM_MSG_LINK);
    cr_expect_eq(v.body.n, 128);
}

Test(view, golden_subscribe)
{
    slim_bytes msg = hx(GOLDEN_SUBSCRIBE);
    slim_view v = scanned(msg);

    cr_expect_eq(v.type, SLIM_MSG_SUBSCRIBE);
    cr_expect(v.plain && v.has_header);
    cr_expect_eq(v.subscription_id, 7763616421102772354u);
    cr_expect(v.source.has_name && v.source.has_id && v.source.has_str);
    cr_expect_eq(v.destination.key.c[0], 0x873e580376ea963bu);
    cr_expect_eq(v.destination.key.c[1], 0xeef9769a4c6990d1u);
    cr_expect_eq(v.destination.key.c[2], 0x49ae1b437ae573c4u);
    cr_expect_eq(v.destination.id.hi, 0xbefe6c3360f4300cu);
    cr_expect_eq(v.destination.id.lo, 0x574d11236d1678e2u);
    cr_expect(is_text(v.source.str[0], "org") && is_text(v.source.str[1], "ns") && is_text(v.source.str[2], "bob"));
    cr_expect_eq(v.identity.n, 227);
    cr_expect_eq(v.fanout, 1);
    cr_expect(is_text(v.version, "3.4.6"));
    cr_expect_eq(v.ttl, 8);
    cr_expect(v.has_incoming_conn && v.incoming_conn == 1);
    cr_expect_not(v.has_recv_from || v.has_forward_to || v.has_error);
    cr_expect(v.has_mac && v.mac.n == SLIM_MAC_BYTES && v.mac.p[0] == 0x73);
    cr_expect_eq(v.n_runs, 1);
    cr_expect_eq(v.lead.n, 0);
    cr_expect_eq(v.inner.n, 0);
    cr_expect_eq(v.tail.n, 10);
    cr_expect_eq(v.member_rest_bytes, 10);
    cr_expect_eq(v.tail.p + v.tail.n, msg.p + msg.n);
    cr_expect_eq(slim_view_validate(&v), SLIM_OK);
}

Test(view, golden_ack_and_publish)
{
    slim_view v = scanned(hx(GOLDEN_SUBSCRIPTION_ACK));

    cr_expect_eq(v.type, SLIM_MSG_SUBSCRIPTION_ACK);
    cr_expect_eq(v.body.n, 12);
    cr_expect_eq(slim_view_validate(&v), SLIM_OK);

    v = scanned(hx(GOLDEN_PUBLISH));
    cr_expect_eq(v.type, SLIM_MSG_PUBLISH);
    cr_expect(v.plain && v.has_session);
    cr_expect(is_text(v.source.str[2], "src"));
    cr_expect_eq(v.source.id.lo, 7);
    cr_expect_eq(v.source.id.hi, 0);
    cr_expect_eq(v.destination.id.lo, 42);
    cr_expect_eq(v.identity.n, 0);
    cr_expect_eq(v.ttl, 7);
    cr_expect_eq(slim_view_validate(&v), SLIM_OK);
}

Test(view, golden_cut_anywhere)
{
    const char *const all[] = {GOLDEN_LINK_REQUEST, GOLDEN_LINK_REPLY, GOLDEN_SUBSCRIBE, GOLDEN_SUBSCRIPTION_ACK, GOLDEN_PUBLISH};

    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        slim_bytes msg = hx(all[i]);

        for (size_t n = 1; n < msg.n; n++) {
            uint8_t *exact = malloc(n); /* so that a sanitizer sees a read behind the end */
            slim_view v;

            memcpy(exact, msg.p, n);
            cr_assert_eq(slim_view_scan(slim_bytes_of(exact, n), &v), SLIM_E_TRUNCATED, "vector %zu, %zu bytes", i, n);
            view_check(slim_bytes_of(exact, n), 0);
            free(exact);
        }
    }
}

Test(view, empty_message)
{
    slim_view v = scanned(nothing());

    cr_expect_eq(v.type, SLIM_MSG_NONE);
    cr_expect(v.plain);
    cr_expect(slim_id_is_null(v.destination.id));
    cr_expect_eq(slim_view_validate(&v), SLIM_E_MISSING);
    cr_expect_eq(slim_view_scan(slim_bytes_of(NULL, 0), &v), SLIM_OK);
}

/* A member that this version does not know is no member at all. */
Test(view, future_member)
{
    slim_view v = scanned(part(7, hx("ff")));

    cr_expect_eq(v.type, SLIM_MSG_NONE);
    cr_expect_eq(slim_view_validate(&v), SLIM_E_MISSING);
}

static slim_bytes wrap(const char *path, slim_bytes body)
{
    for (size_t i = strlen(path); i-- > 0;)
        body = part((unsigned)(path[i] - '@'), body);
    return body;
}

/* Field numbers of the way to each kind of message, as letters: A is 1. */
static const char *const paths[] = {"",     "A",     "B",      "C",        "D",      "E",     "EA",    "F",     "AA",     "CA",
                                    "CAA",  "CAB",   "CAAA",   "CAAB",     "CABAD",  "CB",    "CC",    "CCA",   "CCB",    "CCBA",
                                    "CCBC", "CCBCA", "CCBCBA", "CCBCBAD",  "CCBCBB", "CCBCD", "CCBD",  "CCBDB", "CCBDBA", "CCBDBB",
                                    "CCBG", "CCBGB", "CCBGC",  "CCBGCAAD", "CCBGD",  "CCBH",  "CCBHA", "CCBHB", "CCBI",   "CCBIA",
                                    "CCBJ", "CCBJA", "CCBM",   "CCBN",     "CCBNA",  "CCBO",  "CCBOA", "CCBP"};
#define PATHS (sizeof paths / sizeof paths[0])

Test(view, rules_hold_in_every_part)
{
    static const struct {
        const char *hex;
        slim_err err;
    } cases[] = {
        {"a00100", SLIM_OK},                           /* unknown varint */
        {"a001ffffffffffffffffff01", SLIM_OK},         /* the largest */
        {"a00180808000", SLIM_OK},                     /* longer than needed */
        {"a0818000 00", SLIM_OK},                      /* the key too */
        {"f8ffffff0f 01", SLIM_OK},                    /* the largest field number */
        {"a101 0102030405060708", SLIM_OK},            /* fixed 64 */
        {"a501 01020304", SLIM_OK},                    /* fixed 32 */
        {"a201 02 ffff", SLIM_OK},                     /* unknown bytes are not text */
        {"a301 a401", SLIM_OK},                        /* empty group */
        {"a301 0801 0a01ff a301 a401 a401", SLIM_OK},  /* known numbers mean nothing in a group */
        {"a001ffffffffffffffffff02", SLIM_E_VARINT},   /* more than 64 bits */
        {"a0018080808080808080808000", SLIM_E_VARINT}, /* eleven bytes */
        {"f8ffffff1f 01", SLIM_E_TAG},                 /* key above 2^32 - 1 */
        {"f8ffffffffffffffff01 01", SLIM_E_TAG},
        {"0001", SLIM_E_TAG},           /* field number 0 */
        {"a601 01", SLIM_E_TAG},        /* wire type 6 */
        {"a701 01", SLIM_E_TAG},        /* wire type 7 */
        {"0e 01", SLIM_E_TAG},          /* also with a known number */
        {"a401", SLIM_E_TAG},           /* lone end of a group */
        {"a301 ac01", SLIM_E_TAG},      /* another group's end */
        {"a301 0001 a401", SLIM_E_TAG}, /* field number 0 in a group */
        {"a301 a601 01 a401", SLIM_E_TAG},
        {"a301 a001ffffffffffffffffff02 a401", SLIM_E_VARINT},
        {"a301", SLIM_E_TRUNCATED}, /* group without end */
        {"a301 0801", SLIM_E_TRUNCATED},
        {"a201 05 01", SLIM_E_TRUNCATED},
        {"a201 ffffffffffffffffff01", SLIM_E_TRUNCATED},
        {"a101 01020304050607", SLIM_E_TRUNCATED},
        {"a501 010203", SLIM_E_TRUNCATED},
        {"a0", SLIM_E_TRUNCATED},
        {"a001", SLIM_E_TRUNCATED},
    };

    for (size_t i = 0; i < PATHS; i++) {
        for (size_t k = 0; k < sizeof cases / sizeof cases[0]; k++) {
            slim_view v;

            wire_used = 0;
            slim_bytes msg = wrap(paths[i], hx(cases[k].hex));

            view_check(msg, k);
            cr_assert_eq(slim_view_scan(msg, &v), cases[k].err, "%s at \"%s\"", cases[k].hex, paths[i]);
        }
    }
}

/* A part that would fit in the message but not in its parent. */
Test(view, parts_stay_in_their_parents)
{
    for (size_t i = 0; i < PATHS; i++) {
        slim_bytes msg = cat(wrap(paths[i], hx("a20103ff")), hx("a2010100"));
        slim_view v;

        if (paths[i][0] == '\0')
            continue;
        view_check(msg, 0);
        cr_assert_eq(slim_view_scan(msg, &v), SLIM_E_TRUNCATED, "%s", paths[i]);
    }
}

/* A long number that ends behind its parent; what follows would be another error. */
Test(view, numbers_stay_in_their_parents)
{
    static const char *const numbers[][2] = {{"A", "10ff"},    {"B", "10ffff"},   {"CAAA", "08ff"},    {"CAAA", "10ffffff"},
                                             {"CABA", "18ff"}, {"CAAAD", "08ff"}, {"CABAD", "10ffff"}, {"CA", "30ff"},
                                             {"CA", "48ff"},   {"CB", "18ff"},    {"CCBM", "08ffff"},  {"CAAAD", "ff"},
                                             {"CAAAD", "08"}};

    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        slim_bytes msg = cat(wrap(numbers[i][0], hx(numbers[i][1])), hx("01000000000000000000000000000000"));

        cr_expect_eq(refused(msg), SLIM_E_TRUNCATED, "%s at %s", numbers[i][1], numbers[i][0]);
    }
}

/* prost's limit of 100 counts sub-messages and groups; only an end may lie in the last group. */
Test(view, depth)
{
    for (size_t i = 0; i < PATHS; i++) {
        size_t left = 100 - strlen(paths[i]);

        for (size_t groups = left - 1; groups <= left + 1; groups++) {
            for (int filled = 0; filled < 2; filled++) {
                slim_bytes body = filled ? hx("0801") : nothing();
                slim_err want = groups + (size_t)filled <= left ? SLIM_OK : SLIM_E_DEPTH;
                slim_view v;
                slim_bytes msg;

                for (size_t g = 0; g < groups; g++)
                    body = cat3(hx("a301"), body, hx("a401"));
                msg = wrap(paths[i], body);
                view_check(msg, 0);
                cr_assert_eq(slim_view_scan(msg, &v), want, "%zu groups in \"%s\"", groups, paths[i]);
                wire_used = 0;
            }
        }
    }
}

Test(view, wrong_wire_types)
{
    /* path, key of a known field with another wire type, value */
    static const struct {
        const char *path, *hex;
    } cases[] = {
        {"", "0801"},        {"", "2001"},     {"", "2d00000000"},   {"", "2301"},
        {"", "34"},          {"A", "0801"},    {"A", "12020801"},    {"C", "1001"},
        {"C", "1d00000000"}, {"CA", "0801"},   {"CA", "1801"},       {"CA", "220101"},
        {"CA", "2801"},      {"CA", "320101"}, {"CA", "3d00000000"}, {"CA", "4101020304050607 08"},
        {"CA", "4a00"},      {"CA", "520101"}, {"CA", "5801"},       {"CA", "6001"},
        {"CAA", "0801"},     {"CAA", "1001"},  {"CAAA", "0a00"},     {"CAAA", "2001"},
        {"CAAAD", "0a00"},   {"CAAB", "0801"}, {"CB", "0a00"},       {"CC", "0801"},
        {"CCA", "0801"},     {"CCA", "1001"},  {"CCB", "0801"},      {"CCBC", "0801"},
        {"CCBG", "0a00"},    {"CCBM", "0a00"}, {"D", "0801"},        {"D", "1001"},
        {"E", "0801"},       {"EA", "0801"},   {"EA", "1a00"},       {"F", "0a00"},
        {"F", "1801"},       {"EA", "4001"},
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        cr_expect_eq(refused(wrap(cases[i].path, hx(cases[i].hex))), SLIM_E_WIRETYPE, "%s at %s", cases[i].hex, cases[i].path);
}

Test(view, strings_are_utf8_everywhere)
{
    static const char *const strings[] = {"CAC", "CAE", "CAABA", "CAABB", "CABBC", "AAC", "BAE",     "CCAA",     "DA",
                                          "DB",  "FC",  "EAA",   "EAB",   "EAF",   "EAG", "CCBCBBA", "CCBDBABB", "CCBIABC"};
    static const char *const bytes[] = {"CAK", "CAL", "CCAB", "CCBDA", "CCBGDB", "CCBJB", "CCBOB", "CCBPB", "EAD", "EAH"};

    for (size_t i = 0; i < sizeof strings / sizeof strings[0]; i++) {
        cr_expect_eq(refused(wrap(strings[i], hx("61c3"))), SLIM_E_UTF8, "%s", strings[i]);
        cr_expect_eq(refused(wrap(strings[i], hx("eda080"))), SLIM_E_UTF8, "%s", strings[i]);
        cr_expect_eq(refused(wrap(strings[i], hx("6100c3a9"))), SLIM_OK, "%s", strings[i]);
    }
    for (size_t i = 0; i < sizeof bytes / sizeof bytes[0]; i++)
        cr_expect_eq(refused(wrap(bytes[i], hx("ff00c3"))), SLIM_OK, "%s", bytes[i]);
}

Test(view, numbers_are_cut)
{
    slim_bytes header = cat4(number(4, 0x100000001u), number(6, 0x500000008u), number(10, (uint64_t)1 << 40), number(9, 0));
    slim_view v = scanned(wrap("CA", header));

    cr_expect_eq(v.fanout, 1);
    cr_expect_eq(v.ttl, 8);
    cr_expect(v.has_error && v.error);
    cr_expect(v.has_incoming_conn && v.incoming_conn == 0);
    v = scanned(wrap("CA", cat3(number(6, 0x100000000u), number(10, 0), hx("a08000 07"))));
    cr_expect_eq(v.ttl, 0);
    cr_expect_eq(v.fanout, 7, "a key may be longer than needed");
    cr_expect(v.has_error && !v.error);
}

Test(view, last_scalar_wins)
{
    slim_bytes header = cat4(cat(text(3, "old"), number(6, 3)), cat(text(3, "new"), number(6, 4)),
                             cat(part(11, hx("01")), number(9, 1)), cat(part(11, hx("0203")), number(9, 2)));
    slim_view v = scanned(wrap("CA", header));

    cr_expect(is_text(v.identity, "new"));
    cr_expect_eq(v.ttl, 4);
    cr_expect_eq(v.incoming_conn, 2);
    cr_expect(slim_bytes_eq(v.mac, hx("0203")));
}

Test(view, presence_of_empty_parts)
{
    slim_view v = scanned(part(3, cat(part(1, cat(part(1, nothing()), part(2, part(1, part(4, nothing()))))), part(2, nothing()))));

    cr_expect(v.plain && v.has_header && v.has_session);
    cr_expect(v.source.present && !v.source.has_name && !v.source.has_str);
    cr_expect(slim_id_is_null(v.source.id));
    cr_expect(v.destination.has_name && v.destination.has_id);
    cr_expect(v.destination.id.hi == 0 && v.destination.id.lo == 0);
    cr_expect_eq(slim_view_validate(&v), SLIM_E_MISSING);
}

Test(view, validate)
{
    slim_bytes name = part(1, nothing()), src = part(1, name), dst = part(2, name), session = part(2, nothing());
    slim_view v;

    v = scanned(part(3, cat(part(1, cat(src, dst)), session)));
    cr_expect_eq(slim_view_validate(&v), SLIM_OK);
    v = scanned(part(3, part(1, cat(src, dst))));
    cr_expect_eq(slim_view_validate(&v), SLIM_E_MISSING, "session");
    v = scanned(part(1, part(1, cat(src, dst))));
    cr_expect_eq(slim_view_validate(&v), SLIM_OK, "a subscribe has no session");
    v = scanned(part(2, part(1, src)));
    cr_expect_eq(slim_view_validate(&v), SLIM_E_MISSING, "destination");
    v = scanned(part(2, part(1, dst)));
    cr_expect_eq(slim_view_validate(&v), SLIM_E_MISSING, "source");
    v = scanned(part(2, part(1, cat(src, part(2, nothing())))));
    cr_expect_eq(slim_view_validate(&v), SLIM_E_MISSING, "destination.name");
    v = scanned(part(3, session));
    cr_expect_eq(slim_view_validate(&v), SLIM_E_MISSING, "header");
    v = scanned(part(5, nothing()));
    cr_expect(v.link_empty);
    cr_expect_eq(slim_view_validate(&v), SLIM_E_MISSING, "link_type");
}

static slim_bytes merged(slim_bytes msg, slim_view *v)
{
    uint8_t *out, *kept;
    size_t n;

    view_check(msg, 31);
    cr_assert_eq(slim_view_scan(msg, v), SLIM_OK);
    cr_assert_not(v->plain);
    cr_assert_eq(slim_view_normalise(msg, &slim_mem_libc, &out, &n, v), SLIM_OK);
    cr_assert(v->plain);
    kept = wire_room(n);
    memcpy(kept, out, n);
    slim_free(&slim_mem_libc, out);
    cr_assert_eq(slim_view_scan(slim_bytes_of(kept, n), v), SLIM_OK);
    return slim_bytes_of(kept, n);
}

static bool contains(slim_bytes b, const char *s)
{
    return memmem(b.p, b.n, s, strlen(s)) != NULL;
}

Test(view, header_twice_is_merged)
{
    slim_bytes one = part(1, cat4(text(3, "stale"), number(4, 1), number(6, 9), part(11, hx("01"))));
    slim_bytes two = part(1, cat3(number(4, 256), number(9, 5), text(5, "v")));
    slim_view v;
    slim_bytes msg = merged(part(3, cat4(one, part(2, hx("0801")), two, part(3, nothing()))), &v);

    cr_expect(is_text(v.identity, "stale"));
    cr_expect_eq(v.fanout, 256);
    cr_expect_eq(v.ttl, 9);
    cr_expect_eq(v.incoming_conn, 5);
    cr_expect(is_text(v.version, "v"));
    cr_expect(v.has_session);
    /* One header, its kept fields in front of the rewritten ones. */
    cr_expect(slim_bytes_eq(msg, part(3, cat3(part(1, cat3(cat3(text(3, "stale"), number(4, 1), number(4, 256)), text(5, "v"),
                                                           cat3(number(6, 9), part(11, hx("01")), number(9, 5)))),
                                              part(2, hx("0801")), part(3, nothing())))));
    cr_expect_eq(v.n_runs, 1);
}

Test(view, member_twice_is_merged)
{
    slim_bytes first = part(3, cat(part(1, text(3, "id")), part(2, number(3, 1)))), meta = part(4, cat(text(1, "k"), text(2, "v")));
    slim_bytes second = part(3, cat(part(1, number(6, 7)), part(2, number(4, 2))));
    slim_view v;
    slim_bytes msg = merged(cat3(first, meta, second), &v);

    cr_expect(is_text(v.identity, "id"));
    cr_expect_eq(v.ttl, 7);
    cr_expect(slim_bytes_eq(
        msg, cat(part(3, cat(part(1, cat(text(3, "id"), number(6, 7))), part(2, cat(number(3, 1), number(4, 2))))), meta)));
}

Test(view, other_member_replaces)
{
    slim_bytes gone = part(1, cat(part(1, cat(text(3, "gone"), number(9, 4))), number(2, 77))), unknown = text(20, "u");
    slim_bytes stays = part(3, part(1, number(6, 7)));
    slim_view v;
    slim_bytes msg = merged(cat3(gone, unknown, stays), &v);

    cr_expect_eq(v.type, SLIM_MSG_PUBLISH);
    cr_expect_eq(v.subscription_id, 0);
    cr_expect_eq(v.identity.n, 0);
    cr_expect_not(v.has_incoming_conn);
    cr_expect_not(contains(msg, "gone"));
    cr_expect(slim_bytes_eq(msg, cat(stays, unknown)));

    /* Back to the first member: nothing of its earlier life comes back. */
    msg = merged(cat3(gone, stays, part(1, number(2, 5))), &v);
    cr_expect_eq(v.type, SLIM_MSG_SUBSCRIBE);
    cr_expect_not(v.has_header);
    cr_expect_eq(v.subscription_id, 5);
    cr_expect(slim_bytes_eq(msg, part(1, number(2, 5))));

    msg = merged(cat(stays, hx(GOLDEN_SUBSCRIPTION_ACK)), &v);
    cr_expect_eq(v.type, SLIM_MSG_SUBSCRIPTION_ACK);
    cr_expect(slim_bytes_eq(msg, hx(GOLDEN_SUBSCRIPTION_ACK)));
}

Test(view, errors_in_a_replaced_member_count)
{
    slim_bytes good = hx(GOLDEN_PUBLISH);

    cr_expect_eq(refused(cat(part(1, part(1, part(3, hx("ff")))), good)), SLIM_E_UTF8);
    cr_expect_eq(refused(cat(part(5, part(1, part(1, hx("ff")))), good)), SLIM_E_UTF8);
    cr_expect_eq(refused(cat(good, hx("0a02 0801"))), SLIM_E_WIRETYPE);
}

Test(view, names_are_merged)
{
    slim_bytes a = part(2, cat(part(1, cat(number(1, 11), part(4, number(1, 5)))), part(2, text(1, "a"))));
    slim_bytes b =
        part(2, cat3(part(2, text(3, "c")), part(1, part(4, cat(number(2, 6), text(9, "future")))), part(1, number(2, 12))));
    slim_view v;
    slim_bytes msg = merged(part(2, part(1, cat3(a, number(4, 1), b))), &v);

    cr_expect_eq(v.destination.key.c[0], 11);
    cr_expect_eq(v.destination.key.c[1], 12);
    cr_expect_eq(v.destination.key.c[2], 0);
    cr_expect(slim_id_eq(v.destination.id, (slim_id){5, 6}));
    cr_expect(is_text(v.destination.str[0], "a") && v.destination.str[1].n == 0 && is_text(v.destination.str[2], "c"));
    cr_expect(contains(msg, "future"), "unknown fields are kept");
}

Test(view, link_type_and_content_are_merged)
{
    slim_bytes half = part(5, part(1, text(1, "id"))), other = part(5, part(1, text(2, "1.0.0")));
    slim_view v;
    slim_bytes msg = merged(cat(half, other), &v);

    cr_expect(slim_bytes_eq(msg, part(5, part(1, cat(text(1, "id"), text(2, "1.0.0"))))));
    cr_expect(slim_bytes_eq(v.body, part(1, cat(text(1, "id"), text(2, "1.0.0")))));
    msg = merged(part(3, cat3(part(3, part(1, text(1, "t"))), part(1, nothing()), part(3, part(1, text(2, "b"))))), &v);
    cr_expect(slim_bytes_eq(msg, part(3, cat(part(3, cat(part(1, text(1, "t")), part(1, text(2, "b")))), part(1, nothing())))));
}

Test(view, scattered_header_is_not_plain)
{
    slim_bytes header = nothing();
    slim_view v;

    for (unsigned i = 0; i < SLIM_HEADER_RUNS; i++)
        header = cat3(header, number(4, i), number(6, i));
    v = scanned(part(3, part(1, header)));
    cr_expect(v.plain);
    cr_expect_eq(v.n_runs, SLIM_HEADER_RUNS);
    merged(part(3, part(1, cat(header, text(15, "u")))), &v);
    cr_expect_eq(v.n_runs, 1);
}

Test(view, normalise_without_memory)
{
    slim_bytes msg = cat(hx(GOLDEN_PUBLISH), hx(GOLDEN_SUBSCRIBE));
    slim_view v;
    uint8_t *out;
    size_t n;
    test_mem m;
    long at;

    for (at = 0;; at++) {
        slim_err e;

        test_mem_init(&m, at);
        e = slim_view_normalise(msg, &m.mem, &out, &n, &v);
        if (!m.failed) {
            cr_assert_eq(e, SLIM_OK);
            cr_assert(slim_bytes_eq(slim_bytes_of(out, n), hx(GOLDEN_SUBSCRIBE)));
            slim_free(&m.mem, out);
            cr_assert_eq(m.live, 0);
            break;
        }
        cr_assert_eq(e, SLIM_E_NOMEM);
        cr_assert_eq(m.live, 0);
    }
    cr_assert_gt(at, 0);
}

/* Two acks that become two bytes shorter by merging, and an unknown field that fills the message up to n bytes. */
static slim_bytes two_acks(size_t n)
{
    uint8_t *start = malloc(n), *p = slim_put(start, "\x32\x02\x08\x01\x32\x02\x10\x01\xa2\x01", 10);
    size_t blob = n - 14;

    cr_assert_eq(slim_varint_size(blob), 4);
    p = slim_varint_put(p, blob);
    memset(p, 0, blob);
    return slim_bytes_of(start, n);
}

Test(view, normalise_is_limited)
{
    for (size_t over = 0; over < 2; over++) {
        slim_bytes msg = two_acks(SLIM_MESSAGE_MAX_BYTES + 2 + over);
        uint8_t *out = NULL;
        size_t n = 0;
        test_mem m;
        slim_view v;

        test_mem_init(&m, -1);
        cr_assert_eq(slim_view_normalise(msg, &m.mem, &out, &n, &v), over ? SLIM_E_TOO_LARGE : SLIM_OK);
        if (!over)
            cr_assert_eq(n, SLIM_MESSAGE_MAX_BYTES);
        slim_free(&m.mem, out);
        cr_assert_eq(m.live, 0);
        free((void *)(uintptr_t)msg.p);
    }
}

Test(view, random_messages)
{
    uint64_t seed = test_seed();
    unsigned accepted = 0, n = 15000;

    for (unsigned i = 0; i < n; i++) {
        uint8_t msg[4096], *exact;
        size_t size = view_random(&seed, msg, sizeof msg);

        exact = malloc(size + 1);
        memcpy(exact, msg, size);
        accepted += view_check(slim_bytes_of(exact, size), test_rand(&seed));
        free(exact);
    }
    cr_expect_gt(accepted, n / 5);
    cr_expect_lt(accepted, n - n / 5);
}
