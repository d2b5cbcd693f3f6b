/* A worker: one thread with its own ring, links and queues; and the hub's shared parts. Internal to src/node. */
#ifndef SLIM_NODE_WORKER_H
#define SLIM_NODE_WORKER_H

#include <pthread.h>

#include "auth/negotiation.h"
#include "core/log.h"
#include "core/routes.h"
#include "io/conn.h"
#include "io/pool.h"
#include "io/resolve.h"
#include "node/callers.h"
#include "node/hub.h"
#include "node/xq.h"

typedef struct slim_worker slim_worker;
typedef struct slim_link slim_link;
typedef struct slim_listener slim_listener;
typedef struct slim_outbound slim_outbound;
typedef struct slim_announced slim_announced;
typedef struct slim_arrival slim_arrival;

#define SLIM_WORKERS_MAX 64
#define SLIM_LINKS_MAX 262144
#define SLIM_OPS_BUCKETS 1024
#define SLIM_DATA_PLANE_PATH "/dataplane.proto.v1.DataPlaneService/OpenChannel"

/* What travels between workers; each struct begins with slim_xrec. */
typedef enum slim_xkind {
    SLIM_X_MESSAGE, /* deliver to links of yours */
    SLIM_X_RETURN,  /* a loan of yours comes back */
    SLIM_X_WAIT,    /* a link of mine waits until a link of yours has room */
    SLIM_X_RESUME,  /* it has */
    SLIM_X_SOCKET,  /* an accepted descriptor for you */
    SLIM_X_SEND,    /* an encoded message for a link of yours, maybe with an acknowledgement to wait for */
    SLIM_X_ACKED,   /* that acknowledgement, or its failure */
    SLIM_X_COMING,  /* a link is on its way to another worker; these five are move.c's */
    SLIM_X_READY,
    SLIM_X_FENCE,
    SLIM_X_FENCED,
    SLIM_X_LINK,
} slim_xkind;

/* Work posted by threads that are no workers. */
typedef struct slim_mail slim_mail;
struct slim_mail {
    slim_mail *next;
    void (*run)(slim_mail *self, slim_worker *w); /* owns self */
};

/* A buffer lent to another worker: the lender keeps one reference of origin until the loan comes back. */
typedef struct slim_loan {
    slim_buf buf; /* for the holder */
    slim_buf *origin;
    slim_worker *holder;
    struct slim_loan *next; /* in returns_owed */
    uint16_t lender;
    slim_mem *mem;
} slim_loan;

/* Memory that a batch writes into and the next one reuses. */
typedef struct slim_scratch {
    uint8_t *p;
    size_t cap;
} slim_scratch;

typedef struct slim_counters {
    uint64_t messages_in, messages_out, dropped_mac, dropped_ttl, dropped_unrouted, dropped_invalid, dropped_oversize, links_opened,
        links_closed;
} slim_counters;

/* A link that ended with its records still in the table. */
typedef struct slim_cleanup slim_cleanup;
struct slim_cleanup {
    slim_cleanup *next;
    slim_link_id id;
};

/* The link of a worker that is about to go to another one; see move.h. */
typedef enum slim_move_state {
    SLIM_MOVE_NONE,
    SLIM_MOVE_ASKED,     /* COMING was sent */
    SLIM_MOVE_FENCING,   /* the new worker is named, not everybody has said so */
    SLIM_MOVE_FENCED,    /* nothing more comes for the link; it waits to be at rest */
    SLIM_MOVE_LEAVING,   /* its connection leaves the ring */
    SLIM_MOVE_LEFT,      /* to be handed over behind all it said */
    SLIM_MOVE_CANCELLED, /* the link is gone, the new worker is to be told */
} slim_move_state;

typedef struct slim_move {
    slim_move_state state;
    slim_link *link;
    slim_link_id id;
    uint16_t to;
    bool has_token;  /* hub->moving is ours */
    uint32_t number; /* tells this move from the one before */
    uint32_t fences; /* answers to come */
    uint64_t untold; /* workers that have not got their FENCE */
    uint64_t began_ns;
} slim_move;

struct slim_worker {
    slim_io io;
    slim_hub *hub;
    uint16_t index;
    pthread_t thread;
    bool started, stopping;
    _Atomic uint32_t load; /* live connections, for placement */
    _Atomic bool asleep;
    slim_routes_reader *reader;
    slim_targets targets;
    slim_scratch head[2], preimage, ways;
    slim_link **links; /* by slot; own ones only */
    uint32_t n_links_cap, n_links;
    slim_link *live;    /* list of all link objects */
    slim_link *crowded; /* links somebody waits for */
    slim_link *syncing; /* peer links whose full sync is not finished */
    slim_cleanup *cleanups;
    slim_loan *returns_owed; /* loans that could not be given back yet for want of memory */
    uint32_t subscribed;     /* records added in this turn */
    uint32_t table_looks;    /* since the size of the table was looked at */
    bool table_crowded;
    struct slim_op *ops[SLIM_OPS_BUCKETS]; /* open operations by number, of subscribe.c */
    uint64_t next_op;
    pthread_mutex_t mail_lock;
    slim_mail *mail, **mail_tail;
    slim_pool_port *port; /* results of the resolver */
    slim_io_user port_user;
    bool draining, drained;
    slim_move move;
    slim_arrival *arrivals; /* links on their way to us */
    uint32_t n_followers;   /* links that are held back for a move */
    uint64_t fence_owed;    /* whom a FENCED could not be sent to */
    uint32_t fence_number[SLIM_WORKERS_MAX];
    /* How much of a core this worker uses, for those who think of sending us links. */
    _Atomic uint32_t busy_permille, waiting_permille; /* waiting: others had the core */
    _Atomic uint64_t busy_at_ns;
    slim_thread_meter meter;
    uint32_t full_looks; /* how often in a row it was found full */
    slim_counters count;
    slim_log_rate bad_peer_rate;
    uint64_t evacuated_ns;       /* when stalled queues were last freed of receive buffers */
    _Atomic bool evacuate_asked; /* another worker is short of buffers that it may have lent to us */
    /* links held back because a core-to-core queue is full, per target worker */
    struct slim_xwait {
        slim_link_id *v;
        uint32_t n, cap;
    } xwait[SLIM_WORKERS_MAX];
};

struct slim_hub {
    slim_mem *mem;
    char *node_id, *version, *deployment, *thread_name;
    slim_negotiation_config inbound; /* strictness of accepted links */
    slim_callers callers;
    uint32_t per_address_max;
    uint64_t slow_reader_ns;
    bool per_address_spares_local;
    uint64_t negotiation_timeout_ns, egress_high_bytes;
    slim_placement placement;
    _Atomic bool moving; /* one link at a time, or two that talk would pass each other */
    slim_budget budget;
    slim_links *links;
    slim_routes *routes;
    slim_pool *pool;
    slim_random random;
    uint16_t n_workers;
    slim_worker *workers;
    _Atomic(slim_xq *) xq[SLIM_WORKERS_MAX][SLIM_WORKERS_MAX]; /* from, to */
    slim_ring_config ring_config;
    /* start and stop */
    pthread_mutex_t lock;
    pthread_cond_t cond;
    uint32_t n_ready, n_failed, n_drained, n_listening_workers;
    char start_why[160];
    char backend[32];
    slim_listener *listeners;
    slim_outbound *outbounds;
    _Atomic bool draining;
    /* peers (peers.c), under peers_lock */
    pthread_mutex_t peers_lock;
    _Atomic uint32_t n_peers;
    slim_link_id *peers;
    uint32_t peers_cap;
    slim_announced **announced;
    uint32_t announced_cap, n_announced;
};

/* The queue from w to another worker, made at first use. NULL: no memory. */
slim_xq *slim_worker_queue(slim_worker *w, uint16_t to);
/* Room for a record to another worker; see slim_xq_put. */
void *slim_worker_put(slim_worker *w, uint16_t to, slim_xkind kind, size_t n, size_t extra_bytes);
/* Runs mail->run on the worker; any thread. */
void slim_worker_post_xt(slim_worker *w, slim_mail *mail);

/* The link object of an id that this worker owns, NULL when it is gone. */
slim_link *slim_worker_link(const slim_worker *w, slim_link_id id);
slim_err slim_worker_keep_link(slim_worker *w, slim_link *l);
/* Room for the link of that slot. E_NOMEM. */
slim_err slim_worker_reserve_links(slim_worker *w, uint32_t slot);

/* Grows a scratch to n bytes; NULL: no memory. */
uint8_t *slim_scratch_room(slim_worker *w, slim_scratch *s, size_t n);

/* From how many queued bytes on a receiver holds its senders back, and below how many it lets them go. */
uint64_t slim_worker_high_bytes(const slim_worker *w);
uint64_t slim_worker_low_bytes(const slim_worker *w);

/* Less than half of the receive buffers are free. */
static inline bool slim_worker_slabs_low(const slim_worker *w)
{
    return slim_ring_slabs_free(w->io.ring) < slim_ring_slabs_total(w->io.ring) / 2;
}

/* The worker with the fewest connections: links are few and long-lived, so each is placed. */
slim_worker *slim_hub_place(slim_hub *h);

/* The worker's last connection is gone after a drain was asked for. */
void slim_hub_worker_drained(slim_worker *w);

slim_err slim_worker_start(slim_worker *w, slim_hub *h, uint16_t index);
static inline slim_worker *slim_worker_of_io(slim_io *io)
{
    return (slim_worker *)((char *)io - offsetof(slim_worker, io));
}

/* A rate-limited warning about a peer's bad behaviour. */
#define slim_worker_blame(w, level, fmt, ...)                                                                                      \
    do {                                                                                                                           \
        uint32_t quiet_;                                                                                                           \
        if (slim_log_on(level, SLIM_T_DATAPATH) && slim_log_rate_take(&(w)->bad_peer_rate, (w)->io.now_ns, 20, 5, &quiet_))        \
            slim_log(level, DATAPATH, fmt " suppressed=%u", __VA_ARGS__, quiet_);                                                  \
    } while (0)

#endif
