/* Shared by the files of slim_conn; nobody else includes it. */
#ifndef SLIM_IO_CONN_INT_H
#define SLIM_IO_CONN_INT_H

#include "io/address.h"
#include "io/conn.h"

#define CONN_OUT_IOV 64
#define CONN_OUT_FEW 4 /* pieces of a flush that a connection has room for by itself: what one without a queue sends */
#define CONN_OUT_BYTES (256u * 1024)

typedef enum conn_state { CONN_CONNECTING, CONN_HANDSHAKE, CONN_OPEN, CONN_FLUSHING, CONN_LINGERING, CONN_CLOSED } conn_state;

struct slim_conn {
    slim_io_user io_user;
    slim_io *io;
    const slim_conn_config *cfg;
    void *user;
    slim_sock *sock;
    int fd; /* while on no io */
    slim_h2 *h2;
    slim_tls *tls;
    conn_state state;
    bool leaving, released;
    bool is_dirty, sending, is_tcp, wants_quick_ack, aged, ended, said_goodbye;
    bool tls_broken; /* nothing can be encrypted any more; an alert may wait */
    bool idle;       /* no stream since idle_since_ns */
    uint64_t idle_since_ns;
    slim_err why;
    bool patient; /* ending: streams may finish first */
    slim_conn *next_dirty, *prev, *next;
    struct iovec *iov, few[CONN_OUT_FEW]; /* what is being sent, in few if it fits */
    size_t n_iov, iov_at;
    slim_buf *cipher; /* what a TLS send in flight names; counted in the purse */
    uint64_t born_ns;
    uint64_t ping_due_ns; /* the next PING, or the end of the wait for its answer */
    uint64_t progress_ns; /* ending: when bytes left last */
    size_t outq_bytes;    /* lingering: what the kernel still held at the last look */
    slim_timer timer;
    char peer[SLIM_SOCKADDR_TEXT];
    char text[192];
};

/* conn.c */
void conn_mark_dirty(slim_conn *c);
void conn_arm(slim_conn *c);
/* An error of the peer: what is queued (a GOAWAY, an alert) still goes out. */
void conn_fail(slim_conn *c, slim_err why, const char *text);
void conn_feed(slim_conn *c, slim_bytes in, slim_buf *hold); /* plaintext that lies in hold */

/* Keeps what is to be sent until it went out; false: no memory. */
bool conn_iov_keep(slim_conn *c, const struct iovec *iov, size_t n);

/* conn_tls.c */
void conn_tls_feed(slim_conn *c, slim_bytes cipher);
bool conn_tls_seal(slim_conn *c); /* makes a send of what there is to say; false: no memory */
void conn_tls_drop(slim_conn *c); /* the send is over */

#endif
