#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "io/ring_int.h"

/* Slabs start this far apart beyond their size: were they all aligned to 64 KiB, the first lines of every slab, the only ones that
 * short messages touch, would compete for the same few places of the cache. */
#define COLOUR_BYTES 320u

static void slab_release(slim_buf *b)
{
    ring_slab *s = (ring_slab *)b;
    ring_pool *p = s->pool;

    s->below = p->top;
    p->top = s;
    p->in_stack++;
}

slim_err ring_pool_init(ring_pool *p, uint32_t slabs, uint32_t slab_bytes)
{
    size_t stride = (((size_t)slab_bytes + 63) & ~(size_t)63) + COLOUR_BYTES;

    *p = (ring_pool){.map_bytes = stride * slabs, .total = slabs, .reserve = slabs / 4, .slab_bytes = slab_bytes};
    if ((p->slabs = calloc(slabs, sizeof(*p->slabs))) == NULL)
        return SLIM_E_NOMEM;
    p->mem = mmap(NULL, p->map_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p->mem == MAP_FAILED) {
        free(p->slabs);
        *p = (ring_pool){0};
        return SLIM_E_NOMEM;
    }
    for (uint32_t i = slabs; i-- > 0;) {
        p->slabs[i].buf = (slim_buf){0, slab_bytes, p->mem + i * stride, slab_release};
        p->slabs[i].pool = p;
        slab_release(&p->slabs[i].buf);
    }
    return SLIM_OK;
}

void ring_pool_fini(ring_pool *p)
{
    if (p->mem != NULL)
        munmap(p->mem, p->map_bytes);
    free(p->slabs);
    *p = (ring_pool){0};
}

slim_buf *ring_pool_take(ring_pool *p)
{
    ring_slab *s = p->top;

    if (s == NULL)
        return NULL;
    p->top = s->below;
    p->in_stack--;
    s->buf.refs = 1;
    return &s->buf;
}
