/* Shared by the files of slim_tls. */
#ifndef SLIM_IO_TLS_INT_H
#define SLIM_IO_TLS_INT_H

#include <openssl/ssl.h>

#include "io/tls.h"

struct slim_tls_ctx {
    SSL_CTX *ssl;
    bool verify_peer;  /* client: the name is checked */
    int64_t key_bytes; /* as in slim_tls_config */
};

/* tls_words.c: why a call failed, in words; reason is OpenSSL's of its own library or 0, otherwise its text for the rest. */
void tls_words(SSL *ssl, bool established, int reason, const char *otherwise, char *to, size_t max);

#endif
