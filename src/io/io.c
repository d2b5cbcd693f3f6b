#include "io/io.h"

#include <string.h>
#include <time.h>

#include "io/conn.h"

static void date_renew(slim_io *io)
{
    uint64_t s = slim_wall_ns() / 1000000000u;
    time_t t = (time_t)s;
    struct tm tm;

    if (s == io->date_s)
        return;
    io->date_s = s;
    gmtime_r(&t, &tm);
    /* The C locale is never changed by the daemon or the library, so the names are English. */
    strftime(io->date, sizeof(io->date), "%a, %d %b %Y %H:%M:%S GMT", &tm);
}

slim_err slim_io_init(slim_io *io, const slim_ring_config *cfg, slim_mem *m, slim_budget *budget, const char **why)
{
    slim_err e;

    memset(io, 0, sizeof(*io));
    if ((e = slim_ring_new(cfg, &io->ring, why)) != SLIM_OK)
        return e;
    io->mem = m;
    io->purse.budget = budget;
    io->now_ns = slim_clock_ns();
    slim_timers_init(&io->timers, io->now_ns);
    date_renew(io);
    return SLIM_OK;
}

void slim_io_free(slim_io *io)
{
    if (io->ring != NULL)
        slim_ring_free(io->ring);
    io->ring = NULL;
}

size_t slim_io_wait(slim_io *io, uint64_t deadline_ns, bool (*about_to_sleep)(void *arg), void *arg)
{
    uint64_t next = slim_timers_next_ns(&io->timers);
    /* What the last flush left dirty is looked at again at once. */
    size_t n = slim_ring_wait(io->ring,
                              io->dirty != NULL    ? 0
                              : next < deadline_ns ? next
                                                   : deadline_ns,
                              about_to_sleep, arg, io->ev, SLIM_IO_BATCH);

    io->now_ns = slim_clock_ns();
    io->turns++;
    date_renew(io);
    return n;
}

void slim_io_dispatch(slim_io *io, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        slim_io_user *user = io->ev[i].user;

        if (user != NULL)
            user->event(user, &io->ev[i]);
        else if (io->ev[i].slab != NULL)
            slim_buf_unref(io->ev[i].slab);
    }
    slim_timers_run(&io->timers, io->now_ns);
}

void slim_io_flush(slim_io *io)
{
    /* A flush may make its own or another connection dirty again; those wait for the next turn's flush only when they must. */
    for (int round = 0; io->dirty != NULL && round < 4; round++) {
        slim_conn *list = io->dirty;

        io->dirty = NULL;
        slim_conn_flush_list(list);
    }
}
