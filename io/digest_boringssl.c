#include "io/digest.h"

#include "core/check.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/mem.h>
#include <openssl/sha.h>

void digest_sha256(uint8_t out[DIGEST_SHA256_BYTES], struct slice bytes)
{
    SHA256(bytes.ptr, bytes.len, out);
}

void digest_hmac(uint8_t out[DIGEST_SHA256_BYTES], struct slice key, struct slice bytes)
{
    unsigned len = 0;
    MX_ASSERT(HMAC(EVP_sha256(), key.ptr, key.len, bytes.ptr, bytes.len, out, &len) != NULL);
    MX_ASSERT(len == DIGEST_SHA256_BYTES);
}

bool digest_equal(struct slice a, struct slice b)
{
    return a.len == b.len && CRYPTO_memcmp(a.ptr, b.ptr, a.len) == 0;
}

size_t digest_named(uint8_t out[DIGEST_BYTES_MAX], struct slice name, struct slice bytes)
{
    static const struct {
        const char *name;
        const EVP_MD *(*digest)(void);
    } digests[] = {
        {"md5", EVP_md5}, {"sha1", EVP_sha1}, {"sha256", EVP_sha256}, {"sha512", EVP_sha512}};
    unsigned len = 0;
    for (size_t i = 0; i < mx_countof(digests); i++) {
        if (slice_equal(name, slice_of_text(digests[i].name))) {
            MX_ASSERT(EVP_Digest(bytes.ptr, bytes.len, out, &len, digests[i].digest(), NULL) == 1);
        }
    }
    return len;
}
