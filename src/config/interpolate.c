#include "config/reader.h"

#include <string.h>

#include "core/bytes.h"

/* A whole scalar of the form ${provider:ref} (node.md 2.1); the replacement is a string as it is, never parsed again. */
static bool is_reference(const cfg_node *n)
{
    const char *s = (const char *)n->data.scalar.value;
    size_t length = n->data.scalar.length;

    return n->type == YAML_SCALAR_NODE && length >= 3 && memcmp(s, "${", 2) == 0 && s[length - 1] == '}' &&
           memchr(s, 0, length) == NULL;
}

static slim_err resolve_file(cfg_reader *r, const cfg_node *n, const char *path, const char **out)
{
    const char *reason = "";
    char *text = NULL;
    size_t size = 0;
    slim_err e = r->src->read_file(r->src->arg, r->arena->mem, path, &text, &size, &reason);

    if (e == SLIM_E_NOMEM)
        return cfg_no_memory(r);
    if (e != SLIM_OK)
        return cfg_fail(r, NULL, n, "${file:%s}: cannot read \"%s\": %s", path, path, reason);
    if (size > 0 && memchr(text, 0, size) != NULL)
        cfg_fail(r, NULL, n, "${file:%s}: the file has a NUL character in it", path);
    else if (!slim_utf8_valid(slim_bytes_of(text, size)))
        cfg_fail(r, NULL, n, "${file:%s}: the file is not UTF-8", path);
    else
        *out = cfg_copy(r, text != NULL ? text : "", size);
    slim_free(r->arena->mem, text);
    return r->err;
}

static slim_err resolve(cfg_reader *r, const cfg_node *n, const char **out)
{
    const char *whole = (const char *)n->data.scalar.value, *colon = strchr(whole, ':'), *inner, *value;

    if (colon == NULL)
        return cfg_fail(r, NULL, n, "%s: no provider; write ${env:NAME} or ${file:PATH}", whole);
    if ((inner = cfg_copy(r, colon + 1, strlen(colon + 1) - 1)) == NULL)
        return r->err;
    if (strncmp(whole, "${env:", 6) == 0) {
        if ((value = r->src->getenv(r->src->arg, inner)) == NULL)
            return cfg_fail(r, NULL, n, "%s: the environment variable %s is not set", whole, inner);
        *out = cfg_copy(r, value, strlen(value));
        return r->err;
    }
    if (strncmp(whole, "${file:", 7) == 0)
        return resolve_file(r, n, inner, out);
    return cfg_fail(r, NULL, n, "%s: unknown provider; write ${env:NAME} or ${file:PATH}", whole);
}

/* Keys stay as they are. */
static void mark_keys(cfg_reader *r, bool *is_key)
{
    for (const cfg_node *n = r->doc.nodes.start; n < r->doc.nodes.top; n++)
        if (n->type == YAML_MAPPING_NODE)
            for (const yaml_node_pair_t *p = n->data.mapping.pairs.start; p < n->data.mapping.pairs.top; p++)
                is_key[p->key - 1] = true;
}

slim_err cfg_interpolate(cfg_reader *r)
{
    size_t n = (size_t)(r->doc.nodes.top - r->doc.nodes.start);
    bool *is_key = cfg_alloc(r, n);

    if ((r->resolved = cfg_alloc(r, (n + 1) * sizeof(*r->resolved))) == NULL || is_key == NULL)
        return r->err;
    mark_keys(r, is_key);
    for (size_t i = 0; i < n && r->err == SLIM_OK; i++)
        if (!is_key[i] && is_reference(&r->doc.nodes.start[i]))
            resolve(r, &r->doc.nodes.start[i], &r->resolved[i]);
    return r->err;
}
