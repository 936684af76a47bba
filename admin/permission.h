/* Permissions: what a caller may do with the objects of a type. "sysDomainUpdate" allows updates of
 * Domains. The names come from the table of types: Get, Query, Create, Update and Destroy of each,
 * of singletons Get and Update; and for types with a variant_prefix one per variant
 * ("actionPauseMtaQueue"). */
#pragma once

#include "admin/registry.h"
#include "core/cursor.h"

enum permission_verb {
    PERMISSION_GET,
    PERMISSION_QUERY,
    PERMISSION_CREATE,
    PERMISSION_UPDATE,
    PERMISSION_DESTROY,
    PERMISSION_VERBS
};

enum {
    PERMISSION_TYPES_MAX = 64,
    PERMISSION_VARIANTS_MAX = 64, /* all types together */
    PERMISSION_BITS = PERMISSION_TYPES_MAX * PERMISSION_VERBS + PERMISSION_VARIANTS_MAX,
    PERMISSION_WORDS = PERMISSION_BITS / 64,
    PERMISSION_NAME_MAX = REG_NAME_MAX + 16,
};

/* Zero is the empty set. */
struct permission_set {
    uint64_t words[PERMISSION_WORDS];
};

/* The number of a permission, below PERMISSION_BITS; -1: there is none of that name. */
int permission_find(struct slice name);
int permission_of(const struct reg_type *type, enum permission_verb verb);
void put_permission(struct writer *w, int permission);

void permission_add(struct permission_set *set, int permission);
bool permission_has(const struct permission_set *set, int permission);
/* All that exist. */
struct permission_set permission_all(void);
void permission_join(struct permission_set *set, const struct permission_set *more);
void permission_remove(struct permission_set *set, const struct permission_set *less);
void permission_intersect(struct permission_set *set, const struct permission_set *other);
bool permission_is_empty(const struct permission_set *set);
/* The names of the first `max` of the set, separated by ", ". */
void put_permissions(struct writer *w, const struct permission_set *set, unsigned max);
