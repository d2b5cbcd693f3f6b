#include "io/tls_int.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <stdio.h>

#define RECORD_BYTES 16384u    /* the largest plaintext of a record (RFC 8446, 5.1) */
#define RECORD_EXTRA_BYTES 64u /* header, nonce, type, tag and more than that, of a record */
#define OUT_FIRST_BYTES 2048u
#define HOST_MAX_BYTES 256u
/* About a third of what one key of AES-GCM may encrypt (RFC 8446, 5.5: 2^24.5 full records). */
#define KEY_BYTES (INT64_C(1) << 37)
/* New keys cost as much as several records and may ask for an answer, in 27 bytes. Nobody needs them more often than this. */
#define KEY_UPDATES_FREE 32u
#define KEY_UPDATE_PER_BYTES 65536u
/* Answers wait here while a send is under way, and nothing else does. */
#define ANSWERS_MAX_BYTES 4096u

struct slim_tls {
    SSL *ssl;
    slim_mem *mem;
    slim_bytes in; /* of the last feed, what is not read yet */
    slim_buf *out; /* NULL: nothing waits */
    size_t out_n;
    bool established, failed, no_memory, shut;
    const char *refused;               /* what the peer wants and does not get */
    uint32_t key_updates;              /* of the peer */
    int64_t key_bytes, key_left_bytes; /* what a key of ours may encrypt in all, and this one yet */
    bool worn;                         /* it has done so, and there will be no other */
    uint64_t fed_bytes;
    char why[192];
};

/* ---- the seam to OpenSSL: reads what was fed in place, collects what is to be sent ---- */

static int bio_read(BIO *b, char *to, size_t max, size_t *n)
{
    slim_tls *t = BIO_get_data(b);

    BIO_clear_retry_flags(b);
    *n = 0;
    if (t->refused != NULL)
        return 0; /* ends the read that is under way */
    *n = t->in.n < max ? t->in.n : max;
    if (*n == 0) {
        BIO_set_retry_read(b);
        return 0;
    }
    memcpy(to, t->in.p, *n);
    t->in.p += *n;
    t->in.n -= *n;
    return 1;
}

static bool out_room(slim_tls *t, size_t n)
{
    size_t cap = t->out != NULL ? t->out->cap_bytes : 0, want = t->out_n + n;
    slim_buf *bigger;

    if (want <= cap)
        return true;
    if (want < OUT_FIRST_BYTES)
        want = OUT_FIRST_BYTES;
    if ((bigger = slim_block_new(t->mem, want < cap * 2 ? cap * 2 : want)) == NULL)
        return false;
    if (t->out != NULL) {
        memcpy(bigger->mem, t->out->mem, t->out_n);
        slim_buf_unref(t->out);
    }
    t->out = bigger;
    return true;
}

static int bio_write(BIO *b, const char *from, size_t n, size_t *written)
{
    slim_tls *t = BIO_get_data(b);

    BIO_clear_retry_flags(b);
    *written = 0;
    if (!out_room(t, n)) {
        t->no_memory = true;
        return 0;
    }
    memcpy(t->out->mem + t->out_n, from, n);
    t->out_n += n;
    *written = n;
    return 1;
}

static long bio_ctrl(BIO *b, int command, long number, void *pointer)
{
    return command == BIO_CTRL_FLUSH;
}

static BIO_METHOD *method;
static pthread_once_t method_once = PTHREAD_ONCE_INIT;

/* Lives as long as the process. */
static void method_make(void)
{
    BIO_METHOD *m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "slim");

    if (m == NULL)
        return;
    BIO_meth_set_read_ex(m, bio_read);
    BIO_meth_set_write_ex(m, bio_write);
    BIO_meth_set_ctrl(m, bio_ctrl);
    method = m;
}

/* ---- the connection ---- */

/* OpenSSL answers each wish for a new handshake by a warning and goes on: a peer that takes no answers would fill our memory with
 * them. HTTP/2 makes it an error of the connection (RFC 9113, 9.2.1). */
static void on_info(const SSL *ssl, int where, int value)
{
    slim_tls *t = BIO_get_data(SSL_get_rbio(ssl));

    if (where == SSL_CB_WRITE_ALERT && (value & 0xff) == SSL_AD_NO_RENEGOTIATION)
        t->refused = "the peer asks for a new handshake";
}

static void on_message(int writes, int version, int type, const void *p, size_t n, SSL *ssl, void *arg)
{
    slim_tls *t = arg;

    if (type != SSL3_RT_HANDSHAKE || n == 0 || *(const uint8_t *)p != SSL3_MT_KEY_UPDATE)
        return;
    if (writes)
        t->key_left_bytes = t->key_bytes;
    else if (++t->key_updates > KEY_UPDATES_FREE + t->fed_bytes / KEY_UPDATE_PER_BYTES)
        t->refused = "the peer changes its keys too often";
    else if (t->out_n > ANSWERS_MAX_BYTES)
        t->refused = "the peer asks for new keys and does not read the answers";
}

static slim_tls *tls_new(slim_tls_ctx *c, slim_mem *mem)
{
    slim_tls *t = slim_zalloc(mem, 1, sizeof(*t));
    BIO *bio;

    pthread_once(&method_once, method_make);
    if (t == NULL)
        return NULL;
    t->mem = mem;
    t->key_bytes = t->key_left_bytes = c->key_bytes != 0 ? c->key_bytes : KEY_BYTES;
    if (method == NULL || (t->ssl = SSL_new(c->ssl)) == NULL || (bio = BIO_new(method)) == NULL) {
        slim_tls_free(t);
        return NULL;
    }
    BIO_set_data(bio, t);
    BIO_set_init(bio, 1);
    SSL_set_bio(t->ssl, bio, bio); /* one reference is enough for both directions */
    SSL_set_info_callback(t->ssl, on_info);
    SSL_set_msg_callback(t->ssl, on_message);
    SSL_set_msg_callback_arg(t->ssl, t);
    return t;
}

slim_tls *slim_tls_accept(slim_tls_ctx *c, slim_mem *mem)
{
    slim_tls *t = tls_new(c, mem);

    if (t != NULL)
        SSL_set_accept_state(t->ssl);
    return t;
}

/* A host as a certificate names it: no brackets around an address and no zone behind it, no dot at the end of a name. False: it can
 * be neither; a dot in front would stand for all names that end so. */
static bool plain_name(const char *name, char to[HOST_MAX_BYTES], bool *is_address)
{
    size_t n = strlen(name), inner = n;
    const char *from = name;
    uint8_t raw[16];

    if (n >= HOST_MAX_BYTES || name[0] == '.')
        return false;
    if (n > 2 && name[0] == '[' && name[n - 1] == ']') {
        from++;
        inner -= 2;
    }
    if (memchr(from, '%', inner) != NULL)
        inner = strcspn(from, "%");
    memcpy(to, from, inner);
    to[inner] = '\0';
    *is_address = inet_pton(AF_INET6, to, raw) == 1 || inet_pton(AF_INET, to, raw) == 1;
    if (*is_address)
        return true;
    if (n > 0 && name[n - 1] == '.')
        n--;
    memcpy(to, name, n);
    to[n] = '\0';
    return true;
}

slim_tls *slim_tls_connect(slim_tls_ctx *c, slim_mem *mem, const char *server_name)
{
    slim_tls *t = tls_new(c, mem);
    char name[HOST_MAX_BYTES];
    bool ok, is_address;

    if (t == NULL)
        return NULL;
    SSL_set_connect_state(t->ssl);
    if (!plain_name(server_name, name, &is_address)) {
        ok = false;
    } else if (is_address) {
        ok = !c->verify_peer || X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(t->ssl), name) == 1;
    } else {
        /* A common name is no host name (RFC 9525, 6.3). */
        SSL_set_hostflags(t->ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
        ok = SSL_set_tlsext_host_name(t->ssl, name) == 1 && (!c->verify_peer || SSL_set1_host(t->ssl, name) == 1);
    }
    if (ok)
        return t;
    slim_tls_free(t);
    return NULL;
}

void slim_tls_free(slim_tls *t)
{
    if (t == NULL)
        return;
    SSL_free(t->ssl);
    if (t->out != NULL)
        slim_buf_unref(t->out);
    slim_free(t->mem, t);
}

static slim_err fail(slim_tls *t)
{
    unsigned long e = ERR_peek_last_error();
    int reason = ERR_GET_LIB(e) == ERR_LIB_SSL ? ERR_GET_REASON(e) : 0;
    char words[sizeof(t->why) - sizeof("TLS handshake failed: ") + 1];

    ERR_clear_error();
    t->failed = true;
    t->in.n = 0;
    if (t->no_memory || reason == ERR_R_MALLOC_FAILURE) {
        snprintf(t->why, sizeof(t->why), "out of memory");
        return SLIM_E_NOMEM;
    }
    if (t->refused != NULL)
        snprintf(words, sizeof(words), "%s", t->refused);
    else
        tls_words(t->ssl, t->established, reason, ERR_reason_error_string(e), words, sizeof(words));
    snprintf(t->why, sizeof(t->why), "%s: %s", t->established ? "TLS failed" : "TLS handshake failed", words);
    return SLIM_E_PROTOCOL;
}

/* After a call that did not succeed: SLIM_OK when only more input is needed. */
static slim_err outcome(slim_tls *t, int rc)
{
    switch (SSL_get_error(t->ssl, rc)) {
    case SSL_ERROR_WANT_READ: return SLIM_OK;
    case SSL_ERROR_ZERO_RETURN: return SLIM_E_CLOSED;
    default: return fail(t);
    }
}

void slim_tls_feed(slim_tls *t, slim_bytes cipher)
{
    t->in = cipher;
    t->fed_bytes += cipher.n;
}

slim_err slim_tls_read(slim_tls *t, uint8_t *out, size_t cap, size_t *n)
{
    int rc;

    *n = 0;
    if (t->failed)
        return SLIM_E_PROTOCOL;
    ERR_clear_error();
    if (!t->established) {
        if ((rc = SSL_do_handshake(t->ssl)) != 1)
            return outcome(t, rc);
        t->established = true;
    }
    rc = SSL_read_ex(t->ssl, out, cap, n);
    if (t->refused != NULL) {
        *n = 0;
        return fail(t);
    }
    return rc == 1 ? SLIM_OK : outcome(t, rc);
}

bool slim_tls_established(const slim_tls *t)
{
    /* In the middle of a message that follows the handshake (a ticket, new keys) nothing can be sealed either. */
    return t->established && !SSL_in_init(t->ssl);
}

/* The key has encrypted as much as it may. TLS 1.2 has no other (a new handshake is refused by most, and by us): the connection is
 * to end. ChaCha20 has no such limit. */
static void key_spent(slim_tls *t)
{
    if (SSL_version(t->ssl) == TLS1_3_VERSION)
        SSL_key_update(t->ssl, SSL_KEY_UPDATE_NOT_REQUESTED); /* said by the next write */
    else
        t->worn = SSL_CIPHER_get_cipher_nid(SSL_get_current_cipher(t->ssl)) != NID_chacha20_poly1305;
}

static slim_err seal(slim_tls *t, const uint8_t *p, size_t n)
{
    size_t written;

    ERR_clear_error();
    if (t->key_left_bytes <= 0)
        key_spent(t);
    t->key_left_bytes -= (int64_t)(n + RECORD_EXTRA_BYTES);
    return SSL_write_ex(t->ssl, p, n, &written) == 1 ? SLIM_OK : fail(t);
}

slim_err slim_tls_write(slim_tls *t, const slim_bytes *parts, size_t n_parts)
{
    /* Pieces are gathered here, so that a record is full whatever the pieces are: each record costs half a microsecond. */
    static _Thread_local uint8_t record[RECORD_BYTES];
    size_t used = 0, total = 0;
    slim_err e;

    if (t->failed)
        return SLIM_E_PROTOCOL;
    if (!slim_tls_established(t))
        return SLIM_E_AGAIN;
    for (size_t i = 0; i < n_parts; i++)
        total += parts[i].n;
    if (total > 0 && !out_room(t, total + (total / RECORD_BYTES + 1) * RECORD_EXTRA_BYTES)) {
        t->no_memory = true;
        return fail(t);
    }
    for (size_t i = 0; i < n_parts; i++) {
        slim_bytes rest = parts[i];

        while (rest.n > 0) {
            size_t room = RECORD_BYTES - used, n = rest.n < room ? rest.n : room;

            if (used == 0 && rest.n >= RECORD_BYTES) { /* a whole record lies there in one piece */
                if ((e = seal(t, rest.p, RECORD_BYTES)) != SLIM_OK)
                    return e;
                n = RECORD_BYTES;
            } else {
                memcpy(record + used, rest.p, n);
                used += n;
                if (used == RECORD_BYTES) {
                    if ((e = seal(t, record, used)) != SLIM_OK)
                        return e;
                    used = 0;
                }
            }
            rest.p += n;
            rest.n -= n;
        }
    }
    return used > 0 ? seal(t, record, used) : SLIM_OK;
}

bool slim_tls_worn(const slim_tls *t)
{
    return t->worn;
}

size_t slim_tls_pending(const slim_tls *t)
{
    return t->out_n;
}

slim_buf *slim_tls_take(slim_tls *t, slim_bytes *cipher)
{
    slim_buf *out = t->out;

    if (t->out_n == 0)
        return NULL;
    *cipher = slim_bytes_of(out->mem, t->out_n);
    t->out = NULL;
    t->out_n = 0;
    return out;
}

void slim_tls_shutdown(slim_tls *t)
{
    if (t->failed || t->shut || !t->established)
        return;
    t->shut = true;
    ERR_clear_error();
    if (SSL_shutdown(t->ssl) < 0)
        ERR_clear_error();
}

const char *slim_tls_why(const slim_tls *t)
{
    return t->why;
}
const char *slim_tls_version(const slim_tls *t)
{
    return SSL_get_version(t->ssl);
}
