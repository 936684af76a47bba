/* MemoryLookupKey and MemoryLookupKeyValue as part of the image. */
#include "admin/config_private.h"
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
    return arena_copy(out, list->b->arena, config_text(object, field));
}

static mx_err add_row(void *arg, uint64_t id, json_t *object)
{
    struct row_list *list = arg;
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
    *row = (struct lookup_row){
        .id = id, .has_value = list->with_values, .pattern = config_flag(object, "isGlobPattern")};
    mx_err err = keep_text(list, &row->list, object, "namespace");
    err = err ? err : keep_text(list, &row->key, object, "key");
    err = err || !list->with_values ? err : keep_text(list, &row->value, object, "value");
    if (!err && slice_equal(row->list, SLICE_LITERAL(EXPR_STORE_NAME))) {
        err = builder_fail(list->b, MX_ERR_INVALID,
                           "field namespace: '%s' is the store that expressions fill, and no "
                           "list's name",
                           EXPR_STORE_NAME);
        list->b->problem->ids[0] = id;
    }
    return err;
}

static mx_err add_type(struct row_list *list, const char *type, bool with_values)
{
    list->with_values = with_values;
    return builder_each(list->b, type, add_row, list);
}

static bool is_same(const struct lookup_row *a, const struct lookup_row *b)
{
    return a->pattern == b->pattern && slice_equal(a->list, b->list) && slice_equal(a->key, b->key);
}

static mx_err refuse_twice(struct row_list *list, const struct lookup_row *row)
{
    const struct lookup_row *first = list->rows;
    mx_err err = builder_fail(list->b, MX_ERR_EXISTS, "the list '%.*s' has the key '%.*s' twice",
                              SLICE_ARGS(row->list), SLICE_ARGS(row->key));
    while (!is_same(first, row)) {
        first++;
    }
    list->b->problem->ids[0] = row->id;
    list->b->problem->ids[1] = first->id;
    return err;
}

/* rows[at] is the second with its key, or one pattern too many. */
static mx_err refuse(struct row_list *list, mx_err err, size_t at)
{
    if (err == MX_ERR_NOMEM) {
        return builder_no_memory(list->b);
    }
    return err == MX_ERR_EXISTS
               ? refuse_twice(list, &list->rows[at])
               : builder_fail(list->b, err, "the list '%.*s' has more than %d patterns",
                              SLICE_ARGS(list->rows[at].list), LOOKUP_PATTERNS_MAX);
}

mx_err build_lookups(struct builder *b)
{
    struct row_list list = {.b = b};
    size_t at = 0;
    mx_err err = add_type(&list, "MemoryLookupKey", false);
    err = err ? err : add_type(&list, "MemoryLookupKeyValue", true);
    if (!err) {
        err = lookups_new(&b->programs->lookups, list.rows, list.count, &at);
        err = err ? refuse(&list, err, at) : MX_OK;
    }
    free(list.rows);
    return err;
}
