/* The tables of lists of keys: lookup_make.c makes them, lookup.c reads them. */
#pragma once

#include "route/lookup.h"

enum { NO_ROW = 0 }; /* slots hold the row's number plus 1 */

struct lookup_list {
    struct slice name;
    uint32_t *slots; /* open addressing */
    uint32_t mask;
    const struct lookup_row **patterns;
    uint32_t pattern_count, pattern_bytes;
};

struct lookups {
    const struct lookup_row **rows; /* by list */
    struct lookup_row *copies;
    struct lookup_list *lists;
    uint32_t list_count;
};

/* The slot of a key, or a free one. */
uint32_t *lookup_slot(const struct lookups *lookups, const struct lookup_list *list,
                      struct slice key);
/* By their bytes. */
int lookup_compare(struct slice a, struct slice b);
