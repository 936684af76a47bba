#include "admin/commit_pace.h"

#include <criterion/criterion.h>

#define MS UINT64_C(1000000)

static const uint64_t start_ns = 3600 * 1000 * MS;

/* A client that sends a call as soon as it has the last one's answer. */
struct client {
    struct commit_pace pace;
    uint64_t now_ns, disk_ns;
};

static void call(struct client *client, uint64_t sync_ns, uint64_t objects, uint64_t takes_ns)
{
    uint64_t begun_ns = client->now_ns;
    client->now_ns += takes_ns;
    client->disk_ns += sync_ns;
    client->now_ns +=
        commit_pace_hold_ns(&client->pace, sync_ns, objects, begun_ns, client->now_ns);
}

Test(commit_pace, single_changes_are_not_noticeably_slower)
{
    struct client client = {.now_ns = start_ns};
    for (unsigned i = 0; i < 20; i++) {
        call(&client, MS / 2, 1, 5 * MS);
    }
    cr_assert_eq(client.now_ns, start_ns + 20 * 5 * MS, "a burst is free");
    for (unsigned i = 0; i < 1000; i++) {
        uint64_t before_ns = client.now_ns;
        call(&client, 4 * MS, 1, 0);
        cr_assert_leq(client.now_ns - before_ns, COMMIT_PACE_OBJECT_NS);
    }
}

Test(commit_pace, bulk_keeps_to_its_share)
{
    struct client client = {.now_ns = start_ns};
    while (client.disk_ns < 200 * MS) {
        call(&client, MS, 500, 15 * MS);
    }
    uint64_t began_ns = client.now_ns, disk_ns = client.disk_ns;
    for (unsigned i = 0; i < 2000; i++) {
        call(&client, MS, 500, 15 * MS);
    }
    uint64_t took_ns = client.now_ns - began_ns;
    cr_assert_leq((client.disk_ns - disk_ns - MS) * COMMIT_PACE_SHARE, took_ns);
    cr_assert_leq(took_ns, 2000 * 201 * MS, "and is not slower than that");
}

Test(commit_pace, million_within_ten_minutes_on_a_slow_disk)
{
    struct client client = {.now_ns = start_ns};
    for (unsigned i = 0; i < 2000; i++) {
        call(&client, (i % 20 == 0 ? 400 : 9) * MS, 500, (i % 20 == 0 ? 410 : 25) * MS);
    }
    cr_assert_lt(client.now_ns - start_ns, 600 * 1000 * MS);
    cr_assert_gt(client.now_ns - start_ns, 400 * 1000 * MS);
}

/* The excess of one does not hold up those that come after it. */
Test(commit_pace, slow_sync_is_forgiven)
{
    struct client client = {.now_ns = start_ns};
    call(&client, 3600 * 1000 * MS, 500, 0);
    cr_assert_eq(client.now_ns, start_ns + 250 * MS);
    client.now_ns += COMMIT_PACE_BURST_NS;
    uint64_t began_ns = client.now_ns;
    call(&client, 5 * MS, 500, 60 * MS);
    cr_assert_eq(client.now_ns, began_ns + 60 * MS, "the burst is there again");
}
