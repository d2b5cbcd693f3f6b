#include "bench/account.h"

#include <string.h>

#define WORDS (BENCH_ACCOUNT_WINDOW / 64)

static uint64_t *word_of(const bench_account *a, uint64_t sequence)
{
    return &a->seen[sequence / 64 % WORDS];
}

static uint64_t bit_of(uint64_t sequence)
{
    return (uint64_t)1 << sequence % 64;
}

static void gap(bench_account *a, slim_mem *m, uint64_t sequence)
{
    uint64_t first = sequence - a->next >= BENCH_ACCOUNT_WINDOW ? sequence - BENCH_ACCOUNT_WINDOW + 1 : a->next;

    a->missing += sequence - a->next;
    if (a->seen == NULL && (a->seen = slim_alloc(m, WORDS * sizeof(*a->seen))) != NULL)
        memset(a->seen, 0xff, WORDS * sizeof(*a->seen));
    for (uint64_t i = first; a->seen != NULL && i < sequence; i++)
        *word_of(a, i) &= ~bit_of(i);
}

/* A number below the expected one: late, or the second time. Beyond the window what is missing is taken to have come late. */
static bool behind(bench_account *a, uint64_t sequence)
{
    bool known = a->seen != NULL && a->next - sequence <= BENCH_ACCOUNT_WINDOW;

    if (a->missing == 0 || (known && (*word_of(a, sequence) & bit_of(sequence)) != 0)) {
        a->duplicates++;
        return false;
    }
    a->reordered++;
    a->missing--;
    if (known)
        *word_of(a, sequence) |= bit_of(sequence);
    return true;
}

bool bench_account_take(bench_account *a, slim_mem *m, uint64_t sequence)
{
    a->received++;
    if (sequence < a->next)
        return behind(a, sequence);
    if (sequence > a->next)
        gap(a, m, sequence);
    if (a->seen != NULL)
        *word_of(a, sequence) |= bit_of(sequence);
    a->next = sequence + 1;
    return true;
}

void bench_account_count(bench_account *a)
{
    a->received++;
    a->uncounted++;
}

void bench_account_close(bench_account *a, slim_mem *m, uint64_t sent, bench_tally *sum)
{
    uint64_t numbered = a->next + a->uncounted;

    sum->expected += sent;
    sum->delivered += a->received;
    sum->duplicates += a->duplicates;
    sum->reordered += a->reordered;
    sum->lost += a->missing;
    if (numbered < sent)
        sum->lost += sent - numbered;
    else if (a->uncounted != 0)
        sum->duplicates += numbered - sent;
    else if (numbered > sent)
        sum->corrupt++;
    slim_free(m, a->seen);
    a->seen = NULL;
}
