/* What was forwarded over an outbound link, to be said again after a reconnect: a node keeps nothing for a link that ended
 * (data-plane.md 4.6). */
#ifndef SLIM_NODE_FORWARDED_H
#define SLIM_NODE_FORWARDED_H

#include "core/view.h"

#define SLIM_FORWARDED_BUCKETS 1024

typedef struct slim_forwarded_name slim_forwarded_name;
/* Zero with mem set is empty. */
typedef struct slim_forwarded {
    slim_mem *mem;
    slim_forwarded_name **bucket; /* made at first use */
    uint32_t n;
} slim_forwarded;

/* A Subscribe is kept (once for a name and subscription id), an Unsubscribe takes it out again. message is what v was scanned from,
 * plain. E_NOMEM. */
slim_err slim_forwarded_note(slim_forwarded *f, const slim_view *v);
/* Calls fn with each kept Subscribe: the original source, name and identity, ttl 8, fanout 1, subscription id 0, no tag. */
void slim_forwarded_each(const slim_forwarded *f, void (*fn)(void *arg, slim_bytes message), void *arg);
void slim_forwarded_free(slim_forwarded *f);

#endif
