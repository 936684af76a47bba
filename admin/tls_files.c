#include "admin/tls_files.h"

#include "admin/data_dir.h"
#include "io/sys.h"
#include "io/tls.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PEM_MAX = 64 * 1024, SELF_SIGNED_PEM_MAX = 4096 };

static mx_err read_pair(struct tls_files *files, const char *cert_path, const char *key_path)
{
    size_t cert_len, key_len;
    mx_err err = sys_read_file(&files->cert_owned, &cert_len, cert_path, PEM_MAX);
    if (!err) {
        err = sys_read_file(&files->key_owned, &key_len, key_path, PEM_MAX);
    }
    if (err) {
        tls_files_free(files);
        return err;
    }
    files->cert_pem = slice_of(files->cert_owned, cert_len);
    files->key_pem = slice_of(files->key_owned, key_len);
    return MX_OK;
}

/* The key first: a certificate without its key would be kept for ever. */
static mx_err make_pair(const struct image *image, const char *cert_path, const char *key_path,
                        int64_t wall_ms)
{
    char cert[SELF_SIGNED_PEM_MAX], key[SELF_SIGNED_PEM_MAX];
    struct writer cert_pem = writer_init(cert, sizeof cert);
    struct writer key_pem = writer_init(key, sizeof key);
    mx_err err = tls_self_signed(&cert_pem, &key_pem, image->hostname, wall_ms);
    if (!err) {
        err = sys_replace_file(key_path, writer_slice(&key_pem));
    }
    explicit_bzero(key, sizeof key);
    return err ? err : sys_replace_file(cert_path, writer_slice(&cert_pem));
}

mx_err tls_files_load(struct tls_files *files, const struct image *image, const char *dir,
                      int64_t wall_ms, const char **out_problem)
{
    char cert_path[DATA_PATH_MAX + 48], key_path[DATA_PATH_MAX + 48];
    *files = (struct tls_files){0};
    if (image->certificate != NULL) {
        files->cert_pem = image->certificate->cert_pem;
        files->key_pem = image->certificate->key_pem;
        return tls_check_pair(files->cert_pem, files->key_pem, NULL, NULL, out_problem);
    }
    (void)snprintf(cert_path, sizeof cert_path, "%s/self-signed.crt", dir);
    (void)snprintf(key_path, sizeof key_path, "%s/self-signed.key", dir);
    *out_problem = "the self-signed certificate in the data folder cannot be made or read";
    mx_err err = sys_mkdirs(dir);
    if (!err) {
        err = read_pair(files, cert_path, key_path);
    }
    if (err == MX_ERR_NOTFOUND) {
        err = make_pair(image, cert_path, key_path, wall_ms);
        if (!err) {
            err = read_pair(files, cert_path, key_path);
        }
    }
    return err ? err : tls_check_pair(files->cert_pem, files->key_pem, NULL, NULL, out_problem);
}

void tls_files_free(struct tls_files *files)
{
    free(files->cert_owned);
    if (files->key_owned != NULL) {
        explicit_bzero(files->key_owned, files->key_pem.len);
    }
    free(files->key_owned);
    *files = (struct tls_files){0};
}
