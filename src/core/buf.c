#include "core/buf.h"

typedef struct slim_block {
    slim_buf buf;
    slim_mem *mem;
    uint8_t bytes[];
} slim_block;

static void block_release(slim_buf *b)
{
    slim_block *k = (slim_block *)b;

    slim_free(k->mem, k);
}

slim_buf *slim_block_new(slim_mem *m, size_t n)
{
    slim_block *k;

    if (n > UINT32_MAX - sizeof(*k) || (k = slim_alloc(m, sizeof(*k) + n)) == NULL)
        return NULL;
    k->buf = (slim_buf){1, (uint32_t)n, k->bytes, block_release};
    k->mem = m;
    return &k->buf;
}
