#include "config/reader.h"

#include <string.h>

#define FRAME_MAX_MIB 16
#define COUNT(a) (sizeof(a) / sizeof(*(a)))

static slim_err read_keepalive(cfg_reader *r, const cfg_path *p, const cfg_node *n, void *out)
{
    static const cfg_field fields[] = {
        {"time", CFG_DURATION, offsetof(slim_cfg_server, keepalive_time_ns), NULL, NULL},
        {"timeout", CFG_DURATION, offsetof(slim_cfg_server, keepalive_timeout_ns), NULL, NULL},
        {"max_connection_age", CFG_DURATION, offsetof(slim_cfg_server, max_connection_age_ns), NULL, NULL},
        {"max_connection_idle", CFG_CUSTOM, 0, cfg_any_duration, NULL},
        {"max_connection_age_grace", CFG_CUSTOM, 0, cfg_any_duration, NULL},
    };
    static const cfg_table table = {"a server's keepalive", fields, COUNT(fields), false};

    return cfg_mapping(r, p, n, &table, out);
}

/* HTTP/2 ends below 16 MiB, upstream takes any number. */
static slim_err read_frame_size(cfg_reader *r, const cfg_path *p, const cfg_node *n, void *out)
{
    uint32_t *mib = out;
    uint64_t v;
    slim_err e;

    if ((e = cfg_number(r, p, n, UINT32_MAX, &v)) == SLIM_OK)
        *mib = v < FRAME_MAX_MIB ? (uint32_t)v : FRAME_MAX_MIB;
    return e;
}

/* Two names of one setting. */
static slim_err read_negotiation_timeout(cfg_reader *r, const cfg_path *p, const cfg_node *n, void *out)
{
    slim_cfg_server *s = out;
    uint64_t v;
    slim_err e;

    if ((e = cfg_number(r, p, n, UINT64_MAX, &v)) == SLIM_OK)
        s->negotiation_timeout_s = v < UINT32_MAX ? (uint32_t)v : UINT32_MAX;
    return e;
}

static slim_err check_endpoint(cfg_reader *r, const cfg_path *p, const cfg_node *n, const slim_cfg_server *s)
{
    const cfg_node *at = cfg_lookup(r, n, "endpoint"), *tls = cfg_lookup(r, n, "tls");
    cfg_path here = {p, "endpoint", 0}, insecure = {&(cfg_path){p, "tls", 0}, "insecure", 0};

    if (s->endpoint == NULL)
        return cfg_fail(r, p, n, "the key \"endpoint\" is missing, e.g. endpoint: \"0.0.0.0:46357\"");
    if (strncmp(s->endpoint, "ws://", 5) == 0 || strncmp(s->endpoint, "wss://", 6) == 0)
        return cfg_fail(r, &here, at, "\"%.200s\": WebSocket listeners are not supported yet; use IP:port or unix:///path",
                        cfg_shown(at));
    if (strncmp(s->endpoint, "unix://", 7) == 0 && !s->tls.insecure)
        return cfg_fail(r, &insecure, tls != NULL ? tls : n, "must be true: a unix socket speaks no TLS");
    return SLIM_OK;
}

slim_err cfg_read_server(cfg_reader *r, const cfg_path *p, const cfg_node *n, slim_cfg_server *out)
{
    static const cfg_field fields[] = {
        {"endpoint", CFG_STRING, offsetof(slim_cfg_server, endpoint), NULL, NULL},
        {"tls", CFG_CUSTOM, offsetof(slim_cfg_server, tls), cfg_read_server_tls, NULL},
        {"http2_only", CFG_CUSTOM, 0, cfg_any_bool, NULL},
        {"max_frame_size", CFG_CUSTOM, offsetof(slim_cfg_server, max_frame_mib), read_frame_size, NULL},
        {"max_concurrent_streams", CFG_U32, offsetof(slim_cfg_server, max_concurrent_streams), NULL, NULL},
        {"max_header_list_size", CFG_U32, offsetof(slim_cfg_server, max_header_list_size), NULL, NULL},
        {"read_buffer_size", CFG_CUSTOM, 0, cfg_any_number, NULL},
        {"write_buffer_size", CFG_CUSTOM, 0, cfg_any_number, NULL},
        {"keepalive", CFG_CUSTOM, 0, read_keepalive, NULL},
        {"auth", CFG_CUSTOM, 0, cfg_read_auth, NULL},
        {"metadata", CFG_NO_EFFECT, 0, NULL, "it is what a control plane is told, and that is not supported yet"},
        {"require_header_mac", CFG_BOOL, offsetof(slim_cfg_server, require_header_mac), NULL, NULL},
        {"negotiation_timeout_secs", CFG_CUSTOM, 0, read_negotiation_timeout, NULL},
        {"link_hmac_timeout_secs", CFG_CUSTOM, 0, read_negotiation_timeout, NULL},
        {"link_hmac_poll_interval_ms", CFG_CUSTOM, 0, cfg_any_number, NULL},
    };
    static const cfg_table table = {"a server entry", fields, COUNT(fields), false};
    slim_err e;

    *out = (slim_cfg_server){
        .line = cfg_line(n),
        .tls = {.line = cfg_line(n), .include_system_ca_certs_pool = true},
        .keepalive_time_ns = 120000000000u,
        .keepalive_timeout_ns = 20000000000u,
        .max_connection_age_ns = 7200000000000u,
        .require_header_mac = true,
        .negotiation_timeout_s = 5,
    };
    if ((e = cfg_mapping(r, p, n, &table, out)) != SLIM_OK)
        return e;
    if (cfg_lookup(r, n, "negotiation_timeout_secs") != NULL && cfg_lookup(r, n, "link_hmac_timeout_secs") != NULL)
        return cfg_fail(r, p, n,
                        "negotiation_timeout_secs and link_hmac_timeout_secs are two names of one setting; give one of them");
    return check_endpoint(r, p, n, out);
}
