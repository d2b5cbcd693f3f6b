#include <criterion/criterion.h>
#include <stdlib.h>

#include "io/grpc.h"
#include "support/support.h"

#define MAX 1000000u
#define WINDOW 65536u

typedef struct fixture {
    test_mem mem;
    slim_budget budget;
    slim_purse purse;
    slim_grpc g;
    slim_bytes msg;
    slim_buf *hold;
} fixture;

static void setup(fixture *f)
{
    *f = (fixture){.budget.limit_bytes = 1 << 30};
    test_mem_init(&f->mem, -1);
    f->purse.budget = &f->budget;
}

static void teardown(fixture *f)
{
    slim_grpc_reset(&f->g, &f->purse);
    cr_assert_eq(f->mem.live, 0);
    cr_assert_eq(f->purse.unsettled_bytes + f->budget.used_bytes, 0);
    cr_assert_eq(f->budget.promised_bytes, 0);
}

static slim_err next(fixture *f, slim_bytes *in, slim_buf *hold, uint32_t max)
{
    slim_grpc_room room = {max, WINDOW, &f->mem.mem, &f->purse};

    return slim_grpc_next(&f->g, in, hold, &room, &f->msg, &f->hold);
}

Test(grpc, prefix)
{
    uint8_t out[5];

    slim_grpc_prefix(out, 0x01020304);
    cr_assert_arr_eq(out, "\0\1\2\3\4", 5);
}

Test(grpc, whole_messages_are_not_copied)
{
    fixture f;
    slim_buf *hold = slim_block_new(&slim_mem_libc, 32);
    slim_bytes in = slim_bytes_of(hold->mem, 16);

    setup(&f);
    memcpy(hold->mem, "\0\0\0\0\3abc\0\0\0\0\0\0\0\0", 16);
    cr_assert_eq(next(&f, &in, hold, MAX), SLIM_OK);
    cr_assert(f.msg.p == hold->mem + 5 && f.msg.n == 3 && f.hold == hold);
    cr_assert_not(slim_grpc_partial(&f.g));
    cr_assert_eq(next(&f, &in, hold, MAX), SLIM_OK);
    cr_assert_eq(f.msg.n, 0);
    cr_assert_eq(in.n, 3);
    cr_assert_eq(next(&f, &in, hold, MAX), SLIM_E_AGAIN);
    cr_assert_eq(in.n, 0);
    cr_assert(slim_grpc_partial(&f.g));
    cr_assert_eq(f.mem.calls, 0);
    /* Without a hold the message lies in the input all the same. */
    slim_grpc_reset(&f.g, &f.purse);
    in = slim_bytes_of(hold->mem, 8);
    cr_assert_eq(next(&f, &in, NULL, MAX), SLIM_OK);
    cr_assert(f.msg.p == hold->mem + 5 && f.hold == NULL);
    slim_buf_unref(hold);
    teardown(&f);
}

Test(grpc, limits)
{
    fixture f;
    slim_bytes in;

    setup(&f);
    in = slim_bytes_of("\0\0\0\0\x0a", 5);
    cr_assert_eq(next(&f, &in, NULL, 10), SLIM_E_AGAIN, "exactly the limit");
    slim_grpc_reset(&f.g, &f.purse);
    in = slim_bytes_of("\0\0\0\0\x0b", 5);
    cr_assert_eq(next(&f, &in, NULL, 10), SLIM_E_TOO_LARGE);
    slim_grpc_reset(&f.g, &f.purse);
    in = slim_bytes_of("\0\xff\xff\xff\xff", 5);
    cr_assert_eq(next(&f, &in, NULL, 10), SLIM_E_TOO_LARGE);
    slim_grpc_reset(&f.g, &f.purse);
    in = slim_bytes_of("\1\0\0\0\0", 5);
    cr_assert_eq(next(&f, &in, NULL, 10), SLIM_E_PROTOCOL);
    slim_grpc_reset(&f.g, &f.purse);
    in = slim_bytes_of("\2\0\0\0\0", 5);
    cr_assert_eq(next(&f, &in, NULL, 10), SLIM_E_PROTOCOL);
    teardown(&f);
}

Test(grpc, memory_grows_with_what_arrives)
{
    fixture f;
    uint8_t *zeros = calloc(1, 1 << 20);
    slim_bytes in = slim_bytes_of("\0\0\x10\0\0", 5);
    size_t at = 0;

    setup(&f);
    cr_assert_eq(next(&f, &in, NULL, 1 << 20), SLIM_E_AGAIN);
    cr_assert_eq(f.mem.calls, 0);
    while (at < (1 << 20)) {
        in = slim_bytes_of(zeros + at, 1024);
        at += 1024;
        cr_assert_eq(next(&f, &in, NULL, 1 << 20), at == 1 << 20 ? SLIM_OK : SLIM_E_AGAIN);
        cr_assert_leq(f.purse.unsettled_bytes + f.budget.used_bytes, (int64_t)(at * 2 > 16384 ? at * 2 : 16384));
        cr_assert_leq(f.mem.live, 1);
    }
    cr_assert_eq(f.msg.n, 1 << 20);
    cr_assert_eq(f.hold->cap_bytes, 1 << 20, "exact at the end");
    /* Handed out: it lives on by a reference, and is no longer charged after the next call. */
    slim_buf_ref(f.hold);
    in = slim_bytes_of("\0", 1);
    next(&f, &in, NULL, MAX);
    cr_assert_eq(f.purse.unsettled_bytes + f.budget.used_bytes, 0);
    cr_assert_eq(f.mem.live, 1);
    slim_buf_unref(f.hold);
    free(zeros);
    teardown(&f);
}

Test(grpc, no_memory_is_told_and_can_be_tried_again)
{
    fixture f;
    slim_bytes in = slim_bytes_of("\0\0\0\0\4ab", 7);

    setup(&f);
    f.mem.fail_at = 0;
    cr_assert_eq(next(&f, &in, NULL, MAX), SLIM_E_NOMEM);
    cr_assert_eq(in.n, 2, "what could not be taken is still there");
    f.mem.fail_at = -1;
    cr_assert_eq(next(&f, &in, NULL, MAX), SLIM_E_AGAIN);
    in = slim_bytes_of("cd", 2);
    cr_assert_eq(next(&f, &in, NULL, MAX), SLIM_OK);
    cr_assert(slim_bytes_eq(f.msg, slim_bytes_str("abcd")));
    teardown(&f);
}

/* Random messages in pieces of random length come out as they went in. */
Test(grpc, random_splits)
{
    uint64_t seed = test_seed();

    for (int round = 0; round < 300; round++) {
        size_t sizes[40], total = 0, at = 0, n_messages = 1 + test_rand(&seed) % 40, got = 0, fill = 0;
        uint8_t *body;
        fixture f;

        setup(&f);
        for (size_t i = 0; i < n_messages; i++) {
            sizes[i] = test_rand(&seed) % (test_rand(&seed) % 8 == 0 ? 70000 : 50);
            total += 5 + sizes[i];
        }
        body = malloc(total);
        for (size_t i = 0; i < n_messages; i++) {
            slim_grpc_prefix(body + fill, (uint32_t)sizes[i]);
            for (size_t k = 0; k < sizes[i]; k++)
                body[fill + 5 + k] = (uint8_t)(i + k);
            fill += 5 + sizes[i];
        }
        fill = 5; /* of the message that is awaited */
        while (at < total) {
            size_t n = test_rand(&seed) % (round % 2 == 0 ? 30 : 30000);
            slim_buf *hold;
            slim_bytes in;

            n = n > total - at ? total - at : n;
            hold = slim_block_new(&slim_mem_libc, n);
            memcpy(hold->mem, body + at, n);
            in = slim_bytes_of(hold->mem, n);
            while (next(&f, &in, hold, MAX) == SLIM_OK) {
                cr_assert_lt(got, n_messages);
                cr_assert(slim_bytes_eq(f.msg, slim_bytes_of(body + fill, sizes[got])), "message %zu of round %d", got, round);
                fill += sizes[got] + 5;
                got++;
            }
            cr_assert_eq(in.n, 0);
            slim_buf_unref(hold);
            at += n;
        }
        cr_assert_eq(got, n_messages);
        cr_assert_not(slim_grpc_partial(&f.g));
        free(body);
        teardown(&f);
    }
}

/* What goes beyond the window is promised as a whole, once, and only within the limit. */
Test(grpc, a_message_beyond_the_window_needs_a_promise)
{
    uint8_t *zeros = calloc(1, MAX);
    slim_bytes in = slim_bytes_of("\0\0\4\0\0", 5), rest;
    fixture f;

    setup(&f);
    f.budget.limit_bytes = 262144;
    cr_assert_eq(next(&f, &in, NULL, MAX), SLIM_E_AGAIN);
    in = slim_bytes_of(zeros, WINDOW);
    cr_assert_eq(next(&f, &in, NULL, MAX), SLIM_E_AGAIN);
    cr_assert_eq(f.budget.promised_bytes, 0, "the window bears it");

    f.budget.promised_bytes = WINDOW + 1;
    rest = slim_bytes_of(zeros, 262144 - WINDOW);
    cr_assert_eq(next(&f, &rest, NULL, MAX), SLIM_E_NOMEM);
    cr_assert_eq(f.budget.promised_bytes, WINDOW + 1);
    f.budget.promised_bytes = WINDOW;
    in = slim_bytes_of(rest.p, 1);
    cr_assert_eq(next(&f, &in, NULL, MAX), SLIM_E_AGAIN);
    cr_assert_eq(f.budget.promised_bytes, 262144);
    in = slim_bytes_of(rest.p + 1, rest.n - 1);
    cr_assert_eq(next(&f, &in, NULL, MAX), SLIM_OK);
    cr_assert_eq(f.msg.n, 262144);
    slim_grpc_settle(&f.g, &f.purse);
    cr_assert_eq(f.budget.promised_bytes, WINDOW);

    /* And one that never comes to its end gives it back. */
    in = slim_bytes_of("\0\0\4\0\0", 5);
    cr_assert_eq(next(&f, &in, NULL, MAX), SLIM_E_AGAIN);
    in = slim_bytes_of(zeros, 100000);
    cr_assert_eq(next(&f, &in, NULL, MAX), SLIM_E_AGAIN);
    cr_assert_eq(f.budget.promised_bytes, 262144);
    slim_grpc_reset(&f.g, &f.purse);
    cr_assert_eq(f.budget.promised_bytes, WINDOW);
    f.budget.promised_bytes = 0;
    free(zeros);
    teardown(&f);
}
