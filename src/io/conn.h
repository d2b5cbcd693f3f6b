/* One transport connection: socket, optional TLS, HTTP/2. It moves bytes between the ring and slim_h2, keeps the connection alive,
 * enforces the time limits of its setup, and ends it in order: what is queued goes out first, then FIN, then the descriptor. */
#ifndef SLIM_IO_CONN_H
#define SLIM_IO_CONN_H

#include "io/h2.h"
#include "io/io.h"
#include "io/tls.h"

typedef struct slim_conn_config slim_conn_config;
struct slim_conn_config {
    slim_h2_config h2;         /* events, path, windows; mem and purse are filled in per connection */
    slim_h2_events events;     /* stream events; dirty is the connection's own */
    slim_tls_ctx *tls;         /* NULL: plaintext */
    uint64_t setup_timeout_ns; /* TLS handshake and HTTP/2 preface; 10 s */
    uint64_t ping_interval_ns; /* 0: never */
    uint64_t ping_timeout_ns;
    uint64_t max_age_ns;       /* 0: no limit */
    uint64_t tcp_keepalive_ns; /* 0: off */
    /* Client: the transport stands, calls may be made. */
    void (*ready)(slim_conn *c);
    /* The connection reached max_age_ns, or its TLS keys are worn out: end its streams, then call slim_conn_close. NULL: it is
     * closed. */
    void (*aged)(slim_conn *c);
    /* The connection was taken off its io after slim_conn_leave: it belongs to whoever calls slim_conn_join. */
    void (*left)(slim_conn *c, slim_io *io);
    /* Once, as the last event: h2 and its streams are gone already. why is SLIM_OK after an orderly end. */
    void (*closed)(slim_conn *c, slim_err why, const char *text);
};

/* Prepares cfg after its fields were set; it must outlive its connections and may serve many workers. */
void slim_conn_config_ready(slim_conn_config *cfg);

/* Takes over an accepted descriptor. NULL: no memory (fd is closed). */
slim_conn *slim_conn_accept(slim_io *io, const slim_conn_config *cfg, int fd, void *user);
/* Starts connecting; server_name is for TLS. NULL: could not start, *why tells. */
slim_conn *slim_conn_connect(slim_io *io, const slim_conn_config *cfg, const struct sockaddr *addr, socklen_t len,
                             const char *server_name, void *user, const char **why);

void *slim_conn_user(const slim_conn *c);
void slim_conn_set_user(slim_conn *c, void *user);
slim_h2 *slim_conn_h2(slim_conn *c);
slim_io *slim_conn_io(slim_conn *c);
const slim_conn_config *slim_conn_config_of(const slim_conn *c);
/* "127.0.0.1:4711" or "unix"; lives as long as the connection. */
const char *slim_conn_peer(const slim_conn *c);

/* A connection without a stream for setup_timeout_ns is closed; it starts out idle. */
void slim_conn_set_idle(slim_conn *c, bool idle);

/* Takes an open connection off its io, for another thread to go on with: what is being sent is finished first, what was received is
 * still told. Then `left` is called, unless the connection ends before. */
void slim_conn_leave(slim_conn *c);
/* Goes on with one that left, in the thread of io. False: the system refused; the connection is gone, its end was reported. */
bool slim_conn_join(slim_conn *c, slim_io *io);
/* Frees one that left, when nobody goes on with it and the thread of its last io has ended; `closed` is not called. */
void slim_conn_discard(slim_conn *c);

/* Ends the connection behind what its streams have queued; one that is still being set up ends at once. A peer that takes nothing
 * for setup_timeout_ns loses the rest (E_TIMEOUT); twelve times as long after an orderly end. */
void slim_conn_close(slim_conn *c);
/* Ends it now: queued bytes are lost. */
void slim_conn_abort(slim_conn *c, slim_err why, const char *text);

/* slim_conn_close and slim_conn_abort of every connection. */
void slim_io_close_all(slim_io *io);
void slim_io_abort_all(slim_io *io);

/* For slim_io_flush. */
void slim_conn_flush_list(slim_conn *list);

#endif
