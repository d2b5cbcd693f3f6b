#include <criterion/criterion.h>

#include "node/acks.h"
#include "support/support.h"

static slim_ack_owner owner(uint64_t op)
{
    return (slim_ack_owner){op, (uint16_t)(op % 7)};
}

Test(acks, first_come_first_served)
{
    slim_acks a;
    slim_ack_owner o;

    slim_acks_init(&a, &slim_mem_libc);
    cr_assert_not(slim_acks_take(&a, 1, &o), "nothing waits in a fresh table");
    for (uint64_t op = 1; op <= 3; op++)
        cr_assert_eq(slim_acks_add(&a, 42, owner(op), 0), SLIM_OK);
    cr_assert_eq(slim_acks_add(&a, 43, owner(9), 0), SLIM_OK);
    for (uint64_t op = 1; op <= 3; op++) {
        cr_assert(slim_acks_take(&a, 42, &o));
        cr_assert_eq(o.op, op);
        cr_assert_eq(o.worker, op % 7);
    }
    cr_assert_not(slim_acks_take(&a, 42, &o));
    cr_assert(slim_acks_take_any(&a, &o));
    cr_assert_eq(o.op, 9);
    cr_assert_not(slim_acks_take_any(&a, &o));
    slim_acks_free(&a);
}

Test(acks, old_entries_are_forgotten)
{
    test_mem m;
    slim_acks a;
    slim_ack_owner o;

    test_mem_init(&m, -1);
    slim_acks_init(&a, &m.mem);
    for (uint64_t i = 0; i < 1000; i++)
        cr_assert_eq(slim_acks_add(&a, i, owner(i), 0), SLIM_OK);
    cr_assert_eq(slim_acks_add(&a, 5000, owner(5000), SLIM_ACKS_KEEP_NS + 1), SLIM_OK);
    cr_assert_eq(a.n, 1, "a peer that never answers must not grow the table: %u left", a.n);
    cr_assert_not(slim_acks_take(&a, 7, &o));
    cr_assert(slim_acks_take(&a, 5000, &o));
    slim_acks_free(&a);
    cr_assert_eq(m.live, 0);
}

Test(acks, random_against_a_list)
{
    enum { MAX = 400 };
    struct {
        uint64_t id, op;
    } list[MAX];
    uint64_t seed = test_seed(), op = 0;
    slim_acks a;
    uint32_t n = 0;

    slim_acks_init(&a, &slim_mem_libc);
    for (int step = 0; step < 20000; step++) {
        uint64_t id = test_rand(&seed) % 16;
        slim_ack_owner o;

        if (n < MAX && test_rand(&seed) % 2 == 0) {
            list[n].id = id;
            list[n++].op = ++op;
            cr_assert_eq(slim_acks_add(&a, id, owner(op), (uint64_t)step), SLIM_OK);
        } else {
            uint32_t i = 0;

            while (i < n && list[i].id != id)
                i++;
            cr_assert_eq(slim_acks_take(&a, id, &o), i < n);
            if (i < n) {
                cr_assert_eq(o.op, list[i].op);
                memmove(&list[i], &list[i + 1], (n - i - 1) * sizeof(*list));
                n--;
            }
        }
        cr_assert_eq(a.n, n);
    }
    slim_acks_free(&a);
}

Test(acks, no_memory)
{
    for (long at = 0; at < 2; at++) {
        test_mem m;
        slim_acks a;

        test_mem_init(&m, at);
        slim_acks_init(&a, &m.mem);
        cr_assert_eq(slim_acks_add(&a, 1, owner(1), 0), SLIM_E_NOMEM);
        cr_assert_eq(a.n, 0);
        cr_assert_eq(slim_acks_add(&a, 1, owner(1), 0), SLIM_OK);
        slim_acks_free(&a);
        cr_assert_eq(m.live, 0);
    }
}

/* Far more ids than buckets: chains are long, and taking from their middle keeps the rest. */
Test(acks, ids_that_share_a_bucket)
{
    enum { IDS = 5 * SLIM_ACKS_BUCKETS };
    static uint32_t order[IDS];
    uint64_t seed = test_seed();
    slim_ack_owner o;
    slim_acks a;

    slim_acks_init(&a, &slim_mem_libc);
    for (uint64_t turn = 0; turn < 2; turn++)
        for (uint64_t id = 0; id < IDS; id++)
            cr_assert_eq(slim_acks_add(&a, id << 32, owner(id + turn * IDS), 0), SLIM_OK);
    for (uint32_t i = 0; i < IDS; i++) {
        uint32_t k = (uint32_t)(test_rand(&seed) % (i + 1));

        order[i] = order[k];
        order[k] = i;
    }
    for (uint64_t turn = 0; turn < 2; turn++) {
        for (uint32_t i = 0; i < IDS; i++) {
            cr_assert(slim_acks_take(&a, (uint64_t)order[i] << 32, &o));
            cr_assert_eq(o.op, order[i] + turn * IDS);
        }
    }
    cr_assert_eq(a.n, 0);
    cr_assert_not(slim_acks_take_any(&a, &o));
    slim_acks_free(&a);
}

/* A link that ended hands out its waiters by age, also when some were answered. */
Test(acks, leftovers_by_age)
{
    slim_ack_owner o;
    slim_acks a;

    slim_acks_init(&a, &slim_mem_libc);
    for (uint64_t op = 0; op < 100; op++)
        cr_assert_eq(slim_acks_add(&a, op % 10, owner(op), op), SLIM_OK);
    for (uint64_t id = 0; id < 10; id += 3)
        cr_assert(slim_acks_take(&a, id, &o));
    for (uint64_t op = 0; op < 100; op++) {
        if (op < 10 && op % 3 == 0)
            continue;
        cr_assert(slim_acks_take_any(&a, &o));
        cr_assert_eq(o.op, op);
    }
    cr_assert_not(slim_acks_take_any(&a, &o));
    slim_acks_free(&a);
}

/* Exactly the age that is kept, and one more. */
Test(acks, age_limit)
{
    slim_ack_owner o;
    slim_acks a;

    slim_acks_init(&a, &slim_mem_libc);
    cr_assert_eq(slim_acks_add(&a, 1, owner(1), 1000), SLIM_OK);
    cr_assert_eq(slim_acks_add(&a, 2, owner(2), 1001), SLIM_OK);
    cr_assert_eq(slim_acks_add(&a, 3, owner(3), 1000 + SLIM_ACKS_KEEP_NS), SLIM_OK);
    cr_assert_eq(a.n, 3);
    cr_assert_eq(slim_acks_add(&a, 4, owner(4), 1001 + SLIM_ACKS_KEEP_NS), SLIM_OK);
    cr_assert_eq(a.n, 3);
    cr_assert_not(slim_acks_take(&a, 1, &o));
    cr_assert(slim_acks_take(&a, 2, &o));
    slim_acks_free(&a);
}
