/* What is refused, with the words a person gets; what only warns; and that no word gives a secret away. */
#include <stdlib.h>

#include "config_kit.h"

static kit k;

static void refuse_at(slim_cfg_stage stage, const char *text, const char *why)
{
    kit_parse_bytes(&k, text, strlen(text), -1);
    cr_assert_eq(k.err, SLIM_E_CONFIG, "accepted: %s", text);
    cr_assert_str_eq(k.why, why, "%s\n%s\n%s", text, k.why, why);
    cr_assert_eq(k.stage, stage, "stage %d: %s", k.stage, text);
}

static void refuse(const char *text, const char *why)
{
    refuse_at(SLIM_CFG_SERVICES, text, why);
}

/* An entry with endpoint and tls already there: only the rest is of interest. */
static void refuse_server(const char *keys, const char *why)
{
    char text[2048], full[1200];

    snprintf(text, sizeof(text), SERVER("{endpoint: \"1.2.3.4:5\", tls: {insecure: true}, %s}"), keys);
    snprintf(full, sizeof(full), "c.yaml:1: services.slim/0.dataplane.servers[0]%s", why);
    refuse(text, full);
}

static void refuse_client(const char *keys, const char *why)
{
    char text[2048], full[1200];

    snprintf(text, sizeof(text), CLIENT("{endpoint: \"http://h:1\", %s}"), keys);
    snprintf(full, sizeof(full), "c.yaml:1: services.slim/0.dataplane.clients[0]%s", why);
    refuse(text, full);
}

static void warns(const char *text, const char *line)
{
    kit_parse_bytes(&k, text, strlen(text), -1);
    cr_assert_eq(k.err, SLIM_OK, "%s", k.why);
    cr_assert_eq(k.n_warnings, 1, "%d warnings, the first: %s", k.n_warnings, k.warnings[0]);
    cr_assert_str_eq(k.warnings[0], line);
    kit_close(&k);
}

#define STRING "expected a string (put numbers and the words true, false, null in quotes), found "
#define DURATION "expected a duration like \"1m30s\" (units ns us ms s m h d w y), found "

Test(config_errors, the_root)
{
    static const char mapping[] =
        "c.yaml:1: impossible to parse yaml: the file must be a mapping with the keys services, tracing, runtime";

    refuse_at(SLIM_CFG_LOAD, "", mapping);
    refuse_at(SLIM_CFG_LOAD, "# nothing\n", mapping);
    refuse_at(SLIM_CFG_LOAD, "- services\n", mapping);
    refuse_at(SLIM_CFG_LOAD, "services", mapping);
    refuse_at(SLIM_CFG_LOAD, "~", mapping);
    refuse_at(SLIM_CFG_LOAD, "runtime: {}\nservces: {}\n",
              "c.yaml:2: servces: unknown key in the configuration, which has services, tracing and runtime (did you mean "
              "\"services\"?)");
    refuse_at(SLIM_CFG_LOAD, "services: {}\ndatabase: x\n",
              "c.yaml:2: database: unknown key in the configuration, which has services, tracing and runtime");
    refuse_at(SLIM_CFG_LOAD, "services: {}\n---\nservices: {}\n",
              "c.yaml:2: a second document begins here; a configuration is one");
    refuse_at(SLIM_CFG_LOAD, "? [a]\n: b\n",
              "c.yaml:1: a key of the configuration, which has services, tracing and runtime must be a word");
}

Test(config_errors, the_text)
{
    refuse_at(SLIM_CFG_LOAD, "services:\n  - a\n b\n",
              "c.yaml:3: impossible to parse yaml: did not find expected key, while parsing a block mapping");
    refuse_at(SLIM_CFG_LOAD, "services: [\n",
              "c.yaml:2: impossible to parse yaml: did not find expected node content, while parsing a flow node");
    refuse_at(SLIM_CFG_LOAD, "runtime: {}\nservices: *nobody\n", "c.yaml:2: impossible to parse yaml: found undefined alias");
    refuse_at(SLIM_CFG_LOAD, "runtime: {}\nservices: \"a\xff\"\n",
              "c.yaml:2: impossible to parse yaml: invalid leading UTF-8 octet");
    refuse_at(SLIM_CFG_LOAD, "services: \xc0\xaf\n", "c.yaml:1: impossible to parse yaml: invalid length of a UTF-8 sequence");
    refuse_at(SLIM_CFG_LOAD, "runtime: {}\n\nservices: {\"a\\0b\": 1}\n", "c.yaml:3: a NUL character is not allowed");
    refuse_at(SLIM_CFG_LOAD, "services: {a: \"b\\0\"}\n", "c.yaml:1: a NUL character is not allowed");
    refuse_at(SLIM_CFG_LOAD, "runtime:\n  n_cores: !!int \"3\"\n",
              "c.yaml:2: tags (!word before a value) are not supported; text that begins with ! needs quotes");
    refuse_at(SLIM_CFG_LOAD, "runtime: !x {}\n",
              "c.yaml:1: tags (!word before a value) are not supported; text that begins with ! needs quotes");
    kit_parse_bytes(&k, "services: {}\n\0", 14, -1);
    cr_assert_eq(k.err, SLIM_E_CONFIG);
    cr_assert_str_eq(k.why, "c.yaml:2: impossible to parse yaml: control characters are not allowed");
    kit_parse_bytes(&k, "s\0e\0r\0v\0i\0c\0e\0s\0:\0", 18, -1);
    cr_assert_eq(k.err, SLIM_E_CONFIG, "UTF-16");
}

Test(config_errors, keys_that_stand_twice)
{
    refuse_at(SLIM_CFG_LOAD, "services: {}\nruntime: {}\nservices: {}\n",
              "c.yaml:3: services: the same key stands on line 1 already");
    refuse_at(SLIM_CFG_LOAD, "services:\n  slim/0: {}\n  slim/1: {}\n  \"slim/0\": {}\n",
              "c.yaml:4: services.slim/0: the same key stands on line 2 already");
    refuse_at(SLIM_CFG_LOAD,
              "services:\n  slim/0:\n    dataplane:\n      servers:\n        - {}\n        - endpoint: a\n          tls:\n         "
              "   insecure: true\n            insecure: false\n",
              "c.yaml:9: services.slim/0.dataplane.servers[1].tls.insecure: the same key stands on line 8 already");
    refuse_at(SLIM_CFG_LOAD, "x:\n  - metadata: {a: 1, b: 2, a: 3}\n",
              "c.yaml:2: x[0].metadata.a: the same key stands on line 2 already");
}

Test(config_errors, runtime_and_tracing)
{
    refuse_at(SLIM_CFG_RUNTIME, "services: 5\nruntime: 5\n", "c.yaml:2: runtime: expected a mapping, found a number");
    refuse_at(SLIM_CFG_RUNTIME, "runtime: {cores: 1}",
              "c.yaml:1: runtime.cores: unknown key in runtime (did you mean \"n_cores\"?)");
    refuse_at(SLIM_CFG_RUNTIME, "runtime: {n_core: 1}",
              "c.yaml:1: runtime.n_core: unknown key in runtime (did you mean \"n_cores\"?)");
    refuse_at(SLIM_CFG_RUNTIME, "runtime: {n_cores: -1}", "c.yaml:1: runtime.n_cores: -1 is out of range: 0 to 4294967295");
    refuse_at(SLIM_CFG_RUNTIME, "runtime: {n_cores: 4294967296}",
              "c.yaml:1: runtime.n_cores: 4294967296 is out of range: 0 to 4294967295");
    refuse_at(SLIM_CFG_RUNTIME, "runtime: {n_cores: 99999999999999999999999}",
              "c.yaml:1: runtime.n_cores: 99999999999999999999999 is out of range: 0 to 4294967295");
    refuse_at(SLIM_CFG_RUNTIME, "runtime: {n_cores: 1.5}",
              "c.yaml:1: runtime.n_cores: expected a whole number, found the number 1.5");
    refuse_at(SLIM_CFG_RUNTIME, "runtime: {n_cores: \"1\"}",
              "c.yaml:1: runtime.n_cores: expected a whole number, found the string \"1\"");
    refuse_at(SLIM_CFG_RUNTIME, "runtime: {n_cores: [1]}", "c.yaml:1: runtime.n_cores: expected a whole number, found a list");
    refuse_at(SLIM_CFG_RUNTIME, "runtime:\n  drain_timeout: 10\n", "c.yaml:2: runtime.drain_timeout: " DURATION "the number 10");
    refuse_at(SLIM_CFG_RUNTIME, "runtime: {drain_timeout: -1s}", "c.yaml:1: runtime.drain_timeout: " DURATION "the string \"-1s\"");
    refuse_at(SLIM_CFG_RUNTIME, "runtime: {thread_name: 7}", "c.yaml:1: runtime.thread_name: " STRING "the number 7");
    refuse_at(SLIM_CFG_RUNTIME, "runtime: {thread_name: true}", "c.yaml:1: runtime.thread_name: " STRING "the boolean true");
    refuse_at(SLIM_CFG_RUNTIME, "runtime: {<<: {}}", "c.yaml:1: runtime.<<: unknown key in runtime; merge keys are not expanded");
    refuse_at(SLIM_CFG_TRACING, "services: 5\ntracing: [a]\n", "c.yaml:2: tracing: expected a mapping, found a list");
    refuse_at(SLIM_CFG_TRACING, "tracing: {level: debug}", "c.yaml:1: tracing.level: unknown key in tracing");
    refuse_at(SLIM_CFG_TRACING, "tracing: {display_thread_names: \"true\"}",
              "c.yaml:1: tracing.display_thread_names: expected true or false, found the string \"true\"");
    refuse_at(SLIM_CFG_TRACING, "tracing: {display_thread_ids: yes}",
              "c.yaml:1: tracing.display_thread_ids: expected true or false, found the string \"yes\"");
    refuse_at(SLIM_CFG_TRACING, "tracing: {filters: slim=debug}",
              "c.yaml:1: tracing.filters: expected a list of strings, found a string");
    refuse_at(SLIM_CFG_TRACING, "tracing: {filters: [slim, ~]}", "c.yaml:1: tracing.filters[1]: " STRING "nothing");
    refuse_at(SLIM_CFG_TRACING, "tracing: {opentelemetry: {enabled: true}}",
              "c.yaml:1: tracing.opentelemetry.enabled: true: export by OTLP is not supported yet; set it to false");
    refuse_at(SLIM_CFG_TRACING, "tracing: {opentelemetry: {endpoint: x}}",
              "c.yaml:1: tracing.opentelemetry.endpoint: unknown key in tracing.opentelemetry");
    refuse_at(SLIM_CFG_TRACING, "tracing: {opentelemetry: {metrics_interval_secs: 5s}}",
              "c.yaml:1: tracing.opentelemetry.metrics_interval_secs: expected a whole number, found the string \"5s\"");
}

Test(config_errors, services)
{
    char text[1200];

    refuse("runtime: {}\n", "c.yaml:1: services: missing services");
    refuse("services:\n", "c.yaml:1: services: missing services");
    refuse("services: {}\n", "c.yaml:1: services: missing services");
    refuse("services: [a]\n", "c.yaml:1: services: expected a mapping of services, e.g. slim/0: {...}");
    refuse("services: {slim: {}}", "c.yaml:1: services.slim: a service is named kind/name, e.g. slim/0");
    refuse("services: {? [a] : {}}", "c.yaml:1: services: a service is named kind/name, e.g. slim/0");
    refuse("services: {slim/A: {}}", "c.yaml:1: services.slim/A: the name of a service (behind the slash) has at most 1024 "
                                     "lower-case letters, digits and dashes");
    refuse("services: {slim/a/b: {}}", "c.yaml:1: services.slim/a/b: the name of a service (behind the slash) has at most 1024 "
                                       "lower-case letters, digits and dashes");
    refuse("services: {1slim/0: {}}", "c.yaml:1: services.1slim/0: the kind of a service (before the slash) begins with a letter "
                                      "and has at most 63 letters, digits and underscores");
    refuse("services: {/0: {}}", "c.yaml:1: services./0: the kind of a service (before the slash) begins with a letter and has at "
                                 "most 63 letters, digits and underscores");
    refuse("services: {sl-im/0: {}}", "c.yaml:1: services.sl-im/0: the kind of a service (before the slash) begins with a letter "
                                      "and has at most 63 letters, digits and underscores");
    snprintf(text, sizeof(text), "services: {a%063d/0: {}}", 0);
    kit_parse_bytes(&k, text, strlen(text), -1);
    cr_assert_eq(k.err, SLIM_E_CONFIG, "64 letters");
    snprintf(text, sizeof(text), "services: {a/%01025d: {}}", 0);
    kit_parse_bytes(&k, text, strlen(text), -1);
    cr_assert_eq(k.err, SLIM_E_CONFIG, "1025 letters");
    refuse("services: {slim/0: }", "c.yaml:1: services.slim/0: expected a mapping, found nothing");
    refuse("services: {slim/0: {group_name: a}}",
           "c.yaml:1: services.slim/0.group_name: unknown key in a service (did you mean \"domain_name\"?)");
    refuse("services: {slim/0: {node_id: 7}}", "c.yaml:1: services.slim/0.node_id: " STRING "the number 7");
    refuse("services: {slim/0: {default_gateway: false}}",
           "c.yaml:1: services.slim/0.default_gateway: " STRING "the boolean false");
    refuse("services: {slim/0: {default_gateway: on}}",
           "c.yaml:1: services.slim/0.default_gateway: expected `auto` or `off`, found \"on\"");
    refuse("services: {slim/0: {dataplane: {server: []}}}",
           "c.yaml:1: services.slim/0.dataplane.server: unknown key in dataplane (did you mean \"servers\"?)");
    refuse("services: {slim/0: {dataplane: {servers: {}}}}",
           "c.yaml:1: services.slim/0.dataplane.servers: expected a list of server entries, found a mapping");
    refuse("services: {slim/0: {dataplane: {outbound_clients: {}}}}",
           "c.yaml:1: services.slim/0.dataplane.outbound_clients: expected a list of client entries, found a mapping");
    refuse("services: {slim/0: {dataplane: {clients: [7]}}}",
           "c.yaml:1: services.slim/0.dataplane.clients[0]: expected a mapping, found a number");
    refuse("services: {slim/0: {dataplane: {servers: [~]}}}",
           "c.yaml:1: services.slim/0.dataplane.servers[0]: expected a mapping, found nothing");
    refuse("services: {slim/0: {dataplane: {enforce_pqc: 1}}}",
           "c.yaml:1: services.slim/0.dataplane.enforce_pqc: expected true or false, found the number 1");
    refuse("services: {slim/0: {controller: {server: []}}}",
           "c.yaml:1: services.slim/0.controller.server: unknown key in controller (did you mean \"servers\"?)");
}

Test(config_errors, what_comes_later)
{
    refuse("services: {slim/0: {auth: {type: shared_secret, secret: hunter2}}}",
           "c.yaml:1: services.slim/0.auth: not supported yet: credentials for a control plane");
    refuse("services:\n  slim/0:\n    peers: {topology: full_mesh}\n",
           "c.yaml:3: services.slim/0.peers: not supported yet: a full mesh of peers; link nodes by dataplane.clients with "
           "connection_type: peer");
    refuse("services: {slim/0: {controller: {servers: [{}]}}}",
           "c.yaml:1: services.slim/0.controller: not supported yet: a node that a control plane steers");
    refuse("services: {slim/0: {controller: {clients: [{}]}}}",
           "c.yaml:1: services.slim/0.controller: not supported yet: a node that a control plane steers");
    refuse("services: {slim/0: {dataplane: {enforce_pqc: true}}}",
           "c.yaml:1: services.slim/0.dataplane.enforce_pqc: true is not possible: OpenSSL 3.0 has no ML-KEM-768, which "
           "post-quantum links need; set it to false");
    refuse(SERVER("{endpoint: \"ws://0.0.0.0:1/slim\", tls: {insecure: true}}"),
           "c.yaml:1: services.slim/0.dataplane.servers[0].endpoint: \"ws://0.0.0.0:1/slim\": WebSocket listeners are not "
           "supported yet; use IP:port or unix:///path");
    refuse(CLIENT("{endpoint: \"wss://h:1\"}"), "c.yaml:1: services.slim/0.dataplane.clients[0].endpoint: \"wss://h:1\": WebSocket "
                                                "links are not supported yet; use http://, https:// or unix://");
    refuse_client("proxy: {url: x}", ".proxy: not supported yet: connections through a proxy");
    refuse_client("auth: {type: basic, username: u, password: hunter2}",
                  ".auth: type basic: not supported yet; leave the block out, or write type: none");
    refuse_server("auth: {type: jwt, key: {}}", ".auth: type jwt: not supported yet; leave the block out, or write type: none");
    refuse_client("auth: {type: static_jwt}",
                  ".auth: type static_jwt: not supported yet; leave the block out, or write type: none");
    refuse_client("auth: {type: oidc}", ".auth: type oidc: not supported yet; leave the block out, or write type: none");
    refuse_server("auth: {type: spire}", ".auth: type spire: not supported yet; leave the block out, or write type: none");
    refuse_server("auth: {type: digest}", ".auth.type: unknown type \"digest\"; only none is supported yet");
    refuse_server("auth: {}", ".auth: the key \"type\" is missing");
    refuse_server("auth: hunter2", ".auth: expected a mapping");
    refuse_client("tls: {source: {type: spire, socket_path: 7}}",
                  ".tls.source: type spire: not supported yet; use type file or pem");
    refuse_client("tls: {ca_source: {type: spire}}", ".tls.ca_source: type spire: not supported yet; use type file or pem");
}

Test(config_errors, server_entries)
{
    refuse(SERVER("{tls: {insecure: true}}"),
           "c.yaml:1: services.slim/0.dataplane.servers[0]: the key \"endpoint\" is missing, e.g. endpoint: \"0.0.0.0:46357\"");
    refuse(SERVER("{endpoint: \"unix:///s\"}"),
           "c.yaml:1: services.slim/0.dataplane.servers[0].tls.insecure: must be true: a unix socket speaks no TLS");
    refuse_server("http2_only: 1", ".http2_only: expected true or false, found the number 1");
    refuse_server("max_frame_size: 4M", ".max_frame_size: expected a whole number, found the string \"4M\"");
    refuse_server("read_buffer_size: big", ".read_buffer_size: expected a whole number, found the string \"big\"");
    refuse_server("max_header_list_size: -0x1", ".max_header_list_size: -0x1 is out of range: 0 to 4294967295");
    refuse_server("keepalive: 60s", ".keepalive: expected a mapping, found a string");
    refuse_server("keepalive: {time: 60}", ".keepalive.time: " DURATION "the number 60");
    refuse_server("keepalive: {max_connection_idle: 1}", ".keepalive.max_connection_idle: " DURATION "the number 1");
    refuse_server("require_header_mac: no", ".require_header_mac: expected true or false, found the string \"no\"");
    refuse_server("negotiation_timeout_secs: 5s", ".negotiation_timeout_secs: expected a whole number, found the string \"5s\"");
    refuse_server("negotiation_timeout_secs: -5", ".negotiation_timeout_secs: -5 is out of range: 0 to 18446744073709551615");
    refuse_server("max_frame_size: 4294967296", ".max_frame_size: 4294967296 is out of range: 0 to 4294967295");
    refuse_server("negotiation_timeout_secs: 5, link_hmac_timeout_secs: 5",
                  ": negotiation_timeout_secs and link_hmac_timeout_secs are two names of one setting; give one of them");
    refuse_server("? [a] : b", ": a key of a server entry must be a word");
}

Test(config_errors, client_entries)
{
    char long_name[300];

    refuse(CLIENT("{}"), "c.yaml:1: services.slim/0.dataplane.clients[0]: the key \"endpoint\" is missing, e.g. endpoint: "
                         "\"http://10.0.0.6:46357\"");
    refuse(CLIENT("{endpoint: \"\"}"), "c.yaml:1: services.slim/0.dataplane.clients[0]: the key \"endpoint\" is missing, e.g. "
                                       "endpoint: \"http://10.0.0.6:46357\"");
    refuse(CLIENT("{endpoint: \"h:1\"}"), "c.yaml:1: services.slim/0.dataplane.clients[0].endpoint: \"h:1\": invalid endpoint "
                                          "scheme; write http://, https:// or unix://");
    refuse(CLIENT("{endpoint: \"ftp://h:1\"}"), "c.yaml:1: services.slim/0.dataplane.clients[0].endpoint: \"ftp://h:1\": invalid "
                                                "endpoint scheme; write http://, https:// or unix://");
    refuse(CLIENT("{endpoint: \"unix:///s\", tls: {}}"),
           "c.yaml:1: services.slim/0.dataplane.clients[0].tls.insecure: must be true: a unix socket speaks no TLS");
    refuse_client("compression: gzip",
                  ".compression: unknown compression \"gzip\"; allowed are Gzip, Zlib, Deflate, Snappy, Zstd, Lz4, None, Empty");
    refuse_client("connection_type: local", ".connection_type: unknown connection type \"local\"; allowed are edge, peer, remote");
    refuse_client("origin: \"\"", ".origin: \"\" is no URI; write https://name or https://name:port");
    refuse_client("origin: \"https://\"", ".origin: \"https://\" is no URI; write https://name or https://name:port");
    refuse_client("origin: \"https:///a\"", ".origin: \"https:///a\" is no URI; write https://name or https://name:port");
    refuse_client("origin: \"https://a b\"", ".origin: \"https://a b\" is no URI; write https://name or https://name:port");
    refuse_client("origin: \"${env:LINES}\"", ".origin: \"${env:LINES}\" is no URI; write https://name or https://name:port");
    refuse_client("origin: 5", ".origin: " STRING "the number 5");
    refuse_client("link_id: \"\"", ".link_id: must not be empty; leave it out for a random one");
    snprintf(long_name, sizeof(long_name), "server_name: \"%0256d\"", 0);
    refuse_client(long_name, ".server_name: no host name: one has at most 255 bytes and does not begin with a dot");
    refuse_client("server_name: .example", ".server_name: no host name: one has at most 255 bytes and does not begin with a dot");
    refuse_client("rate_limit: many", ".rate_limit: expected calls/seconds like \"100/1\", found \"many\"");
    refuse_client("rate_limit: 5/", ".rate_limit: expected calls/seconds like \"100/1\", found \"5/\"");
    refuse_client("rate_limit: /5", ".rate_limit: expected calls/seconds like \"100/1\", found \"/5\"");
    refuse_client("rate_limit: 1/5s", ".rate_limit: expected calls/seconds like \"100/1\", found \"1/5s\"");
    refuse_client("buffer_size: x", ".buffer_size: expected a whole number, found the string \"x\"");
    refuse_client("connect_timeout: 3", ".connect_timeout: " DURATION "the number 3");
    refuse_client("keepalive: {keep_alive_while_idle: 1}",
                  ".keepalive.keep_alive_while_idle: expected true or false, found the number 1");
    refuse_client("backoff: exponential", ".backoff: expected a mapping");
    refuse_client("backoff: {base: 100}", ".backoff: the key \"type\" is missing: fixed_interval or exponential");
    refuse_client("backoff: {type: linear}", ".backoff.type: unknown type \"linear\"; allowed are fixed_interval, exponential");
    refuse_client("backoff: {type: exponential, max_delay: 1500}", ".backoff.max_delay: " DURATION "the number 1500");
    refuse_client("backoff: {type: exponential, max_attempts: -1}",
                  ".backoff.max_attempts: -1 is out of range: 0 to 18446744073709551615");
    refuse_client("headers: [a]", ".headers: expected a mapping of header names to values");
    refuse_client("headers: {\"a b\": c}", ".headers.a b: not a header name");
    refuse_client("headers: {\":path\": c}", ".headers.:path: not a header name");
    refuse_client("headers: {\"\": c}", ".headers.: not a header name");
    refuse_client("headers: {a: \"hunter2\\n\"}",
                  ".headers.a: a header value must not have line breaks or control characters in it");
    refuse_client("headers: {a: \"hunter2\\x7f\"}",
                  ".headers.a: a header value must not have line breaks or control characters in it");
    refuse_client("headers: {x-a: b, X-A: c}", ".headers.X-A: the same header as x-a");
    refuse_client("headers: {a: 5}", ".headers.a: expected a string, found a number");
}

Test(config_errors, tls)
{
    refuse_client("tls: true", ".tls: expected a mapping, found a boolean");
    refuse_client("tls: {insecure: \"true\"}", ".tls.insecure: expected true or false, found the string \"true\"");
    refuse_client("tls: {tls_version: 1.3}", ".tls.tls_version: " STRING "the number 1.3");
    refuse_client("tls: {source: {cert: a, key: b}}", ".tls.source: the key \"type\" is missing");
    refuse_client("tls: {source: {type: pkcs12}}", ".tls.source.type: unknown type \"pkcs12\"; allowed are file, pem, none");
    refuse_client("tls: {source: {type: file, cert: a}}", ".tls.source: type file needs the key \"key\"");
    refuse_client("tls: {source: {type: pem, key: a}}", ".tls.source: type pem needs the key \"cert\"");
    refuse_client("tls: {ca_source: {type: file, data: a}}", ".tls.ca_source: type file needs the key \"path\"");
    refuse_client("tls: {ca_source: {type: pem, path: a}}", ".tls.ca_source: type pem needs the key \"data\"");
    refuse_client("tls: {ca_source: ca.pem}", ".tls.ca_source: expected a mapping, found a string");
    refuse_client("tls: {reload_interval: 10s}", ".tls.reload_interval: expected a mapping, found a string");
}

Test(config_errors, references)
{
#define AT "c.yaml:1: services.slim/0.node_id: "
    refuse_at(SLIM_CFG_LOAD, "services: {slim/0: {node_id: \"${env:NOBODY}\"}}",
              AT "${env:NOBODY}: the environment variable NOBODY is not set");
    refuse_at(SLIM_CFG_LOAD, "services: {slim/0: {node_id: \"${env:NODE}${env:NODE}\"}}",
              AT "${env:NODE}${env:NODE}: the environment variable NODE}${env:NODE is not set");
    refuse_at(SLIM_CFG_LOAD, "services: {slim/0: {node_id: \"${vault:x}\"}}",
              AT "${vault:x}: unknown provider; write ${env:NAME} or ${file:PATH}");
    refuse_at(SLIM_CFG_LOAD, "services: {slim/0: {node_id: \"${NODE}\"}}",
              AT "${NODE}: no provider; write ${env:NAME} or ${file:PATH}");
    refuse_at(SLIM_CFG_LOAD, "services: {slim/0: {node_id: \"${}\"}}", AT "${}: no provider; write ${env:NAME} or ${file:PATH}");
    refuse_at(SLIM_CFG_LOAD, "services: {slim/0: {node_id: \"${file:/nowhere}\"}}",
              AT "${file:/nowhere}: cannot read \"/nowhere\": No such file or directory");
    refuse_at(SLIM_CFG_LOAD, "services: {slim/0: {node_id: \"${file:/nul}\"}}",
              AT "${file:/nul}: the file has a NUL character in it");
    refuse_at(SLIM_CFG_LOAD, "services: {slim/0: {node_id: \"${file:/latin}\"}}", AT "${file:/latin}: the file is not UTF-8");
    refuse_at(SLIM_CFG_LOAD, "services: {slim/0: {node_id: \"${env:LATIN}\"}}",
              AT "${env:LATIN}: the environment variable LATIN is not UTF-8");
    refuse_at(SLIM_CFG_LOAD, "services:\n  slim/0:\n    x:\n      - a\n      - [{y: \"${env:NOBODY}\"}]\n",
              "c.yaml:5: services.slim/0.x[1][0].y: ${env:NOBODY}: the environment variable NOBODY is not set");
    refuse_at(SLIM_CFG_RUNTIME, "runtime: {n_cores: \"${env:NUMBER}\"}",
              "c.yaml:1: runtime.n_cores: expected a whole number, found a string");
    refuse_at(SLIM_CFG_TRACING, "tracing: {display_thread_ids: \"${env:TRUE}\"}",
              "c.yaml:1: tracing.display_thread_ids: expected true or false, found a string");
}

Test(config_errors, ignored_keys_warn)
{
    warns(SERVER("{endpoint: \"1.2.3.4:5\", websocket_auth_query_param: t}"),
          "c.yaml:1: services.slim/0.dataplane.servers[0].websocket_auth_query_param: unknown key, ignored");
    warns(SERVER("{endpoint: \"1.2.3.4:5\", max_frame_sise: 4}"),
          "c.yaml:1: services.slim/0.dataplane.servers[0].max_frame_sise: unknown key, ignored (did you mean \"max_frame_size\"?)");
    warns(SERVER("{endpoint: \"1.2.3.4:5\", tls: {cert_file: a}}"),
          "c.yaml:1: services.slim/0.dataplane.servers[0].tls.cert_file: unknown key, ignored (did you mean \"source\"?)");
    warns(SERVER("{endpoint: \"1.2.3.4:5\", tls: {ca_source: a}}"),
          "c.yaml:1: services.slim/0.dataplane.servers[0].tls.ca_source: unknown key, ignored (did you mean \"client_ca\"?)");
    warns(SERVER("{endpoint: \"1.2.3.4:5\", tls: {insecure_skip_verify: true}}"),
          "c.yaml:1: services.slim/0.dataplane.servers[0].tls.insecure_skip_verify: unknown key, ignored");
    warns(SERVER("{endpoint: \"1.2.3.4:5\", keepalive: {tine: 1s}}"),
          "c.yaml:1: services.slim/0.dataplane.servers[0].keepalive.tine: unknown key, ignored (did you mean \"time\"?)");
    warns(SERVER("{endpoint: \"1.2.3.4:5\", metadata: {a: b}}"),
          "c.yaml:1: services.slim/0.dataplane.servers[0].metadata: has no effect: it is what a control plane is told, and that is "
          "not supported yet");
    warns("tracing: {log_level: loud}\nservices: {slim/0: {}}",
          "c.yaml:1: tracing.log_level: unknown level \"loud\", info is used; allowed are off, error, warn, info, debug, trace");
    warns("tracing: {log_level: \"${env:SECRET}\"}\nservices: {slim/0: {}}",
          "c.yaml:1: tracing.log_level: unknown level \"${env:SECRET}\", info is used; allowed are off, error, warn, info, debug, "
          "trace");
    warns("services: {slim/0: {dataplane: {outbound_clients: [{endpoint: \"\"}]}}}",
          "c.yaml:1: services.slim/0.dataplane.outbound_clients: has no effect: it is about links that a control plane orders; "
          "nodes to dial stand in clients");
    warns(CLIENT("{endpoint: \"http://h:1\", transport: websocket}"),
          "c.yaml:1: services.slim/0.dataplane.clients[0].transport: unknown key, ignored");
    warns(CLIENT("{endpoint: \"http://h:1\", connection_timeout: 5s}"),
          "c.yaml:1: services.slim/0.dataplane.clients[0].connection_timeout: unknown key, ignored (did you mean "
          "\"connect_timeout\"?)");
    warns(CLIENT("{endpoint: \"http://h:1\", tls: {ca_file: a}}"),
          "c.yaml:1: services.slim/0.dataplane.clients[0].tls.ca_file: unknown key, ignored (did you mean \"ca_source\"?)");
    warns(CLIENT("{endpoint: \"http://h:1\", rate_limit: 1/5}"),
          "c.yaml:1: services.slim/0.dataplane.clients[0].rate_limit: has no effect: it counts calls, and a link is one call");
    warns(CLIENT("{endpoint: \"http://h:1\", compression: Gzip}"),
          "c.yaml:1: services.slim/0.dataplane.clients[0].compression: has no effect: no SLIM node compresses");
    warns(CLIENT("{endpoint: \"http://h:1\", backoff: {type: fixed_interval, max_delay: 1s}}"),
          "c.yaml:1: services.slim/0.dataplane.clients[0].backoff.max_delay: unknown key, ignored");
    warns(CLIENT("{endpoint: \"http://h:1\", <<: {a: b}}"),
          "c.yaml:1: services.slim/0.dataplane.clients[0].<<: unknown key, ignored; merge keys are not expanded");
    warns(CLIENT("{endpoint: \"http://h:1\", url: b}"), "c.yaml:1: services.slim/0.dataplane.clients[0].url: unknown key, ignored");
    warns("services: {slim/0: {dataplane: {servers: [{endpoint: a}, {endpoint: b},\n {endpoint: c, require_header_mac: false}]}}}",
          "c.yaml:2: services.slim/0.dataplane.servers[2]: require_header_mac and negotiation_timeout_secs of the first server "
          "count for all of them");
    warns("services: {slim/0: {dataplane: {servers: [{endpoint: a}, {endpoint: b, negotiation_timeout_secs: 6}]}}}",
          "c.yaml:1: services.slim/0.dataplane.servers[1]: require_header_mac and negotiation_timeout_secs of the first server "
          "count for all of them");
}

/* Each of these is wrong about a value that must not be shown; "hunter2" is in all of them, or comes from outside. */
Test(config_errors, secrets_are_not_shown)
{
    static const char *const texts[] = {
        SERVER("{endpoint: \"1.2.3.4:5\", tls: {source: \"-----BEGIN hunter2\"}}"),
        SERVER("{endpoint: \"1.2.3.4:5\", tls: {source: {type: pem, cert: hunter2}}}"),
        SERVER("{endpoint: \"1.2.3.4:5\", tls: {source: {type: pem, cert: hunter2, key: [hunter2]}}}"),
        SERVER("{endpoint: \"1.2.3.4:5\", tls: {source: {type: file, cert: a, key: \"-----BEGIN hunter2\"}}}"),
        SERVER("{endpoint: \"1.2.3.4:5\", tls: {source: {type: file, cert: \"-----BEGIN hunter2\", key: a}}}"),
        SERVER("{endpoint: \"1.2.3.4:5\", tls: {client_ca: {type: file, path: \"-----BEGIN hunter2\"}}}"),
        SERVER("{endpoint: \"1.2.3.4:5\", tls: {client_ca: hunter2}}"),
        SERVER("{endpoint: \"1.2.3.4:5\", tls: \"hunter2\"}"),
        SERVER("{endpoint: \"1.2.3.4:5\", auth: {type: \"${env:SECRET}\"}}"),
        SERVER("{endpoint: \"${env:WS}\"}"),
        SERVER("hunter2"),
        CLIENT("{endpoint: \"${env:SECRET}\"}"),
        CLIENT("{endpoint: \"${env:WS}\"}"),
        CLIENT("{endpoint: \"http://h\", headers: {a: \"hunter2\\u0001\"}}"),
        CLIENT("{endpoint: \"http://h\", headers: {a: \"${env:LINES}\"}}"),
        CLIENT("{endpoint: \"http://h\", headers: hunter2}"),
        CLIENT("{endpoint: \"http://h\", auth: hunter2}"),
        CLIENT("{endpoint: \"http://h\", auth: {type: basic, password: hunter2}}"),
        CLIENT("{endpoint: \"http://h\", connection_type: \"${env:SECRET}\"}"),
        CLIENT("{endpoint: \"http://h\", compression: \"${file:/secret}\"}"),
        CLIENT("{endpoint: \"http://h\", rate_limit: \"${env:SECRET}\"}"),
        CLIENT("{endpoint: \"http://h\", backoff: {type: \"${env:SECRET}\"}}"),
        CLIENT("{endpoint: \"http://h\", connect_timeout: \"${env:SECRET}\"}"),
        CLIENT("{endpoint: \"http://h\", require_header_mac: \"${file:/secret}\"}"),
        CLIENT("{endpoint: \"http://h\", buffer_size: \"${file:/secret}\"}"),
        CLIENT("{endpoint: \"http://h\", tls: {source: {type: \"${env:SECRET}\"}}}"),
        CLIENT("{endpoint: \"http://h\", tls: {ca_source: {type: pem, data: {hunter2: hunter2}}}}"),
        CLIENT("{endpoint: \"http://h\", proxy: {password: hunter2}}"),
        "services: {slim/0: {default_gateway: \"${env:SECRET}\"}}",
        "services: {slim/0: {node_id: \"${file:/nul}\"}}",
        "services: {slim/0: {node_id: \"${file:/latin}\"}}",
        "services: {slim/0: {auth: {type: shared_secret, secret: hunter2}}}",
        "services: {slim/0: \"${env:SECRET}\"}",
        "services: \"${env:SECRET}\"",
        "tracing: {filters: \"${env:SECRET}\"}",
        "runtime: \"${env:SECRET}\"",
        "services: {slim/0: {x: {a: hunter2, b: hunter2, a: hunter2}}}",
        "services: {slim/0: {node_id: !x hunter2}}",
        "services: {slim/0: {auth: {secret: !hunter2}}}",
        "services: {slim/0: {auth: {secret: *hunter2}}}",
        "services: {slim/0: {auth: {secret: &hunter2}}}",
        "services: {slim/0: {auth: {secret: @hunter2}}}",
        "services: {slim/0: {node_id: hunter2\n",
        "services: {slim/0: {node_id: \"hunter2\\0\"}}",
    };

    for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
        kit_parse_bytes(&k, texts[i], strlen(texts[i]), -1);
        cr_assert_eq(k.err, SLIM_E_CONFIG, "accepted: %s", texts[i]);
        cr_assert_null(strstr(k.why, "hunter2"), "%s\n%s", texts[i], k.why);
        cr_assert_null(strstr(k.why, "two"), "%s\n%s", texts[i], k.why);
        for (int w = 0; w < k.n_warnings && w < 32; w++)
            cr_assert_null(strstr(k.warnings[w], "hunter2"), "%s\n%s", texts[i], k.warnings[w]);
    }
}

Test(config_errors, messages_are_one_printable_line)
{
    char text[3000], whole[300], *end;

    refuse("services: {slim/0: {\"a\\nb\\e[31m\\x7f\": 1}}", "c.yaml:1: services.slim/0.a?b?[31m?: unknown key in a service");
    refuse("services: {slim/0: {\"\\x9b31m\\xa0ü€😀\": 1}}", "c.yaml:1: services.slim/0.??31m\u00a0ü€😀: unknown key in a service");
    /* Cut after 80 bytes, in the middle of a letter. */
    snprintf(text, sizeof(text), "tracing: {display_thread_ids: \"%079d€\"}", 0);
    snprintf(whole, sizeof(whole), "c.yaml:1: tracing.display_thread_ids: expected true or false, found the string \"%079d?\"", 0);
    refuse_at(SLIM_CFG_TRACING, text, whole);
    warns(CLIENT("{endpoint: \"http://h:1\", \"a\\nb\": 1}"),
          "c.yaml:1: services.slim/0.dataplane.clients[0].a?b: unknown key, ignored");
    /* Long ones are cut and still tell the place. */
    end = text + sprintf(text, "services: {slim/0: {");
    memset(end, 'k', 1000);
    sprintf(end + 1000, ": 1}}");
    kit_parse_bytes(&k, text, strlen(text), -1);
    cr_assert_eq(k.err, SLIM_E_CONFIG);
    cr_assert_eq(strncmp(k.why, "c.yaml:1: services.slim/0.kkkk", 29), 0, "%s", k.why);
    cr_assert_lt(strlen(k.why), sizeof(k.why));
}

Test(config_errors, a_small_place_for_the_message)
{
    slim_cfg_source src = {.name = "c.yaml", .text = "", .n = 0, .getenv = kit_getenv, .read_file = kit_read_file};
    slim_cfg *cfg;
    slim_cfg_stage stage;
    char why[16];

    cr_assert_eq(slim_cfg_parse(&src, &slim_mem_libc, &cfg, NULL, NULL, &stage, why, sizeof(why)), SLIM_E_CONFIG);
    cr_assert_str_eq(why, "c.yaml:1: impos");
    cr_assert_eq(slim_cfg_parse(&src, &slim_mem_libc, &cfg, NULL, NULL, &stage, why, 0), SLIM_E_CONFIG);
    cr_assert_str_eq(why, "c.yaml:1: impos", "of no size: nothing is written");
}

/* ---- files made to cost much ---- */

static char *repeat(const char *head, const char *body, size_t times, const char *tail)
{
    size_t n = strlen(body);
    char *text = malloc(strlen(head) + n * times + strlen(tail) + 1), *end = text;

    cr_assert_not_null(text);
    end += sprintf(end, "%s", head);
    for (size_t i = 0; i < times; i++, end += n)
        memcpy(end, body, n);
    sprintf(end, "%s", tail);
    return text;
}

static void refuse_repeated(const char *head, const char *body, size_t times, const char *tail, const char *why)
{
    char *text = repeat(head, body, times, tail);

    kit_parse_bytes(&k, text, strlen(text), -1);
    free(text);
    cr_assert_eq(k.err, SLIM_E_CONFIG, "%s", body);
    cr_assert_str_eq(k.why, why);
}

Test(config_errors, size_and_depth_have_limits)
{
    refuse_repeated("", "[", 100000, "", "c.yaml:1: nested deeper than 64 levels");
    refuse_repeated("services: ", "{a: ", 100000, "", "c.yaml:1: nested deeper than 64 levels");
    refuse_repeated("", "- ", 100000, "", "c.yaml:1: nested deeper than 64 levels");
    refuse_repeated("services: ", "[", 63, "",
                    "c.yaml:2: impossible to parse yaml: did not find expected node content, while parsing a flow node");
    refuse_repeated("", "- a\n", 300000, "", "c.yaml:200000: more than 200000 values");
    refuse_repeated("", "#", (4 << 20) + 1, "", "c.yaml:1: larger than 4 MiB");
    refuse_repeated("", "%TAG !a! x\n", 300000, "---\n", "c.yaml:101: more than 100 lines begin with %");
    refuse_repeated("#\n#\r\n", "%X\r\n", 101, "", "c.yaml:103: more than 100 lines begin with %");
    refuse_repeated("", "%X\u2028%X\u2029%X\xc2\x85%X\r", 26, "", "c.yaml:1: more than 100 lines begin with %");
    refuse_repeated("runtime: \"", "% %", 1000, "\"\n", "c.yaml:1: runtime: expected a mapping, found a string");
    refuse_repeated("", "#", 4 << 20, "",
                    "c.yaml:1: impossible to parse yaml: the file must be a mapping with the keys services, tracing, runtime");
}

Test(config_errors, aliases_do_not_multiply_without_limit)
{
    static const char much[] = "c.yaml:1: the file stands for too much: do aliases repeat large parts of it?";
    char *keys, *head, *long_text;
    size_t n;

    /* An entry with a thousand unknown keys, again and again. */
    keys = malloc(40000);
    n = (size_t)sprintf(keys, "runtime: {}\nservices: {slim/0: {dataplane: {clients: [&c {endpoint: \"http://h\"");
    for (int i = 0; i < 1000; i++)
        n += (size_t)sprintf(keys + n, ", unknown%d: 1", i);
    sprintf(keys + n, "}");
    refuse_repeated(keys, ", *c", 50000, "]}}}", much);
    cr_assert_leq(k.n_warnings, 25000, "%d warnings", k.n_warnings);
    free(keys);
    /* Services that are one, whose list is one entry many times. */
    head = repeat("services:\n  a/0: &s {dataplane: {servers: [&e {endpoint: a}", ", *e", 20000, "]}}\n");
    n = strlen(head);
    keys = malloc(n + 20000 * 16);
    memcpy(keys, head, n + 1);
    for (int i = 0; i < 20000; i++)
        n += (size_t)sprintf(keys + n, "  a/a%d: *s\n", i);
    kit_parse_bytes(&k, keys, n, -1);
    cr_assert_eq(k.err, SLIM_E_CONFIG);
    cr_assert_str_eq(k.why, much);
    free(head);
    free(keys);
    /* A long text many times. */
    head = repeat("tracing: {filters: [&t ", "x", 1000000, "");
    long_text = repeat(head, ", *t", 10000, "]}\n");
    kit_parse_bytes(&k, long_text, strlen(long_text), -1);
    cr_assert_eq(k.err, SLIM_E_CONFIG);
    cr_assert_str_eq(k.why, much);
    free(head);
    free(long_text);
    /* Many anchors. */
    keys = malloc(40000);
    n = (size_t)sprintf(keys, "services:\n");
    for (int i = 0; i < 1001; i++)
        n += (size_t)sprintf(keys + n, "- &a%d x\n", i);
    kit_parse_bytes(&k, keys, n, -1);
    cr_assert_eq(k.err, SLIM_E_CONFIG);
    cr_assert_str_eq(k.why, "c.yaml:1002: more than 1000 anchors");
    free(keys);
}

Test(config_errors, circles)
{
    refuse("services: &s {slim/0: *s}\n", "c.yaml:1: services.slim/0.slim/0: unknown key in a service");
    refuse_at(SLIM_CFG_LOAD, "&r {services: *r, x: *r}\n",
              "c.yaml:1: x: unknown key in the configuration, which has services, tracing and runtime");
    refuse("services: {slim/0: {dataplane: &d {servers: &l [*l]}}}\n",
           "c.yaml:1: services.slim/0.dataplane.servers[0]: expected a mapping, found a list");
    refuse_at(SLIM_CFG_LOAD, "services: {slim/0: &s {x: [*s, \"${env:NOBODY}\"]}}\n",
              "c.yaml:1: services.slim/0.x[1]: ${env:NOBODY}: the environment variable NOBODY is not set");
}

Test(config_errors, thousands_of_keys)
{
    char *keys = malloc(400000);
    size_t n = (size_t)sprintf(keys, "services: {slim/0: {dataplane: {clients: [{endpoint: \"http://h\", metadata: {");

    for (int i = 0; i < 20000; i++)
        n += (size_t)sprintf(keys + n, "key%d: 1, ", i);
    n += (size_t)sprintf(keys + n, "}}]}}}");
    kit_parse_bytes(&k, keys, n, -1);
    cr_assert_eq(k.err, SLIM_OK, "%s", k.why);
    kit_close(&k);
    n -= strlen("}}]}}}");
    sprintf(keys + n, "key7: 2}}]}}}");
    kit_parse_bytes(&k, keys, strlen(keys), -1);
    cr_assert_str_eq(k.why, "c.yaml:1: services.slim/0.dataplane.clients[0].metadata.key7: the same key stands on line 1 already");
    n = (size_t)sprintf(keys, "services: {slim/0: {dataplane: {clients: [{endpoint: \"http://h\", headers: {");
    for (int i = 0; i < 65; i++)
        n += (size_t)sprintf(keys + n, "x-%d: a, ", i);
    sprintf(keys + n, "}}]}}}");
    kit_parse_bytes(&k, keys, strlen(keys), -1);
    cr_assert_str_eq(k.why, "c.yaml:1: services.slim/0.dataplane.clients[0].headers: more than 64 headers");
    free(keys);
}
