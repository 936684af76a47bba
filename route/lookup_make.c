/* Making lists of keys, when an image is built. */
#include "route/lookup_private.h"

#include <stdlib.h>

/* By list, then as they came. */
static int by_list(const void *left, const void *right)
{
    const struct lookup_row *const *a = left, *const *b = right;
    int order = lookup_compare((*a)->list, (*b)->list);
    return order != 0 ? order : (*a > *b) - (*a < *b);
}

static bool has_pattern(const struct lookup_list *list, struct slice key)
{
    for (uint32_t i = 0; i < list->pattern_count; i++) {
        if (slice_equal(list->patterns[i]->key, key)) {
            return true;
        }
    }
    return false;
}

static mx_err add_pattern(struct lookup_list *list, const struct lookup_row *row)
{
    if (list->pattern_count == LOOKUP_PATTERNS_MAX) {
        return MX_ERR_LIMIT;
    }
    if (has_pattern(list, row->key)) {
        return MX_ERR_EXISTS;
    }
    list->patterns[list->pattern_count++] = row;
    list->pattern_bytes += (uint32_t)row->key.len;
    return MX_OK;
}

static mx_err add_row(struct lookups *lookups, struct lookup_list *list, uint32_t index)
{
    const struct lookup_row *row = lookups->rows[index];
    if (row->pattern) {
        return add_pattern(list, row);
    }
    uint32_t *slot = lookup_slot(lookups, list, row->key);
    if (*slot != NO_ROW) {
        return MX_ERR_EXISTS;
    }
    *slot = index + 1;
    return MX_OK;
}

static size_t patterns_among(const struct lookups *lookups, uint32_t first, uint32_t end)
{
    size_t count = 0;
    for (uint32_t i = first; i < end; i++) {
        count += lookups->rows[i]->pattern;
    }
    return mx_min_size(count, LOOKUP_PATTERNS_MAX);
}

/* The rows [first, end) are those of one list. */
static mx_err add_list(struct lookups *lookups, uint32_t first, uint32_t end, size_t *out_row)
{
    struct lookup_list *list = &lookups->lists[lookups->list_count++];
    size_t slots = 4;
    while (slots < 2 * (size_t)(end - first)) {
        slots *= 2;
    }
    list->name = lookups->rows[first]->list;
    list->mask = (uint32_t)slots - 1;
    list->slots = calloc(slots, sizeof *list->slots);
    list->patterns =
        calloc(patterns_among(lookups, first, end) + 1, sizeof(const struct lookup_row *));
    mx_err err = list->slots == NULL || list->patterns == NULL ? MX_ERR_NOMEM : MX_OK;
    for (uint32_t i = first; !err && i < end; i++) {
        err = add_row(lookups, list, i);
        *out_row = (size_t)(lookups->rows[i] - lookups->copies);
    }
    return err;
}

static mx_err make_room(struct lookups *lookups, const struct lookup_row *rows, size_t count)
{
    lookups->rows = malloc(count * sizeof(const struct lookup_row *));
    lookups->copies = malloc(count * sizeof *lookups->copies);
    lookups->lists = calloc(count, sizeof *lookups->lists);
    if (lookups->rows == NULL || lookups->copies == NULL || lookups->lists == NULL) {
        return MX_ERR_NOMEM;
    }
    for (size_t i = 0; i < count; i++) {
        lookups->copies[i] = rows[i];
        lookups->rows[i] = &lookups->copies[i];
    }
    qsort(lookups->rows, count, sizeof(const struct lookup_row *), by_list);
    return MX_OK;
}

mx_err lookups_new(struct lookups **out_lookups, const struct lookup_row *rows, size_t count,
                   size_t *out_row)
{
    struct lookups *lookups = calloc(1, sizeof *lookups);
    *out_row = 0;
    if (lookups == NULL || count > LOOKUP_ROWS_MAX) {
        free(lookups);
        return count > LOOKUP_ROWS_MAX ? MX_ERR_LIMIT : MX_ERR_NOMEM;
    }
    mx_err err = count == 0 ? MX_OK : make_room(lookups, rows, count);
    for (uint32_t first = 0, end; !err && first < count; first = end) {
        for (end = first + 1;
             end < count && slice_equal(lookups->rows[end]->list, lookups->rows[first]->list);) {
            end++;
        }
        err = add_list(lookups, first, end, out_row);
    }
    if (err) {
        lookups_free(lookups);
        return err;
    }
    *out_lookups = lookups;
    return MX_OK;
}

void lookups_free(struct lookups *lookups)
{
    if (lookups == NULL) {
        return;
    }
    for (uint32_t i = 0; i < lookups->list_count; i++) {
        free(lookups->lists[i].slots);
        free(lookups->lists[i].patterns);
    }
    free(lookups->lists);
    free(lookups->copies);
    free(lookups->rows);
    free(lookups);
}
