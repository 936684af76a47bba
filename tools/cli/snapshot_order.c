#include "tools/cli/snapshot_order.h"

#include "tools/cli/client.h"
#include "tools/cli/fail.h"
#include "tools/cli/schema.h"

#include <stdlib.h>

/* --- references --------------------------------------------------------------------------------
 */

struct walk {
    json_t *schema;
    json_t *refs; /* as in snapshot_part */
    json_t *seen; /* embedded objects */
    const char *field;
    bool mutable, optional;
};

static void walk_embedded(struct walk *w, const char *object);

/* "x:Account/Group" is a view of x:Account that shows its variant Group. */
static void add_ref(struct walk *w, const char *object, bool optional)
{
    if (object == NULL) {
        return; /* a schema that names no target: there is nothing to wait for */
    }
    const json_t *entry = json_object_get(json_object_get(w->schema, "objects"), object);
    const char *parent = member_text(entry, "objectName"), *slash = strrchr(object, '/');
    const char *variant = slash ? slash + 1 : NULL;
    struct buf base = {0};
    buf_bytes(&base, object, slash ? (size_t)(slash - object) : strlen(object));
    json_array_append_new(
        w->refs, need(json_pack("{s:s,s:s?,s:s,s:b,s:b}", "object", parent ? parent : base.at,
                                "variant", variant, "field", w->field, "optional",
                                optional || w->optional, "mutable", w->mutable)));
    buf_free(&base);
}

static void walk_type(struct walk *w, const json_t *type)
{
    const char *object = member_text(type, "objectName");
    const json_t *class = json_object_get(type, "class");
    const json_t *key_class = json_object_get(type, "keyClass");
    switch (type_kind(type)) {
    case KIND_ID:
        add_ref(w, object ? object : "", type_is_nullable(type));
        break;
    case KIND_SET:
        if (type_kind(class) == KIND_ID) {
            add_ref(w, member_text(class, "objectName"), true);
        }
        break;
    case KIND_MAP:
        if (type_kind(key_class) == KIND_ID) {
            add_ref(w, member_text(key_class, "objectName"), true);
        }
        walk_embedded(w, member_text(json_object_get(type, "valueClass"), "objectName"));
        break;
    case KIND_OBJECT:
    case KIND_LIST:
        walk_embedded(w, object);
        break;
    default:
        break;
    }
}

static void walk_embedded(struct walk *w, const char *object)
{
    if (object == NULL || json_object_get(w->seen, object) != NULL) {
        return;
    }
    json_object_set_new(w->seen, object, json_true());
    json_t *all = schema_all_fields(w->schema, object), *field;
    const char *name;
    json_object_foreach(all, name, field)
    {
        walk_type(w, field_type(field));
    }
    /* variants may type one name differently */
    json_t *variant;
    size_t i;
    json_array_foreach(schema_variants(w->schema, object), i, variant)
    {
        json_object_foreach(schema_fields(w->schema, object, member_text(variant, "name")), name,
                            field)
        {
            if (!json_equal(field, json_object_get(all, name))) {
                walk_type(w, field_type(field));
            }
        }
    }
    json_decref(all);
}

/* New reference: what the fields refer to. */
static json_t *refs_of(json_t *schema, json_t *fields)
{
    struct walk w = {.schema = schema, .refs = need(json_array())};
    json_t *field;
    const char *name;
    json_object_foreach(fields, name, field)
    {
        enum kind kind = type_kind(field_type(field));
        if (field_is_mode(field, "serverSet")) {
            continue; /* not written */
        }
        w.field = name;
        w.mutable = field_is_mode(field, "mutable");
        w.optional = kind == KIND_LIST || kind == KIND_MAP || type_is_nullable(field_type(field));
        w.seen = need(json_object());
        walk_type(&w, field_type(field));
        json_decref(w.seen);
    }
    return w.refs;
}

static bool is_in(const json_t *names, const char *name)
{
    size_t i;
    json_t *item;
    if (json_is_object(names)) {
        return json_object_get(names, name) != NULL;
    }
    json_array_foreach(names, i, item)
    {
        if (strcmp(json_string_value(item), name) == 0) {
            return true;
        }
    }
    return false;
}

static bool check_fields(json_t *schema, const char *object, json_t *fields, const json_t *selected,
                         const json_t *allowed)
{
    json_t *refs = refs_of(schema, fields), *ref;
    bool good = true;
    size_t i;
    json_array_foreach(refs, i, ref)
    {
        const char *to = member_text(ref, "object");
        if (good && !is_in(selected, to) && !is_in(allowed, to)) {
            const char *from = schema_display(object), *name = schema_display(to);
            good = fail("%s references %s but %s is not in the snapshot selection; add it, or use "
                        "--allow-unresolved %s",
                        from, name, name, name);
        }
    }
    json_decref(refs);
    return good;
}

bool snapshot_check(json_t *schema, const json_t *selected, const json_t *allowed)
{
    size_t i, j;
    json_t *item, *variant;
    bool good = true;
    json_array_foreach(selected, i, item)
    {
        const char *object = json_string_value(item);
        json_t *variants = schema_variants(schema, object);
        if (variants == NULL) {
            good = good && check_fields(schema, object, schema_fields(schema, object, NULL),
                                        selected, allowed);
        }
        json_array_foreach(variants, j, variant)
        {
            json_t *fields = schema_fields(schema, object, member_text(variant, "name"));
            good = good && check_fields(schema, object, fields, selected, allowed);
        }
    }
    return good;
}

/* --- order -------------------------------------------------------------------------------------
 */

static bool add_part(struct snapshot_order *o, json_t *schema, const char *object,
                     const char *variant)
{
    if (o->count == SNAPSHOT_PARTS_MAX) {
        return fail("more than %d types and variants", SNAPSHOT_PARTS_MAX);
    }
    o->parts[o->count++] = (struct snapshot_part){
        .object = object,
        .variant = variant,
        .refs = refs_of(schema, schema_fields(schema, object, variant)),
        .later = need(json_object()),
    };
    return true;
}

static bool is_to(const json_t *ref, const struct snapshot_part *part)
{
    const char *variant = member_text(ref, "variant");
    return strcmp(member_text(ref, "object"), part->object) == 0 &&
           (variant == NULL || part->variant == NULL || strcmp(variant, part->variant) == 0);
}

/* Whether the reference waits for a part that is not placed. A part's objects are made in one call
 * and may refer to each other. */
static bool is_open(const struct snapshot_order *o, const struct snapshot_part *from,
                    const json_t *ref)
{
    for (size_t i = 0; i < o->count; i++) {
        if (!o->parts[i].placed && &o->parts[i] != from && is_to(ref, &o->parts[i])) {
            return true;
        }
    }
    return false;
}

enum patience { PLACE_READY, PLACE_OPTIONAL_LATER, PLACE_MUTABLE_LATER, PATIENCE_COUNT };

static bool can_place(const struct snapshot_order *o, const struct snapshot_part *part,
                      enum patience patience)
{
    size_t i;
    json_t *ref;
    json_array_foreach(part->refs, i, ref)
    {
        bool mutable = json_is_true(json_object_get(ref, "mutable"));
        bool optional = json_is_true(json_object_get(ref, "optional"));
        bool may_wait = patience == PLACE_MUTABLE_LATER    ? mutable
                        : patience == PLACE_OPTIONAL_LATER ? mutable && optional
                                                           : false;
        if (!may_wait && is_open(o, part, ref)) {
            return false;
        }
    }
    return true;
}

static void place(struct snapshot_order *o, size_t index, size_t at)
{
    struct snapshot_part *part = &o->parts[index];
    size_t i;
    json_t *ref;
    json_array_foreach(part->refs, i, ref)
    {
        if (is_open(o, part, ref)) {
            json_object_set_new(part->later, member_text(ref, "field"), json_true());
        }
    }
    part->placed = true;
    o->order[at] = index;
}

static bool place_next(struct snapshot_order *o, size_t at)
{
    for (int patience = PLACE_READY; patience < PATIENCE_COUNT; patience++) {
        for (size_t i = 0; i < o->count; i++) {
            if (!o->parts[i].placed && can_place(o, &o->parts[i], (enum patience)patience)) {
                place(o, i, at);
                return true;
            }
        }
    }
    return fail("the selected types refer to each other in a circle that cannot be broken");
}

bool snapshot_order(struct snapshot_order *out, json_t *schema, const json_t *selected)
{
    *out = (struct snapshot_order){.parts = need(calloc(SNAPSHOT_PARTS_MAX, sizeof *out->parts)),
                                   .order = need(calloc(SNAPSHOT_PARTS_MAX, sizeof *out->order))};
    size_t i, j;
    json_t *item, *variant;
    bool good = true;
    json_array_foreach(selected, i, item)
    {
        const char *object = json_string_value(item);
        json_t *variants = schema_variants(schema, object);
        if (variants == NULL) {
            good = good && add_part(out, schema, object, NULL);
        }
        json_array_foreach(variants, j, variant)
        {
            good = good && add_part(out, schema, object, member_text(variant, "name"));
        }
    }
    for (size_t at = 0; good && at < out->count; at++) {
        good = place_next(out, at);
    }
    return good;
}

void snapshot_order_free(struct snapshot_order *order)
{
    for (size_t i = 0; i < order->count; i++) {
        json_decref(order->parts[i].refs);
        json_decref(order->parts[i].later);
    }
    free(order->parts);
    free(order->order);
}
