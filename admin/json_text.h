/* Texts of others as JSON, which holds UTF-8 alone. */
#pragma once

#include "core/slice.h"

#include <jansson.h>

/* A new reference; bytes that are not UTF-8 are shown as "?". NULL: no memory. */
json_t *json_text(struct slice text);
