#include "tools/cli/input.h"

#include "core/text.h"
#include "tools/cli/client.h"
#include "tools/cli/fail.h"
#include "tools/cli/schema.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

/* --- numbers -----------------------------------------------------------------------------------
 */

static json_t *integer_of(const char *text)
{
    char *end;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    bool begins = ascii_is_digit((uint8_t)text[text[0] == '-' || text[0] == '+']);
    return begins && *end == '\0' && errno == 0 ? need(json_integer(value)) : NULL;
}

static json_t *real_of(const char *text)
{
    char *end;
    double value = strtod(text, &end);
    bool decimal = strspn(text, "+-.0123456789eE") == strlen(text) && text[0] != '\0';
    return decimal && *end == '\0' && isfinite(value) ? need(json_real(value)) : NULL;
}

static json_t *number_of(const char *text, const json_t *type)
{
    bool real = type_is_format(type, "float");
    json_t *value = real ? real_of(text) : integer_of(text);
    if (value == NULL) {
        fail("expected %s, got `%s`", real ? "number" : "integer", text);
    }
    return value;
}

static json_t *boolean_of(const char *text, const char *const yes[], const char *const no[])
{
    for (; *yes != NULL; yes++, no++) {
        if (text_equal_nocase(slice_of_text(text), slice_of_text(*yes))) {
            return json_true();
        }
        if (text_equal_nocase(slice_of_text(text), slice_of_text(*no))) {
            return json_false();
        }
    }
    return NULL;
}

static const char *const yes_strict[] = {"true", NULL}, *const no_strict[] = {"false", NULL};
static const char *const yes_wide[] = {"true", "yes", "1", NULL};
static const char *const no_wide[] = {"false", "no", "0", NULL};

/* --- --field -----------------------------------------------------------------------------------
 */

/* A value below a path, where no type is known. */
static json_t *guess(const char *text)
{
    json_t *value = boolean_of(text, yes_strict, no_strict);
    value = value ? value : integer_of(text);
    value = value ? value : real_of(text);
    return value ? value : json_string(text);
}

static json_t *typed(const char *text, const json_t *type)
{
    json_t *value;
    switch (type_kind(type)) {
    case KIND_BOOLEAN:
        value = boolean_of(text, yes_strict, no_strict);
        if (value == NULL) {
            fail("expected boolean, got `%s`", text);
        }
        return value;
    case KIND_NUMBER:
        return number_of(text, type);
    case KIND_OBJECT:
    case KIND_LIST:
    case KIND_SET:
    case KIND_MAP:
        fail("the field takes a JSON value: {...} or [...]");
        return NULL;
    default:
        value = json_string(text);
        if (value == NULL) {
            fail("`%s` is not UTF-8", text);
        }
        return value;
    }
}

static json_t *field_value(const char *text, const json_t *type, enum input_mode mode)
{
    size_t blanks = strspn(text, " \t\r\n");
    if (text[blanks] == '{' || text[blanks] == '[') {
        json_error_t error;
        json_t *value = json_loads(text, JSON_REJECT_DUPLICATES, &error);
        if (value == NULL) {
            fail("invalid JSON in --field: %s", error.text);
        }
        return value;
    }
    if (strcmp(text, "null") == 0) {
        if (mode == INPUT_CREATE && type != NULL && !type_is_nullable(type)) {
            fail("null is not allowed for this field");
            return NULL;
        }
        return json_null();
    }
    if (type != NULL) {
        return typed(text, type);
    }
    json_t *value = guess(text);
    if (value == NULL) {
        fail("`%s` is not UTF-8", text);
    }
    return value;
}

/* Splits at the first '=', or after a key in quotes. */
static bool split(const char *text, struct slice *out_key, const char **out_value)
{
    if (text[0] == '"' || text[0] == '\'') {
        const char *end = strchr(text + 1, text[0]);
        if (end == NULL || end == text + 1 || end[1] != '=') {
            return fail("invalid --field `%s`: expected \"KEY\"=VALUE", text);
        }
        *out_key = slice_of(text + 1, (size_t)(end - text - 1));
        *out_value = end + 2;
        return true;
    }
    const char *equals = strchr(text, '=');
    if (equals == NULL || equals == text) {
        return fail("invalid --field `%s`: expected KEY=VALUE", text);
    }
    *out_key = slice_of(text, (size_t)(equals - text));
    *out_value = equals + 1;
    return true;
}

/* Spells the key as the schema does; a patch may go on with a path. *out_type NULL: not known. */
static bool spell(struct buf *out, struct slice key, json_t *properties, enum input_mode mode,
                  const json_t **out_type)
{
    *out_type = NULL;
    if (text_equal_nocase(key, SLICE_LITERAL("@type"))) {
        buf_add(out, "@type");
        return true;
    }
    size_t slash = slice_find(key, '/');
    if (mode == INPUT_CREATE && slash < key.len) {
        return fail("--field of create names a property, not a path: `%.*s`", SLICE_ARGS(key));
    }
    struct buf head = {0};
    buf_bytes(&head, key.ptr, slash);
    const char *name = member_nocase(properties, head.at);
    if (name == NULL) {
        fail("unknown field: %s", head.at);
        buf_free(&head);
        return false;
    }
    buf_free(&head);
    if (slash == key.len) {
        *out_type = field_type(json_object_get(properties, name));
    }
    buf_add(out, name);
    buf_bytes(out, key.ptr + slash, key.len - slash);
    return true;
}

bool input_field(json_t *out, const char *text, json_t *properties, enum input_mode mode)
{
    struct slice key = SLICE_EMPTY;
    const char *raw = NULL;
    const json_t *type = NULL;
    struct buf name = {0};
    bool good = split(text, &key, &raw) && spell(&name, key, properties, mode, &type);
    if (good && json_object_get(out, name.at) != NULL) {
        good = fail("duplicate --field key `%s`", name.at);
    }
    if (good) {
        json_t *value = field_value(raw, type, mode);
        good = value != NULL && (json_object_set_new(out, name.at, value) == 0 ||
                                 fail("`%s` is not UTF-8", name.at));
    }
    buf_free(&name);
    return good;
}

/* --- --where -----------------------------------------------------------------------------------
 */

struct operator
{
    const char *sign, *suffix;
};

/* In the order in which they are looked for. */
static const struct operator operators[] = {
    {">=", "IsGreaterThanOrEqual"},
    {"<=", "IsLessThanOrEqual"},
    {">", "IsGreaterThan"},
    {"<", "IsLessThan"},
    {"=", ""},
};

static const struct operator* operator_find(const char *text, const char **out_at)
{
    for (size_t i = 0; i < mx_countof(operators); i++) {
        *out_at = strstr(text, operators[i].sign);
        if (*out_at != NULL && *out_at != text) {
            return &operators[i];
        }
    }
    return NULL;
}

static json_t *where_value(const char *text, const json_t *type)
{
    json_t *value;
    switch (type_kind(type)) {
    case KIND_BOOLEAN:
        value = boolean_of(text, yes_wide, no_wide);
        if (value == NULL) {
            fail("expected boolean, got `%s`", text);
        }
        return value;
    case KIND_NUMBER:
        return number_of(text, type);
    default:
        value = json_string(text);
        if (value == NULL) {
            fail("`%s` is not UTF-8", text);
        }
        return value;
    }
}

bool input_where(json_t *filter, const char *text, json_t *properties)
{
    const char *at;
    const struct operator* operator= operator_find(text, &at);
    if (operator== NULL) {
        return fail("invalid --where `%s`: expected FIELD=VALUE, or >=, <=, >, <", text);
    }
    struct slice key = text_trim(slice_of(text, (size_t)(at - text)));
    struct buf name = {0};
    buf_bytes(&name, key.ptr, key.len);
    const char *known = member_nocase(properties, name.at);
    const json_t *type = known ? field_type(json_object_get(properties, known)) : NULL;
    enum kind kind = type_kind(type);
    bool good = true;
    if (operator->suffix[0] != '\0' && known != NULL && kind != KIND_NUMBER && kind != KIND_DATE) {
        good = fail("operator `%s` is only for numbers and dates", operator->sign);
    }
    if (known != NULL) {
        buf_free(&name);
        buf_add(&name, known);
    }
    buf_add(&name, operator->suffix);
    if (good) {
        json_t *value = where_value(at + strlen(operator->sign), type);
        good = value != NULL && (json_object_set_new(filter, name.at, value) == 0 ||
                                 fail("`%s` is not UTF-8", name.at));
    }
    buf_free(&name);
    return good;
}

/* --- lists -------------------------------------------------------------------------------------
 */

static bool is_among(char c, const char *set)
{
    return c != '\0' && strchr(set, c) != NULL;
}

json_t *input_ids(const char *text)
{
    static const char between[] = ", \t\r\n";
    text += strspn(text, " \t\r\n");
    json_t *ids = text[0] == '[' ? json_loads(text, 0, NULL) : NULL;
    if (ids == NULL) {
        ids = need(json_array());
        while (*text != '\0') {
            size_t len = strcspn(text, between);
            if (len > 0) {
                json_array_append_new(ids, json_stringn(text, len)); /* not if it is no UTF-8 */
            }
            text += len + (is_among(text[len], between) ? 1 : 0);
        }
    }
    size_t i;
    json_t *id;
    json_array_foreach(ids, i, id)
    {
        if (!json_is_string(id)) {
            fail("the ids must be strings");
            json_decref(ids);
            return NULL;
        }
    }
    return ids;
}

bool input_names(json_t *names, const char *text, json_t *properties)
{
    static const char *const always[] = {"id", "@type"};
    for (;;) {
        struct slice name = text_trim(slice_of(text, strcspn(text, ",")));
        struct buf typed_name = {0};
        buf_bytes(&typed_name, name.ptr, name.len);
        const char *known = member_nocase(properties, typed_name.at);
        for (size_t i = 0; i < mx_countof(always); i++) {
            if (text_equal_nocase(name, slice_of_text(always[i]))) {
                known = always[i];
            }
        }
        bool good = known != NULL || fail("unknown field: %s", typed_name.at);
        buf_free(&typed_name);
        if (!good) {
            return false;
        }
        json_array_append_new(names, json_string(known));
        text += strcspn(text, ",");
        if (*text == '\0') {
            return true;
        }
        text++;
    }
}

json_t *input_object(const char *text)
{
    json_error_t error;
    json_t *value = json_loads(text, JSON_REJECT_DUPLICATES, &error);
    if (value == NULL) {
        fail("invalid JSON: %s", error.text);
    } else if (!json_is_object(value)) {
        fail("the input must be a JSON object");
        json_decref(value);
        value = NULL;
    }
    return value;
}
