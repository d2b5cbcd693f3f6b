/* Parts of src/core that allocate, each allocation failing once (the routing table: test_routes_alloc.c). The head writer and the
 * timers allocate nothing. */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "core/buf.h"
#include "core/links.h"
#include "core/view.h"
#include "support/support.h"
#include "support/view_check.h"

/* The merge of any message needs one block: it gives E_NOMEM without it, and it leaves nothing behind in either case. */
Test(alloc, merge_of_random_messages)
{
    enum { MAX = 2000 };
    uint8_t *msg = malloc(MAX);
    uint64_t seed = test_seed();
    int merged = 0;

    for (int i = 0; i < 20000 && merged < 500; i++) {
        size_t n = view_random(&seed, msg, MAX), out_n = 77;
        uint8_t *out = msg;
        slim_view v;
        test_mem m;

        if (slim_view_scan(slim_bytes_of(msg, n), &v) != SLIM_OK || v.plain)
            continue;
        merged++;
        test_mem_init(&m, 0);
        cr_assert_eq(slim_view_normalise(slim_bytes_of(msg, n), &m.mem, &out, &out_n, &v), SLIM_E_NOMEM);
        cr_assert(m.failed && m.live == 0);
        cr_assert_eq(out, msg, "an error gives nothing out");
        cr_assert_eq(out_n, 77);
        cr_assert(!v.plain && v.msg.p == msg && v.msg.n == n, "and leaves the view");
        test_mem_init(&m, 1);
        cr_assert_eq(slim_view_normalise(slim_bytes_of(msg, n), &m.mem, &out, &out_n, &v), SLIM_OK);
        cr_assert_not(m.failed, "one block is all");
        cr_assert_eq(m.live, 1);
        cr_assert(v.plain);
        slim_free(&m.mem, out);
        cr_assert_eq(m.live, 0);
    }
    cr_assert_eq(merged, 500);
    free(msg);
}

Test(alloc, blocks)
{
    test_mem m;
    slim_buf *b;

    test_mem_init(&m, 0);
    cr_assert_null(slim_block_new(&m.mem, 100));
    cr_assert_eq(m.live, 0);
    b = slim_block_new(&m.mem, 100);
    cr_assert_eq(m.live, 1);
    slim_buf_unref(b);
    cr_assert_eq(m.live, 0);
}

/* Opens links over three chunks while allocation fail_at fails; false when there was none to fail. */
static bool links_run(long fail_at)
{
    enum { LINKS = 2500 };
    slim_links *t;
    test_mem m;

    test_mem_init(&m, fail_at);
    if ((t = slim_links_new(&m.mem, 4096)) == NULL) {
        cr_assert(m.failed && m.live == 0);
        return true;
    }
    for (uint32_t i = 0; i < LINKS; i++) {
        slim_link_id id = {7, 7};
        slim_err e = slim_links_open_xt(t, 1, SLIM_EDGE, &id);

        if (e != SLIM_OK) {
            cr_assert_eq(e, SLIM_E_NOMEM);
            cr_assert(m.failed);
            cr_assert_eq(id.slot, 7);
            cr_assert_eq(slim_links_count_xt(t), i);
            cr_assert_null(slim_links_slot_xt(t, i), "no slot appears whose memory is not there");
            cr_assert_eq(slim_links_open_xt(t, 1, SLIM_EDGE, &id), SLIM_OK, "there is memory again");
        }
        cr_assert_eq(id.slot, i, "no index is lost");
        cr_assert_not_null(slim_links_live_xt(t, id));
    }
    cr_assert_eq(slim_links_count_xt(t), LINKS);
    slim_links_free(t);
    cr_assert_eq(m.live, 0);
    return m.failed;
}

Test(alloc, links)
{
    long n = 0;

    while (links_run(n))
        n++;
    cr_assert_eq(n, 4, "the table and three chunks, not %ld", n);
}
