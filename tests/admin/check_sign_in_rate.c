/* How often signing in may fail, and who is counted. */
#include "tests/admin/auth_support.h"

#include "admin/offence_count.h"

static void check_rate(void)
{
    struct world w;
    world_open(&w);
    CHECK_TEXT(update(&w, "Security", OBJECT_ID_SINGLETON,
                      json_of("{\"authBanRate\":{\"count\":3,\"period\":60000}}")),
               "");
    for (int i = 0; i < 3; i++) {
        CHECK(try_basic(&w, "ann@example.org", "wrong") == AUTH_REFUSED);
    }
    CHECK(w.bans == 0 && w.verdict.delay_ms == 200);
    CHECK(try_basic(&w, "ann@example.org", "wrong") == AUTH_BANNED);
    CHECK(w.bans == 1 && w.verdict.delay_ms == 0);
    /* The ban is not kept here: who was let in again begins anew. */
    CHECK(try_basic(&w, "ann@example.org", ANN_SECRET) == AUTH_OK);
    set_peer(&w, "192.0.2.2"); /* nobody else suffers */
    CHECK(try_basic(&w, "ann@example.org", ANN_SECRET) == AUTH_OK);
    CHECK(try_basic(&w, "ann@example.org", "mistyped") == AUTH_REFUSED && w.bans == 1);
    set_peer(&w, "192.0.2.1");
    w.now.monotonic_ms += 600000;
    /* a new window */
    CHECK(try_basic(&w, "ann@example.org", "wrong") == AUTH_REFUSED && w.bans == 1);
    CHECK(w.verdict.delay_ms == AUTH_DELAY_MIN_MS);
    world_close(&w);
}

static void fail_often(struct world *w, const char *peer)
{
    set_peer(w, peer);
    for (int i = 0; i < 6; i++) {
        (void)try_header(w, "Bearer API_x");
    }
}

static void check_who_is_counted(void)
{
    struct world w;
    world_open(&w);
    CHECK_TEXT(update(&w, "Security", OBJECT_ID_SINGLETON,
                      json_of("{\"authBanRate\":{\"count\":5,\"period\":60000}}")),
               "");
    w.exempt = true;
    fail_often(&w, "127.0.0.1");
    CHECK(w.verdict.result == AUTH_REFUSED && w.verdict.delay_ms == AUTH_DELAY_MAX_MS &&
          w.bans == 1);
    w.exempt = false;
    fail_often(&w, "2001:db8:1:2::3");
    CHECK(w.verdict.result == AUTH_BANNED && w.bans == 2);
    fail_often(&w, "2001:db8:1:3::3"); /* another /64 */
    CHECK(w.verdict.result == AUTH_BANNED && w.bans == 3);
    for (int i = 0; i < 6; i++) {
        char address[64];
        snprintf(address, sizeof address, "2001:db8:1:4::%d", i);
        set_peer(&w, address); /* all in one /64 */
        (void)try_header(&w, "Bearer API_x");
    }
    CHECK(w.verdict.result == AUTH_BANNED && w.bans == 4);
    CHECK_TEXT(update(&w, "Security", OBJECT_ID_SINGLETON, json_of("{\"authBanRate\":null}")), "");
    fail_often(&w, "198.51.100.9");
    CHECK(w.verdict.result == AUTH_REFUSED && w.bans == 4);
    world_close(&w);
}

/* Many addresses that guess one name: each is banned once it has failed often itself. */
static void check_login_rate(void)
{
    struct offence_count *counts = calloc(1, sizeof *counts);
    struct offence_rate rate = {.count = 20, .period_ms = 60000};
    struct netaddr peer = {.family = 4, .bytes = {10, 0, 0, 0}};
    struct slice login = SLICE_LITERAL("ann@example.org");
    struct netmask client;
    offence_count_init(counts, 5);
    for (unsigned i = 0; i < 30; i++) {
        peer.bytes[3] = (uint8_t)i;
        client = offence_client(&peer, 64);
        CHECK(!offence_count_add(counts, &client, login, 1, &rate, 1000).over);
    }
    for (unsigned i = 2; i <= OFFENCE_NAME_OWN; i++) {
        CHECK(offence_count_add(counts, &client, login, 1, &rate, 1000).over ==
              (i == OFFENCE_NAME_OWN));
    }
    offence_count_forget(counts, &client);
    CHECK(!offence_count_add(counts, &client, login, 1, &rate, 1000).over);
    /* A flood of addresses does not push out who has offended much in this window. */
    CHECK(offence_count_add(counts, &client, SLICE_EMPTY, 10, &rate, 1000).most == 11);
    struct netaddr other = {.family = 4, .bytes = {11}};
    for (uint32_t i = 0; i < 100000; i++) {
        memcpy(other.bytes + 1, &i, 3);
        struct netmask one = offence_client(&other, 64);
        (void)offence_count_add(counts, &one, SLICE_EMPTY, 1, &rate, 1000);
    }
    CHECK(offence_count_add(counts, &client, SLICE_EMPTY, 10, &rate, 1000).over);
    CHECK(offence_count_add(counts, &client, SLICE_EMPTY, UINT32_MAX, &rate, 61000).over);
    free(counts);
}

int main(void)
{
    check_rate();
    check_who_is_counted();
    check_login_rate();
    return report("sign_in_rate");
}
