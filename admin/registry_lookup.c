/* The types that make up the lists that expressions look keys up in. */
#include "admin/registry_private.h"
#include "route/lookup.h"

#define NAMESPACE_FIELD                                                             \
    {                                                                               \
        .name = "namespace", .kind = REG_STRING, .format = FORMAT_TRIM,             \
        .flags = REG_REQUIRED | REG_INDEXED,                                        \
        .description = "The list that it is in: the first argument of `key_get` "   \
                       "and `key_exists`. A list is there as soon as it has a key." \
    }
#define KEY_FIELD                                                                           \
    {                                                                                       \
        .name = "key", .kind = REG_STRING, .format = FORMAT_TEXT, .max = LOOKUP_KEY_MAX,    \
        .flags = REG_REQUIRED,                                                              \
        .description = "The key, found as it is written: upper and lower case are not the " \
                       "same; look up `to_lowercase(...)` where that does not matter."      \
    }
#define PATTERN_FIELD                                                                        \
    {                                                                                        \
        .name = "isGlobPattern", .kind = REG_BOOLEAN,                                        \
        .description = "In the key, `*` stands for any bytes and `?` for one. Patterns are " \
                       "tried when no other key of the list fits, the oldest first."         \
    }
#define LOOKUP_NOTE                                                                              \
    "Of both types together there are at most 65,536 objects, and 256 patterns in a list. A "    \
    "list that an expression names has to have a key, so its last one can go when no "           \
    "expression names it any more; a key may be in it once, with or without a value. `*` is no " \
    "list's name: it is the store that expressions fill (`ringmx "                               \
    "reference expressions`). Looking a key up waits for nobody and costs the same whatever "    \
    "the size of the list, patterns aside."

static const struct reg_field key_fields[] = {NAMESPACE_FIELD, KEY_FIELD, PATTERN_FIELD};
const struct reg_variant reg_lookup_key_variants[1] = {
    {.label = "Key of a list", .fields = FIELDS(key_fields), .note = LOOKUP_NOTE},
};

static const struct reg_field key_value_fields[] = {
    NAMESPACE_FIELD,
    KEY_FIELD,
    {.name = "value",
     .kind = REG_STRING,
     .format = FORMAT_TEXT,
     .max = LOOKUP_VALUE_MAX,
     .flags = REG_REQUIRED,
     .description = "What `key_get` gives for the key: a text, which counts as a number beside "
                    "one."},
    PATTERN_FIELD,
};
const struct reg_variant reg_lookup_key_value_variants[1] = {
    {.label = "Key with a value", .fields = FIELDS(key_value_fields), .note = LOOKUP_NOTE},
};
