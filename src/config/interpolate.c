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
        return cfg_fail_node(r, n, NULL, n, "${file:%s}: cannot read \"%s\": %s", path, path, reason);
    if (size > 0 && memchr(text, 0, size) != NULL)
        cfg_fail_node(r, n, NULL, n, "${file:%s}: the file has a NUL character in it", path);
    else if (!slim_utf8_valid(slim_bytes_of(text, size)))
        cfg_fail_node(r, n, NULL, n, "${file:%s}: the file is not UTF-8", path);
    else
        *out = cfg_copy(r, text != NULL ? text : "", size);
    slim_free(r->arena->mem, text);
    return r->err;
}

static slim_err resolve(cfg_reader *r, const cfg_node *n, const char **out)
{
    const char *whole = (const char *)n->data.scalar.value, *colon = strchr(whole, ':'), *inner, *value;

    if (colon == NULL)
        return cfg_fail_node(r, n, NULL, n, "%s: no provider; write ${env:NAME} or ${file:PATH}", whole);
    if ((inner = cfg_copy(r, colon + 1, strlen(colon + 1) - 1)) == NULL)
        return r->err;
    if (strncmp(whole, "${env:", 6) == 0) {
        if ((value = r->src->getenv(r->src->arg, inner)) == NULL)
            return cfg_fail_node(r, n, NULL, n, "%s: the environment variable %s is not set", whole, inner);
        if (!slim_utf8_valid(slim_bytes_str(value))) /* what comes of it may be a string of a message to a peer */
            return cfg_fail_node(r, n, NULL, n, "%s: the environment variable %s is not UTF-8", whole, inner);
        *out = cfg_copy(r, value, strlen(value));
        return r->err;
    }
    if (strncmp(whole, "${file:", 7) == 0)
        return resolve_file(r, n, inner, out);
    return cfg_fail_node(r, n, NULL, n, "%s: unknown provider; write ${env:NAME} or ${file:PATH}", whole);
}

slim_err cfg_interpolate(cfg_reader *r)
{
    size_t n = (size_t)(r->doc.nodes.top - r->doc.nodes.start);

    if ((r->resolved = cfg_alloc(r, n * sizeof(*r->resolved))) == NULL)
        return r->err;
    /* Keys have no holder and stay as they are. */
    for (size_t i = 0; i < n && r->err == SLIM_OK; i++)
        if (r->holders[i].parent != 0 && is_reference(&r->doc.nodes.start[i]))
            resolve(r, &r->doc.nodes.start[i], &r->resolved[i]);
    return r->err;
}
