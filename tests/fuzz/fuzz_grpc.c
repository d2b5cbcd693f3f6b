/* The gRPC deframer: random splits give the same messages and the same end as the whole input at once. The first byte seeds the
 * splits. */
#include <stdlib.h>

#include "io/grpc.h"
#include "support/support.h"

#define MAX_BYTES 3000u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct result {
    uint64_t sum;
    size_t messages, bytes;
    slim_err err;
    bool partial;
} result;

static slim_err deframe(slim_grpc *g, slim_bytes piece, slim_purse *purse, result *r, slim_mem *m)
{
    slim_buf *hold = slim_block_new(&slim_mem_libc, piece.n), *msg_hold;
    slim_grpc_room room = {MAX_BYTES, MAX_BYTES / 4, m, purse};
    slim_bytes in, msg;
    slim_err e;

    if (hold == NULL)
        abort();
    if (piece.n > 0)
        memcpy(hold->mem, piece.p, piece.n);
    in = slim_bytes_of(hold->mem, piece.n);
    while ((e = slim_grpc_next(g, &in, hold, &room, &msg, &msg_hold)) == SLIM_OK) {
        if (msg.n > MAX_BYTES || msg_hold == NULL)
            abort();
        r->messages++;
        r->bytes += msg.n;
        for (size_t i = 0; i < msg.n; i++)
            r->sum = r->sum * 31 + msg.p[i] + 1;
    }
    if (e == SLIM_E_AGAIN && in.n != 0)
        abort();
    slim_buf_unref(hold);
    return e;
}

static result run(slim_bytes in, uint64_t seed)
{
    slim_budget budget = {.limit_bytes = 1 << 30};
    slim_purse purse = {&budget, 0};
    slim_grpc g = {0};
    test_mem m;
    result r = {.err = SLIM_E_AGAIN};

    test_mem_init(&m, -1);
    do {
        size_t n = in.n;

        if (seed != 0) {
            n = test_rand(&seed) % (test_rand(&seed) % 2 == 0 ? 8 : 2000);
            n = n > in.n ? in.n : n;
        }
        r.err = deframe(&g, slim_bytes_of(in.p, n), &purse, &r, &m.mem);
        in.p += n;
        in.n -= n;
    } while (in.n > 0 && r.err == SLIM_E_AGAIN);
    r.partial = slim_grpc_partial(&g);
    slim_grpc_reset(&g, &purse);
    if (m.live != 0 || purse.unsettled_bytes + budget.used_bytes != 0)
        abort();
    return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    slim_bytes in;
    result whole, split;

    if (size == 0)
        return 0;
    in = slim_bytes_of(data + 1, size - 1);
    whole = run(in, 0);
    split = run(in, (uint64_t)data[0] << 32 | (size + 1));
    if (whole.sum != split.sum || whole.messages != split.messages || whole.bytes != split.bytes || whole.err != split.err ||
        whole.partial != split.partial)
        abort();
    return 0;
}
