#include "route/limits.h"

#include <criterion/criterion.h>

#define TEXT(literal) SLICE_LITERAL(literal)

static uint64_t key_of(uint8_t parts, struct slice sender, struct slice rcpt)
{
    struct limit_facts facts = {.sender = sender, .rcpt = rcpt};
    return limit_key(7, parts, &facts);
}

/* Stored with queued messages: a change of these values would forget what they count under. */
Test(limits, keys_never_change)
{
    struct netaddr addr;
    cr_assert_eq(netaddr_parse(&addr, TEXT("192.0.2.1")), MX_OK);
    struct limit_facts facts = {.sender = TEXT("a@b.example"),
                                .rcpt = TEXT("c@d.example"),
                                .mx = TEXT("mx.d.example"),
                                .remote = &addr};
    cr_assert_eq(limit_key(1, 0, &facts), UINT64_C(0x313c2dd2ec996e80));
    cr_assert_eq(limit_key(1, 127, &facts), UINT64_C(0x6cb0159d8bca9218));
}

Test(limits, parts_that_do_not_count_do_not_matter)
{
    cr_assert_eq(key_of(0, TEXT("a@b"), TEXT("c@d")), key_of(0, TEXT("x@y"), TEXT("z@z")));
    cr_assert_eq(key_of(LIMIT_SENDER, TEXT("a@b"), TEXT("c@d")),
                 key_of(LIMIT_SENDER, TEXT("A@B"), TEXT("z@z")));
    cr_assert_eq(key_of(LIMIT_RCPT_DOMAIN, TEXT("a@b"), TEXT("c@D.example")),
                 key_of(LIMIT_RCPT_DOMAIN, TEXT("z@z"), TEXT("x@d.example")));
    cr_assert_eq(key_of(LIMIT_SENDER_DOMAIN, TEXT(""), TEXT("c@d")),
                 key_of(LIMIT_SENDER_DOMAIN, TEXT("postmaster"), TEXT("c@d")));
}

Test(limits, what_counts_matters)
{
    const struct limit_facts empty = {0};
    cr_assert_neq(limit_key(1, 0, &empty), limit_key(2, 0, &empty));
    cr_assert_neq(limit_key(1, LIMIT_SENDER, &empty), limit_key(1, LIMIT_RCPT, &empty));
    cr_assert_neq(key_of(LIMIT_SENDER, TEXT("a@b"), TEXT("")),
                  key_of(LIMIT_SENDER, TEXT("a@bc"), TEXT("")));
    /* Where one text ends and the next begins. */
    cr_assert_neq(key_of(LIMIT_SENDER | LIMIT_RCPT, TEXT("a@b"), TEXT("c@d")),
                  key_of(LIMIT_SENDER | LIMIT_RCPT, TEXT("a@bc"), TEXT("@d")));
    cr_assert_neq(key_of(LIMIT_SENDER | LIMIT_RCPT, TEXT("a@b"), TEXT("c@d")),
                  key_of(LIMIT_SENDER | LIMIT_RCPT, TEXT("c@d"), TEXT("a@b")));
}

Test(limits, hosts)
{
    struct netaddr one, two;
    cr_assert_eq(netaddr_parse(&one, TEXT("192.0.2.1")), MX_OK);
    cr_assert_eq(netaddr_parse(&two, TEXT("2001:db8::1")), MX_OK);
    struct limit_facts a = {.remote = &one, .local = &two}, b = {.remote = &two, .local = &one};
    cr_assert_neq(limit_key(1, LIMIT_REMOTE_IP, &a), limit_key(1, LIMIT_REMOTE_IP, &b));
    cr_assert_neq(limit_key(1, LIMIT_LOCAL_IP, &a), limit_key(1, LIMIT_LOCAL_IP, &b));
    struct limit_facts unknown = {0}, named = {.mx = TEXT("MX.example")},
                       low = {.mx = TEXT("mx.example")};
    cr_assert_neq(limit_key(1, LIMIT_REMOTE_IP, &a), limit_key(1, LIMIT_REMOTE_IP, &unknown));
    cr_assert_eq(limit_key(1, LIMIT_MX, &named), limit_key(1, LIMIT_MX, &low));
}
