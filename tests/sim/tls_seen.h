/* What the simulated TLS shows of itself. */
#pragma once

struct tls_ctx;

const char *tls_seen_certificate(const struct tls_ctx *ctx);
