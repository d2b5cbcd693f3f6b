#include <stdio.h>

#include "bench/mode.h"
#include "bench/traffic.h"

static void open(bench_thread *t)
{
    bench_traffic_open(t->load->mode, t);
}

static uint64_t turn(bench_thread *t)
{
    return bench_traffic_turn(t->load->mode, t);
}

static void end(bench_thread *t)
{
    bench_traffic_close(t->load->mode, t);
}

int bench_mode_end(const bench_load *l, const bench_report *r, const bench_tally *t)
{
    bench_report_print(r, l->options->format);
    if (l->why[0] != '\0')
        fprintf(stderr, "slimbench: %s\n", l->why);
    if (t->lost + t->duplicates + t->reordered + t->corrupt != 0) {
        fprintf(stderr, "slimbench: of %llu messages %llu were lost, %llu came twice, %llu out of order, %llu corrupt\n",
                (unsigned long long)t->expected, (unsigned long long)t->lost, (unsigned long long)t->duplicates,
                (unsigned long long)t->reordered, (unsigned long long)t->corrupt);
        return BENCH_EXIT_WRONG;
    }
    return l->why[0] != '\0' ? BENCH_EXIT_FAILED : BENCH_EXIT_FINE;
}

int bench_mode_traffic(const bench_options *o)
{
    static const bench_work work = {open, turn, end};
    bench_load l;
    bench_traffic t = {0};
    bench_report r = {0};
    bench_tally sum = {0};
    int status = BENCH_EXIT_FAILED;

    if (!bench_load_init(&l, o, &work, &t))
        return status;
    if (bench_traffic_init(&t, &l) != SLIM_OK) {
        fprintf(stderr, "slimbench: no memory for %u publishers and %u subscribers\n", o->publishers, o->subscribers);
        goto out;
    }
    if (bench_load_start(&l) && bench_load_await(&l, &l.n_ready, bench_traffic_links(&t), "opening links")) {
        bench_traffic_run(&t);
        bench_load_end(&l);
        bench_report_setup(&r, &l);
        bench_traffic_tally(&t, &sum);
        bench_traffic_report(&t, &r, &sum);
        status = bench_mode_end(&l, &r, &sum);
    } else {
        bench_load_end(&l);
        fprintf(stderr, "slimbench: %s\n",
                l.why[0] != '\0' ? l.why : "interrupted before all links were open; nothing was measured");
    }
out:
    bench_traffic_free(&t);
    bench_load_free(&l);
    return status;
}
