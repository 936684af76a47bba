/* Objects of the server as they stand in a plan: without what the server sets and without secrets,
 * references by client id. */
#pragma once

#include "tools/cli/buf.h"

#include <jansson.h>

struct snapshot_rules {
    json_t *schema;
    const json_t *allowed; /* references to these types (name -> true) are left out */
    bool with_secrets;
    bool masked; /* set when a secret came as asterisks */
};

/* New reference. */
json_t *snapshot_value(struct snapshot_rules *rules, const char *object, const json_t *value);
/* "domain-b" */
void put_client_id(struct buf *out, const char *object, const char *id);
