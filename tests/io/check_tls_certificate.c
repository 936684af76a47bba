/* Certificates: made, checked with their keys, and read. */
#include "tests/io/tls_support.h"

/* Joins two texts in a static buffer. */
static struct slice join(struct slice a, struct slice b)
{
    static uint8_t buf[32 * PEM_MAX];
    struct slice first = slice_of(buf, a.len);
    memmove(buf, a.ptr, a.len);
    memcpy(buf + a.len, b.ptr, b.len);
    return slice_of(first.ptr, a.len + b.len);
}

static void check_bad_pair(struct slice cert, struct slice key, const char *part)
{
    const char *problem = NULL;
    int64_t before = 1, after = 2;
    CHECK(tls_check_pair(cert, key, &before, &after, &problem) == MX_ERR_INVALID);
    CHECK(problem != NULL && strstr(problem, part) != NULL);
    CHECK(before == 1 && after == 2);
    struct tls_ctx *ctx = NULL;
    struct tls_server_conf conf = {.cert_pem = cert, .key_pem = key};
    CHECK(tls_server_ctx_new(&ctx, &conf) == MX_ERR_TLS && ctx == NULL);
}

static void check_names(const char *host, size_t room, const char *expected)
{
    struct pem pem;
    uint8_t names_buf[300], issuer_buf[300];
    struct writer names = writer_init(names_buf, room), issuer = writer_init(issuer_buf, room);
    pem_make(&pem, host, now_ms);
    CHECK(tls_certificate_names(&names, &issuer, pem.cert_pem) == MX_OK);
    CHECK(slice_equal(writer_slice(&names), slice_of_text(expected)) && !names.overflow);
    CHECK(!issuer.overflow && issuer.len == mx_min_size(room, strlen("CN=") + strlen(host)));
    CHECK(memcmp(issuer_buf, "CN=", 3) == 0);
}

static void check_all_names(void)
{
    struct writer none = writer_init(NULL, 0);
    scene = "names";
    check_names("mx.example.org", 300, "mx.example.org\n");
    check_names("192.0.2.1", 300, "192.0.2.1\n");
    check_names("2001:db8::1", 300, "2001:db8::1\n");
    check_names("mx.example.org", 14, ""); /* whole names only */
    check_names("mx.example.org", 15, "mx.example.org\n");
    CHECK(tls_certificate_names(&none, &none, SLICE_EMPTY) == MX_ERR_INVALID);
    CHECK(tls_certificate_names(&none, &none, SLICE_LITERAL("-----BEGIN")) == MX_ERR_INVALID);
}

static void check_pairs(const struct pem *pem)
{
    static const char locked[] = "-----BEGIN ENCRYPTED PRIVATE KEY-----\n"
                                 "MIGjMF8GCSqGSIb3DQEFDTBSMDEGCSqGSIb3DQEFDDAk\n"
                                 "-----END ENCRYPTED PRIVATE KEY-----\n";
    static const char damaged[] = "-----BEGIN CERTIFICATE-----\nMIIB!!!!\n"
                                  "-----END CERTIFICATE-----\n";
    int64_t before = 0, after = 0;
    const char *problem = NULL;
    struct pem other;
    scene = "pairs";
    pem_make(&other, "mx.example.org", now_ms);
    CHECK(tls_check_pair(pem->cert_pem, pem->key_pem, &before, &after, &problem) == MX_OK);
    CHECK(before == now_ms - INT64_C(86400000) && problem == NULL);
    CHECK(after == before + INT64_C(3650) * 86400000);
    CHECK(tls_check_pair(pem->cert_pem, pem->key_pem, NULL, NULL, &problem) == MX_OK);
    CHECK(tls_check_pair(join(pem->cert_pem, other.cert_pem), pem->key_pem, NULL, NULL, &problem) ==
          MX_OK);
    check_bad_pair(pem->cert_pem, other.key_pem, "does not belong");
    check_bad_pair(SLICE_EMPTY, pem->key_pem, "certificate is not readable");
    check_bad_pair(pem->key_pem, pem->key_pem, "certificate is not readable");
    check_bad_pair(SLICE_LITERAL(damaged), pem->key_pem, "certificate is not readable");
    check_bad_pair(pem->cert_pem, SLICE_EMPTY, "private key is not readable");
    check_bad_pair(pem->cert_pem, pem->cert_pem, "private key is not readable");
    check_bad_pair(pem->cert_pem, SLICE_LITERAL(locked), "private key is not readable");
    check_bad_pair(join(pem->cert_pem, SLICE_LITERAL(damaged)), pem->key_pem, "of the chain");
    check_bad_pair(slice_first(pem->cert_pem, pem->cert_pem.len - 30), pem->key_pem, "readable");
    struct slice many = pem->cert_pem;
    for (unsigned i = 0; i < 16; i++) {
        many = join(many, other.cert_pem);
    }
    check_bad_pair(many, pem->key_pem, "too long");
}

static void check_self_signed(void)
{
    uint8_t small[64], roomy[PEM_MAX];
    scene = "self-signed";
    struct writer cert = writer_init(roomy, sizeof roomy), key = writer_init(small, sizeof small);
    struct slice host = SLICE_LITERAL("mx.example.org");
    CHECK(tls_self_signed(&cert, &key, host, now_ms) == MX_ERR_LIMIT);
    CHECK(cert.len == 0 && key.len == 0);
    CHECK(tls_self_signed(&cert, &key, SLICE_EMPTY, now_ms) == MX_ERR_INVALID);
    CHECK(tls_self_signed(&cert, &key, SLICE_LITERAL("m\xc3\xbcnchen.example"), now_ms) ==
          MX_ERR_INVALID);
    static const char longest[] = "a-host-name-that-is-longer-than-a-common-name-may-be."
                                  "and-goes-on-for-a-while.example.org";
    struct pem pem;
    pem_make(&pem, longest, now_ms);
    CHECK(slice_find(pem.cert_pem, '-') == 0);
    CHECK(strstr(tls_library_version(), "BoringSSL") != NULL);
}

int main(void)
{
    struct pem pem;
    now_ms = clock_wall_ms() / 1000 * 1000;
    pem_make(&pem, "mx.example.org", now_ms);
    check_all_names();
    check_pairs(&pem);
    check_self_signed();
    if (failures > 0) {
        fprintf(stderr, "%u checks failed\n", failures);
    }
    return failures > 0 ? 1 : 0;
}
