/* What the tests of io/tls.h share: checks that name their scene, and look for errors that were
 * left behind; certificates. */
#pragma once

#include "core/cursor.h"
#include "io/clock.h"
#include "io/tls.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* BoringSSL's; declared here so that its headers stay out of the tree. */
uint32_t ERR_peek_error(void);

enum { PEM_MAX = 4096 };

static int64_t now_ms; /* whole seconds; BoringSSL looks at the same clock */
static unsigned failures;
static const char *scene = "";

#define CHECK(cond)                                                                 \
    do {                                                                            \
        if (!(cond)) {                                                              \
            failures++;                                                             \
            fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, scene, #cond);   \
        }                                                                           \
        if (ERR_peek_error() != 0) {                                                \
            failures++;                                                             \
            fprintf(stderr, "%s:%d: %s: error queue\n", __FILE__, __LINE__, scene); \
        }                                                                           \
    } while (0)

struct pem {
    uint8_t cert[PEM_MAX], key[PEM_MAX];
    struct slice cert_pem, key_pem;
};

static inline void pem_make(struct pem *pem, const char *host, int64_t wall_ms)
{
    struct writer cert = writer_init(pem->cert, sizeof pem->cert);
    struct writer key = writer_init(pem->key, sizeof pem->key);
    CHECK(tls_self_signed(&cert, &key, slice_of_text(host), wall_ms) == MX_OK);
    pem->cert_pem = writer_slice(&cert);
    pem->key_pem = writer_slice(&key);
}
