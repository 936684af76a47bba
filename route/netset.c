#include "route/netset.h"

#include "core/hash.h"

#include <stdlib.h>

enum { LENGTHS_MAX = 33 + 129 };

struct length {
    uint8_t family, bits;
};

struct netset {
    size_t mask; /* slots - 1 */
    uint64_t seed;
    struct length lengths[LENGTHS_MAX];
    unsigned length_count;
    struct netset_entry slots[]; /* family 0 = empty */
};

/* The address with all bits behind the prefix cleared. */
static struct netmask masked(const struct netaddr *addr, uint8_t bits)
{
    struct netmask out = {.addr = {.family = addr->family}, .bits = bits};
    for (unsigned i = 0; i < bits / 8u; i++) {
        out.addr.bytes[i] = addr->bytes[i];
    }
    if (bits % 8 != 0) {
        out.addr.bytes[bits / 8] = (uint8_t)(addr->bytes[bits / 8] & (0xff << (8 - bits % 8)));
    }
    return out;
}

static size_t home(const struct netset *set, const struct netmask *mask)
{
    uint64_t seed = set->seed + ((uint64_t)mask->addr.family << 8 | mask->bits);
    return hash_seeded(slice_of(mask->addr.bytes, sizeof mask->addr.bytes), seed) & set->mask;
}

static const struct netset_entry *find(const struct netset *set, const struct netmask *mask)
{
    size_t at = home(set, mask);
    while (set->slots[at].mask.addr.family != 0 &&
           (set->slots[at].mask.bits != mask->bits ||
            !netaddr_equal(&set->slots[at].mask.addr, &mask->addr))) {
        at = (at + 1) & set->mask;
    }
    return &set->slots[at];
}

static void note_length(struct netset *set, const struct netmask *mask)
{
    for (unsigned i = 0; i < set->length_count; i++) {
        if (set->lengths[i].family == mask->addr.family && set->lengths[i].bits == mask->bits) {
            return;
        }
    }
    set->lengths[set->length_count++] = (struct length){mask->addr.family, mask->bits};
}

/* Of two entries for one network the one that lasts longer counts. */
static void put(struct netset *set, const struct netset_entry *entry)
{
    struct netmask key = masked(&entry->mask.addr, entry->mask.bits);
    struct netset_entry *slot = (struct netset_entry *)(uintptr_t)find(set, &key);
    bool is_new = slot->mask.addr.family == 0;
    if (is_new || entry->expires_ms == 0 ||
        (slot->expires_ms != 0 && entry->expires_ms > slot->expires_ms)) {
        slot->expires_ms = entry->expires_ms;
    }
    slot->mask = key;
    note_length(set, &key);
}

mx_err netset_new(struct netset **out_set, const struct netset_entry *entries, size_t count,
                  uint64_t seed)
{
    size_t slots = 8;
    while (slots < count * 2) {
        slots *= 2;
    }
    struct netset *set = count == 0 ? NULL : calloc(1, sizeof *set + slots * sizeof set->slots[0]);
    if (set == NULL && count > 0) {
        return MX_ERR_NOMEM;
    }
    if (set != NULL) {
        set->mask = slots - 1;
        set->seed = seed;
    }
    for (size_t i = 0; i < count; i++) {
        put(set, &entries[i]);
    }
    *out_set = set;
    return MX_OK;
}

void netset_free(struct netset *set)
{
    free(set);
}

bool netset_has(const struct netset *set, const struct netaddr *addr, int64_t wall_ms)
{
    for (unsigned i = 0; set != NULL && i < set->length_count; i++) {
        if (set->lengths[i].family != addr->family) {
            continue;
        }
        struct netmask key = masked(addr, set->lengths[i].bits);
        const struct netset_entry *entry = find(set, &key);
        if (entry->mask.addr.family != 0 &&
            (entry->expires_ms == 0 || entry->expires_ms > wall_ms)) {
            return true;
        }
    }
    return false;
}
