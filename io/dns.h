/* The DNS client of one core, on its ring: a stub resolver that asks recursive name servers by UDP
 * and, where the answer does not fit or could be forged, by TCP; it keeps answers and absences. The
 * same question asked twice at a time is one lookup.
 *
 * Bounds: DNS_LOOKUPS_MAX lookups at a time, each with one socket; the cache's bytes. What exceeds
 * them fails for now. Nothing blocks; results are given from the loop or at once. */
#pragma once

#include "core/hdr.h"
#include "core/wheel.h"
#include "io/dns_cache.h"
#include "io/dns_engine.h"
#include "io/shard.h"

enum {
    DNS_LOOKUPS_MAX = 1024,
    DNS_ATTEMPTS_MAX =
        2 * DNS_LOOKUPS_MAX, /* sockets, also of attempts given up and not yet closed */
    DNS_IGNORED_MAX = 64,    /* datagrams of an attempt that are not the answer */
    DNS_FAILURE_KEEP_S = 5,  /* what nobody could say is not asked again before (RFC 9520) */
};

/* What was asked, and what became of it. */
struct dns_stats {
    uint64_t lookups;  /* questions that were not answered from the cache, shared ones once */
    uint64_t failures; /* lookups that no name server could answer, or that found no room */
    uint64_t queries;  /* sent */
    uint64_t by_tcp;   /* of them */
    uint64_t timeouts; /* of them */
    struct hdr ns;     /* of a lookup */
};

struct dns {
    struct shard *shard;
    const struct resolv_conf *conf;
    struct dns_cache cache;
    struct pool lookups;
    struct pool attempts;
    struct list running; /* struct dns_lookup */
    unsigned first;      /* server that answered last */
    bool stopping;
    struct dns_answer *scratch; /* the answer that is being read */
    struct dns_stats stats;
};

/* One question of somebody; belongs to the asker and stays until done or cancelled. */
struct dns_query {
    struct list_node node;
    /* err MX_OK: answer, valid during the call until the next
     * dns_ask; else MX_ERR_DNS_TEMPORARY or MX_ERR_AGAIN (too many
     * lookups), and problem, static text. A name that does not exist is an answer. */
    void (*done)(struct dns_query *query, mx_err err, const struct dns_answer *answer,
                 const char *problem);
};

/* conf is borrowed, until dns_configure. Sockets are opened when they are needed. */
MX_MUST_CHECK mx_err dns_open(struct dns *dns, struct shard *shard, const struct resolv_conf *conf);
/* Other servers from now on; lookups under way begin anew with them, the cache is emptied. */
void dns_configure(struct dns *dns, const struct resolv_conf *conf);
/* Everything is asked anew; lookups under way begin anew. */
void dns_forget(struct dns *dns);
/* What was not found, or not to be had, is asked anew. */
void dns_forget_absent(struct dns *dns);
/* Queries still waiting get MX_ERR_SHUTDOWN. */
void dns_stop(struct dns *dns);
/* True when no socket is open any more: dns_close may be called. */
bool dns_quiet(const struct dns *dns);
void dns_close(struct dns *dns);

/* Asks; done may be called from within. */
void dns_ask(struct dns *dns, struct dns_query *query, const struct dns_name *name,
             enum dns_type type);
/* False: so much is being looked up that who can wait should; the more so when one answer leads to
 * further questions. */
bool dns_has_room(const struct dns *dns);
/* done will not be called. Harmless when it was. */
void dns_cancel(struct dns_query *query);
