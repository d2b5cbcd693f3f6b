/* Connections that change from one slim_io to another in the middle of their traffic. */
#include "conn_harness.h"

static slim_io *left_on;
static int n_left;

static void on_left(slim_conn *c, slim_io *io)
{
    left_on = io;
    n_left++;
}

/* A third io, which the server's connection goes to and comes back from. */
static void second_open(net *n, slim_ring_backend backend, slim_io *io)
{
    slim_ring_config cfg = {backend, 32, 0};
    const char *why = "";

    cr_assert_eq(slim_io_init(io, &cfg, &n->mem.mem, &n->budget, &why), SLIM_OK, "%s", why);
    n->server.cfg.left = on_left;
    n_left = 0;
}

static void turn_three(net *n, slim_io *third)
{
    turn_both(n);
    turn(third);
}

static void move(net *n, slim_io *from, slim_io *to, slim_io *third)
{
    int before = n_left;

    slim_conn_leave(n->server.conn);
    WAIT(turn_three(n, third), n_left == before + 1);
    cr_assert_eq(left_on, from);
    cr_assert_eq(from->n_conns, 0);
    cr_assert(slim_conn_join(n->server.conn, to));
    cr_assert_eq(slim_conn_io(n->server.conn), to);
}

/* As in net_close, with the purse of the third. */
static void second_close(net *n, slim_io *io)
{
    io_close(io);
    n->s.purse.unsettled_bytes += io->purse.unsettled_bytes;
}

/* Both ends go, and the third io with them. */
static void part_three(net *n, slim_io *third)
{
    WAIT(turn_three(n, third), n->client.closed && n->server.closed);
    second_close(n, third);
}

CONN_TEST(moves_again_and_again_under_traffic)
{
    uint64_t seed = test_seed();
    slim_io third, *at = &n->s, *other = &third;
    size_t said = 0;
    call *k;

    second_open(n, backend, &third);
    n->server.echo = true;
    talk(n, 1);
    k = &n->client.calls[0];
    for (int round = 0; round < 60; round++) {
        for (size_t i = test_rand(&seed) % 12; i > 0; i--) {
            uint64_t what = test_rand(&seed);

            say(k, said++, what % 7 == 0 ? 100000 + what % 200000 : what % 3000);
        }
        for (uint64_t i = test_rand(&seed) % 4; i > 0; i--)
            turn_three(n, &third);
        move(n, at, other, &third);
        slim_io *was = at;
        at = other;
        other = was;
    }
    WAIT(turn_three(n, &third), k->messages == said);
    cr_assert_eq(n->server.calls[0].messages, said);
    slim_conn_close(n->client.conn);
    part_three(n, &third);
}

CONN_TEST(what_a_paused_stream_kept_moves_along)
{
    slim_io third;
    call *k, *served;

    second_open(n, backend, &third);
    n->server.echo = true;
    n->server.pause_after = 1;
    talk(n, 1);
    k = &n->client.calls[0];
    served = &n->server.calls[0];
    for (size_t i = 0; i < 20; i++)
        say(k, i, 5000);
    WAIT(turn_both(n), served->messages == 1);
    FOR_MS(turn_both(n), 20);
    move(n, &n->s, &third, &third);
    cr_assert_eq(served->messages, 1);
    slim_stream_resume(served->s);
    WAIT(turn_three(n, &third), k->messages == 20);
    slim_conn_close(n->client.conn);
    part_three(n, &third);
}

CONN_TEST(a_receiver_that_does_not_read_delays_the_move)
{
    slim_io third;
    call *served;

    second_open(n, backend, &third);
    talk_on(n, 0, 1);
    served = &n->server.calls[0];
    /* More than the kernels take; the client is left alone. */
    for (size_t i = 0; i < 8; i++)
        say(served, i, 4 * MIB - 16);
    FOR_MS(turn(&n->s), 20);
    slim_conn_leave(n->server.conn);
    FOR_MS(turn(&n->s), 50);
    WAIT(turn_three(n, &third), n_left == 1);
    cr_assert(slim_conn_join(n->server.conn, &third));
    WAIT(turn_three(n, &third), n->client.calls[0].messages == 8);
    slim_conn_close(n->server.conn);
    part_three(n, &third);
}

CONN_TEST(one_that_ends_on_the_way_out_does_not_leave)
{
    slim_io third;

    second_open(n, backend, &third);
    talk(n, 1);
    slim_conn_leave(n->server.conn);
    slim_conn_abort(n->client.conn, SLIM_OK, "");
    turn(&n->c);
    FOR_MS(turn(&n->c), 5);
    part_three(n, &third);
    cr_assert_eq(n_left, 0);
}

CONN_TEST(one_that_is_closed_on_the_way_out_still_says_all)
{
    slim_io third;

    second_open(n, backend, &third);
    talk(n, 1);
    slim_conn_leave(n->server.conn);
    say(&n->server.calls[0], 0, 70000);
    turn(&n->s);
    slim_conn_close(n->server.conn);
    WAIT(turn_three(n, &third), n->client.calls[0].messages == 1);
    part_three(n, &third);
    cr_assert_eq(n_left, 0);
}

CONN_TEST(one_that_nobody_goes_on_with_is_freed)
{
    slim_io third;

    second_open(n, backend, &third);
    talk(n, 1);
    say(&n->client.calls[0], 0, 1000);
    slim_conn_leave(n->server.conn);
    WAIT(turn_three(n, &third), n_left == 1);
    slim_conn_discard(n->server.conn);
    cr_assert(n->server.calls[0].gone);
    WAIT(turn_three(n, &third), n->client.closed);
    second_close(n, &third);
}
