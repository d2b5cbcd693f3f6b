#include "io/tls_int.h"

#include <errno.h>
#include <limits.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>

#define PEM_MAX_BYTES (1u << 20)

/* What is being loaded, for messages that name the key of the YAML and the file, never the contents. */
typedef struct source {
    const slim_tls_config *cfg;
    const slim_pem *pem;
    const char *key;
    char *why;
    size_t why_n;
} source;

static slim_err refuse(const source *s, const char *what)
{
    if (s->pem->file != NULL)
        snprintf(s->why, s->why_n, "%s.%s: \"%s\": %s", s->cfg->where, s->key, s->pem->file, what);
    else
        snprintf(s->why, s->why_n, "%s.%s: %s", s->cfg->where, s->key, what);
    ERR_clear_error();
    return SLIM_E_CONFIG;
}

static slim_err out_of_memory(const slim_tls_config *cfg, char *why, size_t why_n)
{
    snprintf(why, why_n, "%s: out of memory", cfg->where);
    ERR_clear_error();
    return SLIM_E_CONFIG;
}

/* NULL with why filled in. */
static BIO *source_open(const source *s)
{
    BIO *bio = NULL;
    char *text = NULL;
    size_t n = 0;
    FILE *f;

    if (s->pem->file == NULL)
        return BIO_new_mem_buf(s->pem->text, -1);
    if ((f = fopen(s->pem->file, "rbe")) == NULL)
        goto unreadable;
    if ((text = malloc(PEM_MAX_BYTES)) == NULL) {
        out_of_memory(s->cfg, s->why, s->why_n);
        goto out;
    }
    errno = 0;
    n = fread(text, 1, PEM_MAX_BYTES, f);
    if (ferror(f))
        goto unreadable;
    if (n == PEM_MAX_BYTES) {
        refuse(s, "larger than 1 MiB, which no certificate chain or key is");
        goto out;
    }
    /* A copy of its own, so that the text can be wiped. */
    if ((bio = BIO_new(BIO_s_mem())) == NULL || BIO_write(bio, text, (int)n) != (int)n) {
        BIO_free(bio);
        bio = NULL;
        out_of_memory(s->cfg, s->why, s->why_n);
    }
    goto out;
unreadable:
    snprintf(s->why, s->why_n, "%s.%s: cannot read \"%s\": %s", s->cfg->where, s->key, s->pem->file, strerror(errno));
out:
    if (text != NULL)
        OPENSSL_cleanse(text, n);
    free(text);
    if (f != NULL)
        fclose(f);
    return bio;
}

/* Nobody sits at a terminal. */
static int no_passphrase(char *buf, int size, int rwflag, void *arg)
{
    *(bool *)arg = true;
    return -1;
}

/* What is wrong with a text that gave no key. */
static const char *key_trouble(BIO *bio, bool encrypted)
{
    static const char mark[] = "PRIVATE KEY-----";
    char *p = NULL;
    long n;

    if (encrypted)
        return "the private key is protected by a passphrase; store it without one";
    BIO_seek(bio, 0);
    n = BIO_get_mem_data(bio, &p);
    return n > 0 && memmem(p, (size_t)n, mark, sizeof(mark) - 1) != NULL ? "the private key is damaged or of an unknown kind"
                                                                         : "no private key in PEM form in it";
}

/* After load_chain. */
static slim_err load_key(SSL_CTX *ctx, const source *s)
{
    BIO *bio = source_open(s);
    bool encrypted = false;
    EVP_PKEY *key = NULL;
    slim_err e = SLIM_E_CONFIG;

    if (bio == NULL)
        return e;
    key = PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, &encrypted);
    if (key == NULL)
        refuse(s, key_trouble(bio, encrypted));
    else if (X509_check_private_key(SSL_CTX_get0_certificate(ctx), key) != 1) /* the context would take one of another kind */
        refuse(s, "the private key does not belong to the certificate of source.cert");
    else if (SSL_CTX_use_PrivateKey(ctx, key) != 1)
        refuse(s, "a private key of this kind cannot be used for TLS");
    else
        e = SLIM_OK;
    ERR_clear_error();
    EVP_PKEY_free(key);
    BIO_free(bio);
    return e;
}

/* True at the end of the PEM blocks; false when a block is damaged. */
static bool pem_ended(void)
{
    unsigned long e = ERR_peek_last_error();

    ERR_clear_error();
    return ERR_GET_LIB(e) == ERR_LIB_PEM && ERR_GET_REASON(e) == PEM_R_NO_START_LINE;
}

static slim_err load_chain(SSL_CTX *ctx, const source *s)
{
    BIO *bio = source_open(s);
    slim_err e = SLIM_E_CONFIG;
    X509 *x;

    if (bio == NULL)
        return e;
    if ((x = PEM_read_bio_X509_AUX(bio, NULL, NULL, NULL)) == NULL) {
        refuse(s, pem_ended() ? "no certificate in PEM form in it" : "the certificate is damaged");
        goto out;
    }
    if (SSL_CTX_use_certificate(ctx, x) != 1) {
        unsigned long reason = ERR_peek_last_error();

        X509_free(x);
        refuse(s, ERR_reason_error_string(reason) != NULL ? ERR_reason_error_string(reason)
                                                          : "the certificate cannot be used for TLS");
        goto out;
    }
    X509_free(x);
    while ((x = PEM_read_bio_X509(bio, NULL, NULL, NULL)) != NULL) {
        if (SSL_CTX_add0_chain_cert(ctx, x) != 1) {
            X509_free(x);
            refuse(s, "a certificate of the chain cannot be used");
            goto out;
        }
    }
    if (!pem_ended()) {
        refuse(s, "a certificate of the chain is damaged");
        goto out;
    }
    e = SLIM_OK;
out:
    BIO_free(bio);
    return e;
}

static slim_err load_authorities(SSL_CTX *ctx, const source *s, bool server)
{
    BIO *bio = source_open(s);
    slim_err e = SLIM_E_CONFIG;
    size_t n = 0;
    X509 *x;

    if (bio == NULL)
        return e;
    /* Whoever is listed is trusted, whether it signed itself or not. */
    X509_STORE_set_flags(SSL_CTX_get_cert_store(ctx), X509_V_FLAG_PARTIAL_CHAIN);
    while ((x = PEM_read_bio_X509(bio, NULL, NULL, NULL)) != NULL) {
        bool ok = X509_STORE_add_cert(SSL_CTX_get_cert_store(ctx), x) == 1 && (!server || SSL_CTX_add_client_CA(ctx, x) == 1);

        X509_free(x);
        if (!ok) {
            refuse(s, "a certificate cannot be used as an authority");
            goto out;
        }
        n++;
    }
    if (!pem_ended())
        refuse(s, "a certificate in it is damaged");
    else if (n == 0)
        refuse(s, "no certificate in PEM form in it");
    else
        e = SLIM_OK;
out:
    BIO_free(bio);
    return e;
}

static bool given(const slim_pem *p)
{
    return p->file != NULL || p->text != NULL;
}

static slim_err load_identity(SSL_CTX *ctx, const slim_tls_config *cfg, char *why, size_t why_n)
{
    source cert = {cfg, &cfg->cert, "source.cert", why, why_n}, key = {cfg, &cfg->key, "source.key", why, why_n};
    slim_err e;

    if (!given(&cfg->cert))
        return refuse(&cert, "a private key is there, its certificate is missing");
    if (!given(&cfg->key))
        return refuse(&key, "a certificate is there, its private key is missing");
    if ((e = load_chain(ctx, &cert)) != SLIM_OK)
        return e;
    return load_key(ctx, &key);
}

static SSL_CTX *context_new(const slim_tls_config *cfg, bool server)
{
    int version = cfg->version == 12 ? TLS1_2_VERSION : TLS1_3_VERSION;
    SSL_CTX *ctx = SSL_CTX_new(server ? TLS_server_method() : TLS_client_method());

    if (ctx == NULL)
        return NULL;
    if (SSL_CTX_set_min_proto_version(ctx, version) != 1 || SSL_CTX_set_max_proto_version(ctx, version) != 1) {
        SSL_CTX_free(ctx);
        return NULL;
    }
    /* Of TLS 1.2 what is without known weakness, and all that upstream speaks. */
    if (SSL_CTX_set_cipher_list(ctx, "ECDHE+AESGCM:ECDHE+CHACHA20") != 1) {
        SSL_CTX_free(ctx);
        return NULL;
    }
    /* Links live long: resuming saves nothing, and tickets would be bytes and keys to care for. */
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_NO_TICKET);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_num_tickets(ctx, 0);
    /* The chain that was configured and no other: without this mode, authorities that are only trusted would be sent along. */
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_NO_AUTO_CHAIN);
    return ctx;
}

/* h2 when it is offered; whoever offers something else is served all the same, as upstream's server does, which selects nothing. */
static int select_h2(SSL *ssl, const unsigned char **out, unsigned char *out_n, const unsigned char *in, unsigned int in_n,
                     void *arg)
{
    for (unsigned int i = 0; i < in_n && i + 1 + in[i] <= in_n; i += 1 + in[i]) {
        if (in[i] == 2 && memcmp(in + i + 1, "h2", 2) == 0) {
            *out = in + i + 1;
            *out_n = 2;
            return SSL_TLSEXT_ERR_OK;
        }
    }
    return SSL_TLSEXT_ERR_NOACK;
}

static slim_err context_keep(SSL_CTX *ssl, const slim_tls_config *cfg, bool verify_peer, slim_tls_ctx **out)
{
    slim_tls_ctx *c = malloc(sizeof(*c));

    if (c == NULL)
        return SLIM_E_NOMEM;
    *c = (slim_tls_ctx){ssl, verify_peer, cfg->key_bytes};
    *out = c;
    return SLIM_OK;
}

slim_err slim_tls_server_new(const slim_tls_config *cfg, slim_tls_ctx **out, char *why, size_t why_n)
{
    source ca = {cfg, &cfg->ca, "client_ca", why, why_n}, cert = {cfg, &cfg->cert, "source.cert", why, why_n};
    SSL_CTX *ctx;
    slim_err e;

    if (!given(&cfg->cert) && !given(&cfg->key))
        return refuse(&cert,
                      "a server needs a certificate and a key: give `source` with type file or pem, or set `insecure: true`");
    if ((ctx = context_new(cfg, true)) == NULL)
        return out_of_memory(cfg, why, why_n);
    if ((e = load_identity(ctx, cfg, why, why_n)) != SLIM_OK ||
        (given(&cfg->ca) && (e = load_authorities(ctx, &ca, true)) != SLIM_OK))
        goto fail;
    if (given(&cfg->ca))
        SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    SSL_CTX_set_alpn_select_cb(ctx, select_h2, NULL);
    if ((e = context_keep(ctx, cfg, false, out)) == SLIM_OK)
        return SLIM_OK;
    out_of_memory(cfg, why, why_n);
fail:
    SSL_CTX_free(ctx);
    return e;
}

slim_err slim_tls_client_new(const slim_tls_config *cfg, slim_tls_ctx **out, char *why, size_t why_n)
{
    static const unsigned char alpn[] = {2, 'h', '2'};
    source ca = {cfg, &cfg->ca, "ca_source", why, why_n};
    SSL_CTX *ctx = context_new(cfg, false);
    slim_err e = SLIM_OK;

    if (ctx == NULL)
        return out_of_memory(cfg, why, why_n);
    if ((given(&cfg->cert) || given(&cfg->key)) && (e = load_identity(ctx, cfg, why, why_n)) != SLIM_OK)
        goto fail;
    if (given(&cfg->ca) && (e = load_authorities(ctx, &ca, false)) != SLIM_OK)
        goto fail;
    /* A system without roots is no error: whoever is not known by ca_source is refused then. */
    if (cfg->system_roots && SSL_CTX_set_default_verify_paths(ctx) != 1)
        ERR_clear_error();
    SSL_CTX_set_verify(ctx, cfg->skip_verify ? SSL_VERIFY_NONE : SSL_VERIFY_PEER, NULL);
    if (SSL_CTX_set_alpn_protos(ctx, alpn, sizeof(alpn)) == 0 && context_keep(ctx, cfg, !cfg->skip_verify, out) == SLIM_OK)
        return SLIM_OK;
    e = out_of_memory(cfg, why, why_n);
fail:
    SSL_CTX_free(ctx);
    return e;
}

void slim_tls_ctx_free(slim_tls_ctx *c)
{
    if (c == NULL)
        return;
    SSL_CTX_free(c->ssl);
    free(c);
}
