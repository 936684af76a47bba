/* Certificates with their keys, from PEM, and which of them a client is shown: the one for the name
 * that it asks for (RFC 6066 section 3), else the first. */
#include "io/tls_boringssl_private.h"

#include "core/check.h"
#include "core/text.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/sha.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <stdlib.h>

enum {
    CHAIN_MAX = 16,    /* certificates in a chain */
    NAMES_MAX = 16384, /* of all certificates; what is more goes by the first one */
    NAMES_STEP = 64,
};

/* --- PEM ---------------------------------------------------------------------------------------
 */

BIO *tls_pem_reader(struct slice pem)
{
    return pem.len > INT32_MAX ? NULL : BIO_new_mem_buf(pem.ptr, (int)pem.len);
}

static bool is_at_end(void)
{
    uint32_t code = ERR_peek_last_error();
    return ERR_GET_LIB(code) == ERR_LIB_PEM && ERR_GET_REASON(code) == PEM_R_NO_START_LINE;
}

struct pairs {
    BIO *certs;
    X509 *ahead; /* read, not yet used */
    EVP_PKEY *keys[TLS_PAIRS_MAX];
    unsigned key_count;
    unsigned at; /* key of the next pair */
};

static const char *keys_read(struct pairs *pairs, struct slice pem)
{
    BIO *bio = tls_pem_reader(pem);
    while (bio != NULL && pairs->key_count < TLS_PAIRS_MAX) {
        EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, NULL, (void *)(uintptr_t) "");
        if (key == NULL) {
            break;
        }
        pairs->keys[pairs->key_count++] = key;
    }
    BIO_free(bio);
    ERR_clear_error();
    return pairs->key_count > 0
               ? NULL
               : "the private key is not readable PEM (or is protected by a password)";
}

/* Of the keys behind the present one: that to which a certificate belongs, or key_count. */
static unsigned later_key(const struct pairs *pairs, X509 *cert)
{
    EVP_PKEY *public_key = X509_get_pubkey(cert);
    unsigned i = pairs->at + 1;
    while (i < pairs->key_count &&
           (public_key == NULL || EVP_PKEY_cmp(public_key, pairs->keys[i]) != 1)) {
        i++;
    }
    EVP_PKEY_free(public_key);
    return i < pairs->key_count ? i : pairs->key_count;
}

/* The chain behind a certificate, up to the next one that has a key here. */
static const char *chain_read(struct pairs *pairs, SSL_CTX *ssl_ctx, unsigned *out_next)
{
    *out_next = pairs->key_count;
    for (unsigned i = 1; i < CHAIN_MAX; i++) {
        X509 *cert = PEM_read_bio_X509(pairs->certs, NULL, NULL, NULL);
        if (cert == NULL) {
            return is_at_end() ? NULL : "a certificate of the chain is not readable PEM";
        }
        *out_next = later_key(pairs, cert);
        if (*out_next < pairs->key_count) {
            pairs->ahead = cert;
            return NULL;
        }
        int good = SSL_CTX_add1_chain_cert(ssl_ctx, cert);
        X509_free(cert);
        if (!good) {
            return "a certificate of the chain cannot be used";
        }
    }
    return "the certificate chain is too long";
}

/* NULL or what is wrong. */
static const char *pair_read(struct pairs *pairs, SSL_CTX *ssl_ctx)
{
    X509 *cert =
        pairs->ahead != NULL ? pairs->ahead : PEM_read_bio_X509(pairs->certs, NULL, NULL, NULL);
    pairs->ahead = NULL;
    if (cert == NULL) {
        return "the certificate is not readable PEM";
    }
    bool good = SSL_CTX_use_certificate(ssl_ctx, cert) == 1;
    X509_free(cert);
    if (!good) {
        return "the certificate cannot be used";
    }
    if (SSL_CTX_use_PrivateKey(ssl_ctx, pairs->keys[pairs->at]) != 1 ||
        SSL_CTX_check_private_key(ssl_ctx) != 1) {
        return "the private key does not belong to the certificate";
    }
    unsigned next;
    const char *problem = chain_read(pairs, ssl_ctx, &next);
    pairs->at = next;
    return problem;
}

static const char *pairs_open(struct pairs *pairs, struct slice cert_pem, struct slice key_pem)
{
    *pairs = (struct pairs){.certs = tls_pem_reader(cert_pem)};
    return pairs->certs == NULL ? "the certificate is too large" : keys_read(pairs, key_pem);
}

static void pairs_close(struct pairs *pairs)
{
    for (unsigned i = 0; i < pairs->key_count; i++) {
        EVP_PKEY_free(pairs->keys[i]);
    }
    X509_free(pairs->ahead);
    BIO_free(pairs->certs);
    ERR_clear_error();
}

const char *tls_pair_load(SSL_CTX *ssl_ctx, struct slice cert_pem, struct slice key_pem)
{
    struct pairs pairs;
    const char *problem = pairs_open(&pairs, cert_pem, key_pem);
    problem = problem != NULL ? problem : pair_read(&pairs, ssl_ctx);
    pairs_close(&pairs);
    return problem;
}

/* --- names -------------------------------------------------------------------------------------
 */

/* "mx.example.org" or "*.example.org", lower case. */
struct tls_name {
    SSL_CTX *ssl_ctx;     /* of its certificate; borrowed */
    int64_t not_after_ms; /* of two for one name the one that is valid for longer is shown */
    unsigned number;      /* else the first */
    uint8_t len;
    char text[TLS_HOST_MAX];
};

/* Of a context and its connections, which may outlive it. All are of one thread. (Not extra data of
 * the SSL_CTX: BoringSSL takes memory to free that.) */
struct tls_names {
    size_t references;
    struct tls_name *names; /* in order */
    size_t count, cap;
    SSL_CTX *others[TLS_PAIRS_MAX]; /* of all certificates but the first */
    unsigned other_count;
};

void tls_names_hold(struct tls_names *all)
{
    if (all != NULL) {
        all->references++;
    }
}

void tls_names_release(struct tls_names *all)
{
    if (all == NULL || --all->references > 0) {
        return;
    }
    for (unsigned i = 0; i < all->other_count; i++) {
        SSL_CTX_free(all->others[i]);
    }
    free(all->names);
    free(all);
}

static int order(const struct tls_name *a, struct slice text)
{
    int way = memcmp(a->text, text.ptr, a->len < text.len ? a->len : text.len);
    return way != 0 ? way : (a->len > text.len) - (a->len < text.len);
}

static int by_text(const void *left, const void *right)
{
    const struct tls_name *a = left, *b = right;
    int way = order(a, slice_of(b->text, b->len));
    if (way != 0) {
        return way;
    }
    if (a->not_after_ms != b->not_after_ms) {
        return a->not_after_ms > b->not_after_ms ? -1 : 1;
    }
    return (a->number > b->number) - (a->number < b->number);
}

static bool name_add(struct tls_names *all, const struct tls_name *of, struct slice text)
{
    if (text.len == 0 || text.len > TLS_HOST_MAX || all->count == NAMES_MAX) {
        return true; /* nobody asks for it, or there are very many */
    }
    if (all->count == all->cap) {
        struct tls_name *names = realloc(all->names, (all->cap + NAMES_STEP) * sizeof *names);
        if (names == NULL) {
            return false;
        }
        all->names = names;
        all->cap += NAMES_STEP;
    }
    struct tls_name *name = &all->names[all->count++];
    *name = *of;
    name->len = (uint8_t)text.len;
    for (size_t i = 0; i < text.len; i++) {
        name->text[i] = (char)ascii_lower(text.ptr[i]);
    }
    return true;
}

static struct slice asn1_slice(const ASN1_STRING *string)
{
    return slice_of(ASN1_STRING_get0_data(string), (size_t)ASN1_STRING_length(string));
}

/* The common name counts when there is no other (RFC 6125 section 6.4.4). */
static bool subject_add(struct tls_names *all, const struct tls_name *of, const X509 *cert)
{
    const X509_NAME *subject = X509_get_subject_name(cert);
    int at = subject == NULL ? -1 : X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
    const X509_NAME_ENTRY *entry = at < 0 ? NULL : X509_NAME_get_entry(subject, at);
    const ASN1_STRING *value = entry == NULL ? NULL : X509_NAME_ENTRY_get_data(entry);
    return value == NULL || name_add(all, of, asn1_slice(value));
}

static bool names_add(struct tls_names *all, const struct tls_name *of, const X509 *cert)
{
    GENERAL_NAMES *list = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
    bool good = true, found = false;
    for (size_t i = 0; list != NULL && good && i < sk_GENERAL_NAME_num(list); i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(list, i);
        if (name->type == GEN_DNS) {
            found = true;
            good = name_add(all, of, asn1_slice(name->d.dNSName));
        }
    }
    GENERAL_NAMES_free(list);
    return good && (found || subject_add(all, of, cert));
}

/* Sessions of one certificate are not resumed under another's name. */
static bool sessions_part(SSL_CTX *ssl_ctx, const X509 *cert)
{
    uint8_t digest[SHA256_DIGEST_LENGTH];
    unsigned len;
    return X509_digest(cert, EVP_sha256(), digest, &len) == 1 &&
           SSL_CTX_set_session_id_context(ssl_ctx, digest, len) == 1;
}

/* False: no memory. */
static bool pair_add(struct tls_names *all, SSL_CTX *ssl_ctx, unsigned number)
{
    const X509 *cert = SSL_CTX_get0_certificate(ssl_ctx); /* which may be made now */
    if (cert == NULL) {
        return false;
    }
    struct tls_name of = {.ssl_ctx = ssl_ctx,
                          .number = number,
                          .not_after_ms = tls_time_ms(X509_get0_notAfter(cert))};
    return sessions_part(ssl_ctx, cert) && names_add(all, &of, cert);
}

static SSL_CTX *find_exactly(const struct tls_names *all, struct slice text)
{
    size_t low = 0, high = all->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (order(&all->names[middle], text) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < all->count && order(&all->names[low], text) == 0 ? all->names[low].ssl_ctx : NULL;
}

/* A wildcard stands for one label (RFC 6125 section 6.4.3). */
static SSL_CTX *find(const struct tls_names *all, const char *asked)
{
    uint8_t text[TLS_HOST_MAX + 1];
    size_t len = strlen(asked);
    len -= len > 0 && asked[len - 1] == '.';
    if (len == 0 || len > TLS_HOST_MAX) {
        return NULL;
    }
    for (size_t i = 0; i < len; i++) {
        text[i] = ascii_lower((uint8_t)asked[i]);
    }
    struct slice name = slice_of(text, len);
    SSL_CTX *found = find_exactly(all, name);
    size_t dot = slice_find(name, '.');
    if (found == NULL && dot > 0 && dot < len) {
        text[dot - 1] = '*';
        found = find_exactly(all, slice_from(name, dot - 1));
    }
    return found;
}

/* A name that is not known is no reason to refuse: mail is better encrypted for another name than
 * not at all. */
static int on_server_name(SSL *ssl, int *out_alert, void *arg)
{
    const char *asked = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
    SSL_CTX *found = asked == NULL ? NULL : find(arg, asked);
    (void)out_alert;
    if (found != NULL) {
        (void)SSL_set_SSL_CTX(ssl, found);
    }
    return found != NULL ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_NOACK;
}

static const char *other_read(struct tls_names *all, struct pairs *pairs)
{
    SSL_CTX *ssl_ctx = SSL_CTX_new(TLS_method());
    if (ssl_ctx == NULL) {
        return "out of memory";
    }
    all->others[all->other_count++] = ssl_ctx;
    const char *problem = pair_read(pairs, ssl_ctx);
    return problem != NULL || pair_add(all, ssl_ctx, all->other_count) ? problem : "out of memory";
}

static const char *others_read(struct tls_names *all, SSL_CTX *first, struct pairs *pairs)
{
    const char *problem = pair_add(all, first, 0) ? NULL : "out of memory";
    while (problem == NULL && pairs->at < pairs->key_count) {
        problem = other_read(all, pairs);
    }
    if (all->count > 0) {
        qsort(all->names, all->count, sizeof *all->names, by_text);
    }
    SSL_CTX_set_tlsext_servername_callback(first, on_server_name);
    SSL_CTX_set_tlsext_servername_arg(first, all);
    return problem;
}

const char *tls_pairs_load(struct tls_ctx *ctx, struct slice cert_pem, struct slice key_pem)
{
    struct pairs pairs;
    const char *problem = pairs_open(&pairs, cert_pem, key_pem);
    problem = problem != NULL ? problem : pair_read(&pairs, ctx->ssl_ctx);
    if (problem == NULL && pairs.at < pairs.key_count) {
        ctx->names = calloc(1, sizeof *ctx->names);
        tls_names_hold(ctx->names);
        problem =
            ctx->names == NULL ? "out of memory" : others_read(ctx->names, ctx->ssl_ctx, &pairs);
    }
    pairs_close(&pairs);
    return problem;
}
