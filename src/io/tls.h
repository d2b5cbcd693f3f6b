/* TLS between ring and HTTP/2 (OpenSSL). Sans-I/O: ciphertext in and out as bytes; OpenSSL brings clock and random. */
#ifndef SLIM_IO_TLS_H
#define SLIM_IO_TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/buf.h"
#include "core/bytes.h"

/* Where a certificate, key or CA comes from: a file, or PEM text. Both NULL: none. */
typedef struct slim_pem {
    const char *file;
    const char *text;
} slim_pem;

typedef struct slim_tls_config {
    slim_pem cert, key; /* a server must have both; a client that has them presents them */
    slim_pem ca;        /* client: extra roots; server: client_ca, then a client certificate is mandatory */
    bool system_roots;  /* client: the system's roots too */
    bool skip_verify;   /* client: no check at all */
    int version;        /* 12 or 13: exactly this one is spoken */
    const char *where;  /* "config.yaml:12: tls" for messages */
    int64_t key_bytes;  /* what a key may encrypt before it is renewed; 0: as much as AES-GCM allows */
} slim_tls_config;

typedef struct slim_tls_ctx slim_tls_ctx;
/* Any thread may use a context. E_CONFIG with why in the form `<where>.cert: cannot read "x.pem": No such file`, naming the key of
 * the YAML (source.cert, source.key, client_ca, ca_source). */
slim_err slim_tls_server_new(const slim_tls_config *cfg, slim_tls_ctx **out, char *why, size_t why_n);
slim_err slim_tls_client_new(const slim_tls_config *cfg, slim_tls_ctx **out, char *why, size_t why_n);
void slim_tls_ctx_free(slim_tls_ctx *c);

typedef struct slim_tls slim_tls;
/* server_name: client only, SNI and verification name. An address, with or without brackets and zone, is verified as one and not
 * sent as SNI; a dot at the end of a name is none of it. NULL: no memory, or no name: empty, longer than
 * 255 bytes, a dot in front. */
slim_tls *slim_tls_accept(slim_tls_ctx *c, slim_mem *mem);
slim_tls *slim_tls_connect(slim_tls_ctx *c, slim_mem *mem, const char *server_name);
void slim_tls_free(slim_tls *t);

/* Gives ciphertext from the wire, which must stay until slim_tls_read says that more is needed or fails: it is read in place. */
void slim_tls_feed(slim_tls *t, slim_bytes cipher);
/* Reads decrypted bytes, running the handshake as needed; a client's first read, with nothing fed, begins it. *n = 0 with SLIM_OK:
 * more ciphertext is needed. E_CLOSED: the peer's close_notify. E_PROTOCOL: handshake or record failed, slim_tls_why tells; an
 * alert may be waiting in slim_tls_take. */
slim_err slim_tls_read(slim_tls *t, uint8_t *out, size_t cap, size_t *n);
bool slim_tls_established(const slim_tls *t);
/* Encrypts; the pieces are gathered into full records. E_AGAIN before the handshake is done. */
slim_err slim_tls_write(slim_tls *t, const slim_bytes *parts, size_t n_parts);
/* The key that we write with is used up and this version of TLS has no new one: end the connection soon. */
bool slim_tls_worn(const slim_tls *t);
/* Ciphertext to send: how much waits, and the block all of it lies in, with a reference for the caller; NULL when there is none. */
size_t slim_tls_pending(const slim_tls *t);
slim_buf *slim_tls_take(slim_tls *t, slim_bytes *cipher);
/* Queues a close_notify. */
void slim_tls_shutdown(slim_tls *t);
const char *slim_tls_why(const slim_tls *t); /* reason of the last failure, for logs */
const char *slim_tls_version(const slim_tls *t);

#endif
