/* Certificates for the tests of TLS, made when they are needed: none of them is stored, so none of them runs out. */
#ifndef SLIM_TESTS_CERTS_H
#define SLIM_TESTS_CERTS_H

#include <openssl/evp.h>
#include <openssl/x509.h>
#include <stdbool.h>

typedef struct test_cert {
    X509 *x;
    EVP_PKEY *key;
} test_cert;

typedef struct test_cert_spec {
    const char *subject;     /* common name */
    const char *names;       /* "DNS:localhost,IP:127.0.0.1"; NULL: none */
    const test_cert *issuer; /* NULL: signs itself */
    const char *kind;        /* "EC" (also for NULL), "RSA", "ED25519" */
    bool authority;
    long from_s, to_s; /* validity, relative to now; both 0: an hour around now */
} test_cert_spec;

/* Aborts when OpenSSL fails. */
test_cert test_cert_make(const test_cert_spec *spec);
void test_cert_free(test_cert *c);

/* PEM, malloc'd. */
char *test_cert_pem(const test_cert *c);
/* pkcs8 false: the form named after the algorithm, where there is one. passphrase NULL: not encrypted. */
char *test_key_pem(const test_cert *c, bool pkcs8, const char *passphrase);
/* a followed by b; frees both. */
char *test_text_join(char *a, char *b);

/* A file with n bytes of text in a directory that goes when the process ends; the path lives as long. */
const char *test_temp_file(const char *name, const void *text, size_t n);
const char *test_temp_dir(void);

#endif
