#include "admin/permission.h"

#include "core/check.h"

enum { FIRST_VARIANT = PERMISSION_TYPES_MAX * PERMISSION_VERBS };

static const char *const verbs[PERMISSION_VERBS] = {"Get", "Query", "Create", "Update", "Destroy"};

static bool exists(const struct reg_type *type, unsigned verb)
{
    return !type->singleton || verb == PERMISSION_GET || verb == PERMISSION_UPDATE;
}

static bool take(struct slice *text, struct slice prefix)
{
    if (!slice_equal(slice_first(*text, prefix.len), prefix)) {
        return false;
    }
    *text = slice_from(*text, prefix.len);
    return true;
}

int permission_of(const struct reg_type *type, enum permission_verb verb)
{
    MX_ASSERT(reg_type_count <= PERMISSION_TYPES_MAX);
    return exists(type, verb) ? (int)((type - reg_types) * PERMISSION_VERBS + verb) : -1;
}

/* A variant whose creation needs a permission of its own. */
struct variant_slot {
    const struct reg_type *type;
    const struct reg_variant *variant;
};

/* In the order of the table; false: there are not so many. */
static bool variant_slot(int index, struct variant_slot *out)
{
    for (uint32_t i = 0; i < reg_type_count; i++) {
        const struct reg_shape *shape = &reg_types[i].shape;
        if (!reg_types[i].variant_prefix) {
            continue;
        }
        if (index < (int)shape->variant_count) {
            *out = (struct variant_slot){&reg_types[i], &shape->variants[index]};
            return true;
        }
        index -= (int)shape->variant_count;
    }
    return false;
}

static int find_variant(struct slice name)
{
    struct variant_slot slot;
    for (int i = 0; variant_slot(i, &slot); i++) {
        struct slice rest = name;
        MX_ASSERT(i < PERMISSION_VARIANTS_MAX);
        if (take(&rest, slice_of_text(slot.type->variant_prefix)) &&
            slice_equal(rest, slice_of_text(slot.variant->name))) {
            return FIRST_VARIANT + i;
        }
    }
    return -1;
}

int permission_find(struct slice name)
{
    struct slice of_type = name;
    if (!take(&of_type, SLICE_LITERAL("sys"))) {
        return find_variant(name);
    }
    for (uint32_t i = 0; i < reg_type_count; i++) {
        struct slice rest = of_type;
        if (!take(&rest, slice_of_text(reg_types[i].shape.name))) {
            continue;
        }
        for (unsigned verb = 0; verb < PERMISSION_VERBS; verb++) {
            if (slice_equal(rest, slice_of_text(verbs[verb]))) {
                return permission_of(&reg_types[i], verb);
            }
        }
    }
    return -1;
}

void put_permission(struct writer *w, int permission)
{
    struct variant_slot slot;
    if (permission >= FIRST_VARIANT) {
        MX_ASSERT(variant_slot(permission - FIRST_VARIANT, &slot));
        put_text(w, slot.type->variant_prefix);
        put_text(w, slot.variant->name);
        return;
    }
    MX_ASSERT(permission >= 0 && permission / PERMISSION_VERBS < (int)reg_type_count);
    put_text(w, "sys");
    put_text(w, reg_types[permission / PERMISSION_VERBS].shape.name);
    put_text(w, verbs[permission % PERMISSION_VERBS]);
}

void permission_add(struct permission_set *set, int permission)
{
    MX_ASSERT(permission >= 0 && permission < PERMISSION_BITS);
    set->words[permission / 64] |= UINT64_C(1) << (permission % 64);
}

bool permission_has(const struct permission_set *set, int permission)
{
    return permission >= 0 && permission < PERMISSION_BITS &&
           (set->words[permission / 64] >> (permission % 64) & 1) != 0;
}

struct permission_set permission_all(void)
{
    struct permission_set all = {0};
    for (uint32_t i = 0; i < reg_type_count; i++) {
        for (unsigned verb = 0; verb < PERMISSION_VERBS; verb++) {
            if (exists(&reg_types[i], verb)) {
                permission_add(&all, permission_of(&reg_types[i], verb));
            }
        }
    }
    struct variant_slot slot;
    for (int i = 0; variant_slot(i, &slot); i++) {
        permission_add(&all, FIRST_VARIANT + i);
    }
    return all;
}

void permission_join(struct permission_set *set, const struct permission_set *more)
{
    for (size_t i = 0; i < PERMISSION_WORDS; i++) {
        set->words[i] |= more->words[i];
    }
}

void permission_remove(struct permission_set *set, const struct permission_set *less)
{
    for (size_t i = 0; i < PERMISSION_WORDS; i++) {
        set->words[i] &= ~less->words[i];
    }
}

void permission_intersect(struct permission_set *set, const struct permission_set *other)
{
    for (size_t i = 0; i < PERMISSION_WORDS; i++) {
        set->words[i] &= other->words[i];
    }
}

bool permission_is_empty(const struct permission_set *set)
{
    uint64_t any = 0;
    for (size_t i = 0; i < PERMISSION_WORDS; i++) {
        any |= set->words[i];
    }
    return any == 0;
}

void put_permissions(struct writer *w, const struct permission_set *set, unsigned max)
{
    unsigned count = 0;
    for (int i = 0; i < PERMISSION_BITS && count < max; i++) {
        if (permission_has(set, i)) {
            put_text(w, count++ ? ", " : "");
            put_permission(w, i);
        }
    }
}
