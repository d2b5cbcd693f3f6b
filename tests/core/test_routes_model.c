/* Random operations against a naive model: lists of records, searched from end to end. The model keeps member lists as the contract
 * describes them: appended in order, the last one takes the place of a removed one. */
#include "core/routes.h"
#include "support/support.h"

#include <criterion/criterion.h>
#include <stdio.h>

enum { KEYS = 4, IDS = 4, LINKS = 10, SUB_IDS = 4, RECORDS_MAX = 4096, GENS_MAX = 4096 };

typedef struct record {
    int link, key, id; /* link: index into ever */
    uint64_t sub;
    bool explicit_id;
} record;

typedef struct list {
    int n, v[64];
} list;

typedef struct model {
    slim_links *links;
    slim_routes *routes;
    slim_routes_reader *reader;
    slim_targets targets;
    uint64_t seed;

    slim_link_id ever[GENS_MAX];
    slim_link_kind kind[GENS_MAX];
    bool alive[GENS_MAX];
    int n_ever;
    int open[LINKS]; /* index into ever, -1: closed */

    record rec[RECORDS_MAX];
    int n_rec;
    list slot[KEYS][IDS][SLIM_LINK_KINDS], agg[KEYS][SLIM_LINK_KINDS];
    uint32_t cursor[KEYS][IDS][SLIM_LINK_KINDS], any_cursor[KEYS];
} model;

static uint32_t draw(model *m, uint32_t n)
{
    return (uint32_t)(test_rand(&m->seed) % n);
}

static void list_add(list *l, int v)
{
    for (int i = 0; i < l->n; i++)
        if (l->v[i] == v)
            return;
    cr_assert_lt(l->n, 64);
    l->v[l->n++] = v;
}

static void list_del(list *l, int v)
{
    for (int i = 0; i < l->n; i++)
        if (l->v[i] == v)
            l->v[i] = l->v[--l->n];
}

static slim_name name_of(int key, int id, bool explicit_id)
{
    slim_name n = {.present = true, .has_name = true, .has_id = explicit_id, .key = {{(uint64_t)key, 1, 2}}, .id = SLIM_ID_NULL};

    if (id != 0)
        n.id = (slim_id){7, (uint64_t)id};
    return n;
}

static int model_find(const model *m, int link, int key, int id, uint64_t sub, bool explicit_id)
{
    for (int i = 0; i < m->n_rec; i++) {
        const record *r = &m->rec[i];

        if (r->link == link && r->key == key && r->id == id && r->sub == sub && r->explicit_id == explicit_id)
            return i;
    }
    return -1;
}

/* Records of a name; -1 stands for any. */
static int model_count(const model *m, int link, int key, int id, int kind)
{
    int n = 0;

    for (int i = 0; i < m->n_rec; i++) {
        const record *r = &m->rec[i];

        n += (link < 0 || r->link == link) && (key < 0 || r->key == key) && (id < 0 || r->id == id) &&
             (kind < 0 || (int)m->kind[r->link] == kind);
    }
    return n;
}

static slim_change model_remove(model *m, int at)
{
    record r = m->rec[at];
    slim_link_kind kind = m->kind[r.link];
    slim_change c = {0};

    m->rec[at] = m->rec[--m->n_rec];
    if (model_count(m, r.link, r.key, r.id, -1) == 0) {
        list_del(&m->slot[r.key][r.id][kind], r.link);
        c.edge = model_count(m, -1, r.key, r.id, (int)kind) == 0;
        c.unmatched = model_count(m, -1, r.key, r.id, -1) == 0;
        if (c.unmatched)
            memset(m->cursor[r.key][r.id], 0, sizeof(m->cursor[r.key][r.id]));
    }
    if (model_count(m, r.link, r.key, -1, -1) == 0)
        list_del(&m->agg[r.key][kind], r.link);
    if (model_count(m, -1, r.key, -1, -1) == 0)
        m->any_cursor[r.key] = 0;
    return c;
}

static void do_subscribe(model *m)
{
    int l = (int)draw(m, (uint32_t)m->n_ever), key = (int)draw(m, KEYS), id = (int)draw(m, IDS);
    bool explicit_id = id != 0 || draw(m, 2) != 0;
    uint64_t sub = draw(m, SUB_IDS);
    slim_name name = name_of(key, id, explicit_id);
    slim_change c;
    slim_err e;

    if (draw(m, 8) != 0 && (l = m->open[draw(m, LINKS)]) < 0)
        return;
    e = slim_routes_subscribe_xt(m->routes, m->ever[l], m->kind[l], sub, &name, &c);
    cr_assert(!c.unmatched);
    if (!m->alive[l]) {
        cr_assert_eq(e, SLIM_E_CLOSED);
        cr_assert(!c.edge);
        return;
    }
    cr_assert_eq(e, SLIM_OK);
    cr_assert_eq(c.edge, model_count(m, -1, key, id, (int)m->kind[l]) == 0);
    if (model_find(m, l, key, id, sub, explicit_id) >= 0)
        return;
    cr_assert_lt(m->n_rec, RECORDS_MAX);
    m->rec[m->n_rec++] = (record){l, key, id, sub, explicit_id};
    list_add(&m->slot[key][id][m->kind[l]], l);
    list_add(&m->agg[key][m->kind[l]], l);
}

static void do_unsubscribe(model *m)
{
    int l = (int)draw(m, (uint32_t)m->n_ever), key = (int)draw(m, KEYS), id = (int)draw(m, IDS), at;
    bool explicit_id = id != 0 || draw(m, 2) != 0;
    uint64_t sub = draw(m, SUB_IDS);
    slim_change c, want = {0};
    slim_unsub_miss miss;
    slim_name name;
    slim_err e;

    if (m->n_rec > 0 && draw(m, 2) != 0) {
        record r = m->rec[draw(m, (uint32_t)m->n_rec)];

        l = r.link, key = r.key, id = r.id, explicit_id = r.explicit_id, sub = r.sub;
    }
    name = name_of(key, id, explicit_id);
    e = slim_routes_unsubscribe_xt(m->routes, m->ever[l], sub, &name, &c, &miss);
    if ((at = model_find(m, l, key, id, sub, explicit_id)) >= 0) {
        cr_assert_eq(e, SLIM_OK);
        cr_assert_eq(miss, SLIM_UNSUB_FOUND);
        want = model_remove(m, at);
    } else {
        cr_assert_eq(e, SLIM_E_NOT_FOUND);
        cr_assert_eq(miss, model_count(m, -1, key, -1, -1) == 0   ? SLIM_UNSUB_NO_NAME
                           : model_count(m, -1, key, id, -1) == 0 ? SLIM_UNSUB_NO_ID
                                                                  : SLIM_UNSUB_NO_RECORD);
    }
    cr_assert_eq(c.edge, want.edge);
    cr_assert_eq(c.unmatched, want.unmatched);
}

static bool model_fits(const model *m, int l, int from)
{
    return l != from && m->alive[l];
}

static int model_one(model *m, int key, int id, int from, uint32_t kinds)
{
    for (int k = 0; k < SLIM_LINK_KINDS; k++) {
        const list *l = id == 0 ? &m->agg[key][k] : &m->slot[key][id][k];

        if (l->n == 0 || (kinds & SLIM_KIND_BIT(k)) == 0)
            continue;
        if (id == 0) {
            uint32_t start = m->any_cursor[key]++ % (uint32_t)l->n;

            for (int i = 0; i < l->n; i++)
                if (model_fits(m, l->v[(start + (uint32_t)i) % (uint32_t)l->n], from))
                    return l->v[(start + (uint32_t)i) % (uint32_t)l->n];
        } else if (l->n == 1) {
            if (model_fits(m, l->v[0], from))
                return l->v[0];
        } else {
            for (int i = 0; i < l->n; i++) {
                int v = l->v[m->cursor[key][id][k]++ % (uint32_t)l->n];

                if (model_fits(m, v, from))
                    return v;
            }
        }
    }
    return -1;
}

static void do_match(model *m)
{
    int key = (int)draw(m, KEYS), id = (int)draw(m, IDS), from = (int)draw(m, (uint32_t)m->n_ever + 1) - 1, want;
    uint32_t kinds = draw(m, 3) != 0 ? SLIM_KINDS_ALL : draw(m, 16), fanout = draw(m, 2) != 0 ? 1 : draw(m, 4), expected = 0;
    slim_name name = name_of(key, id, true);
    bool hit[GENS_MAX] = {false};
    slim_err e;

    if (draw(m, 2) != 0)
        from = m->open[draw(m, LINKS)];
    slim_routes_enter(m->reader);
    e = slim_routes_match(m->reader, &name.key, name.id, fanout, from >= 0 ? m->ever[from] : SLIM_LINK_NONE, kinds, &m->targets);
    slim_routes_leave(m->reader);
    if (fanout == 1) {
        want = model_one(m, key, id, from, kinds);
        cr_assert_eq(e, want >= 0 ? SLIM_OK : SLIM_E_NOT_FOUND);
        cr_assert_eq(m->targets.n, want >= 0);
        if (want >= 0) {
            cr_assert(slim_link_id_eq(m->targets.v[0], m->ever[want]));
            cr_assert_eq(m->targets.kind[0], m->kind[want]);
        }
        return;
    }
    for (int i = 0; i < m->n_rec; i++) {
        const record *r = &m->rec[i];

        if (r->key == key && (id == 0 || r->id == id) && model_fits(m, r->link, from) &&
            (kinds & SLIM_KIND_BIT(m->kind[r->link])) != 0 && !hit[r->link]) {
            hit[r->link] = true;
            expected++;
        }
    }
    cr_assert_eq(e, expected != 0 ? SLIM_OK : SLIM_E_NOT_FOUND);
    cr_assert_eq(m->targets.n, expected);
    for (uint32_t i = 0; i < m->targets.n; i++) {
        int l = 0;

        while (l < m->n_ever && !slim_link_id_eq(m->ever[l], m->targets.v[i]))
            l++;
        cr_assert(l < m->n_ever && hit[l]);
        cr_assert_eq(m->targets.kind[i], m->kind[l]);
        hit[l] = false;
    }
}

static void do_open(model *m)
{
    uint32_t at = draw(m, LINKS);
    int l = m->n_ever;

    if (m->open[at] >= 0 || l == GENS_MAX)
        return;
    m->kind[l] = (slim_link_kind)draw(m, SLIM_LINK_KINDS);
    m->alive[l] = true;
    cr_assert_eq(slim_links_open_xt(m->links, 0, m->kind[l], &m->ever[l]), SLIM_OK);
    m->open[at] = m->n_ever++;
}

typedef struct told {
    int n;
    slim_name name[KEYS * IDS];
} told;

static void gone_fn(void *arg, const slim_name *name, uint64_t id)
{
    told *t = arg;

    cr_assert_lt(t->n, KEYS * IDS);
    cr_assert_lt(id, SUB_IDS);
    t->name[t->n++] = *name;
}

/* One slice: the table chooses which records go, so the model follows what it can see: the names told and the count left. */
static void do_drop(model *m)
{
    uint32_t max = draw(m, 3) != 0 ? 1 + draw(m, 6) : 10000;
    int l, had, at;
    bool more = true;

    if ((l = m->open[at = (int)draw(m, LINKS)]) < 0)
        return;
    m->open[at] = -1;
    m->alive[l] = false;
    slim_links_close_xt(m->links, m->ever[l]);
    for (int i = 0; i < 4; i++)
        do_match(m);
    while (more) {
        uint64_t before = slim_routes_link_records_xt(m->routes, m->ever[l]), left;
        told t = {0};

        cr_assert_eq(slim_routes_drop_link_xt(m->routes, m->ever[l], max, gone_fn, &t, &more), SLIM_OK);
        left = slim_routes_link_records_xt(m->routes, m->ever[l]);
        cr_assert_eq(before - left, before < max ? before : max);
        cr_assert_eq(more, left != 0);
        for (int i = 0; i < t.n; i++) {
            int key = (int)t.name[i].key.c[0], id = slim_id_is_null(t.name[i].id) ? 0 : (int)t.name[i].id.lo;

            cr_assert_gt(model_count(m, l, key, id, -1), 0);
            cr_assert_eq(model_count(m, l, key, id, -1), model_count(m, -1, key, id, -1), "another link still has the name");
            cr_assert(id == 0 || t.name[i].has_id);
            for (int k = m->n_rec - 1; k >= 0; k--)
                if (m->rec[k].link == l && m->rec[k].key == key && m->rec[k].id == id)
                    model_remove(m, k);
        }
    }
    /* Whatever is left of the link in the model is of names that others have too. */
    for (int k = m->n_rec - 1; k >= 0; k--) {
        if (k < m->n_rec && m->rec[k].link == l) {
            had = model_count(m, -1, m->rec[k].key, m->rec[k].id, -1) - model_count(m, l, m->rec[k].key, m->rec[k].id, -1);
            cr_assert_gt(had, 0, "a name without any link was not told");
        }
    }
    for (int k = m->n_rec - 1; k >= 0; k--)
        if (k < m->n_rec && m->rec[k].link == l)
            model_remove(m, k);
}

typedef struct walk {
    model *m;
    int except;
    bool seen[KEYS][IDS];
    int n;
} walk;

static bool walk_fn(void *arg, const slim_known *known)
{
    walk *w = arg;
    int key = (int)known->name->key.c[0], id = slim_id_is_null(known->name->id) ? 0 : (int)known->name->id.lo;
    bool explicit_id = false, id_known = false;
    uint32_t kinds = 0;

    cr_assert(!w->seen[key][id]);
    w->seen[key][id] = true;
    w->n++;
    for (int i = 0; i < w->m->n_rec; i++) {
        const record *r = &w->m->rec[i];

        if (r->key != key || r->id != id)
            continue;
        explicit_id = explicit_id || r->explicit_id;
        if (r->link != w->except)
            kinds |= SLIM_KIND_BIT(w->m->kind[r->link]);
    }
    for (int i = 0; i < w->m->n_rec; i++) {
        const record *r = &w->m->rec[i];

        id_known =
            id_known || (r->key == key && r->id == id && r->sub == known->subscription_id && (kinds == 0 || r->link != w->except));
    }
    cr_assert(id_known);
    cr_assert_eq(known->kinds, kinds);
    cr_assert_eq(known->name->has_id, explicit_id);
    return draw(w->m, 4) != 0;
}

static void do_walk(model *m)
{
    walk w = {.m = m, .except = m->open[draw(m, LINKS)]};
    slim_routes_cursor c = {0};
    slim_routes_stats st;
    bool more = true;
    int names = 0, ids = 0;

    while (more)
        cr_assert_eq(slim_routes_walk_xt(m->routes, &c, 1 + draw(m, 5), w.except >= 0 ? m->ever[w.except] : SLIM_LINK_NONE, walk_fn,
                                         &w, &more),
                     SLIM_OK);
    for (int k = 0; k < KEYS; k++) {
        names += model_count(m, -1, k, -1, -1) != 0;
        for (int i = 0; i < IDS; i++) {
            ids += model_count(m, -1, k, i, -1) != 0;
            cr_assert_eq(w.seen[k][i], model_count(m, -1, k, i, -1) != 0);
        }
    }
    slim_routes_stats_xt(m->routes, &st);
    cr_assert_eq(st.names, (uint64_t)names);
    cr_assert_eq(st.ids, (uint64_t)ids);
    cr_assert_eq(st.records, (uint64_t)m->n_rec);
    for (int l = 0; l < LINKS; l++)
        if (m->open[l] >= 0)
            cr_assert_eq(slim_routes_link_records_xt(m->routes, m->ever[m->open[l]]),
                         (uint64_t)model_count(m, m->open[l], -1, -1, -1));
}

static void play(int steps, uint32_t sub_weight)
{
    static model m;
    test_mem mem;

    memset(&m, 0, sizeof(m));
    test_mem_init(&mem, -1);
    m.seed = test_seed();
    m.links = slim_links_new(&mem.mem, 1024);
    m.routes = slim_routes_new(&mem.mem, m.links, m.seed);
    m.reader = slim_routes_reader_new(m.routes);
    m.targets.mem = &mem.mem;
    memset(m.open, -1, sizeof(m.open));
    for (int i = 0; i < 8; i++)
        do_open(&m);
    for (int i = 0; i < steps; i++) {
        uint32_t what = draw(&m, 100);

        if (what < sub_weight)
            do_subscribe(&m);
        else if (what < 55)
            do_unsubscribe(&m);
        else if (what < 90)
            do_match(&m);
        else if (what < 96)
            do_open(&m);
        else if (what < 98)
            do_walk(&m);
        else
            do_drop(&m);
    }
    slim_targets_free(&m.targets);
    slim_routes_free(m.routes);
    slim_links_free(m.links);
    cr_assert_eq(mem.live, 0);
}

Test(routes_model, agrees_when_names_are_rare)
{
    play(20000, 20);
}
Test(routes_model, agrees_when_names_come_and_go)
{
    play(20000, 28);
}
Test(routes_model, agrees_when_names_are_crowded)
{
    play(20000, 42);
}
