/* What the server has of one type, as far as a plan compares it: of each object its id and the
 * values of a few properties, as one short text. About 100 bytes an object, so a plan can be
 * matched against millions of them. */
#pragma once

#include "tools/cli/client.h"

struct known {
    json_t *properties; /* array of their names */
    char **records;     /* id, NUL, values as JSON */
    uint32_t count, capacity;
    struct known_index {
        uint64_t *slots;         /* hash << 32 | record + 1; 0: empty */
        uint32_t used, capacity; /* a power of two */
    } by_id;
};

enum { KNOWN_MAX = 1 << 28 }; /* objects of a type */

/* properties: taken. */
void known_init(struct known *k, json_t *properties);
void known_free(struct known *k);
/* Keeps what is compared of an object, in the place of an older one with its id. False: there are
 * too many. */
bool known_put(struct known *k, const json_t *value, uint32_t *out_record);
/* New reference: what is kept of a record, with its id. */
json_t *known_get(const struct known *k, uint32_t record);
/* Borrowed. */
const char *known_id(const struct known *k, uint32_t record);
/* By id: its record; false: there is none. */
bool known_find(const struct known *k, const char *id, uint32_t *out_record);

/* A table from hashes to records; what has the same hash is the caller's to tell apart. */
void known_index_add(struct known_index *index, uint64_t hash, uint32_t record);
/* Calls is for the records with this hash until it is true; false: it never was. */
bool known_index_find(const struct known_index *index, uint64_t hash,
                      bool (*is)(void *arg, uint32_t record), void *arg);
void known_index_free(struct known_index *index);
