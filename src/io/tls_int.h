/* Shared by the files of slim_tls. */
#ifndef SLIM_IO_TLS_INT_H
#define SLIM_IO_TLS_INT_H

#include <openssl/ssl.h>

#include "io/tls.h"

struct slim_tls_ctx {
    SSL_CTX *ssl;
    bool verify_peer; /* client: the name is checked */
};

#endif
