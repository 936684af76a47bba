/* Changes of Domain, Account and MailingList objects as changes of the cores' directories. */
#pragma once

#include "admin/objects.h"
#include "core/list.h"
#include "smtp/service_update.h"

/* Removals first, so that an address can move from one account to another in one change. Records
 * are allocated one by one, `separate`, and listed, so that they can be freed at the end. */
struct record_changes {
    struct list *all; /* of the caller: every separate record that is not freed */
    struct dir_change *items;
    size_t count, cap;
    size_t domains_put, addresses_put;
};

/* Of all changes of one transaction, as the store is inside it. out->all is set by the caller.
 * Types without records are passed
 * over. MX_ERR_NOMEM and the store's errors; then *out is empty. */
MX_MUST_CHECK mx_err record_changes_make(struct record_changes *out, struct store *store,
                                         const struct object_change *changes, size_t count);
/* Frees the list, and the records with it unless the cores have taken them. */
void record_changes_free(struct record_changes *changes, bool taken);
/* The directory's word for an address of the store. */
enum dir_kind record_kind(enum store_kind kind, bool is_alias);
/* Frees a record that the cores have let go of; none that came with the start. */
void dir_change_free(enum dir_change_kind kind, const void *record);
/* Frees all separate records; no core is left. */
void records_free_all(struct list *all);
