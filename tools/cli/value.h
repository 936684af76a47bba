/* Values of objects as one line of text, by their type in the schema. */
#pragma once

#include "tools/cli/labels.h"

struct look {
    json_t *schema;
    const struct labels *labels;
    bool color;
    bool secrets; /* shown: the answer is the only one that has them */
};

void put_value(struct buf *out, const struct look *look, const json_t *type, const json_t *value);
/* A key of a set or map. */
void put_key(struct buf *out, const struct look *look, const json_t *class, const char *key);
/* Bytes as "1.5 MB", milliseconds as "2 h 15 m". */
void put_size(struct buf *out, double bytes);
void put_duration(struct buf *out, double ms);
/* Compact JSON. */
void put_json(struct buf *out, const json_t *value);
