#include "admin/validate_private.h"
#include "core/check.h"
#include "route/expr_tables.h"

#include <stdio.h>
#include <stdlib.h>

static struct slice text_of(const json_t *holder, const char *key)
{
    const json_t *value = json_object_get(holder, key);
    return slice_of(json_string_value(value), json_string_length(value));
}

mx_err expression_compile(struct expr_program **out_program, const json_t *value,
                          enum expr_context context, const struct lookups *lookups,
                          char out_place[EXPRESSION_PLACE_MAX], struct expr_problem *problem)
{
    struct expr_environment environment = {.asks = expr_context_row(context)->asks,
                                           .lookups = lookups};
    struct expr_branch branches[EXPR_BRANCHES_MAX];
    struct expr_source source = {.branches = branches, .otherwise = text_of(value, "else")};
    const char *key;
    json_t *branch;
    json_object_foreach(json_object_get(value, "match"), key, branch)
    {
        MX_ASSERT(source.branch_count < EXPR_BRANCHES_MAX);
        branches[source.branch_count++] =
            (struct expr_branch){text_of(branch, "if"), text_of(branch, "then")};
    }
    mx_err err = expr_compile_in(out_program, &source, context, &environment, problem);
    if (err && problem->branch < 0) {
        snprintf(out_place, EXPRESSION_PLACE_MAX, "else");
    } else if (err) {
        snprintf(out_place, EXPRESSION_PLACE_MAX, "match/%d/%s", (int)problem->branch,
                 problem->in_condition ? "if" : "then");
    }
    return err;
}

MX_PRINTF(2, 3)
static void refuse(struct checker *c, const char *format, ...)
{
    char text[SET_TEXT_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    struct set_error *error = set_error_add(c->errors, SET_VALIDATION_FAILED, c->path, "%s", text);
    if (error) {
        error->validation = SET_INVALID;
    }
}

struct number_check {
    const struct reg_field *field;
    bool integers, in_range;
};

static void check_number(void *arg, const struct expr_value *value)
{
    struct number_check *check = arg;
    check->integers = check->integers && value->type == EXPR_INTEGER;
    check->in_range = check->in_range && value->type == EXPR_INTEGER &&
                      value->integer >= check->field->min && value->integer <= check->field->max;
}

/* Conditions may look at the session; results are known now. */
static void check_numbers(struct checker *c, const struct reg_field *field,
                          const struct expr_program *program)
{
    const char *what = field->format == FORMAT_DURATION ? "a duration such as 5m"
                       : field->format == FORMAT_SIZE   ? "a number of bytes"
                                                        : "a whole number";
    struct number_check check = {field, true, true};
    if (!expr_known_results(program, check_number, &check)) {
        refuse(c,
               "every result must be %s: a computed one cannot be checked before mail depends on "
               "it",
               what);
    } else if (!check.integers) {
        refuse(c, "must be %s", what);
    } else if (!check.in_range) {
        refuse(c, "must be %lld to %lld%s", (long long)field->min, (long long)field->max,
               field->format == FORMAT_DURATION ? " ms" : "");
    }
}

static void ignore_name(void *arg, struct slice name)
{
    (void)arg;
    (void)name;
}

/* The name of branch n in the order of the numbers that they were given; they need not begin at 0.
 */
static const char *branch_name(const json_t *given, int32_t n)
{
    json_t *match = json_object_get(given, "match");
    const char *key, *other;
    json_t *value;
    json_object_foreach(match, key, value)
    {
        int32_t before = 0;
        json_t *unused;
        json_object_foreach(match, other, unused)
        {
            before += strtoul(other, NULL, 10) < strtoul(key, NULL, 10);
        }
        if (before == n) {
            return key;
        }
    }
    return NULL;
}

/* Adds errors when it does not compile or yields what the field cannot take. value: the normal form
 * of given. */
static void check_expression(struct checker *c, const struct reg_field *field, const json_t *value,
                             const json_t *given)
{
    struct expr_program *program = NULL;
    struct expr_problem problem;
    char place[EXPRESSION_PLACE_MAX];
    mx_err err = expression_compile(&program, value, field->context, NULL, place, &problem);
    if (err) {
        size_t base = c->path_len;
        const char *name = branch_name(given, problem.branch);
        if (name != NULL) {
            snprintf(place, sizeof place, "match/%.12s/%s", name,
                     problem.in_condition ? "if" : "then");
        }
        path_push(c, slice_of_text(place));
        refuse(c, "at position %u: %s", (unsigned)problem.position, problem.message);
        path_pop(c, base);
        return;
    }
    if (field->format == FORMAT_NONE) {
        /* true or not, or a text: whatever it is */
    } else if (field->format != FORMAT_LABEL) {
        check_numbers(c, field, program);
    } else if (!expr_literal_results(program, ignore_name, NULL)) {
        refuse(c,
               "every result must be the name of one %s in quotes, such as 'local': a computed "
               "result cannot be checked before mail depends on it",
               field->refers);
    }
    expr_free(program);
}

/* Form -------------------------------------------------------------------------------------- */

/* One part of an expression. */
static bool expression_text(struct checker *c, const json_t *holder, const char *key, json_t *into)
{
    const json_t *text = json_object_get(holder, key);
    size_t base = c->path_len;
    path_push(c, slice_of_text(key));
    size_t len = json_string_length(text);
    bool good = len > 0 && len <= EXPR_SOURCE_MAX;
    if (len > EXPR_SOURCE_MAX) {
        refuse(c, "is longer than %d bytes", EXPR_SOURCE_MAX);
    } else if (!text) {
        set_error_add(c->errors, SET_INVALID_PATCH, c->path, "is required");
    } else if (!good) {
        wrong_form(c, "text that is an expression");
    } else {
        json_object_set_new(into, key,
                            json_stringn(json_string_value(text), json_string_length(text)));
    }
    path_pop(c, base);
    return good;
}

static bool expression_members(struct checker *c, const json_t *value, const char *first,
                               const char *second)
{
    const char *key;
    json_t *member;
    json_object_foreach((json_t *)(uintptr_t)value, key, member)
    {
        if (strcmp(key, first) != 0 && strcmp(key, second) != 0) {
            set_error_add(c->errors, SET_INVALID_PATCH, c->path,
                          "has an unknown member %s; it takes \"%s\" and \"%s\"",
                          show(slice_of_text(key)).text, first, second);
            return false;
        }
    }
    return true;
}

static bool expression_branch(struct checker *c, const json_t *given, json_t *branch)
{
    if (!json_is_object(given)) {
        wrong_form(c, "an object with \"if\" and \"then\"");
        return false;
    }
    return expression_members(c, given, "if", "then") && expression_text(c, given, "if", branch) &&
           expression_text(c, given, "then", branch);
}

static bool expression_branches(struct checker *c, const json_t *match, json_t *into)
{
    struct numbered *items = NULL;
    size_t count = 0;
    size_t base = c->path_len;
    path_push(c, SLICE_LITERAL("match"));
    bool good = list_items(c, match, EXPR_BRANCHES_MAX, &items, &count);
    for (size_t i = 0; good && i < count; i++) {
        char key[16];
        size_t inner = c->path_len;
        put_index(key, items[i].number);
        path_push(c, slice_of_text(key));
        json_t *branch = json_object();
        good = expression_branch(c, items[i].value, branch);
        put_index(key, i);
        json_object_set_new(into, key, branch);
        path_pop(c, inner);
    }
    free(items);
    path_pop(c, base);
    return good;
}

json_t *normal_expression(struct checker *c, const struct reg_field *field, const json_t *value)
{
    if (!json_is_object(value)) {
        wrong_form(c, "an expression object such as {\"match\": {}, \"else\": \"...\"}");
        return NULL;
    }
    json_t *normal = json_object();
    json_t *match = json_object();
    json_object_set_new(normal, "match", match);
    const json_t *branches = json_object_get(value, "match");
    if ((field->flags & REG_EMPTY) && !json_object_get(value, "else") &&
        json_object_size(branches) == 0 && expression_members(c, value, "match", "else")) {
        json_decref(normal);
        return json_loads(field->initial, 0, NULL);
    }
    bool good = expression_members(c, value, "match", "else") &&
                (!branches || expression_branches(c, branches, match)) &&
                expression_text(c, value, "else", normal);
    if (good) {
        check_expression(c, field, normal, value);
    }
    return normal;
}
