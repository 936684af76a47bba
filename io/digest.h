/* Cryptographic digests. Part of the simulation seam (digest_boringssl.c). */
#pragma once

#include "core/slice.h"

enum { DIGEST_SHA256_BYTES = 32, DIGEST_BYTES_MAX = 64 };

/* FIPS 180-4 */
void digest_sha256(uint8_t out[DIGEST_SHA256_BYTES], struct slice bytes);
/* HMAC-SHA-256 (RFC 2104) */
void digest_hmac(uint8_t out[DIGEST_SHA256_BYTES], struct slice key, struct slice bytes);
/* Takes the same time wherever the bytes differ; lengths are not secret. */
bool digest_equal(struct slice a, struct slice b);
/* "md5", "sha1", "sha256" or "sha512"; returns the digest's length, 0 for any other name. */
size_t digest_named(uint8_t out[DIGEST_BYTES_MAX], struct slice name, struct slice bytes);
