/* slimbench, the load tool: puts a SLIM node under load and says what it did. */
#include <signal.h>
#include <stdio.h>

#include "bench/mode.h"

/* The second Ctrl-C ends at once. */
static void on_signal(int number)
{
    atomic_store(&bench_interrupted, true);
}

int main(int argc, char **argv)
{
    struct sigaction sa = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND};
    bench_options o;
    char why[256];

    if (!bench_options_parse(argc, argv, &o, why, sizeof(why))) {
        fprintf(stderr, "slimbench: %s\n", why);
        return BENCH_EXIT_USAGE;
    }
    if (o.help) {
        bench_options_help(o.mode);
        return BENCH_EXIT_FINE;
    }
    signal(SIGPIPE, SIG_IGN);
    sigaction(SIGINT, &sa, NULL);
    sigaction(SIGTERM, &sa, NULL);
    switch (o.mode) {
    case BENCH_CONNECTIONS: return bench_mode_connections(&o);
    case BENCH_SUBSCRIPTIONS: return bench_mode_subscriptions(&o);
    case BENCH_CHURN: return bench_mode_churn(&o);
    case BENCH_STREAM:
    case BENCH_FANOUT:
    case BENCH_LATENCY:
    case BENCH_REQUEST:
    case BENCH_N_MODES: break;
    }
    return bench_mode_traffic(&o);
}
