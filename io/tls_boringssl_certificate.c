/* Certificates: made, checked and read. */
#include "io/tls_boringssl_private.h"

#include "core/check.h"
#include "core/netaddr.h"
#include "core/text.h"
#include "io/random.h"

#include <openssl/ec.h>
#include <openssl/ec_key.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/nid.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

enum {
    COMMON_NAME_MAX = 64, /* X.520 */
    SELF_SIGNED_DAYS = 3650,
    DAY_S = 86400,
};

static EVP_PKEY *key_make(void)
{
    EVP_PKEY *key = EVP_PKEY_new();
    EC_KEY *ec = EC_KEY_new_by_curve_name(NID_X9_62_prime256v1);
    if (key == NULL || ec == NULL || !EC_KEY_generate_key(ec) || !EVP_PKEY_set1_EC_KEY(key, ec)) {
        EVP_PKEY_free(key);
        key = NULL;
    }
    EC_KEY_free(ec);
    return key;
}

static GENERAL_NAME *alternative_name(struct slice host)
{
    struct netaddr addr;
    bool is_ip = netaddr_parse(&addr, host) == MX_OK;
    struct slice value = is_ip ? slice_of(addr.bytes, addr.family == 4 ? 4 : 16) : host;
    GENERAL_NAME *name = GENERAL_NAME_new();
    ASN1_STRING *text = ASN1_STRING_type_new(is_ip ? V_ASN1_OCTET_STRING : V_ASN1_IA5STRING);
    if (name == NULL || text == NULL || !ASN1_STRING_set(text, value.ptr, (int)value.len)) {
        GENERAL_NAME_free(name);
        ASN1_STRING_free(text);
        return NULL;
    }
    GENERAL_NAME_set0_value(name, is_ip ? GEN_IPADD : GEN_DNS, text);
    return name;
}

static bool names_add(X509 *cert, struct slice host)
{
    X509_NAME *subject = X509_get_subject_name(cert);
    /* What counts is the alternative name; a long one does not fit in the common name. */
    struct slice common = host.len <= COMMON_NAME_MAX ? host : SLICE_LITERAL("ringmx");
    GENERAL_NAMES *names = GENERAL_NAMES_new();
    GENERAL_NAME *name = alternative_name(host);
    bool good = names != NULL && name != NULL &&
                X509_NAME_add_entry_by_NID(subject, NID_commonName, MBSTRING_UTF8, common.ptr,
                                           (int)common.len, -1, 0) &&
                X509_set_issuer_name(cert, subject) && sk_GENERAL_NAME_push(names, name) > 0;
    if (!good) {
        GENERAL_NAME_free(name);
    }
    good = good && X509_add1_ext_i2d(cert, NID_subject_alt_name, names, 0, 0) == 1;
    GENERAL_NAMES_free(names);
    return good;
}

static X509 *cert_make(EVP_PKEY *key, struct slice host, int64_t wall_ms)
{
    X509 *cert = X509_new();
    int64_t begin_s = wall_ms / 1000 - DAY_S;
    bool good = cert != NULL && X509_set_version(cert, X509_VERSION_3) &&
                ASN1_INTEGER_set_uint64(X509_get_serialNumber(cert), random_u64() >> 1) &&
                ASN1_TIME_set(X509_getm_notBefore(cert), begin_s) != NULL &&
                ASN1_TIME_set(X509_getm_notAfter(cert),
                              begin_s + (int64_t)SELF_SIGNED_DAYS * DAY_S) != NULL &&
                names_add(cert, host) && X509_set_pubkey(cert, key) &&
                X509_sign(cert, key, EVP_sha256()) > 0;
    if (!good) {
        X509_free(cert);
        cert = NULL;
    }
    return cert;
}

static struct slice bio_slice(BIO *bio)
{
    const uint8_t *bytes = NULL;
    size_t len = 0;
    return BIO_mem_contents(bio, &bytes, &len) == 1 ? slice_of(bytes, len) : SLICE_EMPTY;
}

static mx_err pair_print(struct writer *cert_pem, struct writer *key_pem, BIO *cert_bio,
                         BIO *key_bio)
{
    struct slice cert = bio_slice(cert_bio), key = bio_slice(key_bio);
    if (cert.len > writer_room(cert_pem) || key.len > writer_room(key_pem)) {
        return MX_ERR_LIMIT;
    }
    put_slice(cert_pem, cert);
    put_slice(key_pem, key);
    return MX_OK;
}

mx_err tls_self_signed(struct writer *cert_pem, struct writer *key_pem, struct slice host,
                       int64_t wall_ms)
{
    if (host.len == 0 || host.len > TLS_HOST_MAX || !text_is_ascii(host)) {
        return MX_ERR_INVALID;
    }
    EVP_PKEY *key = key_make();
    X509 *cert = key == NULL ? NULL : cert_make(key, host, wall_ms);
    BIO *cert_bio = BIO_new(BIO_s_mem());
    BIO *key_bio = BIO_new(BIO_s_mem());
    mx_err err = MX_ERR_TLS;
    if (cert != NULL && cert_bio != NULL && key_bio != NULL && PEM_write_bio_X509(cert_bio, cert) &&
        PEM_write_bio_PKCS8PrivateKey(key_bio, key, NULL, NULL, 0, NULL, NULL)) {
        err = pair_print(cert_pem, key_pem, cert_bio, key_bio);
    }
    BIO_free(cert_bio);
    BIO_free(key_bio);
    X509_free(cert);
    EVP_PKEY_free(key);
    ERR_clear_error();
    return err;
}

int64_t tls_time_ms(const ASN1_TIME *time)
{
    int days = 0, seconds = 0;
    ASN1_TIME *epoch = ASN1_TIME_set(NULL, 0);
    int good = epoch != NULL && ASN1_TIME_diff(&days, &seconds, epoch, time);
    ASN1_TIME_free(epoch);
    return good ? ((int64_t)days * DAY_S + seconds) * 1000 : 0;
}

mx_err tls_check_pair(struct slice cert_pem, struct slice key_pem, int64_t *out_not_before_ms,
                      int64_t *out_not_after_ms, const char **out_problem)
{
    struct tls_ctx *ctx;
    mx_err err = tls_ctx_make(&ctx, true);
    if (err) {
        *out_problem = "out of memory";
        return err;
    }
    const char *problem = tls_pair_load(ctx->ssl_ctx, cert_pem, key_pem);
    X509 *cert = problem == NULL ? SSL_CTX_get0_certificate(ctx->ssl_ctx) : NULL;
    problem = problem != NULL || cert != NULL ? problem : "out of memory";
    if (cert != NULL && out_not_before_ms != NULL) {
        *out_not_before_ms = tls_time_ms(X509_get0_notBefore(cert));
    }
    if (cert != NULL && out_not_after_ms != NULL) {
        *out_not_after_ms = tls_time_ms(X509_get0_notAfter(cert));
    }
    tls_ctx_free(ctx);
    if (problem != NULL) {
        *out_problem = problem;
        return MX_ERR_INVALID;
    }
    return MX_OK;
}

static bool is_printable(struct slice text)
{
    for (size_t i = 0; i < text.len; i++) {
        if (!ascii_is_graph(text.ptr[i]) && text.ptr[i] != ' ') {
            return false;
        }
    }
    return text.len > 0;
}

static void put_general_name(struct writer *w, const GENERAL_NAME *name)
{
    char buf[NETADDR_TEXT_MAX];
    struct slice text = SLICE_EMPTY;
    if (name->type == GEN_DNS) {
        text = slice_of(ASN1_STRING_get0_data(name->d.dNSName),
                        (size_t)ASN1_STRING_length(name->d.dNSName));
    } else if (name->type == GEN_IPADD) {
        struct netaddr addr = {0};
        size_t len = (size_t)ASN1_STRING_length(name->d.iPAddress);
        if (len == 4 || len == 16) {
            struct writer ip = writer_init(buf, sizeof buf);
            addr.family = len == 4 ? 4 : 6;
            memcpy(addr.bytes, ASN1_STRING_get0_data(name->d.iPAddress), len);
            put_netaddr(&ip, &addr);
            text = writer_slice(&ip);
        }
    }
    if (is_printable(text) && text.len < writer_room(w)) {
        put_slice(w, text);
        put_char(w, '\n');
    }
}

static void put_issuer(struct writer *w, const X509 *cert)
{
    BIO *bio = BIO_new(BIO_s_mem());
    if (bio != NULL &&
        X509_NAME_print_ex(bio, X509_get_issuer_name(cert), 0, XN_FLAG_RFC2253) > 0) {
        struct slice text = slice_first(bio_slice(bio), writer_room(w));
        put_slice(w, is_printable(text) ? text : SLICE_EMPTY);
    }
    BIO_free(bio);
}

mx_err tls_certificate_names(struct writer *names, struct writer *issuer, struct slice cert_pem)
{
    BIO *bio = tls_pem_reader(cert_pem);
    X509 *cert = bio == NULL ? NULL : PEM_read_bio_X509(bio, NULL, NULL, NULL);
    GENERAL_NAMES *all =
        cert == NULL ? NULL : X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
    for (size_t i = 0; all != NULL && i < sk_GENERAL_NAME_num(all); i++) {
        put_general_name(names, sk_GENERAL_NAME_value(all, i));
    }
    if (cert != NULL) {
        put_issuer(issuer, cert);
    }
    mx_err err = cert == NULL ? MX_ERR_INVALID : MX_OK;
    GENERAL_NAMES_free(all);
    X509_free(cert);
    BIO_free(bio);
    ERR_clear_error();
    return err;
}
