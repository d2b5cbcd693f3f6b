/* Counted buffers that messages lie in. One thread owns a buffer; the count is plain and only the owner touches it. */
#ifndef SLIM_CORE_BUF_H
#define SLIM_CORE_BUF_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include "core/mem.h"

typedef struct slim_buf slim_buf;
struct slim_buf {
    uint32_t refs;
    uint32_t cap_bytes;
    uint8_t *mem;
    /* Called by the unref that takes the last reference. */
    void (*release)(slim_buf *self);
};

static inline slim_buf *slim_buf_ref(slim_buf *b)
{
    assert(b->refs > 0);
    b->refs++;
    return b;
}

static inline void slim_buf_unref(slim_buf *b)
{
    assert(b->refs > 0);
    if (--b->refs == 0)
        b->release(b);
}

/* A heap block of n bytes with one reference, freed with the last. NULL: no memory. m must outlive it. */
slim_buf *slim_block_new(slim_mem *m, size_t n);

#endif
