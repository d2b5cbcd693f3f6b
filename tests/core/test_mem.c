/* src/core/mem.c and src/core/buf.c */
#include <criterion/criterion.h>

#include "core/buf.h"
#include "support/support.h"

Test(mem, zeroed_arrays)
{
    test_mem m;
    uint8_t *p;

    test_mem_init(&m, -1);
    p = slim_zalloc(&m.mem, 13, 17);
    cr_assert_not_null(p);
    for (int i = 0; i < 13 * 17; i++)
        cr_assert_eq(p[i], 0);
    slim_free(&m.mem, p);
    cr_assert_eq(m.live, 0);
    test_mem_init(&m, 0);
    cr_assert_null(slim_zalloc(&m.mem, 13, 17));
}

/* A product that does not fit must not come out as a small block. */
Test(mem, sizes_that_overflow)
{
    static const size_t sizes[][2] = {
        {SIZE_MAX, 2}, {2, SIZE_MAX}, {SIZE_MAX / 2 + 1, 2}, {SIZE_MAX / 8 + 1, 8}, {(size_t)1 << 32, (size_t)1 << 32}};
    test_mem m;

    test_mem_init(&m, 1000);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++)
        cr_assert_null(slim_zalloc(&m.mem, sizes[i][0], sizes[i][1]));
    cr_assert_eq(m.calls, 0, "the allocator is not even asked");
}

Test(mem, libc)
{
    uint8_t *p = slim_alloc(&slim_mem_libc, 10);

    cr_assert_not_null(p);
    memset(p, 7, 10);
    p = slim_resize(&slim_mem_libc, p, 100000);
    cr_assert_not_null(p);
    for (int i = 0; i < 10; i++)
        cr_assert_eq(p[i], 7);
    slim_free(&slim_mem_libc, p);
    slim_free(&slim_mem_libc, NULL);
}

/* Freeing nothing is not passed on: an allocator never sees NULL. */
Test(mem, null_is_not_freed)
{
    test_mem m;

    test_mem_init(&m, -1);
    slim_free(&m.mem, NULL);
    cr_assert_eq(m.live, 0);
}

Test(buf, lives_as_long_as_its_references)
{
    test_mem m;
    slim_buf *b;

    test_mem_init(&m, -1);
    b = slim_block_new(&m.mem, 1000);
    cr_assert_not_null(b);
    cr_assert_eq(b->cap_bytes, 1000);
    memset(b->mem, 0x5a, b->cap_bytes);
    cr_assert_eq(slim_buf_ref(b), b);
    cr_assert_eq(slim_buf_ref(b), b);
    slim_buf_unref(b);
    slim_buf_unref(b);
    cr_assert_eq(m.live, 1);
    cr_assert_eq(b->mem[999], 0x5a);
    slim_buf_unref(b);
    cr_assert_eq(m.live, 0);
}

Test(buf, empty_and_too_large)
{
    test_mem m;
    slim_buf *b;

    test_mem_init(&m, 1000);
    b = slim_block_new(&m.mem, 0);
    cr_assert_not_null(b);
    cr_assert_eq(b->cap_bytes, 0);
    slim_buf_unref(b);
    m.calls = 0;
    cr_assert_null(slim_block_new(&m.mem, UINT32_MAX), "the capacity is counted in 32 bits");
    cr_assert_null(slim_block_new(&m.mem, (size_t)UINT32_MAX + 1));
    cr_assert_null(slim_block_new(&m.mem, SIZE_MAX));
    cr_assert_eq(m.calls, 0);
    cr_assert_eq(m.live, 0);
}

static slim_buf *released;
static void release(slim_buf *b)
{
    released = b;
}

Test(buf, a_buffer_of_another_kind)
{
    static uint8_t bytes[4];
    static slim_buf b = {1, sizeof(bytes), bytes, release};

    slim_buf_ref(&b);
    slim_buf_unref(&b);
    cr_assert_null(released);
    slim_buf_unref(&b);
    cr_assert_eq(released, &b);
}
