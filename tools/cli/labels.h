/* What objects that others refer to are called: looked up once, shown beside their ids. */
#pragma once

#include "tools/cli/client.h"

struct labels {
    json_t *known; /* object -> id -> label */
};

/* Looks up all ids in a value whose properties are given; a type whose look-up fails has none. */
void labels_look_up(struct labels *labels, struct client *client, json_t *properties,
                    const json_t *value);
/* The same for the items of an array at once. */
void labels_look_up_all(struct labels *labels, struct client *client, json_t *properties,
                        const json_t *values);
/* Borrowed, or NULL. */
const char *labels_get(const struct labels *labels, const char *object, const char *id);
void labels_free(struct labels *labels);
