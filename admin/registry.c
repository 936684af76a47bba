#include "admin/registry.h"

#include "core/text.h"

const struct reg_type *reg_type_find(struct slice name)
{
    if (text_starts_nocase(name, SLICE_LITERAL("x:"))) {
        name = slice_from(name, 2);
    }
    for (uint32_t i = 0; i < reg_type_count; i++) {
        if (text_equal_nocase(name, slice_of_text(reg_types[i].shape.name))) {
            return &reg_types[i];
        }
    }
    return NULL;
}

const struct reg_field *reg_field_find(const struct reg_variant *variant, struct slice name)
{
    for (uint32_t i = 0; i < variant->field_count; i++) {
        if (slice_equal(name, slice_of_text(variant->fields[i].name))) {
            return &variant->fields[i];
        }
    }
    return NULL;
}

bool reg_is_multiple(const struct reg_shape *shape)
{
    return shape->variants[0].name != NULL;
}

const struct reg_variant *reg_variant_find(const struct reg_shape *shape, struct slice name)
{
    if (!reg_is_multiple(shape)) {
        return &shape->variants[0];
    }
    for (uint32_t i = 0; i < shape->variant_count; i++) {
        if (slice_equal(name, slice_of_text(shape->variants[i].name))) {
            return &shape->variants[i];
        }
    }
    return NULL;
}

bool reg_has_word(const char *list, struct slice word)
{
    struct slice rest = slice_of_text(list);
    while (rest.len) {
        size_t end = slice_find(rest, ' ');
        if (slice_equal(slice_first(rest, end), word)) {
            return word.len > 0;
        }
        rest = slice_from(rest, mx_min_size(end + 1, rest.len));
    }
    return false;
}

int reg_enum_index(const struct reg_enum *enumeration, struct slice name)
{
    for (uint32_t i = 0; i < enumeration->count; i++) {
        if (slice_equal(name, slice_of_text(enumeration->values[i].name))) {
            return (int)i;
        }
    }
    return -1;
}

bool reg_has_address(const struct reg_type *type)
{
    return reg_has_word(type->unique, SLICE_LITERAL("domainId"));
}
