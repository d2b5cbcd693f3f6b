#include <criterion/criterion.h>

#include "core/name.h"

/* data-plane.md 3 */
Test(name, component_hash)
{
    char longest[300];

    cr_expect_eq(slim_component_hash(slim_bytes_str("org")), 0x873e580376ea963bu);
    cr_expect_eq(slim_component_hash(slim_bytes_str("ns")), 0xeef9769a4c6990d1u);
    cr_expect_eq(slim_component_hash(slim_bytes_str("bob")), 0x49ae1b437ae573c4u);
    cr_expect_eq(slim_component_hash(slim_bytes_str("alice")), 8903823788458029442u);
    memset(longest, 'x', sizeof longest);
    cr_expect_neq(slim_component_hash(slim_bytes_of(longest, 300)), slim_component_hash(slim_bytes_of(longest, 299)));
    /* An empty component is the hash of the one appended byte. */
    cr_expect_eq(slim_component_hash(slim_bytes_of(NULL, 0)), slim_component_hash(slim_bytes_str("")));
    cr_expect_neq(slim_component_hash(slim_bytes_str("")), slim_component_hash(slim_bytes_str("\xff")));
}

Test(name, id_text)
{
    char out[SLIM_ID_TEXT];

    cr_expect_str_eq(slim_id_text((slim_id){0xbefe6c3360f4300cu, 0x574d11236d1678e2u}, out),
                     "befe6c33-60f4-300c-574d-11236d1678e2");
    cr_expect_str_eq(slim_id_text((slim_id){0, 7}, out), "00000000-0000-0000-0000-000000000007");
    cr_expect_str_eq(slim_id_text(SLIM_ID_NULL, out), "NULL_COMPONENT");
    cr_expect_str_eq(slim_id_text((slim_id){UINT64_MAX, UINT64_MAX - 1}, out), "ffffffff-ffff-ffff-ffff-fffffffffffe");
}

static slim_name named(const char *a, const char *b, const char *c)
{
    return (slim_name){.present = true,
                       .has_name = true,
                       .has_str = true,
                       .key = {{1, 2, 0xabcdef0123456789u}},
                       .str = {slim_bytes_str(a), slim_bytes_str(b), slim_bytes_str(c)}};
}

Test(name, text)
{
    slim_name n = named("org", "ns", "bob");
    char out[64];

    cr_expect_str_eq(slim_name_text(&n, out, sizeof out), "org/ns/bob");
    n.has_str = false;
    cr_expect_str_eq(slim_name_text(&n, out, sizeof out), "0000000000000001/0000000000000002/abcdef0123456789");
    cr_expect_str_eq(slim_name_text(&n, out, 5), "0000");
    n = named("", "", "");
    cr_expect_str_eq(slim_name_text(&n, out, sizeof out), "//");
}

Test(name, text_is_cut)
{
    slim_name n = named("org", "ns", "bob"), accent = named("a\xc3\xa9z", "n", "s");
    const char *whole = "org/ns/bob";
    char out[64];

    for (size_t room = 1; room <= 11; room++) {
        memset(out, '#', sizeof out);
        slim_name_text(&n, out, room);
        cr_expect_eq(strlen(out), room - 1);
        cr_expect_eq(strncmp(out, whole, room - 1), 0, "%s", out);
        cr_expect_eq(out[room], '#', "wrote past the end");
    }
    out[0] = '#';
    slim_name_text(&n, out, 0);
    cr_expect_eq(out[0], '#');
    cr_expect_str_eq(slim_name_text(&accent, out, 3), "a", "half a character is left away");
    cr_expect_str_eq(slim_name_text(&accent, out, 4), "a\xc3\xa9");
}

Test(name, text_hides_nothing_behind_nul)
{
    slim_name n = named("org", "ns", "");
    char out[64];

    n.str[2] = slim_bytes_of("a\0b", 3);
    cr_expect_str_eq(slim_name_text(&n, out, sizeof out), "org/ns/a?b");
}
