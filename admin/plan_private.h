/* Shared by plan.c and plan_*.c. */
#pragma once

#include "admin/objects.h"
#include "admin/plan.h"
#include "admin/plan_explain.h"

enum plan_op { PLAN_CREATE, PLAN_UPDATE, PLAN_UPSERT, PLAN_RECONCILE, PLAN_DESTROY };

struct plan_line {
    uint32_t number; /* in the file, from 1 */
    enum plan_op op;
    const struct reg_type *type;
    struct slice text;
    bool good; /* its form is right */
};

struct plan_error {
    uint32_t line;     /* 0: the plan as a whole */
    uint32_t sequence; /* order of discovery */
    char *text;
};

/* A growing list of object ids. */
struct id_list {
    uint64_t *ids;
    size_t count, cap;
};

struct plan {
    const struct plan_options *options;
    struct store *store;
    uint8_t *bytes;
    size_t len;
    struct plan_line *lines;
    size_t line_count;
    json_t *declared; /* client id -> line number of the operation that makes it */
    json_t *made;     /* client id -> id; null: it was refused */
    json_t *touched;  /* "Type/id" -> true: not to be cleaned up; only kept for reconciles */
    bool has_reconcile;
    uint32_t *last_line; /* per type: the last line that changed one */
    struct plan_error errors[PLAN_ERRORS_MAX];
    uint64_t error_count;
    uint64_t created, updated, destroyed, unchanged;
    mx_err failure;               /* of the store: the plan cannot go on */
    const struct plan_line *line; /* being run */
    struct plan_explain *explain; /* NULL: nobody asks where recipients go */
    char reason[256];             /* of a reference that does not resolve */
};

/* Adds an error to a line (NULL: the whole plan). client and field may be NULL or empty. */
void plan_error(struct plan *plan, const struct plan_line *line, const char *client,
                const char *field, const char *format, ...) MX_PRINTF(5, 6);
void plan_set_errors(struct plan *plan, const struct plan_line *line, const char *client,
                     const struct set_errors *errors);
MX_MUST_CHECK mx_err id_list_add(struct id_list *list, uint64_t id);
void id_list_free(struct id_list *list);

/* plan_parse.c: splits the file and checks the form of every line; false when some line is not JSON
 * at all, so that the rest cannot be judged. */
bool plan_parse(struct plan *plan);
/* A new reference to the JSON of a good line. */
json_t *plan_line_json(const struct plan_line *line);

/* plan_run.c: all operations. */
void plan_run(struct plan *plan);
/* Prints a step of a dry run. */
void plan_step(struct plan *plan, const char *verb, const struct reg_type *type, uint64_t id,
               const char *client, const char *more);
void plan_touch(struct plan *plan, const struct reg_type *type, uint64_t id);
bool plan_is_touched(const struct plan *plan, const struct reg_type *type, uint64_t id);
struct reference_resolver plan_resolver(struct plan *plan);
void plan_destroy_one(struct plan *plan, const struct reg_type *type, uint64_t id);

/* plan_match.c: upsert and reconcile. */
struct plan_matcher;
MX_MUST_CHECK mx_err plan_matcher_new(struct plan_matcher **out_matcher, struct plan *plan,
                                      const struct plan_line *line, const json_t *operation);
void plan_matcher_free(struct plan_matcher *matcher);
/* The body with what the scope adds, a new reference; NULL when it was refused (reported). */
json_t *plan_matcher_body(struct plan_matcher *matcher, const char *client, const json_t *body);
/* False when it was refused (reported); *out_id is 0 when nothing matches. */
bool plan_matcher_find(struct plan_matcher *matcher, uint64_t *out_id, const char *client,
                       const json_t *body);
/* True when an object is in the operation's scope. */
bool plan_matcher_in_scope(const struct plan_matcher *matcher, const json_t *object);
/* Properties of a filter, a scope: checks and normal forms. A new reference; NULL when refused. */
json_t *plan_filter(struct plan *plan, const struct plan_line *line, const json_t *given,
                    const char *what);
bool plan_filter_matches(const struct reg_type *type, const json_t *filter, const json_t *object);
