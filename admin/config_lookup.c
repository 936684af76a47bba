/* MemoryLookupKey and MemoryLookupKeyValue as part of the image. */
#include "admin/config_private.h"
#include "core/check.h"
#include "route/lookup.h"

#include <stdlib.h>

struct row_list {
    struct builder *b;
    struct lookup_row *rows;
    size_t count, cap;
    bool with_values;
};

static mx_err keep_text(struct row_list *list, struct slice *out, const json_t *object,
                        const char *field)
{
    const json_t *value = json_object_get(object, field);
    struct slice text = slice_of(json_string_value(value), json_string_length(value));
    return arena_copy(out, list->b->arena, text);
}

static mx_err add_row(void *arg, uint64_t id, json_t *object)
{
    struct row_list *list = arg;
    (void)id;
    if (list->count == LOOKUP_ROWS_MAX) {
        return builder_fail(list->b, MX_ERR_LIMIT, "there are more than %d keys", LOOKUP_ROWS_MAX);
    }
    if (list->count == list->cap) {
        size_t cap = list->cap > 0 ? list->cap * 2 : 64;
        struct lookup_row *rows = realloc(list->rows, cap * sizeof(*rows));
        if (!rows) {
            return MX_ERR_NOMEM;
        }
        list->rows = rows;
        list->cap = cap;
    }
    struct lookup_row *row = &list->rows[list->count++];
    *row = (struct lookup_row){.has_value = list->with_values,
                               .pattern = json_is_true(json_object_get(object, "isGlobPattern"))};
    mx_err err = keep_text(list, &row->list, object, "namespace");
    err = err ? err : keep_text(list, &row->key, object, "key");
    err = err || !list->with_values ? err : keep_text(list, &row->value, object, "value");
    return !err && slice_equal(row->list, SLICE_LITERAL(EXPR_STORE_NAME))
               ? builder_fail(list->b, MX_ERR_INVALID,
                              "field namespace: '%s' is the store that expressions fill, and no "
                              "list's name",
                              EXPR_STORE_NAME)
               : err;
}

static mx_err add_type(struct row_list *list, const char *type, bool with_values)
{
    list->b->type = reg_type_find(slice_of_text(type));
    MX_ASSERT(list->b->type);
    list->with_values = with_values;
    list->b->problem->text[0] = 0;
    mx_err err = store_each(list->b->store, list->b->type, add_row, list);
    return err && !list->b->problem->text[0] ? builder_store_failed(list->b, err) : err;
}

static mx_err refuse(struct builder *b, mx_err err, const struct lookup_row *row)
{
    if (err == MX_ERR_NOMEM) {
        return builder_fail(b, err, "%s", err_text(err));
    }
    return err == MX_ERR_EXISTS ? builder_fail(b, err, "the list '%.*s' has the key '%.*s' twice",
                                               SLICE_ARGS(row->list), SLICE_ARGS(row->key))
                                : builder_fail(b, err, "the list '%.*s' has more than %d patterns",
                                               SLICE_ARGS(row->list), LOOKUP_PATTERNS_MAX);
}

mx_err build_lookups(struct builder *b)
{
    struct row_list list = {.b = b};
    size_t at = 0;
    mx_err err = add_type(&list, "MemoryLookupKey", false);
    err = err ? err : add_type(&list, "MemoryLookupKeyValue", true);
    if (!err) {
        err = lookups_new(&b->programs->lookups, list.rows, list.count, &at);
        err = err ? refuse(b, err, list.count > 0 ? &list.rows[at] : NULL) : MX_OK;
    }
    free(list.rows);
    return err;
}
