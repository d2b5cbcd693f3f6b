#include "config/reader.h"

#include <string.h>
#include <strings.h>

#define HEADERS_MAX 64
#define SERVER_NAME_MAX 255 /* of the extension of TLS that names the server */
#define DIGITS "0123456789"
#define COUNT(a) (sizeof(a) / sizeof(*(a)))

static slim_err read_keepalive(cfg_reader *r, const cfg_path *p, const cfg_node *n, void *out)
{
    static const cfg_field fields[] = {
        {"tcp_keepalive", CFG_DURATION, offsetof(slim_cfg_client, tcp_keepalive_ns), NULL, NULL},
        {"http2_keepalive", CFG_DURATION, offsetof(slim_cfg_client, http2_keepalive_ns), NULL, NULL},
        {"timeout", CFG_DURATION, offsetof(slim_cfg_client, keepalive_timeout_ns), NULL, NULL},
        {"keep_alive_while_idle", CFG_BOOL, offsetof(slim_cfg_client, keep_alive_while_idle), NULL, NULL},
    };
    static const cfg_table table = {"a client's keepalive", fields, COUNT(fields), false};

    ((slim_cfg_client *)out)->has_keepalive = true;
    return cfg_mapping(r, p, n, &table, out);
}

static slim_err read_headers(cfg_reader *r, const cfg_path *p, const cfg_node *n, void *out)
{
    slim_cfg_client *c = out;
    size_t count;
    slim_err e;

    if (!cfg_is_mapping(n))
        return cfg_fail(r, p, n, "expected a mapping of header names to values");
    count = (size_t)(n->data.mapping.pairs.top - n->data.mapping.pairs.start);
    if (count > HEADERS_MAX)
        return cfg_fail(r, p, n, "more than %d headers", HEADERS_MAX);
    if ((c->headers = cfg_alloc(r, count * sizeof(*c->headers) + 1)) == NULL)
        return r->err;
    for (size_t i = 0; i < count; i++) {
        const cfg_node *key = cfg_at(r, n->data.mapping.pairs.start[i].key),
                       *value = cfg_at(r, n->data.mapping.pairs.start[i].value);
        cfg_path here = {p, key->type == YAML_SCALAR_NODE ? (const char *)key->data.scalar.value : "?", 0};
        const char *text;

        /* Names and values as HTTP/2 can carry them (RFC 9113, 8.2.1). */
        if (key->type != YAML_SCALAR_NODE || here.key[0] == '\0' ||
            here.key[strspn(here.key, "!#$%&'*+-.^_`|~0123456789"
                                      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")] != '\0')
            return cfg_fail(r, &here, key, "not a header name");
        if ((e = cfg_string(r, &here, value, true, &text)) != SLIM_OK)
            return e;
        for (const char *s = text; *s != '\0'; s++)
            if (((unsigned char)*s < 0x20 && *s != '\t') || *s == 0x7f)
                return cfg_fail(r, &here, value, "a header value must not have line breaks or control characters in it");
        for (size_t k = 0; k < c->n_headers; k++)
            if (strcasecmp(c->headers[k].name, here.key) == 0)
                return cfg_fail(r, &here, key, "the same header as %s", c->headers[k].name);
        if ((here.key = cfg_copy(r, here.key, strlen(here.key))) == NULL)
            return r->err;
        c->headers[c->n_headers++] = (slim_cfg_header){here.key, text};
    }
    return SLIM_OK;
}

/* A URI; what is left of it is the authority that the call names. */
static slim_err read_origin(cfg_reader *r, const cfg_path *p, const cfg_node *n, void *out)
{
    const char **origin = out, *text, *start;
    slim_err e;

    if ((e = cfg_string(r, p, n, false, &text)) != SLIM_OK)
        return e;
    start = strstr(text, "://");
    start = start != NULL ? start + 3 : text;
    if (start[strspn(start, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ" DIGITS "-._~!$&'()*+,;=:@%[]/?#")] != '\0' ||
        strcspn(start, "/?#") == 0)
        return cfg_fail(r, p, n, "\"%.200s\" is no URI; write https://name or https://name:port", cfg_shown(n));
    *origin = cfg_copy(r, start, strcspn(start, "/?#"));
    return r->err;
}

static slim_err read_backoff(cfg_reader *r, const cfg_path *p, const cfg_node *n, void *out)
{
    static const cfg_field fixed[] = {
        {"type", CFG_IGNORED, 0, NULL, NULL},
        {"interval", CFG_DURATION, offsetof(slim_cfg_backoff, interval_ns), NULL, NULL},
        {"max_attempts", CFG_U64, offsetof(slim_cfg_backoff, max_attempts), NULL, NULL},
    };
    static const cfg_field exponential[] = {
        {"type", CFG_IGNORED, 0, NULL, NULL},
        {"base", CFG_U64, offsetof(slim_cfg_backoff, base), NULL, NULL},
        {"factor", CFG_U64, offsetof(slim_cfg_backoff, factor), NULL, NULL},
        {"max_delay", CFG_DURATION, offsetof(slim_cfg_backoff, max_delay_ns), NULL, NULL},
        {"max_attempts", CFG_U64, offsetof(slim_cfg_backoff, max_attempts), NULL, NULL},
        {"jitter", CFG_BOOL, offsetof(slim_cfg_backoff, jitter), NULL, NULL},
    };
    static const cfg_table fixed_table = {"a fixed_interval backoff", fixed, COUNT(fixed), false},
                           exponential_table = {"an exponential backoff", exponential, COUNT(exponential), false};
    const cfg_node *type = cfg_is_mapping(n) ? cfg_lookup(r, n, "type") : NULL;
    slim_cfg_backoff *b = out;
    cfg_path here = {p, "type", 0};
    const char *word;
    slim_err e;

    if (!cfg_is_mapping(n))
        return cfg_fail(r, p, n, "expected a mapping");
    if (type == NULL)
        return cfg_fail(r, p, n, "the key \"type\" is missing: fixed_interval or exponential");
    if ((e = cfg_string(r, &here, type, false, &word)) != SLIM_OK)
        return e;
    b->interval_ns = 1000000000u;
    if (strcmp(word, "fixed_interval") == 0)
        return cfg_mapping(r, p, n, &fixed_table, b);
    if (strcmp(word, "exponential") != 0)
        return cfg_fail(r, &here, type, "unknown type \"%.80s\"; allowed are fixed_interval, exponential", cfg_shown(type));
    b->kind = SLIM_BACKOFF_EXPONENTIAL;
    return cfg_mapping(r, p, n, &exponential_table, b);
}

static slim_err read_connection_type(cfg_reader *r, const cfg_path *p, const cfg_node *n, void *out)
{
    slim_cfg_connection_type *type = out;
    const char *word;
    slim_err e;

    if ((e = cfg_string(r, p, n, false, &word)) != SLIM_OK)
        return e;
    if (strcmp(word, "edge") == 0)
        *type = SLIM_CFG_EDGE;
    else if (strcmp(word, "peer") == 0)
        *type = SLIM_CFG_PEER;
    else if (strcmp(word, "remote") == 0)
        *type = SLIM_CFG_REMOTE;
    else
        return cfg_fail(r, p, n, "unknown connection type \"%.80s\"; allowed are edge, peer, remote", cfg_shown(n));
    return SLIM_OK;
}

static slim_err read_compression(cfg_reader *r, const cfg_path *p, const cfg_node *n, void *out)
{
    static const char *const words[] = {"Gzip", "Zlib", "Deflate", "Snappy", "Zstd", "Lz4", "None", "Empty"};
    const char *word;
    slim_err e;

    if ((e = cfg_string(r, p, n, false, &word)) != SLIM_OK)
        return e;
    for (size_t i = 0; i < COUNT(words); i++) {
        if (strcmp(word, words[i]) == 0) {
            if (i < 6)
                cfg_warn(r, p, n, "has no effect: no SLIM node compresses");
            return SLIM_OK;
        }
    }
    return cfg_fail(r, p, n, "unknown compression \"%.80s\"; allowed are Gzip, Zlib, Deflate, Snappy, Zstd, Lz4, None, Empty",
                    cfg_shown(n));
}

/* "5/1": calls per seconds. */
static slim_err read_rate_limit(cfg_reader *r, const cfg_path *p, const cfg_node *n, void *out)
{
    const char *word, *slash;
    slim_err e;

    if ((e = cfg_string(r, p, n, false, &word)) != SLIM_OK)
        return e;
    slash = strchr(word, '/');
    if (slash == NULL || slash == word || slash[1] == '\0' || word + strspn(word, DIGITS) != slash ||
        slash[1 + strspn(slash + 1, DIGITS)] != '\0')
        return cfg_fail(r, p, n, "expected calls/seconds like \"100/1\", found \"%.80s\"", cfg_shown(n));
    cfg_warn(r, p, n, "has no effect: it counts calls, and a link is one call");
    return SLIM_OK;
}

static slim_err check_endpoint(cfg_reader *r, const cfg_path *p, const cfg_node *n, const slim_cfg_client *c)
{
    const cfg_node *at = cfg_lookup(r, n, "endpoint"), *tls = cfg_lookup(r, n, "tls");
    cfg_path here = {p, "endpoint", 0}, insecure = {&(cfg_path){p, "tls", 0}, "insecure", 0};
    const char *scheme;

    if (c->endpoint == NULL || c->endpoint[0] == '\0')
        return cfg_fail(r, p, n, "the key \"endpoint\" is missing, e.g. endpoint: \"http://10.0.0.6:46357\"");
    if (strncmp(c->endpoint, "ws://", 5) == 0 || strncmp(c->endpoint, "wss://", 6) == 0)
        return cfg_fail(r, &here, at, "\"%.200s\": WebSocket links are not supported yet; use http://, https:// or unix://",
                        cfg_shown(at));
    scheme = strstr(c->endpoint, "://");
    if (scheme == NULL || (strncmp(c->endpoint, "http://", 7) != 0 && strncmp(c->endpoint, "https://", 8) != 0 &&
                           strncmp(c->endpoint, "unix://", 7) != 0))
        return cfg_fail(r, &here, at, "\"%.200s\": invalid endpoint scheme; write http://, https:// or unix://", cfg_shown(at));
    if (strncmp(c->endpoint, "unix://", 7) == 0 && !c->tls.insecure)
        return cfg_fail(r, &insecure, tls != NULL ? tls : n, "must be true: a unix socket speaks no TLS");
    return SLIM_OK;
}

slim_err cfg_read_client(cfg_reader *r, const cfg_path *p, const cfg_node *n, slim_cfg_client *out)
{
    static const cfg_field fields[] = {
        {"endpoint", CFG_STRING, offsetof(slim_cfg_client, endpoint), NULL, NULL},
        {"origin", CFG_CUSTOM, offsetof(slim_cfg_client, origin), read_origin, NULL},
        {"server_name", CFG_STRING, offsetof(slim_cfg_client, server_name), NULL, NULL},
        {"compression", CFG_CUSTOM, 0, read_compression, NULL},
        {"rate_limit", CFG_CUSTOM, 0, read_rate_limit, NULL},
        {"tls", CFG_CUSTOM, offsetof(slim_cfg_client, tls), cfg_read_client_tls, NULL},
        {"keepalive", CFG_CUSTOM, 0, read_keepalive, NULL},
        {"proxy", CFG_UNSUPPORTED, 0, NULL, "connections through a proxy"},
        {"connect_timeout", CFG_DURATION, offsetof(slim_cfg_client, connect_timeout_ns), NULL, NULL},
        {"request_timeout", CFG_DURATION, offsetof(slim_cfg_client, request_timeout_ns), NULL, NULL},
        {"buffer_size", CFG_CUSTOM, 0, cfg_any_number, NULL},
        {"headers", CFG_CUSTOM, 0, read_headers, NULL},
        {"auth", CFG_CUSTOM, 0, cfg_read_auth, NULL},
        {"backoff", CFG_CUSTOM, offsetof(slim_cfg_client, backoff), read_backoff, NULL},
        {"metadata", CFG_IGNORED, 0, NULL, NULL},
        {"link_id", CFG_STRING, offsetof(slim_cfg_client, link_id), NULL, NULL},
        {"require_header_mac", CFG_BOOL, offsetof(slim_cfg_client, require_header_mac), NULL, NULL},
        {"connection_type", CFG_CUSTOM, offsetof(slim_cfg_client, connection_type), read_connection_type, NULL},
    };
    static const cfg_table table = {"a client entry", fields, COUNT(fields), false};
    slim_err e;

    *out = (slim_cfg_client){
        .line = cfg_line(n),
        .tls = {.line = cfg_line(n), .include_system_ca_certs_pool = true},
        .tcp_keepalive_ns = 60000000000u,
        .http2_keepalive_ns = 60000000000u,
        .keepalive_timeout_ns = 10000000000u,
        .backoff = {.kind = SLIM_BACKOFF_FIXED,
                    .interval_ns = 2000000000u,
                    .base = 100,
                    .factor = 1,
                    .max_delay_ns = 1000000000u,
                    .max_attempts = UINT64_MAX},
        .require_header_mac = true,
        .connection_type = SLIM_CFG_EDGE,
    };
    if ((e = cfg_mapping(r, p, n, &table, out)) != SLIM_OK)
        return e;
    if (out->link_id != NULL && out->link_id[0] == '\0')
        return cfg_fail(r, &(cfg_path){p, "link_id", 0}, cfg_lookup(r, n, "link_id"),
                        "must not be empty; leave it out for a random one");
    if (out->server_name != NULL && (strlen(out->server_name) > SERVER_NAME_MAX || out->server_name[0] == '.'))
        return cfg_fail(r, &(cfg_path){p, "server_name", 0}, cfg_lookup(r, n, "server_name"),
                        "no host name: one has at most %d bytes and does not begin with a dot", SERVER_NAME_MAX);
    return check_endpoint(r, p, n, out);
}
