#include <criterion/criterion.h>
#include <stdlib.h>

#include "bench/message.h"
#include "core/head.h"
#include "support/support.h"

static slim_name source, destination;
static const uint8_t key[SLIM_MAC_KEY_BYTES] = {1, 2, 3};

static void name_fill(slim_name *n, const char *app, uint64_t id)
{
    static const char *const first[2] = {"slimbench", "run"};

    *n = (slim_name){
        .present = true, .has_name = true, .has_id = id != 0, .has_str = true, .id = id != 0 ? (slim_id){0, id} : SLIM_ID_NULL};
    for (int i = 0; i < 3; i++) {
        n->str[i] = slim_bytes_str(i < 2 ? first[i] : app);
        n->key.c[i] = slim_component_hash(n->str[i]);
    }
}

static void names_fill(void)
{
    name_fill(&source, "p1", 2);
    name_fill(&destination, "s1", 7);
}

TestSuite(message, .init = names_fill);

static uint8_t *written(bench_message *m, slim_mac *mac, bench_stamp stamp, size_t payload_n, slim_view *v)
{
    size_t n = bench_message_size(m, payload_n);
    uint8_t *p = malloc(n + 1);

    p[n] = 0xee;
    bench_message_put(m, mac, stamp, payload_n, p);
    cr_assert_eq(p[n], 0xee, "more than bench_message_size said");
    cr_assert_eq(slim_view_scan(slim_bytes_of(p, n), v), SLIM_OK);
    cr_assert_eq(slim_view_validate(v), SLIM_OK);
    cr_assert(v->plain);
    cr_assert_eq(v->type, SLIM_MSG_PUBLISH);
    return p;
}

Test(message, reads_as_written)
{
    static const size_t payloads[] = {0, 1, 16, 64, 100, 127, 128, 16000, 16384, 300000, 3000000};
    static const size_t identities[] = {0, 1, 16, 229, 16384};

    for (size_t i = 0; i < sizeof(identities) / sizeof(*identities); i++) {
        bench_message m;

        cr_assert_eq(bench_message_make(&m, &slim_mem_libc, &source, &destination, identities[i], 256, true), SLIM_OK);
        for (size_t k = 0; k < sizeof(payloads) / sizeof(*payloads); k++) {
            bench_stamp stamp = {k, 42}, read = {0, 0};
            slim_bytes payload;
            slim_view v;
            uint8_t *p = written(&m, NULL, stamp, payloads[k], &v);

            cr_assert(slim_key_eq(&v.source.key, &source.key) && slim_id_eq(v.source.id, source.id));
            cr_assert(slim_key_eq(&v.destination.key, &destination.key) && slim_id_eq(v.destination.id, destination.id));
            cr_assert(slim_bytes_eq(v.destination.str[2], destination.str[2]));
            cr_assert_eq(v.identity.n, identities[i]);
            cr_assert_eq(v.fanout, 256);
            cr_assert_eq(v.mac.n, SLIM_MAC_TAG_BYTES);
            cr_assert(bench_payload_find(&v, &payload));
            cr_assert_eq(payload.n, payloads[k]);
            cr_assert_eq(bench_stamp_read(payload, &read), payload.n >= BENCH_STAMP_BYTES);
            cr_assert(bench_payload_check(payload, read));
            free(p);
        }
        bench_message_free(&m);
    }
}

/* The node builds the preimage from what it reads; the tag has to be the one of that. */
Test(message, mac_is_of_the_header_as_read)
{
    slim_mac *mac = slim_mac_new(&slim_mem_libc, key, slim_bytes_str("link"));
    static const size_t identities[] = {0, 5, 16, 229};

    for (size_t i = 0; i < sizeof(identities) / sizeof(*identities); i++) {
        bench_message m;

        cr_assert_eq(bench_message_make(&m, &slim_mem_libc, &source, &destination, identities[i], 1, true), SLIM_OK);
        for (int round = 0; round < 40; round++) {
            uint8_t pre[1024];
            slim_view v;
            uint8_t *p = written(&m, mac, (bench_stamp){0, 0}, 64, &v);

            cr_assert(slim_mac_verify(mac, slim_bytes_of(pre, slim_preimage_build(&v, v.ttl, true, pre)), v.mac));
            free(p);
        }
        bench_message_free(&m);
    }
    slim_mac_free(mac);
}

Test(message, token_is_fresh)
{
    slim_view first, second;
    uint8_t *p, *q;
    bench_message m;

    cr_assert_eq(bench_message_make(&m, &slim_mem_libc, &source, &destination, 229, 1, true), SLIM_OK);
    p = written(&m, NULL, (bench_stamp){0, 0}, 64, &first);
    q = written(&m, NULL, (bench_stamp){1, 0}, 64, &second);
    cr_assert_not(slim_bytes_eq(first.identity, second.identity));
    free(p);
    free(q);
    bench_message_free(&m);
}

Test(message, without_mac)
{
    bench_message m;
    slim_view v;
    uint8_t *p;

    cr_assert_eq(bench_message_make(&m, &slim_mem_libc, &source, &destination, 10, 1, false), SLIM_OK);
    p = written(&m, NULL, (bench_stamp){0, 0}, 64, &v);
    cr_assert_not(v.has_mac);
    free(p);
    bench_message_free(&m);
}

/* A node that encodes anew leaves out an empty payload; what no payload can be in is told apart. */
Test(message, payload_left_out)
{
    static const uint8_t with_type[] = {0x12, 0, 0x1a, 5, 0x0a, 3, 0x0a, 1, 'm'}, no_app[] = {0x12, 0, 0x1a, 0}, none[] = {0x12, 0},
                         cut[] = {0x1a, 5, 0x0a, 3};
    slim_view v = {.tail = slim_bytes_of(with_type, sizeof(with_type)), .member_rest_bytes = sizeof(with_type)};
    slim_bytes payload;

    cr_assert(bench_payload_find(&v, &payload));
    cr_assert_eq(payload.n, 0);
    v = (slim_view){.tail = slim_bytes_of(no_app, sizeof(no_app)), .member_rest_bytes = sizeof(no_app)};
    cr_assert_not(bench_payload_find(&v, &payload));
    v = (slim_view){.tail = slim_bytes_of(none, sizeof(none)), .member_rest_bytes = sizeof(none)};
    cr_assert_not(bench_payload_find(&v, &payload));
    v = (slim_view){.tail = slim_bytes_of(cut, sizeof(cut)), .member_rest_bytes = sizeof(cut)};
    cr_assert_not(bench_payload_find(&v, &payload));
}

Test(message, aim)
{
    slim_mac *mac = slim_mac_new(&slim_mem_libc, key, slim_bytes_str("link"));
    slim_name other;
    bench_message m;
    uint8_t pre[1024], *p;
    slim_view v;

    cr_assert_eq(bench_message_make(&m, &slim_mem_libc, &source, &destination, 229, 1, true), SLIM_OK);
    name_fill(&other, "another-name-that-is-longer", 0);
    bench_message_aim(&m, &source, &other);
    p = written(&m, mac, (bench_stamp){0, 0}, 64, &v);
    cr_assert(slim_key_eq(&v.destination.key, &other.key));
    cr_assert_not(v.destination.has_id);
    cr_assert(slim_mac_verify(mac, slim_bytes_of(pre, slim_preimage_build(&v, v.ttl, true, pre)), v.mac));
    free(p);
    bench_message_free(&m);
    slim_mac_free(mac);
}

Test(message, no_memory)
{
    for (long n = 0; n < 2; n++) {
        test_mem limited;
        bench_message m;

        test_mem_init(&limited, n);
        cr_assert_eq(bench_message_make(&m, &limited.mem, &source, &destination, 229, 1, true), SLIM_E_NOMEM);
        cr_assert_eq(limited.live, 0);
    }
}
