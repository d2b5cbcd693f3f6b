/* A link: one gRPC stream that speaks SLIM, from negotiation to its end (data-plane.md 4). Owned by one worker. */
#ifndef SLIM_NODE_LINK_H
#define SLIM_NODE_LINK_H

#include "node/acks.h"
#include "node/worker.h"

#define SLIM_LINK_STATES(X) X(CALLING) X(NEGOTIATING) X(LIVE) X(ENDED)
typedef enum slim_link_state {
#define X(s) SLIM_LINK_##s,
    SLIM_LINK_STATES(X)
#undef X
} slim_link_state;

/* Somebody held back until this link has room. */
typedef struct slim_waiter {
    slim_link_id link;
    uint16_t worker;
} slim_waiter;

struct slim_link {
    slim_worker *worker;
    slim_conn *conn;
    slim_stream *stream;
    slim_link_state state;
    slim_link_id id; /* SLIM_LINK_NONE before LIVE */
    slim_link_kind kind;
    bool strict;
    slim_mac *mac; /* NULL: no key */
    slim_negotiated peer;
    slim_negotiation *asking; /* dialler, until the reply came */
    slim_outbound *outbound;  /* dialler */
    slim_timer timer;         /* negotiation; of a live link: how long it may hold others back */
    slim_link *prev, *next;   /* worker->live */
    uint32_t waits;           /* how many receivers hold this link back */
    slim_waiter *waiters;     /* whom this link holds back */
    uint32_t n_waiters, cap_waiters;
    bool crowded; /* in worker->crowded */
    slim_link *next_crowded;
    uint64_t ack_bytes; /* acknowledgements queued since the queue was last short */
    slim_acks acks;     /* what we wait for from this peer */
    uint32_t ops;       /* its requests that wait for others */
    /* move.c */
    bool follows;       /* held back because another link of its connection is about to move */
    uint16_t toward;    /* the worker whose links it sends to */
    uint32_t pull;      /* how much to those only */
    uint32_t published; /* messages since it was thought about last, and how many its worker had then */
    uint64_t worker_in, move_after_ns;
    /* peers.c */
    bool syncing, sync_restricted;
    slim_link *next_syncing;
    slim_routes_cursor sync;
};

extern const slim_h2_events slim_link_events;

/* Tails up to this size are copied behind the head into the receiver's queue: cheaper than a reference, and it pins no receive
 * buffer. */
#define SLIM_COPY_BYTES 4096u

/* One message on its way to links of this worker; the head exists with room for a tag and, for links that get none, without. */
typedef struct slim_copy {
    slim_bytes head[2]; /* [0] plain, [1] with a tag at mac_offset */
    size_t mac_offset;
    slim_bytes preimage;
    slim_bytes tail;
    slim_buf *hold; /* where tail lies, NULL: copy it */
} slim_copy;

/* Queues one copy. False: it was dropped (no memory, link ended). */
bool slim_link_deliver(slim_link *l, const slim_copy *copy);
/* Queues a message that the node itself made: no tag for peers, a tag otherwise is the caller's. */
bool slim_link_send(slim_link *l, slim_bytes message);
/* Answers a Subscribe or Unsubscribe; error NULL for success. Nothing for id 0. */
void slim_link_acknowledge(slim_link *l, uint64_t subscription_id, const char *error);

/* Registers who is to be let go when l has room again; it is held back by the caller. */
void slim_link_wait_for(slim_link *l, slim_waiter waiter);
/* The same for a receiver of another worker; false: no memory, do not hold. */
bool slim_link_wait_across(slim_worker *w, uint16_t owner, slim_link_id target, slim_link_id waiting);
/* Lets the waiter wait for the link of an id, or go when there is room or no such link. */
void slim_link_wait_or_wake(slim_worker *w, slim_link_id id, slim_waiter waiter);
/* Parcel records SLIM_X_WAIT and SLIM_X_RESUME. */
void slim_link_take_wait(slim_worker *w, const slim_xrec *rec);
void slim_link_take_resume(slim_worker *w, const slim_xrec *rec);
/* Holds l back when the queue of a receiver, wherever it is, or the way to another worker is full. */
void slim_link_hold_for(slim_link *l, slim_link_id receiver);
void slim_link_hold_for_queue(slim_link *l, uint16_t to);
/* Holds l back for one more receiver, and lets it go for one. */
void slim_link_hold(slim_link *l);
void slim_link_release(slim_link *l);
/* Lets go whoever waits for links that have room now; once per turn. */
void slim_links_let_go(slim_worker *w);
bool slim_link_has_room(const slim_link *l);

/* Ends the link from our side: routes die at once, queued messages still go out, then trailers. */
void slim_link_end(slim_link *l, int grpc_status, const char *grpc_message);
/* The link of an id takes no more part in routing: its routes die at once, its records go in slices. */
void slim_link_close_routes(slim_worker *w, slim_link_id id);
/* Removes records of ended links, a slice per turn. */
void slim_links_clean_up(slim_worker *w);

/* In and out of worker->live. */
void slim_link_enlist(slim_link *l);
void slim_link_delist(slim_link *l);

/* Dialler: starts the call on a ready connection. NULL: failed. */
slim_link *slim_link_call(slim_worker *w, slim_conn *c, slim_outbound *o);

static inline bool slim_link_signs(const slim_link *l)
{
    return l->mac != NULL && l->kind != SLIM_PEER;
}

#endif
