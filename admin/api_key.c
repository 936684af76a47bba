#include "admin/api_key.h"

#include "admin/base64.h"
#include "admin/object_id.h"
#include "io/digest.h"
#include "io/random.h"

#include <stdlib.h>

enum { RANDOM_BYTES = 20, TOKEN_BYTES = 8 + RANDOM_BYTES };

static const char prefix[] = "API_";

static const struct reg_type *key_type(void)
{
    return reg_type_find(SLICE_LITERAL("ApiKey"));
}

static struct slice text_of(const json_t *object, const char *name)
{
    const json_t *value = json_object_get(object, name);
    return slice_of(json_string_value(value), json_string_length(value));
}

static json_t *slice_json(struct slice text)
{
    return json_stringn((const char *)text.ptr, text.len);
}

static json_t *digest_json(struct slice token)
{
    uint8_t digest[DIGEST_SHA256_BYTES];
    uint8_t text[2 * DIGEST_SHA256_BYTES];
    struct writer w = writer_init(text, sizeof text);
    digest_sha256(digest, token);
    put_base64url(&w, slice_of(digest, sizeof digest));
    return slice_json(writer_slice(&w));
}

static uint64_t account_of(const json_t *key)
{
    uint64_t id = 0;
    return object_id_parse(&id, text_of(key, "accountId")) ? 0 : id;
}

/* Making ----------------------------------------------------------------------------------- */

struct key_list {
    uint64_t account;
    uint64_t ids[API_KEYS_MAX];
    uint32_t count;
};

static mx_err collect(void *arg, uint64_t id, json_t *key)
{
    struct key_list *list = arg;
    if (account_of(key) == list->account && list->count < API_KEYS_MAX) {
        list->ids[list->count++] = id;
    }
    return MX_OK;
}

static void make_token(char out[API_KEY_TEXT_MAX], uint64_t id)
{
    uint8_t bytes[TOKEN_BYTES];
    struct writer w = writer_init(bytes, sizeof bytes);
    struct writer text = writer_init(out, API_KEY_TEXT_MAX - 1);
    put_u64(&w, id);
    random_fill(bytes + 8, RANDOM_BYTES);
    put_text(&text, prefix);
    put_base64url(&text, slice_of(bytes, sizeof bytes));
    out[text.len] = '\0';
    explicit_bzero(bytes, sizeof bytes);
}

/* What the server adds to a key. */
static void complete(json_t *key, uint64_t account, struct slice token)
{
    uint8_t buf[OBJECT_ID_TEXT_MAX];
    struct writer w = writer_init(buf, sizeof buf);
    put_object_id(&w, account);
    json_object_set_new(key, "accountId", slice_json(writer_slice(&w)));
    json_object_set_new(key, "secret", digest_json(token));
}

mx_err api_key_create(struct store *store, uint64_t *out_id, char out_secret[API_KEY_TEXT_MAX],
                      uint64_t account, const json_t *body, struct set_errors *errors)
{
    bool exists = false;
    struct key_list list = {.account = account};
    mx_err err = store_has(store, &exists, reg_type_find(SLICE_LITERAL("Account")), account);
    if (!err && !exists) {
        set_error_add(errors, SET_FORBIDDEN, NULL,
                      "only an account can have API keys; you are signed in without one");
        return MX_OK;
    }
    err = err ? err : store_each(store, key_type(), collect, &list);
    if (err) {
        return err;
    }
    if (list.count == API_KEYS_MAX) {
        set_error_add(errors, SET_OVER_QUOTA, NULL, "the account has %d API keys already",
                      API_KEYS_MAX);
        return MX_OK;
    }
    json_t *key = object_normalize(key_type(), body, NULL, errors);
    if (!key) {
        return errors->count ? MX_OK : MX_ERR_NOMEM;
    }
    uint64_t id = store_next_id(store);
    struct store_conflict conflict;
    make_token(out_secret, id);
    complete(key, account, slice_of_text(out_secret));
    struct store_wish wish = {.type = key_type(), .id = id, .after = key};
    err = store_ask_guard(store, &wish, errors);
    if (!err && errors->count == 0) {
        err = store_write(store, key_type(), id, NULL, key, &conflict);
    }
    json_decref(key);
    if (!err && errors->count == 0) {
        *out_id = id;
    }
    return err;
}

/* Finding ---------------------------------------------------------------------------------- */

mx_err api_key_find(struct store *store, json_t **out_key, uint64_t *out_id, uint64_t *out_account,
                    struct slice token)
{
    uint8_t bytes[TOKEN_BYTES];
    struct writer w = writer_init(bytes, sizeof bytes);
    size_t skip = sizeof prefix - 1;
    if (!slice_equal(slice_first(token, skip), slice_of(prefix, skip)) ||
        base64url_decode(&w, slice_from(token, skip)) || w.len != sizeof bytes) {
        return MX_ERR_NOTFOUND;
    }
    struct reader r = reader_init(writer_slice(&w));
    uint64_t id = get_u64(&r);
    explicit_bzero(bytes, sizeof bytes);
    json_t *key = NULL;
    mx_err err = id > INT64_MAX ? MX_ERR_NOTFOUND : store_get(store, &key, key_type(), id);
    if (err) {
        return err;
    }
    json_t *digest = digest_json(token);
    bool same =
        digest && digest_equal(text_of(key, "secret"),
                               slice_of(json_string_value(digest), json_string_length(digest)));
    json_decref(digest);
    if (!same) {
        json_decref(key);
        return MX_ERR_NOTFOUND;
    }
    *out_id = id;
    *out_account = account_of(key);
    *out_key = key;
    return MX_OK;
}

/* Removing --------------------------------------------------------------------------------- */

static size_t credentials_of(const json_t *account)
{
    return json_object_size(json_object_get(account, "credentials"));
}

mx_err api_keys_follow(struct store *store, const struct reg_type *type, uint64_t id,
                       const json_t *before, const json_t *after)
{
    /* An account that never had a credential has no keys: only who signs in makes them. */
    if (type->storage != REG_IN_ACCOUNTS || credentials_of(before) == 0 ||
        credentials_of(after) > 0) {
        return MX_OK;
    }
    struct key_list list = {.account = id};
    mx_err err = store_each(store, key_type(), collect, &list);
    for (uint32_t i = 0; !err && i < list.count; i++) {
        json_t *key = NULL;
        struct store_conflict conflict;
        err = store_get(store, &key, key_type(), list.ids[i]);
        err = err ? err : store_write(store, key_type(), list.ids[i], key, NULL, &conflict);
        json_decref(key);
    }
    return err;
}
