#include "admin/object_links.h"

#include "admin/object_id.h"
#include "admin/objects.h"

#include <stdio.h>

/* Labels that an expression yields --------------------------------------------------------- */

/* Calls each for every label that a field of a normal object names. Compiling cannot fail except
 * for want of memory: the object was checked when it was stored. */
static mx_err each_label(const struct reg_field *field, const json_t *object,
                         void (*each)(void *arg, struct slice name), void *arg)
{
    struct expr_program *program = NULL;
    struct expr_problem problem;
    char place[EXPRESSION_PLACE_MAX];
    mx_err err = expression_compile(&program, json_object_get(object, field->name), field->context,
                                    NULL, place, &problem);
    if (!err) {
        (void)expr_literal_results(program, each, arg);
        expr_free(program);
    }
    return err;
}

static bool is_label(const struct reg_field *field)
{
    return field->kind == REG_EXPRESSION && field->format == FORMAT_LABEL;
}

/* Links of an object ----------------------------------------------------------------------- */

struct link_check {
    struct store *store;
    const struct reg_field *field; /* whose labels are looked up */
    struct set_errors *errors;
    mx_err err;
};

static bool check_id(void *arg, const char *path, const struct reg_type *type, uint64_t id)
{
    struct link_check *check = arg;
    bool exists = false;
    check->err = store_has(check->store, &exists, type, id);
    if (check->err) {
        return false;
    }
    if (!exists) {
        struct set_error *error =
            set_error_add(check->errors, SET_INVALID_FOREIGN_KEY, path,
                          "refers to a %s that does not exist", type->shape.name);
        if (error) {
            error->object = (struct set_object){type, id};
        }
    }
    return true;
}

static void check_label(void *arg, struct slice name)
{
    struct link_check *check = arg;
    const struct reg_type *type = reg_type_find(slice_of_text(check->field->refers));
    uint64_t id;
    mx_err err = check->err ? MX_OK : store_find_label(check->store, &id, type, name);
    if (err == MX_ERR_NOTFOUND) {
        set_error_add(check->errors, SET_INVALID_FOREIGN_KEY, check->field->name,
                      "names the %s '%.*s', which does not exist", type->shape.name,
                      SLICE_ARGS(name));
    } else if (err) {
        check->err = err;
    }
}

mx_err object_links_check(struct store *store, const struct reg_type *type, const json_t *object,
                          bool labels, struct set_errors *errors)
{
    struct link_check check = {.store = store, .errors = errors};
    object_references(type, object, check_id, &check);
    const struct reg_variant *variant = object_variant(&type->shape, object);
    for (uint32_t i = 0; labels && !check.err && i < variant->field_count; i++) {
        check.field = &variant->fields[i];
        if (is_label(check.field)) {
            mx_err err = each_label(check.field, object, check_label, &check);
            check.err = check.err ? check.err : err;
        }
    }
    return check.err;
}

/* Links to an object ----------------------------------------------------------------------- */

struct label_search {
    struct store *store;
    struct slice label;
    const struct reg_type *type; /* being searched */
    const struct reg_field *field;
    struct set_object linked[SET_LINKED_MAX];
    const struct reg_field *fields[SET_LINKED_MAX]; /* which name it */
    uint32_t count;
    bool found;
};

static void match_label(void *arg, struct slice name)
{
    struct label_search *search = arg;
    search->found = search->found || slice_equal(name, search->label);
}

static mx_err search_object(void *arg, uint64_t id, json_t *object)
{
    struct label_search *search = arg;
    search->found = false;
    mx_err err = each_label(search->field, object, match_label, search);
    if (!err && search->found && search->count < SET_LINKED_MAX) {
        search->fields[search->count] = search->field;
        search->linked[search->count++] = (struct set_object){search->type, id};
    }
    return err;
}

/* A singleton counts with its defaults before anybody stored it. */
static mx_err search_field(struct label_search *search)
{
    if (!search->type->singleton) {
        return store_each(search->store, search->type, search_object, search);
    }
    json_t *object = NULL;
    mx_err err = object_get(search->store, &object, search->type, OBJECT_ID_SINGLETON);
    err = err ? err : search_object(search, OBJECT_ID_SINGLETON, object);
    json_decref(object);
    return err;
}

static mx_err search_labels(struct label_search *search, const struct reg_type *target)
{
    for (uint32_t t = 0; t < reg_type_count; t++) {
        search->type = &reg_types[t];
        for (uint32_t v = 0; v < search->type->shape.variant_count; v++) {
            const struct reg_variant *variant = &search->type->shape.variants[v];
            for (uint32_t i = 0; i < variant->field_count; i++) {
                search->field = &variant->fields[i];
                mx_err err = is_label(search->field) &&
                                     strcmp(search->field->refers, target->shape.name) == 0
                                 ? search_field(search)
                                 : MX_OK;
                if (err) {
                    return err;
                }
            }
        }
    }
    return MX_OK;
}

static void put_linked(struct writer *w, struct store *store, const struct set_object *linked,
                       uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        char title[OBJECT_TITLE_MAX];
        object_title(store, title, linked[i].type, linked[i].id);
        put_text(w, i ? ", " : "is used by ");
        put_text(w, linked[i].type->shape.name);
        if (!linked[i].type->singleton) {
            put_char(w, ' ');
            put_slice(w, slice_first(slice_of_text(title), 60));
        }
    }
    if (count == SET_LINKED_MAX) {
        put_text(w, " and perhaps others");
    }
}

/* "; to reset its route: stalwart-cli update MtaOutboundStrategy singleton --field 'route=...'",
 * ready for a shell, when the default does not name the label as well. */
static void put_reset(struct writer *w, struct label_search *search)
{
    const struct reg_type *type = search->linked[0].type;
    const struct reg_field *field = search->fields[0];
    if (!type->singleton || !field->initial) {
        return;
    }
    json_t *defaults = object_defaults(type);
    search->found = false;
    mx_err err = defaults ? each_label(field, defaults, match_label, search) : MX_ERR_NOMEM;
    json_decref(defaults);
    if (err || search->found) {
        return;
    }
    put_text(w, "; to reset its ");
    put_text(w, field->name);
    put_text(w, ": stalwart-cli update ");
    put_text(w, type->shape.name);
    put_text(w, " singleton --field '");
    put_text(w, field->name);
    put_char(w, '=');
    for (const char *c = field->initial; *c; c++) {
        if (*c == '\'') {
            put_text(w, "'\\''");
        } else {
            put_char(w, *c);
        }
    }
    put_char(w, '\'');
}

static void add_linked(struct set_object target, const struct set_object *linked, uint32_t count,
                       const char *text, struct set_errors *errors)
{
    struct set_error *error = set_error_add(errors, SET_OBJECT_IS_LINKED, NULL, "%s", text);
    if (error) {
        error->object = target;
        memcpy(error->linked, linked, count * sizeof(*linked));
        error->linked_count = count;
    }
}

mx_err object_label_free(struct store *store, struct set_object target, const json_t *before,
                         struct set_errors *errors)
{
    const json_t *label = target.type->label ? json_object_get(before, target.type->label) : NULL;
    if (!json_is_string(label)) {
        return MX_OK;
    }
    struct label_search search = {
        .store = store, .label = slice_of(json_string_value(label), json_string_length(label))};
    mx_err err = search_labels(&search, target.type);
    if (err || search.count == 0) {
        return err;
    }
    char text[SET_TEXT_MAX];
    struct writer w = writer_init(text, sizeof(text) - 1);
    put_linked(&w, store, search.linked, search.count);
    put_reset(&w, &search);
    text[w.len] = 0;
    add_linked(target, search.linked, search.count, text, errors);
    return MX_OK;
}

mx_err object_links_free(struct store *store, struct set_object target, const json_t *before,
                         bool labels, struct set_errors *errors)
{
    struct set_object linked[SET_LINKED_MAX];
    uint32_t count = 0;
    mx_err err = store_referrers(store, linked, &count, SET_LINKED_MAX, target);
    if (!err && count) {
        char text[SET_TEXT_MAX];
        struct writer w = writer_init(text, sizeof(text) - 1);
        put_linked(&w, store, linked, count);
        text[w.len] = 0;
        add_linked(target, linked, count, text, errors);
        return MX_OK;
    }
    return err || !labels ? err : object_label_free(store, target, before, errors);
}
