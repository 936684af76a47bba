#include "smtp/session_count.h"

#include <criterion/criterion.h>

#include "core/text.h"

enum { SEED = 7 };

static struct session_count *count;

static void setup(void)
{
    cr_assert(session_count_new(&count, 2, 3, SEED) == MX_OK);
}

static void teardown(void)
{
    session_count_free(count);
}

TestSuite(session_count, .init = setup, .fini = teardown);

static struct netaddr addr(const char *text)
{
    struct netaddr a;
    cr_assert(netaddr_parse(&a, slice_of_text(text)) == MX_OK);
    return a;
}

/* The place, SESSION_COUNT_NOT when refused; whoever is let in must have a place here. */
static uint32_t enter(const char *text, uint32_t limit)
{
    struct netaddr a = addr(text);
    uint32_t place;
    bool in = session_count_enter(count, &a, limit, &place);
    cr_assert_eq(in, place != SESSION_COUNT_NOT, "%s", text);
    return place;
}

Test(session_count, sums_over_cores_and_listeners)
{
    session_count_add(count, 0, 1, 1);
    session_count_add(count, 1, 1, 1);
    session_count_add(count, 1, 2, 1);
    cr_assert_eq(session_count_of(count, 0), 0);
    cr_assert_eq(session_count_of(count, 1), 2);
    cr_assert_eq(session_count_all(count), 3);
    session_count_add(count, 1, 1, -1);
    cr_assert_eq(session_count_of(count, 1), 1);
    cr_assert_eq(session_count_all(count), 2);
}

Test(session_count, a_client_has_its_limit)
{
    uint32_t first = enter("192.0.2.1", 2);
    cr_assert(first != SESSION_COUNT_NOT);
    cr_assert_eq(enter("192.0.2.1", 2), first, "one word per client");
    cr_assert_eq(enter("192.0.2.1", 2), SESSION_COUNT_NOT);
    cr_assert(enter("192.0.2.2", 2) != SESSION_COUNT_NOT, "others are not concerned");
    session_count_leave(count, SESSION_COUNT_NOT);
    cr_assert_eq(enter("192.0.2.1", 2), SESSION_COUNT_NOT, "nothing was given back");
    session_count_leave(count, first);
    cr_assert(enter("192.0.2.1", 2) != SESSION_COUNT_NOT);
    cr_assert_eq(enter("192.0.2.1", 1), SESSION_COUNT_NOT, "a lower limit");
    cr_assert(enter("192.0.2.1", 3) != SESSION_COUNT_NOT, "a higher one");
}

Test(session_count, an_ipv6_client_is_a_network_of_64_bits)
{
    cr_assert(enter("2001:db8:1:2::1", 1) != SESSION_COUNT_NOT);
    cr_assert_eq(enter("2001:db8:1:2:ffff:ffff:ffff:ffff", 1), SESSION_COUNT_NOT);
    cr_assert(enter("2001:db8:1:3::1", 1) != SESSION_COUNT_NOT);
    cr_assert(enter("c000:201::", 1) != SESSION_COUNT_NOT);
    cr_assert(enter("192.0.2.1", 1) != SESSION_COUNT_NOT, "the same first bytes, another family");
}

/* As many clients as may be at a time by default, twice: what was given back is free again. */
Test(session_count, places_are_used_again)
{
    enum { CLIENTS = 8192, ROUNDS = 2 };
    static uint32_t places[CLIENTS];
    for (unsigned round = 0; round < ROUNDS; round++) {
        for (uint32_t i = 0; i < CLIENTS; i++) {
            struct netaddr a = {.family = 4,
                                .bytes = {10, (uint8_t)round, (uint8_t)(i >> 8), (uint8_t)i}};
            uint32_t other;
            cr_assert(session_count_enter(count, &a, 1, &places[i]));
            cr_assert(places[i] != SESSION_COUNT_NOT, "client %u has no place", i);
            cr_assert_not(session_count_enter(count, &a, 1, &other));
        }
        for (uint32_t i = 0; i < CLIENTS; i++) {
            session_count_leave(count, places[i]);
        }
    }
}

/* With four times as many clients as places: some are not counted, none is refused. */
Test(session_count, a_full_table_refuses_nobody)
{
    enum { CLIENTS = 4 * SESSION_COUNT_BUCKETS * SESSION_COUNT_WAYS };
    uint32_t counted = 0;
    for (uint32_t i = 0; i < CLIENTS; i++) {
        struct netaddr a = {.family = 4,
                            .bytes = {10, (uint8_t)(i >> 16), (uint8_t)(i >> 8), (uint8_t)i}};
        uint32_t place;
        cr_assert(session_count_enter(count, &a, 1, &place), "client %u", i);
        counted += place != SESSION_COUNT_NOT;
    }
    cr_assert(counted > CLIENTS / 5 && counted <= CLIENTS / 4, "%u", counted);
}

Test(session_count, a_network_has_a_limit_of_its_own)
{
    struct netaddr a = addr("192.0.2.77"), b = addr("192.0.2.0"), six = addr("2001:db8:1:2::1");
    struct netmask net = netmask_of(&a, 24), same = netmask_of(&b, 24), host = netmask_of(&b, 32);
    struct netmask wide = netmask_of(&six, 48), client = netmask_of(&six, 64);
    uint32_t place, other;
    cr_assert(session_count_enter_network(count, &net, 1, &place));
    cr_assert(place != SESSION_COUNT_NOT);
    cr_assert_not(session_count_enter_network(count, &same, 1, &other), "the same network");
    cr_assert(session_count_enter_network(count, &host, 1, &other), "another length is another");
    cr_assert(enter("192.0.2.0", 1) != SESSION_COUNT_NOT, "and no client");
    cr_assert(session_count_enter_network(count, &wide, 1, &other));
    cr_assert(session_count_enter_network(count, &client, 1, &other));
    cr_assert(enter("2001:db8:1:2::1", 1) != SESSION_COUNT_NOT);
    session_count_leave(count, place);
    cr_assert(session_count_enter_network(count, &same, 1, &place));
}
