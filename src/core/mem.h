/* The allocator that sans-I/O parts take, so that tests can fail the n-th allocation. */
#ifndef SLIM_CORE_MEM_H
#define SLIM_CORE_MEM_H

#include <stddef.h>

typedef struct slim_mem slim_mem;
struct slim_mem {
    /* malloc/realloc/free semantics; NULL means no memory. resize(NULL, n) allocates. */
    void *(*resize)(slim_mem *self, void *p, size_t n);
    void (*release)(slim_mem *self, void *p);
};

/* The C library's heap; callable from any thread. */
extern slim_mem slim_mem_libc;

static inline void *slim_alloc(slim_mem *m, size_t n)
{
    return m->resize(m, NULL, n);
}
static inline void *slim_resize(slim_mem *m, void *p, size_t n)
{
    return m->resize(m, p, n);
}
static inline void slim_free(slim_mem *m, void *p)
{
    if (p != NULL)
        m->release(m, p);
}
/* Zeroed memory for an array; NULL on overflow too. */
void *slim_zalloc(slim_mem *m, size_t count, size_t size);

#endif
