/* The registry's objects in SQLite (DATA/registry.db: WAL, synchronous=FULL). One writer: the
 * management worker, or an offline command that holds the data folder's lock. Every committed
 * transaction that changed something has a generation number, and one row in the change log per
 * changed object: generation, time, who, type, id, before, after.
 *
 * Domains, accounts and their addresses are kept in columns, all other types as JSON. Objects go
 * in and out in normal form (admin/validate.h). Names, addresses and labels are unique here; links
 * are checked in admin/objects.
 *
 * Who only reads changes no file: the log of a process that was killed is merged by the next
 * change.
 *
 * A new database is built beside its place and renamed into it when it is complete, so a missing
 * file means a first start and an empty or damaged one is an error, never an empty registry. */
#pragma once

#include "admin/config.h"
#include "admin/registry.h"
#include "admin/set_error.h"

#include <jansson.h>

struct secret_memo;
struct store;

enum { STORE_WHO_MAX = 255, STORE_PATH_MAX = 4096 };

/* Ids of the objects of the first start, the same on every node. */
enum {
    STORE_SEED_LOCAL = 1,
    STORE_SEED_MX = 2,
    STORE_SEED_LISTENER = 3,
    STORE_SEED_QUEUE_LOCAL = 8,
    STORE_SEED_QUEUE_REMOTE = 9,
    STORE_SEED_QUEUE_DSN = 10,
    STORE_SEED_QUEUE_REPORT = 11,
    STORE_SEED_SCHEDULE_LOCAL = 12,
    STORE_SEED_SCHEDULE_REMOTE = 13,
    STORE_SEED_SCHEDULE_DSN = 14,
    STORE_SEED_SCHEDULE_REPORT = 15,
    STORE_SEED_CONNECTION = 16,
    STORE_SEED_TLS = 17,
    STORE_SEED_INVALID_TLS = 18,
    STORE_SEEDS = 2, /* sets of them; a registry of an earlier version gets what it has not */
};

/* Opens DATA_DIR/registry.db; makes it with its first objects when it is absent. The folder exists.
 * MX_ERR_DAMAGED, MX_ERR_VERSION, ... with a sentence in *problem. */
MX_MUST_CHECK mx_err store_open(struct store **out_store, const char *data_dir,
                                struct config_problem *problem);
/* What can be done about a registry that cannot be read: a sentence for people. */
const char *store_advice(mx_err err);
/* A registry in memory as a first start would make it. */
MX_MUST_CHECK mx_err store_open_scratch(struct store **out_store, struct config_problem *problem);
/* True in *out_exists when there is a registry in the folder. */
MX_MUST_CHECK mx_err store_exists(bool *out_exists, const char *data_dir);
void store_close(struct store *store); /* rolls back what is open; NULL is fine */

/* What went wrong last, for people; valid until the next call. */
const char *store_problem(const struct store *store);
/* Number of the last committed change, or inside a transaction that changed something, of it. */
uint64_t store_generation(const struct store *store);
/* What commits have cost since this was asked last. */
struct store_cost {
    uint64_t sync_ns; /* that the disk had them to write */
    uint64_t objects;
};
struct store_cost store_take_cost(struct store *store);
/* What this registry's ids have in the place of the node: drawn at the first start. */
uint32_t store_node(const struct store *store);
/* Between store_begin and its end. What is read then may not stay. */
bool store_in_transaction(const struct store *store);

MX_MUST_CHECK mx_err store_begin(struct store *store, const char *who, int64_t wall_ms);
/* Durable when it returns. Nothing changed: nothing is written and the generation stays. */
MX_MUST_CHECK mx_err store_commit(struct store *store);
void store_rollback(struct store *store);

/* A new id; only inside a transaction. */
uint64_t store_next_id(struct store *store);
/* A new reference; MX_ERR_NOTFOUND. */
MX_MUST_CHECK mx_err store_get(struct store *store, json_t **out_object,
                               const struct reg_type *type, uint64_t id);
MX_MUST_CHECK mx_err store_has(struct store *store, bool *out_has, const struct reg_type *type,
                               uint64_t id);

/* Who holds a name or address that must be unique. */
struct store_conflict {
    char property[SET_PROPERTY_MAX];
    char text[SET_TEXT_MAX];
    struct set_object holder;
};

/* Inserts (before NULL), replaces or deletes (after NULL) and logs the change; only inside a
 * transaction. MX_ERR_EXISTS with *conflict filled: the transaction must then be rolled back, or
 * the call repeated with other values; nothing of the object was written. */
MX_MUST_CHECK mx_err store_write(struct store *store, const struct reg_type *type, uint64_t id,
                                 const json_t *before, const json_t *after,
                                 struct store_conflict *conflict);

/* Every store_write that succeeds is told to watch (NULL = nobody); before and after are borrowed
 * and never changed later. */
typedef void (*store_change_fn)(void *arg, const struct reg_type *type, uint64_t id,
                                const json_t *before, const json_t *after);
void store_watch(struct store *store, store_change_fn watch, void *arg);

/* A change that somebody asks for. before and after as in store_write, but passwords of after may
 * still be in clear. */
struct store_wish {
    const struct reg_type *type;
    uint64_t id;
    const json_t *before, *after;
    bool has_hash; /* a password is given as its hash, so the two are equal when it is that one */
};
/* Asked by admin/objects before anything of a change depends on what is secret; refusals go to
 * errors. NULL = nobody is asked, everything is allowed. */
typedef mx_err (*store_guard_fn)(void *arg, const struct store_wish *wish,
                                 struct set_errors *errors);
void store_guard(struct store *store, store_guard_fn guard, void *arg);
/* What admin/objects asks about passwords (admin/secret_memo.h), while a call runs; NULL = argon2
 * itself. */
void store_seal_by(struct store *store, struct secret_memo *memo);
struct secret_memo *store_secrets(const struct store *store);
MX_MUST_CHECK mx_err store_ask_guard(struct store *store, const struct store_wish *wish,
                                     struct set_errors *errors);

/* By the type's unique properties. MX_ERR_NOTFOUND. Domain: also by alias, then *out_id is the
 * domain's. */
MX_MUST_CHECK mx_err store_find_label(struct store *store, uint64_t *out_id,
                                      const struct reg_type *type, struct slice label);
/* What has an address. The numbers are stored. */
enum store_kind { STORE_USER = 0, STORE_GROUP = 1, STORE_LIST = 2 };

/* What an address leads to; position is -1 for its own, else the alias. MX_ERR_NOTFOUND. */
struct store_holder {
    const struct reg_type *type; /* Account or MailingList */
    uint64_t id;
    int position;
};
MX_MUST_CHECK mx_err store_find_holder(struct store *store, struct store_holder *out,
                                       uint64_t domain, struct slice local);
/* The same for accounts alone. */
MX_MUST_CHECK mx_err store_find_address(struct store *store, uint64_t *out_account,
                                        int *out_position, uint64_t domain, struct slice local);

/* Calls each for every object of a type, by id; object is borrowed. Stops at an error and returns
 * it. The callback may not write; collect ids first. */
typedef mx_err (*store_object_fn)(void *arg, uint64_t id, json_t *object);
MX_MUST_CHECK mx_err store_each(struct store *store, const struct reg_type *type,
                                store_object_fn each, void *arg);
/* Up to max objects that refer to a target, into out; *out_count is the number put there. */
MX_MUST_CHECK mx_err store_referrers(struct store *store, struct set_object *out,
                                     uint32_t *out_count, uint32_t max, struct set_object target);

/* Rows as the cores need them; text is borrowed for the call. */
struct store_domain_row {
    uint64_t id;
    struct slice name; /* name or alias */
    bool enabled, allow_relaying, sub_addressing;
    uint8_t verification; /* enum dir_verify */
    struct slice catch_all;
};
struct store_address_row {
    uint64_t domain;
    struct slice local;
    uint64_t account; /* or list */
    bool is_alias, enabled;
    enum store_kind kind;
    struct slice account_local, account_domain; /* the account's own address */
    const json_t *members; /* of a list, with its own address: {"address": true, ...} */
};
typedef mx_err (*store_domain_fn)(void *arg, const struct store_domain_row *row);
typedef mx_err (*store_address_fn)(void *arg, const struct store_address_row *row);
MX_MUST_CHECK mx_err store_count_rows(struct store *store, size_t *out_domains,
                                      size_t *out_addresses);
MX_MUST_CHECK mx_err store_each_domain(struct store *store, store_domain_fn each, void *arg);
MX_MUST_CHECK mx_err store_each_address(struct store *store, store_address_fn each, void *arg);

/* Calls each for every account that has roles by id, with what of it is about access alone
 * ("credentials", "roles", "permissions"). As store_each. */
MX_MUST_CHECK mx_err store_each_with_roles(struct store *store, store_object_fn each, void *arg);
/* The same for the accounts of a domain but those that may do what every user may. */
MX_MUST_CHECK mx_err store_each_in_domain(struct store *store, uint64_t domain,
                                          store_object_fn each, void *arg);
/* True in *out_has when an account has the role Admin and a credential. */
MX_MUST_CHECK mx_err store_has_administrator(struct store *store, bool *out_has);
/* Short texts that are no objects and are not logged. A note is durable when the call returns; not
 * inside a transaction. text empty: removes it. MX_ERR_NOTFOUND, MX_ERR_RANGE (longer than cap). */
MX_MUST_CHECK mx_err store_note_get(struct store *store, char *out, size_t cap, const char *key);
MX_MUST_CHECK mx_err store_note_set(struct store *store, const char *key, struct slice text);
