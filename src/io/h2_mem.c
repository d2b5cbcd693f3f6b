/* The memory of nghttp2. What a session allocates when it is made lives as long as the session, and most of it is a frame buffer of
 * 16 KiB, of which only some 50 bytes are ever written: DATA goes past it. So all of that lies in one block that begins with a
 * page, in the order in which nghttp2 asks. With nghttp2 1.52 the frame buffer then starts 80 bytes before the end of the second
 * page, and the pages behind it stay without memory. Another version may cost more, but works as well. */
#include <stdint.h>
#include <string.h>

#include "io/h2_int.h"

#define PAGE_BYTES 4096u
/* What nghttp2 1.52 asks for, in a size that jemalloc has, less than a page of which is lost before the first whole one. */
#define HOME_BYTES 28672u

static bool at_home(const h2_home *m, const void *p)
{
    return m->block != NULL && (uintptr_t)p - (uintptr_t)m->block < HOME_BYTES;
}

static void *home_take(h2_home *m, size_t n)
{
    uint8_t *p = m->at;
    size_t room = m->open ? (size_t)((uint8_t *)m->block + HOME_BYTES - m->at) : 0;

    if (n > room || (n = (n + 15) & ~(size_t)15) > room)
        return NULL;
    m->at += n;
    return p;
}

static void *mem_malloc(size_t n, void *arg)
{
    h2_home *m = arg;
    void *p;

    /* The first that is not zeroed is the deflater's ring. It is never written, and among its like it stays without memory. */
    if (m->open && !m->passed) {
        m->passed = true;
        return slim_alloc(m->mem, n);
    }
    return (p = home_take(m, n)) != NULL ? p : slim_alloc(m->mem, n);
}

static void mem_free(void *p, void *arg)
{
    h2_home *m = arg;

    if (!at_home(m, p))
        slim_free(m->mem, p);
}

static void *mem_realloc(void *p, size_t n, void *arg)
{
    h2_home *m = arg;
    void *to;
    size_t most;

    if (p == NULL)
        return mem_malloc(n, m);
    if (!at_home(m, p))
        return slim_resize(m->mem, p, n);
    if ((to = slim_alloc(m->mem, n)) == NULL)
        return NULL;
    /* Its size is not known; what lies behind it is ours too. */
    most = (size_t)((uint8_t *)m->block + HOME_BYTES - (uint8_t *)p);
    memcpy(to, p, n < most ? n : most);
    return to;
}

static void *mem_calloc(size_t count, size_t n, void *arg)
{
    h2_home *m = arg;
    void *p = n == 0 || count <= SIZE_MAX / n ? home_take(m, count * n) : NULL;

    return p != NULL ? memset(p, 0, count * n) : slim_zalloc(m->mem, count, n);
}

nghttp2_mem h2_home_open(h2_home *m, slim_mem *mem, bool compact)
{
    *m = (h2_home){.mem = mem, .block = compact ? slim_alloc(mem, HOME_BYTES) : NULL};
    if (m->block != NULL) {
        m->at = (uint8_t *)m->block + (-(uintptr_t)m->block & (PAGE_BYTES - 1));
        m->open = true;
    }
    return (nghttp2_mem){m, mem_malloc, mem_free, mem_calloc, mem_realloc};
}

void h2_home_close(h2_home *m)
{
    m->open = false;
}

void h2_home_free(h2_home *m)
{
    slim_free(m->mem, m->block);
    m->block = NULL;
}
