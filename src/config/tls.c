#include "config/reader.h"

#include <string.h>

#define COUNT(a) (sizeof(a) / sizeof(*(a)))

/* `{type: file|pem|none, ...}`: the type decides which keys count; others in the mapping are ignored, as upstream does. */
typedef struct tagged {
    const char *type, *cert, *key, *path, *data;
} tagged;

static slim_err read_secret(cfg_reader *r, const cfg_path *p, const cfg_node *n, void *out)
{
    return cfg_string(r, p, n, true, out);
}

static slim_err require(cfg_reader *r, const cfg_path *p, const cfg_node *n, const char *value, const char *type, const char *key)
{
    return value != NULL ? SLIM_OK : cfg_fail(r, p, n, "type %s needs the key \"%s\"", type, key);
}

static slim_err read_tagged(cfg_reader *r, const cfg_path *p, const cfg_node *n, const cfg_table *t, tagged *out)
{
    slim_err e;

    *out = (tagged){NULL};
    if (cfg_is_mapping(n)) {
        /* Before the rest: what else stands in the block of a type that is not supported is not judged. */
        const cfg_node *type = cfg_lookup(r, n, "type");
        const char *word;

        if (type == NULL)
            return cfg_fail(r, p, n, "the key \"type\" is missing");
        if ((e = cfg_string(r, &(cfg_path){p, "type", 0}, type, false, &word)) != SLIM_OK)
            return e;
        if (strcmp(word, "spire") == 0)
            return cfg_fail(r, p, n, "type spire: not supported yet; use type file or pem");
        if (strcmp(word, "file") != 0 && strcmp(word, "pem") != 0 && strcmp(word, "none") != 0)
            return cfg_fail(r, &(cfg_path){p, "type", 0}, type, "unknown type \"%.80s\"; allowed are file, pem, none",
                            cfg_shown(type));
    }
    return cfg_mapping(r, p, n, t, out);
}

/* A text in the place of a file name would be shown when the file is not found. */
static slim_err require_file(cfg_reader *r, const cfg_path *p, const cfg_node *n, const char *file, const char *key)
{
    return strstr(file, "-----BEGIN") == NULL ? SLIM_OK
                                              : cfg_fail(r, &(cfg_path){p, key, 0}, cfg_lookup(r, n, key),
                                                         "is a PEM text, not the name of a file; write type: pem");
}

static slim_err read_source(cfg_reader *r, const cfg_path *p, const cfg_node *n, void *out)
{
    static const cfg_field fields[] = {
        {"type", CFG_STRING, offsetof(tagged, type), NULL, NULL},
        {"cert", CFG_CUSTOM, offsetof(tagged, cert), read_secret, NULL},
        {"key", CFG_CUSTOM, offsetof(tagged, key), read_secret, NULL},
    };
    static const cfg_table table = {"a TLS source", fields, COUNT(fields), false};
    slim_cfg_tls *tls = (slim_cfg_tls *)((char *)out - offsetof(slim_cfg_tls, cert));
    tagged s;
    slim_err e;

    if ((e = read_tagged(r, p, n, &table, &s)) != SLIM_OK || s.type == NULL || strcmp(s.type, "none") == 0)
        return e;
    if ((e = require(r, p, n, s.cert, s.type, "cert")) != SLIM_OK || (e = require(r, p, n, s.key, s.type, "key")) != SLIM_OK)
        return e;
    if (strcmp(s.type, "file") == 0) {
        if ((e = require_file(r, p, n, s.cert, "cert")) != SLIM_OK || (e = require_file(r, p, n, s.key, "key")) != SLIM_OK)
            return e;
        tls->cert.file = s.cert;
        tls->key.file = s.key;
    } else {
        tls->cert.text = s.cert;
        tls->key.text = s.key;
    }
    return SLIM_OK;
}

static slim_err read_authority(cfg_reader *r, const cfg_path *p, const cfg_node *n, void *out)
{
    static const cfg_field fields[] = {
        {"type", CFG_STRING, offsetof(tagged, type), NULL, NULL},
        {"path", CFG_STRING, offsetof(tagged, path), NULL, NULL},
        {"data", CFG_CUSTOM, offsetof(tagged, data), read_secret, NULL},
    };
    static const cfg_table table = {"a source of authorities", fields, COUNT(fields), false};
    slim_cfg_pem *pem = out;
    bool file;
    tagged s;
    slim_err e;

    if ((e = read_tagged(r, p, n, &table, &s)) != SLIM_OK || s.type == NULL || strcmp(s.type, "none") == 0)
        return e;
    file = strcmp(s.type, "file") == 0;
    if ((e = file ? require(r, p, n, s.path, s.type, "path") : require(r, p, n, s.data, s.type, "data")) != SLIM_OK)
        return e;
    if (file && (e = require_file(r, p, n, s.path, "path")) != SLIM_OK)
        return e;
    *pem = file ? (slim_cfg_pem){s.path, NULL} : (slim_cfg_pem){NULL, s.data};
    return SLIM_OK;
}

/* No duration but a structure, and without an effect. */
static slim_err read_reload_interval(cfg_reader *r, const cfg_path *p, const cfg_node *n, void *out)
{
    static const cfg_field fields[] = {
        {"secs", CFG_CUSTOM, 0, cfg_any_number, NULL},
        {"nanos", CFG_CUSTOM, 0, cfg_any_number, NULL},
    };
    static const cfg_table table = {"a reload_interval", fields, COUNT(fields), false};

    return cfg_mapping(r, p, n, &table, out);
}

slim_err cfg_read_server_tls(cfg_reader *r, const cfg_path *p, const cfg_node *n, void *out)
{
    static const cfg_field fields[] = {
        {"insecure", CFG_BOOL, offsetof(slim_cfg_tls, insecure), NULL, NULL},
        {"source", CFG_CUSTOM, offsetof(slim_cfg_tls, cert), read_source, NULL},
        {"include_system_ca_certs_pool", CFG_BOOL, offsetof(slim_cfg_tls, include_system_ca_certs_pool), NULL, NULL},
        {"tls_version", CFG_STRING, offsetof(slim_cfg_tls, tls_version), NULL, NULL},
        {"reload_interval", CFG_CUSTOM, 0, read_reload_interval, NULL},
        {"client_ca", CFG_CUSTOM, offsetof(slim_cfg_tls, ca), read_authority, NULL},
        {"reload_client_ca_file", CFG_CUSTOM, 0, cfg_any_bool, NULL},
    };
    static const cfg_table table = {"a server's tls", fields, COUNT(fields), false};

    ((slim_cfg_tls *)out)->line = cfg_line(n);
    return cfg_mapping(r, p, n, &table, out);
}

slim_err cfg_read_client_tls(cfg_reader *r, const cfg_path *p, const cfg_node *n, void *out)
{
    static const cfg_field fields[] = {
        {"insecure", CFG_BOOL, offsetof(slim_cfg_tls, insecure), NULL, NULL},
        {"source", CFG_CUSTOM, offsetof(slim_cfg_tls, cert), read_source, NULL},
        {"include_system_ca_certs_pool", CFG_BOOL, offsetof(slim_cfg_tls, include_system_ca_certs_pool), NULL, NULL},
        {"tls_version", CFG_STRING, offsetof(slim_cfg_tls, tls_version), NULL, NULL},
        {"reload_interval", CFG_CUSTOM, 0, read_reload_interval, NULL},
        {"insecure_skip_verify", CFG_BOOL, offsetof(slim_cfg_tls, insecure_skip_verify), NULL, NULL},
        {"ca_source", CFG_CUSTOM, offsetof(slim_cfg_tls, ca), read_authority, NULL},
    };
    static const cfg_table table = {"a client's tls", fields, COUNT(fields), false};

    ((slim_cfg_tls *)out)->line = cfg_line(n);
    return cfg_mapping(r, p, n, &table, out);
}

slim_err cfg_read_auth(cfg_reader *r, const cfg_path *p, const cfg_node *n, void *out)
{
    static const char *const later[] = {"basic", "static_jwt", "jwt", "oidc", "spire"};
    const cfg_node *type = cfg_is_mapping(n) ? cfg_lookup(r, n, "type") : NULL;
    const char *word;
    slim_err e;

    if (!cfg_is_mapping(n))
        return cfg_fail(r, p, n, "expected a mapping");
    if (type == NULL)
        return cfg_fail(r, p, n, "the key \"type\" is missing");
    if ((e = cfg_string(r, &(cfg_path){p, "type", 0}, type, false, &word)) != SLIM_OK)
        return e;
    if (strcmp(word, "none") == 0)
        return SLIM_OK;
    for (size_t i = 0; i < COUNT(later); i++)
        if (strcmp(word, later[i]) == 0)
            return cfg_fail(r, p, n, "type %s: not supported yet; leave the block out, or write type: none", word);
    return cfg_fail(r, &(cfg_path){p, "type", 0}, type, "unknown type \"%.80s\"; only none is supported yet", cfg_shown(type));
}
