/* The YAML configuration in upstream's spelling (node.md 2): text in, checked structs out. No sockets; files are read through an
 * injected reader, the environment through an injected lookup. */
#ifndef SLIM_CONFIG_CONFIG_H
#define SLIM_CONFIG_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/err.h"
#include "core/mem.h"

typedef struct slim_cfg_pem { /* `{type: file, ...}` gives file, `{type: pem, ...}` gives text; both NULL: none */
    const char *file, *text;
} slim_cfg_pem;

typedef struct slim_cfg_tls {
    int line;
    bool insecure, insecure_skip_verify, include_system_ca_certs_pool;
    slim_cfg_pem cert, key;  /* source */
    slim_cfg_pem ca;         /* client: ca_source; server: client_ca */
    const char *tls_version; /* as written; checked when TLS is loaded */
} slim_cfg_tls;

typedef struct slim_cfg_server {
    int line;
    const char *endpoint;
    slim_cfg_tls tls;
    uint32_t max_frame_mib;                                                  /* 0: unset; at most 16 */
    uint32_t max_header_list_size;                                           /* 0: unset */
    uint32_t max_concurrent_streams;                                         /* 0: unset; limits nothing, as upstream */
    uint64_t keepalive_time_ns, keepalive_timeout_ns, max_connection_age_ns; /* 120 s, 20 s, 7200 s */
    bool require_header_mac;                                                 /* true */
    uint32_t negotiation_timeout_s;                                          /* 5 */
} slim_cfg_server;

typedef enum slim_cfg_backoff_kind { SLIM_BACKOFF_FIXED, SLIM_BACKOFF_EXPONENTIAL } slim_cfg_backoff_kind;
typedef struct slim_cfg_backoff {
    slim_cfg_backoff_kind kind; /* without the key: fixed, 2 s */
    uint64_t interval_ns;       /* fixed: 1 s when the block is there without it */
    uint64_t base, factor;      /* exponential: attempt k waits min(base^k * factor ms, max_delay); 100, 1 */
    uint64_t max_delay_ns;      /* 1 s */
    uint64_t max_attempts;      /* UINT64_MAX: no limit */
    bool jitter;                /* false in YAML */
} slim_cfg_backoff;

typedef struct slim_cfg_header {
    const char *name, *value;
} slim_cfg_header;

typedef enum slim_cfg_connection_type { SLIM_CFG_EDGE, SLIM_CFG_PEER, SLIM_CFG_REMOTE } slim_cfg_connection_type;

typedef struct slim_cfg_client {
    int line;
    const char *endpoint; /* http://, https://, unix:// */
    const char *origin;   /* host[:port] of it; NULL: that of the endpoint */
    const char *server_name;
    slim_cfg_tls tls;
    bool has_keepalive, keep_alive_while_idle;
    uint64_t tcp_keepalive_ns, http2_keepalive_ns, keepalive_timeout_ns; /* 60 s, 60 s, 10 s */
    uint64_t connect_timeout_ns, request_timeout_ns;                     /* 0: none */
    slim_cfg_header *headers;
    size_t n_headers;
    slim_cfg_backoff backoff;
    const char *link_id; /* NULL: a fresh UUID */
    bool require_header_mac;
    slim_cfg_connection_type connection_type;
} slim_cfg_client;

typedef struct slim_cfg_service {
    int line;
    const char *key;         /* "slim/0" */
    const char *node_id;     /* NULL: node-<uuid4> */
    const char *domain_name; /* NULL: none */
    slim_cfg_server *servers;
    size_t n_servers;
    slim_cfg_client *clients;
    size_t n_clients;
    uint32_t negotiation_timeout_s; /* of the first server; 5 without one */
    bool require_header_mac;        /* of the first server; true without one */
} slim_cfg_service;

typedef struct slim_cfg {
    /* runtime */
    uint32_t n_cores; /* 0: all */
    const char *thread_name;
    uint64_t drain_timeout_ns;
    /* tracing */
    const char *log_level;
    const char *const *filters;
    size_t n_filters;
    bool filters_default, display_thread_names, display_thread_ids;
    slim_cfg_service *services;
    size_t n_services;
    void *_arena;
} slim_cfg;

typedef struct slim_cfg_source {
    const char *name; /* for messages: "config.yaml" */
    const char *text;
    size_t n;
    /* ${env:X}: NULL when unset. ${file:X}: E_NOT_FOUND/E_SYS, else text by slim_alloc of m. */
    const char *(*getenv)(void *arg, const char *name);
    slim_err (*read_file)(void *arg, slim_mem *m, const char *path, char **text, size_t *n, const char **reason);
    void *arg;
} slim_cfg_source;

/* Which of upstream's stages refused it, so that the daemon can print `Error: <stage>` (node.md 1.2). */
typedef enum slim_cfg_stage { SLIM_CFG_LOAD, SLIM_CFG_RUNTIME, SLIM_CFG_TRACING, SLIM_CFG_SERVICES } slim_cfg_stage;

/* warn gets one line per ignored or unused key: `config.yaml:12: tls.ca_file: unknown key, ignored (did you mean "ca_source"?)`.
 * On error: why is `file:line: path.to.key: reason` and *stage tells. E_CONFIG, E_NOMEM. */
slim_err slim_cfg_parse(const slim_cfg_source *src, slim_mem *m, slim_cfg **out, void (*warn)(void *arg, const char *line),
                        void *warn_arg, slim_cfg_stage *stage, char *why, size_t why_n);
void slim_cfg_free(slim_cfg *c);

/* "1m30s500ms"; what is longer than UINT64_MAX ns is that. E_CONFIG. */
slim_err slim_duration_parse(const char *text, uint64_t *ns);

#endif
