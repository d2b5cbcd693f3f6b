/* What the files of src/config share: the parsed document, where in it we are, and how a value becomes a field of a struct. */
#ifndef SLIM_CONFIG_READER_H
#define SLIM_CONFIG_READER_H

#include <yaml.h>

#include "config/config.h"

/* Memory of the result; one thing to free. */
typedef struct cfg_arena {
    slim_mem *mem;
    void *blocks;
} cfg_arena;

typedef struct cfg_holder { /* where a node stands: under a key of a mapping, or in a list */
    int parent, key;        /* numbers of nodes; 0: none */
    size_t index;
} cfg_holder;

typedef struct cfg_reader {
    const slim_cfg_source *src;
    cfg_arena *arena;
    yaml_document_t doc;
    const char **resolved; /* by node: what ${...} stands for; NULL for other nodes */
    cfg_holder *holders;   /* by node */
    size_t spent;          /* steps and memory of the walk, see cfg_spend */
    void (*warn)(void *arg, const char *line);
    void *warn_arg;
    char *why;
    size_t why_n;
    slim_err err; /* the first failure; why tells */
} cfg_reader;

/* Where a value stands: keys and list indexes from the root. Lives on the stack of whoever walks. */
typedef struct cfg_path {
    const struct cfg_path *up;
    const char *key; /* NULL: index counts */
    size_t index;
} cfg_path;

typedef yaml_node_t cfg_node;

/* Zeroed. NULL: no memory, r->err is set. */
void *cfg_alloc(cfg_reader *r, size_t n);
const char *cfg_copy(cfg_reader *r, const char *s, size_t n);

/* Sets the failure to `file:line: path: reason` and returns E_CONFIG; the first one stands. */
slim_err cfg_fail(cfg_reader *r, const cfg_path *path, const cfg_node *at, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* The same about a line, and about a node that nobody walked to (key: one of the keys in it, or NULL). */
slim_err cfg_fail_line(cfg_reader *r, size_t line, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
slim_err cfg_fail_node(cfg_reader *r, const cfg_node *n, const char *key, const cfg_node *at, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));
slim_err cfg_no_memory(cfg_reader *r);
/* Aliases let a small file stand for a large one: what is read of it is counted. False: too much, r->err is set. */
bool cfg_spend(cfg_reader *r, size_t units);
void cfg_warn(cfg_reader *r, const cfg_path *path, const cfg_node *at, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
int cfg_line(const cfg_node *n);

/* ---- values ---- */

typedef slim_err cfg_custom(cfg_reader *r, const cfg_path *p, const cfg_node *n, void *out);

bool cfg_is_null(const cfg_reader *r, const cfg_node *n);
bool cfg_is_mapping(const cfg_node *n);
cfg_node *cfg_at(cfg_reader *r, int index); /* a node of the document by libyaml's number */
/* The text as it stands in the file, for messages: of a value from outside only the ${...}. */
const char *cfg_shown(const cfg_node *n);
/* Each fails when the value is of another type. secret: the value must not be shown. */
slim_err cfg_string(cfg_reader *r, const cfg_path *p, const cfg_node *n, bool secret, const char **out);
slim_err cfg_bool(cfg_reader *r, const cfg_path *p, const cfg_node *n, bool *out);
slim_err cfg_number(cfg_reader *r, const cfg_path *p, const cfg_node *n, uint64_t max, uint64_t *out);
slim_err cfg_duration(cfg_reader *r, const cfg_path *p, const cfg_node *n, uint64_t *ns);
/* For keys without an effect, whose type is checked nevertheless. */
cfg_custom cfg_any_string, cfg_any_bool, cfg_any_number, cfg_any_duration;

/* ---- mappings by table ---- */

typedef enum cfg_kind {
    CFG_STRING,
    CFG_BOOL,
    CFG_U32,
    CFG_U64,
    CFG_DURATION, /* uint64_t of ns */
    CFG_CUSTOM,
    CFG_IGNORED,     /* known upstream, without an effect there as here */
    CFG_NO_EFFECT,   /* the same, and worth a warning */
    CFG_UNSUPPORTED, /* comes with later work: refused */
} cfg_kind;

typedef struct cfg_field {
    const char *name;
    cfg_kind kind;
    size_t offset; /* in the struct that is filled */
    cfg_custom *custom;
    const char *note; /* UNSUPPORTED, NO_EFFECT: what the person should know */
} cfg_field;

typedef struct cfg_table {
    const char *what; /* "a client entry" */
    const cfg_field *fields;
    size_t n;
    bool strict; /* unknown keys are an error, else a warning */
} cfg_table;

/* Fills out from a mapping; a value of null counts as absent. Duplicate keys, keys that are no strings and other nodes than a
 * mapping are errors. */
slim_err cfg_mapping(cfg_reader *r, const cfg_path *p, const cfg_node *n, const cfg_table *t, void *out);
/* The value of a key of a mapping without reading it; NULL: absent or null. */
cfg_node *cfg_lookup(cfg_reader *r, const cfg_node *mapping, const char *key);
/* Calls each on every item of a list; *count first tells how many there are. */
slim_err cfg_list(cfg_reader *r, const cfg_path *p, const cfg_node *n, const char *what, size_t *count);
cfg_node *cfg_list_item(cfg_reader *r, const cfg_node *list, size_t i);

/* ---- parts ---- */
/* The text becomes r->doc. */
slim_err cfg_load(cfg_reader *r);
cfg_custom cfg_read_server_tls, cfg_read_client_tls;
cfg_custom cfg_read_auth; /* transport authentication: only none */
slim_err cfg_read_server(cfg_reader *r, const cfg_path *p, const cfg_node *n, slim_cfg_server *out);
slim_err cfg_read_client(cfg_reader *r, const cfg_path *p, const cfg_node *n, slim_cfg_client *out);
slim_err cfg_read_services(cfg_reader *r, const cfg_node *n, slim_cfg *out);
/* Resolves every ${...} of the document. */
slim_err cfg_interpolate(cfg_reader *r);

#endif
