/* Memory that is not there: every allocation of ours fails once. */
#include "config_kit.h"

static kit k;

/* Fails the n-th allocation for every n until none fails any more; the outcome is no memory or what it is with all of it. */
static long fail_each(const char *text, slim_err with_memory)
{
    for (long n = 0; n < 10000; n++) {
        kit_parse_bytes(&k, text, strlen(text), n);
        if (!k.mem.failed) {
            cr_assert_eq(k.err, with_memory, "%s", k.why);
            if (k.err == SLIM_OK)
                kit_close(&k);
            return n;
        }
        cr_assert_eq(k.err, SLIM_E_NOMEM, "allocation %ld fails, the result is %d: %s", n, k.err, k.why);
        cr_assert_str_eq(k.why, "out of memory");
        cr_assert_not(k.stage == SLIM_CFG_SERVICES && n == 0);
    }
    cr_assert_fail("it never ends");
    return 0;
}

Test(config_alloc, every_allocation_of_a_large_file)
{
    static const char text[] = "runtime: {thread_name: a, drain_timeout: 5s}\ntracing: {log_level: debug, filters: [a, "
                               "\"${env:NODE}\"], opentelemetry: {service_name: a}}\n"
                               "services:\n  slim/0:\n    node_id: ${file:/line}\n    domain_name: d\n    default_gateway: off\n   "
                               " dataplane:\n      servers:\n"
                               "        - {endpoint: a, tls: {source: {type: file, cert: c, key: k}, client_ca: {type: pem, data: "
                               "x}, tls_version: tls1.3}, keepalive: {time: 1s}, old: 1}\n"
                               "        - {endpoint: b, auth: {type: none}, require_header_mac: false}\n"
                               "      clients:\n        - endpoint: ${env:URL}\n          headers: {a: \"${file:/secret}\", b: "
                               "c}\n          origin: o\n          server_name: s\n"
                               "          compression: None\n          rate_limit: 1/1\n          backoff: {type: exponential, "
                               "max_delay: 5s}\n          connection_type: peer\n          link_id: l\n"
                               "          connect_timeout: 1s\n          tls: {source: {type: pem, cert: c, key: k}, ca_source: "
                               "{type: file, path: x}}\n  slim/1: {}\n";
    long n = fail_each(text, SLIM_OK);

    cr_assert_gt(n, 40, "%ld allocations failed", n);
}

Test(config_alloc, wrong_files)
{
    cr_assert_gt(fail_each("services: {slim/0: {node_id: 7}}", SLIM_E_CONFIG), 3);
    cr_assert_gt(fail_each("services: {slim/0: {node_id: \"${file:/latin}\"}}", SLIM_E_CONFIG), 3);
    cr_assert_gt(fail_each("services: {slim/0: {node_id: \"${env:NOBODY}\"}}", SLIM_E_CONFIG), 3);
    cr_assert_eq(fail_each("a: [", SLIM_E_CONFIG), 1, "only the struct");
}
