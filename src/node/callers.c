#include "node/callers.h"

#include <assert.h>

struct slim_caller {
    slim_caller *next;
    uint64_t key[2];
    uint32_t n;
};

void slim_callers_init(slim_callers *t, slim_mem *m, uint64_t seed)
{
    *t = (slim_callers){.mem = m, .seed = seed};
    pthread_mutex_init(&t->lock, NULL);
}

void slim_callers_free(slim_callers *t)
{
    assert(t->n == 0);
    slim_free(t->mem, t->buckets);
    pthread_mutex_destroy(&t->lock);
}

/* Addresses are chosen by peers, so where they fall must not be known to them. */
static slim_caller **bucket_of(const slim_callers *t, const uint64_t key[2])
{
    uint64_t x = (key[0] ^ t->seed) * 0x9e3779b97f4a7c15u;

    x = (x ^ x >> 32 ^ key[1]) * 0xd6e8feb86659fd93u;
    return &t->buckets[(x >> 40) % SLIM_CALLERS_BUCKETS];
}

slim_err slim_callers_enter_xt(slim_callers *t, const slim_network *from, uint32_t max, slim_caller **out)
{
    slim_err e = SLIM_E_NOMEM;
    slim_caller **bucket, *c;

    *out = NULL;
    pthread_mutex_lock(&t->lock);
    if (t->buckets == NULL && (t->buckets = slim_zalloc(t->mem, SLIM_CALLERS_BUCKETS, sizeof(*t->buckets))) == NULL)
        goto out;
    bucket = bucket_of(t, from->w);
    for (c = *bucket; c != NULL; c = c->next)
        if (c->key[0] == from->w[0] && c->key[1] == from->w[1])
            break;
    e = SLIM_E_TOO_LARGE;
    if ((c != NULL ? c->n : 0) >= max)
        goto out;
    e = SLIM_E_NOMEM;
    if (c == NULL) {
        if ((c = slim_alloc(t->mem, sizeof(*c))) == NULL)
            goto out;
        *c = (slim_caller){*bucket, {from->w[0], from->w[1]}, 0};
        *bucket = c;
        t->n++;
    }
    c->n++;
    *out = c;
    e = SLIM_OK;
out:
    pthread_mutex_unlock(&t->lock);
    return e;
}

void slim_callers_leave_xt(slim_callers *t, slim_caller *c)
{
    slim_caller **at;

    pthread_mutex_lock(&t->lock);
    assert(c->n > 0);
    if (--c->n == 0) {
        for (at = bucket_of(t, c->key); *at != c; at = &(*at)->next)
            ;
        *at = c->next;
        slim_free(t->mem, c);
        t->n--;
    }
    pthread_mutex_unlock(&t->lock);
}
