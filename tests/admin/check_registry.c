/* Every table entry is consistent, and every singleton has defaults. */
#include "tests/admin/validate_support.h"

static void check_tables(void)
{
    for (uint32_t i = 0; i < reg_type_count; i++) {
        const struct reg_type *type = &reg_types[i];
        CHECK(type->description && type->description[0]);
        CHECK(reg_type_find(slice_of_text(type->shape.name)) == type);
        if (type->singleton) {
            json_t *defaults = object_defaults(type);
            CHECK(defaults);
            json_decref(defaults);
        }
        for (uint32_t v = 0; v < type->shape.variant_count; v++) {
            const struct reg_variant *variant = &type->shape.variants[v];
            for (uint32_t f = 0; f < variant->field_count; f++) {
                const struct reg_field *field = &variant->fields[f];
                CHECK(field->description && field->description[0]);
                CHECK(!field->refers || reg_type_find(slice_of_text(field->refers)));
                CHECK(field->kind == REG_SET ||
                      (field->kind == REG_ENUM) == (field->enumeration != NULL));
                CHECK(!reg_has_word(variant->unsupported, slice_of_text(field->name)));
                CHECK(field->kind != REG_NUMBER || field->max > field->min);
                json_t *initial = field->initial ? json_loads(field->initial, JSON_DECODE_ANY, NULL)
                                                 : json_null();
                CHECK(initial);
                json_decref(initial);
            }
        }
    }
    CHECK(reg_type_find(SLICE_LITERAL("X:mtaroute")) == type_of("MtaRoute"));
    CHECK(!reg_type_find(SLICE_LITERAL("x:Group")));
}

int main(void)
{
    check_tables();
    return report("the registry");
}
