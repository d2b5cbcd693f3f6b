#include "core/mem.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static void *libc_resize(slim_mem *self, void *p, size_t n)
{
    (void)self;
    return realloc(p, n);
}

static void libc_release(slim_mem *self, void *p)
{
    (void)self;
    free(p);
}

slim_mem slim_mem_libc = {libc_resize, libc_release};

void *slim_zalloc(slim_mem *m, size_t count, size_t size)
{
    void *p;

    if (size != 0 && count > SIZE_MAX / size)
        return NULL;
    if ((p = slim_alloc(m, count * size)) != NULL)
        memset(p, 0, count * size);
    return p;
}
