/* The configuration reader and the duration parser. The first byte chooses the allocation that fails; ${env:} and ${file:} give
 * what the input says. Whatever is accepted keeps the promises of config.h, and what is refused says where and why in one line. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/config.h"
#include "core/bytes.h"
#include "support/support.h"
#include "check.h"

/* A value from outside that no message may show, unless the file has it, too. */
static const char secret[] = "hunter2-hunter2";
static bool in_file;

static const char *get_env(void *arg, const char *name)
{
    return name[0] == 'N' ? NULL : name[0] == 'S' ? secret : name;
}

static slim_err read_file(void *arg, slim_mem *m, const char *path, char **text, size_t *n, const char **reason)
{
    size_t size = strlen(path);

    *reason = "not there";
    if (size == 0 || path[0] == 'N')
        return SLIM_E_NOT_FOUND;
    if ((*text = slim_alloc(m, size)) == NULL)
        return SLIM_E_NOMEM;
    memcpy(*text, path, size);
    *n = size;
    if (path[0] == '0')
        (*text)[0] = '\0';
    return SLIM_OK;
}

static void check_line(const char *line)
{
    CHECK(strncmp(line, "c.yaml:", 7) == 0);
    for (const char *s = line; *s != '\0'; s++)
        CHECK((unsigned char)*s >= 0x20 && *s != 0x7f);
    CHECK(slim_utf8_valid(slim_bytes_str(line)));
    CHECK(in_file || strstr(line, secret) == NULL);
}

static void warn(void *arg, const char *line)
{
    ++*(size_t *)arg;
    check_line(line);
}

/* Every byte of a string is read, so that the sanitizer sees one that is not there. */
static void touch(const char *s)
{
    if (s != NULL)
        CHECK(slim_utf8_valid(slim_bytes_of(s, strlen(s))));
}

static void check_tls(const slim_cfg_tls *t)
{
    CHECK(t->line > 0);
    CHECK((t->cert.file != NULL) == (t->key.file != NULL) && (t->cert.text != NULL) == (t->key.text != NULL));
    CHECK(t->cert.file == NULL || t->cert.text == NULL);
    CHECK(t->ca.file == NULL || t->ca.text == NULL);
    touch(t->cert.file);
    touch(t->cert.text);
    touch(t->key.file);
    touch(t->key.text);
    touch(t->ca.file);
    touch(t->ca.text);
    touch(t->tls_version);
}

static void check_client(const slim_cfg_client *c)
{
    CHECK(strncmp(c->endpoint, "http://", 7) == 0 || strncmp(c->endpoint, "https://", 8) == 0 ||
          (strncmp(c->endpoint, "unix://", 7) == 0 && c->tls.insecure));
    CHECK(c->link_id == NULL || c->link_id[0] != '\0');
    CHECK(c->connection_type <= SLIM_CFG_REMOTE && c->n_headers <= 64);
    for (size_t i = 0; i < c->n_headers; i++) {
        CHECK(c->headers[i].name[0] != '\0' && strpbrk(c->headers[i].value, "\r\n") == NULL);
        CHECK(strpbrk(c->headers[i].name, ": \r\n\t") == NULL);
    }
    CHECK(c->origin == NULL || (c->origin[0] != '\0' && strpbrk(c->origin, "/ \r\n") == NULL));
    touch(c->origin);
    touch(c->server_name);
    check_tls(&c->tls);
}

static void check_service(const slim_cfg_service *s)
{
    CHECK(strchr(s->key, '/') != NULL && s->line > 0);
    touch(s->node_id);
    touch(s->domain_name);
    for (size_t i = 0; i < s->n_servers; i++) {
        CHECK(s->servers[i].endpoint != NULL && s->servers[i].line > 0 && s->servers[i].max_frame_mib <= 16);
        /* Whatever is added to a clock must not wrap. */
        CHECK((s->servers[i].keepalive_time_ns | s->servers[i].max_connection_age_ns) <= INT64_MAX);
        touch(s->servers[i].endpoint);
        check_tls(&s->servers[i].tls);
    }
    for (size_t i = 0; i < s->n_clients; i++)
        check_client(&s->clients[i]);
}

static void check_accepted(const slim_cfg *c)
{
    CHECK(c->n_services > 0);
    touch(c->thread_name);
    touch(c->log_level);
    for (size_t i = 0; i < c->n_filters; i++)
        touch(c->filters[i]);
    for (size_t i = 0; i < c->n_services; i++) {
        check_service(&c->services[i]);
        for (size_t j = 0; i < 50 && j < i; j++)
            CHECK(strcmp(c->services[i].key, c->services[j].key) != 0);
    }
}

static void parse(const uint8_t *data, size_t size, long fail_at)
{
    size_t warnings = 0;
    slim_cfg_source src = {"c.yaml", (const char *)data, size, get_env, read_file, NULL};
    test_mem m;
    slim_cfg *c = NULL;
    slim_cfg_stage stage = SLIM_CFG_LOAD;
    char why[2048] = "";
    slim_err e;

    in_file = memmem(data, size, secret, strlen(secret)) != NULL;
    test_mem_init(&m, fail_at);
    e = slim_cfg_parse(&src, &m.mem, &c, warn, &warnings, &stage, why, sizeof(why));
    CHECK(stage >= SLIM_CFG_LOAD && stage <= SLIM_CFG_SERVICES);
    CHECK((e == SLIM_OK) == (c != NULL));
    CHECK(!m.failed || e == SLIM_E_NOMEM);
    if (e == SLIM_OK) {
        check_accepted(c);
        slim_cfg_free(c);
    } else {
        CHECK(e == SLIM_E_CONFIG || (e == SLIM_E_NOMEM && m.failed));
        if (e == SLIM_E_CONFIG)
            check_line(why);
    }
    CHECK(m.live == 0);
}

/* Twice the text is twice the time, and the number is what the parts say. */
static void durations(const uint8_t *data, size_t size)
{
    char text[256];
    uint64_t one = 0, two = 0;
    size_t n = size < 100 ? size : 100;

    memcpy(text, data, n);
    text[n] = '\0';
    if (slim_duration_parse(text, &one) != SLIM_OK)
        return;
    n = strlen(text);
    CHECK(n > 0 && strspn(text, "0123456789nusmhdwy") == n);
    memcpy(text + n, text, n);
    text[2 * n] = '\0';
    CHECK(slim_duration_parse(text, &two) == SLIM_OK);
    CHECK(two == (one > UINT64_MAX / 2 ? UINT64_MAX : 2 * one));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    parse(data + 1, size - 1, data[0] < 128 ? -1 : data[0] - 128);
    durations(data + 1, size - 1);
    return 0;
}
