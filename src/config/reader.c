#include "config/reader.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/bytes.h"

#define PATH_BYTES 384
#define PLACE_BYTES (PATH_BYTES + 256)
#define PATH_STEPS 64
#define LINE_BYTES 1024
#define UNITS_MAX (1u << 20)
#define UNKNOWN_KEY_UNITS 50 /* looking for a similar one takes so much longer */
#define UNIT_BYTES 64        /* so at most 64 MiB */
/* A century stands for ever, and still fits when it is added to a clock. */
#define DURATION_MAX_NS (100u * 365u * 86400u * 1000000000ull)

/* ---- memory ---- */

typedef struct block {
    struct block *next;
    max_align_t data[];
} block;

slim_err cfg_no_memory(cfg_reader *r)
{
    if (r->err == SLIM_OK) {
        r->err = SLIM_E_NOMEM;
        snprintf(r->why, r->why_n, "out of memory");
    }
    return SLIM_E_NOMEM;
}

void *cfg_alloc(cfg_reader *r, size_t n)
{
    block *b;

    if (!cfg_spend(r, n / UNIT_BYTES + 1))
        return NULL;
    if ((b = slim_zalloc(r->arena->mem, 1, sizeof(*b) + n)) == NULL) {
        cfg_no_memory(r);
        return NULL;
    }
    b->next = r->arena->blocks;
    r->arena->blocks = b;
    return b->data;
}

const char *cfg_copy(cfg_reader *r, const char *s, size_t n)
{
    char *p = cfg_alloc(r, n + 1);

    if (p != NULL)
        memcpy(p, s, n);
    return p;
}

/* ---- messages ---- */

int cfg_line(const cfg_node *n)
{
    return (int)n->start_mark.line + 1;
}

static size_t path_text(const cfg_path *p, char *out, size_t n)
{
    size_t used;

    if (p == NULL)
        return 0;
    used = path_text(p->up, out, n);
    if (used >= n)
        return used;
    if (p->key != NULL)
        used += (size_t)snprintf(out + used, n - used, "%s%s", used > 0 ? "." : "", p->key);
    else
        used += (size_t)snprintf(out + used, n - used, "[%zu]", p->index);
    return used < n ? used : n;
}

static void place_text(const cfg_reader *r, const cfg_path *path, const cfg_node *at, char *out, size_t n)
{
    char where[PATH_BYTES] = "";

    path_text(path, where, sizeof(where));
    snprintf(out, n, "%s:%d: %s%s", r->src->name, at != NULL ? cfg_line(at) : 1, where, where[0] != '\0' ? ": " : "");
}

/* Bytes of the character at s; 0: none that can be shown, as where a text was cut in the middle of one. */
static size_t printable(const char *s)
{
    const unsigned char *u = (const unsigned char *)s;
    size_t n = u[0] < 0x80 ? 1 : u[0] < 0xe0 ? 2 : u[0] < 0xf0 ? 3 : 4;

    if (n == 1)
        return u[0] >= 0x20 && u[0] != 0x7f;
    if (strnlen(s, n) < n || !slim_utf8_valid(slim_bytes_of(s, n)))
        return 0;
    return n == 2 && u[0] == 0xc2 && u[1] < 0xa0 ? 0 : n; /* terminals obey U+0080 to U+009F */
}

/* One line for the log whatever stands in the file. */
static void make_printable(char *s)
{
    while (*s != '\0') {
        size_t n = printable(s);

        if (n == 0)
            *s++ = '?';
        s += n;
    }
}

static slim_err fail(cfg_reader *r, const char *place, const char *fmt, va_list ap) __attribute__((format(printf, 3, 0)));
static slim_err fail(cfg_reader *r, const char *place, const char *fmt, va_list ap)
{
    char reason[LINE_BYTES];

    vsnprintf(reason, sizeof(reason), fmt, ap);
    snprintf(r->why, r->why_n, "%s%s", place, reason);
    if (r->why_n > 0)
        make_printable(r->why);
    return r->err = SLIM_E_CONFIG;
}

slim_err cfg_fail(cfg_reader *r, const cfg_path *path, const cfg_node *at, const char *fmt, ...)
{
    char place[PLACE_BYTES];
    va_list ap;

    if (r->err != SLIM_OK)
        return r->err;
    place_text(r, path, at, place, sizeof(place));
    va_start(ap, fmt);
    fail(r, place, fmt, ap);
    va_end(ap);
    return r->err;
}

slim_err cfg_fail_line(cfg_reader *r, size_t line, const char *fmt, ...)
{
    char place[PLACE_BYTES];
    va_list ap;

    if (r->err != SLIM_OK)
        return r->err;
    snprintf(place, sizeof(place), "%s:%zu: ", r->src->name, line);
    va_start(ap, fmt);
    fail(r, place, fmt, ap);
    va_end(ap);
    return r->err;
}

/* The way to a node from the root, on the stack of whoever wants it; NULL for the root. */
static const cfg_path *path_of(cfg_reader *r, const cfg_node *n, cfg_path *steps, size_t room)
{
    const cfg_holder *h = &r->holders[n - r->doc.nodes.start];
    const cfg_node *key = h->key != 0 ? cfg_at(r, h->key) : NULL;

    if (h->parent == 0 || room == 0)
        return NULL;
    steps->up = path_of(r, cfg_at(r, h->parent), steps + 1, room - 1);
    steps->key = key == NULL ? NULL : key->type == YAML_SCALAR_NODE ? (const char *)key->data.scalar.value : "?";
    steps->index = h->index;
    return steps;
}

slim_err cfg_fail_node(cfg_reader *r, const cfg_node *n, const char *key, const cfg_node *at, const char *fmt, ...)
{
    char place[PLACE_BYTES];
    cfg_path steps[PATH_STEPS];
    const cfg_path *p;
    va_list ap;

    if (r->err != SLIM_OK)
        return r->err;
    p = path_of(r, n, steps, PATH_STEPS);
    place_text(r, key != NULL ? &(cfg_path){p, key, 0} : p, at, place, sizeof(place));
    va_start(ap, fmt);
    fail(r, place, fmt, ap);
    va_end(ap);
    return r->err;
}

void cfg_warn(cfg_reader *r, const cfg_path *path, const cfg_node *at, const char *fmt, ...)
{
    char place[PLACE_BYTES], reason[LINE_BYTES], line[PLACE_BYTES + LINE_BYTES];
    va_list ap;

    if (r->warn == NULL)
        return;
    va_start(ap, fmt);
    vsnprintf(reason, sizeof(reason), fmt, ap);
    va_end(ap);
    place_text(r, path, at, place, sizeof(place));
    snprintf(line, sizeof(line), "%s%s", place, reason);
    make_printable(line);
    r->warn(r->warn_arg, line);
}

bool cfg_spend(cfg_reader *r, size_t units)
{
    if (units > UNITS_MAX - r->spent) {
        cfg_fail_line(r, 1, "the file stands for too much: do aliases repeat large parts of it?");
        return false;
    }
    r->spent += units;
    return true;
}

/* ---- scalars ---- */

const char *cfg_shown(const cfg_node *n)
{
    return (const char *)n->data.scalar.value;
}
cfg_node *cfg_at(cfg_reader *r, int index)
{
    return yaml_document_get_node(&r->doc, index);
}
bool cfg_is_mapping(const cfg_node *n)
{
    return n->type == YAML_MAPPING_NODE;
}

typedef enum scalar_type { SCALAR_NULL, SCALAR_BOOL, SCALAR_INTEGER, SCALAR_FLOAT, SCALAR_STRING, SCALAR_NONE } scalar_type;

static bool one_of(const char *s, const char *const *words)
{
    for (; *words != NULL; words++)
        if (strcmp(s, *words) == 0)
            return true;
    return false;
}

static const char *const null_words[] = {"", "~", "null", "Null", "NULL", NULL};
static const char *const true_words[] = {"true", "True", "TRUE", NULL};
static const char *const false_words[] = {"false", "False", "FALSE", NULL};
static const char *const float_words[] = {".inf", ".Inf", ".INF", "+.inf", "-.inf", ".nan", ".NaN", ".NAN", NULL};

static int digit_of(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : 99;
}

/* True for an integer as YAML 1.2 writes it, in any base; *out saturates. */
static bool integer_parse(const char *s, bool *negative, uint64_t *out)
{
    unsigned base = 10;
    uint64_t v = 0;

    *negative = *s == '-';
    if (*s == '-' || *s == '+')
        s++;
    if (s[0] == '0' && (s[1] == 'x' || s[1] == 'o' || s[1] == 'b')) {
        base = s[1] == 'x' ? 16 : s[1] == 'o' ? 8 : 2;
        s += 2;
    }
    if (*s == '\0' || (base == 10 && s[0] == '0' && s[1] != '\0'))
        return false;
    for (; *s != '\0'; s++) {
        int d = digit_of(*s);

        if (d >= (int)base)
            return false;
        if (__builtin_mul_overflow(v, (uint64_t)base, &v) || __builtin_add_overflow(v, (uint64_t)d, &v))
            v = UINT64_MAX;
    }
    *out = v;
    return true;
}

static bool float_like(const char *s)
{
    size_t digits;
    bool any = false;

    if (one_of(s, float_words))
        return true;
    s += *s == '-' || *s == '+';
    digits = strspn(s, "0123456789");
    if (digits > 1 && s[0] == '0' && s[digits] == '\0')
        return false; /* 007 is a word, as upstream reads it */
    any = digits > 0;
    s += digits;
    if (*s == '.') {
        digits = strspn(++s, "0123456789");
        any |= digits > 0;
        s += digits;
    }
    if (any && (*s == 'e' || *s == 'E')) {
        s++;
        s += *s == '-' || *s == '+';
        digits = strspn(s, "0123456789");
        return digits > 0 && s[digits] == '\0';
    }
    return any && *s == '\0';
}

static scalar_type type_of(const cfg_reader *r, const cfg_node *n)
{
    const char *s = (const char *)n->data.scalar.value;
    bool negative;
    uint64_t v;

    if (n->type != YAML_SCALAR_NODE)
        return SCALAR_NONE;
    if (n->data.scalar.style != YAML_PLAIN_SCALAR_STYLE || r->resolved[n - r->doc.nodes.start] != NULL)
        return SCALAR_STRING;
    if (one_of(s, null_words))
        return SCALAR_NULL;
    if (one_of(s, true_words) || one_of(s, false_words))
        return SCALAR_BOOL;
    if (integer_parse(s, &negative, &v))
        return SCALAR_INTEGER;
    return float_like(s) ? SCALAR_FLOAT : SCALAR_STRING;
}

bool cfg_is_null(const cfg_reader *r, const cfg_node *n)
{
    return type_of(r, n) == SCALAR_NULL;
}

/* What stands there instead, for a person; a value that came from outside is not shown. */
static slim_err type_error(cfg_reader *r, const cfg_path *p, const cfg_node *n, bool secret, const char *wanted)
{
    const char *s = (const char *)n->data.scalar.value;
    bool hide = secret || (n->type == YAML_SCALAR_NODE && r->resolved[n - r->doc.nodes.start] != NULL);

    switch (type_of(r, n)) {
    case SCALAR_NULL: return cfg_fail(r, p, n, "expected %s, found nothing", wanted);
    case SCALAR_BOOL:
        return hide ? cfg_fail(r, p, n, "expected %s, found a boolean", wanted)
                    : cfg_fail(r, p, n, "expected %s, found the boolean %s", wanted, s);
    case SCALAR_INTEGER:
    case SCALAR_FLOAT:
        return hide ? cfg_fail(r, p, n, "expected %s, found a number", wanted)
                    : cfg_fail(r, p, n, "expected %s, found the number %.40s", wanted, s);
    case SCALAR_STRING:
        return hide ? cfg_fail(r, p, n, "expected %s, found a string", wanted)
                    : cfg_fail(r, p, n, "expected %s, found the string \"%.80s\"", wanted, s);
    case SCALAR_NONE: break;
    }
    return cfg_fail(r, p, n, "expected %s, found a %s", wanted, n->type == YAML_MAPPING_NODE ? "mapping" : "list");
}

slim_err cfg_string(cfg_reader *r, const cfg_path *p, const cfg_node *n, bool secret, const char **out)
{
    const char *resolved;

    if (type_of(r, n) != SCALAR_STRING)
        return type_error(r, p, n, secret,
                          secret ? "a string" : "a string (put numbers and the words true, false, null in quotes)");
    resolved = r->resolved[n - r->doc.nodes.start];
    if (resolved != NULL) {
        *out = resolved;
        return SLIM_OK;
    }
    *out = cfg_copy(r, (const char *)n->data.scalar.value, n->data.scalar.length);
    return *out != NULL ? SLIM_OK : SLIM_E_NOMEM;
}

slim_err cfg_bool(cfg_reader *r, const cfg_path *p, const cfg_node *n, bool *out)
{
    if (type_of(r, n) != SCALAR_BOOL)
        return type_error(r, p, n, false, "true or false");
    *out = one_of((const char *)n->data.scalar.value, true_words);
    return SLIM_OK;
}

slim_err cfg_number(cfg_reader *r, const cfg_path *p, const cfg_node *n, uint64_t max, uint64_t *out)
{
    bool negative;

    if (type_of(r, n) != SCALAR_INTEGER)
        return type_error(r, p, n, false, "a whole number");
    if (!integer_parse((const char *)n->data.scalar.value, &negative, out))
        return type_error(r, p, n, false, "a whole number");
    if ((negative && *out != 0) || *out > max)
        return cfg_fail(r, p, n, "%.40s is out of range: 0 to %llu", (const char *)n->data.scalar.value, (unsigned long long)max);
    return SLIM_OK;
}

slim_err cfg_duration(cfg_reader *r, const cfg_path *p, const cfg_node *n, uint64_t *ns)
{
    static const char wanted[] = "a duration like \"1m30s\" (units ns us ms s m h d w y)";
    const char *text = "";
    slim_err e;

    if (type_of(r, n) != SCALAR_STRING)
        return type_error(r, p, n, false, wanted);
    if ((e = cfg_string(r, p, n, false, &text)) != SLIM_OK)
        return e;
    if (slim_duration_parse(text, ns) != SLIM_OK)
        return type_error(r, p, n, false, wanted);
    if (*ns > DURATION_MAX_NS)
        *ns = DURATION_MAX_NS;
    return SLIM_OK;
}

slim_err cfg_any_string(cfg_reader *r, const cfg_path *p, const cfg_node *n, void *out)
{
    const char *unused;

    return cfg_string(r, p, n, false, &unused);
}

slim_err cfg_any_bool(cfg_reader *r, const cfg_path *p, const cfg_node *n, void *out)
{
    bool unused;

    return cfg_bool(r, p, n, &unused);
}

slim_err cfg_any_number(cfg_reader *r, const cfg_path *p, const cfg_node *n, void *out)
{
    uint64_t unused;

    return cfg_number(r, p, n, UINT64_MAX, &unused);
}

slim_err cfg_any_duration(cfg_reader *r, const cfg_path *p, const cfg_node *n, void *out)
{
    uint64_t unused;

    return cfg_duration(r, p, n, &unused);
}

/* ---- mappings and lists ---- */

/* Letters to insert, remove or replace, at most 3: enough to tell a slip from another word. */
static unsigned distance(const char *a, const char *b, unsigned left)
{
    unsigned best = left + 1, d;

    while (*a != '\0' && *a == *b) {
        a++;
        b++;
    }
    if (*a == '\0' && *b == '\0')
        return 0;
    if (left == 0)
        return 1;
    if (*a != '\0' && (d = 1 + distance(a + 1, b, left - 1)) < best)
        best = d;
    if (*b != '\0' && (d = 1 + distance(a, b + 1, left - 1)) < best)
        best = d;
    if (*a != '\0' && *b != '\0' && (d = 1 + distance(a + 1, b + 1, left - 1)) < best)
        best = d;
    return best;
}

/* Keys of older generations, and what took their place. */
static const char *const renamed[][2] = {{"ca_file", "ca_source"},
                                         {"ca_file", "client_ca"},
                                         {"cert_file", "source"},
                                         {"key_file", "source"},
                                         {"client_ca_file", "client_ca"},
                                         {"group_name", "domain_name"},
                                         {"ca_source", "client_ca"},
                                         {"client_ca", "ca_source"},
                                         {"cert", "source"},
                                         {"key", "source"},
                                         {"connection_timeout", "connect_timeout"}};

static const char *suggestion(const cfg_table *t, const char *key)
{
    const char *best = NULL;
    unsigned most = strlen(key) < 5 ? 1 : 2, least = most + 1; /* two letters make another word of a short one */

    for (size_t i = 0; i < sizeof(renamed) / sizeof(*renamed); i++)
        for (size_t k = 0; k < t->n && strcmp(renamed[i][0], key) == 0; k++)
            if (strcmp(t->fields[k].name, renamed[i][1]) == 0)
                return t->fields[k].name;
    for (size_t k = 0; k < t->n; k++) {
        unsigned d = distance(key, t->fields[k].name, most);

        if (d < least) {
            least = d;
            best = t->fields[k].name;
        }
    }
    return best;
}

static slim_err unknown_key(cfg_reader *r, const cfg_path *p, const cfg_node *key, const cfg_table *t)
{
    const char *near;
    char hint[128] = "";

    if (!cfg_spend(r, UNKNOWN_KEY_UNITS))
        return r->err;
    near = suggestion(t, p->key);
    if (strcmp(p->key, "<<") == 0)
        snprintf(hint, sizeof(hint), "; merge keys are not expanded");
    else if (near != NULL)
        snprintf(hint, sizeof(hint), " (did you mean \"%s\"?)", near);
    if (t->strict)
        return cfg_fail(r, p, key, "unknown key in %s%s", t->what, hint);
    cfg_warn(r, p, key, "unknown key, ignored%s", hint);
    return SLIM_OK;
}

static slim_err read_field(cfg_reader *r, const cfg_path *p, const cfg_node *n, const cfg_field *f, void *out)
{
    uint8_t *at = (uint8_t *)out + f->offset;
    uint64_t number = 0;
    slim_err e;

    if (cfg_is_null(r, n))
        return SLIM_OK;
    switch (f->kind) {
    case CFG_STRING: return cfg_string(r, p, n, false, (const char **)(void *)at);
    case CFG_BOOL: return cfg_bool(r, p, n, (bool *)at);
    case CFG_U32:
        if ((e = cfg_number(r, p, n, UINT32_MAX, &number)) == SLIM_OK)
            *(uint32_t *)(void *)at = (uint32_t)number;
        return e;
    case CFG_U64: return cfg_number(r, p, n, UINT64_MAX, (uint64_t *)(void *)at);
    case CFG_DURATION: return cfg_duration(r, p, n, (uint64_t *)(void *)at);
    case CFG_CUSTOM: return f->custom(r, p, n, at);
    case CFG_NO_EFFECT:
        cfg_warn(r, p, n, "has no effect%s%s", f->note != NULL ? ": " : "", f->note != NULL ? f->note : "");
        return SLIM_OK;
    case CFG_UNSUPPORTED:
        return cfg_fail(r, p, n, "not supported yet%s%s", f->note != NULL ? ": " : "", f->note != NULL ? f->note : "");
    case CFG_IGNORED: break;
    }
    return SLIM_OK;
}

slim_err cfg_mapping(cfg_reader *r, const cfg_path *p, const cfg_node *n, const cfg_table *t, void *out)
{
    slim_err e;

    if (n->type != YAML_MAPPING_NODE)
        return type_error(r, p, n, true, "a mapping");
    for (const yaml_node_pair_t *pair = n->data.mapping.pairs.start; pair < n->data.mapping.pairs.top; pair++) {
        const cfg_node *key = cfg_at(r, pair->key), *value = cfg_at(r, pair->value);
        cfg_path here = {p, NULL, 0};
        size_t i;

        if (key->type != YAML_SCALAR_NODE)
            return cfg_fail(r, p, key, "a key of %s must be a word", t->what);
        here.key = (const char *)key->data.scalar.value;
        if (!cfg_spend(r, 1))
            return r->err;
        for (i = 0; i < t->n && strcmp(t->fields[i].name, here.key) != 0; i++)
            ;
        e = i < t->n ? read_field(r, &here, value, &t->fields[i], out) : unknown_key(r, &here, key, t);
        if (e != SLIM_OK)
            return e;
    }
    return SLIM_OK;
}

cfg_node *cfg_lookup(cfg_reader *r, const cfg_node *mapping, const char *key)
{
    if (mapping->type != YAML_MAPPING_NODE)
        return NULL;
    for (const yaml_node_pair_t *pair = mapping->data.mapping.pairs.start; pair < mapping->data.mapping.pairs.top; pair++) {
        const cfg_node *k = cfg_at(r, pair->key);
        cfg_node *value = cfg_at(r, pair->value);

        if (k->type == YAML_SCALAR_NODE && strcmp((const char *)k->data.scalar.value, key) == 0)
            return cfg_is_null(r, value) ? NULL : value;
    }
    return NULL;
}

slim_err cfg_list(cfg_reader *r, const cfg_path *p, const cfg_node *n, const char *what, size_t *count)
{
    if (n->type != YAML_SEQUENCE_NODE)
        return type_error(r, p, n, true, what);
    *count = (size_t)(n->data.sequence.items.top - n->data.sequence.items.start);
    return cfg_spend(r, *count) ? SLIM_OK : r->err;
}

cfg_node *cfg_list_item(cfg_reader *r, const cfg_node *list, size_t i)
{
    return cfg_at(r, list->data.sequence.items.start[i]);
}
