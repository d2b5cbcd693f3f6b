/* Which of the messages of one sender came to one receiver: each once, in order, or not. */
#ifndef SLIM_BENCH_ACCOUNT_H
#define SLIM_BENCH_ACCOUNT_H

#include <stdbool.h>
#include <stdint.h>

#include "core/mem.h"

/* A message that comes this many sequence numbers late is still told from a duplicate for certain. */
#define BENCH_ACCOUNT_WINDOW 4096u

/* Zero is an empty one. */
typedef struct bench_account {
    uint64_t next; /* expected; the sender counts from 0 */
    uint64_t received, missing, duplicates, reordered;
    uint64_t uncounted; /* came without a sequence number */
    uint64_t *seen;     /* ring of bits, made at the first gap */
} bench_account;

typedef struct bench_tally {
    uint64_t expected, delivered, lost, duplicates, reordered, corrupt;
} bench_tally;

/* False: it came before. */
bool bench_account_take(bench_account *a, slim_mem *m, uint64_t sequence);
/* For a message that is too short to carry a number: only how many came can be told. */
void bench_account_count(bench_account *a);
/* Adds what the account says about a sender that sent so many. A number beyond them counts as corrupt. */
void bench_account_close(bench_account *a, slim_mem *m, uint64_t sent, bench_tally *sum);

#endif
