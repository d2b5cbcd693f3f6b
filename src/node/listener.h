/* A listening socket of the hub and the placing of what it accepts. */
#ifndef SLIM_NODE_LISTENER_H
#define SLIM_NODE_LISTENER_H

#include "node/worker.h"

struct slim_listener {
    slim_io_user io_user;
    slim_listener *next;
    slim_hub *hub;
    slim_worker *worker; /* the one that accepts */
    slim_conn_config conn;
    int fd;
    slim_acceptor *acceptor;
    char bound[128];
    int spare;               /* a descriptor to give up when there is no other, see refuse_waiting; -1: none at the moment */
    uint64_t short_since_ns; /* no descriptor has been left since then; 0: there were some */
    slim_log_rate refused_rate, crowd_rate;
};

/* Opens and starts accepting on worker 0. */
slim_err slim_listener_open(slim_hub *h, const slim_hub_server *s, slim_listener **out, char *why, size_t why_n);
/* On the accepting worker: no further connection comes, and the port refuses from now on. */
void slim_listener_stop(slim_listener *l);
/* Nobody runs any more that could use it. */
void slim_listener_free(slim_listener *l);
/* A parcel record SLIM_X_SOCKET. */
void slim_listener_take(slim_worker *w, const slim_xrec *rec);
/* One that nobody will take any more. */
void slim_listener_discard(const slim_xrec *rec);

#endif
