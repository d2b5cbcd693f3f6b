#include <criterion/criterion.h>
#include <stdlib.h>

#include "auth/negotiation.h"
#include "core/view.h"
#include "support/golden.h"
#include "support/slow_decode.h"
#include "support/wire_build.h"

#define GOLDEN_ID UINT64_C(7763616421102772354)

static slim_bytes built(uint64_t id, const char *error)
{
    size_t bound = slim_subscription_ack_bound(error), n;
    uint8_t *out = wire_room(bound);

    n = slim_subscription_ack_build(id, error, out);
    cr_assert_leq(n, bound);
    return slim_bytes_of(out, n);
}

Test(ack, golden)
{
    slim_subscription_ack ack;
    slim_bytes msg = hx(GOLDEN_SUBSCRIPTION_ACK);
    slim_view v;

    cr_assert(slim_bytes_eq(built(GOLDEN_ID, NULL), msg));
    cr_assert(slim_bytes_eq(built(GOLDEN_ID, ""), msg));
    cr_assert_eq(slim_view_scan(msg, &v), SLIM_OK);
    cr_assert_eq(v.type, SLIM_MSG_SUBSCRIPTION_ACK);
    cr_assert_eq(slim_subscription_ack_decode(v.body, &ack), SLIM_OK);
    cr_assert_eq(ack.id, GOLDEN_ID);
    cr_assert(ack.success);
    cr_assert_eq(ack.error.n, 0);
}

/* What is built, the independent decoder and our own read alike; the bound holds. */
static void round_trip(uint64_t id, const char *error)
{
    slim_bytes msg = built(id, error), text = error != NULL ? slim_bytes_str(error) : nothing();
    slow_node *root = slow_decode(msg), *n = slow_child(root, SLIM_MSG_SUBSCRIPTION_ACK);
    slim_subscription_ack ack;
    slim_view v;

    cr_assert_not_null(n);
    cr_assert_eq(n->field[1].number, id);
    cr_assert_eq(n->field[2].number, text.n == 0);
    cr_assert_eq(n->field[3].present, text.n != 0, "an empty error is not written");
    cr_assert(slim_bytes_eq(n->field[3].bytes, text));
    cr_assert_eq(slim_view_scan(msg, &v), SLIM_OK);
    cr_assert_eq(slim_subscription_ack_decode(v.body, &ack), SLIM_OK);
    cr_assert_eq(ack.id, id);
    cr_assert_eq(ack.success, text.n == 0);
    cr_assert(slim_bytes_eq(ack.error, text));
    slow_free(root);
    wire_used = 0;
}

Test(ack, round_trips)
{
    static const uint64_t ids[] = {0, 1, 127, 128, GOLDEN_ID, UINT64_MAX};
    char *error = malloc(20001);

    for (size_t i = 0; i < sizeof(ids) / sizeof(*ids); i++) {
        round_trip(ids[i], NULL);
        round_trip(ids[i], "subscription not found");
    }
    for (size_t n = 0; n <= 20000; n = n < 300 ? n + 1 : n * 2) {
        memset(error, 'e', n);
        error[n] = '\0';
        round_trip(UINT64_MAX, error);
    }
    free(error);
}

static slim_subscription_ack decoded(slim_bytes body)
{
    slim_subscription_ack ack;

    memset(&ack, 0xa5, sizeof(ack));
    cr_assert_eq(slim_subscription_ack_decode(body, &ack), SLIM_OK);
    return ack;
}

Test(ack, forms_of_one_message)
{
    slim_subscription_ack ack = decoded(nothing());

    cr_assert_eq(ack.id, 0);
    cr_assert_not(ack.success);
    cr_assert_eq(ack.error.n, 0);
    ack = decoded(slim_bytes_of(NULL, 0));
    cr_assert_eq(ack.id, 0);
    /* any order, the last counts */
    ack = decoded(cat4(text(3, "one"), number(2, 1), number(1, 5), cat3(number(1, 6), number(2, 0), text(3, "two"))));
    cr_assert_eq(ack.id, 6);
    cr_assert_not(ack.success);
    cr_assert(slim_bytes_eq(ack.error, slim_bytes_str("two")));
    cr_assert_eq(decoded(cat(text(3, "one"), part(3, nothing()))).error.n, 0);
    /* any number but zero is true, also behind 64 bits of low zeros */
    cr_assert(decoded(number(2, UINT64_C(1) << 63)).success);
    cr_assert(decoded(number(2, UINT64_C(1) << 32)).success);
    cr_assert_not(decoded(hx("1080808000")).success);
    /* NUL bytes stay */
    cr_assert_eq(decoded(part(3, slim_bytes_of("a\0b", 3))).error.n, 3);
    /* long forms of keys, lengths, numbers */
    cr_assert_eq(decoded(hx("8880808000 8780808080808080 8000")).id, 7);
    cr_assert(slim_bytes_eq(decoded(hx("9a8000 818080808000 65")).error, slim_bytes_str("e")));
}

/* Whatever the scanner takes as an acknowledgement can be read, groups too: upstream skips them. */
Test(ack, unknown_fields)
{
    static const char *const unknown[] = {"2001", "210102030405060708", "2501020304",  "2203616263",
                                          "2324", "23534c24",           "f8ffffff0f01"};

    for (size_t i = 0; i < sizeof(unknown) / sizeof(*unknown); i++) {
        slim_bytes u = hx(unknown[i]), body = cat4(u, number(1, 9), u, cat(number(2, 1), u));
        slim_subscription_ack ack;
        slim_view v;

        if (i == 5) {
            /* a group of field 10 that ends as field 9 */
            cr_assert_neq(slim_view_scan(part(6, body), &v), SLIM_OK);
            cr_assert_neq(slim_subscription_ack_decode(body, &ack), SLIM_OK);
            continue;
        }
        cr_assert_eq(slim_view_scan(part(6, body), &v), SLIM_OK, "%s", unknown[i]);
        cr_assert_eq(slim_subscription_ack_decode(v.body, &ack), SLIM_OK, "%s", unknown[i]);
        cr_assert_eq(ack.id, 9);
        cr_assert(ack.success);
    }
    cr_assert_eq(decoded(cat3(hx("23 0801 2b 120161 2c 24"), number(1, 9), hx("2324"))).id, 9);
}

Test(ack, broken_ones)
{
    static const struct {
        const char *hex;
        slim_err e;
    } rows[] = {{"08", SLIM_E_TRUNCATED},
                {"0880", SLIM_E_TRUNCATED},
                {"08ffffffffffffffffff02", SLIM_E_VARINT},
                {"1a0261", SLIM_E_TRUNCATED},
                {"1affffffffffffffffff01", SLIM_E_TRUNCATED},
                {"21010203", SLIM_E_TRUNCATED},
                {"25010203", SLIM_E_TRUNCATED},
                {"0001", SLIM_E_TAG},
                {"26", SLIM_E_TAG},
                {"24", SLIM_E_TAG},
                {"23", SLIM_E_TRUNCATED},
                {"0a00", SLIM_E_WIRETYPE},
                {"1200", SLIM_E_WIRETYPE},
                {"1801", SLIM_E_WIRETYPE},
                {"8880808080808080 8001", SLIM_E_TAG}};

    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        slim_subscription_ack ack;

        cr_assert_eq(slim_subscription_ack_decode(hx(rows[i].hex), &ack), rows[i].e, "%s: %s", rows[i].hex,
                     slim_err_text(slim_subscription_ack_decode(hx(rows[i].hex), &ack)));
    }
}
