#include "smtp/hop_lookup.h"

#include "smtp/hop.h"
#include "smtp/mail_hosts.h"

#include <stdlib.h>

struct hop_lookup {
    struct hop *hop;
    struct mail_hosts hosts;
};

/* --- what comes of it --------------------------------------------------------------------------
 */

void hop_lookup_cancel(struct hop *hop)
{
    if (hop->lookup != NULL) {
        mail_hosts_cancel(&hop->lookup->hosts);
        free(hop->lookup);
        hop->lookup = NULL;
    }
}

static void lookup_free(struct hop_lookup *lookup)
{
    lookup->hop->lookup = NULL;
    free(lookup);
}

static struct outcome problem_of(struct writer *w, const struct hop *hop, const char *problem,
                                 uint8_t subject, uint8_t detail)
{
    put_text(w, hop->domain.len > 0 ? "mail hosts of " : "address of ");
    put_slice(w, hop->domain.len > 0 ? hop->domain : hop->route.address);
    put_text(w, ": ");
    put_text(w, problem);
    struct outcome outcome = deliver_problem(writer_slice(w), SLICE_LITERAL("name lookup"));
    outcome.status[1] = subject;
    outcome.status[2] = detail;
    return outcome;
}

/* Nobody could say. What was known before is still the best guess. */
static void not_now(struct hop *hop, const struct outcome *problem)
{
    if (hop->address_count > 0) {
        hop->resolved_ns = hop->deliver->shard->now_ns;
        hop_run(hop);
    } else {
        hop_failed(hop, problem);
    }
}

/* The domain's mail cannot be delivered, now or later: RFC 7505, RFC 5321 section 5.1. */
static void never(struct hop *hop, const struct outcome *problem)
{
    struct delivery *delivery;
    struct outcome outcome = *problem;
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

/* Copies the names of the hosts to where the hop keeps them. False: no memory. */
static bool keep_names(struct hop *hop, struct hop_address *addresses, unsigned count)
{
    size_t bytes = 1;
    for (unsigned i = 0; i < count; i++) {
        bytes += addresses[i].host.len;
    }
    uint8_t *memory = malloc(bytes), *at = memory;
    for (unsigned i = 0; memory != NULL && i < count; i++) {
        struct slice name = addresses[i].host;
        if (name.len > 0) {
            memcpy(at, name.ptr, name.len);
        }
        addresses[i].host = slice_of(at, name.len);
        at += name.len;
    }
    if (memory != NULL) {
        free(hop->host_names);
        hop->host_names = memory;
    }
    return memory != NULL;
}

/* With new addresses, what was learnt about the old ones is tried anew. False: no memory. */
static bool take_addresses(struct hop *hop, const struct mail_hosts *hosts)
{
    struct hop_address addresses[HOP_ADDRESSES_MAX];
    unsigned count = mail_hosts_addresses(hosts, addresses);
    if (!keep_names(hop, addresses, count)) {
        return false;
    }
    memcpy(hop->addresses, addresses, count * sizeof addresses[0]);
    hop->address_count = count;
    hop->resolved_ns = hop->deliver->shard->now_ns;
    hop->first_address = 0;
    return true;
}

static void hosts_done(struct mail_hosts *hosts)
{
    struct hop_lookup *lookup = mx_container_of(hosts, struct hop_lookup, hosts);
    struct hop *hop = lookup->hop;
    enum mail_hosts_result result = hosts->result;
    uint8_t text[CLI_TEXT_MAX];
    struct writer w = writer_init(text, sizeof text);
    if (result == MAIL_HOSTS_ENDED) {
        return; /* the hop cancels it */
    }
    bool taken = result == MAIL_HOSTS_FOUND && take_addresses(hop, hosts);
    const char *problem = result == MAIL_HOSTS_FOUND ? err_text(MX_ERR_NOMEM) : hosts->problem;
    struct outcome outcome = problem_of(&w, hop, problem, hosts->subject, hosts->detail);
    lookup_free(lookup);
    if (taken) {
        hop_run(hop);
    } else if (result == MAIL_HOSTS_NEVER) {
        never(hop, &outcome);
    } else {
        /* A relay's name is in our configuration: when it is not there, somebody has to set that
         * right, and the mail waits for it. */
        hop->address_count = result == MAIL_HOSTS_ABSENT ? 0 : hop->address_count;
        not_now(hop, &outcome);
    }
}

/* --- beginning ---------------------------------------------------------------------------------
 */

bool hop_addresses_fresh(const struct hop *hop)
{
    uint64_t age_ns = hop->deliver->shard->now_ns - hop->resolved_ns;
    return hop->address_count > 0 && age_ns < HOP_RESOLVE_KEEP_MS * MX_NS_PER_MS;
}

bool hop_addresses_known(struct hop *hop)
{
    if (hop->lookup != NULL) {
        return false;
    }
    if (hop_addresses_fresh(hop)) {
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
    struct mail_hosts *hosts = &hop->lookup->hosts;
    hosts->deliver = hop->deliver;
    hosts->route = &hop->route;
    hosts->domain = hop->domain;
    hosts->hostname = hop->hostname;
    hosts->random = hop->domain.len > 0 ? deliver_random(hop->deliver) : 0;
    hosts->done = hosts_done;
    mail_hosts_find(hosts);
    return false; /* hop_run was called, or will be */
}
