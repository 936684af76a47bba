/* Where mail of a route goes: the addresses of a relay, or of the mail hosts of a domain in the
 * order in which they are tried (RFC 5321 section 5.1, RFC 7505), from the cache or asked. For next
 * hops (smtp/hop_lookup.c) and for explanations (smtp/explain_lookup.c), so both say the same. */
#pragma once

#include "io/address_lookup.h"
#include "smtp/deliver.h"
#include "smtp/mx_choice.h"

enum mail_hosts_result {
    MAIL_HOSTS_FOUND,
    MAIL_HOSTS_NOT_NOW, /* nobody could say */
    MAIL_HOSTS_ABSENT,  /* a relay's name leads nowhere, which is for us to set right */
    MAIL_HOSTS_NEVER,   /* the domain's mail cannot be delivered, now or later */
    MAIL_HOSTS_ENDED,   /* the DNS client has come to its end */
};

struct mail_hosts {
    /* The caller's, set before. domain: of an MX route (a literal address is one), else empty;
     * borrowed like route and hostname. random: decides among equal preferences. */
    const struct deliver *deliver;
    const struct route_conf *route;
    struct slice domain, hostname;
    uint64_t random;
    void (*done)(struct mail_hosts *hosts);
    /* What came of it */
    enum mail_hosts_result result;
    const char *problem;     /* static text, unless found */
    uint8_t subject, detail; /* of an enhanced status code */
    /* private */
    bool ended;
    struct dns_query mx;
    unsigned count;
    unsigned waiting; /* hosts whose addresses are not known yet */
    struct slice names[MX_HOSTS_MAX];
    uint16_t preferences[MX_HOSTS_MAX]; /* ascending */
    bool of_mx;                         /* they are those of MX records, and: */
    bool shares[MX_HOSTS_MAX];          /* mx_host.shares */
    uint8_t texts[MX_HOSTS_MAX][DNS_NAME_TEXT_MAX];
    struct address_lookup found[MX_HOSTS_MAX];
};

/* Begins; the rest is zeros. done may be called from within, and may free it. */
void mail_hosts_find(struct mail_hosts *hosts);
/* done will not be called. */
void mail_hosts_cancel(struct mail_hosts *hosts);
/* The addresses that are known and may be used, at most HOP_ADDRESSES_MAX; their names are borrowed
 * from hosts. Returns how many. */
unsigned mail_hosts_addresses(const struct mail_hosts *hosts,
                              struct hop_address out[HOP_ADDRESSES_MAX]);
