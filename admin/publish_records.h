/* Changes of Domain, Account and MailingList objects as changes of the cores' directories. */
#pragma once

#include "admin/objects.h"
#include "admin/record_pool.h"
#include "smtp/service_update.h"

/* Where separate records are: those that did not come with the start. */
struct records {
    struct record_pool addresses;
    struct list others; /* domains and lists of members */
};

void records_init(struct records *records);
/* Frees all of them; no core is left. */
void records_free(struct records *records);

/* Removals first, so that an address can move from one account to another in one change. */
struct record_changes {
    struct records *records; /* of the caller */
    struct dir_change *items;
    size_t count, cap;
    size_t domains_put, addresses_put;
};

/* Of all changes of one transaction, as the store is inside it. out->records is set by the caller.
 * Types without records are passed
 * over. MX_ERR_NOMEM and the store's errors; then *out is empty. */
MX_MUST_CHECK mx_err record_changes_make(struct record_changes *out, struct store *store,
                                         const struct object_change *changes, size_t count);
/* Frees the list, and the records with it unless the cores have taken them. */
void record_changes_free(struct record_changes *changes, bool taken);
/* The directory's word for an address of the store. */
enum dir_kind record_kind(enum store_kind kind, bool is_alias);
/* Frees a record that the cores have let go of; none that came with the start. */
void dir_change_free(struct records *records, enum dir_change_kind kind, const void *record);
