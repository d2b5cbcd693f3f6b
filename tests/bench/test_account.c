#include <criterion/criterion.h>

#include "bench/account.h"
#include "support/support.h"

static bench_account a;
static bench_tally sum;

static void take(uint64_t sequence)
{
    bench_account_take(&a, &slim_mem_libc, sequence);
}

static void close_with(uint64_t sent)
{
    bench_account_close(&a, &slim_mem_libc, sent, &sum);
}

static void expect(uint64_t lost, uint64_t duplicates, uint64_t reordered, uint64_t corrupt)
{
    cr_expect_eq(sum.lost, lost, "lost %llu", (unsigned long long)sum.lost);
    cr_expect_eq(sum.duplicates, duplicates, "duplicates %llu", (unsigned long long)sum.duplicates);
    cr_expect_eq(sum.reordered, reordered, "reordered %llu", (unsigned long long)sum.reordered);
    cr_expect_eq(sum.corrupt, corrupt, "corrupt %llu", (unsigned long long)sum.corrupt);
}

Test(account, all_in_order)
{
    for (uint64_t i = 0; i < 10000; i++)
        take(i);
    close_with(10000);
    cr_assert_eq(sum.expected, 10000);
    cr_assert_eq(sum.delivered, 10000);
    expect(0, 0, 0, 0);
}

Test(account, nothing_sent)
{
    close_with(0);
    expect(0, 0, 0, 0);
}

Test(account, nothing_came)
{
    close_with(5);
    expect(5, 0, 0, 0);
}

Test(account, lost_at_the_end)
{
    take(0);
    take(1);
    close_with(4);
    expect(2, 0, 0, 0);
}

Test(account, lost_inside)
{
    take(0);
    take(3);
    take(4);
    close_with(5);
    expect(2, 0, 0, 0);
}

Test(account, twice)
{
    take(0);
    take(0);
    take(1);
    take(1);
    close_with(2);
    expect(0, 2, 0, 0);
}

Test(account, tells_what_came_before)
{
    static const struct {
        uint64_t sequence;
        bool is_new;
    } came[] = {{0, true}, {0, false}, {3, true}, {1, true}, {1, false}, {3, false}, {0, false}, {2, true}, {2, false}};

    for (size_t i = 0; i < sizeof(came) / sizeof(*came); i++)
        cr_expect_eq(bench_account_take(&a, &slim_mem_libc, came[i].sequence), came[i].is_new, "at %zu", i);
    close_with(4);
    expect(0, 5, 2, 0);
}

Test(account, swapped)
{
    take(1);
    take(0);
    take(2);
    close_with(3);
    expect(0, 0, 1, 0);
}

Test(account, late_and_then_again)
{
    take(0);
    take(2);
    take(1);
    take(1);
    take(2);
    close_with(3);
    expect(0, 2, 1, 0);
}

/* While one is missing, one that came already is a duplicate and does not fill its place. */
Test(account, twice_beside_a_gap)
{
    take(0);
    take(2);
    take(0);
    close_with(3);
    expect(1, 1, 0, 0);
}

Test(account, late_by_the_whole_window)
{
    take(BENCH_ACCOUNT_WINDOW - 1);
    for (uint64_t i = 1; i < BENCH_ACCOUNT_WINDOW - 1; i++)
        take(i);
    take(0);
    close_with(BENCH_ACCOUNT_WINDOW);
    expect(0, 0, BENCH_ACCOUNT_WINDOW - 1, 0);
}

Test(account, late_beyond_the_window)
{
    uint64_t far = 3 * BENCH_ACCOUNT_WINDOW;

    for (uint64_t i = 1; i <= far; i++)
        take(i);
    take(0);
    take(0); /* nothing is missing any more */
    close_with(far + 1);
    expect(0, 1, 1, 0);
}

Test(account, gap_longer_than_the_window)
{
    uint64_t far = 10 * BENCH_ACCOUNT_WINDOW + 17;

    take(0);
    take(far);
    take(far - 1);
    take(far - 1);
    close_with(far + 1);
    expect(far - 2, 1, 1, 0);
}

Test(account, number_never_sent)
{
    take(0);
    take(9);
    close_with(5);
    cr_assert_eq(sum.corrupt, 1);
}

Test(account, without_numbers)
{
    for (int i = 0; i < 7; i++)
        bench_account_count(&a);
    close_with(9);
    expect(2, 0, 0, 0);
    sum = (bench_tally){0};
    a = (bench_account){0};
    for (int i = 0; i < 7; i++)
        bench_account_count(&a);
    close_with(6);
    expect(0, 1, 0, 0);
}

/* Without memory for the window the sums still hold when nothing came twice. */
static void *no_memory(slim_mem *self, void *p, size_t n)
{
    return NULL;
}
static void no_release(slim_mem *self, void *p) {}

Test(account, without_memory)
{
    slim_mem none = {no_memory, no_release};

    bench_account_take(&a, &none, 2);
    bench_account_take(&a, &none, 0);
    bench_account_take(&a, &none, 3);
    bench_account_close(&a, &none, 4, &sum);
    expect(1, 0, 1, 0);
}

/* Against a plain model: any mixture within the window. */
Test(account, as_the_model)
{
    enum { N = 3000 };
    uint64_t seed = test_seed();

    for (int round = 0; round < 50; round++) {
        uint8_t came[N] = {0};
        uint64_t lost = 0, duplicates = 0, late = 0, highest = 0;
        bool any = false;

        a = (bench_account){0};
        sum = (bench_tally){0};
        for (int i = 0; i < N; i++) {
            uint64_t back = test_rand(&seed) % 50, s = (uint64_t)i < back ? 0 : (uint64_t)i - back;

            if (test_rand(&seed) % 4 != 0)
                s = (uint64_t)i;
            if (test_rand(&seed) % 10 == 0)
                continue;
            duplicates += came[s];
            late += came[s] == 0 && any && s < highest;
            came[s] = 1;
            highest = !any || s > highest ? s : highest;
            any = true;
            take(s);
        }
        for (int i = 0; i < N; i++)
            lost += came[i] == 0;
        close_with(N);
        expect(lost, duplicates, late, 0);
    }
}
