#include "route/directory.h"

#include "core/check.h"
#include "core/hash.h"
#include "core/text.h"

#include <stdlib.h>

enum { SLOTS_FIRST = 64, LOCAL_MAX = 320, DOMAIN_NAME_MAX = 255 };

/* Open addressing with linear probing, at most 3/4 full. A slot is a hash (0 = empty) and a pointer
 * to the publisher's record, in an array each: what is not there costs a look at the hashes alone,
 * and for what is there both are on their way from memory at once. Removal moves followers back, so
 * there are no tombstones. */
struct table {
    uint32_t *hashes;
    const void **records;
    size_t mask; /* capacity - 1; 0 = empty */
    size_t used;
};

struct directory {
    uint64_t seed;
    directory_advise_fn advise;
    struct table domains;
    struct table addresses;
};

/* --- tables ------------------------------------------------------------------------------------
 */

static mx_err table_new(struct table *table, size_t capacity, directory_advise_fn advise)
{
    size_t bytes = capacity * (sizeof(void *) + sizeof(uint32_t)); /* both arrays in one piece */
    bool large = bytes >= DIRECTORY_ALIGN && advise != NULL;
    bytes = large ? mx_round_up(bytes, DIRECTORY_ALIGN) : bytes;
    const void **records = large ? aligned_alloc(DIRECTORY_ALIGN, bytes) : malloc(bytes);
    if (records == NULL) {
        return MX_ERR_NOMEM;
    }
    if (large) {
        advise(records, bytes);
    }
    *table = (struct table){
        .records = records, .hashes = (uint32_t *)(records + capacity), .mask = capacity - 1};
    memset(table->hashes, 0, capacity * sizeof *table->hashes);
    return MX_OK;
}

static mx_err table_grow(struct directory *dir, struct table *table, size_t wanted)
{
    size_t capacity = table->mask ? table->mask + 1 : SLOTS_FIRST;
    struct table grown;
    while (capacity - capacity / 4 < wanted) {
        capacity *= 2;
    }
    if (table->records != NULL && capacity == table->mask + 1) {
        return MX_OK;
    }
    mx_err err = table_new(&grown, capacity, dir->advise);
    if (err) {
        return err;
    }
    for (size_t i = 0; table->records != NULL && i <= table->mask; i++) {
        if (table->hashes[i] == 0) {
            continue;
        }
        size_t at = table->hashes[i] & grown.mask;
        while (grown.hashes[at] != 0) {
            at = (at + 1) & grown.mask;
        }
        grown.hashes[at] = table->hashes[i];
        grown.records[at] = table->records[i];
    }
    grown.used = table->used;
    free(table->records);
    *table = grown;
    return MX_OK;
}

typedef bool (*match_fn)(const void *record, const void *key);

/* Index of the matching slot, or of the empty one where it would go. */
static inline size_t table_find(const struct table *table, uint32_t hash, match_fn match,
                                const void *key)
{
    size_t at = hash & table->mask;
    __builtin_prefetch(&table->records[at]);
    while (table->hashes[at] != 0 &&
           (table->hashes[at] != hash || !match(table->records[at], key))) {
        at = (at + 1) & table->mask;
    }
    return at;
}

static mx_err table_put(struct directory *dir, struct table *table, uint32_t hash, match_fn match,
                        const void *key, const void *record)
{
    mx_err err = table_grow(dir, table, table->used + 1);
    if (err) {
        return err;
    }
    size_t at = table_find(table, hash, match, key);
    table->used += table->hashes[at] == 0;
    table->hashes[at] = hash;
    table->records[at] = record;
    return MX_OK;
}

static void table_remove(struct table *table, uint32_t hash, match_fn match, const void *key)
{
    if (table->records == NULL) {
        return;
    }
    size_t hole = table_find(table, hash, match, key);
    if (table->hashes[hole] == 0) {
        return;
    }
    table->used--;
    for (size_t at = (hole + 1) & table->mask; table->hashes[at] != 0;
         at = (at + 1) & table->mask) {
        size_t home = table->hashes[at] & table->mask;
        /* May it move to the hole? Only if its home is not between hole and here. */
        if (((at - home) & table->mask) >= ((at - hole) & table->mask)) {
            table->hashes[hole] = table->hashes[at];
            table->records[hole] = table->records[at];
            hole = at;
        }
    }
    table->hashes[hole] = 0;
}

static inline const void *table_get(const struct table *table, uint32_t hash, match_fn match,
                                    const void *key)
{
    if (table->records == NULL) {
        return NULL;
    }
    size_t at = table_find(table, hash, match, key);
    return table->hashes[at] == 0 ? NULL : table->records[at];
}

/* --- keys --------------------------------------------------------------------------------------
 */

static bool domain_match(const void *record, const void *key)
{
    return slice_equal(((const struct dir_domain *)record)->name, *(const struct slice *)key);
}

struct address_key {
    uint64_t domain_id;
    struct slice local;
};

static bool address_match(const void *record, const void *key)
{
    const struct dir_address *address = record;
    const struct address_key *wanted = key;
    return address->domain_id == wanted->domain_id && slice_equal(address->local, wanted->local);
}

static uint32_t slot_hash(uint64_t hash)
{
    return (uint32_t)hash == 0 ? 1 : (uint32_t)hash; /* 0 is an empty slot */
}

static uint32_t domain_hash(const struct directory *dir, struct slice name)
{
    return slot_hash(hash_seeded(name, dir->seed));
}

static uint32_t address_hash(const struct directory *dir, const struct address_key *key)
{
    return slot_hash(
        hash_seeded(key->local, dir->seed ^ (key->domain_id * UINT64_C(0x9e3779b97f4a7c15))));
}

/* --- contents ----------------------------------------------------------------------------------
 */

mx_err directory_new(struct directory **out_dir, uint64_t seed)
{
    struct directory *dir = calloc(1, sizeof *dir);
    if (dir == NULL) {
        return MX_ERR_NOMEM;
    }
    dir->seed = seed;
    *out_dir = dir;
    return MX_OK;
}

void directory_advise(struct directory *dir, directory_advise_fn advise)
{
    dir->advise = advise;
}

void directory_free(struct directory *dir)
{
    if (dir != NULL) {
        free(dir->domains.records);
        free(dir->addresses.records);
        free(dir);
    }
}

mx_err directory_reserve(struct directory *dir, size_t domains, size_t addresses)
{
    mx_err err = table_grow(dir, &dir->domains, dir->domains.used + domains);
    return err ? err : table_grow(dir, &dir->addresses, dir->addresses.used + addresses);
}

mx_err directory_put_domain(struct directory *dir, const struct dir_domain *domain)
{
    return table_put(dir, &dir->domains, domain_hash(dir, domain->name), domain_match,
                     &domain->name, domain);
}

mx_err directory_put_address(struct directory *dir, const struct dir_address *address)
{
    struct address_key key = {address->domain_id, address->local};
    return table_put(dir, &dir->addresses, address_hash(dir, &key), address_match, &key, address);
}

void directory_remove_domain(struct directory *dir, struct slice name)
{
    table_remove(&dir->domains, domain_hash(dir, name), domain_match, &name);
}

void directory_remove_address(struct directory *dir, uint64_t domain_id, struct slice local)
{
    struct address_key key = {domain_id, local};
    table_remove(&dir->addresses, address_hash(dir, &key), address_match, &key);
}

void directory_stats(const struct directory *dir, struct directory_stats *out)
{
    *out = (struct directory_stats){.domains = dir->domains.used, .addresses = dir->addresses.used};
    out->capacity = dir->addresses.records == NULL ? 0 : dir->addresses.mask + 1;
    size_t domain_slots = dir->domains.records == NULL ? 0 : dir->domains.mask + 1;
    out->memory_bytes =
        sizeof *dir + (out->capacity + domain_slots) * (sizeof(void *) + sizeof(uint32_t));
}

/* Behind the last "@"; 0: there is none. */
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
    const struct dir_address *found =
        domain == NULL ? NULL
                       : directory_find_address(dir, domain->id, slice_first(mailbox, at - 1));
    return found == NULL ? NULL : found->list;
}

/* --- resolving ---------------------------------------------------------------------------------
 */

const struct dir_domain *directory_find_domain(const struct directory *dir, struct slice name)
{
    return table_get(&dir->domains, domain_hash(dir, name), domain_match, &name);
}

const struct dir_address *directory_find_address(const struct directory *dir, uint64_t domain_id,
                                                 struct slice local)
{
    struct address_key key = {domain_id, local};
    return table_get(&dir->addresses, address_hash(dir, &key), address_match, &key);
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

static const struct dir_address *address_get(const struct directory *dir, uint64_t domain_id,
                                             struct slice local)
{
    const struct dir_address *found = directory_find_address(dir, domain_id, local);
    return found != NULL && found->enabled ? found : NULL;
}

static void resolve_to(struct resolution *out, const struct dir_address *address)
{
    out->kind = RESOLVE_LOCAL;
    out->address = address;
    out->found = address->kind;
    out->object_id = address->object_id;
    out->mailbox = address->mailbox;
}

/* The address itself, then without its tag. local is lower case. */
static const struct dir_address *find_tagged(const struct directory *dir,
                                             const struct dir_domain *domain, struct slice local,
                                             bool *out_tag)
{
    const struct dir_address *found = address_get(dir, domain->id, local);
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
static const struct dir_address *find_target(const struct directory *dir, struct slice target)
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
    const struct dir_address *target = NULL;
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
    const struct dir_address *found = find_tagged(dir, domain, local, &out->via_tag);
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
