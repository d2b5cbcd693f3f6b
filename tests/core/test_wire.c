/* src/core/wire.c and src/core/schema.c: the field readers and the table of message types. */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "core/wire.h"
#include "support/slow_decode.h"
#include "support/wire_build.h"

/* The wide reader may look past the end of its part, up to the limit, but must give what the plain one gives. */
Test(wire, both_varint_readers_agree)
{
    uint64_t seed = test_seed();

    for (int i = 0; i < 200000; i++) {
        uint8_t buf[32];
        size_t n = test_rand(&seed) % 13, behind = test_rand(&seed) % 12;
        const uint8_t *end = buf + n, *a, *b;
        uint64_t va = 1, vb = 2;
        slim_err ea = SLIM_OK, eb = SLIM_OK;

        for (size_t k = 0; k < sizeof(buf); k++)
            buf[k] = (uint8_t)(test_rand(&seed) | (test_rand(&seed) % 8 != 0 ? 0x80 : 0));
        if (n >= 10 && i % 2 != 0)
            buf[9] = (uint8_t)(i / 2 % 3);
        a = slim_wire_varint(buf, end, &va, &ea);
        b = slim_wire_varint_wide(buf, end, end + behind, &vb, &eb);
        cr_assert_eq(a, b);
        if (a == NULL)
            cr_assert_eq(ea, eb);
        else
            cr_assert_eq(va, vb);
    }
}

/* A field that is skipped, in memory that ends with it: its size, or the error. depth 0. */
static void expect_skip(const char *hex, slim_err want)
{
    slim_bytes b = hx(hex);
    uint8_t *exact = malloc(b.n + (b.n == 0));
    const uint8_t *p, *end = exact + b.n;
    slim_err e = SLIM_OK;
    uint64_t key = 0;

    memcpy(exact, b.p, b.n);
    p = slim_wire_varint(exact, end, &key, &e);
    cr_assert_not_null(p);
    p = slim_wire_skip(p, end, key, 0, &e);
    if (want == SLIM_OK)
        cr_assert_eq(p, end, "%s", hex);
    else
        cr_assert(p == NULL && e == want, "%s: %s", hex, slim_err_text(e));
    free(exact);
}

Test(wire, skip)
{
    expect_skip("0801", SLIM_OK);
    expect_skip("08ffffffffffffffffff01", SLIM_OK);
    expect_skip("08ffffffffffffffffff02", SLIM_E_VARINT);
    expect_skip("08", SLIM_E_TRUNCATED);
    expect_skip("090102030405060708", SLIM_OK);
    expect_skip("0901020304050607", SLIM_E_TRUNCATED);
    expect_skip("0d01020304", SLIM_OK);
    expect_skip("0d010203", SLIM_E_TRUNCATED);
    expect_skip("0a00", SLIM_OK);
    expect_skip("0a0161", SLIM_OK);
    expect_skip("0a0261", SLIM_E_TRUNCATED);
    expect_skip("0b0c", SLIM_OK);
    expect_skip("0b08010d010203040a0161130908070605040302011 40c", SLIM_OK);
    expect_skip("0b", SLIM_E_TRUNCATED);
    expect_skip("0b14", SLIM_E_TAG);
    expect_skip("0c", SLIM_E_TAG);
    expect_skip("0e", SLIM_E_TAG);
    expect_skip("0f", SLIM_E_TAG);
    expect_skip("00", SLIM_E_TAG);
    expect_skip("0b000c", SLIM_E_TAG);
    expect_skip("0b0e0c", SLIM_E_TAG);
    expect_skip("f8ffffff0f01", SLIM_OK);
    expect_skip("f8ffffff1f01", SLIM_E_TAG);
}

/* Messages around a field and groups in it share one limit. */
Test(wire, skip_depth)
{
    for (unsigned depth = 0; depth <= SLIM_WIRE_DEPTH + 1; depth += depth < 95 ? 19 : 1) {
        for (unsigned groups = 1; groups <= SLIM_WIRE_DEPTH + 1; groups++) {
            uint8_t buf[2 * (SLIM_WIRE_DEPTH + 1)];
            slim_err e = SLIM_OK;
            const uint8_t *p;

            memset(buf, 0x0b, groups);
            memset(buf + groups, 0x0c, groups);
            p = slim_wire_skip(buf + 1, buf + 2 * (size_t)groups, 0x0b, depth, &e);
            if (groups + depth <= SLIM_WIRE_DEPTH)
                cr_assert_eq(p, buf + 2 * (size_t)groups, "%u groups at depth %u", groups, depth);
            else
                cr_assert(p == NULL && e == SLIM_E_DEPTH, "%u groups at depth %u", groups, depth);
        }
    }
}

static slim_field_kind kind_of(char c)
{
    return c == 's'               ? SLIM_FIELD_STRING
           : c == 'y'             ? SLIM_FIELD_BYTES
           : c == 'm' || c == 'r' ? SLIM_FIELD_MESSAGE
                                  : SLIM_FIELD_VARINT;
}

/* The table against the rules of the slow decoder, all types below this one too; how many fields were compared. */
static unsigned compare(const slim_schema *schema, const char *type)
{
    unsigned n = 0;

    for (unsigned number = 0; number < SLOW_FIELDS; number++) {
        const slow_rule *rule = slow_rule_of(type, number);
        slim_field_kind kind = number < schema->n ? schema->field[number].kind : SLIM_FIELD_UNKNOWN;

        if (rule == NULL) {
            cr_assert_eq(kind, SLIM_FIELD_UNKNOWN, "%s has no field %u", type, number);
            continue;
        }
        n++;
        cr_assert_eq(kind, kind_of(rule->kind), "field %u of %s", number, type);
        if (kind == SLIM_FIELD_MESSAGE)
            n += compare(schema->field[number].sub, rule->sub);
    }
    cr_assert_leq(schema->n, SLOW_FIELDS);
    return n;
}

Test(wire, schema)
{
    cr_assert_eq(compare(&slim_schema_metadata, "MapEntry"), 2);
    cr_assert_eq(compare(&slim_schema_session, "SessionHeader"), 4);
    cr_assert_eq(compare(&slim_schema_link_negotiation, "LinkNegotiationPayload"), 8);
    cr_assert_eq(compare(&slim_schema_subscription_ack, "SubscriptionAck"), 3);
    cr_assert_gt(compare(&slim_schema_content, "Content"), 100);
}

Test(wire, check_counts_its_own_levels)
{
    slim_bytes body = part(2, part(13, hx("1314")));

    /* Content, CommandPayload and HeartbeatPayload are around the group. */
    cr_assert_eq(slim_wire_check(&slim_schema_content, part(2, part(13, number(1, 5))), 0), SLIM_OK);
    cr_assert_eq(slim_wire_check(&slim_schema_content, part(2, part(13, part(1, nothing()))), 0), SLIM_E_WIRETYPE);
    cr_assert_eq(slim_wire_check(&slim_schema_content, part(2, part(13, hx("130c"))), 0), SLIM_E_TAG);
    cr_assert_eq(slim_wire_check(&slim_schema_content, body, SLIM_WIRE_DEPTH - 3), SLIM_OK);
    cr_assert_eq(slim_wire_check(&slim_schema_content, body, SLIM_WIRE_DEPTH - 2), SLIM_E_DEPTH);
}
