#include "io/resolv_parse.h"

#include "core/text.h"

enum { DNS_PORT = 53 };

/* The next word of a line; empty at its end. */
static struct slice next_word(struct slice *line)
{
    size_t at = 0;
    while (at < line->len && (line->ptr[at] == ' ' || line->ptr[at] == '\t')) {
        at++;
    }
    struct slice rest = slice_from(*line, at);
    size_t len = 0;
    while (len < rest.len && rest.ptr[len] != ' ' && rest.ptr[len] != '\t') {
        len++;
    }
    *line = slice_from(rest, len);
    return slice_first(rest, len);
}

/* The next line without its comment. */
static bool next_line(struct slice *text, struct slice *out)
{
    if (text->len == 0) {
        return false;
    }
    size_t end = slice_find(*text, '\n');
    struct slice line = slice_first(*text, end);
    *text = slice_from(*text, end < text->len ? end + 1 : end);
    line = slice_first(line, slice_find(line, '#'));
    line = slice_first(line, slice_find(line, ';'));
    *out = slice_first(line, slice_find(line, '\r'));
    return true;
}

static void nameserver(struct resolv_conf *conf, struct slice line)
{
    struct netaddr addr;
    struct slice text = next_word(&line);
    /* A zone behind an address (fe80::1%eth0) is not supported: link-local servers are passed
     * over. */
    if (conf->server_count < RESOLV_SERVERS_MAX && netaddr_parse(&addr, text) == MX_OK) {
        addr.port = DNS_PORT;
        conf->servers[conf->server_count++] = addr;
    }
}

static bool option_value(struct slice option, struct slice name, uint64_t max, unsigned factor,
                         unsigned *out)
{
    uint64_t value;
    if (!text_starts_nocase(option, name) || text_to_u64(&value, slice_from(option, name.len))) {
        return false;
    }
    value = value < 1 ? 1 : value > max ? max : value;
    *out = (unsigned)value * factor;
    return true;
}

static void options(struct resolv_conf *conf, struct slice line)
{
    struct slice option;
    while ((option = next_word(&line)).len > 0) {
        if (slice_equal(option, SLICE_LITERAL("trust-ad"))) {
            conf->trust_ad = true;
        } else if (slice_equal(option, SLICE_LITERAL("use-vc"))) {
            conf->tcp_only = true;
        } else if (!option_value(option, SLICE_LITERAL("timeout:"), RESOLV_TIMEOUT_MAX_MS / 1000,
                                 1000, &conf->timeout_ms)) {
            (void)option_value(option, SLICE_LITERAL("attempts:"), RESOLV_ATTEMPTS_MAX, 1,
                               &conf->attempts);
        }
    }
}

static void search(struct resolv_conf *conf, struct slice line)
{
    struct dns_name name;
    conf->search = dns_name_parse(&name, next_word(&line)) == MX_OK ? name : (struct dns_name){0};
}

/* Servers on this host can be believed: nobody is in between. */
static bool all_here(const struct resolv_conf *conf)
{
    for (unsigned i = 0; i < conf->server_count; i++) {
        if (!netaddr_is_loopback(&conf->servers[i])) {
            return false;
        }
    }
    return conf->server_count > 0;
}

void resolv_parse(struct resolv_conf *out, struct slice text)
{
    struct resolv_conf conf = {.timeout_ms = RESOLV_TIMEOUT_DEFAULT_MS,
                               .attempts = RESOLV_ATTEMPTS_DEFAULT};
    struct slice line;
    while (next_line(&text, &line)) {
        struct slice key = next_word(&line);
        if (slice_equal(key, SLICE_LITERAL("nameserver"))) {
            nameserver(&conf, line);
        } else if (slice_equal(key, SLICE_LITERAL("options"))) {
            options(&conf, line);
        } else if (slice_equal(key, SLICE_LITERAL("search")) ||
                   slice_equal(key, SLICE_LITERAL("domain"))) {
            search(&conf, line);
        }
    }
    if (conf.server_count == 0) {
        nameserver(&conf, SLICE_LITERAL("127.0.0.1"));
    }
    conf.trust_ad = conf.trust_ad || all_here(&conf);
    *out = conf;
}

void resolv_custom(struct resolv_conf *out, const struct netaddr *servers, unsigned count)
{
    memcpy(out->servers, servers, count * sizeof *servers);
    out->server_count = count;
    out->trust_ad = all_here(out);
    out->tcp_only = false;
}

bool resolv_equal(const struct resolv_conf *a, const struct resolv_conf *b)
{
    bool same = a->server_count == b->server_count && a->timeout_ms == b->timeout_ms &&
                a->attempts == b->attempts && a->trust_ad == b->trust_ad &&
                a->tcp_only == b->tcp_only && a->search.len == b->search.len &&
                memcmp(a->search.wire, b->search.wire, a->search.len) == 0;
    for (unsigned i = 0; same && i < a->server_count; i++) {
        same = netaddr_equal(&a->servers[i], &b->servers[i]) &&
               a->servers[i].port == b->servers[i].port;
    }
    return same;
}

void hosts_parse(struct slice text,
                 bool (*each)(void *arg, struct slice name, const struct netaddr *addr), void *arg)
{
    struct slice line;
    while (next_line(&text, &line)) {
        struct netaddr addr;
        struct slice name;
        if (netaddr_parse(&addr, next_word(&line))) {
            continue;
        }
        while ((name = next_word(&line)).len > 0) {
            if (!each(arg, name, &addr)) {
                return;
            }
        }
    }
}
