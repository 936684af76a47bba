/* Domains and addresses as records for the cores' directories: one pass over the store, text into
 * the arena. A million accounts are usual here, so nothing is allocated per row. */
#include "admin/config_private.h"

#include "admin/publish_records.h"
#include "core/check.h"

enum { BLOCK_BYTES_MAX = 256 * 1024 - 64 }; /* with its head a chunk of the arena */

struct record_list {
    struct arena *arena;
    struct dir_domain *domains;
    struct dir_block *addresses; /* the newest is the first */
    size_t domain_count, domain_max;
    size_t address_count, address_max;
};

static mx_err add_domain(void *arg, const struct store_domain_row *row)
{
    struct record_list *list = arg;
    MX_ASSERT(list->domain_count < list->domain_max);
    struct dir_domain *domain = &list->domains[list->domain_count++];
    *domain = (struct dir_domain){
        .id = row->id,
        .enabled = row->enabled,
        .allow_relaying = row->allow_relaying,
        .verify = row->verification,
        .tag_mode = row->sub_addressing,
    };
    mx_err err = arena_copy(&domain->name, list->arena, row->name);
    if (!err && row->catch_all.len) {
        err = arena_copy(&domain->catch_all, list->arena, row->catch_all);
    }
    return err;
}

/* Room for a record behind the others. */
static void *take_record(struct record_list *list, size_t bytes)
{
    struct dir_block *block = list->addresses;
    if (block == NULL || BLOCK_BYTES_MAX - block->bytes < bytes) {
        block = arena_take(list->arena, sizeof *block + BLOCK_BYTES_MAX);
        if (block == NULL) {
            return NULL;
        }
        *block = (struct dir_block){.next = list->addresses};
        list->addresses = block;
    }
    void *record = block->records + block->bytes;
    block->bytes += bytes;
    return record;
}

static mx_err put_list(struct record_list *list, const struct dir_list **out_list,
                       const json_t *members)
{
    size_t count = json_object_size(members);
    struct dir_list *made = arena_take(list->arena, sizeof(*made));
    struct dir_member *items = arena_take(list->arena, (count + 1) * sizeof(*items));
    if (!made || !items) {
        return MX_ERR_NOMEM;
    }
    size_t at = 0;
    const char *address;
    json_t *yes;
    json_object_foreach((json_t *)(uintptr_t)members, address, yes)
    {
        mx_err err = arena_copy(&items[at++].address, list->arena, slice_of_text(address));
        if (err) {
            return err;
        }
    }
    list_order(items, count);
    *made = (struct dir_list){items, (uint32_t)count};
    *out_list = made;
    return MX_OK;
}

static mx_err add_address(void *arg, const struct store_address_row *row)
{
    struct record_list *list = arg;
    uint8_t mailbox[DIR_MAILBOX_MAX];
    struct writer w = writer_init(mailbox, sizeof mailbox);
    MX_ASSERT(list->address_count < list->address_max);
    list->address_count++;
    put_slice(&w, row->account_local);
    put_char(&w, '@');
    put_slice(&w, row->account_domain);
    if (w.overflow || row->local.len > DIR_LOCAL_MAX) {
        return MX_ERR_DAMAGED; /* no such name was ever stored */
    }
    struct dir_address about = {
        .domain_id = row->domain,
        .local = row->local,
        .kind = record_kind(row->kind, row->is_alias),
        .enabled = row->enabled,
        .object_id = row->account,
        .mailbox = writer_slice(&w),
    };
    mx_err err = row->members ? put_list(list, &about.list, row->members) : MX_OK;
    if (err) {
        return err;
    }
    void *memory = take_record(list, dir_record_bytes(&about));
    if (memory == NULL) {
        return MX_ERR_NOMEM;
    }
    (void)dir_record_put(memory, &about);
    return MX_OK;
}

mx_err build_records(struct builder *b)
{
    struct record_list list = {.arena = b->arena};
    b->type = NULL;
    mx_err err = store_count_rows(b->store, &list.domain_max, &list.address_max);
    if (err) {
        return builder_store_failed(b, err);
    }
    list.domains = arena_take(b->arena, (list.domain_max + 1) * sizeof(*list.domains));
    err = list.domains ? MX_OK : MX_ERR_NOMEM;
    err = err ? err : store_each_domain(b->store, add_domain, &list);
    err = err ? err : store_each_address(b->store, add_address, &list);
    if (err) {
        return builder_store_failed(b, err);
    }
    /* Fewer rows than names: a row without the object that it belongs to. */
    if (list.domain_count != list.domain_max || list.address_count != list.address_max) {
        return builder_fail(b, MX_ERR_DAMAGED,
                            "registry.db is damaged: %zu of %zu domain names and %zu of %zu "
                            "addresses have their object",
                            list.domain_count, list.domain_max, list.address_count,
                            list.address_max);
    }
    b->config->domains = list.domains;
    b->config->domain_count = list.domain_count;
    b->config->addresses = list.addresses;
    b->config->address_count = list.address_count;
    return MX_OK;
}
