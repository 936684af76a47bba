#include "admin/bootstrap.h"

#include "admin/data_dir.h"
#include "admin/password.h"
#include "io/random.h"

#include <string.h>

static const char note[] = "bootstrap";
static const char removed[] = "removed";

/* 32 letters and digits that are told apart in print: 80 random bits. */
static void make_password(char out[BOOTSTRAP_PASSWORD_CHARS + 1])
{
    static const char alphabet[33] = "abcdefghjkmnpqrstuvwxyz23456789A";
    uint8_t bytes[BOOTSTRAP_PASSWORD_CHARS];
    do {
        random_fill(bytes, sizeof bytes);
        for (size_t i = 0; i < sizeof bytes; i++) {
            out[i] = alphabet[bytes[i] % 32];
        }
        out[sizeof bytes] = '\0';
    } while (password_problem(slice_of_text(out)) != NULL);
    explicit_bzero(bytes, sizeof bytes);
}

mx_err bootstrap_renew(struct store *store, char out_password[BOOTSTRAP_PASSWORD_CHARS + 1])
{
    char hash[PASSWORD_HASH_MAX];
    make_password(out_password);
    mx_err err = password_hash(hash, slice_of_text(out_password));
    return err ? err : store_note_set(store, note, slice_of_text(hash));
}

mx_err bootstrap_make(struct store *store, bool *out_made,
                      char out_password[BOOTSTRAP_PASSWORD_CHARS + 1])
{
    char hash[PASSWORD_HASH_MAX];
    bool has_administrator = false;
    *out_made = false;
    mx_err err = store_note_get(store, hash, sizeof hash, note);
    if (err != MX_ERR_NOTFOUND) {
        return err;
    }
    err = store_has_administrator(store, &has_administrator);
    if (err || has_administrator) {
        return err;
    }
    err = bootstrap_renew(store, out_password);
    *out_made = !err;
    return err;
}

mx_err bootstrap_remove(struct store *store)
{
    return store_note_set(store, note, slice_of_text(removed));
}

mx_err bootstrap_hash(struct store *store, char *out, size_t cap)
{
    bool has_administrator = false;
    mx_err err = store_has_administrator(store, &has_administrator);
    if (!err && has_administrator) {
        return MX_ERR_NOTFOUND;
    }
    err = err ? err : store_note_get(store, out, cap, note);
    return !err && strcmp(out, removed) == 0 ? MX_ERR_NOTFOUND : err;
}

static mx_err run(struct store *store, bool renew, FILE *out)
{
    char password[BOOTSTRAP_PASSWORD_CHARS + 1];
    if (!renew) {
        mx_err err = bootstrap_remove(store);
        if (!err) {
            fprintf(out, "The built-in administrator is removed.\n");
        }
        return err;
    }
    mx_err err = bootstrap_renew(store, password);
    if (!err) {
        fprintf(out, "The built-in administrator: user %s, password %s\n", BOOTSTRAP_USER,
                password);
    }
    explicit_bzero(password, sizeof password);
    return err;
}

int bootstrap_command(int argc, char **argv, FILE *out, FILE *err)
{
    bool renew = argc > 1 && strcmp(argv[1], "renew") == 0;
    if (argc != 4 || !(renew || strcmp(argv[1], "remove") == 0) || strcmp(argv[2], "--data") != 0) {
        fprintf(err, "usage: ringmx admin renew|remove --data DIR   (ringmx must not run)\n");
        return 2;
    }
    struct data_dir dir;
    struct store *store = NULL;
    struct config_problem problem = {0};
    if (data_dir_open(&dir, argv[3], err)) {
        return 1;
    }
    mx_err result = store_open(&store, dir.root, &problem);
    if (!result) {
        result = run(store, renew, out);
        if (result) {
            config_problem_set(&problem, "%s", store_problem(store));
        }
    }
    if (result) {
        fprintf(err, "ringmx: %s\n", problem.text[0] ? problem.text : err_text(result));
    }
    store_close(store);
    data_dir_close(&dir);
    return result ? 1 : 0;
}
