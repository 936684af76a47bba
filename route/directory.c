#include "route/directory.h"

#include "core/check.h"
#include "core/hash.h"
#include "core/text.h"

#include <stdlib.h>

/* Open addressing with linear probing, at most 4/5 full. A slot is 8 bytes: the address of the
 * publisher's record in the lower 48 bits (user space has no more on the machines we run on), above
 * them the upper bits of its hash. While a table grows, what is not yet moved is in the old slots.
 */
enum { TAG_SHIFT = 48, SLOT_GONE = 1 };

struct slots {
    uint64_t *items; /* 0: empty; SLOT_GONE, in old slots: moved or removed */
    size_t mask;     /* capacity - 1 */
};

typedef bool (*match_fn)(const void *record, const void *key);

/* What a table holds. */
struct table_kind {
    uint64_t (*hash)(const struct directory *dir, const void *key);
    uint64_t (*record_hash)(const struct directory *dir, const void *record);
    match_fn match;
};

struct table {
    const struct table_kind *kind;
    struct slots slots;
    struct slots old; /* items NULL: nothing is left there */
    size_t moved;     /* of the old slots */
    size_t used;      /* records in both */
};

struct directory {
    uint64_t seed;
    struct table domains;
    struct table addresses;
};

enum {
    SLOTS_FIRST = 64,
    LOCAL_MAX = 320,
    DOMAIN_NAME_MAX = 255,
    MOVE_AT_ONCE = 1024, /* slots: a table as small as this grows in one go */
    MOVE_PER_PUT = 8,    /* so that the old slots are empty long before the next growth */
};

/* --- keys --------------------------------------------------------------------------------------
 */

struct address_key {
    uint64_t domain_id;
    struct slice local;
};

static uint64_t domain_hash(const struct directory *dir, const void *key)
{
    return hash_seeded(*(const struct slice *)key, dir->seed);
}

static uint64_t address_hash(const struct directory *dir, const void *key)
{
    const struct address_key *address = key;
    return hash_seeded(address->local,
                       dir->seed ^ (address->domain_id * UINT64_C(0x9e3779b97f4a7c15)));
}

static bool domain_match(const void *record, const void *key)
{
    return slice_equal(((const struct dir_domain *)record)->name, *(const struct slice *)key);
}

static bool address_match(const void *record, const void *key)
{
    const struct dir_record *address = record;
    const struct address_key *wanted = key;
    return address->domain_id == wanted->domain_id &&
           slice_equal(dir_record_local(address), wanted->local);
}

static uint64_t domain_record_hash(const struct directory *dir, const void *record)
{
    return domain_hash(dir, &((const struct dir_domain *)record)->name);
}

static uint64_t address_record_hash(const struct directory *dir, const void *record)
{
    const struct dir_record *address = record;
    struct address_key key = {address->domain_id, dir_record_local(address)};
    return address_hash(dir, &key);
}

/* --- tables ------------------------------------------------------------------------------------
 */

static size_t room_of(size_t capacity)
{
    return capacity - capacity / 5;
}

static uint64_t slot_of(const void *record, uint64_t hash)
{
    uint64_t bits = (uint64_t)(uintptr_t)record;
    MX_ASSERT(bits >> TAG_SHIFT == 0);
    return bits | (hash >> TAG_SHIFT << TAG_SHIFT);
}

static const void *record_in(uint64_t slot)
{
    return (const void *)(uintptr_t)(slot & ((UINT64_C(1) << TAG_SHIFT) - 1));
}

/* Index of the matching slot, or of the empty one where it would go. */
static size_t slots_find(const struct slots *slots, uint64_t hash, match_fn match, const void *key)
{
    size_t at = hash & slots->mask;
    for (uint64_t slot; (slot = slots->items[at]) != 0; at = (at + 1) & slots->mask) {
        if (slot >> TAG_SHIFT == hash >> TAG_SHIFT && slot != SLOT_GONE &&
            match(record_in(slot), key)) {
            break;
        }
    }
    return at;
}

static void slots_insert(struct slots *slots, uint64_t hash, uint64_t slot)
{
    size_t at = hash & slots->mask;
    while (slots->items[at] != 0) {
        at = (at + 1) & slots->mask;
    }
    slots->items[at] = slot;
}

/* Moves what is in the next n of the old slots; frees them when they are empty. */
static void table_move(const struct directory *dir, struct table *table, size_t n)
{
    struct slots *old = &table->old;
    for (; old->items != NULL && n > 0; n--) {
        uint64_t slot = old->items[table->moved];
        if (slot != 0 && slot != SLOT_GONE) {
            slots_insert(&table->slots, table->kind->record_hash(dir, record_in(slot)), slot);
            old->items[table->moved] = SLOT_GONE;
        }
        if (table->moved++ == old->mask) {
            free(old->items);
            *old = (struct slots){0};
        }
    }
}

/* Room for n more. What is there moves over in small steps, so that growing takes no time that
 * anybody notices. */
static mx_err table_reserve(const struct directory *dir, struct table *table, size_t n)
{
    size_t wanted = table->used + n;
    size_t capacity = table->slots.items ? table->slots.mask + 1 : SLOTS_FIRST;
    if (table->slots.items != NULL && wanted <= room_of(capacity)) {
        return MX_OK;
    }
    while (room_of(capacity) < wanted) {
        capacity *= 2;
    }
    uint64_t *items = calloc(capacity, sizeof *items);
    if (items == NULL) {
        return MX_ERR_NOMEM;
    }
    table_move(dir, table, SIZE_MAX); /* of an earlier growth: hardly ever anything is left */
    table->old = table->slots;
    table->moved = 0;
    table->slots = (struct slots){items, capacity - 1};
    if (table->old.mask < MOVE_AT_ONCE) {
        table_move(dir, table, SIZE_MAX);
    }
    return MX_OK;
}

static mx_err table_put(const struct directory *dir, struct table *table, const void *key,
                        const void *record)
{
    mx_err err = table_reserve(dir, table, 1);
    if (err) {
        return err;
    }
    uint64_t hash = table->kind->hash(dir, key);
    struct slots *slots = &table->slots;
    size_t at = slots_find(slots, hash, table->kind->match, key);
    if (slots->items[at] == 0 && table->old.items != NULL) {
        size_t before = slots_find(&table->old, hash, table->kind->match, key);
        if (table->old.items[before] != 0) {
            table->old.items[before] = SLOT_GONE;
            table->used--;
        }
    }
    table->used += slots->items[at] == 0;
    slots->items[at] = slot_of(record, hash);
    table_move(dir, table, MOVE_PER_PUT);
    return MX_OK;
}

/* Followers move back, so there are no tombstones but in slots that are being given up. */
static void slots_close_gap(const struct directory *dir, const struct table *table, size_t hole)
{
    const struct slots *slots = &table->slots;
    for (size_t at = (hole + 1) & slots->mask; slots->items[at] != 0; at = (at + 1) & slots->mask) {
        size_t home = table->kind->record_hash(dir, record_in(slots->items[at])) & slots->mask;
        /* May it move to the hole? Only if its home is not between hole and here. */
        if (((at - home) & slots->mask) >= ((at - hole) & slots->mask)) {
            slots->items[hole] = slots->items[at];
            hole = at;
        }
    }
    slots->items[hole] = 0;
}

static void table_remove(const struct directory *dir, struct table *table, const void *key)
{
    uint64_t hash = table->kind->hash(dir, key);
    if (table->slots.items == NULL) {
        return;
    }
    size_t at = slots_find(&table->slots, hash, table->kind->match, key);
    if (table->slots.items[at] != 0) {
        slots_close_gap(dir, table, at);
        table->used--;
    } else if (table->old.items != NULL) {
        at = slots_find(&table->old, hash, table->kind->match, key);
        if (table->old.items[at] != 0) {
            table->old.items[at] = SLOT_GONE;
            table->used--;
        }
    }
}

static const void *table_get(const struct directory *dir, const struct table *table,
                             const void *key)
{
    uint64_t hash = table->kind->hash(dir, key);
    if (table->slots.items == NULL) {
        return NULL;
    }
    uint64_t slot = table->slots.items[slots_find(&table->slots, hash, table->kind->match, key)];
    if (slot == 0 && table->old.items != NULL) {
        slot = table->old.items[slots_find(&table->old, hash, table->kind->match, key)];
    }
    return record_in(slot);
}

static size_t table_bytes(const struct table *table)
{
    size_t slots = table->slots.items == NULL ? 0 : table->slots.mask + 1;
    size_t old = table->old.items == NULL ? 0 : table->old.mask + 1;
    return (slots + old) * sizeof(uint64_t);
}

/* --- contents ----------------------------------------------------------------------------------
 */

static const struct table_kind domain_kind = {domain_hash, domain_record_hash, domain_match};
static const struct table_kind address_kind = {address_hash, address_record_hash, address_match};

mx_err directory_new(struct directory **out_dir, uint64_t seed)
{
    struct directory *dir = calloc(1, sizeof *dir);
    if (dir == NULL) {
        return MX_ERR_NOMEM;
    }
    dir->seed = seed;
    dir->domains.kind = &domain_kind;
    dir->addresses.kind = &address_kind;
    *out_dir = dir;
    return MX_OK;
}

void directory_free(struct directory *dir)
{
    if (dir != NULL) {
        free(dir->domains.slots.items);
        free(dir->domains.old.items);
        free(dir->addresses.slots.items);
        free(dir->addresses.old.items);
        free(dir);
    }
}

mx_err directory_reserve(struct directory *dir, size_t domains, size_t addresses)
{
    mx_err err = table_reserve(dir, &dir->domains, domains);
    return err ? err : table_reserve(dir, &dir->addresses, addresses);
}

bool directory_settle(struct directory *dir, size_t slots)
{
    table_move(dir, &dir->domains, slots);
    table_move(dir, &dir->addresses, slots);
    return dir->domains.old.items == NULL && dir->addresses.old.items == NULL;
}

mx_err directory_put_domain(struct directory *dir, const struct dir_domain *domain)
{
    return table_put(dir, &dir->domains, &domain->name, domain);
}

mx_err directory_put_address(struct directory *dir, const struct dir_record *address)
{
    struct address_key key = {address->domain_id, dir_record_local(address)};
    return table_put(dir, &dir->addresses, &key, address);
}

void directory_remove_domain(struct directory *dir, struct slice name)
{
    table_remove(dir, &dir->domains, &name);
}

void directory_remove_address(struct directory *dir, uint64_t domain_id, struct slice local)
{
    struct address_key key = {domain_id, local};
    table_remove(dir, &dir->addresses, &key);
}

void directory_stats(const struct directory *dir, struct directory_stats *out)
{
    *out = (struct directory_stats){.domains = dir->domains.used, .addresses = dir->addresses.used};
    out->capacity = dir->addresses.slots.items == NULL ? 0 : dir->addresses.slots.mask + 1;
    out->memory_bytes = sizeof *dir + table_bytes(&dir->domains) + table_bytes(&dir->addresses);
}

static size_t at_sign(struct slice address)
{
    const uint8_t *at = address.len == 0 ? NULL : memrchr(address.ptr, '@', address.len);
    return at == NULL ? 0 : (size_t)(at - address.ptr) + 1;
}

const struct dir_list *directory_find_list(const struct directory *dir, struct slice mailbox)
{
    size_t at = at_sign(mailbox);
    const struct dir_domain *domain =
        at == 0 ? NULL : directory_find_domain(dir, slice_from(mailbox, at));
    const struct dir_record *found =
        domain == NULL ? NULL
                       : directory_find_address(dir, domain->id, slice_first(mailbox, at - 1));
    return found == NULL ? NULL : dir_record_list(found);
}

/* --- resolving ---------------------------------------------------------------------------------
 */

const struct dir_domain *directory_find_domain(const struct directory *dir, struct slice name)
{
    return table_get(dir, &dir->domains, &name);
}

const struct dir_record *directory_find_address(const struct directory *dir, uint64_t domain_id,
                                                struct slice local)
{
    struct address_key key = {domain_id, local};
    return table_get(dir, &dir->addresses, &key);
}

static const struct dir_domain *domain_get(const struct directory *dir, struct slice domain)
{
    uint8_t lower[DOMAIN_NAME_MAX];
    if (domain.len == 0 || domain.len > sizeof lower) {
        return NULL;
    }
    const struct dir_domain *found = directory_find_domain(dir, text_lowered(lower, domain));
    return found != NULL && found->enabled ? found : NULL;
}

static const struct dir_record *address_get(const struct directory *dir, uint64_t domain_id,
                                            struct slice local)
{
    const struct dir_record *found = directory_find_address(dir, domain_id, local);
    return found != NULL && found->enabled ? found : NULL;
}

static void resolve_to(struct resolution *out, const struct dir_record *address)
{
    out->kind = RESOLVE_LOCAL;
    out->found = (enum dir_kind)address->kind;
    out->object_id = address->object_id;
    out->mailbox = dir_record_mailbox(address);
}

/* The address itself, then without its tag. local is lower case. */
static const struct dir_record *find_tagged(const struct directory *dir,
                                            const struct dir_domain *domain, struct slice local,
                                            bool *out_tag)
{
    const struct dir_record *found = address_get(dir, domain->id, local);
    *out_tag = false;
    if (found == NULL && domain->tag_mode != 0) {
        size_t plus = slice_find(local, '+');
        if (plus > 0 && plus < local.len) {
            found = address_get(dir, domain->id, slice_first(local, plus));
            *out_tag = found != NULL;
        }
    }
    return found;
}

/* Follows an address that is configured as a target; no catch-all is applied again. */
static const struct dir_record *find_target(const struct directory *dir, struct slice target)
{
    uint8_t lower[LOCAL_MAX];
    size_t at = at_sign(target);
    bool tag;
    if (at < 2 || at - 1 > sizeof lower) {
        return NULL;
    }
    const struct dir_domain *domain = domain_get(dir, slice_from(target, at));
    if (domain == NULL) {
        return NULL;
    }
    return find_tagged(dir, domain, text_lowered(lower, slice_first(target, at - 1)), &tag);
}

/* Where postmaster mail goes that no account takes (RFC 5321 section 4.5.1). */
static void resolve_postmaster(const struct directory *dir, const struct dir_domain *domain,
                               struct slice postmaster, struct resolution *out)
{
    const struct dir_record *target = NULL;
    out->is_postmaster = true;
    out->kind = RESOLVE_RELAY;
    if (domain != NULL && domain->allow_relaying) {
        return;
    }
    if (domain != NULL) {
        target = find_target(dir, domain->catch_all);
        out->via_catch_all = target != NULL;
    }
    if (target == NULL) {
        target = find_target(dir, postmaster);
    }
    if (target != NULL) {
        resolve_to(out, target);
    }
}

static void resolve_in_domain(const struct directory *dir, const struct dir_domain *domain,
                              struct slice local, struct slice postmaster, struct resolution *out)
{
    const struct dir_record *found = find_tagged(dir, domain, local, &out->via_tag);
    if (found != NULL) {
        resolve_to(out, found);
        return;
    }
    if (slice_equal(local, SLICE_LITERAL("postmaster"))) {
        resolve_postmaster(dir, domain, postmaster, out);
        return;
    }
    if (domain->allow_relaying) {
        out->kind = RESOLVE_RELAY;
        return;
    }
    found = find_target(dir, domain->catch_all);
    if (found != NULL) {
        resolve_to(out, found);
        out->via_catch_all = true;
        return;
    }
    out->kind = RESOLVE_UNKNOWN_USER;
}

/* In lower case and without the quotes: both spellings are one address (RFC 5321 section 4.1.2). */
static struct slice plain_local(uint8_t *buf, struct slice local)
{
    size_t len = 0;
    if (local.len < 2 || local.ptr[0] != '"') {
        return text_lowered(buf, local);
    }
    for (size_t i = 1; i + 1 < local.len; i++) {
        i += local.ptr[i] == '\\' && i + 2 < local.len;
        buf[len++] = ascii_lower(local.ptr[i]);
    }
    return slice_of(buf, len);
}

mx_err directory_put_block(struct directory *dir, const struct dir_block *block)
{
    mx_err err = MX_OK;
    for (size_t at = 0; !err && at < block->bytes;) {
        const struct dir_record *record = (const void *)(block->records + at);
        err = directory_put_address(dir, record);
        at += dir_record_size(record);
    }
    return err;
}

void directory_resolve(const struct directory *dir, struct slice local, struct slice domain,
                       struct slice postmaster, struct resolution *out)
{
    uint8_t lower[LOCAL_MAX];
    *out = (struct resolution){.kind = RESOLVE_UNKNOWN_DOMAIN};
    if (local.len > sizeof lower) {
        return;
    }
    struct slice name = plain_local(lower, local);
    if (domain.len == 0) {
        if (slice_equal(name, SLICE_LITERAL("postmaster"))) {
            resolve_postmaster(dir, NULL, postmaster, out);
        }
        return;
    }
    const struct dir_domain *record = domain_get(dir, domain);
    out->domain = record;
    if (record != NULL) {
        resolve_in_domain(dir, record, name, postmaster, out);
    }
}

bool directory_is_local_domain(const struct directory *dir, struct slice domain)
{
    return domain_get(dir, domain) != NULL;
}

bool directory_is_local_address(const struct directory *dir, struct slice address)
{
    return find_target(dir, address) != NULL;
}
