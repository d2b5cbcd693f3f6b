#include "io/sendq.h"

#define CHUNK_MIN_BYTES 2048u
/* An empty queue keeps its ring unless it was deeper than this: a link that was behind once shall not pay for it ever after. */
#define RING_KEEP 64u
/* With its header a chunk still is of a size that jemalloc keeps per thread; a larger one would be mapped and zeroed again and
 * again. */
#define CHUNK_MAX_BYTES (32768u - 64u)

static slim_slice *slice_at(const slim_sendq *q, uint32_t i)
{
    return &q->ring[(q->head + i) & (q->cap - 1)];
}

static slim_err ring_grow(slim_sendq *q)
{
    uint32_t cap = q->cap == 0 ? 8 : q->cap * 2;
    slim_slice *ring;

    if (q->n < q->cap)
        return SLIM_OK;
    if ((ring = slim_alloc(q->mem, cap * sizeof(*ring))) == NULL)
        return SLIM_E_NOMEM;
    for (uint32_t i = 0; i < q->n; i++)
        ring[i] = *slice_at(q, i);
    slim_free(q->mem, q->ring);
    q->ring = ring;
    q->cap = cap;
    q->head = 0;
    return SLIM_OK;
}

static void chunk_close(slim_sendq *q)
{
    if (q->chunk != NULL)
        slim_buf_unref(q->chunk);
    q->chunk = NULL;
}

uint8_t *slim_sendq_reserve(slim_sendq *q, size_t n)
{
    slim_slice *last = q->n > 0 ? slice_at(q, q->n - 1) : NULL;
    uint8_t *room;

    if (q->chunk == NULL || q->chunk->cap_bytes - q->chunk_used < n) {
        size_t size = q->next_chunk < CHUNK_MIN_BYTES ? CHUNK_MIN_BYTES : q->next_chunk;
        slim_buf *chunk;

        if (size < n)
            size = n;
        if (ring_grow(q) != SLIM_OK || (chunk = slim_block_new(q->mem, size)) == NULL)
            return NULL;
        chunk_close(q);
        q->chunk = chunk;
        q->chunk_used = 0;
        q->next_chunk = size * 2 < CHUNK_MAX_BYTES ? size * 2 : CHUNK_MAX_BYTES;
        last = NULL;
    }
    room = q->chunk->mem + q->chunk_used;
    if (last != NULL && !last->foreign && last->buf == q->chunk && last->p + last->n == room) {
        last->n += n;
    } else {
        if (ring_grow(q) != SLIM_OK)
            return NULL;
        *slice_at(q, q->n++) = (slim_slice){room, n, slim_buf_ref(q->chunk), false};
    }
    q->chunk_used += n;
    q->bytes += n;
    return room;
}

slim_err slim_sendq_add(slim_sendq *q, slim_bytes part, slim_buf *hold)
{
    if (part.n == 0)
        return SLIM_OK;
    if (hold == NULL || part.n < SLIM_SENDQ_REF_MIN) {
        uint8_t *room = slim_sendq_reserve(q, part.n);

        if (room == NULL)
            return SLIM_E_NOMEM;
        memcpy(room, part.p, part.n);
        return SLIM_OK;
    }
    if (ring_grow(q) != SLIM_OK)
        return SLIM_E_NOMEM;
    *slice_at(q, q->n++) = (slim_slice){part.p, part.n, slim_buf_ref(hold), true};
    q->bytes += part.n;
    return SLIM_OK;
}

size_t slim_sendq_take(slim_sendq *q, size_t n, slim_slice *out, size_t max, size_t *n_out)
{
    size_t taken = 0, k = 0;

    while (taken < n && q->n > 0 && k < max) {
        slim_slice *s = slice_at(q, 0);
        size_t part = s->n < n - taken ? s->n : n - taken;

        out[k] = (slim_slice){s->p, part, s->buf, s->foreign};
        if (part == s->n) {
            q->head++;
            q->n--;
        } else {
            slim_buf_ref(s->buf);
            s->p += part;
            s->n -= part;
        }
        k++;
        taken += part;
    }
    q->bytes -= taken;
    if (q->n == 0) {
        /* An idle connection keeps no chunk. */
        chunk_close(q);
        if (q->cap > RING_KEEP) {
            slim_free(q->mem, q->ring);
            q->ring = NULL;
            q->cap = q->head = 0;
        }
        if (q->bytes == 0 && taken < CHUNK_MIN_BYTES)
            q->next_chunk = CHUNK_MIN_BYTES;
    }
    *n_out = k;
    return taken;
}

size_t slim_sendq_slices(const slim_sendq *q, size_t n)
{
    size_t seen = 0, k = 0;

    while (seen < n && k < q->n)
        seen += slice_at(q, (uint32_t)k++)->n;
    return k;
}

size_t slim_sendq_evacuate(slim_sendq *q)
{
    size_t moved = 0;

    for (uint32_t i = 0; i < q->n; i++) {
        slim_slice *s = slice_at(q, i);
        slim_buf *own;

        if (!s->foreign || (own = slim_block_new(q->mem, s->n)) == NULL)
            continue;
        memcpy(own->mem, s->p, s->n);
        slim_buf_unref(s->buf);
        *s = (slim_slice){own->mem, s->n, own, false};
        moved += own->cap_bytes;
    }
    return moved;
}

bool slim_sendq_foreign(const slim_sendq *q)
{
    for (uint32_t i = 0; i < q->n; i++)
        if (slice_at(q, i)->foreign)
            return true;
    return false;
}

void slim_sendq_clear(slim_sendq *q)
{
    for (uint32_t i = 0; i < q->n; i++)
        slim_buf_unref(slice_at(q, i)->buf);
    chunk_close(q);
    slim_free(q->mem, q->ring);
    *q = (slim_sendq){.mem = q->mem};
}
