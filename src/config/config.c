#include "config/reader.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#define COUNT(a) (sizeof(a) / sizeof(*(a)))

/* A wrong level is info, as upstream takes it. */
static slim_err read_log_level(cfg_reader *r, const cfg_path *p, const cfg_node *n, void *out)
{
    static const char *const levels[] = {"off", "error", "warn", "info", "debug", "trace"};
    const char **level = out;
    slim_err e;

    if ((e = cfg_string(r, p, n, false, level)) != SLIM_OK)
        return e;
    for (size_t i = 0; i < COUNT(levels); i++)
        if (strcasecmp(*level, levels[i]) == 0)
            return SLIM_OK;
    cfg_warn(r, p, n, "unknown level \"%.80s\", info is used; allowed are off, error, warn, info, debug, trace", cfg_shown(n));
    *level = "info";
    return SLIM_OK;
}

static slim_err read_filters(cfg_reader *r, const cfg_path *p, const cfg_node *n, void *out)
{
    slim_cfg *c = out;
    const char **filters;
    slim_err e;

    if ((e = cfg_list(r, p, n, "a list of strings", &c->n_filters)) != SLIM_OK)
        return e;
    if ((filters = cfg_alloc(r, c->n_filters * sizeof(*filters) + 1)) == NULL)
        return r->err;
    for (size_t i = 0; i < c->n_filters; i++)
        if ((e = cfg_string(r, &(cfg_path){p, NULL, i}, cfg_list_item(r, n, i), false, &filters[i])) != SLIM_OK)
            return e;
    c->filters = filters;
    c->filters_default = false;
    return SLIM_OK;
}

static slim_err read_opentelemetry(cfg_reader *r, const cfg_path *p, const cfg_node *n, void *out)
{
    static const cfg_field fields[] = {
        {"enabled", CFG_BOOL, 0, NULL, NULL},
        {"grpc", CFG_IGNORED, 0, NULL, NULL},
        {"service_name", CFG_CUSTOM, 0, cfg_any_string, NULL},
        {"service_version", CFG_CUSTOM, 0, cfg_any_string, NULL},
        {"environment", CFG_CUSTOM, 0, cfg_any_string, NULL},
        {"metrics_interval_secs", CFG_CUSTOM, 0, cfg_any_number, NULL},
    };
    static const cfg_table table = {"tracing.opentelemetry", fields, COUNT(fields), true};
    bool enabled = false;
    slim_err e;

    if ((e = cfg_mapping(r, p, n, &table, &enabled)) != SLIM_OK)
        return e;
    return enabled ? cfg_fail(r, &(cfg_path){p, "enabled", 0}, cfg_lookup(r, n, "enabled"),
                              "true: export by OTLP is not supported yet; set it to false")
                   : SLIM_OK;
}

static slim_err read_tracing(cfg_reader *r, const cfg_node *n, slim_cfg *out)
{
    static const cfg_field fields[] = {
        {"log_level", CFG_CUSTOM, offsetof(slim_cfg, log_level), read_log_level, NULL},
        {"display_thread_names", CFG_BOOL, offsetof(slim_cfg, display_thread_names), NULL, NULL},
        {"display_thread_ids", CFG_BOOL, offsetof(slim_cfg, display_thread_ids), NULL, NULL},
        {"filters", CFG_CUSTOM, 0, read_filters, NULL},
        {"opentelemetry", CFG_CUSTOM, 0, read_opentelemetry, NULL},
    };
    static const cfg_table table = {"tracing", fields, COUNT(fields), true};

    return cfg_mapping(r, &(cfg_path){NULL, "tracing", 0}, n, &table, out);
}

static slim_err read_runtime(cfg_reader *r, const cfg_node *n, slim_cfg *out)
{
    static const cfg_field fields[] = {
        {"n_cores", CFG_U32, offsetof(slim_cfg, n_cores), NULL, NULL},
        {"thread_name", CFG_STRING, offsetof(slim_cfg, thread_name), NULL, NULL},
        {"drain_timeout", CFG_DURATION, offsetof(slim_cfg, drain_timeout_ns), NULL, NULL},
    };
    static const cfg_table table = {"runtime", fields, COUNT(fields), true};

    return cfg_mapping(r, &(cfg_path){NULL, "runtime", 0}, n, &table, out);
}

static slim_err check_root(cfg_reader *r, const cfg_node *root)
{
    static const cfg_field fields[] = {
        {"services", CFG_IGNORED, 0, NULL, NULL}, {"tracing", CFG_IGNORED, 0, NULL, NULL}, {"runtime", CFG_IGNORED, 0, NULL, NULL}};
    static const cfg_table table = {"the configuration, which has services, tracing and runtime", fields, COUNT(fields), true};

    return cfg_mapping(r, NULL, root, &table, &(slim_cfg){.services = NULL});
}

static slim_err read_all(cfg_reader *r, slim_cfg *out, slim_cfg_stage *stage)
{
    const cfg_node *root = yaml_document_get_root_node(&r->doc), *part;
    slim_err e;

    if ((e = cfg_interpolate(r)) != SLIM_OK || (e = check_root(r, root)) != SLIM_OK)
        return e;
    *stage = SLIM_CFG_RUNTIME;
    if ((part = cfg_lookup(r, root, "runtime")) != NULL && (e = read_runtime(r, part, out)) != SLIM_OK)
        return e;
    *stage = SLIM_CFG_TRACING;
    if ((part = cfg_lookup(r, root, "tracing")) != NULL && (e = read_tracing(r, part, out)) != SLIM_OK)
        return e;
    *stage = SLIM_CFG_SERVICES;
    if ((part = cfg_lookup(r, root, "services")) == NULL)
        return cfg_fail(r, &(cfg_path){NULL, "services", 0}, root, "missing services");
    return cfg_read_services(r, part, out);
}

/* The struct first, so that its arena is found from it alone. */
typedef struct owned {
    slim_cfg cfg;
    cfg_arena arena;
} owned;

static void arena_free(cfg_arena *a)
{
    while (a->blocks != NULL) {
        void *next = *(void **)a->blocks; /* a block begins with the link to the next */

        slim_free(a->mem, a->blocks);
        a->blocks = next;
    }
}

slim_err slim_cfg_parse(const slim_cfg_source *src, slim_mem *m, slim_cfg **out, void (*warn)(void *arg, const char *line),
                        void *warn_arg, slim_cfg_stage *stage, char *why, size_t why_n)
{
    owned *o = slim_zalloc(m, 1, sizeof(*o));
    cfg_reader r = {.src = src, .warn = warn, .warn_arg = warn_arg, .why = why, .why_n = why_n};

    *stage = SLIM_CFG_LOAD;
    *out = NULL;
    if (o == NULL)
        return cfg_no_memory(&r);
    o->arena.mem = m;
    r.arena = &o->arena;
    o->cfg = (slim_cfg){.thread_name = "slim",
                        .drain_timeout_ns = 10000000000u,
                        .log_level = "info",
                        .filters_default = true,
                        .display_thread_names = true,
                        ._arena = &o->arena};
    if (cfg_load(&r) == SLIM_OK)
        read_all(&r, &o->cfg, stage);
    yaml_document_delete(&r.doc);
    if (r.err != SLIM_OK) {
        slim_cfg_free(&o->cfg);
        return r.err;
    }
    *out = &o->cfg;
    return SLIM_OK;
}

void slim_cfg_free(slim_cfg *c)
{
    owned *o = (owned *)c;

    if (c == NULL)
        return;
    arena_free(&o->arena);
    slim_free(o->arena.mem, o);
}
