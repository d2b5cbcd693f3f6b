/* What the tests of src/config share: an environment and files of their own, and the warnings that come. */
#ifndef SLIM_TESTS_CONFIG_KIT_H
#define SLIM_TESTS_CONFIG_KIT_H

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "config/config.h"
#include "support/support.h"

typedef struct kit {
    test_mem mem;
    slim_cfg *cfg;
    slim_cfg_stage stage;
    slim_err err;
    char why[1024];
    char warnings[32][1600];
    int n_warnings;
} kit;

static const char *kit_getenv(void *arg, const char *name)
{
    static const char *const known[][2] = {
        {"NODE", "node-7"},      {"NODE_ID", "node-7"}, {"LATIN", "hunter2\xe9"}, {"SECRET", "hunter2"},
        {"EMPTY", ""},           {"NUMBER", "4"},       {"TRUE", "true"},         {"NESTED", "${env:NODE}"},
        {"TYPE", "file"},        {"A:B", "colon"},      {"LINES", "one\ntwo"},    {"DURATION", "1m30s"},
        {"OFF", "off"},          {"TILDE", "~"},        {"ENDPOINT", "[::1]:1"},  {"URL", "http://h:1"},
        {"WS", "ws://hunter2:1"}};

    for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++)
        if (strcmp(known[i][0], name) == 0)
            return known[i][1];
    return NULL;
}

static slim_err kit_read_file(void *arg, slim_mem *m, const char *path, char **text, size_t *n, const char **reason)
{
    static const struct {
        const char *path, *text;
        size_t n;
    } files[] = {{"/secret", "hunter2", 7}, {"/line", "node-9\n", 7},     {"/empty", "", 0},
                 {"/nul", "hun\0ter2", 8},  {"/latin", "hunter2\xe9", 8}, {"/brace", "${env:NODE}", 11}};

    for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++) {
        if (strcmp(files[i].path, path) != 0)
            continue;
        if (files[i].n > 0 && (*text = slim_alloc(m, files[i].n)) == NULL)
            return SLIM_E_NOMEM;
        if (files[i].n > 0)
            memcpy(*text, files[i].text, files[i].n);
        *n = files[i].n;
        return SLIM_OK;
    }
    *reason = "No such file or directory";
    return SLIM_E_NOT_FOUND;
}

static inline void kit_warn(void *arg, const char *line)
{
    kit *k = arg;

    if (k->n_warnings < 32)
        snprintf(k->warnings[k->n_warnings], sizeof(k->warnings[0]), "%s", line);
    k->n_warnings++;
}

static inline void kit_parse_bytes(kit *k, const char *text, size_t n, long fail_at)
{
    slim_cfg_source src = {.name = "c.yaml", .text = text, .n = n, .getenv = kit_getenv, .read_file = kit_read_file};

    memset(k, 0, sizeof(*k));
    test_mem_init(&k->mem, fail_at);
    k->err = slim_cfg_parse(&src, &k->mem.mem, &k->cfg, kit_warn, k, &k->stage, k->why, sizeof(k->why));
    if (k->err == SLIM_OK)
        return;
    cr_assert_null(k->cfg, "a failed parse gives nothing");
    cr_assert_eq(k->mem.live, 0, "a failed parse leaves %ld blocks", k->mem.live);
    cr_assert_neq(k->why[0], '\0', "a failed parse says why");
}

static inline void kit_close(kit *k)
{
    slim_cfg_free(k->cfg);
    cr_assert_eq(k->mem.live, 0, "%ld blocks are left", k->mem.live);
    k->cfg = NULL;
}

/* Parses what has to be accepted, without a warning. */
static inline const slim_cfg *kit_open_silent(kit *k, const char *text)
{
    kit_parse_bytes(k, text, strlen(text), -1);
    cr_assert_eq(k->err, SLIM_OK, "%s\n%s", k->why, text);
    cr_assert_eq(k->n_warnings, 0, "%s", k->warnings[0]);
    return k->cfg;
}

/* The head of a file with one server entry or one client entry; the entry follows in flow style. */
#define SERVER(entry) "services: {slim/0: {dataplane: {servers: [" entry "]}}}\n"
#define CLIENT(entry) "services: {slim/0: {dataplane: {clients: [" entry "]}}}\n"

#endif
