/* Keys with values, and counters, in memory: for what expressions remember. Bounded in number and
 * bytes: when it is full, what was used longest ago gives way, and is counted; what was not used
 * for KEY_KEPT_HOURS is gone anyway. Every use is constant work. Single-threaded. */
#pragma once

#include "core/err.h"
#include "core/slice.h"

struct key_table;

enum {
    KEY_TABLE_KEYS_MAX = 65536,
    KEY_TABLE_BYTES_MAX = 16 << 20, /* of keys, texts and what keeps them */
    KEY_NAME_MAX = 512,
    KEY_TEXT_MAX = 1024,
    KEY_KEPT_HOURS = 24,
};

/* The two do not meet: a key and a counter may have the same name. */
enum key_kind { KEY_IS_VALUE, KEY_IS_COUNTER };

enum key_type { KEY_TEXT, KEY_INTEGER, KEY_FLOAT };
struct key_value {
    enum key_type type;
    int64_t integer;   /* KEY_INTEGER */
    double number;     /* KEY_FLOAT */
    struct slice text; /* KEY_TEXT */
};

struct key_table_stats {
    size_t keys, bytes;
    uint64_t forgotten; /* that gave way to others */
};

/* seed: of the keys' hashes. */
MX_MUST_CHECK mx_err key_table_new(struct key_table **out_table, uint64_t seed);
void key_table_free(struct key_table *table); /* NULL is fine */
/* Looking counts as use. *out is borrowed until the table changes. False: there is none. */
bool key_table_get(struct key_table *table, enum key_kind kind, struct slice key, uint64_t now_ns,
                   struct key_value *out);
/* The text is copied. MX_ERR_LIMIT: key or text are too long; MX_ERR_NOMEM: nothing has changed. */
MX_MUST_CHECK mx_err key_table_put(struct key_table *table, struct slice key,
                                   const struct key_value *value, uint64_t now_ns);
/* A counter that is not there is 0; at its ends it stays. The errors are the same. */
MX_MUST_CHECK mx_err key_table_add(struct key_table *table, struct slice key, int64_t n,
                                   uint64_t now_ns, int64_t *out_value);
void key_table_stats(const struct key_table *table, struct key_table_stats *out);
