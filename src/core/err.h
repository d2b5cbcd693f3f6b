/* Error numbers of the whole project. Zero is success; the range tells whose fault it is. */
#ifndef SLIM_CORE_ERR_H
#define SLIM_CORE_ERR_H

#include <stdbool.h>

/* One list feeds the enum and the names for logs. */
#define SLIM_ERRORS(X)                                                                                                             \
    X(TRUNCATED, -1, "a part runs past the end of its parent")                                                                     \
    X(WIRETYPE, -2, "a known field has another wire type")                                                                         \
    X(VARINT, -3, "a varint is longer than 64 bits")                                                                               \
    X(TAG, -4, "a field key is not valid")                                                                                         \
    X(UTF8, -5, "a string is not UTF-8")                                                                                           \
    X(DEPTH, -6, "unknown groups are nested too deep")                                                                             \
    X(TOO_LARGE, -7, "larger than the limit")                                                                                      \
    X(MISSING, -8, "a mandatory field is missing")                                                                                 \
    X(MAC, -9, "the header MAC is missing or wrong")                                                                               \
    X(NEGOTIATION, -10, "the link negotiation failed")                                                                             \
    X(PROTOCOL, -11, "the peer broke the transport protocol")                                                                      \
    X(AGAIN, -64, "not now")                                                                                                       \
    X(NOT_FOUND, -65, "not found")                                                                                                 \
    X(CLOSED, -66, "closed")                                                                                                       \
    X(TIMEOUT, -67, "timed out")                                                                                                   \
    X(CONFIG, -96, "the configuration is wrong")                                                                                   \
    X(ARG, -97, "an argument is out of range")                                                                                     \
    X(NOMEM, -128, "out of memory")                                                                                                \
    X(SYS, -129, "a system call failed")                                                                                           \
    X(CRYPTO, -130, "the crypto library failed")                                                                                   \
    X(INTERNAL, -131, "internal error")

typedef enum slim_err {
    SLIM_OK = 0,
#define X(name, number, text) SLIM_E_##name = number,
    SLIM_ERRORS(X)
#undef X
} slim_err;

/* True when the peer is to blame: close its link or drop its message. */
static inline bool slim_err_is_peer(slim_err e)
{
    return e < 0 && e > SLIM_E_AGAIN;
}

/* A static text for logs, never NULL. */
const char *slim_err_text(slim_err e);

#endif
