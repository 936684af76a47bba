/* Shared by api_set.c (the call) and api_set_objects.c (its objects). */
#pragma once

#include "admin/api_private.h"
#include "admin/secret_memo.h"

enum verb { CREATE, UPDATE, DESTROY, VERB_COUNT };

/* Whose change it is: an entry of the call. */
struct owner {
    enum verb verb;
    const char *key; /* borrowed from the arguments */
};

struct set {
    struct api_call *call;
    struct store *store;
    json_t *args[VERB_COUNT]; /* objects; destroy: id text -> true, in the given order */
    json_t *done[VERB_COUNT], *refused[VERB_COUNT];
    json_t *made;               /* creation id -> id text; null: refused */
    json_t *barred[VERB_COUNT]; /* key -> SetError: not to be tried again */
    struct owner owner;         /* being worked on */
    struct object_change *changes;
    struct owner *owners; /* of the changes */
    size_t change_count, change_cap;
    struct owner collected[API_OBJECTS_SET]; /* updates and destroys of a foreign type, in order */
    size_t collected_count;
    bool out_of_memory;
    char reason[128]; /* of a reference that does not resolve */
};

static inline json_t *unconst(const json_t *value)
{
    return (json_t *)(uintptr_t)value;
}

/* The id that an entry of update or destroy names: its text, or "#" and a creation id. False when
 * it names none. */
bool api_set_id(struct set *set, const char *key, uint64_t *out_id);

/* Each entry ends in done or refused; errors are the store's. */
MX_MUST_CHECK mx_err api_set_create_all(struct set *set);
MX_MUST_CHECK mx_err api_set_update_all(struct set *set);
MX_MUST_CHECK mx_err api_set_destroy_all(struct set *set);
