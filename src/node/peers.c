#include "node/peers.h"

#include "core/head.h"
#include "node/subscribe.h"

#define STANDALONE_TTL 8
#define SYNC_SLICE 64u
#define SYNC_HIGH_BYTES (256u * 1024)

/* One (name, id) that peers were told of. kinds: why we told them ourselves; relayed: it came from a peer and was passed on. */
struct slim_announced {
    slim_announced *next;
    slim_key key;
    slim_id id;
    uint64_t subscription_id;
    uint32_t kinds;
    bool relayed;
    slim_link_id from; /* of a relayed one */
};

static uint64_t name_hash(const slim_name *n)
{
    uint64_t h = n->key.c[0] * 0x9e3779b97f4a7c15u;

    h = (h ^ n->key.c[1]) * 0xbf58476d1ce4e5b9u;
    h = (h ^ n->key.c[2]) * 0x94d049bb133111ebu;
    h = (h ^ n->id.hi) * 0x9e3779b97f4a7c15u;
    h = (h ^ n->id.lo) * 0xbf58476d1ce4e5b9u;
    return h ^ (h >> 29);
}

static slim_err announced_grow(slim_hub *h)
{
    uint32_t cap = h->announced_cap == 0 ? 256 : h->announced_cap * 2;
    slim_announced **v = slim_zalloc(h->mem, cap, sizeof(*v));

    if (v == NULL)
        return h->announced_cap == 0 ? SLIM_E_NOMEM : SLIM_OK; /* longer chains are only slower */
    for (uint32_t i = 0; h->announced != NULL && i < h->announced_cap; i++) {
        slim_announced *a = h->announced[i];

        while (a != NULL) {
            slim_announced *next = a->next;
            slim_name n = {.key = a->key, .id = a->id};
            slim_announced **at = &v[name_hash(&n) & (cap - 1)];

            a->next = *at;
            *at = a;
            a = next;
        }
    }
    slim_free(h->mem, h->announced);
    h->announced = v;
    h->announced_cap = cap;
    return SLIM_OK;
}

static slim_announced **announced_bucket(slim_hub *h, const slim_name *name)
{
    return h->announced_cap == 0 ? NULL : &h->announced[name_hash(name) & (h->announced_cap - 1)];
}

static bool same_name(const slim_announced *a, const slim_name *name)
{
    return slim_key_eq(&a->key, &name->key) && slim_id_eq(a->id, name->id);
}

static slim_announced *announced_add(slim_hub *h, const slim_name *name, uint64_t subscription_id)
{
    slim_announced *a, **at;

    if (h->n_announced >= h->announced_cap && announced_grow(h) != SLIM_OK)
        return NULL;
    if ((a = slim_zalloc(h->mem, 1, sizeof(*a))) == NULL)
        return NULL;
    a->key = name->key;
    a->id = name->id;
    a->subscription_id = subscription_id;
    at = announced_bucket(h, name);
    a->next = *at;
    *at = a;
    h->n_announced++;
    return a;
}

static void announced_remove(slim_hub *h, slim_announced **at)
{
    slim_announced *a = *at;

    *at = a->next;
    h->n_announced--;
    slim_free(h->mem, a);
}

bool slim_peers_announce_xt(slim_hub *h, const slim_name *name, slim_link_kind kind, uint64_t subscription_id, uint64_t *id)
{
    slim_announced *a = NULL;
    bool tell = false;

    pthread_mutex_lock(&h->peers_lock);
    if (announced_bucket(h, name) != NULL)
        for (a = *announced_bucket(h, name); a != NULL && !(same_name(a, name) && !a->relayed); a = a->next)
            ;
    if (a == NULL) {
        a = announced_add(h, name, subscription_id);
        tell = true; /* without memory to remember it, telling is still right */
    }
    *id = a != NULL ? a->subscription_id : subscription_id;
    if (a != NULL)
        a->kinds |= SLIM_KIND_BIT(kind);
    pthread_mutex_unlock(&h->peers_lock);
    return tell;
}

bool slim_peers_withdraw_xt(slim_hub *h, const slim_name *name, slim_link_kind kind, bool all, uint64_t *id)
{
    slim_announced **at;
    bool tell = false;

    pthread_mutex_lock(&h->peers_lock);
    if ((at = announced_bucket(h, name)) != NULL) {
        for (; *at != NULL && !(same_name(*at, name) && !(*at)->relayed); at = &(*at)->next)
            ;
        if (*at != NULL) {
            (*at)->kinds = all ? 0 : (*at)->kinds & ~SLIM_KIND_BIT(kind);
            if ((*at)->kinds == 0) {
                *id = (*at)->subscription_id;
                announced_remove(h, at);
                tell = true;
            }
        }
    }
    pthread_mutex_unlock(&h->peers_lock);
    return tell;
}

bool slim_peers_seen_xt(slim_hub *h, const slim_name *name, uint64_t subscription_id, slim_link_id from)
{
    slim_announced **at;
    bool seen = false;

    pthread_mutex_lock(&h->peers_lock);
    if ((at = announced_bucket(h, name)) != NULL) {
        for (slim_announced *a = *at; a != NULL && !seen; a = a->next) {
            if (!same_name(a, name) || a->subscription_id != subscription_id)
                continue;
            /* One that came from a link which is gone is no loop but the same subscription on its new way. */
            seen = !a->relayed || (!slim_link_id_eq(a->from, from) && slim_links_live_xt(h->links, a->from) != NULL);
        }
    }
    pthread_mutex_unlock(&h->peers_lock);
    return seen;
}

slim_err slim_peers_relayed_xt(slim_hub *h, const slim_name *name, uint64_t subscription_id, slim_link_id from)
{
    slim_announced *a = NULL;

    pthread_mutex_lock(&h->peers_lock);
    if (announced_bucket(h, name) != NULL)
        for (a = *announced_bucket(h, name); a != NULL; a = a->next)
            if (a->relayed && same_name(a, name) && a->subscription_id == subscription_id)
                break;
    if (a == NULL)
        a = announced_add(h, name, subscription_id);
    if (a != NULL) {
        a->relayed = true;
        a->from = from;
    }
    pthread_mutex_unlock(&h->peers_lock);
    return a != NULL ? SLIM_OK : SLIM_E_NOMEM;
}

void slim_peers_unrelayed_xt(slim_hub *h, const slim_name *name, uint64_t subscription_id)
{
    slim_announced **at;

    pthread_mutex_lock(&h->peers_lock);
    if ((at = announced_bucket(h, name)) != NULL) {
        for (; *at != NULL && !((*at)->relayed && same_name(*at, name) && (*at)->subscription_id == subscription_id);
             at = &(*at)->next)
            ;
        if (*at != NULL)
            announced_remove(h, at);
    }
    pthread_mutex_unlock(&h->peers_lock);
}

void slim_peers_free(slim_hub *h)
{
    for (uint32_t i = 0; i < h->announced_cap; i++)
        while (h->announced[i] != NULL)
            announced_remove(h, &h->announced[i]);
    slim_free(h->mem, h->announced);
    slim_free(h->mem, h->peers);
}

slim_err slim_peers_list_xt(slim_hub *h, slim_link_id except, slim_link_id **v, uint32_t *n)
{
    uint32_t all;

    *v = NULL;
    *n = 0;
    pthread_mutex_lock(&h->peers_lock);
    all = atomic_load_explicit(&h->n_peers, memory_order_relaxed);
    if (all > 0 && (*v = slim_alloc(h->mem, all * sizeof(**v))) != NULL)
        for (uint32_t i = 0; i < all; i++)
            if (!slim_link_id_eq(h->peers[i], except))
                (*v)[(*n)++] = h->peers[i];
    pthread_mutex_unlock(&h->peers_lock);
    return all > 0 && *v == NULL ? SLIM_E_NOMEM : SLIM_OK;
}

void slim_peers_join(slim_link *l, bool restricted)
{
    slim_hub *h = l->worker->hub;
    uint32_t n;

    pthread_mutex_lock(&h->peers_lock);
    n = atomic_load_explicit(&h->n_peers, memory_order_relaxed);
    if (n == h->peers_cap) {
        uint32_t cap = n == 0 ? 8 : n * 2;
        slim_link_id *v = slim_resize(h->mem, h->peers, cap * sizeof(*v));

        if (v != NULL) {
            h->peers = v;
            h->peers_cap = cap;
        }
    }
    if (n < h->peers_cap) {
        h->peers[n] = l->id;
        atomic_store_explicit(&h->n_peers, n + 1, memory_order_release);
    }
    pthread_mutex_unlock(&h->peers_lock);
    l->syncing = true;
    l->sync_restricted = restricted;
    l->sync = (slim_routes_cursor){0};
    l->next_syncing = l->worker->syncing;
    l->worker->syncing = l;
    slim_log(SLIM_INFO, DATAPATH, "starting peer sync conn_index=%u node_id=%s", l->id.slot, l->peer.peer_node_id);
}

void slim_peers_leave(slim_link *l)
{
    slim_hub *h = l->worker->hub;
    uint32_t n;

    pthread_mutex_lock(&h->peers_lock);
    n = atomic_load_explicit(&h->n_peers, memory_order_relaxed);
    for (uint32_t i = 0; i < n; i++) {
        if (slim_link_id_eq(h->peers[i], l->id)) {
            h->peers[i] = h->peers[n - 1];
            atomic_store_explicit(&h->n_peers, n - 1, memory_order_release);
            break;
        }
    }
    pthread_mutex_unlock(&h->peers_lock);
}

static void send_name(slim_worker *w, slim_link_id to, const slim_name *name, bool unsubscribe, uint64_t id, uint32_t ttl)
{
    uint8_t stack[512], *message = stack;
    size_t bound = slim_subscribe_bound(name);

    if (bound > sizeof(stack) && (message = slim_alloc(w->io.mem, bound)) == NULL)
        return;
    slim_subscribe_send(w, to, slim_bytes_of(message, slim_subscribe_build(name, unsubscribe, id, ttl, message)), 0, id, false);
    if (message != stack)
        slim_free(w->io.mem, message);
}

static bool sync_name(void *arg, const slim_known *known)
{
    slim_link *l = arg;
    uint64_t id = known->subscription_id;
    uint32_t own = known->kinds & ~SLIM_KIND_BIT(SLIM_PEER);

    if (known->kinds == 0 || (own == 0 && l->sync_restricted))
        return true;
    for (int k = 0; own != 0 && k < SLIM_LINK_KINDS; k++)
        if ((own & SLIM_KIND_BIT(k)) != 0)
            slim_peers_announce_xt(l->worker->hub, known->name, (slim_link_kind)k, known->subscription_id, &id);
    send_name(l->worker, l->id, known->name, false, id, STANDALONE_TTL);
    return slim_stream_queued(l->stream) < SYNC_HIGH_BYTES;
}

bool slim_peers_sync_ready(const slim_link *l)
{
    return slim_stream_queued(l->stream) < SYNC_HIGH_BYTES;
}

void slim_peers_sync(slim_worker *w)
{
    slim_link **at = &w->syncing;

    while (*at != NULL) {
        slim_link *l = *at;
        bool more = true;

        if (slim_peers_sync_ready(l) &&
            slim_routes_walk_xt(w->hub->routes, &l->sync, SYNC_SLICE, l->id, sync_name, l, &more) == SLIM_OK && !more) {
            l->syncing = false;
            *at = l->next_syncing;
            continue;
        }
        at = &l->next_syncing;
    }
}

void slim_peers_name_gone(void *arg, const slim_name *name, uint64_t subscription_id)
{
    slim_worker *w = arg;
    slim_hub *h = w->hub;
    slim_link_id *peers = NULL;
    uint32_t n = 0;
    uint64_t id;

    slim_log(SLIM_DEBUG, DATAPATH, "notify control plane about lost subscription subscription_id=%llu",
             (unsigned long long)subscription_id);
    /* Own announcement first, then whatever was relayed for others under this name. */
    for (;;) {
        slim_announced **at;
        bool found = slim_peers_withdraw_xt(h, name, SLIM_LOCAL, true, &id);

        pthread_mutex_lock(&h->peers_lock);
        if (!found && (at = announced_bucket(h, name)) != NULL) {
            for (; *at != NULL && !same_name(*at, name); at = &(*at)->next)
                ;
            if (*at != NULL) {
                id = (*at)->subscription_id;
                announced_remove(h, at);
                found = true;
            }
        }
        pthread_mutex_unlock(&h->peers_lock);
        if (!found)
            break;
        if (peers == NULL && slim_peers_list_xt(h, SLIM_LINK_NONE, &peers, &n) != SLIM_OK)
            break;
        for (uint32_t i = 0; i < n; i++)
            send_name(w, peers[i], name, true, id, STANDALONE_TTL);
    }
    slim_free(h->mem, peers);
}
