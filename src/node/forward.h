/* What happens to a message of a live link (data-plane.md 5.1, 5.2). */
#ifndef SLIM_NODE_FORWARD_H
#define SLIM_NODE_FORWARD_H

#include "node/link.h"

/* A whole message came in on a live link. hold may be NULL. */
void slim_forward_message(slim_link *in, slim_bytes msg, slim_buf *hold);
/* A parcel record SLIM_X_MESSAGE arrived. */
void slim_forward_take(slim_worker *w, const slim_xrec *rec);
/* A loan of this worker comes back. */
void slim_forward_take_return(slim_worker *w, const slim_xrec *rec);
/* Gives back loans for which there was no memory, and lets go of them when every worker has ended. */
void slim_forward_return_owed(slim_worker *w);
void slim_forward_forget_owed(slim_worker *w);
/* One of the two that nobody will take any more; every worker has ended. */
void slim_forward_discard(const slim_xrec *rec);

#endif
