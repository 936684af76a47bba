#include "admin/certificate.h"

#include "core/check.h"
#include "io/sys.h"
#include "io/tls.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static mx_err copy_text(uint8_t **out_bytes, size_t *out_len, const char *text)
{
    char *copy = strdup(text);
    if (!copy) {
        return MX_ERR_NOMEM;
    }
    *out_bytes = (uint8_t *)copy;
    *out_len = strlen(copy);
    return MX_OK;
}

/* A PublicText or SecretText. */
static mx_err read_text(uint8_t **out_bytes, size_t *out_len, const json_t *holder,
                        char reason[CERTIFICATE_REASON_MAX])
{
    const char *path = json_string_value(json_object_get(holder, "filePath"));
    const char *variable = json_string_value(json_object_get(holder, "variableName"));
    if (path) {
        mx_err err = sys_read_file(out_bytes, out_len, path, REG_PEM_MAX);
        if (err) {
            snprintf(reason, CERTIFICATE_REASON_MAX, "cannot read %.200s: %s", path, err_text(err));
        }
        return err;
    }
    if (variable) {
        const char *text = getenv(variable);
        if (!text) {
            snprintf(reason, CERTIFICATE_REASON_MAX, "the environment variable %.200s is not set",
                     variable);
            return MX_ERR_NOTFOUND;
        }
        return copy_text(out_bytes, out_len, text);
    }
    const char *text = json_string_value(json_object_get(holder, "value"));
    if (!text) {
        text = json_string_value(json_object_get(holder, "secret"));
    }
    MX_ASSERT(text);
    return copy_text(out_bytes, out_len, text);
}

mx_err certificate_read(struct certificate_text *out_text, const json_t *object,
                        const char **out_property, char reason[CERTIFICATE_REASON_MAX])
{
    struct certificate_text text = {0};
    reason[0] = 0;
    *out_property = "certificate";
    mx_err err =
        read_text(&text.cert_pem, &text.cert_len, json_object_get(object, "certificate"), reason);
    if (!err) {
        *out_property = "privateKey";
        err =
            read_text(&text.key_pem, &text.key_len, json_object_get(object, "privateKey"), reason);
    }
    if (!err) {
        *out_property = "certificate";
        const char *why = NULL;
        err = tls_check_pair(slice_of(text.cert_pem, text.cert_len),
                             slice_of(text.key_pem, text.key_len), &text.not_before_ms,
                             &text.not_after_ms, &why);
        if (err) {
            snprintf(reason, CERTIFICATE_REASON_MAX, "%.300s", why ? why : err_text(err));
        }
    }
    if (err) {
        if (!reason[0]) {
            snprintf(reason, CERTIFICATE_REASON_MAX, "%s", err_text(err));
        }
        certificate_free(&text);
        return err;
    }
    *out_text = text;
    return MX_OK;
}

mx_err certificate_names(struct writer *out, const json_t *object)
{
    uint8_t *pem = NULL;
    size_t len = 0;
    char reason[CERTIFICATE_REASON_MAX], by[CERTIFICATE_ISSUER_MAX];
    struct writer issuer = writer_init(by, sizeof by);
    mx_err err = read_text(&pem, &len, json_object_get(object, "certificate"), reason);
    err = err ? err : tls_certificate_names(out, &issuer, slice_of(pem, len));
    free(pem);
    return err;
}

void certificate_add_names(json_t *object, const struct certificate_text *text)
{
    char names[CERTIFICATE_NAMES_MAX], by[CERTIFICATE_ISSUER_MAX];
    struct writer w = writer_init(names, sizeof names), issuer = writer_init(by, sizeof by);
    if (tls_certificate_names(&w, &issuer, slice_of(text->cert_pem, text->cert_len))) {
        return;
    }
    json_t *set = json_object();
    for (struct slice rest = writer_slice(&w); rest.len > 0;) {
        size_t len = slice_find(rest, '\n'); /* every name ends with one */
        json_object_setn_new(set, (const char *)rest.ptr, len, json_true());
        rest = slice_from(rest, len + 1);
    }
    json_object_set_new(object, "subjectAlternativeNames", set);
    json_object_set_new(object, "issuer", json_stringn(by, issuer.len));
}

void certificate_log_skipped(struct log *log, const char *reason)
{
    struct log_line *line = log_begin(log, LOG_WARN, "certificate-skipped");
    log_text(line, "reason", reason);
    log_text(line, "effect", "clients that ask for its names are shown the default one");
    log_end(log, line);
}

void certificate_free(struct certificate_text *text)
{
    free(text->cert_pem);
    if (text->key_pem != NULL) {
        explicit_bzero(text->key_pem, text->key_len);
    }
    free(text->key_pem);
    *text = (struct certificate_text){0};
}
