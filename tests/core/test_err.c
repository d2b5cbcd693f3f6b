#include <criterion/criterion.h>

#include "core/err.h"

static const struct {
    slim_err e;
    const char *name;
} errors[] = {
#define X(name, number, text) {SLIM_E_##name, #name},
    SLIM_ERRORS(X)
#undef X
};
#define N (sizeof(errors) / sizeof(*errors))

Test(err, each_has_its_own_number_and_text)
{
    for (size_t i = 0; i < N; i++) {
        const char *text = slim_err_text(errors[i].e);

        cr_assert_lt(errors[i].e, 0, "%s: zero is success", errors[i].name);
        cr_assert_neq(text[0], '\0', "%s", errors[i].name);
        cr_assert_str_neq(text, slim_err_text((slim_err)-9999), "%s", errors[i].name);
        for (size_t k = 0; k < i; k++) {
            cr_assert_neq(errors[k].e, errors[i].e, "%s and %s", errors[k].name, errors[i].name);
            cr_assert_str_neq(slim_err_text(errors[k].e), text, "%s and %s", errors[k].name, errors[i].name);
        }
    }
}

Test(err, unknown_numbers_have_a_text)
{
    cr_assert_str_eq(slim_err_text(SLIM_OK), "success");
    cr_assert_str_eq(slim_err_text((slim_err)1), "unknown error");
    cr_assert_str_eq(slim_err_text((slim_err)-9999), "unknown error");
}

/* Who is to blame decides whether a link is closed. */
Test(err, blame)
{
    static const slim_err peers[] = {SLIM_E_TRUNCATED, SLIM_E_WIRETYPE,    SLIM_E_VARINT,    SLIM_E_TAG,
                                     SLIM_E_UTF8,      SLIM_E_DEPTH,       SLIM_E_TOO_LARGE, SLIM_E_MISSING,
                                     SLIM_E_MAC,       SLIM_E_NEGOTIATION, SLIM_E_PROTOCOL};

    for (size_t i = 0; i < N; i++) {
        bool blamed = false;

        for (size_t k = 0; k < sizeof(peers) / sizeof(*peers); k++)
            blamed |= peers[k] == errors[i].e;
        cr_assert_eq(slim_err_is_peer(errors[i].e), blamed, "%s", errors[i].name);
    }
    cr_assert_not(slim_err_is_peer(SLIM_OK));
    cr_assert_not(slim_err_is_peer((slim_err)1));
}
