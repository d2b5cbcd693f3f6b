#include "bin/service.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "auth/uuid.h"
#include "core/log.h"
#include "io/resolve.h"

/* What peers see: the SLIM generation whose wire we speak, ours as build metadata. */
#define ANNOUNCED_VERSION "3.4.6+slimrouter." SLIM_VERSION

struct slim_service {
    slim_hub *hub;
    slim_tls_ctx **tls;
    size_t n_tls;
    pthread_mutex_t lock;
    size_t n_clients, n_connected;
    bool failed;
    char why[256], endpoint[160];
};

void (*slim_service_on_settled)(void);

static void *no_memory(char *why, size_t why_n)
{
    snprintf(why, why_n, "out of memory");
    return NULL;
}

static slim_err tls_load(const slim_cfg_tls *t, bool server, const char *file, slim_tls_ctx **out, char *why, size_t why_n)
{
    char where[512];
    slim_tls_config c = {
        .cert = {t->cert.file, t->cert.text},
        .key = {t->key.file, t->key.text},
        .ca = {t->ca.file, t->ca.text},
        .system_roots = t->include_system_ca_certs_pool,
        .skip_verify = t->insecure_skip_verify,
        .where = where,
    };

    snprintf(where, sizeof(where), "%s:%d: tls", file, t->line);
    if (t->tls_version == NULL || strcmp(t->tls_version, "tls1.3") == 0) {
        c.version = 13;
    } else if (strcmp(t->tls_version, "tls1.2") == 0) {
        c.version = 12;
    } else {
        snprintf(why, why_n, "%s.tls_version: invalid tls version: %s; allowed are \"tls1.2\" and \"tls1.3\"", where,
                 t->tls_version);
        return SLIM_E_CONFIG;
    }
    return server ? slim_tls_server_new(&c, out, why, why_n) : slim_tls_client_new(&c, out, why, why_n);
}

static bool client_uses_tls(const slim_cfg_client *c)
{
    return strncmp(c->endpoint, "https://", 8) == 0;
}

/* A node that nobody reaches and that reaches nobody is a mistake. */
static slim_err has_endpoints(const slim_cfg_service *s, const char *file, char *why, size_t why_n)
{
    if (s->n_servers > 0 || s->n_clients > 0)
        return SLIM_OK;
    snprintf(why, why_n, "%s:%d: services.%s: no server or client configured; give it dataplane.servers or dataplane.clients", file,
             s->line, s->key);
    return SLIM_E_CONFIG;
}

slim_err slim_service_check(const slim_cfg_service *s, const char *file, char *why, size_t why_n)
{
    slim_err ends = has_endpoints(s, file, why, why_n);

    if (ends != SLIM_OK)
        return ends;
    for (size_t i = 0; i < s->n_servers; i++) {
        slim_tls_ctx *ctx;
        slim_err e;

        if (s->servers[i].tls.insecure)
            continue;
        if ((e = tls_load(&s->servers[i].tls, true, file, &ctx, why, why_n)) != SLIM_OK)
            return e;
        slim_tls_ctx_free(ctx);
    }
    for (size_t i = 0; i < s->n_clients; i++) {
        slim_endpoint endpoint;
        slim_tls_ctx *ctx;
        slim_err e;

        if ((e = slim_endpoint_parse(s->clients[i].endpoint, &endpoint, why, why_n)) != SLIM_OK)
            return e;
        if (!client_uses_tls(&s->clients[i]))
            continue;
        if ((e = tls_load(&s->clients[i].tls, false, file, &ctx, why, why_n)) != SLIM_OK)
            return e;
        slim_tls_ctx_free(ctx);
    }
    return SLIM_OK;
}

static void client_settled(void *arg, slim_err e, const char *why)
{
    slim_service *s = arg;

    pthread_mutex_lock(&s->lock);
    if (e == SLIM_OK) {
        s->n_connected++;
    } else if (!s->failed) {
        s->failed = true;
        snprintf(s->why, sizeof(s->why), "%s", why);
    }
    pthread_mutex_unlock(&s->lock);
    if (slim_service_on_settled != NULL)
        slim_service_on_settled();
}

slim_err slim_service_clients(slim_service *s, char *why, size_t why_n)
{
    slim_err e;

    pthread_mutex_lock(&s->lock);
    e = s->failed ? SLIM_E_CLOSED : s->n_connected < s->n_clients ? SLIM_E_AGAIN : SLIM_OK;
    snprintf(why, why_n, "%s", s->why);
    pthread_mutex_unlock(&s->lock);
    return e;
}

static slim_err hub_open(slim_service *s, const slim_cfg *cfg, const slim_cfg_service *c, const slim_service_options *options,
                         char *why, size_t why_n)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    char node_id[48] = "node-";
    slim_hub_config h = {
        .node_id = c->node_id,
        .version = ANNOUNCED_VERSION,
        .deployment_name = c->domain_name != NULL ? c->domain_name : "",
        .thread_name = cfg->thread_name,
        .strict = c->require_header_mac,
        .negotiation_timeout_ns = (uint64_t)c->negotiation_timeout_s * 1000000000u,
        .placement = options->placement,
        .ring = {.backend = options->backend},
        .memory_limit_bytes = options->memory_bytes,
        .per_address_max = options->per_address_max,
        .per_address_spares_local = options->per_address_spares_local,
        .slow_reader_ns = options->slow_reader_ns,
        .mem = &slim_mem_libc,
    };

    if (h.node_id == NULL) {
        if (slim_uuid4(&slim_random_openssl, node_id + 5) != SLIM_OK) {
            snprintf(why, why_n, "no random numbers from the system");
            return SLIM_E_CRYPTO;
        }
        h.node_id = node_id;
    }
    if (cores < 1)
        cores = 1;
    if (cores > 64)
        cores = 64;
    h.workers = cfg->n_cores == 0 || cfg->n_cores > (uint32_t)cores ? (uint32_t)cores : cfg->n_cores;
    return slim_hub_new(&h, &s->hub, why, why_n);
}

static slim_err server_open(slim_service *s, const slim_cfg_server *c, const char *file, char *why, size_t why_n)
{
    slim_hub_server server = {
        .endpoint = c->endpoint,
        .max_frame_bytes = c->max_frame_mib != 0 ? c->max_frame_mib * 1048576u : 0,
        .max_header_list_bytes = c->max_header_list_size,
        .ping_interval_ns = c->keepalive_time_ns,
        .ping_timeout_ns = c->keepalive_timeout_ns,
        .max_age_ns = c->max_connection_age_ns,
    };
    char bound[128], reason[320];
    slim_err e;

    /* HTTP/2 allows frames of at most 2^24-1 bytes. */
    if (server.max_frame_bytes > 16777215u)
        server.max_frame_bytes = 16777215u;
    if (!c->tls.insecure) {
        if ((e = tls_load(&c->tls, true, file, &s->tls[s->n_tls], why, why_n)) != SLIM_OK)
            return e;
        server.tls = s->tls[s->n_tls++];
    }
    if ((e = slim_hub_listen(s->hub, &server, bound, sizeof(bound), reason, sizeof(reason))) != SLIM_OK) {
        snprintf(why, why_n, "%s:%d: %s", file, c->line, reason);
        return e;
    }
    if (s->endpoint[0] == '\0')
        snprintf(s->endpoint, sizeof(s->endpoint), "%s", bound);
    slim_log(SLIM_INFO, SERVICE, "dataplane server started endpoint=%s", bound);
    return SLIM_OK;
}

static slim_err client_open(slim_service *s, const slim_cfg_client *c, const char *file, char *why, size_t why_n)
{
    slim_hub_client client = {
        .endpoint = c->endpoint,
        .origin = c->origin,
        .server_name = c->server_name,
        .link_id = c->link_id,
        .kind = c->connection_type == SLIM_CFG_PEER     ? SLIM_PEER
                : c->connection_type == SLIM_CFG_REMOTE ? SLIM_REMOTE
                                                        : SLIM_EDGE,
        .strict = c->require_header_mac,
        .connect_timeout_ns = c->connect_timeout_ns,
        .request_timeout_ns = c->request_timeout_ns,
        .tcp_keepalive_ns = c->has_keepalive ? c->tcp_keepalive_ns : 0,
        .ping_interval_ns = c->has_keepalive ? c->http2_keepalive_ns : 0,
        .ping_timeout_ns = c->keepalive_timeout_ns,
        .n_headers = c->n_headers,
        .exponential = c->backoff.kind == SLIM_BACKOFF_EXPONENTIAL,
        .jitter = c->backoff.jitter,
        .interval_ns = c->backoff.interval_ns,
        .base = c->backoff.base,
        .factor = c->backoff.factor,
        .max_delay_ns = c->backoff.max_delay_ns,
        .max_attempts = c->backoff.max_attempts,
        .settled = client_settled,
        .settled_arg = s,
    };
    slim_hub_header *headers = NULL;
    char reason[320];
    slim_err e;

    if (client_uses_tls(c)) {
        if ((e = tls_load(&c->tls, false, file, &s->tls[s->n_tls], why, why_n)) != SLIM_OK)
            return e;
        client.tls = s->tls[s->n_tls++];
    }
    if (c->n_headers > 0 && (headers = slim_zalloc(&slim_mem_libc, c->n_headers, sizeof(*headers))) == NULL) {
        no_memory(why, why_n);
        return SLIM_E_NOMEM;
    }
    for (size_t i = 0; i < c->n_headers; i++)
        headers[i] = (slim_hub_header){c->headers[i].name, c->headers[i].value};
    client.headers = headers;
    if ((e = slim_hub_dial(s->hub, &client, reason, sizeof(reason))) != SLIM_OK)
        snprintf(why, why_n, "%s:%d: %s", file, c->line, reason);
    slim_free(&slim_mem_libc, headers);
    return e;
}

slim_err slim_service_start(const slim_cfg *cfg, const slim_cfg_service *c, const char *file, const slim_service_options *options,
                            slim_service **out, char *why, size_t why_n)
{
    slim_service *s = slim_zalloc(&slim_mem_libc, 1, sizeof(*s));
    slim_err e = SLIM_E_NOMEM;

    if (s == NULL) {
        no_memory(why, why_n);
        return SLIM_E_NOMEM;
    }
    pthread_mutex_init(&s->lock, NULL);
    s->n_clients = c->n_clients;
    if ((e = has_endpoints(c, file, why, why_n)) != SLIM_OK)
        goto fail;
    e = SLIM_E_NOMEM;
    if ((s->tls = slim_zalloc(&slim_mem_libc, c->n_servers + c->n_clients + 1, sizeof(*s->tls))) == NULL) {
        no_memory(why, why_n);
        goto fail;
    }
    if ((e = hub_open(s, cfg, c, options, why, why_n)) != SLIM_OK)
        goto fail;
    for (size_t i = 0; i < c->n_servers; i++)
        if ((e = server_open(s, &c->servers[i], file, why, why_n)) != SLIM_OK)
            goto fail;
    for (size_t i = 0; i < c->n_clients; i++)
        if ((e = client_open(s, &c->clients[i], file, why, why_n)) != SLIM_OK)
            goto fail;
    *out = s;
    return SLIM_OK;
fail:
    slim_service_free(s);
    return e;
}

const char *slim_service_endpoint(const slim_service *s)
{
    return s->endpoint;
}
const char *slim_service_backend(const slim_service *s)
{
    return slim_hub_backend(s->hub);
}
bool slim_service_drain(slim_service *s, uint64_t timeout_ns)
{
    return slim_hub_drain(s->hub, timeout_ns);
}

void slim_service_free(slim_service *s)
{
    if (s == NULL)
        return;
    slim_hub_free(s->hub);
    for (size_t i = 0; s->tls != NULL && i < s->n_tls; i++)
        slim_tls_ctx_free(s->tls[i]);
    slim_free(&slim_mem_libc, s->tls);
    pthread_mutex_destroy(&s->lock);
    slim_free(&slim_mem_libc, s);
}
