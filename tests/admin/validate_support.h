/* What the tests of admin/validate*.c share: objects as text, and what comes of them. */
#pragma once

#include "tests/admin/support.h"

#include "admin/objects.h"

struct object_case {
    const char *type, *body;
    const char *expected; /* normal JSON, or "path: text" lines */
};

/* What the strategies are by default. */
#define STRATEGIES                                                   \
    "\"connection\":{\"match\":{},\"else\":\"'default'\"},\"tls\":{" \
    "\"match\":{},\"else\":\"'default'\"}"

/* What an account has that may do nothing but be a mailbox. */
#define NO_ACCESS                                                         \
    ",\"credentials\":{},\"roles\":{\"@type\":\"User\"},\"permissions\":" \
    "{\"@type\":\"Inherit\"}"
/* An account with further members. */
#define X(members) "{\"@type\":\"User\",\"name\":\"x\",\"domainId\":\"b\"," members "}"

static inline char *errors_text(const struct set_errors *errors)
{
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    for (uint32_t i = 0; i < set_errors_kept(errors); i++) {
        fprintf(out, "%s: %s\n", errors->items[i].property, errors->items[i].text);
    }
    fclose(out);
    return text;
}

static inline json_t *parse(const char *text)
{
    json_error_t error;
    json_t *value = json_loads(text, JSON_DECODE_ANY, &error);
    if (!value) {
        fprintf(stderr, "bad test: %s in %s\n", error.text, text);
        exit(2);
    }
    return value;
}

static inline const struct reg_type *type_of(const char *name)
{
    const struct reg_type *type = reg_type_find(slice_of_text(name));
    if (!type) {
        fprintf(stderr, "no type %s\n", name);
        exit(2);
    }
    return type;
}

static inline void check_result(const char *what, json_t *normal, const struct set_errors *errors,
                                const char *expected)
{
    char *text = normal ? json_dumps(normal, JSON_COMPACT) : errors_text(errors);
    if (strcmp(text, expected) != 0) {
        failures++;
        fprintf(stderr, "%s\n expected: %s\n but was:  %s\n", what, expected, text);
    }
    CHECK((normal != NULL) == (errors->count == 0));
    free(text);
}
