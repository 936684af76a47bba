/* Domains and addresses as records for the cores' directories: one pass over the store, text into
 * the arena. A million accounts are usual here, so nothing is allocated per row. */
#include "admin/config_private.h"

#include "admin/publish_records.h"
#include "core/check.h"

struct record_list {
    struct arena *arena;
    struct dir_domain *domains;
    struct dir_address *addresses;
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
        .tag_mode = row->sub_addressing,
    };
    mx_err err = arena_copy(&domain->name, list->arena, row->name);
    if (!err && row->catch_all.len) {
        err = arena_copy(&domain->catch_all, list->arena, row->catch_all);
    }
    return err;
}

/* "local@domain"; an account's own local part is the first half of its mailbox. */
static mx_err put_mailbox(struct record_list *list, struct slice *out_mailbox, struct slice local,
                          struct slice domain)
{
    size_t len = local.len + 1 + domain.len;
    uint8_t *text = arena_take(list->arena, len);
    if (!text) {
        return MX_ERR_NOMEM;
    }
    struct writer w = writer_init(text, len);
    put_slice(&w, local);
    put_char(&w, '@');
    put_slice(&w, domain);
    MX_ASSERT(!w.overflow);
    *out_mailbox = writer_slice(&w);
    return MX_OK;
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
    MX_ASSERT(list->address_count < list->address_max);
    struct dir_address *address = &list->addresses[list->address_count++];
    *address = (struct dir_address){
        .domain_id = row->domain,
        .kind = record_kind(row->kind, row->is_alias),
        .enabled = row->enabled,
        .object_id = row->account,
    };
    mx_err err = put_mailbox(list, &address->mailbox, row->account_local, row->account_domain);
    if (err) {
        return err;
    }
    if (row->members) {
        err = put_list(list, &address->list, row->members);
        if (err) {
            return err;
        }
    }
    if (!row->is_alias) {
        address->local = slice_first(address->mailbox, row->local.len);
        return MX_OK;
    }
    return arena_copy(&address->local, list->arena, row->local);
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
    list.addresses = arena_take(b->arena, (list.address_max + 1) * sizeof(*list.addresses));
    err = list.domains && list.addresses ? MX_OK : MX_ERR_NOMEM;
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
