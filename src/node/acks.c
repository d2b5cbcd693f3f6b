#include "node/acks.h"

struct slim_ack_wait {
    slim_ack_wait *older, *newer; /* by age */
    slim_ack_wait *chain;         /* bucket, oldest first */
    uint64_t id, born_ns;
    slim_ack_owner owner;
};

static uint32_t bucket_of(uint64_t id)
{
    return (uint32_t)((id * 0x9e3779b97f4a7c15u) >> 54);
}

void slim_acks_init(slim_acks *a, slim_mem *m)
{
    *a = (slim_acks){.mem = m};
}

static void remove_wait(slim_acks *a, slim_ack_wait *w)
{
    slim_ack_wait **at = &a->bucket[bucket_of(w->id)];

    while (*at != w)
        at = &(*at)->chain;
    *at = w->chain;
    if (w->older != NULL)
        w->older->newer = w->newer;
    else
        a->oldest = w->newer;
    if (w->newer != NULL)
        w->newer->older = w->older;
    else
        a->newest = w->older;
    a->n--;
    slim_free(a->mem, w);
}

void slim_acks_free(slim_acks *a)
{
    while (a->oldest != NULL)
        remove_wait(a, a->oldest);
    slim_free(a->mem, a->bucket);
    a->bucket = NULL;
}

slim_err slim_acks_add(slim_acks *a, uint64_t subscription_id, slim_ack_owner owner, uint64_t now_ns)
{
    slim_ack_wait *w, **at;

    while (a->oldest != NULL && now_ns - a->oldest->born_ns > SLIM_ACKS_KEEP_NS)
        remove_wait(a, a->oldest);
    if (a->bucket == NULL && (a->bucket = slim_zalloc(a->mem, SLIM_ACKS_BUCKETS, sizeof(*a->bucket))) == NULL)
        return SLIM_E_NOMEM;
    if ((w = slim_zalloc(a->mem, 1, sizeof(*w))) == NULL)
        return SLIM_E_NOMEM;
    w->id = subscription_id;
    w->born_ns = now_ns;
    w->owner = owner;
    w->older = a->newest;
    if (a->newest != NULL)
        a->newest->newer = w;
    else
        a->oldest = w;
    a->newest = w;
    for (at = &a->bucket[bucket_of(subscription_id)]; *at != NULL; at = &(*at)->chain)
        ;
    *at = w;
    a->n++;
    return SLIM_OK;
}

bool slim_acks_take(slim_acks *a, uint64_t subscription_id, slim_ack_owner *owner)
{
    if (a->bucket == NULL)
        return false;
    for (slim_ack_wait *w = a->bucket[bucket_of(subscription_id)]; w != NULL; w = w->chain) {
        if (w->id == subscription_id) {
            *owner = w->owner;
            remove_wait(a, w);
            return true;
        }
    }
    return false;
}

bool slim_acks_take_any(slim_acks *a, slim_ack_owner *owner)
{
    if (a->oldest == NULL)
        return false;
    *owner = a->oldest->owner;
    remove_wait(a, a->oldest);
    return true;
}
