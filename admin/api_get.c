#include "admin/api_owner.h"

size_t api_weight(const json_t *value, size_t most)
{
    size_t weight = 8;
    size_t index;
    const char *key;
    json_t *item;
    switch (json_typeof(value)) {
    case JSON_STRING:
        return json_string_length(value) + 4;
    case JSON_ARRAY:
        json_array_foreach((json_t *)(uintptr_t)value, index, item)
        {
            if (weight > most) {
                break;
            }
            weight += api_weight(item, most - weight);
        }
        return weight;
    case JSON_OBJECT:
        json_object_foreach((json_t *)(uintptr_t)value, key, item)
        {
            if (weight > most) {
                break;
            }
            weight += strlen(key) + 4;
            weight += api_weight(item, weight < most ? most - weight : 0);
        }
        return weight;
    default:
        return weight;
    }
}

static json_t *chosen_properties(json_t *object, const json_t *properties)
{
    if (!json_is_array(properties)) {
        return object;
    }
    json_t *chosen = json_object();
    size_t index;
    json_t *name;
    json_object_set(chosen, "id", json_object_get(object, "id"));
    json_array_foreach((json_t *)(uintptr_t)properties, index, name)
    {
        json_object_set(chosen, json_string_value(name),
                        json_object_get(object, json_string_value(name)));
    }
    json_decref(object);
    return chosen;
}

static mx_err show(struct api_call *call, json_t **out_object, uint64_t id)
{
    if (!call->foreign) {
        return object_show(call->api->conf.store, out_object, call->type, id);
    }
    mx_err err = call->foreign->get(call->foreign->arg, out_object, id);
    if (!err) {
        json_object_set_new(*out_object, "id", api_id(id));
    }
    return err;
}

/* False when the call failed. */
static bool add_object(struct api_call *call, json_t *list, json_t *missing, uint64_t id)
{
    json_t *object = NULL;
    mx_err err = show(call, &object, id);
    if (err == MX_ERR_NOTFOUND) {
        json_array_append_new(missing, api_id(id));
        return true;
    }
    if (err) {
        return api_fail_store(call, err);
    }
    if (!api_owns(call, object)) {
        json_decref(object);
        json_array_append_new(missing, api_id(id));
        return true;
    }
    object = chosen_properties(object, json_object_get(call->args, "properties"));
    call->session->weight += api_weight(object, API_ANSWER_MAX);
    json_array_append_new(list, object);
    return call->session->weight <= API_ANSWER_MAX ||
           api_fail(call, "requestTooLarge",
                    "The answer would be larger than %d bytes; ask for fewer objects or "
                    "properties.",
                    API_ANSWER_MAX);
}

/* ids null or absent: the newest ones. */
static bool get_newest(struct api_call *call, json_t *list, json_t *missing)
{
    if (call->type->singleton) {
        return add_object(call, list, missing, OBJECT_ID_SINGLETON);
    }
    uint64_t ids[API_OBJECTS_GET];
    struct store_page page = {.ids = ids};
    struct store_query query = {.type = call->type, .limit = API_OBJECTS_GET};
    struct store_condition owner;
    json_t *value;
    if (api_owner_condition(call, &owner, &value)) {
        query.conditions = &owner;
        query.condition_count = 1;
    }
    mx_err err = !call->foreign         ? store_select(call->api->conf.store, &page, &query)
                 : call->foreign->query ? call->foreign->query(call->foreign->arg, &page, &query)
                                        : MX_OK;
    json_decref(value);
    if (err) {
        return api_fail_store(call, err);
    }
    for (size_t i = 0; i < page.count; i++) {
        if (!add_object(call, list, missing, ids[i])) {
            return false;
        }
    }
    return true;
}

static bool get_ids(struct api_call *call, const json_t *ids, json_t *list, json_t *missing)
{
    json_t *seen = json_object();
    size_t index;
    json_t *text;
    bool good = true;
    json_array_foreach((json_t *)(uintptr_t)ids, index, text)
    {
        uint64_t id;
        if (json_object_get(seen, json_string_value(text))) {
            continue;
        }
        json_object_set_new(seen, json_string_value(text), json_true());
        if (object_id_parse(&id, api_string(text))) {
            json_array_append(missing, text);
        } else {
            good = add_object(call, list, missing, id);
        }
        if (!good) {
            break;
        }
    }
    json_decref(seen);
    return good;
}

static bool all_strings(const json_t *array)
{
    size_t index;
    json_t *item;
    bool good = json_is_array(array);
    json_array_foreach((json_t *)(uintptr_t)array, index, item)
    {
        good = good && json_is_string(item);
    }
    return good;
}

static bool check_arguments(struct api_call *call, const json_t *ids, const json_t *properties)
{
    if (ids && !json_is_null(ids) && !all_strings(ids)) {
        return api_fail(call, "invalidArguments", "'ids' has to be null or an array of ids");
    }
    if (properties && !json_is_null(properties) && !all_strings(properties)) {
        return api_fail(call, "invalidArguments",
                        "'properties' has to be null or an array of names");
    }
    if (json_array_size(ids) > API_OBJECTS_GET) {
        return api_fail(call, "requestTooLarge", "'ids' has more than %d members", API_OBJECTS_GET);
    }
    if (call->foreign && !call->foreign->get) {
        return api_fail(call, "forbidden", "Objects of this type cannot be read.");
    }
    return true;
}

void api_get(struct api_call *call)
{
    const json_t *ids = json_object_get(call->args, "ids");
    if (!api_may(call, "Get") ||
        !check_arguments(call, ids, json_object_get(call->args, "properties"))) {
        return;
    }
    json_t *list = json_array();
    json_t *missing = json_array();
    if (json_is_array(ids)) {
        (void)get_ids(call, ids, list, missing);
    } else {
        (void)get_newest(call, list, missing);
    }
    call->reply = json_pack("{s:s,s:o,s:o}", "accountId", call->session->caller->account_id, "list",
                            list, "notFound", missing);
}
