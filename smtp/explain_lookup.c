#include "smtp/explain_lookup.h"

#include "io/address_lookup.h"
#include "smtp/mx_choice.h"
#include "smtp/service.h"

#include <stdlib.h>

enum { SMTP_PORT = 25 };

struct explain_lookup {
    struct service *service;
    void (*again)(void *arg);
    void *arg;
    uint16_t port;
    unsigned each_max; /* addresses of one host */
    enum address_families families;
    struct slice domain; /* of an MX route; the asker's */
    unsigned hosts_max;
    bool beginning; /* whoever asks is there */
    bool of_domain;
    struct dns_query mx;
    bool mx_waits;
    unsigned waiting; /* hosts without answer */
    const char *problem;
    unsigned host_count;
    char names[MX_HOSTS_MAX][DNS_NAME_TEXT_MAX + 1];
    struct address_lookup hosts[MX_HOSTS_MAX];
};

static void tell(struct explain_lookup *lookup)
{
    if (!lookup->beginning && !lookup->mx_waits && lookup->waiting == 0) {
        lookup->again(lookup->arg);
    }
}

static void host_done(struct address_lookup *host)
{
    struct explain_lookup *lookup = host->owner;
    lookup->waiting--;
    tell(lookup);
}

static void add_host(struct explain_lookup *lookup, struct slice name)
{
    char *text = lookup->names[lookup->host_count++];
    struct writer w = writer_init(text, DNS_NAME_TEXT_MAX);
    put_slice(&w, slice_first(name, DNS_NAME_TEXT_MAX));
    text[w.len] = '\0';
}

static void find_hosts(struct explain_lookup *lookup)
{
    bool beginning = lookup->beginning;
    lookup->beginning = true;
    for (unsigned i = 0; i < lookup->host_count; i++) {
        lookup->hosts[i].done = host_done;
        lookup->hosts[i].owner = lookup;
        lookup->waiting++;
        address_find(&lookup->hosts[i], &lookup->service->dns, lookup->service->deliver.conf.names,
                     slice_of_text(lookup->names[i]), lookup->families, !lookup->of_domain);
    }
    lookup->beginning = beginning;
}

static void mx_answered(struct explain_lookup *lookup, const struct dns_answer *answer)
{
    struct mx_choice choice;
    if (answer->status == DNS_NO_NAME) {
        lookup->problem = "the domain does not exist";
        return;
    }
    mx_choose(&choice, answer, lookup->service->image->hostname, lookup->hosts_max, 0);
    if (choice.verdict == MX_NULL) {
        lookup->problem = "the domain takes no mail (null MX)";
    } else if (choice.verdict == MX_LOOP) {
        lookup->problem =
            "this server is the domain's best mail host, but the domain is not served here";
    } else if (choice.verdict == MX_IMPLICIT) {
        add_host(lookup, lookup->domain);
    } else {
        for (unsigned i = 0; i < choice.count; i++) {
            add_host(lookup, choice.hosts[i].name);
        }
    }
    find_hosts(lookup);
}

static void mx_done(struct dns_query *query, mx_err err, const struct dns_answer *answer,
                    const char *problem)
{
    struct explain_lookup *lookup = mx_container_of(query, struct explain_lookup, mx);
    lookup->mx_waits = false;
    if (err) {
        lookup->problem = problem;
    } else {
        mx_answered(lookup, answer);
    }
    tell(lookup);
}

static void find_mx(struct explain_lookup *lookup)
{
    struct dns_name name;
    if (dns_name_parse(&name, lookup->domain) != MX_OK || name.len <= 1) {
        lookup->problem = "not a domain";
        return;
    }
    lookup->mx.done = mx_done;
    lookup->mx_waits = true;
    dns_ask(&lookup->service->dns, &lookup->mx, &name, DNS_MX);
}

struct explain_lookup *explain_lookup_new(struct service *service, const struct route_conf *route,
                                          struct slice domain, void (*again)(void *arg), void *arg)
{
    struct explain_lookup *lookup = calloc(1, sizeof *lookup);
    if (lookup == NULL) {
        return NULL;
    }
    lookup->service = service;
    lookup->again = again;
    lookup->arg = arg;
    lookup->of_domain = route->kind == ROUTE_MX;
    lookup->port = lookup->of_domain ? SMTP_PORT : route->port;
    lookup->each_max = lookup->of_domain ? route->mx_addresses_max : HOP_ADDRESSES_MAX;
    lookup->families = lookup->of_domain ? route->mx_families : ADDRESS_V4_THEN_V6;
    lookup->beginning = true;
    if (lookup->of_domain) {
        lookup->domain = domain;
        lookup->hosts_max = route->mx_hosts_max;
        find_mx(lookup);
    } else {
        add_host(lookup, route->address);
        find_hosts(lookup);
    }
    lookup->beginning = false;
    return lookup;
}

bool explain_lookup_done(const struct explain_lookup *lookup, struct explain_hop *out)
{
    out->names_problem = lookup->problem;
    if (lookup->mx_waits || lookup->waiting > 0) {
        return false;
    }
    for (unsigned i = 0; i < lookup->host_count; i++) {
        const struct address_lookup *host = &lookup->hosts[i];
        for (size_t k = 0; k < host->count && k < lookup->each_max; k++) {
            if (out->address_count == EXPLAIN_ADDRESSES_MAX) {
                return true;
            }
            struct explain_address *address = &out->addresses[out->address_count++];
            address->addr = host->addresses[k];
            address->addr.port = lookup->port;
            memcpy(address->host, lookup->of_domain ? lookup->names[i] : "",
                   lookup->of_domain ? sizeof lookup->names[i] : 1);
        }
        if (host->err != MX_OK && out->names_problem == NULL && out->address_count == 0) {
            out->names_problem = host->problem != NULL ? host->problem : err_text(host->err);
        }
    }
    if (out->address_count > 0) {
        out->names_problem = NULL;
    }
    return true;
}

void explain_lookup_stop(struct explain_lookup *lookup)
{
    dns_cancel(&lookup->mx);
    for (unsigned i = 0; i < lookup->host_count; i++) {
        address_cancel(&lookup->hosts[i]);
    }
    if (lookup->mx_waits || lookup->waiting > 0) {
        lookup->problem = "the DNS has not answered in time";
    }
    lookup->mx_waits = false;
    lookup->waiting = 0;
}

void explain_lookup_free(struct explain_lookup *lookup)
{
    if (lookup != NULL) {
        explain_lookup_stop(lookup);
        free(lookup);
    }
}
