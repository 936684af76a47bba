/* The certificate that the server shows: the configured one, or a self-signed one that is made once
 * and kept in the data folder, so that its key does not change at every start. */
#pragma once

#include "core/err.h"
#include "core/slice.h"
#include "route/image.h"

struct tls_files {
    struct slice cert_pem, key_pem;
    uint8_t *cert_owned, *key_owned; /* malloc'd, or NULL when the image owns the text */
};

/* dir: folder for the self-signed pair (made when needed). *out_problem says what is wrong. */
MX_MUST_CHECK mx_err tls_files_load(struct tls_files *files, const struct image *image,
                                    const char *dir, int64_t wall_ms, const char **out_problem);
void tls_files_free(struct tls_files *files);
