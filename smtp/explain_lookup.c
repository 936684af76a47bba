#include "smtp/explain_lookup.h"

#include "smtp/mail_hosts.h"
#include "smtp/service.h"

#include <stdlib.h>

struct explain_lookup {
    struct mail_hosts hosts;
    void (*again)(void *arg);
    void *arg;
    bool beginning; /* whoever asks is there */
    bool over;
};

static void hosts_done(struct mail_hosts *hosts)
{
    struct explain_lookup *lookup = mx_container_of(hosts, struct explain_lookup, hosts);
    lookup->over = true;
    if (!lookup->beginning) {
        lookup->again(lookup->arg);
    }
}

struct explain_lookup *explain_lookup_new(struct service *service, const struct image *image,
                                          const struct route_conf *route, struct slice domain,
                                          void (*again)(void *arg), void *arg)
{
    struct explain_lookup *lookup = calloc(1, sizeof *lookup);
    if (lookup == NULL) {
        return NULL;
    }
    lookup->hosts.deliver = &service->deliver;
    lookup->hosts.route = route;
    lookup->hosts.domain = route->kind == ROUTE_MX ? domain : SLICE_EMPTY;
    lookup->hosts.hostname = image->hostname;
    lookup->hosts.done = hosts_done;
    lookup->again = again;
    lookup->arg = arg;
    lookup->beginning = true;
    mail_hosts_find(&lookup->hosts);
    lookup->beginning = false;
    return lookup;
}

bool explain_lookup_done(const struct explain_lookup *lookup, struct explain_hop *out)
{
    struct hop_address addresses[HOP_ADDRESSES_MAX];
    if (!lookup->over) {
        return false;
    }
    out->address_count = mail_hosts_addresses(&lookup->hosts, addresses);
    for (unsigned i = 0; i < out->address_count; i++) {
        struct explain_address *address = &out->addresses[i];
        struct writer w = writer_init(address->host, sizeof address->host - 1);
        address->addr = addresses[i].addr;
        address->preference = addresses[i].preference;
        address->by_chance = addresses[i].by_chance;
        put_slice(&w, slice_first(addresses[i].host, sizeof address->host - 1));
        address->host[w.len] = '\0';
    }
    out->names_problem = lookup->hosts.problem;
    return true;
}

bool explain_lookup_never(const struct explain_lookup *lookup)
{
    return lookup->hosts.result == MAIL_HOSTS_NEVER;
}

bool explain_lookup_not_now(const struct explain_lookup *lookup)
{
    return lookup->hosts.result == MAIL_HOSTS_NOT_NOW;
}

void explain_lookup_stop(struct explain_lookup *lookup)
{
    mail_hosts_cancel(&lookup->hosts);
    if (!lookup->over) {
        lookup->over = true;
        lookup->hosts.result = MAIL_HOSTS_NOT_NOW;
        lookup->hosts.problem = "the DNS has not answered in time";
    }
}

void explain_lookup_free(struct explain_lookup *lookup)
{
    if (lookup != NULL) {
        mail_hosts_cancel(&lookup->hosts);
        free(lookup);
    }
}
