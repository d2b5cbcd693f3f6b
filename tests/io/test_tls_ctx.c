/* What the contexts say about certificates and keys that cannot be used. */
#include "tls_kit.h"

/* ---- what the contexts say ---- */

static void expect_config(bool server, const slim_tls_config *cfg, const char *why)
{
    slim_tls_ctx *c = NULL;
    char text_[400] = "";

    cr_assert_eq((server ? slim_tls_server_new : slim_tls_client_new)(cfg, &c, text_, sizeof(text_)), SLIM_E_CONFIG,
                 "not refused: %s", why);
    cr_assert_null(c);
    cr_assert_str_eq(text_, why, "\"%s\" instead of \"%s\"", text_, why);
    cr_assert_eq(ERR_peek_error(), 0);
}

Test(tls, identities_that_are_not_whole)
{
    slim_tls_config s = {.version = 13, .where = "config.yaml:12: tls"}, c = s;

    expect_config(true, &s,
                  "config.yaml:12: tls.source.cert: a server needs a certificate and a key: give `source` with type file or pem, "
                  "or set `insecure: true`");
    s.cert = c.cert = text(p.server_pem);
    expect_config(true, &s, "config.yaml:12: tls.source.key: a certificate is there, its private key is missing");
    expect_config(false, &c, "config.yaml:12: tls.source.key: a certificate is there, its private key is missing");
    s.cert = c.cert = text(NULL);
    s.key = c.key = text(p.server_key);
    expect_config(true, &s, "config.yaml:12: tls.source.cert: a private key is there, its certificate is missing");
    expect_config(false, &c, "config.yaml:12: tls.source.cert: a private key is there, its certificate is missing");
}

/* Each bad source in each of its places. */
static void expect_bad_files(const char *path, const char *what, bool named)
{
    slim_tls_config good = server_config(13), cfg;
    char why[400];
    static const char *keys[] = {"source.cert", "source.key", "client_ca", "ca_source"};

    for (int i = 0; i < 4; i++) {
        slim_pem *at[] = {&cfg.cert, &cfg.key, &cfg.ca, &cfg.ca};

        cfg = good;
        *at[i] = (slim_pem){path, NULL};
        if (named)
            snprintf(why, sizeof(why), "w.%s: \"%s\": %s", keys[i], path, what);
        else
            snprintf(why, sizeof(why), "w.%s: cannot read \"%s\": %s", keys[i], path, what);
        expect_config(i < 3, &cfg, why);
    }
}

Test(tls, files_that_cannot_be_used)
{
    static char huge[(1 << 20) + 10];

    memset(huge, '\n', sizeof(huge));
    expect_bad_files("/nonexistent/x.pem", "No such file or directory", false);
    expect_bad_files(test_temp_dir(), "Is a directory", false);
    expect_bad_files(test_temp_file("huge.pem", huge, sizeof(huge)), "larger than 1 MiB, which no certificate chain or key is",
                     true);
}

/* source.cert, source.key, client_ca and ca_source given as text. */
static void expect_bad_text(const char *pem, const char *cert, const char *key, const char *ca)
{
    slim_tls_config good = server_config(13), cfg = good;
    char why[400];

    cfg.cert = text(pem);
    snprintf(why, sizeof(why), "w.source.cert: %s", cert);
    expect_config(true, &cfg, why);
    cfg = good;
    cfg.key = text(pem);
    snprintf(why, sizeof(why), "w.source.key: %s", key);
    expect_config(true, &cfg, why);
    cfg = good;
    cfg.ca = text(pem);
    snprintf(why, sizeof(why), "w.client_ca: %s", ca);
    expect_config(true, &cfg, why);
    snprintf(why, sizeof(why), "w.ca_source: %s", ca);
    expect_config(false, &cfg, why);
}

Test(tls, texts_that_are_no_pem)
{
    static const char *no_cert = "no certificate in PEM form in it", *no_key = "no private key in PEM form in it";

    expect_bad_text("", no_cert, no_key, no_cert);
    expect_bad_text("hello\n", no_cert, no_key, no_cert);
    expect_bad_text("\xff\xfe\x01", no_cert, no_key, no_cert);
    expect_bad_text("-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n", no_cert, no_key, no_cert);
}

/* The form of PEM around something else than it says. */
static char *pem_around(const char *name, const char *body)
{
    char *out = malloc(strlen(body) + 2 * strlen(name) + 64);

    sprintf(out, "-----BEGIN %s-----\n%s\n-----END %s-----\n", name, body, name);
    return out;
}

Test(tls, damaged_certificates)
{
    static const char *bodies[] = {"AAAA", "!!!!", "MIIB"};
    char *cut = strdup(p.root_pem);
    slim_tls_config s = server_config(13), c = client_config(13);

    for (int i = 0; i < 3; i++) {
        char *bad = pem_around("CERTIFICATE", bodies[i]), *behind = test_text_join(strdup(p.server_pem), strdup(bad));

        s.cert = text(bad);
        expect_config(true, &s, "w.source.cert: the certificate is damaged");
        s.cert = text(behind);
        expect_config(true, &s, "w.source.cert: a certificate of the chain is damaged");
        s.cert = text(p.server_pem);
        s.ca = c.ca = text(behind);
        expect_config(true, &s, "w.client_ca: a certificate in it is damaged");
        expect_config(false, &c, "w.ca_source: a certificate in it is damaged");
        s.ca = text(NULL);
        free(bad);
        free(behind);
    }
    cut[strlen(cut) / 2] = '\0'; /* half a file */
    c.ca = s.cert = text(cut);
    expect_config(false, &c, "w.ca_source: a certificate in it is damaged");
    expect_config(true, &s, "w.source.cert: the certificate is damaged");
    free(cut);
}

Test(tls, damaged_keys)
{
    static const char *names[] = {"PRIVATE KEY", "EC PRIVATE KEY", "RSA PRIVATE KEY"};
    char *cut = strdup(p.server_key), why[300];
    slim_tls_config s = server_config(13);

    for (int i = 0; i < 3; i++) {
        char *bad = pem_around(names[i], "AAAA");

        s.key = text(bad);
        expect_config(true, &s, "w.source.key: the private key is damaged or of an unknown kind");
        s.key.file = test_temp_file("bad.pem", bad, strlen(bad));
        snprintf(why, sizeof(why), "w.source.key: \"%s\": the private key is damaged or of an unknown kind", s.key.file);
        expect_config(true, &s, why);
        free(bad);
    }
    cut[strlen(cut) / 2] = '\0';
    s.key = text(cut);
    expect_config(true, &s, "w.source.key: the private key is damaged or of an unknown kind");
    free(cut);
}

/* Of the same kind as the certificate's own and of another. */
Test(tls, keys_of_other_certificates)
{
    static const char *kinds[] = {"EC", "RSA", "ED25519"};

    for (int i = 0; i < 3; i++) {
        test_cert x = test_cert_make(&(test_cert_spec){.subject = "x", .kind = kinds[i]});
        char *key = test_key_pem(&x, true, NULL);
        slim_tls_config cfg = server_config(13);

        cfg.key = text(key);
        expect_config(true, &cfg, "w.source.key: the private key does not belong to the certificate of source.cert");
        expect_config(false, &cfg, "w.source.key: the private key does not belong to the certificate of source.cert");
        test_cert_free(&x);
        free(key);
    }
}

/* A prompt would wait for a terminal; there is none here, and the tests' time would run out. */
Test(tls, keys_with_a_passphrase)
{
    for (int pkcs8 = 0; pkcs8 < 2; pkcs8++) {
        char *key = test_key_pem(&p.server, pkcs8, "sesame");
        slim_tls_config cfg = server_config(13);

        cfg.key = text(key);
        expect_config(true, &cfg, "w.source.key: the private key is protected by a passphrase; store it without one");
        free(key);
    }
}

Test(tls, one_file_for_both)
{
    char *both = test_text_join(strdup(p.server_key), strdup(p.server_pem));
    const char *path = test_temp_file("both.pem", both, strlen(both));
    slim_tls_config s = {.cert = {path, NULL}, .key = {path, NULL}, .version = 13, .where = "w"}, c = client_config(13);

    expect_works(&s, &c, "hub.example");
    free(both);
}

Test(tls, a_short_buffer_for_why)
{
    slim_tls_config s = {.version = 13, .where = "config.yaml:12: tls"};
    slim_tls_ctx *c;
    char why[8];

    cr_assert_eq(slim_tls_server_new(&s, &c, why, sizeof(why)), SLIM_E_CONFIG);
    cr_assert_str_eq(why, "config.");
}
