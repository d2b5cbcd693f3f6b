/* Moves links between workers. A message that crosses from one worker to another costs a hand-over, so a link is served where those
 * are with whom it exchanges most. Nobody notices: order, tags and back-pressure stay as they are (docs/architecture.md,
 * placement).
 *
 * The worker that owns the link and the one it goes to agree in steps, each a record in the queues between workers:
 *   COMING  to the new worker: messages for that link may reach you from now on, keep them
 *   READY   back; now the owner names the new worker in the table of links
 *   FENCE   to all: that name stands;  FENCED  back, behind all that was sent to the old worker before
 *   LINK    to the new worker, behind all that came from the link: here it is, or it is gone
 * Between FENCED and LINK the link is paused, what is being sent is finished, and its connection leaves the ring. */
#ifndef SLIM_NODE_MOVE_H
#define SLIM_NODE_MOVE_H

#include "node/link.h"

/* After how many messages (4 KiB of a long one count as another) to links of one other worker a move is thought of. */
#define SLIM_MOVE_PULL 512u

/* For the records of worker.c. */
void slim_move_take(slim_worker *w, const slim_xrec *rec);
void slim_move_discard(slim_hub *h, const slim_xrec *rec);

/* Once per turn: what could not be told, and links that are at rest now. */
void slim_move_turn(slim_worker *w);
/* Behind all that this turn sent, when nothing of it waits: true when something was put into a queue. */
bool slim_move_hand_over(slim_worker *w);
/* When slim_move_turn has to be called again though nothing happens; SLIM_TIMERS_NEVER. */
uint64_t slim_move_due_ns(const slim_worker *w);
/* Frees what was kept for links that did not come. */
void slim_move_close(slim_worker *w);

/* The link ended, or nothing holds it back any more: true when it leaves instead of going on. */
void slim_move_lost(slim_link *l);
bool slim_move_rested(slim_link *l);
/* For slim_conn_config. */
void slim_move_left(slim_conn *c, slim_io *io);
/* A call began: it waits when its connection is about to leave. */
void slim_move_opened(slim_link *l);

/* The new worker, about a link that is on its way to it: whether it is one, and what was for it. False: it is none, or no memory.
 */
bool slim_move_coming(const slim_worker *w, slim_link_id id);
bool slim_move_keep_copy(slim_worker *w, slim_link_id id, const slim_copy *copy, bool signs);
bool slim_move_keep_waiter(slim_worker *w, slim_link_id id, slim_waiter waiter);
bool slim_move_keep_record(slim_worker *w, slim_link_id id, const slim_xrec *rec);
bool slim_move_has_room(const slim_worker *w, slim_link_id id);

/* Thinks about moving l, which sends mostly to links of l->toward. */
void slim_move_consider(slim_link *l);

/* A message of l went to links of worker `to` only, or also to its own ones. */
static inline void slim_move_note(slim_link *l, uint16_t to, size_t bytes)
{
    uint32_t weight = 1 + (uint32_t)(bytes >> 12);

    l->published++;
    if (to != l->toward) {
        l->pull = l->pull > weight ? l->pull - weight : 0;
        if (l->pull == 0)
            l->toward = to;
    } else if (to != l->worker->index && (l->pull += weight) >= SLIM_MOVE_PULL) {
        slim_move_consider(l);
    }
}

#endif
