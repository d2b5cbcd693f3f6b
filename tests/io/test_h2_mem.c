/* The memory of an HTTP/2 session: what lies in its block, what does not, and what happens when there is none. */
#include <criterion/criterion.h>

#include "io/h2_int.h"
#include "support/support.h"

static uint8_t *take(nghttp2_mem *m, size_t n)
{
    uint8_t *p = m->malloc(n, m->mem_user_data);

    cr_assert_not_null(p);
    return memset(p, 0xa5, n);
}

static void check_live(const test_mem *heap, long n)
{
    cr_assert_eq(heap->live, n, "%ld allocations instead of %ld", heap->live, n);
}

Test(h2_mem, a_session_lies_in_one_block)
{
    test_mem heap;
    h2_home home;
    nghttp2_mem m;
    uint8_t *beside, *first, *zeroed, *large;

    test_mem_init(&heap, -1);
    m = h2_home_open(&home, &heap.mem, true);
    beside = take(&m, 1024); /* the ring of the deflater */
    first = take(&m, 100);
    zeroed = m.calloc(50, 3, &home);
    large = m.realloc(NULL, 16394, &home);
    check_live(&heap, 2);
    cr_assert_eq((uintptr_t)first % 4096, 0);
    cr_assert_eq(zeroed - first, 112);
    cr_assert_eq(large - zeroed, 160);
    for (int i = 0; i < 150; i++)
        cr_assert_eq(zeroed[i], 0);
    memset(large, 0x5a, 16394);
    m.free(first, &home);
    m.free(NULL, &home);
    m.free(beside, &home);
    check_live(&heap, 1);
    cr_assert_null(m.calloc(SIZE_MAX / 2, 3, &home), "a product that overflows");
    h2_home_close(&home);
    h2_home_free(&home);
    check_live(&heap, 0);
}

Test(h2_mem, what_the_block_has_no_room_for)
{
    test_mem heap;
    h2_home home;
    nghttp2_mem m;
    uint8_t *v[3];

    test_mem_init(&heap, -1);
    m = h2_home_open(&home, &heap.mem, true);
    v[0] = take(&m, 8);
    v[1] = take(&m, 16394);
    v[2] = take(&m, 16394);
    check_live(&heap, 3);
    heap.calls = heap.fail_at = 0;
    cr_assert_null(m.malloc(SIZE_MAX - 7, &home), "a size that must not be rounded up to nothing");
    cr_assert(heap.failed);
    heap.fail_at = -1;
    h2_home_close(&home);
    for (int i = 0; i < 3; i++)
        m.free(v[i], &home);
    v[0] = take(&m, 8);
    check_live(&heap, 2); /* a closed block takes nothing more */
    m.free(v[0], &home);
    h2_home_free(&home);
    check_live(&heap, 0);
}

Test(h2_mem, what_grows_moves_out)
{
    test_mem heap;
    h2_home home;
    nghttp2_mem m;
    uint8_t *p, *q;

    test_mem_init(&heap, -1);
    m = h2_home_open(&home, &heap.mem, true);
    m.free(take(&m, 8), &home);
    p = take(&m, 100);
    h2_home_close(&home);
    heap.fail_at = 0;
    heap.calls = 0;
    cr_assert_null(m.realloc(p, 50000, &home));
    heap.fail_at = -1;
    cr_assert_eq(p[99], 0xa5, "it stays where it was");
    /* More than the block has behind p. */
    q = m.realloc(p, 50000, &home);
    check_live(&heap, 2);
    for (int i = 0; i < 100; i++)
        cr_assert_eq(q[i], 0xa5);
    q = m.realloc(q, 60000, &home);
    cr_assert_eq(q[99], 0xa5);
    m.free(q, &home);
    h2_home_free(&home);
    check_live(&heap, 0);
}

Test(h2_mem, no_block)
{
    test_mem heap;
    h2_home home;
    nghttp2_mem m;
    uint8_t *v[2];

    test_mem_init(&heap, 0);
    m = h2_home_open(&home, &heap.mem, true);
    heap.fail_at = -1;
    v[0] = take(&m, 8);
    v[1] = m.calloc(3, 8, &home);
    cr_assert_eq(v[1][23], 0);
    check_live(&heap, 2);
    v[0] = m.realloc(v[0], 100, &home);
    for (int i = 0; i < 2; i++)
        m.free(v[i], &home);
    h2_home_close(&home);
    h2_home_free(&home);
    check_live(&heap, 0);
}
