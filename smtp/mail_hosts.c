#include "smtp/mail_hosts.h"

#include "core/text.h"

enum { SMTP_PORT = 25 };

static bool is_of_domain(const struct mail_hosts *hosts)
{
    return hosts->domain.len > 0;
}

/* May free hosts. */
static void finish(struct mail_hosts *hosts, enum mail_hosts_result result, const char *problem,
                   uint8_t subject, uint8_t detail)
{
    hosts->result = result;
    hosts->problem = problem;
    hosts->subject = subject;
    hosts->detail = detail;
    hosts->done(hosts);
}

static void not_now(struct mail_hosts *hosts, const char *problem)
{
    finish(hosts, MAIL_HOSTS_NOT_NOW, problem, 4, 3);
}

static void never(struct mail_hosts *hosts, const char *problem, uint8_t subject, uint8_t detail)
{
    finish(hosts, MAIL_HOSTS_NEVER, problem, subject, detail);
}

static void loops(struct mail_hosts *hosts)
{
    never(hosts, "this server is the domain's best mail host, but the domain is not served here", 4,
          6);
}

/* --- addresses ---------------------------------------------------------------------------------
 */

static bool is_unspecified(const struct netaddr *addr)
{
    static const uint8_t zeros[16];
    return memcmp(addr->bytes, zeros, addr->family == 4 ? 4 : 16) == 0;
}

/* A listener at no address in particular hears all of this machine's; one of IPv6, IPv4 as well. */
static bool hears(const struct mail_hosts *hosts, const struct netaddr *bind,
                  const struct netaddr *addr)
{
    if (bind->port != SMTP_PORT) {
        return false;
    }
    return netaddr_equal(bind, addr) ||
           (is_unspecified(bind) && (bind->family == 6 || addr->family == 4) &&
            names_is_own(hosts->deliver->conf.names, addr));
}

/* What is sent there comes to us. */
static bool is_own(const struct mail_hosts *hosts, const struct netaddr *addr)
{
    const struct image *image = hosts->deliver->image;
    for (uint32_t i = 0; i < image->listener_count; i++) {
        for (uint32_t k = 0; k < image->listeners[i].bind_count; k++) {
            if (hears(hosts, &image->listeners[i].binds[k], addr)) {
                return true;
            }
        }
    }
    return false;
}

/* Of a foreign domain's hosts, those that lead back to this machine, or to no host at all, are not
 * used, whatever a stranger writes into the DNS. */
static bool is_usable(const struct mail_hosts *hosts, const struct netaddr *addr)
{
    return !is_of_domain(hosts) ||
           !(netaddr_is_loopback(addr) || netaddr_is_no_host(addr) || is_own(hosts, addr));
}

unsigned mail_hosts_addresses(const struct mail_hosts *hosts,
                              struct hop_address out[HOP_ADDRESSES_MAX])
{
    const struct route_conf *route = hosts->route;
    unsigned each_max = is_of_domain(hosts) ? route->mx_addresses_max : HOP_ADDRESSES_MAX;
    unsigned count = 0;
    for (unsigned i = 0; i < hosts->count; i++) {
        const struct address_lookup *found = &hosts->found[i];
        unsigned used = 0;
        for (size_t k = 0; k < found->count && used < each_max; k++) {
            if (count < HOP_ADDRESSES_MAX && is_usable(hosts, &found->addresses[k])) {
                out[count] =
                    (struct hop_address){.addr = found->addresses[k],
                                         .host = hosts->names[i],
                                         .preference = hosts->of_mx ? hosts->preferences[i] : -1,
                                         .by_chance = hosts->shares[i]};
                out[count++].addr.port = is_of_domain(hosts) ? SMTP_PORT : route->port;
                used++;
            }
        }
    }
    return count;
}

static bool leads_here(const struct mail_hosts *hosts, unsigned host)
{
    for (size_t k = 0; k < hosts->found[host].count; k++) {
        if (is_own(hosts, &hosts->found[host].addresses[k])) {
            return true;
        }
    }
    return false;
}

/* A host with an address of ours is this server under another name: nothing from its preference on.
 * False: nothing is left. */
static bool cut_at_own(struct mail_hosts *hosts)
{
    unsigned own = 0, keep = 0;
    while (own < hosts->count && !leads_here(hosts, own)) {
        own++;
    }
    if (own == hosts->count) {
        return true;
    }
    while (hosts->preferences[keep] < hosts->preferences[own]) {
        keep++;
    }
    hosts->count = keep;
    return keep > 0;
}

static const char *failed_for_now(const struct mail_hosts *hosts)
{
    for (unsigned i = 0; i < hosts->count; i++) {
        if (hosts->found[i].err == MX_ERR_DNS_TEMPORARY) {
            return hosts->found[i].problem;
        }
    }
    return NULL;
}

static void all_known(struct mail_hosts *hosts)
{
    struct hop_address addresses[HOP_ADDRESSES_MAX];
    if (hosts->ended) {
        finish(hosts, MAIL_HOSTS_ENDED, err_text(MX_ERR_SHUTDOWN), 4, 3);
    } else if (is_of_domain(hosts) && !cut_at_own(hosts)) {
        loops(hosts);
    } else if (mail_hosts_addresses(hosts, addresses) > 0) {
        finish(hosts, MAIL_HOSTS_FOUND, NULL, 4, 3);
    } else if (failed_for_now(hosts) != NULL) {
        not_now(hosts, failed_for_now(hosts));
    } else if (is_of_domain(hosts)) {
        never(hosts, "no host with a usable address", 4, 4);
    } else {
        finish(hosts, MAIL_HOSTS_ABSENT, err_text(MX_ERR_DNS_NOTFOUND), 4, 3);
    }
}

static void host_done(struct address_lookup *found)
{
    struct mail_hosts *hosts = found->owner;
    hosts->ended = hosts->ended || found->err == MX_ERR_SHUTDOWN;
    if (--hosts->waiting == 0) {
        all_known(hosts);
    }
}

/* Looks for the addresses of all hosts at once. */
static void find_addresses(struct mail_hosts *hosts)
{
    const struct deliver *d = hosts->deliver;
    enum address_families families =
        is_of_domain(hosts) ? hosts->route->mx_families : ADDRESS_V4_THEN_V6;
    hosts->waiting = hosts->count + 1; /* the last one may end it all */
    for (unsigned i = 0; i < hosts->count; i++) {
        struct slice name = is_of_domain(hosts) ? hosts->names[i] : hosts->route->address;
        hosts->found[i].done = host_done;
        hosts->found[i].owner = hosts;
        address_find(&hosts->found[i], d->conf.dns, d->conf.names, name, families,
                     !is_of_domain(hosts));
    }
    if (--hosts->waiting == 0) {
        all_known(hosts);
    }
}

/* --- the hosts of a domain ---------------------------------------------------------------------
 */

static void add_host(struct mail_hosts *hosts, struct slice name, uint16_t preference)
{
    uint8_t *text = hosts->texts[hosts->count];
    size_t len = mx_min_size(name.len, DNS_NAME_TEXT_MAX);
    memcpy(text, name.ptr, len);
    hosts->preferences[hosts->count] = preference;
    hosts->names[hosts->count++] = slice_of(text, len);
}

static void mx_answered(struct mail_hosts *hosts, const struct dns_answer *answer)
{
    struct mx_choice choice;
    if (answer->status == DNS_NO_NAME) {
        never(hosts, "the domain does not exist", 1, 2);
        return;
    }
    mx_choose(&choice, answer, hosts->hostname, hosts->route->mx_hosts_max, hosts->random);
    if (choice.verdict == MX_NULL) {
        never(hosts, "the domain takes no mail (null MX)", 1, 10);
    } else if (choice.verdict == MX_LOOP) {
        loops(hosts);
    } else {
        hosts->of_mx = choice.verdict == MX_HOSTS;
        for (unsigned i = 0; i < choice.count; i++) {
            hosts->shares[i] = choice.hosts[i].shares;
            add_host(hosts, choice.hosts[i].name, choice.hosts[i].preference);
        }
        if (choice.verdict == MX_IMPLICIT) {
            add_host(hosts, hosts->domain, 0);
        }
        find_addresses(hosts);
    }
}

static void mx_done(struct dns_query *query, mx_err err, const struct dns_answer *answer,
                    const char *problem)
{
    struct mail_hosts *hosts = mx_container_of(query, struct mail_hosts, mx);
    if (err == MX_ERR_SHUTDOWN) {
        finish(hosts, MAIL_HOSTS_ENDED, err_text(err), 4, 3);
    } else if (err) {
        not_now(hosts, problem);
    } else {
        mx_answered(hosts, answer);
    }
}

/* "[192.0.2.1]" or "[IPv6:2001:db8::1]" (RFC 5321 section 4.1.3). */
static bool literal_parse(struct slice *out, struct slice domain)
{
    struct slice prefix = SLICE_LITERAL("IPv6:");
    if (domain.len < 2 || domain.ptr[0] != '[' || domain.ptr[domain.len - 1] != ']') {
        return false;
    }
    *out = slice_of(domain.ptr + 1, domain.len - 2);
    if (text_starts_nocase(*out, prefix)) {
        *out = slice_from(*out, prefix.len);
    }
    return true;
}

void mail_hosts_find(struct mail_hosts *hosts)
{
    struct slice literal;
    struct dns_name name;
    if (!is_of_domain(hosts)) {
        hosts->count = 1; /* the route's address */
        find_addresses(hosts);
    } else if (literal_parse(&literal, hosts->domain)) {
        add_host(hosts, literal, 0);
        find_addresses(hosts);
    } else if (dns_name_parse(&name, hosts->domain) || name.len <= 1) {
        never(hosts, "not a domain", 1, 2);
    } else {
        hosts->mx.done = mx_done;
        dns_ask(hosts->deliver->conf.dns, &hosts->mx, &name, DNS_MX);
    }
}

void mail_hosts_cancel(struct mail_hosts *hosts)
{
    dns_cancel(&hosts->mx);
    for (unsigned i = 0; i < hosts->count; i++) {
        address_cancel(&hosts->found[i]);
    }
}
