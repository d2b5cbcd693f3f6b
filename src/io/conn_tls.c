#include "io/conn_int.h"

#define PLAIN_BLOCK_BYTES 16384u

static void tls_fail(slim_conn *c, slim_err e)
{
    c->tls_broken = true;
    conn_fail(c, e, e == SLIM_E_PROTOCOL ? slim_tls_why(c->tls) : slim_err_text(e));
}

/* Decrypts as many records as there are and have room, so that HTTP/2 sees long pieces. *n = 0 with SLIM_OK: no more. */
static slim_err decrypt(slim_conn *c, slim_buf *plain, size_t at, size_t *n)
{
    size_t got;
    slim_err e;

    *n = 0;
    do {
        e = slim_tls_read(c->tls, plain->mem + at + *n, plain->cap_bytes - at - *n, &got);
        *n += got;
    } while (e == SLIM_OK && got > 0 && at + *n < plain->cap_bytes);
    return e;
}

/* Decrypts what came and feeds it; plaintext lies in a slab, or in a block while no slab is free. */
void conn_tls_feed(slim_conn *c, slim_bytes cipher)
{
    slim_buf *plain = NULL;
    size_t at = 0, n;
    slim_err e = SLIM_OK;

    slim_tls_feed(c->tls, cipher);
    while (e == SLIM_OK && c->state != CONN_CLOSED) {
        if (plain != NULL && at == plain->cap_bytes) {
            slim_buf_unref(plain);
            plain = NULL;
        }
        if (plain == NULL) {
            at = 0;
            if ((plain = slim_ring_slab_take(c->io->ring)) == NULL &&
                (plain = slim_block_new(c->io->mem, PLAIN_BLOCK_BYTES)) == NULL) {
                e = SLIM_E_NOMEM;
                break;
            }
        }
        e = decrypt(c, plain, at, &n);
        if (c->state == CONN_HANDSHAKE && slim_tls_established(c->tls)) {
            c->state = CONN_OPEN;
            conn_arm(c);
            if (c->cfg->ready != NULL)
                c->cfg->ready(c);
        }
        if (n == 0)
            break;
        conn_feed(c, slim_bytes_of(plain->mem + at, n), plain);
        at += n;
    }
    if (plain != NULL)
        slim_buf_unref(plain);
    conn_mark_dirty(c); /* handshake bytes, alerts */
    if (e == SLIM_E_CLOSED)
        slim_conn_close(c);
    else if (e != SLIM_OK)
        tls_fail(c, e);
}

void conn_tls_drop(slim_conn *c)
{
    if (c->cipher == NULL)
        return;
    slim_purse_add(&c->io->purse, -(int64_t)c->cipher->cap_bytes);
    slim_buf_unref(c->cipher);
    c->cipher = NULL;
}

bool conn_tls_seal(slim_conn *c)
{
    struct iovec iov[CONN_OUT_IOV];
    slim_bytes cipher;
    size_t n;

    /* Nothing may follow a close_notify. */
    if (slim_tls_established(c->tls) && c->state != CONN_HANDSHAKE && !c->said_goodbye) {
        while (!c->tls_broken && slim_tls_pending(c->tls) < CONN_OUT_BYTES &&
               (n = slim_h2_pull(c->h2, iov, CONN_OUT_IOV, CONN_OUT_BYTES - slim_tls_pending(c->tls))) > 0) {
            slim_bytes parts[CONN_OUT_IOV];
            size_t total = 0;
            slim_err e;

            for (size_t i = 0; i < n; i++) {
                parts[i] = slim_bytes_of(iov[i].iov_base, iov[i].iov_len);
                total += parts[i].n;
            }
            e = slim_tls_write(c->tls, parts, n);
            slim_h2_sent(c->h2, total);
            if (e != SLIM_OK)
                tls_fail(c, e);
        }
    }
    if (slim_tls_worn(c->tls) && c->state == CONN_OPEN)
        conn_arm(c);
    if ((c->cipher = slim_tls_take(c->tls, &cipher)) == NULL)
        return true;
    slim_purse_add(&c->io->purse, c->cipher->cap_bytes);
    iov[0] = (struct iovec){(void *)(uintptr_t)cipher.p, cipher.n};
    return conn_iov_keep(c, iov, 1);
}
