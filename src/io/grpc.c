#include "io/grpc.h"

#define FIRST_BLOCK_BYTES 16384u

static void block_drop(slim_grpc *g, slim_purse *purse)
{
    if (g->block == NULL)
        return;
    slim_purse_add(purse, -(int64_t)g->block->cap_bytes);
    slim_buf_unref(g->block);
    g->block = NULL;
    g->delivered = false;
}

static void message_drop(slim_grpc *g, slim_purse *purse)
{
    block_drop(g, purse);
    if (g->promised_bytes != 0)
        slim_budget_release_xt(purse->budget, g->promised_bytes);
    g->promised_bytes = 0;
}

void slim_grpc_reset(slim_grpc *g, slim_purse *purse)
{
    message_drop(g, purse);
    *g = (slim_grpc){.n_prefix = 0};
}

void slim_grpc_settle(slim_grpc *g, slim_purse *purse)
{
    if (g->delivered)
        message_drop(g, purse);
}

/* Room for n more bytes: at least doubled, at most what the message needs. */
static slim_err block_grow(slim_grpc *g, size_t n, const slim_grpc_room *room)
{
    slim_budget *b = room->purse->budget;
    size_t want = g->got + n, cap = g->block != NULL ? (size_t)g->block->cap_bytes * 2 : FIRST_BLOCK_BYTES;
    slim_buf *bigger;

    if (g->block != NULL && g->block->cap_bytes >= want)
        return SLIM_OK;
    if (want > room->window_bytes && g->promised_bytes == 0) {
        if (!slim_budget_promise_xt(b, g->need - room->window_bytes, b->limit_bytes))
            return SLIM_E_NOMEM;
        g->promised_bytes = g->need - room->window_bytes;
    }
    while (cap < want)
        cap *= 2;
    if (cap > g->need)
        cap = g->need;
    if ((bigger = slim_block_new(room->mem, cap)) == NULL)
        return SLIM_E_NOMEM;
    if (g->block != NULL)
        memcpy(bigger->mem, g->block->mem, g->got);
    block_drop(g, room->purse);
    g->block = bigger;
    slim_purse_add(room->purse, (int64_t)bigger->cap_bytes);
    return SLIM_OK;
}

static slim_err prefix_check(slim_grpc *g, uint32_t max_bytes)
{
    g->need = (uint32_t)g->prefix[1] << 24 | (uint32_t)g->prefix[2] << 16 | (uint32_t)g->prefix[3] << 8 | g->prefix[4];
    if (g->prefix[0] != 0)
        return SLIM_E_PROTOCOL;
    return g->need > max_bytes ? SLIM_E_TOO_LARGE : SLIM_OK;
}

slim_err slim_grpc_next(slim_grpc *g, slim_bytes *in, slim_buf *hold, const slim_grpc_room *room, slim_bytes *msg,
                        slim_buf **msg_hold)
{
    size_t n;
    slim_err e;

    slim_grpc_settle(g, room->purse);
    if (g->n_prefix < SLIM_GRPC_PREFIX_BYTES) {
        while (g->n_prefix < SLIM_GRPC_PREFIX_BYTES && in->n > 0) {
            g->prefix[g->n_prefix++] = *in->p++;
            in->n--;
        }
        if (g->n_prefix < SLIM_GRPC_PREFIX_BYTES)
            return SLIM_E_AGAIN;
        if ((e = prefix_check(g, room->max_bytes)) != SLIM_OK)
            return e;
    }
    if (g->got == 0 && in->n >= g->need) {
        *msg = slim_bytes_of(in->p, g->need);
        *msg_hold = hold;
        in->p += g->need;
        in->n -= g->need;
        g->n_prefix = 0;
        return SLIM_OK;
    }
    if (in->n == 0)
        return SLIM_E_AGAIN;
    n = g->need - g->got;
    if (n > in->n)
        n = in->n;
    if ((e = block_grow(g, n, room)) != SLIM_OK)
        return e;
    memcpy(g->block->mem + g->got, in->p, n);
    g->got += (uint32_t)n;
    in->p += n;
    in->n -= n;
    if (g->got < g->need)
        return SLIM_E_AGAIN;
    *msg = slim_bytes_of(g->block->mem, g->need);
    *msg_hold = g->block;
    g->delivered = true;
    g->n_prefix = 0;
    g->got = 0;
    return SLIM_OK;
}
