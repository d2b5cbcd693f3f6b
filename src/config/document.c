/* From text to a document that is safe to walk: bounded in size, depth and aliases, no key twice, no tags, no NUL. */
#include "config/reader.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_MAX_BYTES (4u << 20)
#define DEPTH_MAX 64     /* libyaml takes the square of it in time */
#define ANCHORS_MAX 1000 /* the same */
#define DIRECTIVES_MAX 100
#define VALUES_MAX 200000 /* a value takes libyaml about 200 bytes */

/* libyaml's words with the place they are about. */
static slim_err syntax_error(cfg_reader *r, const yaml_parser_t *parser)
{
    size_t line = parser->problem_mark.line + 1;

    if (parser->error == YAML_MEMORY_ERROR)
        return cfg_no_memory(r);
    if (parser->error == YAML_READER_ERROR) { /* knows the byte, not the line */
        line = 1;
        for (size_t i = 0; i < parser->problem_offset && i < r->src->n; i++)
            line += r->src->text[i] == '\n';
    }
    return cfg_fail_line(r, line, "impossible to parse yaml: %s%s%s", parser->problem != NULL ? parser->problem : "error",
                         parser->context != NULL ? ", " : "", parser->context != NULL ? parser->context : "");
}

static bool open_parser(cfg_reader *r, yaml_parser_t *parser)
{
    if (!yaml_parser_initialize(parser)) {
        cfg_no_memory(r);
        return false;
    }
    yaml_parser_set_encoding(parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(parser, (const unsigned char *)r->src->text, r->src->n);
    return true;
}

typedef struct survey {
    size_t depth, anchors, values, documents;
} survey;

static slim_err survey_value(cfg_reader *r, survey *s, size_t line, const yaml_char_t *anchor, const yaml_char_t *tag)
{
    if (++s->values > VALUES_MAX)
        return cfg_fail_line(r, line, "more than %d values", VALUES_MAX);
    if (anchor != NULL && ++s->anchors > ANCHORS_MAX)
        return cfg_fail_line(r, line, "more than %d anchors", ANCHORS_MAX);
    if (tag != NULL) /* not shown: it may be a password that begins with "!" and lacks quotes */
        return cfg_fail_line(r, line, "tags (!word before a value) are not supported; text that begins with ! needs quotes");
    return SLIM_OK;
}

/* libyaml takes a line's end by these, too. */
static bool ends_line(const char *s, size_t n)
{
    return n == 0 || s[n - 1] == '\n' || s[n - 1] == '\r' || (n >= 2 && memcmp(s + n - 2, "\xc2\x85", 2) == 0) ||
           (n >= 3 && (memcmp(s + n - 3, "\xe2\x80\xa8", 3) == 0 || memcmp(s + n - 3, "\xe2\x80\xa9", 3) == 0));
}

/* libyaml compares each %TAG with all before it, and that before the first event. */
static slim_err survey_directives(cfg_reader *r)
{
    const char *s = r->src->text, *end = s + r->src->n, *p = s;
    size_t count = 0, line = 1;

    for (; p < end && (p = memchr(p, '%', (size_t)(end - p))) != NULL; p++) {
        if (!ends_line(s, (size_t)(p - s)) || ++count <= DIRECTIVES_MAX)
            continue;
        for (const char *q = s; q < p; q++)
            line += *q == '\n';
        return cfg_fail_line(r, line, "more than %d lines begin with %%", DIRECTIVES_MAX);
    }
    return SLIM_OK;
}

static slim_err survey_event(cfg_reader *r, survey *s, const yaml_event_t *e)
{
    size_t line = e->start_mark.line + 1;

    switch (e->type) {
    case YAML_DOCUMENT_START_EVENT:
        return ++s->documents > 1 ? cfg_fail_line(r, line, "a second document begins here; a configuration is one") : SLIM_OK;
    case YAML_SCALAR_EVENT:
        if (memchr(e->data.scalar.value, 0, e->data.scalar.length) != NULL)
            return cfg_fail_line(r, line, "a NUL character is not allowed");
        return survey_value(r, s, line, e->data.scalar.anchor, e->data.scalar.tag);
    case YAML_SEQUENCE_START_EVENT:
    case YAML_MAPPING_START_EVENT:
        if (++s->depth > DEPTH_MAX)
            return cfg_fail_line(r, line, "nested deeper than %d levels", DEPTH_MAX);
        return e->type == YAML_MAPPING_START_EVENT
                   ? survey_value(r, s, line, e->data.mapping_start.anchor, e->data.mapping_start.tag)
                   : survey_value(r, s, line, e->data.sequence_start.anchor, e->data.sequence_start.tag);
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT: s->depth--; return SLIM_OK;
    case YAML_ALIAS_EVENT: return survey_value(r, s, line, NULL, NULL);
    default: return SLIM_OK;
    }
}

/* One pass over the events before a document is built of them. */
static slim_err survey_text(cfg_reader *r)
{
    yaml_parser_t parser;
    yaml_event_t e;
    survey s = {0};
    bool end = false;

    if (!open_parser(r, &parser))
        return r->err;
    while (!end && r->err == SLIM_OK) {
        if (!yaml_parser_parse(&parser, &e)) {
            syntax_error(r, &parser);
            break;
        }
        end = e.type == YAML_STREAM_END_EVENT;
        survey_event(r, &s, &e);
        yaml_event_delete(&e);
    }
    yaml_parser_delete(&parser);
    return r->err;
}

/* ---- who holds whom ---- */

static void set_holder(cfg_reader *r, int child, int parent, int key, size_t index)
{
    cfg_holder *h = &r->holders[child - 1];

    /* Only downwards in libyaml's order, which every node has a holder for: so the way up from an alias of a parent ends, too. */
    if (child > parent && h->parent == 0)
        *h = (cfg_holder){parent, key, index};
}

static slim_err find_holders(cfg_reader *r)
{
    size_t n = (size_t)(r->doc.nodes.top - r->doc.nodes.start);

    if ((r->holders = cfg_alloc(r, n * sizeof(*r->holders))) == NULL)
        return r->err;
    for (int i = 1; i <= (int)n; i++) {
        const cfg_node *node = cfg_at(r, i);

        if (node->type == YAML_MAPPING_NODE)
            for (const yaml_node_pair_t *p = node->data.mapping.pairs.start; p < node->data.mapping.pairs.top; p++)
                set_holder(r, p->value, i, p->key, 0);
        else if (node->type == YAML_SEQUENCE_NODE)
            for (const yaml_node_item_t *p = node->data.sequence.items.start; p < node->data.sequence.items.top; p++)
                set_holder(r, *p, i, 0, (size_t)(p - node->data.sequence.items.start));
    }
    return SLIM_OK;
}

/* ---- no key twice ---- */

static int by_text(const void *a, const void *b)
{
    const cfg_node *x = *(const cfg_node *const *)a, *y = *(const cfg_node *const *)b;
    size_t nx = x->data.scalar.length, ny = y->data.scalar.length;
    int order = nx != ny ? (nx < ny ? -1 : 1) : memcmp(x->data.scalar.value, y->data.scalar.value, nx);

    return order != 0 ? order : x < y ? -1 : x > y;
}

static slim_err check_keys(cfg_reader *r, const cfg_node *mapping, const cfg_node **keys)
{
    size_t n = 0;

    for (const yaml_node_pair_t *p = mapping->data.mapping.pairs.start; p < mapping->data.mapping.pairs.top; p++) {
        const cfg_node *key = cfg_at(r, p->key);

        if (key->type == YAML_SCALAR_NODE)
            keys[n++] = key;
    }
    qsort(keys, n, sizeof(*keys), by_text); /* equal ones in the order of the file */
    for (size_t i = 1; i < n; i++)
        if (keys[i - 1]->data.scalar.length == keys[i]->data.scalar.length &&
            memcmp(keys[i - 1]->data.scalar.value, keys[i]->data.scalar.value, keys[i]->data.scalar.length) == 0)
            return cfg_fail_node(r, mapping, (const char *)keys[i]->data.scalar.value, keys[i],
                                 "the same key stands on line %d already", cfg_line(keys[i - 1]));
    return SLIM_OK;
}

static slim_err check_mappings(cfg_reader *r)
{
    size_t most = 0;
    const cfg_node **keys;

    for (const cfg_node *n = r->doc.nodes.start; n < r->doc.nodes.top; n++)
        if (n->type == YAML_MAPPING_NODE && (size_t)(n->data.mapping.pairs.top - n->data.mapping.pairs.start) > most)
            most = (size_t)(n->data.mapping.pairs.top - n->data.mapping.pairs.start);
    if ((keys = cfg_alloc(r, most * sizeof(*keys))) == NULL)
        return r->err;
    for (const cfg_node *n = r->doc.nodes.start; n < r->doc.nodes.top && r->err == SLIM_OK; n++)
        if (n->type == YAML_MAPPING_NODE)
            check_keys(r, n, keys);
    return r->err;
}

slim_err cfg_load(cfg_reader *r)
{
    yaml_parser_t parser;
    const cfg_node *root;

    if (r->src->n > TEXT_MAX_BYTES)
        return cfg_fail_line(r, 1, "larger than %u MiB", TEXT_MAX_BYTES >> 20);
    if (survey_directives(r) != SLIM_OK || survey_text(r) != SLIM_OK || !open_parser(r, &parser))
        return r->err;
    if (!yaml_parser_load(&parser, &r->doc))
        syntax_error(r, &parser);
    yaml_parser_delete(&parser);
    if (r->err != SLIM_OK)
        return r->err;
    root = yaml_document_get_root_node(&r->doc);
    if (root == NULL || root->type != YAML_MAPPING_NODE)
        return cfg_fail(r, NULL, root,
                        "impossible to parse yaml: the file must be a mapping with the keys services, tracing, runtime");
    if (find_holders(r) != SLIM_OK)
        return r->err;
    return check_mappings(r);
}
