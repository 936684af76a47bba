/* Cryptographic digests. Part of the simulation seam (tls_boringssl.c). */
#pragma once

#include "core/slice.h"

enum { DIGEST_SHA256_BYTES = 32 };

/* FIPS 180-4 */
void digest_sha256(uint8_t out[DIGEST_SHA256_BYTES], struct slice bytes);
/* HMAC-SHA-256 (RFC 2104) */
void digest_hmac(uint8_t out[DIGEST_SHA256_BYTES], struct slice key, struct slice bytes);
/* Takes the same time wherever the bytes differ; lengths are not secret. */
bool digest_equal(struct slice a, struct slice b);
