#include "support/certs.h"

#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MUST(c)                                                                                                                    \
    do {                                                                                                                           \
        if (!(c)) {                                                                                                                \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #c);                                                                \
            abort();                                                                                                               \
        }                                                                                                                          \
    } while (0)

static EVP_PKEY *key_make(const char *kind)
{
    if (kind == NULL || strcmp(kind, "EC") == 0)
        return EVP_EC_gen("P-256");
    if (strcmp(kind, "RSA") == 0)
        return EVP_RSA_gen(2048);
    return EVP_PKEY_Q_keygen(NULL, NULL, kind);
}

static void extend(X509 *x, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509_EXTENSION *e;

    X509V3_set_ctx(&ctx, issuer, x, NULL, NULL, 0);
    MUST((e = X509V3_EXT_conf_nid(NULL, &ctx, nid, value)) != NULL);
    MUST(X509_add_ext(x, e, -1) == 1);
    X509_EXTENSION_free(e);
}

test_cert test_cert_make(const test_cert_spec *spec)
{
    test_cert c = {X509_new(), key_make(spec->kind)};
    const test_cert *issuer = spec->issuer != NULL ? spec->issuer : &c;
    long from = spec->from_s, to = spec->to_s;
    uint64_t serial;

    MUST(c.x != NULL && c.key != NULL);
    if (from == 0 && to == 0) {
        from = -1800;
        to = 1800;
    }
    MUST(RAND_bytes((unsigned char *)&serial, sizeof(serial)) == 1);
    MUST(X509_set_version(c.x, X509_VERSION_3) == 1);
    MUST(ASN1_INTEGER_set_uint64(X509_get_serialNumber(c.x), serial >> 1) == 1);
    MUST(X509_gmtime_adj(X509_getm_notBefore(c.x), from) != NULL && X509_gmtime_adj(X509_getm_notAfter(c.x), to) != NULL);
    MUST(X509_NAME_add_entry_by_txt(X509_get_subject_name(c.x), "CN", MBSTRING_UTF8, (const unsigned char *)spec->subject, -1, -1,
                                    0) == 1);
    MUST(X509_set_issuer_name(c.x, X509_get_subject_name(issuer->x)) == 1);
    MUST(X509_set_pubkey(c.x, c.key) == 1);
    extend(c.x, issuer->x, NID_basic_constraints, spec->authority ? "critical,CA:TRUE" : "critical,CA:FALSE");
    extend(c.x, issuer->x, NID_key_usage, spec->authority ? "critical,keyCertSign,cRLSign" : "critical,digitalSignature");
    extend(c.x, issuer->x, NID_subject_key_identifier, "hash");
    if (spec->names != NULL)
        extend(c.x, issuer->x, NID_subject_alt_name, spec->names);
    MUST(X509_sign(c.x, issuer->key, EVP_PKEY_is_a(issuer->key, "ED25519") ? NULL : EVP_sha256()) > 0);
    return c;
}

void test_cert_free(test_cert *c)
{
    X509_free(c->x);
    EVP_PKEY_free(c->key);
}

static char *text_of(BIO *b)
{
    char *p, *out;
    long n = BIO_get_mem_data(b, &p);

    MUST(n > 0 && (out = malloc((size_t)n + 1)) != NULL);
    memcpy(out, p, (size_t)n);
    out[n] = '\0';
    BIO_free(b);
    return out;
}

char *test_cert_pem(const test_cert *c)
{
    BIO *b = BIO_new(BIO_s_mem());

    MUST(b != NULL && PEM_write_bio_X509(b, c->x) == 1);
    return text_of(b);
}

char *test_key_pem(const test_cert *c, bool pkcs8, const char *passphrase)
{
    const EVP_CIPHER *cipher = passphrase != NULL ? EVP_aes_128_cbc() : NULL;
    BIO *b = BIO_new(BIO_s_mem());
    void *phrase = (void *)(uintptr_t)passphrase;

    MUST(b != NULL);
    if (pkcs8)
        MUST(PEM_write_bio_PKCS8PrivateKey(b, c->key, cipher, NULL, 0, NULL, phrase) == 1);
    else
        MUST(PEM_write_bio_PrivateKey_traditional(b, c->key, cipher, NULL, 0, NULL, phrase) == 1);
    return text_of(b);
}

char *test_text_join(char *a, char *b)
{
    size_t n = strlen(a), m = strlen(b);

    MUST((a = realloc(a, n + m + 1)) != NULL);
    memcpy(a + n, b, m + 1);
    free(b);
    return a;
}

static char dir[64];
static char files[64][128];
static int n_files;

static void dir_remove(void)
{
    for (int i = 0; i < n_files; i++)
        unlink(files[i]);
    rmdir(dir);
}

const char *test_temp_dir(void)
{
    if (dir[0] == '\0') {
        snprintf(dir, sizeof(dir), "/tmp/slim-test-XXXXXX");
        MUST(mkdtemp(dir) != NULL);
        atexit(dir_remove);
    }
    return dir;
}

const char *test_temp_file(const char *name, const void *text, size_t n)
{
    char *path = files[n_files];
    FILE *f;

    MUST(n_files < 64);
    snprintf(path, sizeof(files[0]), "%s/%s", test_temp_dir(), name);
    MUST((f = fopen(path, "wb")) != NULL);
    MUST(fwrite(text, 1, n, f) == n && fclose(f) == 0);
    n_files++;
    return path;
}
