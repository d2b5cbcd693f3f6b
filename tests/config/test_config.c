/* What is accepted and what it becomes. */
#include <stdlib.h>

#include "config_kit.h"

#define S UINT64_C(1000000000)
#define MS UINT64_C(1000000)

static kit k;

static const slim_cfg_server *server(const char *text)
{
    return kit_open_silent(&k, text)->services[0].servers;
}
static const slim_cfg_client *client(const char *text)
{
    return kit_open_silent(&k, text)->services[0].clients;
}

static void text_is(const char *got, const char *wanted)
{
    if (wanted == NULL)
        cr_assert_null(got, "%s", got);
    else
        cr_assert(got != NULL && strcmp(got, wanted) == 0, "\"%s\", not \"%s\"", got != NULL ? got : "(none)", wanted);
}

static void check_tls_defaults(const slim_cfg_tls *t)
{
    cr_assert(!t->insecure && !t->insecure_skip_verify && t->include_system_ca_certs_pool);
    cr_assert(t->cert.file == NULL && t->cert.text == NULL && t->key.file == NULL && t->key.text == NULL);
    cr_assert(t->ca.file == NULL && t->ca.text == NULL && t->tls_version == NULL);
}

Test(config, defaults_of_the_whole)
{
    const slim_cfg *c = kit_open_silent(&k, "services: {slim/0: {}}\n");
    const slim_cfg_service *s = c->services;

    cr_assert_eq(c->n_cores, 0);
    text_is(c->thread_name, "slim");
    cr_assert_eq(c->drain_timeout_ns, 10 * S);
    text_is(c->log_level, "info");
    cr_assert(c->filters_default && c->n_filters == 0);
    cr_assert(c->display_thread_names && !c->display_thread_ids);
    cr_assert_eq(c->n_services, 1);
    text_is(s->key, "slim/0");
    text_is(s->node_id, NULL);
    text_is(s->domain_name, NULL);
    cr_assert(s->n_servers == 0 && s->n_clients == 0);
    cr_assert_eq(s->negotiation_timeout_s, 5);
    cr_assert(s->require_header_mac);
    kit_close(&k);
}

static void check_server_defaults(const slim_cfg_server *s)
{
    check_tls_defaults(&s->tls);
    cr_assert(s->max_frame_mib == 0 && s->max_header_list_size == 0 && s->max_concurrent_streams == 0, "unset");
    cr_assert_eq(s->keepalive_time_ns, 120 * S);
    cr_assert_eq(s->keepalive_timeout_ns, 20 * S);
    cr_assert_eq(s->max_connection_age_ns, 7200 * S);
    cr_assert(s->require_header_mac);
    cr_assert_eq(s->negotiation_timeout_s, 5);
}

Test(config, defaults_of_a_server)
{
    check_server_defaults(server(SERVER("{endpoint: \"1.2.3.4:5\"}")));
    text_is(k.cfg->services->servers->endpoint, "1.2.3.4:5");
    kit_close(&k);
    /* Nothing behind a key is as if the key were not there. */
    check_server_defaults(
        server(SERVER("{endpoint: a, tls: ~, keepalive: {time: , timeout: null}, auth: Null, max_frame_size: , metadata: ,"
                      " require_header_mac: NULL, negotiation_timeout_secs: ~, link_hmac_timeout_secs: }")));
    kit_close(&k);
    check_server_defaults(
        server(SERVER("{endpoint: a, tls: {source: {type: none}, client_ca: {type: none}}, keepalive: {}, auth: {type: none}}")));
    kit_close(&k);
}

static void check_client_defaults(const slim_cfg_client *c)
{
    text_is(c->endpoint, "http://h:1");
    text_is(c->origin, NULL);
    text_is(c->server_name, NULL);
    text_is(c->link_id, NULL);
    check_tls_defaults(&c->tls);
    cr_assert(c->connect_timeout_ns == 0 && c->request_timeout_ns == 0);
    cr_assert(c->n_headers == 0);
    cr_assert(c->backoff.kind == SLIM_BACKOFF_FIXED && c->backoff.interval_ns == 2 * S && c->backoff.max_attempts == UINT64_MAX);
    cr_assert(c->require_header_mac && c->connection_type == SLIM_CFG_EDGE);
}

Test(config, defaults_of_a_client)
{
    const slim_cfg_client *c = client(CLIENT("{endpoint: \"http://h:1\"}"));

    check_client_defaults(c);
    cr_assert_not(c->has_keepalive);
    kit_close(&k);
    check_client_defaults(client(CLIENT("{endpoint: \"http://h:1\", tls: , keepalive: ~, proxy: ~, backoff: , headers: , link_id: ,"
                                        " rate_limit: , compression: ~, auth: , connection_type: , metadata: ~, origin: }")));
    cr_assert_not(k.cfg->services->clients->has_keepalive);
    kit_close(&k);
    c = client(CLIENT("{endpoint: \"http://h:1\", keepalive: {}}"));
    check_client_defaults(c);
    cr_assert(c->has_keepalive && !c->keep_alive_while_idle);
    cr_assert(c->tcp_keepalive_ns == 60 * S && c->http2_keepalive_ns == 60 * S && c->keepalive_timeout_ns == 10 * S);
    kit_close(&k);
}

Test(config, runtime_and_tracing)
{
    static const char wrong[] = "tracing: {log_level: loud}\nservices: {slim/0: {}}";
    const slim_cfg *c = kit_open_silent(
        &k, "runtime:\n  n_cores: 3\n  thread_name: hub\n  drain_timeout: 1m30s\n"
            "tracing:\n  log_level: DEBUG\n  display_thread_names: false\n  display_thread_ids: true\n"
            "  filters: [slim_datapath=debug, \"slim\"]\n  opentelemetry:\n    enabled: false\n    service_name: a\n"
            "    service_version: \"1.0\"\n    environment: e\n    metrics_interval_secs: 15\n"
            "    grpc: {endpoint: \"http://localhost:4317\"}\nservices: {slim/0: {}}\n");

    cr_assert_eq(c->n_cores, 3);
    text_is(c->thread_name, "hub");
    cr_assert_eq(c->drain_timeout_ns, 90 * S);
    text_is(c->log_level, "DEBUG");
    cr_assert(!c->display_thread_names && c->display_thread_ids && !c->filters_default);
    cr_assert_eq(c->n_filters, 2);
    text_is(c->filters[0], "slim_datapath=debug");
    text_is(c->filters[1], "slim");
    kit_close(&k);
    c = kit_open_silent(&k, "tracing: {filters: [], log_level: off}\nservices: {slim/0: {}}\n");
    cr_assert(c->n_filters == 0 && !c->filters_default, "an empty list is not the default");
    text_is(c->log_level, "off");
    kit_close(&k);
    kit_parse_bytes(&k, wrong, strlen(wrong), -1);
    cr_assert_eq(k.err, SLIM_OK);
    text_is(k.cfg->log_level, "info");
    kit_close(&k);
    kit_open_silent(&k, "tracing:\nruntime: ~\nservices: {slim/0: {}}\n");
    kit_close(&k);
}

Test(config, every_key_of_a_server)
{
    const slim_cfg_server *s =
        server("services:\n  slim/0:\n    dataplane:\n      servers:\n        - endpoint: \"[::1]:5\"\n          tls:\n            "
               "insecure: false\n"
               "            source: {type: file, cert: a.crt, key: a.key}\n            client_ca: {type: pem, data: \"CA\"}\n"
               "            include_system_ca_certs_pool: false\n            tls_version: tls1.2\n            reload_interval: "
               "{secs: 5, nanos: 0}\n"
               "            reload_client_ca_file: true\n"
               "          http2_only: true\n          max_frame_size: 4\n          max_concurrent_streams: 100\n          "
               "max_header_list_size: 65536\n"
               "          read_buffer_size: 1024\n          write_buffer_size: 1024\n"
               "          keepalive: {time: 60s, timeout: 7s, max_connection_age: 1d, max_connection_idle: 1h, "
               "max_connection_age_grace: 5m}\n"
               "          auth: {type: none}\n          require_header_mac: false\n          negotiation_timeout_secs: 9\n         "
               " link_hmac_poll_interval_ms: 5\n");

    text_is(s->endpoint, "[::1]:5");
    cr_assert_eq(s->line, 5);
    cr_assert_eq(s->tls.line, 7);
    cr_assert(!s->tls.insecure && !s->tls.include_system_ca_certs_pool);
    text_is(s->tls.cert.file, "a.crt");
    text_is(s->tls.key.file, "a.key");
    text_is(s->tls.cert.text, NULL);
    text_is(s->tls.ca.text, "CA");
    text_is(s->tls.ca.file, NULL);
    text_is(s->tls.tls_version, "tls1.2");
    cr_assert(s->max_frame_mib == 4 && s->max_concurrent_streams == 100 && s->max_header_list_size == 65536);
    cr_assert(s->keepalive_time_ns == 60 * S && s->keepalive_timeout_ns == 7 * S && s->max_connection_age_ns == 86400 * S);
    cr_assert(!s->require_header_mac && s->negotiation_timeout_s == 9);
    cr_assert(!k.cfg->services->require_header_mac && k.cfg->services->negotiation_timeout_s == 9,
              "the service takes its first server's");
    kit_close(&k);
}

Test(config, two_names_of_the_negotiation_timeout)
{
    cr_assert_eq(server(SERVER("{endpoint: a, link_hmac_timeout_secs: 7}"))->negotiation_timeout_s, 7);
    kit_close(&k);
    cr_assert_eq(server(SERVER("{endpoint: a, link_hmac_timeout_secs: 7, negotiation_timeout_secs: ~}"))->negotiation_timeout_s, 7);
    kit_close(&k);
    cr_assert_eq(server(SERVER("{endpoint: a, negotiation_timeout_secs: 86401}"))->negotiation_timeout_s, 86401);
    kit_close(&k);
}

/* What upstream starts with starts here; what is beyond any use becomes the most there is and does not wrap. */
Test(config, the_largest_values)
{
    static const struct {
        const char *text;
        uint32_t mib;
    } frames[] = {{"0", 0}, {"15", 15}, {"16", 16}, {"17", 16}, {"4096", 16}, {"4097", 16}, {"4294967295", 16}};
    static const char *const ages[] = {
        "100y", "101y", "584y343d", "584y344d", "1000y", "18446744073709551615ns", "18446744073709551615y1s"};
    char text[200];

    for (size_t i = 0; i < sizeof(frames) / sizeof(*frames); i++) {
        snprintf(text, sizeof(text), SERVER("{endpoint: a, max_frame_size: %s}"), frames[i].text);
        cr_assert_eq(server(text)->max_frame_mib, frames[i].mib, "%s", frames[i].text);
        kit_close(&k);
    }
    for (size_t i = 0; i < sizeof(ages) / sizeof(*ages); i++) {
        snprintf(text, sizeof(text), SERVER("{endpoint: a, keepalive: {max_connection_age: %s}}"), ages[i]);
        cr_assert_eq(server(text)->max_connection_age_ns, UINT64_C(36500) * 86400 * S, "%s", ages[i]);
        kit_close(&k);
    }
    cr_assert_eq(server(SERVER("{endpoint: a, keepalive: {time: 99y364d}}"))->keepalive_time_ns, UINT64_C(36499) * 86400 * S);
    kit_close(&k);
    cr_assert_eq(server(SERVER("{endpoint: a, negotiation_timeout_secs: 4294967296}"))->negotiation_timeout_s, UINT32_MAX);
    kit_close(&k);
}

Test(config, every_key_of_a_client)
{
    const slim_cfg_client *c = client(
        "services:\n  slim/0:\n    dataplane:\n      clients:\n        - endpoint: https://b.example.org:46357\n          origin: "
        "https://c.example.org\n"
        "          server_name: b\n          compression: None\n          buffer_size: 1024\n"
        "          tls:\n            insecure_skip_verify: true\n            ca_source: {type: file, path: /ca.pem}\n"
        "            source: {type: pem, cert: \"C\", key: \"K\"}\n            tls_version: tls1.3\n"
        "          keepalive: {tcp_keepalive: 30s, http2_keepalive: 20s, timeout: 5s, keep_alive_while_idle: true}\n"
        "          connect_timeout: 3s\n          request_timeout: 4s\n          headers: {X-One: \"1\", user-agent: \"zzz\\tü\"}\n"
        "          auth: {type: none}\n          backoff: {type: fixed_interval, interval: 500ms, max_attempts: 3}\n"
        "          metadata: {a: [1, {b: c}]}\n          link_id: link-1\n          require_header_mac: false\n          "
        "connection_type: peer\n");

    text_is(c->endpoint, "https://b.example.org:46357");
    text_is(c->origin, "c.example.org");
    text_is(c->server_name, "b");
    text_is(c->link_id, "link-1");
    cr_assert(c->tls.insecure_skip_verify && c->tls.include_system_ca_certs_pool && !c->tls.insecure);
    text_is(c->tls.ca.file, "/ca.pem");
    text_is(c->tls.cert.text, "C");
    text_is(c->tls.key.text, "K");
    text_is(c->tls.cert.file, NULL);
    cr_assert(c->has_keepalive && c->keep_alive_while_idle);
    cr_assert(c->tcp_keepalive_ns == 30 * S && c->http2_keepalive_ns == 20 * S && c->keepalive_timeout_ns == 5 * S);
    cr_assert(c->connect_timeout_ns == 3 * S && c->request_timeout_ns == 4 * S);
    cr_assert_eq(c->n_headers, 2);
    text_is(c->headers[0].name, "X-One");
    text_is(c->headers[0].value, "1");
    text_is(c->headers[1].name, "user-agent");
    text_is(c->headers[1].value, "zzz\tü");
    cr_assert(c->backoff.kind == SLIM_BACKOFF_FIXED && c->backoff.interval_ns == 500 * MS && c->backoff.max_attempts == 3);
    cr_assert(!c->require_header_mac && c->connection_type == SLIM_CFG_PEER);
    kit_close(&k);
}

/* As the call shows it: without scheme and path. */
Test(config, origin)
{
    static const char *const origins[][2] = {{"https://c.example.org", "c.example.org"},
                                             {"http://c:1/", "c:1"},
                                             {"https://[::1]:46357/a?b#c", "[::1]:46357"},
                                             {"c.example.org:1", "c.example.org:1"},
                                             {"http://c?x", "c"}};
    char text[200];

    for (size_t i = 0; i < sizeof(origins) / sizeof(*origins); i++) {
        snprintf(text, sizeof(text), CLIENT("{endpoint: \"http://h\", origin: \"%s\"}"), origins[i][0]);
        text_is(client(text)->origin, origins[i][1]);
        kit_close(&k);
    }
    text_is(client(CLIENT("{endpoint: \"http://h\", origin: \"${env:URL}\"}"))->origin, "h:1");
    kit_close(&k);
}

Test(config, backoff)
{
    const slim_cfg_backoff *b = &client(CLIENT("{endpoint: \"http://h\", backoff: {type: fixed_interval}}"))->backoff;

    cr_assert(b->kind == SLIM_BACKOFF_FIXED && b->interval_ns == S && b->max_attempts == UINT64_MAX,
              "a second with the block, two without");
    kit_close(&k);
    b = &client(CLIENT("{endpoint: \"http://h\", backoff: {type: exponential}}"))->backoff;
    cr_assert(b->kind == SLIM_BACKOFF_EXPONENTIAL && b->base == 100 && b->factor == 1 && b->max_delay_ns == S);
    cr_assert(!b->jitter && b->max_attempts == UINT64_MAX);
    kit_close(&k);
    b = &client(CLIENT("{endpoint: \"http://h\", backoff: {jitter: true, base: 10, factor: 2, max_delay: 10s, max_attempts: 0, "
                       "type: exponential}}"))
             ->backoff;
    cr_assert(b->kind == SLIM_BACKOFF_EXPONENTIAL && b->base == 10 && b->factor == 2 && b->max_delay_ns == 10 * S && b->jitter &&
              b->max_attempts == 0);
    kit_close(&k);
}

Test(config, words)
{
    static const char *const compressions[] = {"None", "Empty"};
    char text[200];

    cr_assert_eq(client(CLIENT("{endpoint: \"unix:///s\", tls: {insecure: true}, connection_type: remote}"))->connection_type,
                 SLIM_CFG_REMOTE);
    kit_close(&k);
    cr_assert_eq(client(CLIENT("{endpoint: \"http://h\", connection_type: edge}"))->connection_type, SLIM_CFG_EDGE);
    kit_close(&k);
    for (size_t i = 0; i < 2; i++) {
        snprintf(text, sizeof(text), CLIENT("{endpoint: \"http://h\", compression: %s}"), compressions[i]);
        client(text);
        kit_close(&k);
    }
    /* YAML 1.2: off, no, yes are words. */
    kit_open_silent(&k, "services: {slim/0: {default_gateway: off}}");
    kit_close(&k);
    kit_open_silent(&k, "services: {slim/0: {default_gateway: \"off\"}}");
    kit_close(&k);
    kit_open_silent(&k, "services: {slim/0: {default_gateway: auto}}");
    kit_close(&k);
    kit_open_silent(&k, "services: {slim/0: {default_gateway: \"${env:OFF}\"}}");
    kit_close(&k);
}

Test(config, what_is_a_string)
{
    static const char *const plain[] = {"no",    "yes",  "on",  "off", "y",          "007",         "-007", "1.2.3",
                                        "1_000", "0x",   "0xg", "0o8", "1e",         "--1",         "tRUE", "nULL",
                                        "=",     "1:30", ".",   "inf", "2024-01-01", "a${env:NODE}"};
    static const char *const not [] = {"7",  "-7",  "+7",   "0x1f", "0o17", "0b11",  "1.5", ".5",
                                       "1.", "1e3", ".inf", ".NaN", "true", "False", "TRUE"};
    char text[200];

    for (size_t i = 0; i < sizeof(plain) / sizeof(*plain); i++) {
        snprintf(text, sizeof(text), "services:\n  slim/0:\n    node_id: %s\n", plain[i]);
        text_is(kit_open_silent(&k, text)->services->node_id, plain[i]);
        kit_close(&k);
    }
    for (size_t i = 0; i < sizeof(not ) / sizeof(*not ); i++) {
        snprintf(text, sizeof(text), "services:\n  slim/0:\n    node_id: %s\n", not [i]);
        kit_parse_bytes(&k, text, strlen(text), -1);
        cr_assert_eq(k.err, SLIM_E_CONFIG, "%s", not [i]);
        snprintf(text, sizeof(text), "services:\n  slim/0:\n    node_id: '%s'\n", not [i]);
        text_is(kit_open_silent(&k, text)->services->node_id, not [i]);
        kit_close(&k);
    }
    text_is(kit_open_silent(&k, "services: {slim/0: {node_id: \"\"}}")->services->node_id, "");
    kit_close(&k);
    text_is(kit_open_silent(&k, "services:\n  slim/0:\n    node_id: |\n      a\n      b\n")->services->node_id, "a\nb\n");
    kit_close(&k);
    text_is(kit_open_silent(&k, "services: {slim/0: {node_id: ~}}")->services->node_id, NULL);
    kit_close(&k);
}

Test(config, numbers)
{
    static const struct {
        const char *text;
        uint32_t value;
    } numbers[] = {{"0", 0}, {"-0", 0}, {"+7", 7}, {"0x1F", 31}, {"0o17", 15}, {"0b101", 5}, {"4294967295", UINT32_MAX}};
    char text[200];

    for (size_t i = 0; i < sizeof(numbers) / sizeof(*numbers); i++) {
        snprintf(text, sizeof(text), "runtime: {n_cores: %s}\nservices: {slim/0: {}}", numbers[i].text);
        cr_assert_eq(kit_open_silent(&k, text)->n_cores, numbers[i].value, "%s", numbers[i].text);
        kit_close(&k);
    }
}

static void node_id_is(const char *value, const char *wanted)
{
    char text[300];

    snprintf(text, sizeof(text), "services:\n  slim/0:\n    node_id: %s\n", value);
    text_is(kit_open_silent(&k, text)->services->node_id, wanted);
    kit_close(&k);
}

Test(config, references)
{
    const slim_cfg *c;

    node_id_is("${env:NODE}", "node-7");
    node_id_is("\"${env:NODE}\"", "node-7");
    node_id_is("'${file:/line}'", "node-9\n");
    node_id_is("${env:A:B}", "colon");
    node_id_is("${env:EMPTY}", "");
    node_id_is("${file:/empty}", "");
    node_id_is("${env:NUMBER}", "4");
    node_id_is("${env:TRUE}", "true");
    node_id_is("${env:TILDE}", "~");
    node_id_is("${env:NESTED}", "${env:NODE}");
    node_id_is("${file:/brace}", "${env:NODE}");
    /* Only a whole value. */
    node_id_is("a${env:NODE}", "a${env:NODE}");
    node_id_is("${env:NODE}b", "${env:NODE}b");
    node_id_is("\" ${env:NODE}\"", " ${env:NODE}");
    node_id_is("$${env:NODE}", "$${env:NODE}");
    node_id_is("${env:NODE", "${env:NODE");
    node_id_is("\"${env:NODE}\\n\"", "${env:NODE}\n");
    /* Types that are written as strings work, others do not; keys stay; lists are searched. */
    c = kit_open_silent(&k, "runtime: {drain_timeout: \"${env:DURATION}\"}\ntracing: {filters: [\"${env:NODE}\"]}\nservices: "
                            "{slim/0: {dataplane: {clients: [{endpoint: "
                            "\"${env:URL}\", headers: {a: \"${file:/secret}\"}, metadata: {\"${env:NOBODY}\": b}, tls: {source: "
                            "{type: \"${env:TYPE}\", cert: c, key: k}}}]}}}");
    cr_assert_eq(c->drain_timeout_ns, 90 * S);
    text_is(c->filters[0], "node-7");
    text_is(c->services->clients->endpoint, "http://h:1");
    text_is(c->services->clients->headers[0].value, "hunter2");
    text_is(c->services->clients->tls.cert.file, "c");
    kit_close(&k);
}

Test(config, anchors)
{
    const slim_cfg_service *s =
        kit_open_silent(
            &k, "services:\n  slim/0:\n    node_id: &id ${env:NODE}\n    domain_name: *id\n    dataplane:\n      servers:\n"
                "        - &first\n          endpoint: \"1.2.3.4:5\"\n          tls: &plain {insecure: true}\n        - *first\n"
                "        - {endpoint: \"1.2.3.4:6\", tls: *plain}\n")
            ->services;

    text_is(s->node_id, "node-7");
    text_is(s->domain_name, "node-7");
    cr_assert_eq(s->n_servers, 3);
    text_is(s->servers[1].endpoint, "1.2.3.4:5");
    text_is(s->servers[2].endpoint, "1.2.3.4:6");
    for (size_t i = 0; i < 3; i++)
        cr_assert(s->servers[i].tls.insecure);
    kit_close(&k);
    text_is(
        kit_open_silent(
            &k, "services: {slim/0: {dataplane: {clients: [{endpoint: \"http://h\", metadata: {&x key: value}, link_id: *x }]}}}")
            ->services->clients->link_id,
        "key");
    kit_close(&k);
}

Test(config, several_services)
{
    const slim_cfg *c = kit_open_silent(
        &k, "services:\n  slim/a:\n    node_id: a\n    dataplane: {servers: [{endpoint: a, require_header_mac: false}]}\n"
            "  other_kind2/:\n    dataplane: {servers: [{endpoint: b, negotiation_timeout_secs: 6}], clients: ~}\n  slim/0-1: "
            "{node_id: c}\n");

    cr_assert_eq(c->n_services, 3);
    text_is(c->services[0].key, "slim/a");
    text_is(c->services[1].key, "other_kind2/");
    text_is(c->services[2].key, "slim/0-1");
    cr_assert(!c->services[0].require_header_mac && c->services[1].require_header_mac && c->services[2].require_header_mac);
    cr_assert(c->services[0].negotiation_timeout_s == 5 && c->services[1].negotiation_timeout_s == 6);
    cr_assert_eq(c->services[1].line, 6);
    text_is(c->services[2].node_id, "c");
    kit_close(&k);
}

Test(config, a_controller_that_is_none)
{
    kit_open_silent(&k, "services: {slim/0: {controller: {}, peers: ~, auth: ~}}");
    kit_close(&k);
    kit_open_silent(
        &k, "services: {slim/0: {dataplane: ~, controller: {servers: [], clients: [], outbound_clients: ~, enforce_pqc: false}}}");
    kit_close(&k);
    kit_open_silent(&k, "services: {slim/0: {dataplane: {servers: [], clients: [], outbound_clients: [], enforce_pqc: false}}}");
    kit_close(&k);
}

Test(config, forms_of_the_text)
{
    static const char *const texts[] = {"\xef\xbb\xbfservices: {slim/0: {}}",
                                        "---\nservices: {slim/0: {}}\n...\n",
                                        "%YAML 1.1\n---\nservices: {slim/0: {}}\n",
                                        "services:\r\n  slim/0:\r\n    node_id: a\r\n",
                                        "{\"services\": {\"slim/0\": {\"node_id\": \"a\"}}}",
                                        "# ü\nservices:\n  ? slim/0\n  : {}\n# end"};

    for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
        cr_assert_eq(kit_open_silent(&k, texts[i])->n_services, 1, "%s", texts[i]);
        kit_close(&k);
    }
}

Test(config, no_one_listens_to_warnings)
{
    slim_cfg_source src = {
        .name = "c.yaml", .text = CLIENT("{endpoint: \"http://h\", nothing: 1}"), .getenv = kit_getenv, .read_file = kit_read_file};
    slim_cfg *c;
    slim_cfg_stage stage;
    char why[100];

    src.n = strlen(src.text);
    cr_assert_eq(slim_cfg_parse(&src, &slim_mem_libc, &c, NULL, NULL, &stage, why, sizeof(why)), SLIM_OK);
    slim_cfg_free(c);
    slim_cfg_free(NULL);
}

/* ---- as deployments have them ---- */

Test(config, deployments)
{
    static const char *const texts[] = {
        /* a plain node and one that dials it */
        "tracing: {log_level: info, display_thread_names: true, display_thread_ids: true}\nruntime: {n_cores: 0, thread_name: "
        "slim-data-plane, drain_timeout: 10s}\n"
        "services:\n  slim/0:\n    dataplane:\n      servers:\n        - endpoint: 0.0.0.0:46357\n          tls: {insecure: "
        "true}\n      clients: []\n    controller: {servers: [], clients: []}\n",
        "services:\n  slim/1:\n    dataplane:\n      servers: []\n      clients:\n        - endpoint: http://10.0.0.1:46357\n      "
        "    tls:\n            insecure: true\n",
        /* server certificate, client with its authority; then both ways */
        SERVER("{endpoint: \"0.0.0.0:46357\", tls: {source: {type: file, cert: server.crt, key: server.key}}}"),
        CLIENT("{endpoint: \"https://hub:46357\", tls: {ca_source: {type: file, path: ca.crt}}}"),
        SERVER("{endpoint: \"0.0.0.0:46357\", tls: {source: {type: file, cert: s, key: k}, client_ca: {type: file, path: c}}}"),
        CLIENT("{endpoint: \"https://hub:46357\", tls: {source: {type: file, cert: s, key: k}, ca_source: {type: file, path: c}, "
               "insecure_skip_verify: false}}"),
        /* a socket in the file system */
        SERVER("{endpoint: \"unix:///run/slim/dp.sock\", tls: {insecure: true}}"),
        CLIENT("{endpoint: \"unix:///run/slim/dp.sock\", tls: {insecure: true}}"),
        /* two sites */
        "services:\n  slim/0:\n    node_id: west\n    domain_name: sites\n    dataplane:\n      servers: [{endpoint: "
        "\"0.0.0.0:46358\", tls: {insecure: true}}]\n"
        "      clients: [{endpoint: \"http://east:46357\", connection_type: peer, tls: {insecure: true}}]\n",
        /* both ways of waiting, and a service that is not called 0 */
        "services: {slim/a: {dataplane: {clients: [{endpoint: \"http://h:1\", backoff: {type: exponential, base: 100, factor: 2, "
        "max_delay: 10s, max_attempts: 5, jitter: true}}]}}}",
        "services: {slim/a: {dataplane: {clients: [{endpoint: \"http://h:1\", backoff: {type: fixed_interval, interval: 5s, "
        "max_attempts: 10}}]}}}",
        /* filters with and without a level */
        "tracing: {log_level: warn, filters: [\"slim_datapath=trace\", slim_service, \"slim::signal=debug\"]}\nservices: {slim/0: "
        "{dataplane: {servers: [{endpoint: \"0.0.0.0:46357\", tls: {insecure: true}}]}}}",
    };

    for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
        kit_open_silent(&k, texts[i]);
        cr_assert_eq(k.cfg->services->n_servers + k.cfg->services->n_clients, 1 + (strstr(texts[i], "west") != NULL), "%s",
                     texts[i]);
        kit_close(&k);
    }
}

/* Every key that upstream knows in one file (node.md 2.8): what is not there yet is refused, one after the other in the order of
 * the stages and the file; without all that the rest becomes what it says. */
Test(config, the_whole_of_upstream)
{
    static const struct {
        int until; /* the line is there until so many refusals were mended; 0: always */
        const char *line;
    } lines[] = {
        {0, "tracing:"},
        {0, "  log_level: info"},
        {0, "  display_thread_names: true"},
        {0, "  display_thread_ids: false"},
        {0, "  filters: [slim_datapath=debug, slim_service]"},
        {0, "  opentelemetry:"},
        {1, "    enabled: true"},
        {0, "    service_name: hub-a"},
        {0, "    service_version: \"1.0\""},
        {0, "    environment: production"},
        {0, "    metrics_interval_secs: 15"},
        {0, "    grpc: { endpoint: \"http://127.0.0.1:4317\", tls: { insecure: true } }"},
        {0, "runtime: { n_cores: 0, thread_name: hub, drain_timeout: 20s }"},
        {0, "services:"},
        {0, "  slim/0:"},
        {0, "    node_id: ${env:NODE_ID}"},
        {0, "    domain_name: site-a"},
        {2, "    auth: { type: shared_secret, secret: \"${file:/secret}\" }"},
        {0, "    dataplane:"},
        {3, "      enforce_pqc: true"},
        {0, "      servers:"},
        {0, "        - endpoint: \"0.0.0.0:46357\""},
        {0, "          tls:"},
        {0, "            source: { type: file, cert: /etc/slim/tls.crt, key: /etc/slim/tls.key }"},
        {0, "            client_ca: { type: file, path: /etc/slim/clients.pem }"},
        {0, "            tls_version: tls1.3"},
        {0, "          max_frame_size: 4"},
        {0, "          max_concurrent_streams: 100"},
        {0, "          keepalive: { time: 60s, timeout: 20s, max_connection_age: 24h }"},
        {4, "          auth:"},
        {4, "            type: jwt"},
        {4, "            claims: { audiences: [slim], issuer: idp }"},
        {4, "            key: { type: decoding, algorithm: ES256, format: pem, key: { file: /etc/slim/jwt.pub } }"},
        {4, "            policy: { cel: '\"agents\" in claims.groups' }"},
        {0, "          require_header_mac: true"},
        {0, "          negotiation_timeout_secs: 5"},
        {5, "        - endpoint: \"ws://0.0.0.0:46359/slim\""},
        {5, "          tls: { insecure: true }"},
        {0, "        - endpoint: \"unix:///run/slim/dp.sock\""},
        {0, "          tls: { insecure: true }"},
        {0, "      clients:"},
        {0, "        - endpoint: \"https://b.example.org:46357\""},
        {0, "          connection_type: peer"},
        {0, "          server_name: b.example.org"},
        {0, "          keepalive: { tcp_keepalive: 30s, http2_keepalive: 30s, timeout: 10s, keep_alive_while_idle: true }"},
        {0, "          backoff: { type: exponential, base: 100, factor: 1, max_delay: 10s, max_attempts: 1000, jitter: true }"},
        {0, "          tls: { ca_source: { type: file, path: /etc/slim/ca.pem } }"},
        {6, "          auth: { type: basic, username: node-a, password: \"${env:SECRET}\" }"},
        {7, "          proxy: { url: \"http://proxy:3128\" }"},
        {8, "    controller:"},
        {8, "      servers: [ { endpoint: \"127.0.0.1:46358\", tls: { insecure: true } } ]"},
        {8, "      clients: [ { endpoint: \"http://cp:50052\", tls: { insecure: true } } ]"},
        {8, "      outbound_clients: [ { endpoint: \"\", tls: { insecure: true } } ]"},
        {9, "    peers:"},
        {9, "      topology: full_mesh"},
        {9, "      discovery:"},
        {9, "        type: static"},
        {9, "        peers:"},
        {9, "          - { node_id: hub-b, endpoint: \"http://10.0.0.6:46357\", tls: { insecure: true } }"},
    };
    static const char *const starts[] = {
        "c.yaml:7: tracing.opentelemetry.enabled: true: export by OTLP is not supported yet",
        "c.yaml:17: services.slim/0.auth: not supported yet: ",
        "c.yaml:18: services.slim/0.dataplane.enforce_pqc: true is not possible: OpenSSL 3.0 has no ML-KEM-768",
        "c.yaml:28: services.slim/0.dataplane.servers[0].auth: type jwt: not supported yet",
        "c.yaml:29: services.slim/0.dataplane.servers[1].endpoint: \"ws://0.0.0.0:46359/slim\": WebSocket listeners are not",
        "c.yaml:38: services.slim/0.dataplane.clients[0].auth: type basic: not supported yet",
        "c.yaml:38: services.slim/0.dataplane.clients[0].proxy: not supported yet",
        "c.yaml:39: services.slim/0.controller: not supported yet",
        "c.yaml:39: services.slim/0.peers: not supported yet",
    };
    const int n_starts = (int)(sizeof(starts) / sizeof(*starts));
    const slim_cfg_service *s;
    char text[8000];

    for (int mended = 0; mended <= n_starts; mended++) {
        size_t n = 0;

        for (size_t i = 0; i < sizeof(lines) / sizeof(*lines); i++)
            if (lines[i].until == 0 || lines[i].until > mended)
                n += (size_t)snprintf(text + n, sizeof(text) - n, "%s\n", lines[i].line);
        kit_parse_bytes(&k, text, strlen(text), -1);
        cr_assert_eq(k.n_warnings, 0, "%s", k.warnings[0]);
        cr_assert_eq(k.err, mended < n_starts ? SLIM_E_CONFIG : SLIM_OK, "%d: %s", mended, k.why);
        if (mended == n_starts)
            break;
        cr_assert_eq(strncmp(k.why, starts[mended], strlen(starts[mended])), 0, "%d: %s", mended, k.why);
        cr_assert_eq(k.stage, mended == 0 ? SLIM_CFG_TRACING : SLIM_CFG_SERVICES);
    }
    s = k.cfg->services;
    cr_assert(k.cfg->n_filters == 2 && k.cfg->drain_timeout_ns == 20 * S);
    text_is(k.cfg->thread_name, "hub");
    text_is(s->node_id, "node-7");
    text_is(s->domain_name, "site-a");
    cr_assert(s->n_servers == 2 && s->n_clients == 1 && s->require_header_mac && s->negotiation_timeout_s == 5);
    cr_assert(s->servers[0].line == 19 && s->servers[0].tls.line == 21);
    text_is(s->servers[0].tls.key.file, "/etc/slim/tls.key");
    text_is(s->servers[0].tls.ca.file, "/etc/slim/clients.pem");
    cr_assert(s->servers[0].max_frame_mib == 4 && s->servers[0].max_connection_age_ns == 86400 * S);
    text_is(s->servers[1].endpoint, "unix:///run/slim/dp.sock");
    cr_assert(s->servers[1].tls.insecure && s->servers[1].keepalive_time_ns == 120 * S);
    text_is(s->clients[0].tls.ca.file, "/etc/slim/ca.pem");
    cr_assert(s->clients[0].connection_type == SLIM_CFG_PEER && s->clients[0].has_keepalive && s->clients[0].backoff.jitter);
    cr_assert(s->clients[0].backoff.max_delay_ns == 10 * S && s->clients[0].backoff.max_attempts == 1000);
    kit_close(&k);
}

/* Keys of the years before start a node still, with a word about each. */
Test(config, keys_of_older_generations)
{
    static const char text[] =
        "services:\n  slim/0:\n    dataplane:\n      servers:\n        - endpoint: 0.0.0.0:46357\n          tls:\n            "
        "cert_file: a\n"
        "            key_file: b\n            client_ca_file: c\n          transport: grpc\n      clients: []\n";

    kit_parse_bytes(&k, text, strlen(text), -1);
    cr_assert_eq(k.err, SLIM_OK, "%s", k.why);
    cr_assert_eq(k.n_warnings, 4);
    check_tls_defaults(&k.cfg->services->servers->tls);
    kit_close(&k);
}

/* The block behind ```yaml of a page. */
static char *example_of(const char *path)
{
    slim_bytes page = test_file(path);
    char *text = malloc(page.n + 1), *start, *end;

    memcpy(text, page.p, page.n);
    text[page.n] = '\0';
    free((void *)(uintptr_t)page.p);
    start = strstr(text, "```yaml\n");
    cr_assert_not_null(start, "no example in %s", path);
    start += strlen("```yaml\n");
    end = strstr(start, "\n```");
    cr_assert_not_null(end, "the example does not end");
    end[1] = '\0';
    memmove(text, start, strlen(start) + 1);
    return text;
}

Test(config, example_of_the_documentation)
{
    char *text = example_of(SLIM_TEST_DATA "/../../docs/configuration.md");
    const slim_cfg *c = kit_open_silent(&k, text);

    cr_assert_eq(c->n_services, 1);
    cr_assert_geq(c->services->n_servers, 2);
    cr_assert_geq(c->services->n_clients, 1);
    text_is(c->services->node_id, "node-7");
    cr_assert(c->services->clients->backoff.kind == SLIM_BACKOFF_EXPONENTIAL);
    kit_close(&k);
    free(text);
}
