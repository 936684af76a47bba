#include "io/names.h"

#include "io/sys.h"

#include <stdlib.h>

static int compare_names(const struct dns_name *a, const struct dns_name *b)
{
    return a->len != b->len ? (int)a->len - (int)b->len : memcmp(a->wire, b->wire, a->len);
}

/* In the order of the file where names are equal: the entries lie in it. */
static int compare_entries(const void *left, const void *right)
{
    const struct host_entry *a = left, *b = right;
    int by_name = compare_names(&a->name, &b->name);
    return by_name != 0 ? by_name : (int)a->addr.port - (int)b->addr.port;
}

struct collecting {
    struct names *names;
    size_t room;
};

static bool collect(void *arg, struct slice name, const struct netaddr *addr)
{
    struct collecting *c = arg;
    struct host_entry entry = {.addr = *addr};
    if (c->names->host_count == c->room) {
        return false;
    }
    if (dns_name_parse(&entry.name, name) == MX_OK) {
        dns_name_lower(&entry.name);
        entry.addr.port = (uint16_t)c->names->host_count; /* the order, while it is sorted */
        c->names->hosts[c->names->host_count++] = entry;
    }
    return true;
}

static bool count(void *arg, struct slice name, const struct netaddr *addr)
{
    size_t *entries = arg;
    (void)name;
    (void)addr;
    return ++*entries < HOSTS_MAX;
}

mx_err names_make(struct names *out, struct slice resolv_text, struct slice hosts_text)
{
    struct names names = {0};
    size_t entries = 0;
    resolv_parse(&names.resolv, resolv_text);
    hosts_parse(hosts_text, count, &entries);
    names.hosts = calloc(entries + 1, sizeof *names.hosts);
    if (names.hosts == NULL) {
        return MX_ERR_NOMEM;
    }
    hosts_parse(hosts_text, collect, &(struct collecting){&names, entries});
    qsort(names.hosts, names.host_count, sizeof *names.hosts, compare_entries);
    for (size_t i = 0; i < names.host_count; i++) {
        names.hosts[i].addr.port = 0;
    }
    *out = names;
    return MX_OK;
}

static mx_err read_text(uint8_t **out, size_t *out_len, const char *path)
{
    mx_err err = sys_read_file(out, out_len, path, RESOLV_FILE_MAX);
    if (err == MX_ERR_NOTFOUND) {
        *out = NULL;
        *out_len = 0;
        return MX_OK;
    }
    return err;
}

mx_err names_read(struct names *out)
{
    uint8_t *resolv = NULL, *hosts = NULL;
    size_t resolv_len = 0, hosts_len = 0;
    mx_err err = read_text(&resolv, &resolv_len, "/etc/resolv.conf");
    if (!err) {
        err = read_text(&hosts, &hosts_len, "/etc/hosts");
    }
    if (!err) {
        err = names_make(out, slice_of(resolv, resolv_len), slice_of(hosts, hosts_len));
    }
    free(resolv);
    free(hosts);
    if (!err) {
        out->own_count = sys_own_addresses(out->own, NAMES_OWN_MAX);
    }
    return err;
}

bool names_is_own(const struct names *names, const struct netaddr *addr)
{
    for (size_t i = 0; i < names->own_count; i++) {
        if (netaddr_equal(&names->own[i], addr)) {
            return true;
        }
    }
    return false;
}

void names_free(struct names *names)
{
    free(names->hosts);
    *names = (struct names){0};
}

/* "localhost" and "x.localhost" (RFC 6761 section 6.3). */
static bool is_localhost(const struct dns_name *name)
{
    static const uint8_t localhost[] = "\011localhost";
    size_t len = sizeof localhost;
    return name->len >= len && memcmp(name->wire + name->len - len, localhost, len) == 0;
}

static size_t first_of(const struct names *names, const struct dns_name *name)
{
    size_t low = 0, high = names->host_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (compare_names(&names->hosts[middle].name, name) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

size_t names_hosts(const struct names *names, const struct dns_name *name, struct netaddr *out,
                   size_t max)
{
    struct dns_name lower = *name;
    size_t found = 0;
    dns_name_lower(&lower);
    for (size_t i = first_of(names, &lower);
         i < names->host_count && found < max && compare_names(&names->hosts[i].name, &lower) == 0;
         i++) {
        out[found++] = names->hosts[i].addr;
    }
    if (found == 0 && max > 0 && is_localhost(&lower)) {
        out[found++] = (struct netaddr){.family = 4, .bytes = {127, 0, 0, 1}};
    }
    return found;
}
