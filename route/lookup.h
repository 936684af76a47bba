/* Lists that expressions look keys up in (MemoryLookupKey, MemoryLookupKeyValue): immutable hash
 * tables, part of the image. A key is found as it is written, byte by byte; one that is a pattern
 * ("*": any bytes, "?": one byte) when no other key of its list fits, in the order of the rows.
 *
 * Only administrators make keys, so the hash needs no secret. */
#pragma once

#include "core/err.h"
#include "core/slice.h"

struct lookups;

enum {
    LOOKUP_ROWS_MAX = 65536,   /* of all lists together */
    LOOKUP_PATTERNS_MAX = 256, /* of one list */
    LOOKUP_KEY_MAX = 255,
    LOOKUP_VALUE_MAX = 1024,
    LOOKUP_NONE = -1,
};

struct lookup_row {
    struct slice list, key;
    struct slice value; /* has_value */
    bool has_value;
    bool pattern;
    uint64_t id; /* of whoever made it; not looked at here */
};

/* The rows' texts are borrowed. MX_ERR_NOMEM; MX_ERR_LIMIT: too many rows or patterns;
 * MX_ERR_EXISTS: a list has a key twice, *out_row is the second. */
MX_MUST_CHECK mx_err lookups_new(struct lookups **out_lookups, const struct lookup_row *rows,
                                 size_t count, size_t *out_row);
void lookups_free(struct lookups *lookups);            /* NULL is fine */
uint32_t lookups_count(const struct lookups *lookups); /* of lists; NULL has none */
/* Sorted. */
struct slice lookups_name(const struct lookups *lookups, uint32_t list);
/* Number of the list, or LOOKUP_NONE. NULL has none. */
int lookups_find(const struct lookups *lookups, struct slice name);
/* The row of a key; NULL: the list does not have it. */
const struct lookup_row *lookups_get(const struct lookups *lookups, uint32_t list,
                                     struct slice key);
/* What looking up a key of so many bytes costs at most, in steps of the expression machine. */
size_t lookups_steps(const struct lookups *lookups, uint32_t list, size_t key_bytes);
/* Does text fit the pattern? */
bool lookup_fits(struct slice pattern, struct slice text);
