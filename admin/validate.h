/* Objects as JSON against the tables of the registry: one complete, normal form per object, and
 * patches by pointer. All errors of an object are collected. Nothing here reads the store: what
 * depends on other objects (uniqueness, links) is checked in admin/objects.
 *
 * A normal object has every field of its variant that is not server-set, in the order of the table,
 * "@type" first where the type has variants, lists numbered from "0". */
#pragma once

#include "admin/set_error.h"

#include <jansson.h>

/* Resolves "#name" in the place of an id. */
struct reference_resolver {
    void *arg;
    /* False with a reason (static text or owned by arg) when there is none; with the reason NULL
     * when there was one that was refused. */
    bool (*resolve)(void *arg, struct slice name, uint64_t *out_id, const char **out_reason);
    /* What expressions name need not exist yet: a whole is checked when it is complete. */
    bool labels_later;
};

/* The normal form of body as a new reference; NULL when errors were added. resolver may be NULL. */
json_t *object_normalize(const struct reg_type *type, const json_t *body,
                         const struct reference_resolver *resolver, struct set_errors *errors);
/* stored (a normal object) with patch applied, in normal form, as a new reference; NULL when errors
 * were added. Keys of patch are property names or pointers without a leading slash
 * ("aliases/0/name"). */
json_t *object_patch(const struct reg_type *type, const json_t *stored, const json_t *patch,
                     const struct reference_resolver *resolver, struct set_errors *errors);
/* A singleton as it is before anybody stored one, of its first variant; a new reference, NULL when
 * memory is out. */
json_t *object_defaults(const struct reg_type *type);

/* The variant of a normal object. */
const struct reg_variant *object_variant(const struct reg_shape *shape, const json_t *object);

/* Calls each(arg, path, type, id) for every reference in a normal object. Stops when it returns
 * false. */
typedef bool (*object_reference_fn)(void *arg, const char *path, const struct reg_type *type,
                                    uint64_t id);
void object_references(const struct reg_type *type, const json_t *object, object_reference_fn each,
                       void *arg);

/* Compiles a normal expression value. The source text is borrowed only during the call, lookups
 * (NULL: any list may be named, and the program cannot run) as long as the program is there. On
 * failure *out_branch names the place ("match/0/if", "else"). */
enum { EXPRESSION_PLACE_MAX = 32 };
MX_MUST_CHECK mx_err expression_compile(struct expr_program **out_program, const json_t *value,
                                        enum expr_context context, const struct lookups *lookups,
                                        char out_place[EXPRESSION_PLACE_MAX],
                                        struct expr_problem *problem);

/* One value of a field in normal form, a new reference; NULL when errors were added. */
json_t *field_normalize(const struct reg_field *field, const json_t *value,
                        const struct reference_resolver *resolver, struct set_errors *errors);
