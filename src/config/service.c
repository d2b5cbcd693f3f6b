#include "config/reader.h"

#include <string.h>

#define COUNT(a) (sizeof(a) / sizeof(*(a)))
#define KIND_MAX 63
#define NAME_MAX_BYTES 1024

#define LOWER "abcdefghijklmnopqrstuvwxyz"
#define UPPER "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGITS "0123456789"

static slim_err read_servers(cfg_reader *r, const cfg_path *p, const cfg_node *n, void *out)
{
    slim_cfg_service *s = out;
    slim_err e;

    if ((e = cfg_list(r, p, n, "a list of server entries", &s->n_servers)) != SLIM_OK)
        return e;
    if ((s->servers = cfg_alloc(r, s->n_servers * sizeof(*s->servers) + 1)) == NULL)
        return r->err;
    for (size_t i = 0; i < s->n_servers; i++)
        if ((e = cfg_read_server(r, &(cfg_path){p, NULL, i}, cfg_list_item(r, n, i), &s->servers[i])) != SLIM_OK)
            return e;
    /* Upstream takes the first one's values for every listener of the service. */
    for (size_t i = 1; i < s->n_servers; i++)
        if (s->servers[i].require_header_mac != s->servers[0].require_header_mac ||
            s->servers[i].negotiation_timeout_s != s->servers[0].negotiation_timeout_s)
            cfg_warn(r, &(cfg_path){p, NULL, i}, cfg_list_item(r, n, i),
                     "require_header_mac and negotiation_timeout_secs of the first server count for all of them");
    return SLIM_OK;
}

static slim_err read_clients(cfg_reader *r, const cfg_path *p, const cfg_node *n, void *out)
{
    slim_cfg_service *s = out;
    slim_err e;

    if ((e = cfg_list(r, p, n, "a list of client entries", &s->n_clients)) != SLIM_OK)
        return e;
    if ((s->clients = cfg_alloc(r, s->n_clients * sizeof(*s->clients) + 1)) == NULL)
        return r->err;
    for (size_t i = 0; i < s->n_clients; i++)
        if ((e = cfg_read_client(r, &(cfg_path){p, NULL, i}, cfg_list_item(r, n, i), &s->clients[i])) != SLIM_OK)
            return e;
    return SLIM_OK;
}

static slim_err read_pqc(cfg_reader *r, const cfg_path *p, const cfg_node *n, void *out)
{
    bool wanted;
    slim_err e = cfg_bool(r, p, n, &wanted);

    if (e == SLIM_OK && wanted)
        return cfg_fail(r, p, n,
                        "true is not possible: OpenSSL 3.0 has no ML-KEM-768, which post-quantum links need; set it to false");
    return e;
}

static slim_err read_outbound_clients(cfg_reader *r, const cfg_path *p, const cfg_node *n, void *out)
{
    size_t count;
    slim_err e = cfg_list(r, p, n, "a list of client entries", &count);

    if (e == SLIM_OK && count > 0)
        cfg_warn(r, p, n, "has no effect: it is about links that a control plane orders; nodes to dial stand in clients");
    return e;
}

static slim_err read_dataplane(cfg_reader *r, const cfg_path *p, const cfg_node *n, void *out)
{
    static const cfg_field fields[] = {
        {"enforce_pqc", CFG_CUSTOM, 0, read_pqc, NULL},
        {"servers", CFG_CUSTOM, 0, read_servers, NULL},
        {"clients", CFG_CUSTOM, 0, read_clients, NULL},
        {"outbound_clients", CFG_CUSTOM, 0, read_outbound_clients, NULL},
    };
    static const cfg_table table = {"dataplane", fields, COUNT(fields), true};

    return cfg_mapping(r, p, n, &table, out);
}

static bool empty_list(cfg_reader *r, const cfg_node *n, const char *key)
{
    const cfg_node *list = cfg_lookup(r, n, key);

    return list == NULL || (list->type == YAML_SEQUENCE_NODE && list->data.sequence.items.start == list->data.sequence.items.top);
}

/* A block that equals its default is none. */
static slim_err read_controller(cfg_reader *r, const cfg_path *p, const cfg_node *n, void *out)
{
    static const cfg_field fields[] = {
        {"enforce_pqc", CFG_CUSTOM, 0, read_pqc, NULL},
        {"servers", CFG_IGNORED, 0, NULL, NULL},
        {"clients", CFG_IGNORED, 0, NULL, NULL},
        {"outbound_clients", CFG_IGNORED, 0, NULL, NULL},
    };
    static const cfg_table table = {"controller", fields, COUNT(fields), true};
    slim_err e;

    if ((e = cfg_mapping(r, p, n, &table, out)) != SLIM_OK)
        return e;
    if (!empty_list(r, n, "servers") || !empty_list(r, n, "clients") || !empty_list(r, n, "outbound_clients"))
        return cfg_fail(r, p, n, "not supported yet: a node that a control plane steers");
    return SLIM_OK;
}

/* Where messages of local applications go that have no route: a hub has no local applications. */
static slim_err read_gateway(cfg_reader *r, const cfg_path *p, const cfg_node *n, void *out)
{
    const char *word;
    slim_err e = cfg_string(r, p, n, false, &word);

    if (e == SLIM_OK && strcmp(word, "auto") != 0 && strcmp(word, "off") != 0)
        return cfg_fail(r, p, n, "expected `auto` or `off`, found \"%.80s\"", cfg_shown(n));
    return e;
}

static slim_err check_key(cfg_reader *r, const cfg_path *p, const cfg_node *at, const char *key)
{
    const char *slash = strchr(key, '/');
    size_t kind_n;

    if (slash == NULL)
        return cfg_fail(r, p, at, "a service is named kind/name, e.g. slim/0");
    kind_n = (size_t)(slash - key);
    if (kind_n == 0 || kind_n > KIND_MAX || strspn(key, LOWER UPPER DIGITS "_") != kind_n || strchr(LOWER UPPER, key[0]) == NULL)
        return cfg_fail(
            r, p, at,
            "the kind of a service (before the slash) begins with a letter and has at most %d letters, digits and underscores",
            KIND_MAX);
    if (strlen(slash + 1) > NAME_MAX_BYTES || slash[1 + strspn(slash + 1, LOWER DIGITS "-")] != '\0')
        return cfg_fail(r, p, at, "the name of a service (behind the slash) has at most %d lower-case letters, digits and dashes",
                        NAME_MAX_BYTES);
    return SLIM_OK;
}

static slim_err read_service(cfg_reader *r, const cfg_path *p, const cfg_node *n, slim_cfg_service *out)
{
    static const cfg_field fields[] = {
        {"node_id", CFG_STRING, offsetof(slim_cfg_service, node_id), NULL, NULL},
        {"domain_name", CFG_STRING, offsetof(slim_cfg_service, domain_name), NULL, NULL},
        {"default_gateway", CFG_CUSTOM, 0, read_gateway, NULL},
        {"auth", CFG_UNSUPPORTED, 0, NULL, "credentials for a control plane"},
        {"dataplane", CFG_CUSTOM, 0, read_dataplane, NULL},
        {"controller", CFG_CUSTOM, 0, read_controller, NULL},
        {"peers", CFG_UNSUPPORTED, 0, NULL, "a full mesh of peers; link nodes by dataplane.clients with connection_type: peer"},
    };
    static const cfg_table table = {"a service", fields, COUNT(fields), true};
    slim_err e;

    out->line = cfg_line(n);
    if ((e = cfg_mapping(r, p, n, &table, out)) != SLIM_OK)
        return e;
    out->require_header_mac = out->n_servers > 0 ? out->servers[0].require_header_mac : true;
    out->negotiation_timeout_s = out->n_servers > 0 ? out->servers[0].negotiation_timeout_s : 5;
    return SLIM_OK;
}

slim_err cfg_read_services(cfg_reader *r, const cfg_node *n, slim_cfg *out)
{
    cfg_path root = {NULL, "services", 0};
    slim_err e;

    if (n->type != YAML_MAPPING_NODE)
        return cfg_fail(r, &root, n, "expected a mapping of services, e.g. slim/0: {...}");
    out->n_services = (size_t)(n->data.mapping.pairs.top - n->data.mapping.pairs.start);
    if (out->n_services == 0)
        return cfg_fail(r, &root, n, "missing services");
    if ((out->services = cfg_alloc(r, out->n_services * sizeof(*out->services))) == NULL)
        return r->err;
    for (size_t i = 0; i < out->n_services; i++) {
        const cfg_node *key = cfg_at(r, n->data.mapping.pairs.start[i].key),
                       *value = cfg_at(r, n->data.mapping.pairs.start[i].value);
        cfg_path here = {&root, key->type == YAML_SCALAR_NODE ? (const char *)key->data.scalar.value : "?", 0};

        if (key->type != YAML_SCALAR_NODE)
            return cfg_fail(r, &root, key, "a service is named kind/name, e.g. slim/0");
        if ((e = check_key(r, &here, key, here.key)) != SLIM_OK)
            return e;
        if ((out->services[i].key = cfg_copy(r, here.key, strlen(here.key))) == NULL)
            return r->err;
        if ((e = read_service(r, &here, value, &out->services[i])) != SLIM_OK)
            return e;
    }
    return SLIM_OK;
}
