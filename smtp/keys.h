/* The store that expressions fill (key_set, counter_incr), for the whole process without a lock: a
 * key belongs to the core that it hashes to (core/key_table); other cores ask by message
 * (smtp/tour.h). In memory alone: it begins empty with every process. */
#pragma once

#include "core/handles.h"
#include "core/key_table.h"
#include "core/list.h"
#include "smtp/answer_memory.h"
#include "smtp/tour.h"

struct keys;
struct shard;

enum { KEYS_ASKS_MAX = 64 * 1024 /* questions to other cores that wait, per core */ };

enum key_op { KEY_GET, KEY_PUT, COUNTER_GET, COUNTER_ADD };

struct key_request {
    enum key_op op;
    struct slice key;
    struct key_value value; /* to be put; of a counter .integer is added */
};

/* Of whoever asks; stays until done or keys_cancel. */
struct key_question {
    /* Once, maybe from within keys_ask. err: nothing is known, and of a change whether it was made
     * neither. found: there is, or is now, such a key; *value is borrowed for the call. */
    void (*done)(struct key_question *question, mx_err err, bool found,
                 const struct key_value *value);
    /* private */
    bool open;
    uint32_t ask;
    uint64_t number;
};

struct keys {
    struct shard *shard;
    struct tours tours;
    uint64_t seed;
    struct key_table *table; /* NULL before the first key */
    struct handles asks;     /* struct key_question */
    uint64_t asked;
    struct answer_memory answers; /* what expressions were told, also by the DNS */
};

/* seed: the same on all cores. */
MX_MUST_CHECK mx_err keys_open(struct keys *keys, struct shard *shard, uint64_t seed);
/* What is asked is answered with MX_ERR_SHUTDOWN, now and from now on. */
void keys_stop(struct keys *keys);
void keys_close(struct keys *keys); /* a zeroed one is fine */
/* Texts are copied. */
void keys_ask(struct keys *keys, struct key_question *question, const struct key_request *request);
void keys_cancel(struct keys *keys,
                 struct key_question *question); /* one that is not open is fine */
/* Of this core's keys. */
void keys_stats(const struct keys *keys, struct key_table_stats *out);
