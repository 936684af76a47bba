/* A set of IP networks, immutable once built: one hash table, looked up once per prefix length that
 * occurs. Entries may expire. Pure. */
#pragma once

#include "core/err.h"
#include "core/netaddr.h"

struct netset;

struct netset_entry {
    struct netmask mask;
    int64_t expires_ms; /* wall time; 0 = never */
};

/* Copies the entries. NULL in *out_set for an empty list: an empty set needs no memory. seed: of
 * the hashes, unknown to clients, some of which choose under which addresses they are blocked.
 * MX_ERR_NOMEM. */
MX_MUST_CHECK mx_err netset_new(struct netset **out_set, const struct netset_entry *entries,
                                size_t count, uint64_t seed);
void netset_free(struct netset *set); /* NULL is fine */
/* Is the address in one of the networks that have not expired? The set may be NULL. */
bool netset_has(const struct netset *set, const struct netaddr *addr, int64_t wall_ms);
