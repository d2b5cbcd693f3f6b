#include "io/h2_int.h"

/* What nghttp2 asks for when a connection begins is 9 KiB in pieces, which it keeps, and a buffer for frames of which it touches
 * the first bytes only. In one block, with the buffer behind the pieces in the same page, all that an idle connection touches is
 * three pages; the pieces that come first after that (a stream, header fields) fit between them. */
#define PAGE_BYTES 4096u
#define BLOCK_BYTES 28672u /* with the page for alignment, which large allocations have not, a size class of jemalloc */
#define FRAMES_AT (3 * PAGE_BYTES - 512u)
#define FRAMES_MIN_BYTES 16384u

/* In front of each piece, so that it can be moved. */
typedef struct piece {
    _Alignas(16) size_t n;
} piece;

static bool inside(const slim_h2 *h, const void *p)
{
    return h->block != NULL && (uintptr_t)p - (uintptr_t)h->block < BLOCK_BYTES;
}

static piece *piece_of(void *p)
{
    return (piece *)p - 1;
}

static void *piece_put(slim_h2 *h, size_t at, size_t n)
{
    piece *head = (piece *)(void *)(h->block + at);

    head->n = n;
    return head + 1;
}

static void *take(size_t n, void *user)
{
    slim_h2 *h = user;
    size_t whole = sizeof(piece) + ((n + 15) & ~(size_t)15);
    void *p;

    if (h->block == NULL || n > BLOCK_BYTES)
        return slim_alloc(h->cfg.mem, n);
    if (n >= FRAMES_MIN_BYTES && whole <= BLOCK_BYTES - FRAMES_AT && !h->frames_given) {
        h->frames_given = true;
        return piece_put(h, FRAMES_AT, n);
    }
    if (whole > FRAMES_AT - h->block_used)
        return slim_alloc(h->cfg.mem, n);
    p = piece_put(h, h->block_used, n);
    h->block_used += (uint32_t)whole;
    return p;
}

static void give_back(void *p, void *user)
{
    slim_h2 *h = user;
    size_t whole;

    if (!inside(h, p)) {
        slim_free(h->cfg.mem, p);
        return;
    }
    /* Only the newest makes room again: most pieces live as long as the connection. */
    whole = sizeof(piece) + ((piece_of(p)->n + 15) & ~(size_t)15);
    if ((uint8_t *)piece_of(p) + whole == h->block + h->block_used)
        h->block_used -= (uint32_t)whole;
}

static void *take_zeroed(size_t count, size_t size, void *user)
{
    void *p;

    if (size != 0 && count > SIZE_MAX / size)
        return NULL;
    return (p = take(count * size, user)) != NULL ? memset(p, 0, count * size) : NULL;
}

static void *resize(void *p, size_t n, void *user)
{
    slim_h2 *h = user;
    size_t was;
    void *q;

    if (p == NULL)
        return take(n, user);
    if (!inside(h, p))
        return slim_resize(h->cfg.mem, p, n);
    was = piece_of(p)->n;
    if (n <= was)
        return p;
    if ((q = take(n, user)) != NULL) {
        memcpy(q, p, was);
        give_back(p, user);
    }
    return q;
}

bool h2_mem_open(slim_h2 *h)
{
    h->mem = (nghttp2_mem){h, take, give_back, take_zeroed, resize};
    if (!h->cfg.compact)
        return true;
    if ((h->allocated = slim_alloc(h->cfg.mem, BLOCK_BYTES + PAGE_BYTES)) == NULL)
        return false;
    h->block = (uint8_t *)(((uintptr_t)h->allocated + PAGE_BYTES - 1) & ~(uintptr_t)(PAGE_BYTES - 1));
    return true;
}

void h2_mem_close(slim_h2 *h)
{
    slim_free(h->cfg.mem, h->allocated);
    h->allocated = NULL;
}
