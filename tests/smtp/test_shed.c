#include "smtp/shed.h"

#include <criterion/criterion.h>

static struct shed at_level(uint8_t level)
{
    return (struct shed){.levels[OVERLOAD_MEMORY] = level, .level = level};
}

Test(shed, timeouts_get_shorter_but_never_longer_or_too_short)
{
    static const struct {
        uint64_t usual, strained, refusing;
    } rows[] = {
        {300000, 75000, 30000},
        {600000, 150000, 60000},
        {60000, 15000, 10000},
        {40000, 10000, 10000},
        {10000, 10000, 10000},
        {5000, 5000, 5000},
        {1, 1, 1},
    };
    for (size_t i = 0; i < mx_countof(rows); i++) {
        struct shed none = at_level(OVERLOAD_NONE), strained = at_level(OVERLOAD_STRAINED),
                    refusing = at_level(OVERLOAD_REFUSING);
        cr_assert_eq(shed_wait_ms(&none, rows[i].usual), rows[i].usual);
        cr_assert_eq(shed_wait_ms(&strained, rows[i].usual), rows[i].strained);
        cr_assert_eq(shed_wait_ms(&refusing, rows[i].usual), rows[i].refusing);
    }
}

Test(shed, limit_of_a_client_is_never_none)
{
    for (uint8_t level = OVERLOAD_NONE; level < OVERLOAD_LEVELS; level++) {
        struct shed shed = at_level(level);
        uint32_t before = UINT32_MAX;
        for (uint32_t limit = 10000; limit > 0; limit--) {
            uint32_t now = shed_client_limit(&shed, limit);
            cr_assert(now >= 1 && now <= limit && now <= before);
            before = now;
        }
    }
    struct shed strained = at_level(OVERLOAD_STRAINED), refusing = at_level(OVERLOAD_REFUSING);
    cr_assert_eq(shed_client_limit(&strained, 200), 50);
    cr_assert_eq(shed_client_limit(&refusing, 200), 20);
}

Test(shed, only_refusing_refuses_and_names_the_resource)
{
    for (unsigned r = 0; r < OVERLOAD_RESOURCES; r++) {
        bool queue = r == OVERLOAD_QUEUE_MESSAGES || r == OVERLOAD_QUEUE_BYTES;
        struct shed shed = {.level = OVERLOAD_STRAINED};
        shed.levels[r] = OVERLOAD_STRAINED;
        cr_assert(!shed_refuses(&shed) && !shed_queue_full(&shed));
        cr_assert_null(shed_not_ready(&shed));
        shed.levels[r] = shed.level = OVERLOAD_REFUSING;
        cr_assert(shed_refuses(&shed));
        cr_assert_eq(shed_queue_full(&shed), queue);
        cr_assert_str_eq(shed_not_ready(&shed), overload_text((enum overload_resource)r)->said);
    }
}
