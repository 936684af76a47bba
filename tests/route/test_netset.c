#include "core/slice.h"
#include "route/netset.h"

#include <criterion/criterion.h>

enum { SEED = 7 };

static struct netset_entry entry(const char *text, int64_t expires_ms)
{
    struct netset_entry out = {.expires_ms = expires_ms};
    cr_assert_eq(netmask_parse(&out.mask, slice_of_text(text)), MX_OK, "%s", text);
    return out;
}

static bool has(const struct netset *set, const char *text, int64_t wall_ms)
{
    struct netaddr addr;
    cr_assert_eq(netaddr_parse(&addr, slice_of_text(text)), MX_OK, "%s", text);
    return netset_has(set, &addr, wall_ms);
}

Test(netset, empty)
{
    struct netset *set;
    cr_assert_eq(netset_new(&set, NULL, 0, SEED), MX_OK);
    cr_assert_null(set);
    cr_assert_not(has(set, "192.0.2.1", 0));
}

Test(netset, networks_of_all_lengths)
{
    struct netset_entry entries[] = {entry("192.0.2.1", 0),     entry("198.51.100.128/25", 0),
                                     entry("2001:db8::/32", 0), entry("2001:db8:f::1", 0),
                                     entry("10.0.0.0/8", 0),    entry("203.0.113.4/30", 0)};
    struct netset *set;
    cr_assert_eq(netset_new(&set, entries, 6, SEED), MX_OK);
    static const struct {
        const char *addr;
        bool in;
    } cases[] = {
        {"192.0.2.1", true},      {"192.0.2.2", false},       {"198.51.100.128", true},
        {"198.51.100.255", true}, {"198.51.100.127", false},  {"2001:db8:1::9", true},
        {"2001:db9::1", false},   {"10.255.255.255", true},   {"11.0.0.0", false},
        {"203.0.113.4", true},    {"203.0.113.7", true},      {"203.0.113.8", false},
        {"203.0.113.3", false},   {"::ffff:192.0.2.1", true}, {"::c000:201", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        cr_assert_eq(has(set, cases[i].addr, 0), cases[i].in, "%s", cases[i].addr);
    }
    netset_free(set);
}

Test(netset, everything)
{
    struct netset_entry all = entry("0.0.0.0/0", 0);
    struct netset *set;
    cr_assert_eq(netset_new(&set, &all, 1, SEED), MX_OK);
    cr_assert(has(set, "255.255.255.255", 0));
    cr_assert_not(has(set, "::1", 0));
    netset_free(set);
}

Test(netset, expiry)
{
    struct netset_entry entries[] = {entry("192.0.2.0/24", 1000), entry("192.0.2.7", 0),
                                     entry("198.51.100.1", 500), entry("198.51.100.1", 900)};
    struct netset *set;
    cr_assert_eq(netset_new(&set, entries, 4, SEED), MX_OK);
    cr_assert(has(set, "192.0.2.1", 999));
    cr_assert_not(has(set, "192.0.2.1", 1000));
    cr_assert(has(set, "192.0.2.7", 1000000));
    cr_assert(has(set, "198.51.100.1", 899), "the longer one counts");
    cr_assert_not(has(set, "198.51.100.1", 900));
    netset_free(set);
}

Test(netset, many)
{
    enum { COUNT = 20000 };
    static struct netset_entry entries[COUNT];
    for (unsigned i = 0; i < COUNT; i++) {
        entries[i].mask = (struct netmask){
            .addr = {.family = 4, .bytes = {10, (uint8_t)(i >> 16), (uint8_t)(i >> 8), (uint8_t)i}},
            .bits = 32};
    }
    struct netset *set;
    cr_assert_eq(netset_new(&set, entries, COUNT, SEED), MX_OK);
    for (unsigned i = 0; i < 2 * COUNT; i++) {
        struct netaddr addr = {.family = 4,
                               .bytes = {10, (uint8_t)(i >> 16), (uint8_t)(i >> 8), (uint8_t)i}};
        cr_assert_eq(netset_has(set, &addr, 0), i < COUNT, "%u", i);
    }
    netset_free(set);
}

/* Which entries meet in a bucket differs, what is found does not. */
Test(netset, whatever_the_seed)
{
    struct netset_entry entries[] = {entry("192.0.2.1", 0), entry("192.0.2.0/25", 500),
                                     entry("2001:db8:1::/64", 0), entry("2001:db8:2::/64", 0)};
    for (uint64_t seed = 0; seed < 1000; seed++) {
        struct netset *set;
        cr_assert_eq(netset_new(&set, entries, 4, seed << 50 | seed), MX_OK);
        cr_assert(has(set, "192.0.2.1", 900) && has(set, "192.0.2.2", 499));
        cr_assert(has(set, "2001:db8:1::7", 0) && has(set, "2001:db8:2::7", 0));
        cr_assert_not(has(set, "192.0.2.2", 500) || has(set, "2001:db8:3::7", 0));
        netset_free(set);
    }
}
