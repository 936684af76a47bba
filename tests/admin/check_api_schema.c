/* The schema document: its bytes, and that everything it refers to is in it. */
#include "tests/admin/api_support.h"

#include "core/text.h"

static const struct {
    const char *name;
    const char *words;
} known[] = {
    {"type", "string number utcDateTime boolean enum blobId objectId object objectList set map"},
    {"string", "string ipAddress ipNetwork socketAddress emailAddress secret secretText uri color "
               "text html"},
    {"number", "integer unsignedInteger float size duration"},
    {"update", "mutable immutable serverSet"},
};

static bool is_known(const char *list, const json_t *word)
{
    for (size_t i = 0; i < mx_countof(known); i++) {
        if (strcmp(known[i].name, list) == 0) {
            return json_is_string(word) &&
                   reg_has_word(known[i].words, slice_of_text(json_string_value(word)));
        }
    }
    return false;
}

static char *inflate_all(const struct api_answer *answer)
{
    enum { TEXT_MAX = 4 << 20 };
    char *text = malloc(TEXT_MAX);
    z_stream stream = {.next_in = answer->body,
                       .avail_in = (unsigned)answer->len,
                       .next_out = (unsigned char *)text,
                       .avail_out = TEXT_MAX - 1};
    CHECK(inflateInit2(&stream, 15 + 16) == Z_OK);
    CHECK(inflate(&stream, Z_FINISH) == Z_STREAM_END);
    text[stream.total_out] = 0;
    CHECK(inflateEnd(&stream) == Z_OK);
    return text;
}

/* What was kept is still good when the tag is named. */
static void check_tags(struct api_bed *bed, const char *path)
{
    char tag[128], list[200];
    snprintf(tag, sizeof(tag), "\"%s\"", path + strlen("/api/schema/"));
    const struct {
        const char *format;
        unsigned status;
    } cases[] = {{"%s", 304},          {"W/%s", 304}, {"\"x\", %s", 304},
                 {"\"x\" ,W/%s", 304}, {"*", 304},    {"x%s", 200},
                 {"\"x\", y", 200},    {"", 200},     {",,", 200}};
    for (size_t i = 0; i < mx_countof(cases); i++) {
        const char *at = strstr(cases[i].format, "%s");
        snprintf(list, sizeof(list), "%.*s%s%s",
                 (int)(at ? at - cases[i].format : (ptrdiff_t)strlen(cases[i].format)),
                 cases[i].format, at ? tag : "", at ? at + 2 : "");
        struct api_request request = bed_request("GET", path, "");
        struct api_answer answer;
        request.if_none_match = slice_of_text(list);
        api_run(bed->api, &request, &answer);
        CHECK(answer.status == cases[i].status && (answer.len == 0) == (answer.status == 304));
        CHECK_TEXT(answer.etag, tag);
        CHECK_TEXT(answer.cache_control, "public, max-age=31536000, immutable");
        answer_done(&answer);
    }
}

/* The way of a client: the redirect names the hash, the hash gives the document. */
static json_t *fetch(struct api_bed *bed)
{
    struct api_request request = bed_request("GET", "/api/schema", "");
    struct api_answer answer;
    char path[128];
    api_run(bed->api, &request, &answer);
    CHECK(answer.status == 302 && answer.len == 0);
    CHECK(strlen(answer.location) == strlen("/api/schema/") + 43);
    snprintf(path, sizeof(path), "%s", answer.location);
    request.path = SLICE_LITERAL("/api/schema/something-older");
    api_run(bed->api, &request, &answer);
    CHECK(answer.status == 302);
    CHECK_TEXT(answer.location, path);
    request.path = slice_of_text(path);
    api_run(bed->api, &request, &answer);
    CHECK(answer.status == 200 && answer.gzip && answer.is_static);
    CHECK_TEXT(answer.content_type, "application/json");
    CHECK_TEXT(answer.cache_control, "public, max-age=31536000, immutable");
    char *text = inflate_all(&answer);
    json_t *document = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    CHECK(document != NULL);
    free(text);
    struct api_bed other;
    bed_open(&other);
    request.path = SLICE_LITERAL("/api/schema");
    api_run(other.api, &request, &answer);
    CHECK_TEXT(answer.location, path); /* the same tables, the same bytes */
    check_tags(bed, path);
    bed_close(&other);
    return document;
}

static void fail_at(const char *where, const char *what, const json_t *value)
{
    char *text = value ? json_dumps(value, JSON_ENCODE_ANY) : NULL;
    failures++;
    fprintf(stderr, "%s: %s: %s\n", where, what, text ? text : "absent");
    free(text);
}

static void need(const json_t *document, const char *member, const json_t *name, const char *where)
{
    if (!json_is_string(name) ||
        !json_object_get(json_object_get(document, member), json_string_value(name))) {
        fail_at(where, member, name);
    }
}

static void check_type(const json_t *document, const char *where, const json_t *type)
{
    const char *kind = json_string_value(json_object_get(type, "type"));
    if (!is_known("type", json_object_get(type, "type"))) {
        fail_at(where, "type", type);
        return;
    }
    if (strcmp(kind, "string") == 0 || strcmp(kind, "number") == 0) {
        if (!is_known(kind, json_object_get(type, "format"))) {
            fail_at(where, "format", type);
        }
    } else if (strcmp(kind, "enum") == 0) {
        need(document, "enums", json_object_get(type, "enumName"), where);
    } else if (strcmp(kind, "objectId") == 0) {
        need(document, "objects", json_object_get(type, "objectName"), where);
        need(document, "lists", json_object_get(type, "objectName"), where);
    } else if (strcmp(kind, "object") == 0 || strcmp(kind, "objectList") == 0) {
        need(document, "schemas", json_object_get(type, "objectName"), where);
    } else if (strcmp(kind, "set") == 0) {
        check_type(document, where, json_object_get(type, "class"));
    } else if (strcmp(kind, "map") == 0) {
        check_type(document, where, json_object_get(type, "keyClass"));
        check_type(document, where, json_object_get(type, "valueClass"));
    }
}

static void check_fields(const json_t *document)
{
    const char *schema;
    const char *name;
    json_t *fields;
    json_t *field;
    json_object_foreach(json_object_get(document, "fields"), schema, fields)
    {
        json_t *properties = json_object_get(fields, "properties");
        CHECK(json_object_size(properties) > 0);
        json_object_foreach(properties, name, field)
        {
            char where[300];
            snprintf(where, sizeof(where), "%s.%s", schema, name);
            check_type(document, where, json_object_get(field, "type"));
            if (!is_known("update", json_object_get(field, "update")) ||
                json_string_length(json_object_get(field, "description")) == 0) {
                fail_at(where, "field", field);
            }
        }
        json_object_foreach(json_object_get(fields, "defaults"), name, field)
        {
            if (!json_object_get(properties, name)) {
                fail_at(schema, "default", field);
            }
        }
    }
}

static void check_schemas(const json_t *document)
{
    const char *name;
    json_t *schema;
    json_object_foreach(json_object_get(document, "schemas"), name, schema)
    {
        const char *kind = json_string_value(json_object_get(schema, "type"));
        if (kind && strcmp(kind, "single") == 0) {
            need(document, "fields", json_object_get(schema, "schemaName"), name);
            continue;
        }
        CHECK_TEXT(kind ? kind : "", "multiple");
        size_t index;
        json_t *variant;
        CHECK(json_array_size(json_object_get(schema, "variants")) > 0);
        json_array_foreach(json_object_get(schema, "variants"), index, variant)
        {
            CHECK(json_string_length(json_object_get(variant, "name")) > 0);
            CHECK(json_string_length(json_object_get(variant, "label")) > 0);
            if (json_object_get(variant, "schemaName")) {
                need(document, "fields", json_object_get(variant, "schemaName"), name);
            }
        }
    }
}

/* True when some variant of the type has the property. */
static bool has_property(const json_t *document, const char *type, const json_t *name)
{
    const json_t *schema = json_object_get(json_object_get(document, "schemas"), type);
    const json_t *fields = json_object_get(document, "fields");
    const json_t *single = json_object_get(schema, "schemaName");
    size_t index;
    json_t *variant;
    if (!json_is_string(name)) {
        return false;
    }
    const char *property = json_string_value(name);
    if (single) {
        return json_object_get(
            json_object_get(json_object_get(fields, json_string_value(single)), "properties"),
            property);
    }
    json_array_foreach(json_object_get(schema, "variants"), index, variant)
    {
        const char *own = json_string_value(json_object_get(variant, "schemaName"));
        if (own && json_object_get(json_object_get(json_object_get(fields, own), "properties"),
                                   property)) {
            return true;
        }
    }
    return strcmp(property, "@type") == 0;
}

/* A property, or what only queries know. */
static bool can_be_asked(const json_t *document, const char *type, const json_t *name)
{
    const struct reg_type *known_type = reg_type_find(slice_of_text(type));
    CHECK(known_type != NULL);
    for (uint32_t i = 0; i < known_type->filter_count; i++) {
        if (strcmp(known_type->filters[i].name, json_string_value(name)) == 0) {
            return true;
        }
    }
    return has_property(document, type, name);
}

static void check_list(const json_t *document, const char *name, const json_t *list)
{
    static const char *const texts[] = {"title", "subtitle", "singularName", "pluralName"};
    size_t index;
    json_t *entry;
    for (size_t i = 0; i < mx_countof(texts); i++) {
        CHECK(json_string_length(json_object_get(list, texts[i])) > 0);
    }
    CHECK(json_array_size(json_object_get(list, "columns")) > 0);
    json_array_foreach(json_object_get(list, "columns"), index, entry)
    {
        if (!has_property(document, name, json_object_get(entry, "name"))) {
            fail_at(name, "column", entry);
        }
    }
    json_array_foreach(json_object_get(list, "filters"), index, entry)
    {
        const json_t *field = json_object_get(entry, "field");
        if (!can_be_asked(document, name, field) && strcmp(json_string_value(field), "text") != 0) {
            fail_at(name, "filter", entry);
        }
    }
    json_array_foreach(json_object_get(list, "sort"), index, entry)
    {
        CHECK(can_be_asked(document, name, entry));
    }
    const json_t *label = json_object_get(list, "labelProperty");
    CHECK(!label || has_property(document, name, label));
    json_array_foreach(json_object_get(list, "matchProperties"), index, entry)
    {
        CHECK(has_property(document, name, entry));
    }
    bool keyed = label || json_array_size(json_object_get(list, "matchProperties")) > 0;
    CHECK(keyed || !reg_type_find(slice_of_text(name))->unique);
}

static void check_objects(const json_t *document)
{
    const char *name;
    json_t *object;
    size_t index;
    size_t count = 0;
    json_object_foreach(json_object_get(document, "objects"), name, object)
    {
        const char *kind = json_string_value(json_object_get(object, "type"));
        char prefix[100];
        snprintf(prefix, sizeof(prefix), "sys%s", name + 2);
        CHECK(strncmp(name, "x:", 2) == 0);
        CHECK(json_string_length(json_object_get(object, "description")) > 0);
        CHECK_TEXT(json_string_value(json_object_get(object, "permissionPrefix")), prefix);
        CHECK(json_object_get(json_object_get(document, "schemas"), name) != NULL);
        CHECK(json_object_get(json_object_get(document, "forms"), name) != NULL);
        json_t *list = json_object_get(json_object_get(document, "lists"), name);
        CHECK((list != NULL) == (strcmp(kind, "object") == 0));
        if (list) {
            check_list(document, name, list);
        }
        count++;
    }
    CHECK(count == reg_type_count);
    json_object_foreach(json_object_get(document, "lists"), name, object)
    {
        CHECK(json_object_get(json_object_get(document, "objects"), name) != NULL);
    }
    json_t *layout;
    json_array_foreach(json_object_get(document, "layouts"), index, layout)
    {
        size_t at;
        json_t *item;
        json_array_foreach(json_object_get(layout, "items"), at, item)
        {
            need(document, "objects", json_object_get(json_object_get(item, "link"), "viewName"),
                 "layout");
        }
    }
}

/* Defaults are in the form in which values are written: an object made of them is accepted. */
static void check_defaults(struct api_bed *bed, const json_t *document)
{
    for (uint32_t i = 0; i < reg_type_count; i++) {
        if (!reg_types[i].singleton) {
            continue;
        }
        char name[100];
        const struct reg_shape *shape = &reg_types[i].shape;
        const char *variant = shape->variants[0].name;
        snprintf(name, sizeof(name), "x:%s%s", shape->name, variant ? variant : "");
        json_t *patch = json_copy(json_object_get(
            json_object_get(json_object_get(document, "fields"), name), "defaults"));
        CHECK(patch != NULL);
        if (variant) {
            json_object_set_new(patch, "@type", json_string(variant));
        }
        json_t *call = json_pack("{s:{s:o}}", "update", "singleton", patch);
        char *args = json_dumps(call, 0);
        snprintf(name, sizeof(name), "x:%s/set", shape->name);
        json_t *result = bed_call(bed, name, args);
        expect_json(json_object_get(json_array_get(result, 1), "updated"), "{\"singleton\":null}",
                    __FILE__, __LINE__);
        json_decref(result);
        json_decref(call);
        free(args);
    }
}

static void check_text_forms(const json_t *document)
{
    const json_t *forms = json_object_get(document, "forms");
    const json_t *form = json_object_get(forms, "x:MtaRoute");
    CHECK_TEXT(json_string_value(json_object_get(form, "title")), "MTA route");
    const json_t *fields =
        json_object_get(json_array_get(json_object_get(form, "sections"), 0), "fields");
    expect_json(json_array_get(fields, 0), "{\"name\":\"@type\",\"label\":\"Type\"}", __FILE__,
                __LINE__);
    form = json_object_get(forms, "x:NetworkListener");
    fields = json_object_get(json_array_get(json_object_get(form, "sections"), 0), "fields");
    expect_json(json_array_get(fields, 3),
                "{\"name\":\"overrideProxyTrustedNetworks\",\"label\":\"Override proxy trusted "
                "networks\"}",
                __FILE__, __LINE__);
    expect_json(json_array_get(fields, 4), "{\"name\":\"useTls\",\"label\":\"Use TLS\"}", __FILE__,
                __LINE__);
    expect_json(json_object_get(json_object_get(document, "schemas"), "x:SubAddressing"),
                "{\"type\":\"multiple\",\"variants\":[{\"name\":\"Enabled\",\"label\":\"Cut the "
                "local part at the first +\"},{\"name\":\"Disabled\",\"label\":\"Take the local "
                "part as it is\"}]}",
                __FILE__, __LINE__);
}

int main(void)
{
    struct api_bed bed;
    bed_open(&bed);
    json_t *document = fetch(&bed);
    static const char *const members[] = {"objects", "schemas", "fields",     "forms",
                                          "lists",   "enums",   "dashboards", "layouts"};
    for (size_t i = 0; i < mx_countof(members); i++) {
        CHECK(json_object_get(document, members[i]) != NULL);
    }
    check_objects(document);
    check_schemas(document);
    check_fields(document);
    check_defaults(&bed, document);
    check_text_forms(document);
    json_decref(document);
    bed_close(&bed);
    return report("check_api_schema");
}
