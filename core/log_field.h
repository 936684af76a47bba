/* How a log line's fields lie in it, one behind the other: head, key, value. Internal to core/log.
 */
#pragma once

#include <stdint.h>

enum log_field_kind {
    LOG_FIELD_TEXT,
    LOG_FIELD_CUT,    /* text of which the end is missing */
    LOG_FIELD_NUMBER, /* uint64_t */
};

struct log_field {
    uint8_t kind;
    uint8_t key_len;
    uint16_t len; /* of the value */
};
