#include "io/resolv_parse.h"

#include "io/names.h"

#include <criterion/criterion.h>

static struct resolv_conf parse(const char *text)
{
    struct resolv_conf conf;
    resolv_parse(&conf, slice_of_text(text));
    return conf;
}

static struct netaddr addr_of(const char *text)
{
    struct netaddr addr;
    cr_assert_eq(netaddr_parse(&addr, slice_of_text(text)), MX_OK);
    return addr;
}

Test(resolv_conf, empty_is_this_host)
{
    struct resolv_conf conf = parse("");
    struct netaddr here = addr_of("127.0.0.1");
    cr_assert(conf.server_count == 1 && netaddr_equal(&conf.servers[0], &here));
    cr_assert(conf.servers[0].port == 53 && conf.trust_ad && !conf.tcp_only);
    cr_assert(conf.timeout_ms == RESOLV_TIMEOUT_DEFAULT_MS &&
              conf.attempts == RESOLV_ATTEMPTS_DEFAULT);
}

Test(resolv_conf, lines)
{
    struct resolv_conf conf =
        parse("# comment\n; another\nnameserver 192.0.2.53 # here\r\n"
              "\tnameserver\t2001:db8::53\nnameserver nonsense\n"
              "nameserver fe80::1%eth0\nsearch corp.example other.example\n"
              "options ndots:1 timeout:7 attempts:3 trust-ad use-vc\nsortlist x");
    struct netaddr second = addr_of("2001:db8::53");
    cr_assert(conf.server_count == 2 && netaddr_equal(&conf.servers[1], &second));
    cr_assert(conf.timeout_ms == 7000 && conf.attempts == 3 && conf.trust_ad && conf.tcp_only);
    cr_assert_eq(conf.search.len, sizeof "\4corp\7example");
}

Test(resolv_conf, bounds)
{
    struct resolv_conf conf =
        parse("options timeout:1000000 attempts:0\n"
              "nameserver 192.0.2.1\nnameserver 192.0.2.2\nnameserver 192.0.2.3\n"
              "nameserver 192.0.2.4\nnameserver 192.0.2.5\nnameserver 192.0.2.6\n"
              "nameserver 192.0.2.7\nnameserver 192.0.2.8\nnameserver 192.0.2.9\n");
    cr_assert(conf.server_count == RESOLV_SERVERS_MAX && !conf.trust_ad);
    cr_assert(conf.timeout_ms == RESOLV_TIMEOUT_MAX_MS && conf.attempts == 1);
}

Test(resolv_conf, equal)
{
    struct resolv_conf a = parse("nameserver 192.0.2.1\n"), b = a;
    struct netaddr other = addr_of("192.0.2.2");
    cr_assert(resolv_equal(&a, &b));
    resolv_custom(&b, &other, 1);
    cr_assert(!resolv_equal(&a, &b) && !b.trust_ad);
    other = addr_of("127.0.0.53");
    resolv_custom(&b, &other, 1);
    cr_assert(b.trust_ad);
}

static size_t find(const struct names *names, const char *host, struct netaddr *out, size_t max)
{
    struct dns_name name;
    cr_assert_eq(dns_name_parse(&name, slice_of_text(host)), MX_OK);
    return names_hosts(names, &name, out, max);
}

Test(names, hosts_file)
{
    struct names names;
    struct netaddr found[4], expected = addr_of("192.0.2.1");
    cr_assert_eq(names_make(&names, SLICE_EMPTY,
                            SLICE_LITERAL("192.0.2.1 Mail.example mail\n2001:db8::1 mail.example\n"
                                          "nonsense mail.example\n192.0.2.9 a..b other # more\n")),
                 MX_OK);
    cr_assert_eq(find(&names, "MAIL.example", found, 4), 2);
    cr_assert(netaddr_equal(&found[0], &expected) && found[0].port == 0 && found[1].family == 6);
    cr_assert_eq(find(&names, "mail.example", found, 1), 1);
    cr_assert_eq(find(&names, "mail", found, 4), 1);
    cr_assert_eq(find(&names, "other", found, 4), 1);
    cr_assert_eq(find(&names, "more", found, 4), 0);
    names_free(&names);
}

Test(names, localhost_is_here_always)
{
    struct names names;
    struct netaddr found[4];
    cr_assert_eq(names_make(&names, SLICE_EMPTY, SLICE_EMPTY), MX_OK);
    cr_assert(find(&names, "localhost", found, 4) == 1 && netaddr_is_loopback(&found[0]));
    cr_assert_eq(find(&names, "x.LocalHost", found, 4), 1);
    cr_assert_eq(find(&names, "notlocalhost", found, 4), 0);
    names_free(&names);
}
