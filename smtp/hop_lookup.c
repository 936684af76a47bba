#include "smtp/hop_lookup.h"

#include "core/text.h"
#include "io/address_lookup.h"
#include "smtp/hop.h"
#include "smtp/mx_choice.h"

#include <stdlib.h>

enum { SMTP_PORT = 25 };

struct hop_lookup {
    struct hop *hop;
    struct dns_query mx;
    unsigned host_count;
    unsigned waiting; /* hosts whose addresses are not known yet */
    struct slice names[MX_HOSTS_MAX];
    uint16_t preferences[MX_HOSTS_MAX]; /* ascending */
    uint8_t texts[MX_HOSTS_MAX][DNS_NAME_TEXT_MAX];
    struct address_lookup hosts[MX_HOSTS_MAX];
};

/* --- what comes of it --------------------------------------------------------------------------
 */

void hop_lookup_cancel(struct hop *hop)
{
    struct hop_lookup *lookup = hop->lookup;
    if (lookup == NULL) {
        return;
    }
    hop->lookup = NULL;
    dns_cancel(&lookup->mx);
    for (unsigned i = 0; i < lookup->host_count; i++) {
        address_cancel(&lookup->hosts[i]);
    }
    free(lookup);
}

static void lookup_free(struct hop_lookup *lookup)
{
    lookup->hop->lookup = NULL;
    free(lookup);
}

static struct slice target_of(const struct hop *hop)
{
    return hop->domain.len > 0 ? hop->domain : hop->route.address;
}

static struct outcome problem_of(struct writer *w, const struct hop *hop, const char *problem,
                                 uint8_t subject, uint8_t detail)
{
    put_text(w, hop->domain.len > 0 ? "mail hosts of " : "address of ");
    put_slice(w, target_of(hop));
    put_text(w, ": ");
    put_text(w, problem);
    struct outcome outcome = deliver_problem(writer_slice(w), SLICE_LITERAL("name lookup"));
    outcome.status[1] = subject;
    outcome.status[2] = detail;
    return outcome;
}

/* Nobody could say. What was known before is still the best guess. */
static void not_now(struct hop_lookup *lookup, const char *problem)
{
    struct hop *hop = lookup->hop;
    uint8_t text[CLI_TEXT_MAX];
    struct writer w = writer_init(text, sizeof text);
    lookup_free(lookup);
    if (hop->address_count > 0) {
        hop->resolved_ns = hop->deliver->shard->now_ns;
        hop_run(hop);
        return;
    }
    struct outcome outcome = problem_of(&w, hop, problem, 4, 3);
    hop_failed(hop, &outcome);
}

/* The domain's mail cannot be delivered, now or later: RFC 7505, RFC 5321 section 5.1. */
static void never(struct hop_lookup *lookup, const char *problem, uint8_t subject, uint8_t detail)
{
    struct hop *hop = lookup->hop;
    uint8_t text[CLI_TEXT_MAX];
    struct writer w = writer_init(text, sizeof text);
    struct delivery *delivery;
    struct outcome outcome = problem_of(&w, hop, problem, subject, detail);
    lookup_free(lookup);
    outcome.kind = OUTCOME_PERMANENT;
    outcome.status[0] = 5;
    outcome.host_fault = false;
    hop->address_count = 0;
    hop_works(hop); /* an answer: its mail need not wait for a probe */
    while ((delivery = hop_take_any(hop)) != NULL) {
        delivery_decide_rest(delivery, &outcome);
        delivery_done(delivery);
    }
}

static void loops(struct hop_lookup *lookup)
{
    never(lookup, "this server is the domain's best mail host, but the domain is not served here",
          4, 6);
}

/* A relay's name is in our configuration: when it is not there, somebody has to set that right, and
 * the mail waits for it. */
static void no_address(struct hop_lookup *lookup)
{
    if (lookup->hop->domain.len > 0) {
        never(lookup, "no host with a usable address", 4, 4);
    } else {
        lookup->hop->address_count = 0;
        not_now(lookup, err_text(MX_ERR_DNS_NOTFOUND));
    }
}

/* --- addresses ---------------------------------------------------------------------------------
 */

static bool is_unspecified(const struct netaddr *addr)
{
    static const uint8_t zeros[16];
    return memcmp(addr->bytes, zeros, addr->family == 4 ? 4 : 16) == 0;
}

/* A listener at no address in particular hears all of this machine's; one of IPv6, IPv4 as well. */
static bool hears(const struct hop *hop, const struct netaddr *bind, const struct netaddr *addr)
{
    if (bind->port != SMTP_PORT) {
        return false;
    }
    return netaddr_equal(bind, addr) ||
           (is_unspecified(bind) && (bind->family == 6 || addr->family == 4) &&
            names_is_own(hop->deliver->conf.names, addr));
}

/* What is sent there comes to us. */
static bool is_own(const struct hop *hop, const struct netaddr *addr)
{
    const struct image *image = hop->deliver->image;
    for (uint32_t i = 0; i < image->listener_count; i++) {
        for (uint32_t k = 0; k < image->listeners[i].bind_count; k++) {
            if (hears(hop, &image->listeners[i].binds[k], addr)) {
                return true;
            }
        }
    }
    return false;
}

/* Of a foreign domain's hosts, those that lead back to this machine are not used, whatever a
 * stranger writes into the DNS. */
static bool is_usable(const struct hop *hop, const struct netaddr *addr)
{
    return hop->domain.len == 0 ||
           !(netaddr_is_loopback(addr) || is_unspecified(addr) || is_own(hop, addr));
}

static void add_addresses(struct hop *hop, const struct address_lookup *found, struct slice name)
{
    unsigned each_max = hop->domain.len > 0 ? hop->route.mx_addresses_max : HOP_ADDRESSES_MAX;
    unsigned used = 0;
    for (size_t i = 0; i < found->count && used < each_max; i++) {
        if (hop->address_count < HOP_ADDRESSES_MAX && is_usable(hop, &found->addresses[i])) {
            struct hop_address *address = &hop->addresses[hop->address_count++];
            *address = (struct hop_address){.addr = found->addresses[i], .host = name};
            address->addr.port = hop->domain.len > 0 ? SMTP_PORT : hop->route.port;
            used++;
        }
    }
}

/* Copies the names of the hosts to where the hop keeps them; NULL: no memory. */
static uint8_t *keep_names(struct hop_lookup *lookup)
{
    size_t bytes = 1;
    for (unsigned i = 0; i < lookup->host_count; i++) {
        bytes += lookup->names[i].len;
    }
    uint8_t *memory = malloc(bytes), *at = memory;
    for (unsigned i = 0; memory != NULL && i < lookup->host_count; i++) {
        struct slice name = lookup->names[i];
        if (name.len > 0) {
            memcpy(at, name.ptr, name.len);
        }
        lookup->names[i] = slice_of(at, name.len);
        at += name.len;
    }
    return memory;
}

/* With new addresses, what was learnt about the old ones is tried anew. */
static void addresses_fresh(struct hop *hop)
{
    hop->resolved_ns = hop->deliver->shard->now_ns;
    hop->first_address = 0;
}

static bool some_failed_for_now(const struct hop_lookup *lookup, const char **out_problem)
{
    for (unsigned i = 0; i < lookup->host_count; i++) {
        if (lookup->hosts[i].err == MX_ERR_DNS_TEMPORARY) {
            *out_problem = lookup->hosts[i].problem;
            return true;
        }
    }
    return false;
}

static bool leads_here(const struct hop_lookup *lookup, unsigned host)
{
    for (size_t k = 0; k < lookup->hosts[host].count; k++) {
        if (is_own(lookup->hop, &lookup->hosts[host].addresses[k])) {
            return true;
        }
    }
    return false;
}

/* A host with an address of ours is this server under another name: nothing from its preference on.
 * False: nothing is left. */
static bool cut_at_own(struct hop_lookup *lookup)
{
    unsigned own = 0, keep = 0;
    while (own < lookup->host_count && !leads_here(lookup, own)) {
        own++;
    }
    if (own == lookup->host_count) {
        return true;
    }
    while (lookup->preferences[keep] < lookup->preferences[own]) {
        keep++;
    }
    lookup->host_count = keep;
    return keep > 0;
}

static void hosts_known(struct hop_lookup *lookup)
{
    struct hop *hop = lookup->hop;
    if (hop->domain.len > 0 && !cut_at_own(lookup)) {
        loops(lookup);
        return;
    }
    const char *problem = "";
    bool found = false;
    for (unsigned i = 0; i < lookup->host_count; i++) {
        for (size_t k = 0; k < lookup->hosts[i].count; k++) {
            found = found || is_usable(hop, &lookup->hosts[i].addresses[k]);
        }
    }
    if (!found && some_failed_for_now(lookup, &problem)) {
        not_now(lookup, problem);
        return;
    }
    if (!found) {
        no_address(lookup);
        return;
    }
    uint8_t *names = keep_names(lookup);
    if (names == NULL) {
        not_now(lookup, "out of memory");
        return;
    }
    free(hop->host_names);
    hop->host_names = names;
    hop->address_count = 0;
    for (unsigned i = 0; i < lookup->host_count; i++) {
        add_addresses(hop, &lookup->hosts[i], lookup->names[i]);
    }
    lookup_free(lookup);
    addresses_fresh(hop);
    hop_run(hop);
}

static void host_done(struct address_lookup *host)
{
    struct hop_lookup *lookup = host->owner;
    if (host->err == MX_ERR_SHUTDOWN) {
        return; /* the hop cancels it */
    }
    if (--lookup->waiting == 0) {
        hosts_known(lookup);
    }
}

/* Looks for the addresses of all hosts at once. */
static void find_hosts(struct hop_lookup *lookup)
{
    struct hop *hop = lookup->hop;
    struct deliver *d = hop->deliver;
    enum address_families families =
        hop->domain.len > 0 ? hop->route.mx_families : ADDRESS_V4_THEN_V6;
    unsigned count = lookup->host_count;
    lookup->waiting = count + 1; /* the last one may end it all */
    for (unsigned i = 0; i < count; i++) {
        struct slice host = lookup->names[i].len > 0 ? lookup->names[i] : hop->route.address;
        lookup->hosts[i].done = host_done;
        lookup->hosts[i].owner = lookup;
        address_find(&lookup->hosts[i], d->conf.dns, d->conf.names, host, families,
                     hop->domain.len == 0);
    }
    if (--lookup->waiting == 0) {
        hosts_known(lookup);
    }
}

/* --- the hosts of a domain ---------------------------------------------------------------------
 */

static void add_host(struct hop_lookup *lookup, struct slice name, uint16_t preference)
{
    uint8_t *text = lookup->texts[lookup->host_count];
    size_t len = mx_min_size(name.len, DNS_NAME_TEXT_MAX);
    memcpy(text, name.ptr, len);
    lookup->preferences[lookup->host_count] = preference;
    lookup->names[lookup->host_count++] = slice_of(text, len);
}

static void mx_answered(struct hop_lookup *lookup, const struct dns_answer *answer)
{
    struct hop *hop = lookup->hop;
    struct mx_choice choice;
    if (answer->status == DNS_NO_NAME) {
        never(lookup, "the domain does not exist", 1, 2);
        return;
    }
    mx_choose(&choice, answer, hop->hostname, hop->route.mx_hosts_max,
              deliver_random(hop->deliver));
    if (choice.verdict == MX_NULL) {
        never(lookup, "the domain takes no mail (null MX)", 1, 10);
    } else if (choice.verdict == MX_LOOP) {
        loops(lookup);
    } else {
        for (unsigned i = 0; i < choice.count; i++) {
            add_host(lookup, choice.hosts[i].name, choice.hosts[i].preference);
        }
        if (choice.verdict == MX_IMPLICIT) {
            add_host(lookup, hop->domain, 0);
        }
        find_hosts(lookup);
    }
}

static void mx_done(struct dns_query *query, mx_err err, const struct dns_answer *answer,
                    const char *problem)
{
    struct hop_lookup *lookup = mx_container_of(query, struct hop_lookup, mx);
    if (err == MX_ERR_SHUTDOWN) {
        return; /* the hop cancels it */
    }
    if (err) {
        not_now(lookup, problem);
    } else {
        mx_answered(lookup, answer);
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

static void find_mx(struct hop_lookup *lookup)
{
    struct hop *hop = lookup->hop;
    struct slice literal;
    struct dns_name name;
    if (literal_parse(&literal, hop->domain)) {
        add_host(lookup, literal, 0);
        find_hosts(lookup);
    } else if (dns_name_parse(&name, hop->domain) || name.len <= 1) {
        never(lookup, "not a domain", 1, 2);
    } else {
        lookup->mx.done = mx_done;
        dns_ask(hop->deliver->conf.dns, &lookup->mx, &name, DNS_MX);
    }
}

/* --- beginning ---------------------------------------------------------------------------------
 */

static bool is_fresh(const struct hop *hop)
{
    uint64_t age_ns = hop->deliver->shard->now_ns - hop->resolved_ns;
    return hop->address_count > 0 && age_ns < HOP_RESOLVE_KEEP_MS * MX_NS_PER_MS;
}

bool hop_addresses_known(struct hop *hop)
{
    if (hop->lookup != NULL) {
        return false;
    }
    if (is_fresh(hop)) {
        return true;
    }
    if (hop->domain.len > 0 && !dns_has_room(hop->deliver->conf.dns)) {
        return false; /* neither the domain nor its hosts are to blame: the next turn tries again */
    }
    hop->lookup = calloc(1, sizeof *hop->lookup);
    if (hop->lookup == NULL) {
        return false; /* the next turn tries again */
    }
    hop->lookup->hop = hop;
    if (hop->domain.len > 0) {
        find_mx(hop->lookup);
    } else {
        hop->lookup->host_count = 1; /* the route's address */
        find_hosts(hop->lookup);
    }
    return false; /* hop_run was called, or will be */
}
