#include "node/forwarded.h"

#include "core/head.h"

#define REPLAY_TTL 8

struct slim_forwarded_name {
    slim_forwarded_name *next;
    slim_key key;
    slim_id id;
    bool has_id;
    uint64_t subscription_id;
    size_t n;
    uint8_t message[];
};

static uint32_t bucket_of(const slim_view *v)
{
    uint64_t h = v->subscription_id * 0x9e3779b97f4a7c15u;

    h = (h ^ v->destination.key.c[2] ^ v->destination.id.lo) * 0xbf58476d1ce4e5b9u;
    return (uint32_t)(h >> 54);
}

static bool same(const slim_forwarded_name *f, const slim_view *v)
{
    return f->subscription_id == v->subscription_id && f->has_id == v->destination.has_id &&
           slim_key_eq(&f->key, &v->destination.key) && slim_id_eq(f->id, v->destination.id);
}

/* The header as it came, without what follows it: that is the subscription id and what is not known. */
static slim_forwarded_name *name_new(slim_mem *m, const slim_view *v)
{
    slim_head_patch patch = {.ttl = REPLAY_TTL};
    slim_forwarded_name *f = slim_alloc(m, sizeof(*f) + slim_head_bound(v));
    slim_view head = *v;
    size_t offset;

    if (f == NULL)
        return NULL;
    head.tail.n = 0;
    head.member_rest_bytes = 0;
    *f = (slim_forwarded_name){NULL, v->destination.key, v->destination.id, v->destination.has_id, v->subscription_id, 0};
    f->n = slim_head_build(&head, &patch, f->message, &offset);
    return f;
}

slim_err slim_forwarded_note(slim_forwarded *f, const slim_view *v)
{
    slim_forwarded_name **at, *old;

    if (f->bucket == NULL &&
        (v->type != SLIM_MSG_SUBSCRIBE || (f->bucket = slim_zalloc(f->mem, SLIM_FORWARDED_BUCKETS, sizeof(*f->bucket))) == NULL))
        return v->type == SLIM_MSG_SUBSCRIBE ? SLIM_E_NOMEM : SLIM_OK;
    for (at = &f->bucket[bucket_of(v)]; *at != NULL && !same(*at, v); at = &(*at)->next)
        ;
    if (v->type == SLIM_MSG_SUBSCRIBE) {
        if (*at != NULL)
            return SLIM_OK;
        if ((*at = name_new(f->mem, v)) == NULL)
            return SLIM_E_NOMEM;
        f->n++;
    } else if ((old = *at) != NULL) {
        *at = old->next;
        f->n--;
        slim_free(f->mem, old);
    }
    return SLIM_OK;
}

void slim_forwarded_each(const slim_forwarded *f, void (*fn)(void *arg, slim_bytes message), void *arg)
{
    for (uint32_t i = 0; f->bucket != NULL && i < SLIM_FORWARDED_BUCKETS; i++)
        for (const slim_forwarded_name *n = f->bucket[i]; n != NULL; n = n->next)
            fn(arg, slim_bytes_of(n->message, n->n));
}

void slim_forwarded_free(slim_forwarded *f)
{
    for (uint32_t i = 0; f->bucket != NULL && i < SLIM_FORWARDED_BUCKETS; i++) {
        while (f->bucket[i] != NULL) {
            slim_forwarded_name *n = f->bucket[i];

            f->bucket[i] = n->next;
            slim_free(f->mem, n);
        }
    }
    slim_free(f->mem, f->bucket);
    *f = (slim_forwarded){.mem = f->mem};
}
