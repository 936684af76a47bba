/* Certificate objects: the texts behind them and whether they fit together. */
#pragma once

#include "admin/set_error.h"

#include <jansson.h>

enum { CERTIFICATE_REASON_MAX = 320 };

/* PEM texts in malloc'd buffers, NUL-terminated. */
struct certificate_text {
    uint8_t *cert_pem, *key_pem;
    size_t cert_len, key_len;
    int64_t not_before_ms, not_after_ms;
};

/* Reads and checks a normal Certificate object (texts, files or environment variables). On failure
 * *out_property ("certificate" or "privateKey") and reason say why. */
MX_MUST_CHECK mx_err certificate_read(struct certificate_text *out_text, const json_t *object,
                                      const char **out_property,
                                      char reason[CERTIFICATE_REASON_MAX]);
void certificate_free(struct certificate_text *text); /* a zeroed one is fine */
