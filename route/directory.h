/* The local domains and addresses as private hash tables of one core, and the one resolver that is
 * used at RCPT and at every delivery (so both always agree). Keys are hashed with XXH3 under a seed
 * and compared in full. Address text may be shared between cores: the directory borrows it from the
 * records that it was given (owner: the publisher, which keeps it while any core refers to it).
 *
 * Lookups are case-insensitive (ASCII), internationalized domains are looked up as A-labels (the
 * publisher stores A-labels; the caller converts U-labels before). Names and local parts in records
 * are lower case. */
#pragma once

#include "core/err.h"
#include "core/slice.h"
#include "route/dir_record.h"

struct directory;

struct dir_domain {
    uint64_t id;
    struct slice name; /* lower case; a domain alias is a record of its own with the same id */
    bool enabled;
    bool allow_relaying;
    uint8_t verify;         /* enum dir_verify */
    uint8_t tag_mode;       /* 0 = no sub-addressing, 1 = cut at the first '+' */
    bool separate;          /* allocated by itself: freed by the publisher when it is replaced */
    struct slice catch_all; /* address, or empty */
};

MX_MUST_CHECK mx_err directory_new(struct directory **out_dir, uint64_t seed);
void directory_free(struct directory *dir);
/* Makes room so that the following puts cannot fail. */
MX_MUST_CHECK mx_err directory_reserve(struct directory *dir, size_t domains, size_t addresses);
/* A table that has grown moves its contents in small steps, some with every put. This moves up to
 * so many slots more; true: nothing is left to move. */
bool directory_settle(struct directory *dir, size_t slots);
/* Insert or replace by name / by (domain, local). */
MX_MUST_CHECK mx_err directory_put_domain(struct directory *dir, const struct dir_domain *domain);
MX_MUST_CHECK mx_err directory_put_address(struct directory *dir, const struct dir_record *address);
/* All records of one block. */
MX_MUST_CHECK mx_err directory_put_block(struct directory *dir, const struct dir_block *block);
/* The record as it was put, enabled or not; NULL when there is none. Keys in lower case. */
const struct dir_domain *directory_find_domain(const struct directory *dir, struct slice name);
const struct dir_record *directory_find_address(const struct directory *dir, uint64_t domain_id,
                                                struct slice local);
/* The members of the list with this canonical address; NULL when there is none. Borrowed until the
 * directory changes. */
const struct dir_list *directory_find_list(const struct directory *dir, struct slice mailbox);
void directory_remove_domain(struct directory *dir, struct slice name);
void directory_remove_address(struct directory *dir, uint64_t domain_id, struct slice local);

enum resolve_kind {
    RESOLVE_LOCAL,          /* mailbox is set */
    RESOLVE_RELAY,          /* local domain with relay permission, unknown here */
    RESOLVE_UNKNOWN_USER,   /* local domain, no such address */
    RESOLVE_UNKNOWN_DOMAIN, /* not served here */
};

struct resolution {
    enum resolve_kind kind;
    enum dir_kind found; /* for RESOLVE_LOCAL */
    uint64_t object_id;
    struct slice mailbox; /* for RESOLVE_LOCAL: borrowed from the record */
    bool via_tag, via_catch_all, is_postmaster;
    const struct dir_domain *domain; /* whose rules were applied; NULL: none */
};

/* DESIGN.md section 5.2: account, alias, group, list, each with and without tag; relay permission;
 * catch-all. Disabled domains, accounts and aliases count as absent. postmaster (any case) of a
 * local domain is never unknown: the account, else RESOLVE_RELAY with is_postmaster set when the
 * domain relays, else catch-all, else the address `postmaster` (if not empty and resolvable), else
 * RESOLVE_LOCAL with an empty mailbox is NOT returned but RESOLVE_RELAY with is_postmaster set, so
 * that it is queued by the domain's route. domain empty = bare <postmaster>. postmaster may be
 * empty. */
void directory_resolve(const struct directory *dir, struct slice local, struct slice domain,
                       struct slice postmaster, struct resolution *out);
bool directory_is_local_domain(const struct directory *dir, struct slice domain);
/* True when the resolver finds a mailbox, group or list for it (tags and case as there; no
 * catch-all). */
bool directory_is_local_address(const struct directory *dir, struct slice address);

struct directory_stats {
    size_t domains, addresses, capacity, memory_bytes;
};
void directory_stats(const struct directory *dir, struct directory_stats *out);
