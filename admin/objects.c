#include "admin/objects.h"

#include "admin/access.h"
#include "admin/api_key.h"
#include "admin/certificate.h"
#include "admin/object_id.h"
#include "admin/object_links.h"
#include "admin/secret.h"
#include "core/check.h"
#include "core/timefmt.h"

#include <stdio.h>

mx_err object_get(struct store *store, json_t **out_object, const struct reg_type *type,
                  uint64_t id)
{
    if (type->singleton && id != OBJECT_ID_SINGLETON) {
        return MX_ERR_NOTFOUND;
    }
    mx_err err = store_get(store, out_object, type, id);
    if (err == MX_ERR_NOTFOUND && type->singleton) {
        *out_object = object_defaults(type);
        return *out_object ? MX_OK : MX_ERR_NOMEM;
    }
    return err;
}

/* Rules ------------------------------------------------------------------------------------ */

static mx_err check_certificate(const json_t *object, struct set_errors *errors)
{
    struct certificate_text text = {0};
    const char *property;
    char reason[CERTIFICATE_REASON_MAX];
    mx_err err = certificate_read(&text, object, &property, reason);
    if (err == MX_ERR_NOMEM) {
        return err;
    }
    if (err) {
        set_error_add(errors, SET_INVALID_PROPERTIES, property, "%s", reason);
    }
    certificate_free(&text);
    return MX_OK;
}

static bool is_type(const struct reg_type *type, const char *name)
{
    return strcmp(type->shape.name, name) == 0;
}

/* Labels are checked now unless the resolver says that the whole is checked in the end. */
static bool checks_labels(const struct reference_resolver *resolver)
{
    return !resolver || !resolver->labels_later;
}

static mx_err check_rules(struct store *store, const struct reg_type *type, uint64_t id,
                          const json_t *object, const struct reference_resolver *resolver,
                          struct set_errors *errors)
{
    mx_err err = MX_OK;
    if (is_type(type, "Certificate")) {
        err = check_certificate(object, errors);
    } else if (is_type(type, "Role")) {
        err = access_check_role(store, id, object, errors);
    }
    return err ? err : object_links_check(store, type, object, checks_labels(resolver), errors);
}

/* What others name it by stays while they do, also when a new variant brings a new label. */
static mx_err check_label_kept(struct store *store, const struct reg_type *type, uint64_t id,
                               const json_t *before, const json_t *after,
                               const struct reference_resolver *resolver, struct set_errors *errors)
{
    bool kept =
        !type->label || !before ||
        json_equal(json_object_get(before, type->label), json_object_get(after, type->label));
    return kept || !checks_labels(resolver)
               ? MX_OK
               : object_label_free(store, (struct set_object){type, id}, before, errors);
}

static mx_err write_checked(struct store *store, const struct reg_type *type, uint64_t id,
                            const json_t *before, const json_t *after,
                            const struct reference_resolver *resolver, struct set_errors *errors)
{
    uint32_t refused = errors->count;
    mx_err err = check_rules(store, type, id, after, resolver, errors);
    err = err ? err : check_label_kept(store, type, id, before, after, resolver, errors);
    if (err || errors->count != refused) {
        return err;
    }
    struct store_conflict conflict;
    err = api_keys_follow(store, type, id, before, after);
    err = err ? err : store_write(store, type, id, before, after, &conflict);
    if (err != MX_ERR_EXISTS) {
        return err;
    }
    char title[OBJECT_TITLE_MAX];
    object_title(store, title, conflict.holder.type, conflict.holder.id);
    struct set_error *error =
        conflict.holder.id == id && conflict.holder.type == type
            ? set_error_add(errors, SET_PRIMARY_KEY_VIOLATION, conflict.property, "%s",
                            conflict.text)
            : set_error_add(errors, SET_PRIMARY_KEY_VIOLATION, conflict.property, "%s (%s %s)",
                            conflict.text, conflict.holder.type->shape.name, title);
    if (error) {
        error->object = conflict.holder;
    }
    return MX_OK;
}

/* Changes ---------------------------------------------------------------------------------- */

mx_err object_create(struct store *store, uint64_t *out_id, const struct reg_type *type,
                     const json_t *body, const struct reference_resolver *resolver,
                     struct set_errors *errors)
{
    if (type->singleton) {
        *out_id = OBJECT_ID_SINGLETON;
        return object_update(store, type, OBJECT_ID_SINGLETON, body, resolver, NULL, NULL, errors);
    }
    if (is_type(type, "ApiKey")) {
        set_error_add(errors, SET_FORBIDDEN, NULL,
                      "an API key is made by the account that it belongs to, signed in");
        return MX_OK;
    }
    json_t *object = object_normalize(type, body, resolver, errors);
    if (!object) {
        return errors->count ? MX_OK : MX_ERR_NOMEM;
    }
    uint64_t id = store_next_id(store);
    struct store_wish wish = {.type = type, .id = id, .after = object};
    mx_err err = store_ask_guard(store, &wish, errors);
    if (!err && errors->count == 0) {
        err = secret_seal(&type->shape, NULL, object, store_secrets(store), errors);
    }
    if (!err && errors->count == 0) {
        err = write_checked(store, type, id, NULL, object, resolver, errors);
    }
    json_decref(object);
    if (!err && errors->count == 0) {
        *out_id = id;
    }
    return err;
}

mx_err object_update(struct store *store, const struct reg_type *type, uint64_t id,
                     const json_t *patch, const struct reference_resolver *resolver,
                     json_t **out_before, json_t **out_after, struct set_errors *errors)
{
    json_t *before = NULL;
    mx_err err = object_get(store, &before, type, id);
    if (err == MX_ERR_NOTFOUND) {
        set_error_add(errors, SET_NOT_FOUND, NULL, "there is no such %s", type->shape.name);
        return MX_OK;
    }
    if (err) {
        return err;
    }
    json_t *after = object_patch(type, before, patch, resolver, errors);
    struct store_wish wish = {type, id, before, after, secret_has_hash(patch)};
    if (after && (wish.has_hash || !json_equal(before, after))) {
        err = store_ask_guard(store, &wish, errors);
    }
    if (after && !err && errors->count == 0) {
        err = secret_seal(&type->shape, before, after, store_secrets(store), errors);
    }
    if (err || (after && errors->count)) {
        json_decref(before);
        json_decref(after);
        return err;
    }
    if (after && !json_equal(before, after)) {
        bool stored = true;
        if (type->singleton) {
            err = store_has(store, &stored, type, id);
        }
        err = err ? err
                  : write_checked(store, type, id, stored ? before : NULL, after, resolver, errors);
    } else if (!after && errors->count == 0) {
        err = MX_ERR_NOMEM;
    }
    if (!err && errors->count == 0 && out_before) {
        *out_before = json_incref(before);
    }
    if (!err && errors->count == 0 && out_after) {
        *out_after = json_incref(after);
    }
    json_decref(before);
    json_decref(after);
    return err;
}

mx_err object_destroy(struct store *store, const struct reg_type *type, uint64_t id,
                      const struct reference_resolver *resolver, struct set_errors *errors)
{
    if (type->singleton) {
        set_error_add(errors, SET_SINGLETON, NULL, "a singleton cannot be destroyed");
        return MX_OK;
    }
    json_t *before = NULL;
    mx_err err = store_get(store, &before, type, id);
    if (err == MX_ERR_NOTFOUND) {
        set_error_add(errors, SET_NOT_FOUND, NULL, "there is no such %s", type->shape.name);
        return MX_OK;
    }
    if (err) {
        return err;
    }
    uint32_t refused = errors->count;
    struct store_wish wish = {.type = type, .id = id, .before = before};
    err = store_ask_guard(store, &wish, errors);
    if (err || errors->count != refused) {
        json_decref(before);
        return err;
    }
    err = object_links_free(store, (struct set_object){type, id}, before, checks_labels(resolver),
                            errors);
    if (!err && errors->count == refused) {
        struct store_conflict conflict;
        err = api_keys_follow(store, type, id, before, NULL);
        err = err ? err : store_write(store, type, id, before, NULL, &conflict);
    }
    json_decref(before);
    return err;
}

/* Showing ---------------------------------------------------------------------------------- */

static void title_of_address(struct store *store, char out[OBJECT_TITLE_MAX], const json_t *account)
{
    uint64_t domain_id = 0;
    const char *local = json_string_value(json_object_get(account, "name"));
    const char *id = json_string_value(json_object_get(account, "domainId"));
    json_t *domain = NULL;
    if (id && object_id_parse(&domain_id, slice_of_text(id)) == MX_OK) {
        (void)!store_get(store, &domain, reg_type_find(SLICE_LITERAL("Domain")), domain_id);
    }
    const char *name = json_string_value(json_object_get(domain, "name"));
    snprintf(out, OBJECT_TITLE_MAX, "%s@%s", local ? local : "", name ? name : "?");
    json_decref(domain);
}

void object_title(struct store *store, char out[OBJECT_TITLE_MAX], const struct reg_type *type,
                  uint64_t id)
{
    struct writer w = writer_init(out, OBJECT_TITLE_MAX - 1);
    json_t *object = NULL;
    const char *label = NULL;
    put_object_id(&w, id);
    out[w.len] = 0;
    if (store_get(store, &object, type, id) != MX_OK) {
        return;
    }
    if (type->label) {
        label = json_string_value(json_object_get(object, type->label));
    }
    if (reg_has_address(type)) {
        title_of_address(store, out, object);
    } else if (label) {
        snprintf(out, OBJECT_TITLE_MAX, "%s", label);
    }
    json_decref(object);
}

/* Literal secrets are never shown. */
static void mask(const struct reg_shape *shape, json_t *object)
{
    const struct reg_variant *variant = object_variant(shape, object);
    for (uint32_t i = 0; variant && i < variant->field_count; i++) {
        const struct reg_field *field = &variant->fields[i];
        json_t *value = json_object_get(object, field->name);
        if (reg_is_secret(field->format) && json_is_string(value)) {
            json_object_set_new(object, field->name, json_string(REG_MASK));
        } else if (field->kind == REG_OBJECT && json_is_object(value)) {
            mask(field->embedded, value);
        } else if (field->kind == REG_LIST) {
            const char *key;
            json_t *item;
            json_object_foreach(value, key, item)
            {
                mask(field->embedded, item);
            }
        }
    }
}

static void set_date(json_t *object, const char *name, int64_t wall_ms)
{
    char text[64];
    struct writer w = writer_init(text, sizeof(text));
    put_rfc3339_ms(&w, wall_ms);
    json_object_set_new(object, name, json_stringn(text, w.len));
}

static void add_certificate_fields(json_t *object)
{
    struct certificate_text text = {0};
    const char *property;
    char reason[CERTIFICATE_REASON_MAX];
    if (certificate_read(&text, object, &property, reason) == MX_OK) {
        set_date(object, "notValidBefore", text.not_before_ms);
        set_date(object, "notValidAfter", text.not_after_ms);
        certificate_add_names(object, &text);
    }
    certificate_free(&text);
}

static void add_server_fields(struct store *store, const struct reg_type *type, uint64_t id,
                              json_t *object)
{
    if (reg_has_address(type)) {
        char title[OBJECT_TITLE_MAX];
        object_title(store, title, type, id);
        json_object_set_new(object, "emailAddress", json_string(title));
    } else if (is_type(type, "Certificate")) {
        add_certificate_fields(object);
    } else if (reg_field_find(&type->shape.variants[0], SLICE_LITERAL("createdAt")) != NULL) {
        set_date(object, "createdAt", object_id_wall_ms(id));
    }
}

mx_err object_show(struct store *store, json_t **out_object, const struct reg_type *type,
                   uint64_t id)
{
    json_t *object = NULL;
    mx_err err = object_get(store, &object, type, id);
    if (err) {
        return err;
    }
    uint8_t buf[OBJECT_ID_TEXT_MAX];
    struct writer w = writer_init(buf, sizeof(buf));
    put_object_id(&w, id);
    add_server_fields(store, type, id, object);
    json_object_set_new(object, "id", json_stringn((const char *)buf, w.len));
    mask(&type->shape, object);
    *out_object = object;
    return MX_OK;
}
