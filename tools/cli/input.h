/* What the user types, as JSON: --field, --where, ids. Pure apart from allocation. Functions set
 * fail() when they return false or NULL. */
#pragma once

#include <jansson.h>
#include <stdbool.h>

enum input_mode { INPUT_CREATE, INPUT_UPDATE };

/* KEY=VALUE into an object or a patch; properties are those of the schema (name -> field). */
bool input_field(json_t *out, const char *text, json_t *properties, enum input_mode mode);
/* KEY OPERATOR VALUE into a flat filter. */
bool input_where(json_t *filter, const char *text, json_t *properties);
/* A new array of texts from a JSON array, or separated by commas and blanks. */
json_t *input_ids(const char *text);
/* Adds the names in a comma separated list to names, spelled as in properties; `id` and `@type` are
 * always known. */
bool input_names(json_t *names, const char *text, json_t *properties);
/* A new JSON object. */
json_t *input_object(const char *text);
