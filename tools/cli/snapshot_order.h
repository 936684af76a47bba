/* In which order a plan makes objects, so that what is referred to is there before. Objects with
 * variants are ordered by variant. Where references form a circle, fields are set later. */
#pragma once

#include "tools/cli/buf.h"

#include <jansson.h>

enum { SNAPSHOT_PARTS_MAX = 1024 };

struct snapshot_part {
    const char *object;  /* borrowed from the schema */
    const char *variant; /* NULL: the object has none */
    json_t *refs;  /* [{"object", "variant" or null, "field", "optional", "mutable"}]; owned */
    json_t *later; /* field -> true: to be set by an update at the end; owned */
    bool placed;
};

struct snapshot_order {
    struct snapshot_part *parts; /* owned; as selected */
    size_t *order;               /* owned; indexes of parts */
    size_t count;
};

/* selected: array of names of objects that are no singletons. To be freed in any case. */
bool snapshot_order(struct snapshot_order *out, json_t *schema, const json_t *selected);
void snapshot_order_free(struct snapshot_order *order);
/* Every type that a selected one (singletons too) refers to is selected or allowed (name -> true).
 */
bool snapshot_check(json_t *schema, const json_t *selected, const json_t *allowed);
