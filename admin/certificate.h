/* Certificate objects: the texts behind them and whether they fit together. */
#pragma once

#include "admin/set_error.h"
#include "core/cursor.h"
#include "core/log.h"

#include <jansson.h>

enum {
    CERTIFICATE_REASON_MAX = 320,
    CERTIFICATE_NAMES_MAX = 16 * 1024, /* bytes of names that are shown, more are left out */
    CERTIFICATE_ISSUER_MAX = 1024,
};

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
/* Names and addresses that a normal Certificate object is for, each with a newline, without regard
 * to its key. */
MX_MUST_CHECK mx_err certificate_names(struct writer *out, const json_t *object);
/* Sets subjectAlternativeNames and issuer of a shown object. */
void certificate_add_names(json_t *object, const struct certificate_text *text);
/* A certificate that is not the default one cannot be read. */
void certificate_log_skipped(struct log *log, const char *reason);
void certificate_free(struct certificate_text *text); /* a zeroed one is fine */
