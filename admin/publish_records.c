#include "admin/publish_records.h"

#include "admin/object_id.h"
#include "core/check.h"

#include <stdlib.h>

/* What stands before a domain or a list of members. */
struct record_head {
    _Alignas(16) struct list_node node;
};

static void *other_new(struct records *records, size_t bytes)
{
    struct record_head *head = calloc(1, sizeof *head + bytes);
    if (head == NULL) {
        return NULL;
    }
    list_push_back(&records->others, &head->node);
    return head + 1;
}

static void other_free(const void *record)
{
    struct record_head *head = (struct record_head *)(uintptr_t)record - 1;
    list_remove(&head->node);
    free(head);
}

static void address_free(struct records *records, const struct dir_record *record)
{
    const struct dir_list *list = dir_record_list(record);
    if (list != NULL) {
        other_free(list);
    }
    record_return(&records->addresses, (void *)(uintptr_t)record, dir_record_size(record));
}

struct maker {
    struct record_changes *out;
    struct store *store;
    const struct reg_type *domain_type;
    /* the domain that was looked up last */
    uint64_t domain_id;
    json_t *domain;
};

static struct slice text_of(const json_t *value)
{
    return slice_of(json_string_value(value), json_string_length(value));
}

static struct slice text_member(const json_t *object, const char *name)
{
    return text_of(json_object_get(object, name));
}

static uint64_t id_member(const json_t *object, const char *name)
{
    uint64_t id = 0;
    mx_err err = object_id_parse(&id, text_member(object, name));
    MX_ASSERT(err == MX_OK); /* objects are in normal form */
    return id;
}

static bool is_type(const struct reg_type *type, const char *name)
{
    return strcmp(type->shape.name, name) == 0;
}

static mx_err add(struct record_changes *out, struct dir_change change)
{
    if (out->count == out->cap) {
        size_t cap = out->cap ? out->cap * 2 : 16;
        struct dir_change *items = realloc(out->items, cap * sizeof *items);
        if (items == NULL) {
            return MX_ERR_NOMEM;
        }
        out->items = items;
        out->cap = cap;
    }
    out->items[out->count++] = change;
    out->domains_put += change.kind == DIR_PUT_DOMAIN;
    out->addresses_put += change.kind == DIR_PUT_ADDRESS;
    return MX_OK;
}

static struct slice keep(uint8_t **at, struct slice text)
{
    struct slice kept = slice_of(*at, text.len);
    if (text.len > 0) {
        memcpy(*at, text.ptr, text.len);
    }
    *at += text.len;
    return kept;
}

/* The record's memory is one piece. */
static mx_err add_domain(struct maker *m, enum dir_change_kind kind, uint64_t id,
                         const json_t *object, struct slice name)
{
    struct slice catch_all = text_member(object, "catchAllAddress");
    struct dir_domain *domain =
        other_new(m->out->records, sizeof *domain + name.len + catch_all.len);
    if (domain == NULL) {
        return MX_ERR_NOMEM;
    }
    uint8_t *at = (uint8_t *)(domain + 1);
    struct slice tags = text_member(json_object_get(object, "subAddressing"), "@type");
    domain->id = id;
    domain->name = keep(&at, name);
    domain->catch_all = keep(&at, catch_all);
    domain->enabled = json_is_true(json_object_get(object, "isEnabled"));
    domain->allow_relaying = json_is_true(json_object_get(object, "allowRelaying"));
    domain->verify = (uint8_t)dir_verify_parse(text_member(object, "verifyRecipients"));
    domain->tag_mode = slice_equal(tags, SLICE_LITERAL("Enabled"));
    domain->separate = true;
    mx_err err = add(m->out, (struct dir_change){.kind = kind, .domain = domain});
    if (err) {
        other_free(domain);
    }
    return err;
}

struct address_key {
    uint64_t domain_id;
    struct slice local;
};

/* The members and their texts are one piece of memory. */
static mx_err make_list(struct maker *m, const struct dir_list **out_list, const json_t *members)
{
    size_t count = json_object_size(members), bytes = 0, i = 0;
    const char *address;
    json_t *yes;
    json_object_foreach((json_t *)(uintptr_t)members, address, yes)
    {
        bytes += sizeof(struct dir_member) + strlen(address);
    }
    struct dir_list *list = other_new(m->out->records, sizeof *list + bytes);
    if (list == NULL) {
        return MX_ERR_NOMEM;
    }
    struct dir_member *items = (struct dir_member *)(list + 1);
    uint8_t *at = (uint8_t *)(items + count);
    json_object_foreach((json_t *)(uintptr_t)members, address, yes)
    {
        items[i++].address = keep(&at, slice_of_text(address));
    }
    list_order(items, count);
    *list = (struct dir_list){items, (uint32_t)count};
    *out_list = list;
    return MX_OK;
}

static mx_err put_record(struct maker *m, enum dir_change_kind kind,
                         const struct dir_address *about)
{
    void *memory = record_take(&m->out->records->addresses, dir_record_bytes(about));
    if (memory == NULL) {
        if (about->list != NULL) {
            other_free(about->list);
        }
        return MX_ERR_NOMEM;
    }
    const struct dir_record *record = dir_record_put(memory, about);
    mx_err err = add(m->out, (struct dir_change){.kind = kind, .address = record});
    if (err) {
        address_free(m->out->records, record);
    }
    return err;
}

/* members: of a list with its own address, else NULL. */
static mx_err add_address(struct maker *m, enum dir_change_kind kind, struct address_key key,
                          const struct dir_address *about, struct slice mailbox_local,
                          struct slice mailbox_domain, const json_t *members)
{
    uint8_t mailbox[DIR_MAILBOX_MAX];
    struct dir_address full = *about;
    struct writer w = writer_init(mailbox, sizeof mailbox);
    put_slice(&w, mailbox_local);
    put_char(&w, '@');
    put_slice(&w, mailbox_domain);
    MX_ASSERT(!w.overflow && key.local.len <= DIR_LOCAL_MAX); /* names are REG_STRING_MAX long */
    full.domain_id = key.domain_id;
    full.local = key.local;
    full.mailbox = writer_slice(&w);
    full.separate = true;
    mx_err err = members == NULL ? MX_OK : make_list(m, &full.list, members);
    return err ? err : put_record(m, kind, &full);
}

static mx_err domain_name(struct maker *m, struct slice *out_name, uint64_t id)
{
    if (m->domain == NULL || m->domain_id != id) {
        json_decref(m->domain);
        m->domain = NULL;
        mx_err err = store_get(m->store, &m->domain, m->domain_type, id);
        if (err) {
            return err;
        }
        m->domain_id = id;
    }
    *out_name = text_member(m->domain, "name");
    return MX_OK;
}

/* --- accounts and lists
 * ----------------------------------------------------------------------------------
 */

/* Address number -1 is the account's own, then its aliases; false behind the last. */
static bool account_address(const json_t *account, int number, struct address_key *out_key,
                            bool *out_enabled)
{
    const json_t *from = account;
    if (number >= 0) {
        char index[16];
        struct writer w = writer_init(index, sizeof index - 1);
        put_decimal(&w, (uint64_t)number);
        index[w.len] = '\0';
        from = json_object_get(json_object_get(account, "aliases"), index);
    }
    if (from == NULL) {
        return false;
    }
    *out_key = (struct address_key){id_member(from, "domainId"), text_member(from, "name")};
    *out_enabled = number < 0 || json_is_true(json_object_get(from, "enabled"));
    return true;
}

static bool account_has(const json_t *account, const struct address_key *wanted)
{
    struct address_key key;
    bool enabled;
    for (int n = -1; account != NULL && account_address(account, n, &key, &enabled); n++) {
        if (key.domain_id == wanted->domain_id && slice_equal(key.local, wanted->local)) {
            return true;
        }
    }
    return false;
}

static mx_err account_removals(struct maker *m, const struct object_change *change)
{
    struct address_key key;
    bool enabled;
    mx_err err = MX_OK;
    for (int n = -1;
         !err && change->before != NULL && account_address(change->before, n, &key, &enabled);
         n++) {
        if (!account_has(change->after, &key)) {
            err = add_address(m, DIR_REMOVE_ADDRESS, key, &(struct dir_address){0}, key.local,
                              SLICE_EMPTY, NULL);
        }
    }
    return err;
}

enum dir_kind record_kind(enum store_kind kind, bool is_alias)
{
    if (kind == STORE_LIST) {
        return DIR_LIST;
    }
    return is_alias ? DIR_ALIAS : kind == STORE_GROUP ? DIR_GROUP : DIR_ACCOUNT;
}

static enum store_kind kind_of(const struct object_change *change)
{
    if (is_type(change->type, "MailingList")) {
        return STORE_LIST;
    }
    return slice_equal(text_member(change->after, "@type"), SLICE_LITERAL("Group")) ? STORE_GROUP
                                                                                    : STORE_USER;
}

static mx_err account_puts(struct maker *m, const struct object_change *change)
{
    struct address_key key;
    bool enabled;
    struct slice domain;
    if (change->after == NULL) {
        return MX_OK;
    }
    struct slice local = text_member(change->after, "name");
    mx_err err = domain_name(m, &domain, id_member(change->after, "domainId"));
    for (int n = -1; !err && account_address(change->after, n, &key, &enabled); n++) {
        struct dir_address about = {.kind = record_kind(kind_of(change), n >= 0),
                                    .enabled = enabled,
                                    .object_id = change->id};
        const json_t *members = n < 0 ? json_object_get(change->after, "recipients") : NULL;
        err = add_address(m, DIR_PUT_ADDRESS, key, &about, local, domain, members);
    }
    return err;
}

/* --- domains -----------------------------------------------------------------------------------
 */

/* Calls add_domain for the name and the aliases of `of` that `unless` has not. */
static mx_err domain_names(struct maker *m, enum dir_change_kind kind, uint64_t id,
                           const json_t *of, const json_t *unless)
{
    const char *alias;
    json_t *yes;
    struct slice name = text_member(of, "name");
    mx_err err = MX_OK;
    const json_t *other = json_object_get(unless, "aliases");
    bool skip = unless != NULL &&
                (slice_equal(name, text_member(unless, "name")) ||
                 json_object_get(other, json_string_value(json_object_get(of, "name"))) != NULL);
    if (!skip) {
        err = add_domain(m, kind, id, of, name);
    }
    json_object_foreach(json_object_get(of, "aliases"), alias, yes)
    {
        struct slice text = slice_of_text(alias);
        skip = unless != NULL && (json_object_get(other, alias) != NULL ||
                                  slice_equal(text, text_member(unless, "name")));
        if (!err && !skip) {
            err = add_domain(m, kind, id, of, text);
        }
    }
    return err;
}

struct renaming {
    struct maker *maker;
    struct slice name;
};

/* An address of an account of the renamed domain: its mailbox has another name now. */
static mx_err renamed_address(void *arg, const struct store_address_row *row)
{
    struct renaming *renaming = arg;
    if (!slice_equal(row->account_domain, renaming->name)) {
        return MX_OK;
    }
    struct dir_address about = {.kind = record_kind(row->kind, row->is_alias),
                                .enabled = row->enabled,
                                .object_id = row->account};
    return add_address(renaming->maker, DIR_PUT_ADDRESS,
                       (struct address_key){row->domain, row->local}, &about, row->account_local,
                       row->account_domain, row->members);
}

static mx_err domain_puts(struct maker *m, const struct object_change *change)
{
    if (change->after == NULL) {
        return MX_OK;
    }
    mx_err err = domain_names(m, DIR_PUT_DOMAIN, change->id, change->after, NULL);
    struct slice name = text_member(change->after, "name");
    if (!err && change->before != NULL && !slice_equal(name, text_member(change->before, "name"))) {
        struct renaming renaming = {m, name};
        err = store_each_address(m->store, renamed_address, &renaming);
    }
    return err;
}

/* --- all ---------------------------------------------------------------------------------------
 */

static mx_err removals(struct maker *m, const struct object_change *change)
{
    if (reg_has_address(change->type)) {
        return account_removals(m, change);
    }
    if (is_type(change->type, "Domain") && change->before != NULL) {
        return domain_names(m, DIR_REMOVE_DOMAIN, change->id, change->before, change->after);
    }
    return MX_OK;
}

static mx_err insertions(struct maker *m, const struct object_change *change)
{
    if (reg_has_address(change->type)) {
        return account_puts(m, change);
    }
    return is_type(change->type, "Domain") ? domain_puts(m, change) : MX_OK;
}

mx_err record_changes_make(struct record_changes *out, struct store *store,
                           const struct object_change *changes, size_t count)
{
    struct maker m = {
        .out = out, .store = store, .domain_type = reg_type_find(SLICE_LITERAL("Domain"))};
    mx_err err = MX_OK;
    *out = (struct record_changes){.records = out->records};
    for (size_t i = 0; !err && i < count; i++) {
        err = removals(&m, &changes[i]);
    }
    for (size_t i = 0; !err && i < count; i++) {
        err = insertions(&m, &changes[i]);
    }
    json_decref(m.domain);
    if (err) {
        record_changes_free(out, false);
    }
    return err;
}

void dir_change_free(struct records *records, enum dir_change_kind kind, const void *record)
{
    const struct dir_domain *domain = record;
    const struct dir_record *address = record;
    if (record == NULL) {
        return;
    }
    if (kind == DIR_PUT_DOMAIN || kind == DIR_REMOVE_DOMAIN) {
        if (domain->separate) {
            other_free(domain);
        }
    } else if (address->separate) {
        address_free(records, address);
    }
}

void record_changes_free(struct record_changes *changes, bool taken)
{
    for (size_t i = 0; i < changes->count; i++) {
        const struct dir_change *item = &changes->items[i];
        bool put = item->kind == DIR_PUT_DOMAIN || item->kind == DIR_PUT_ADDRESS;
        if (!put || !taken) {
            dir_change_free(changes->records, item->kind, item->domain);
        }
    }
    free(changes->items);
    *changes = (struct record_changes){.records = changes->records};
}

void records_init(struct records *records)
{
    record_pool_init(&records->addresses);
    list_init(&records->others);
}

void records_free(struct records *records)
{
    struct list_node *node;
    while ((node = list_pop_front(&records->others)) != NULL) {
        free(mx_container_of(node, struct record_head, node));
    }
    record_pool_free(&records->addresses);
}
