#include "io/address_lookup.h"

static void ask(struct address_lookup *lookup);

static void finish(struct address_lookup *lookup, mx_err err, const char *problem)
{
    lookup->err = err;
    lookup->problem = problem;
    lookup->done(lookup);
}

static void take(struct address_lookup *lookup, const struct netaddr *from, size_t count)
{
    size_t room = NAMES_ADDRESSES_MAX - lookup->count;
    count = mx_min_size(count, room);
    memcpy(lookup->addresses + lookup->count, from, count * sizeof *from);
    lookup->count += count;
}

static bool wants(const struct address_lookup *lookup, uint8_t family)
{
    return lookup->families != (family == 4 ? ADDRESS_V6_ONLY : ADDRESS_V4_ONLY);
}

/* Both answers are there. */
static void answered(struct address_lookup *lookup)
{
    bool v6_first = lookup->families == ADDRESS_V6_THEN_V4 || lookup->families == ADDRESS_V6_ONLY;
    take(lookup, v6_first ? lookup->found6 : lookup->found4,
         v6_first ? lookup->count6 : lookup->count4);
    take(lookup, v6_first ? lookup->found4 : lookup->found6,
         v6_first ? lookup->count4 : lookup->count6);
    if (lookup->count > 0) {
        finish(lookup, MX_OK, "");
    } else if (lookup->failed_for_now) {
        finish(lookup, lookup->stopped ? MX_ERR_SHUTDOWN : MX_ERR_DNS_TEMPORARY, lookup->problem);
    } else if (lookup->searched.len > 0) {
        lookup->name = lookup->searched;
        lookup->searched.len = 0;
        ask(lookup);
    } else {
        finish(lookup, MX_ERR_DNS_NOTFOUND, "the name has no address");
    }
}

static void part_done(struct address_lookup *lookup, mx_err err, const struct dns_answer *answer,
                      const char *problem, uint8_t family)
{
    struct netaddr *found = family == 4 ? lookup->found4 : lookup->found6;
    size_t *count = family == 4 ? &lookup->count4 : &lookup->count6;
    struct dns_rdata rdata;
    size_t at = 0;
    while (!err && *count < NAMES_ADDRESSES_MAX && dns_answer_next(answer, &at, &rdata)) {
        struct netaddr addr = {.family = family};
        memcpy(addr.bytes, rdata.data.ptr, rdata.data.len);
        netaddr_unmap(&addr); /* the kernel would connect to it as IPv4: seen as what it is */
        found[(*count)++] = addr;
    }
    if (err) {
        lookup->stopped = lookup->stopped || err == MX_ERR_SHUTDOWN;
        lookup->failed_for_now = true;
        lookup->problem = problem;
    }
    if (--lookup->waiting == 0) {
        answered(lookup);
    }
}

static void v4_done(struct dns_query *query, mx_err err, const struct dns_answer *answer,
                    const char *problem)
{
    part_done(mx_container_of(query, struct address_lookup, v4), err, answer, problem, 4);
}

static void v6_done(struct dns_query *query, mx_err err, const struct dns_answer *answer,
                    const char *problem)
{
    part_done(mx_container_of(query, struct address_lookup, v6), err, answer, problem, 6);
}

static void ask(struct address_lookup *lookup)
{
    bool v4 = wants(lookup, 4), v6 = wants(lookup, 6);
    lookup->failed_for_now = false;
    lookup->waiting = (unsigned)v4 + v6;
    lookup->v4.done = v4_done;
    lookup->v6.done = v6_done;
    if (v4) {
        dns_ask(lookup->dns, &lookup->v4, &lookup->name, DNS_A);
    }
    if (v6) {
        dns_ask(lookup->dns, &lookup->v6, &lookup->name, DNS_AAAA);
    }
}

static bool from_hosts(struct address_lookup *lookup)
{
    struct netaddr all[NAMES_ADDRESSES_MAX];
    size_t count = names_hosts(lookup->names, &lookup->name, all, mx_countof(all));
    for (size_t i = 0; i < count; i++) {
        bool v4 = all[i].family == 4;
        if (wants(lookup, all[i].family)) {
            (v4 ? lookup->found4 : lookup->found6)[(*(v4 ? &lookup->count4 : &lookup->count6))++] =
                all[i];
        }
    }
    return lookup->count4 + lookup->count6 > 0;
}

/* name + searched; false: too long. */
static bool join(struct dns_name *out, const struct dns_name *name, const struct dns_name *below)
{
    size_t len = (size_t)name->len - 1 + below->len;
    if (below->len == 0 || len > DNS_NAME_WIRE_MAX) {
        return false;
    }
    memcpy(out->wire, name->wire, (size_t)name->len - 1);
    memcpy(out->wire + name->len - 1, below->wire, below->len);
    out->len = (uint8_t)len;
    return true;
}

void address_find(struct address_lookup *lookup, struct dns *dns, const struct names *names,
                  struct slice host, enum address_families families, bool with_search)
{
    void (*done)(struct address_lookup *) = lookup->done;
    void *owner = lookup->owner;
    struct netaddr literal;
    struct dns_name below;
    *lookup = (struct address_lookup){.dns = dns,
                                      .names = names,
                                      .families = families,
                                      .done = done,
                                      .owner = owner,
                                      .problem = ""};
    if (netaddr_parse(&literal, host) == MX_OK) {
        take(lookup, &literal, 1);
        finish(lookup, MX_OK, "");
        return;
    }
    if (dns_name_parse(&lookup->name, host) || lookup->name.len <= 1) {
        finish(lookup, MX_ERR_DNS_NOTFOUND, "not a host name");
        return;
    }
    if (from_hosts(lookup)) {
        answered(lookup);
        return;
    }
    bool single = lookup->name.wire[0] + 2 == lookup->name.len;
    if (with_search && single && join(&below, &lookup->name, &names->resolv.search)) {
        lookup->searched = lookup->name;
        lookup->name = below;
    }
    ask(lookup);
}

void address_cancel(struct address_lookup *lookup)
{
    if (lookup->waiting > 0) {
        dns_cancel(&lookup->v4);
        dns_cancel(&lookup->v6);
        lookup->waiting = 0;
    }
}
