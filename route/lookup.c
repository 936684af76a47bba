#include "route/lookup.h"

#include "core/check.h"
#include "core/hash.h"
#include "route/lookup_private.h"

enum { STEP_BYTES = 64 }; /* of keys that a step of the machine is */

int lookup_compare(struct slice a, struct slice b)
{
    size_t n = mx_min_size(a.len, b.len);
    int order = n == 0 ? 0 : memcmp(a.ptr, b.ptr, n);
    return order != 0 ? order : (a.len > b.len) - (a.len < b.len);
}

/* --- patterns ----------------------------------------------------------------------------------
 */

bool lookup_fits(struct slice pattern, struct slice text)
{
    size_t at = 0, p = 0;
    size_t star = SIZE_MAX, star_at = 0; /* the last "*", and what it has taken so far */
    while (at < text.len) {
        if (p < pattern.len && pattern.ptr[p] == '*') {
            star = p++;
            star_at = at;
        } else if (p < pattern.len && (pattern.ptr[p] == '?' || pattern.ptr[p] == text.ptr[at])) {
            p++;
            at++;
        } else if (star != SIZE_MAX) {
            p = star + 1;
            at = ++star_at;
        } else {
            return false;
        }
    }
    while (p < pattern.len && pattern.ptr[p] == '*') {
        p++;
    }
    return p == pattern.len;
}

/* --- looking up --------------------------------------------------------------------------------
 */

uint32_t *lookup_slot(const struct lookups *lookups, const struct lookup_list *list,
                      struct slice key)
{
    uint32_t at = (uint32_t)hash_checksum(key) & list->mask;
    while (list->slots[at] != NO_ROW &&
           !slice_equal(lookups->rows[list->slots[at] - 1]->key, key)) {
        at = (at + 1) & list->mask;
    }
    return &list->slots[at];
}

uint32_t lookups_count(const struct lookups *lookups)
{
    return lookups == NULL ? 0 : lookups->list_count;
}

struct slice lookups_name(const struct lookups *lookups, uint32_t list)
{
    MX_ASSERT(list < lookups->list_count);
    return lookups->lists[list].name;
}

int lookups_find(const struct lookups *lookups, struct slice name)
{
    uint32_t low = 0, high = lookups_count(lookups);
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        int order = lookup_compare(lookups->lists[middle].name, name);
        if (order == 0) {
            return (int)middle;
        }
        low = order < 0 ? middle + 1 : low;
        high = order < 0 ? high : middle;
    }
    return LOOKUP_NONE;
}

size_t lookups_steps(const struct lookups *lookups, uint32_t list, size_t key_bytes)
{
    const struct lookup_list *l = &lookups->lists[list];
    return 1 + key_bytes / STEP_BYTES + l->pattern_count +
           key_bytes * (size_t)l->pattern_bytes / STEP_BYTES;
}

const struct lookup_row *lookups_get(const struct lookups *lookups, uint32_t list, struct slice key)
{
    MX_ASSERT(list < lookups->list_count);
    const struct lookup_list *l = &lookups->lists[list];
    uint32_t row = *lookup_slot(lookups, l, key);
    if (row != NO_ROW) {
        return lookups->rows[row - 1];
    }
    for (uint32_t i = 0; i < l->pattern_count; i++) {
        if (lookup_fits(l->patterns[i]->key, key)) {
            return l->patterns[i];
        }
    }
    return NULL;
}
