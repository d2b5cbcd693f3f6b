#include "core/routes_int.h"

static size_t list_size(uint32_t cap)
{
    return sizeof(slim_rlist) + (size_t)cap * (sizeof(slim_rword) + 2 * sizeof(uint32_t));
}

static slim_rlist *list_new(slim_rseg *s, uint32_t cap)
{
    slim_rlist *l = slim_rseg_alloc(s, list_size(cap));

    if (l == NULL)
        return NULL;
    l->cap = cap;
    l->hole = SLIM_RLIST_NO_HOLE;
    l->where = (uint32_t *)((char *)l + sizeof(*l) + cap * sizeof(slim_rword));
    l->order = (_Atomic uint32_t *)(l->where + cap);
    atomic_init(&l->n, 0);
    atomic_init(&l->used, 0);
    for (uint32_t i = 0; i < cap; i++) {
        atomic_init(&l->v[i], 0);
        atomic_init(&l->order[i], 0);
    }
    return l;
}

static uint32_t list_put(slim_rlist *l, uint64_t link)
{
    uint32_t n = atomic_load_explicit(&l->n, memory_order_relaxed);
    uint32_t used = atomic_load_explicit(&l->used, memory_order_relaxed);
    uint32_t place = l->hole;

    if (place != SLIM_RLIST_NO_HOLE)
        l->hole = l->where[place];
    else
        place = used;
    atomic_store_explicit(&l->v[place], link, memory_order_release);
    if (place == used)
        atomic_store_explicit(&l->used, used + 1, memory_order_release);
    l->where[place] = n;
    atomic_store_explicit(&l->order[n], place, memory_order_release);
    atomic_store_explicit(&l->n, n + 1, memory_order_release);
    return place;
}

static void word_set(slim_rword *word, slim_rlist *l)
{
    atomic_store_explicit(word, (uint64_t)(uintptr_t)l, memory_order_release);
}

slim_err slim_rlist_reserve(slim_rseg *s, slim_rword *word)
{
    uint64_t w = atomic_load_explicit(word, memory_order_relaxed);
    slim_rlist *l, *larger;
    uint32_t used;

    if (w == 0)
        return SLIM_OK;
    if (slim_rword_single(w)) {
        if ((larger = list_new(s, SLIM_RLIST_CAP_MIN)) == NULL)
            return SLIM_E_NOMEM;
        list_put(larger, w);
        word_set(word, larger);
        return SLIM_OK;
    }
    l = slim_rword_list(w);
    if (l->hole != SLIM_RLIST_NO_HOLE || (used = atomic_load_explicit(&l->used, memory_order_relaxed)) < l->cap)
        return SLIM_OK;
    if (l->cap > UINT32_MAX / 4)
        return SLIM_E_TOO_LARGE;
    if ((larger = list_new(s, l->cap * 2)) == NULL)
        return SLIM_E_NOMEM;
    /* Nobody changes place: without holes each place below used has a member. */
    for (uint32_t i = 0; i < used; i++) {
        atomic_init(&larger->v[i], atomic_load_explicit(&l->v[i], memory_order_relaxed));
        atomic_init(&larger->order[i], atomic_load_explicit(&l->order[i], memory_order_relaxed));
        larger->where[i] = l->where[i];
    }
    atomic_init(&larger->n, used);
    atomic_init(&larger->used, used);
    word_set(word, larger);
    slim_rseg_retire(s, l, list_size(l->cap));
    return SLIM_OK;
}

uint32_t slim_rlist_append(slim_rword *word, uint64_t link)
{
    uint64_t w = atomic_load_explicit(word, memory_order_relaxed);

    if (w != 0)
        return list_put(slim_rword_list(w), link);
    atomic_store_explicit(word, link, memory_order_release);
    return 0;
}

/* Half of the places are holes: the members move to a new list, in the order of the rotation. Without memory the holes stay. */
static void list_compact(slim_rseg *s, slim_rword *word, slim_rlist *l, slim_rlist_place *place_of, const void *node)
{
    uint32_t n = atomic_load_explicit(&l->n, memory_order_relaxed), cap = SLIM_RLIST_CAP_MIN;
    slim_rlist *dense;

    while (cap < n + n / 2)
        cap *= 2;
    if ((dense = list_new(s, cap)) == NULL)
        return;
    for (uint32_t i = 0; i < n; i++) {
        uint64_t link = atomic_load_explicit(&l->v[atomic_load_explicit(&l->order[i], memory_order_relaxed)], memory_order_relaxed);

        *place_of(s, node, link) = list_put(dense, link);
    }
    word_set(word, dense);
    slim_rseg_retire(s, l, list_size(l->cap));
}

void slim_rlist_remove(slim_rseg *s, slim_rword *word, uint32_t place, slim_rlist_place *place_of, const void *node)
{
    uint64_t w = atomic_load_explicit(word, memory_order_relaxed), last_link;
    slim_rlist *l;
    uint32_t last, last_place, used;

    if (slim_rword_single(w)) {
        atomic_store_explicit(word, 0, memory_order_release);
        return;
    }
    l = slim_rword_list(w);
    last = atomic_load_explicit(&l->n, memory_order_relaxed) - 1;
    used = atomic_load_explicit(&l->used, memory_order_relaxed);
    last_place = atomic_load_explicit(&l->order[last], memory_order_relaxed);
    atomic_store_explicit(&l->order[l->where[place]], last_place, memory_order_release);
    l->where[last_place] = l->where[place];
    atomic_store_explicit(&l->n, last, memory_order_release);
    atomic_store_explicit(&l->v[place], 0, memory_order_release);
    l->where[place] = l->hole;
    l->hole = place;

    if (last == 0) {
        atomic_store_explicit(word, 0, memory_order_release);
        slim_rseg_retire(s, l, list_size(l->cap));
    } else if (last == 1) {
        last_link = atomic_load_explicit(&l->v[atomic_load_explicit(&l->order[0], memory_order_relaxed)], memory_order_relaxed);
        *place_of(s, node, last_link) = 0;
        atomic_store_explicit(word, last_link, memory_order_release);
        slim_rseg_retire(s, l, list_size(l->cap));
    } else if (last * 2 <= used && used > SLIM_RLIST_CAP_MIN) {
        list_compact(s, word, l, place_of, node);
    }
}

bool slim_rlist_has_other(const slim_rword *word, uint64_t except)
{
    uint64_t w = atomic_load_explicit(word, memory_order_relaxed);
    const slim_rlist *l;
    uint32_t n;

    if (w == 0 || slim_rword_single(w))
        return w != 0 && w != except;
    l = slim_rword_list(w);
    n = atomic_load_explicit(&l->n, memory_order_relaxed);
    return n > 1 ||
           atomic_load_explicit(&l->v[atomic_load_explicit(&l->order[0], memory_order_relaxed)], memory_order_relaxed) != except;
}

void slim_rlist_drop(slim_rseg *s, slim_rword *word)
{
    uint64_t w = atomic_load_explicit(word, memory_order_relaxed);

    if (w != 0 && !slim_rword_single(w))
        slim_rseg_free(s, slim_rword_list(w), list_size(slim_rword_list(w)->cap));
    atomic_store_explicit(word, 0, memory_order_relaxed);
}
