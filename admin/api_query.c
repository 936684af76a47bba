/* x:TYPE/query: filters, order, paging. */
#include "admin/api_owner.h"

#include "core/hash.h"

#include <stdlib.h>

enum { FILTER_DEPTH_MAX = 8, NAME_MAX_BYTES = REG_NAME_MAX + 32 };

struct question {
    struct api_call *call;
    struct store_condition conditions[STORE_CONDITIONS_MAX];
    size_t count;
    json_t *values; /* owns the values of the conditions */
    struct store_query query;
};

/* Filters ---------------------------------------------------------------------------------- */

static const struct suffix {
    const char *text;
    enum store_compare compare;
} suffixes[] = {
    {"IsGreaterThanOrEqual", STORE_GREATER_EQUAL},
    {"IsGreaterThan", STORE_GREATER},
    {"IsLessThanOrEqual", STORE_LESS_EQUAL},
    {"IsLessThan", STORE_LESS},
};

static const struct reg_field *any_field(const struct reg_type *type, struct slice name)
{
    for (uint32_t i = 0; i < type->filter_count; i++) {
        if (slice_equal(name, slice_of_text(type->filters[i].name))) {
            return &type->filters[i];
        }
    }
    for (uint32_t i = 0; i < type->shape.variant_count; i++) {
        const struct reg_field *field = reg_field_find(&type->shape.variants[i], name);
        if (field) {
            return field;
        }
    }
    return NULL;
}

/* "dueIsLessThan" is the field "due" and a comparison. */
static struct slice split_name(struct slice name, enum store_compare *out_compare)
{
    for (size_t i = 0; i < mx_countof(suffixes); i++) {
        struct slice end = slice_of_text(suffixes[i].text);
        if (name.len > end.len && slice_equal(slice_from(name, name.len - end.len), end)) {
            *out_compare = suffixes[i].compare;
            return slice_first(name, name.len - end.len);
        }
    }
    *out_compare = STORE_EQUAL;
    return name;
}

static bool unsupported(struct question *q, struct slice name)
{
    return api_fail(q->call, "unsupportedFilter", "%.*s",
                    (int)mx_min_size(name.len, NAME_MAX_BYTES), (const char *)name.ptr);
}

static bool add(struct question *q, const struct reg_field *field, enum store_compare compare,
                json_t *value)
{
    json_array_append_new(q->values, value);
    if (q->count == STORE_CONDITIONS_MAX) {
        return api_fail(q->call, "unsupportedFilter", "more than %d conditions",
                        STORE_CONDITIONS_MAX);
    }
    q->conditions[q->count++] = (struct store_condition){field, compare, value};
    return true;
}

static bool add_text(struct question *q, const json_t *value)
{
    for (size_t i = 0; i < q->count; i++) {
        if (q->conditions[i].compare == STORE_CONTAINS) {
            return api_fail(q->call, "unsupportedFilter", "text (more than once)");
        }
    }
    if (!json_is_string(value) || json_string_length(value) > REG_STRING_MAX) {
        return api_fail(q->call, "invalidArguments",
                        "the filter 'text' has to be a text of up to "
                        "%d bytes",
                        REG_STRING_MAX);
    }
    return add(q, NULL, STORE_CONTAINS, json_incref((json_t *)(uintptr_t)value));
}

static bool add_variant(struct question *q, const json_t *value)
{
    if (!json_is_string(value)) {
        return api_fail(q->call, "invalidArguments", "the filter '@type' has to be a text");
    }
    return add(q, NULL, STORE_EQUAL, json_incref((json_t *)(uintptr_t)value));
}

/* The value in the form in which it is stored: "Example.ORG" finds example.org. A set is asked for
 * one member. */
static json_t *normal_value(struct question *q, const struct reg_field *field, const json_t *value)
{
    struct set_errors errors;
    errors.count = 0;
    json_t *given = json_incref((json_t *)(uintptr_t)value);
    if (field->kind == REG_SET && json_is_string(value)) {
        json_decref(given);
        given = json_object();
        json_object_setn_new(given, json_string_value(value), json_string_length(value),
                             json_true());
    }
    json_t *normal = field_normalize(field, given, NULL, &errors);
    json_decref(given);
    if (!normal) {
        api_fail(q->call, "invalidArguments", "the filter '%s': %s", field->name,
                 errors.count ? errors.items[0].text : err_text(MX_ERR_NOMEM));
        return NULL;
    }
    if (field->kind == REG_SET && json_object_size(normal) == 1) {
        const char *member = json_object_iter_key(json_object_iter(normal));
        json_t *text = json_string(member);
        json_decref(normal);
        return text;
    }
    if (json_is_object(normal) || json_is_null(normal)) {
        json_decref(normal);
        api_fail(q->call, "unsupportedFilter", "%s (one value that is not null)", field->name);
        return NULL;
    }
    return normal;
}

static bool add_condition(struct question *q, struct slice key, const json_t *value)
{
    const struct reg_type *type = q->call->type;
    enum store_compare compare;
    struct slice name = split_name(key, &compare);
    const struct reg_field *field = any_field(type, name);
    if (slice_equal(key, SLICE_LITERAL("text")) && (q->call->foreign || store_has_text(type))) {
        return add_text(q, value);
    }
    if (slice_equal(key, SLICE_LITERAL("@type")) && reg_is_multiple(&type->shape)) {
        return add_variant(q, value);
    }
    bool ordered = field && (field->kind == REG_NUMBER || field->kind == REG_DATE);
    if (!field || !(field->flags & REG_INDEXED) || (compare != STORE_EQUAL && !ordered)) {
        return unsupported(q, key);
    }
    json_t *normal = normal_value(q, field, value);
    return normal && add(q, field, compare, normal);
}

static bool add_filter(struct question *q, const json_t *filter, unsigned depth)
{
    if (!json_is_object(filter)) {
        return api_fail(q->call, "invalidArguments", "'filter' has to be an object");
    }
    const json_t *join = json_object_get(filter, "operator");
    const char *key;
    json_t *value;
    if (!join) {
        json_object_foreach((json_t *)(uintptr_t)filter, key, value)
        {
            if (!add_condition(q, slice_of_text(key), value)) {
                return false;
            }
        }
        return true;
    }
    const json_t *conditions = json_object_get(filter, "conditions");
    if (!slice_equal(api_string(join), SLICE_LITERAL("AND"))) {
        return unsupported(q, api_string(join));
    }
    if (!json_is_array(conditions) || depth == FILTER_DEPTH_MAX) {
        return api_fail(q->call, "invalidArguments", "'conditions' has to be an array of filters");
    }
    size_t index;
    json_array_foreach((json_t *)(uintptr_t)conditions, index, value)
    {
        if (!add_filter(q, value, depth + 1)) {
            return false;
        }
    }
    return true;
}

/* Order and place -------------------------------------------------------------------------- */

static bool read_sort(struct question *q)
{
    const json_t *sort = json_object_get(q->call->args, "sort");
    if (!sort || json_is_null(sort) || (json_is_array(sort) && json_array_size(sort) == 0)) {
        return true; /* newest first */
    }
    const json_t *first = json_array_get(sort, 0);
    struct slice name = api_string(json_object_get(first, "property"));
    const json_t *ascending = json_object_get(first, "isAscending");
    if (name.len == 0 || (ascending && !json_is_boolean(ascending))) {
        return api_fail(q->call, "invalidArguments",
                        "'sort' has to be an array of {property, isAscending}");
    }
    q->query.ascending = !json_is_false(ascending);
    if (slice_equal(name, SLICE_LITERAL("id"))) {
        return true;
    }
    const struct reg_field *field = any_field(q->call->type, name);
    if (!field || !(field->flags & REG_INDEXED) || field->kind == REG_SET) {
        return api_fail(q->call, "unsupportedSort", "%.*s",
                        (int)mx_min_size(name.len, NAME_MAX_BYTES), (const char *)name.ptr);
    }
    q->query.sort = field;
    return true;
}

/* An optional whole number. */
static bool read_number(struct question *q, const char *name, int64_t min, int64_t *out_value)
{
    const json_t *value = json_object_get(q->call->args, name);
    if (!value || json_is_null(value)) {
        return true;
    }
    if (!json_is_integer(value) || json_integer_value(value) < min ||
        json_integer_value(value) > INT32_MAX || json_integer_value(value) < INT32_MIN) {
        return api_fail(q->call, "invalidArguments", "'%s' has to be a whole number%s", name,
                        min == 0 ? " that is not negative" : "");
    }
    *out_value = json_integer_value(value);
    return true;
}

static bool read_place(struct question *q)
{
    const json_t *anchor = json_object_get(q->call->args, "anchor");
    const json_t *total = json_object_get(q->call->args, "calculateTotal");
    int64_t limit = API_QUERY_IDS;
    q->query.anchored = anchor && !json_is_null(anchor);
    if (!read_number(q, "limit", 0, &limit) ||
        !read_number(q, q->query.anchored ? "anchorOffset" : "position", INT32_MIN,
                     &q->query.offset)) {
        return false;
    }
    if (total && !json_is_boolean(total) && !json_is_null(total)) {
        return api_fail(q->call, "invalidArguments", "'calculateTotal' has to be true or false");
    }
    q->query.limit = (size_t)(limit < API_QUERY_IDS ? limit : API_QUERY_IDS);
    q->query.want_total = json_is_true(total);
    if (q->query.anchored && !json_is_string(anchor)) {
        return api_fail(q->call, "invalidArguments", "'anchor' has to be an id");
    }
    if (q->query.anchored && object_id_parse(&q->query.anchor, api_string(anchor))) {
        return api_fail(q->call, "anchorNotFound", "'anchor' is not an id of a result");
    }
    return true;
}

/* What is asked, apart from the place: pages of the same question follow each other. */
static uint64_t question_hash(const struct question *q)
{
    uint64_t hash = hash_checksum(slice_of_text(q->call->type->shape.name));
    uint8_t way[2] = {q->query.ascending, q->query.sort != NULL};
    hash = hash_checksum_next(hash, slice_of(way, sizeof(way)));
    hash = hash_checksum_next(hash, slice_of_text(q->query.sort ? q->query.sort->name : ""));
    for (size_t i = 0; i < q->count; i++) {
        uint8_t compare = (uint8_t)q->conditions[i].compare;
        const struct reg_field *field = q->conditions[i].field;
        char *text = json_dumps(q->conditions[i].value, JSON_ENCODE_ANY | JSON_COMPACT);
        hash = hash_checksum_next(hash, slice_of(&compare, 1));
        hash = hash_checksum_next(hash, slice_of_text(field ? field->name : ""));
        hash = hash_checksum_next(hash, slice_of_text(text ? text : ""));
        free(text);
    }
    return hash ? hash : 1;
}

/* Answer ----------------------------------------------------------------------------------- */

static void reply(struct question *q, const struct store_page *page)
{
    json_t *ids = json_array();
    char state[32];
    struct writer w = writer_init(state, sizeof(state));
    put_decimal(&w, store_generation(q->call->api->conf.store));
    for (size_t i = 0; i < page->count; i++) {
        json_array_append_new(ids, api_id(page->ids[i]));
    }
    /* There is no queryChanges, so the state cannot be used to ask for changes. */
    q->call->reply =
        json_pack("{s:s,s:o,s:b,s:I,s:o}", "accountId", q->call->session->caller->account_id,
                  "queryState", json_stringn(state, w.len), "canCalculateChanges", 0, "position",
                  (json_int_t)page->position, "ids", ids);
    if (q->query.want_total) {
        json_object_set_new(q->call->reply, "total", json_integer((json_int_t)page->total));
    }
    if (page->more) {
        json_object_set_new(q->call->reply, "limit", json_integer((json_int_t)q->query.limit));
    }
}

static mx_err select_page(struct question *q, struct store_page *page)
{
    struct api *api = q->call->api;
    if (q->call->foreign) {
        return q->call->foreign->query(q->call->foreign->arg, page, &q->query);
    }
    uint64_t generation = store_generation(api->conf.store);
    uint64_t hash = question_hash(q);
    struct api_bookmark *mark = &api->bookmark;
    q->query.position_known =
        mark->question == hash && mark->generation == generation && mark->id == q->query.anchor;
    q->query.anchor_position = mark->position;
    mx_err err = store_select(api->conf.store, page, &q->query);
    if (!err && page->count) {
        *mark = (struct api_bookmark){.generation = generation,
                                      .question = hash,
                                      .id = page->ids[page->count - 1],
                                      .position = page->position + page->count - 1};
    }
    return err;
}

static void run(struct question *q)
{
    uint64_t *ids = calloc(q->query.limit + 1, sizeof(*ids));
    struct store_page page = {.ids = ids};
    mx_err err = ids ? select_page(q, &page) : MX_ERR_NOMEM;
    if (err == MX_ERR_NOTFOUND) {
        api_fail(q->call, "anchorNotFound", "'anchor' is not an id of a result");
    } else if (err == MX_ERR_UNSUPPORTED) {
        api_fail(q->call, "unsupportedFilter", "not for this type");
    } else if (err) {
        api_fail_store(q->call, err);
    } else {
        reply(q, &page);
    }
    free(ids);
}

/* The one id that there is; it cannot be filtered. */
static void query_singleton(struct question *q)
{
    uint64_t id = OBJECT_ID_SINGLETON;
    bool first = q->query.anchored ? q->query.offset == 0 : q->query.offset <= 0;
    struct store_page page = {.ids = &id, .count = first && q->query.limit > 0, .total = 1};
    if (q->query.anchored && q->query.anchor != id) {
        api_fail(q->call, "anchorNotFound", "'anchor' is not an id of a result");
    } else {
        reply(q, &page);
    }
}

void api_query(struct api_call *call)
{
    struct question q = {.call = call, .values = json_array()};
    q.query.type = call->type;
    json_t *owner;
    if (api_owner_condition(call, &q.conditions[0], &owner)) {
        q.count = 1;
        json_array_append_new(q.values, owner);
    }
    const json_t *filter = json_object_get(call->args, "filter");
    bool good = api_may(call, call->type->singleton ? "Get" : "Query") &&
                (!filter || json_is_null(filter) || add_filter(&q, filter, 0)) && read_sort(&q) &&
                read_place(&q);
    if (good && call->foreign && !call->foreign->query) {
        good = api_fail(call, "invalidArguments", "Objects of this type cannot be listed.");
    }
    q.query.conditions = q.conditions;
    q.query.condition_count = q.count;
    if (good && call->type->singleton) {
        query_singleton(&q);
    } else if (good) {
        run(&q);
    }
    json_decref(q.values);
}
