/* What went wrong, for those who run a node: the thing, and the way out in the words of the configuration. */
#include "io/tls_int.h"

#include <openssl/sslerr.h>
#include <openssl/x509v3.h>
#include <stdio.h>

typedef struct saying {
    int code;
    const char *text;
} saying;

/* What the peer told us, and what we found. */
static const saying sayings[] = {
    {SSL_R_TLSV1_ALERT_UNKNOWN_CA,
     "the peer does not trust our certificate (unknown CA): it must be given the authority that signed source.cert"},
    {SSL_R_SSLV3_ALERT_BAD_CERTIFICATE,
     "the peer refuses our certificate (bad certificate): source.cert may lack the name or address that the peer asked for"},
    {SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED,
     "the peer says that our certificate has expired: renew source.cert, compare the clocks"},
    {SSL_R_SSLV3_ALERT_CERTIFICATE_REVOKED, "the peer says that our certificate was revoked: replace source.cert"},
    {SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN, "the peer refuses our certificate (certificate unknown): its log may say why"},
    {SSL_R_SSLV3_ALERT_UNSUPPORTED_CERTIFICATE,
     "the peer cannot use a certificate like ours (unsupported certificate): check kind of key and usage of source.cert"},
    {SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED,
     "the peer demands a certificate (certificate required): set source to one that it trusts"},
    {SSL_R_SSLV3_ALERT_HANDSHAKE_FAILURE,
     "the peer finds no common ground (handshake failure): it may demand a certificate, see source, or other ciphers"},
    {SSL_R_TLSV1_ALERT_INSUFFICIENT_SECURITY, "the peer demands stronger ciphers (insufficient security): try tls_version tls1.3"},
    {SSL_R_TLSV1_ALERT_ACCESS_DENIED, "the peer knows our certificate and denies access (access denied): its log may say why"},
    {SSL_R_TLSV1_ALERT_DECRYPT_ERROR, "the peer could not verify our signature (decrypt error): its log may say why"},
    {SSL_R_TLSV1_ALERT_INTERNAL_ERROR, "the peer has trouble of its own (internal error): its log may say why"},
    {SSL_R_TLSV1_ALERT_NO_APPLICATION_PROTOCOL,
     "the peer does not speak HTTP/2 (no application protocol): is the endpoint a SLIM node?"},
    {SSL_R_TLSV1_ALERT_USER_CANCELLED, "the peer gave up (user cancelled)"},
    {SSL_R_TLSV1_UNRECOGNIZED_NAME, "the peer has no certificate for the name we ask for (unrecognized name): set server_name"},
    {SSL_R_SSLV3_ALERT_BAD_RECORD_MAC, "the peer says that bytes of ours were changed on their way (bad record MAC)"},
    {SSL_R_NO_SHARED_CIPHER, "no cipher in common with the peer: it must offer ECDHE with AES-GCM or ChaCha20-Poly1305"},
    {SSL_R_NO_SUITABLE_KEY_SHARE, "no key exchange in common with the peer: it must offer X25519 or a NIST curve"},
    {SSL_R_NO_SHARED_GROUPS, "no key exchange in common with the peer: it must offer X25519 or a NIST curve"},
    {SSL_R_NO_SUITABLE_SIGNATURE_ALGORITHM,
     "the peer cannot verify signatures of our kind of key: give source.cert another kind (EC, RSA)"},
    {SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE, "the peer shows no certificate, and client_ca demands one"},
    {SSL_R_DECRYPTION_FAILED_OR_BAD_RECORD_MAC, "bytes of the peer were changed on their way (bad record MAC)"},
};

/* Why the check of the peer's certificate failed, when more can be said than the name of the error. */
static const saying refusals[] = {
    {X509_V_ERR_CERT_HAS_EXPIRED, "it has expired: the peer must renew it"},
    {X509_V_ERR_CERT_NOT_YET_VALID, "it is not valid yet: compare the clocks"},
    {X509_V_ERR_INVALID_PURPOSE, "its extended key usage does not allow this use"},
};

static const char *find(const saying *list, size_t n, int code)
{
    for (size_t i = 0; i < n; i++)
        if (list[i].code == code)
            return list[i].text;
    return NULL;
}

static void refusal(SSL *ssl, char *to, size_t max)
{
    X509_VERIFY_PARAM *param = SSL_get0_param(ssl);
    long code = SSL_get_verify_result(ssl);
    const char *text = find(refusals, sizeof(refusals) / sizeof(*refusals), (int)code),
               *host = X509_VERIFY_PARAM_get0_host(param, 0);
    char *ip;

    switch (code) {
    case X509_V_ERR_HOSTNAME_MISMATCH:
        snprintf(to, max, "it is not for %.64s: use a name that it has as server_name", host != NULL ? host : "");
        return;
    case X509_V_ERR_IP_ADDRESS_MISMATCH:
        ip = X509_VERIFY_PARAM_get1_ip_asc(param);
        snprintf(to, max, "it is not for the address %s: use a name that it has as server_name", ip != NULL ? ip : "");
        OPENSSL_free(ip);
        return;
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
        snprintf(to, max, "no authority that we trust signed it: add the right one to %s (%s)",
                 SSL_is_server(ssl) ? "client_ca" : "ca_source", X509_verify_cert_error_string(code));
        return;
    default: snprintf(to, max, "%s", text != NULL ? text : X509_verify_cert_error_string(code));
    }
}

/* The bytes are none of TLS at all. Inside of TLS such a record is only a broken one. */
static bool speaks_something_else(int reason)
{
    return reason == SSL_R_HTTP_REQUEST || reason == SSL_R_WRONG_VERSION_NUMBER || reason == SSL_R_HTTPS_PROXY_REQUEST;
}

void tls_words(SSL *ssl, bool established, int reason, const char *otherwise, char *to, size_t max)
{
    const char *text = find(sayings, sizeof(sayings) / sizeof(*sayings), reason);
    char why[160];

    if (!established && speaks_something_else(reason)) {
        snprintf(to, max, "the peer does not speak TLS");
    } else if (reason == SSL_R_CERTIFICATE_VERIFY_FAILED) { /* the result of the check is there even when nobody asked for one */
        refusal(ssl, why, sizeof(why));
        snprintf(to, max, "the peer's certificate was refused: %s", why);
    } else if (reason == SSL_R_UNSUPPORTED_PROTOCOL || reason == SSL_R_TLSV1_ALERT_PROTOCOL_VERSION) {
        snprintf(to, max, "the peer does not speak TLS %s: set tls_version alike at both ends",
                 SSL_get_min_proto_version(ssl) == TLS1_2_VERSION ? "1.2" : "1.3");
    } else {
        snprintf(to, max, "%s", text != NULL ? text : otherwise != NULL ? otherwise : "protocol error");
    }
}
