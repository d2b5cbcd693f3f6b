#include <criterion/criterion.h>

#include "auth/uuid.h"
#include "support/support.h"

typedef struct fixed {
    uint8_t bytes[16];
    bool fails;
} fixed;

static bool fill(void *arg, uint8_t *p, size_t n)
{
    const fixed *f = arg;

    cr_assert_eq(n, sizeof(f->bytes));
    memcpy(p, f->bytes, n);
    return !f->fails;
}

/* RFC 9562, appendix A.3: the example of a version 4 UUID, version and variant bits cleared and set. */
Test(uuid, rfc9562_example)
{
    fixed f = {{0x91, 0x91, 0x08, 0xf7, 0x52, 0xd1, 0x43, 0x20, 0x9b, 0xac, 0xf8, 0x47, 0xdb, 0x41, 0x48, 0xa8}, false};
    slim_random rnd = {fill, &f};
    char text[37];

    cr_assert_eq(slim_uuid4(&rnd, text), SLIM_OK);
    cr_assert_str_eq(text, "919108f7-52d1-4320-9bac-f847db4148a8");
    f.bytes[6] |= 0xf0;
    f.bytes[8] |= 0xc0;
    cr_assert_eq(slim_uuid4(&rnd, text), SLIM_OK);
    cr_assert_str_eq(text, "919108f7-52d1-4320-9bac-f847db4148a8");
    f.bytes[6] &= 0x0f;
    f.bytes[8] &= 0x3f;
    cr_assert_eq(slim_uuid4(&rnd, text), SLIM_OK);
    cr_assert_str_eq(text, "919108f7-52d1-4320-9bac-f847db4148a8");
}

Test(uuid, extremes)
{
    fixed f = {{0}, false};
    slim_random rnd = {fill, &f};
    char text[37];

    cr_assert_eq(slim_uuid4(&rnd, text), SLIM_OK);
    cr_assert_str_eq(text, "00000000-0000-4000-8000-000000000000");
    memset(f.bytes, 0xff, sizeof(f.bytes));
    cr_assert_eq(slim_uuid4(&rnd, text), SLIM_OK);
    cr_assert_str_eq(text, "ffffffff-ffff-4fff-bfff-ffffffffffff");
}

Test(uuid, no_randomness)
{
    fixed f = {{0}, true};
    slim_random rnd = {fill, &f};
    char text[37] = "as it was";

    cr_assert_eq(slim_uuid4(&rnd, text), SLIM_E_CRYPTO);
    cr_assert_str_eq(text, "as it was");
}

Test(uuid, the_library_gives_others_each_time)
{
    char text[100][37];

    for (int i = 0; i < 100; i++) {
        cr_assert_eq(slim_uuid4(&slim_random_openssl, text[i]), SLIM_OK);
        cr_assert_eq(strlen(text[i]), 36);
        for (int k = 0; k < i; k++)
            cr_assert_str_neq(text[k], text[i]);
    }
}

Test(uuid, the_librarys_generator)
{
    uint8_t a[64] = {0}, b[64] = {0};

    cr_assert(slim_random_openssl.fill(slim_random_openssl.arg, a, sizeof(a)));
    cr_assert(slim_random_openssl.fill(slim_random_openssl.arg, b, sizeof(b)));
    cr_assert_neq(memcmp(a, b, sizeof(a)), 0);
    cr_assert(slim_random_openssl.fill(slim_random_openssl.arg, a, 0));
    cr_assert_not(slim_random_openssl.fill(slim_random_openssl.arg, a, (size_t)INT32_MAX + 1), "the library counts in int");
}
