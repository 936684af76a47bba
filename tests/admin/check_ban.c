/* Bans that the program makes: who, for what, as which object, and who never. Cores and worker are
 * played by this thread, with the real messages between them. */
#include "tests/admin/support.h"

#include "admin/ban.h"
#include "admin/object_id.h"
#include "admin/objects.h"
#include "io/clock.h"
#include "io/shard.h"

#include <time.h>

enum { CORE = 0, WORKER = 2 };

struct bed {
    struct store *store;
    struct publisher *publisher;
    struct mbox_hub *hub;
    struct log log;
    struct ban *ban;
    struct offences offences;
};

static void bed_open(struct bed *bed)
{
    struct config_problem problem;
    static const struct tls_files no_tls;
    static const struct publisher_conf conf = {.tls = &no_tls};
    *bed = (struct bed){0};
    CHECK(store_open_scratch(&bed->store, &problem) == MX_OK);
    CHECK(publisher_new(&bed->publisher, &conf) == MX_OK);
    CHECK(mbox_hub_new(&bed->hub, 1) == MX_OK);
    CHECK(log_init(&bed->log, -1, LOG_INFO) == MX_OK);
    CHECK(ban_new(&bed->ban, &bed->log) == MX_OK);
    ban_open(bed->ban, bed->store, bed->publisher);
    struct offence_conf offences = {
        .hub = bed->hub, .from = CORE, .to = WORKER, .receive = ban_receive, .owner = bed->ban};
    offences_init(&bed->offences, &offences, NULL);
}

static void bed_close(struct bed *bed)
{
    ban_free(bed->ban);
    log_fini(&bed->log);
    mbox_hub_free(bed->hub);
    publisher_free(bed->publisher);
    store_close(bed->store);
}

static struct netaddr addr_of(const char *text)
{
    struct netaddr addr = {0};
    CHECK(netaddr_parse(&addr, slice_of_text(text)) == MX_OK);
    return addr;
}

static const struct reg_type *type_of(const char *name)
{
    return reg_type_find(slice_of_text(name));
}

static void change(struct bed *bed, const char *type, uint64_t id, const char *json)
{
    struct set_errors errors = {.count = 0};
    json_t *body = json_loads(json, 0, NULL);
    CHECK(body != NULL && store_begin(bed->store, "test", clock_wall_ms()) == MX_OK);
    mx_err err = id ? object_update(bed->store, type_of(type), id, body, NULL, NULL, NULL, &errors)
                    : object_create(bed->store, &id, type_of(type), body, NULL, &errors);
    CHECK(err == MX_OK && errors.count == 0 && store_commit(bed->store) == MX_OK);
    json_decref(body);
}

/* A core notes it, the worker takes the message, and makes what is to be made. */
static void offend(struct bed *bed, enum offence kind, const char *client, uint32_t count)
{
    struct netaddr addr = addr_of(client);
    offences_note(&bed->offences, kind, &addr, count);
    (void)mbox_drain(bed->hub, WORKER, NULL, MBOX_CELLS);
    (void)mbox_drain(bed->hub, CORE, NULL, MBOX_CELLS);
    while (ban_run(bed->ban)) {
    }
}

/* The BlockedIp of this address; NULL: there is none. A new reference. */
static json_t *blocked(struct bed *bed, const char *address)
{
    uint64_t id;
    json_t *object = NULL;
    if (store_find_label(bed->store, &id, type_of("BlockedIp"), slice_of_text(address)) == MX_OK) {
        CHECK(object_show(bed->store, &object, type_of("BlockedIp"), id) == MX_OK);
    }
    return object;
}

static bool is_blocked(struct bed *bed, const char *address)
{
    json_t *object = blocked(bed, address);
    json_decref(object);
    return object != NULL;
}

static mx_err count_object(void *arg, uint64_t id, json_t *object)
{
    (void)id;
    (void)object;
    ++*(size_t *)arg;
    return MX_OK;
}

static size_t blocked_count(struct bed *bed)
{
    size_t count = 0;
    CHECK(store_each(bed->store, type_of("BlockedIp"), count_object, &count) == MX_OK);
    return count;
}

/* The rate of each kind, its word, and the expiry. */
static void check_kinds(void)
{
    static const struct {
        enum offence kind;
        const char *rate, *period, *reason;
    } kinds[] = {{OFFENCE_ABUSE, "abuseBanRate", "abuseBanPeriod", "rcptToFailure"},
                 {OFFENCE_LOITER, "loiterBanRate", "loiterBanPeriod", "loitering"},
                 {OFFENCE_SCAN, "scanBanRate", "scanBanPeriod", "portScanning"}};
    for (size_t i = 0; i < mx_countof(kinds); i++) {
        struct bed bed;
        char json[256];
        bed_open(&bed);
        snprintf(json, sizeof json, "{\"%s\":{\"count\":3,\"period\":60000},\"%s\":%s}",
                 kinds[i].rate, kinds[i].period, i == 0 ? "null" : "600000");
        change(&bed, "Security", OBJECT_ID_SINGLETON, json);
        for (int n = 0; n < 3; n++) {
            offend(&bed, kinds[i].kind, "192.0.2.1", 1);
        }
        CHECK(blocked_count(&bed) == 0);
        offend(&bed, kinds[(i + 1) % 3].kind, "192.0.2.1", 1); /* counted by itself */
        CHECK(blocked_count(&bed) == 0);
        offend(&bed, kinds[i].kind, "192.0.2.1", 1);
        json_t *object = blocked(&bed, "192.0.2.1");
        CHECK(object != NULL && blocked_count(&bed) == 1);
        CHECK_TEXT(json_string_value(json_object_get(object, "reason")), kinds[i].reason);
        CHECK(json_is_null(json_object_get(object, "expiresAt")) == (i == 0));
        json_decref(object);
        offend(&bed, kinds[i].kind, "192.0.2.1", 3); /* begins anew */
        offend(&bed, kinds[i].kind, "192.0.2.2", 4);
        CHECK(blocked_count(&bed) == 2 && is_blocked(&bed, "192.0.2.2"));
        bed_close(&bed);
    }
}

static void check_networks(void)
{
    struct bed bed;
    bed_open(&bed);
    change(&bed, "Security", OBJECT_ID_SINGLETON,
           "{\"abuseBanRate\":{\"count\":3,\"period\":60000}}");
    offend(&bed, OFFENCE_ABUSE, "2001:db8::1", 1);
    offend(&bed, OFFENCE_ABUSE, "2001:db8::2", 1);
    offend(&bed, OFFENCE_ABUSE, "2001:db8:0:1::1", 1);
    offend(&bed, OFFENCE_ABUSE, "2001:db8::ffff:1", 2);
    CHECK(blocked_count(&bed) == 1 && is_blocked(&bed, "2001:db8::/64"));
    change(&bed, "Security", OBJECT_ID_SINGLETON, "{\"ipv6PrefixLength\":48}");
    offend(&bed, OFFENCE_ABUSE, "2001:db8:1:1::1", 2);
    offend(&bed, OFFENCE_ABUSE, "2001:db8:1:2::1", 2);
    CHECK(blocked_count(&bed) == 2 && is_blocked(&bed, "2001:db8:1::/48"));
    change(&bed, "Security", OBJECT_ID_SINGLETON, "{\"ipv6PrefixLength\":128}");
    offend(&bed, OFFENCE_ABUSE, "2001:db8:2::1", 2);
    offend(&bed, OFFENCE_ABUSE, "2001:db8:2::2", 2);
    CHECK(blocked_count(&bed) == 2);
    offend(&bed, OFFENCE_ABUSE, "2001:db8:2::2", 2);
    CHECK(blocked_count(&bed) == 3 && is_blocked(&bed, "2001:db8:2::2"));
    bed_close(&bed);
}

/* Loopback, trusted proxies of the server and of a listener, AllowedIp; and with no rate, anybody.
 */
static void check_exempt(void)
{
    struct bed bed;
    bed_open(&bed);
    change(&bed, "Security", OBJECT_ID_SINGLETON,
           "{\"scanBanRate\":{\"count\":3,\"period\":60000},\"abuseBanRate\":null}");
    change(&bed, "SystemSettings", OBJECT_ID_SINGLETON,
           "{\"proxyTrustedNetworks\":{\"203.0.113.10\":true}}");
    change(&bed, "NetworkListener", STORE_SEED_LISTENER,
           "{\"overrideProxyTrustedNetworks\":{\"203.0.113.32/28\":true}}");
    change(&bed, "AllowedIp", 0, "{\"address\":\"198.51.100.128/25\"}");
    change(&bed, "AllowedIp", 0,
           "{\"address\":\"192.0.2.77\",\"expiresAt\":\"2001-01-01T00:00:00Z\"}");
    static const char *const never[] = {"127.0.0.1",    "127.9.9.9",    "::1",
                                        "203.0.113.10", "203.0.113.40", "198.51.100.200"};
    for (size_t i = 0; i < mx_countof(never); i++) {
        offend(&bed, OFFENCE_SCAN, never[i], 100);
        CHECK(blocked_count(&bed) == 0);
    }
    offend(&bed, OFFENCE_ABUSE, "192.0.2.9", 1000); /* no rate */
    CHECK(blocked_count(&bed) == 0);
    offend(&bed, OFFENCE_SCAN, "192.0.2.77", 4); /* the exemption is over */
    CHECK(blocked_count(&bed) == 1);
    bed_close(&bed);
}

/* A ban that is over is taken up again; one that holds is left as it is; old ones go. */
static void check_again(void)
{
    struct bed bed;
    bed_open(&bed);
    change(&bed, "Security", OBJECT_ID_SINGLETON,
           "{\"scanBanRate\":{\"count\":3,\"period\":60000},\"scanBanPeriod\":3600000}");
    change(&bed, "BlockedIp", 0,
           "{\"address\":\"192.0.2.1\",\"expiresAt\":\"2001-01-01T00:00:00Z\"}");
    change(&bed, "BlockedIp", 0, "{\"address\":\"192.0.2.2\"}");
    change(&bed, "BlockedIp", 0,
           "{\"address\":\"192.0.2.3\",\"reason\":\"loitering\","
           "\"expiresAt\":\"2001-01-01T00:00:00Z\"}");
    offend(&bed, OFFENCE_SCAN, "192.0.2.2", 4);
    json_t *object = blocked(&bed, "192.0.2.2");
    CHECK_TEXT(json_string_value(json_object_get(object, "reason")), "manual");
    json_decref(object);
    CHECK(!is_blocked(&bed, "192.0.2.3")); /* over, and made by the program */
    offend(&bed, OFFENCE_SCAN, "192.0.2.1", 4);
    object = blocked(&bed, "192.0.2.1");
    CHECK_TEXT(json_string_value(json_object_get(object, "reason")), "portScanning");
    CHECK(strcmp(json_string_value(json_object_get(object, "expiresAt")), "2002") > 0);
    json_decref(object);
    CHECK(blocked_count(&bed) == 2);
    bed_close(&bed);
}

static void check_paths(void)
{
    static const struct {
        const char *path;
        bool bad;
    } cases[] = {{"/", false},         {"/jmap/none", false}, {"/api", false},
                 {"/index.php", true}, {"/x/a.php5/y", true}, {"/blog/wp-admin/", true},
                 {"/wp-login", true},  {"/cgi-bin/x", true},  {"/a/xmlrpc", true},
                 {"/p", false},        {"/phpmyadmin", true}, {"/Wordpress", false},
                 {"/wordpress", true}, {"/.phpx", true},      {"/hp", false},
                 {"/joomla", true},    {"/x.aspx", true},     {"/a.cg", false}};
    for (size_t i = 0; i < mx_countof(cases); i++) {
        struct bed bed;
        bed_open(&bed);
        struct netaddr addr = addr_of("192.0.2.1");
        ban_path(bed.ban, &addr, slice_of_text(cases[i].path));
        while (ban_run(bed.ban)) {
        }
        if (is_blocked(&bed, "192.0.2.1") != cases[i].bad) {
            failures++;
            fprintf(stderr, "path %s\n", cases[i].path);
        }
        bed_close(&bed);
    }
}

/* More clients than one batch and one transaction take; a message is never sent twice. */
static void check_many(void)
{
    struct bed bed;
    bed_open(&bed);
    change(&bed, "Security", OBJECT_ID_SINGLETON,
           "{\"scanBanRate\":{\"count\":1,\"period\":60000}}");
    for (unsigned i = 0; i < 1000; i++) {
        struct netaddr addr = {.family = 4, .bytes = {10, 1, (uint8_t)(i / 256), (uint8_t)i}};
        offences_note(&bed.offences, OFFENCE_SCAN, &addr, 2);
        if (i % 50 == 49) {
            (void)mbox_drain(bed.hub, WORKER, NULL, MBOX_CELLS);
            (void)mbox_drain(bed.hub, CORE, NULL, MBOX_CELLS);
            (void)mbox_drain(bed.hub, WORKER, NULL, MBOX_CELLS);
            (void)mbox_drain(bed.hub, CORE, NULL, MBOX_CELLS);
            while (ban_run(bed.ban)) {
            }
        }
    }
    CHECK(blocked_count(&bed) == 1000);
    for (unsigned i = 0; i < 200; i++) { /* nobody takes messages: what does not fit is lost */
        struct netaddr addr = {.family = 4, .bytes = {10, 2, 0, (uint8_t)i}};
        offences_note(&bed.offences, OFFENCE_SCAN, &addr, 2);
    }
    for (unsigned i = 0; i < 4; i++) {
        (void)mbox_drain(bed.hub, WORKER, NULL, MBOX_CELLS);
        (void)mbox_drain(bed.hub, CORE, NULL, MBOX_CELLS);
    }
    while (ban_run(bed.ban)) {
    }
    CHECK(blocked_count(&bed) == 1000 + 1 + OFFENCE_NOTES_MAX);
    ban_stop(bed.ban);
    offend(&bed, OFFENCE_SCAN, "192.0.2.1", 9);
    CHECK(blocked_count(&bed) == 1000 + 1 + OFFENCE_NOTES_MAX);
    bed_close(&bed);
}

static unsigned batches; /* messages that came */

static void receive_counted(struct mbox_msg *msg, struct shard *at)
{
    batches++;
    ban_receive(msg, at);
}

/* A flood of offences is few messages: the first at once, then one after the pause, or when one is
 * full. */
static void check_pause(void)
{
    struct bed bed;
    struct shard shard = {.now_ns = MX_NS_PER_S};
    bed_open(&bed);
    wheel_init(&shard.wheel, shard.now_ns);
    struct offence_conf offences = {
        .hub = bed.hub, .from = CORE, .to = WORKER, .receive = receive_counted, .owner = bed.ban};
    offences_init(&bed.offences, &offences, &shard);
    change(&bed, "Security", OBJECT_ID_SINGLETON,
           "{\"abuseBanRate\":{\"count\":9,\"period\":60000}}");
    for (unsigned i = 0; i < 10; i++) {
        offend(&bed, OFFENCE_ABUSE, "192.0.2.1", 1);
    }
    CHECK(batches == 1 && blocked_count(&bed) == 0);
    shard.now_ns += 2 * OFFENCE_PAUSE_MS * MX_NS_PER_MS;
    CHECK(wheel_advance(&shard.wheel, shard.now_ns, 1) == 1);
    offend(&bed, OFFENCE_ABUSE, "192.0.2.2", 1); /* waits */
    CHECK(batches == 2 && is_blocked(&bed, "192.0.2.1"));
    for (unsigned i = 1; i < OFFENCE_NOTES_MAX; i++) {
        struct netaddr addr = {.family = 4, .bytes = {10, 3, 0, (uint8_t)i}};
        CHECK(batches == 2);
        offences_note(&bed.offences, OFFENCE_ABUSE, &addr, 1);
        (void)mbox_drain(bed.hub, WORKER, NULL, MBOX_CELLS);
    }
    CHECK(batches == 3); /* full */
    offences_close(&bed.offences);
    CHECK(!timer_armed(&bed.offences.pause));
    bed_close(&bed);
}

/* What a change that is taken back has said of rates does not last. */
static void check_rollback(void)
{
    struct bed bed;
    struct set_errors errors = {.count = 0};
    bed_open(&bed);
    change(&bed, "Security", OBJECT_ID_SINGLETON,
           "{\"abuseBanRate\":{\"count\":9,\"period\":60000}}");
    offend(&bed, OFFENCE_ABUSE, "192.0.2.1", 1);
    json_t *body = json_loads("{\"abuseBanRate\":{\"count\":1000,\"period\":60000}}", 0, NULL);
    CHECK(store_begin(bed.store, "test", clock_wall_ms()) == MX_OK);
    CHECK(object_update(bed.store, type_of("Security"), OBJECT_ID_SINGLETON, body, NULL, NULL, NULL,
                        &errors) == MX_OK);
    struct netaddr addr = addr_of("192.0.2.1");
    offences_note(&bed.offences, OFFENCE_ABUSE, &addr, 1);
    (void)mbox_drain(bed.hub, WORKER, NULL, MBOX_CELLS); /* the cores are being waited for */
    (void)mbox_drain(bed.hub, CORE, NULL, MBOX_CELLS);
    store_rollback(bed.store);
    json_decref(body);
    change(&bed, "Security", OBJECT_ID_SINGLETON, "{\"scanBanRate\":null}");
    offend(&bed, OFFENCE_ABUSE, "192.0.2.1", 8);
    CHECK(is_blocked(&bed, "192.0.2.1"));
    bed_close(&bed);
}

/* What came in another window does not count. */
static void check_window(void)
{
    struct bed bed;
    struct timespec pause = {.tv_nsec = 3000000};
    bed_open(&bed);
    change(&bed, "Security", OBJECT_ID_SINGLETON, "{\"scanBanRate\":{\"count\":3,\"period\":1}}");
    for (int i = 0; i < 4; i++) {
        offend(&bed, OFFENCE_SCAN, "192.0.2.1", 3);
        nanosleep(&pause, NULL);
    }
    CHECK(blocked_count(&bed) == 0);
    change(&bed, "Security", OBJECT_ID_SINGLETON,
           "{\"scanBanRate\":{\"count\":3,\"period\":86400000}}");
    offend(&bed, OFFENCE_SCAN, "192.0.2.1", 3);
    nanosleep(&pause, NULL);
    offend(&bed, OFFENCE_SCAN, "192.0.2.1", 3);
    CHECK(blocked_count(&bed) == 1);
    bed_close(&bed);
}

int main(void)
{
    check_kinds();
    check_networks();
    check_exempt();
    check_again();
    check_paths();
    check_many();
    check_pause();
    check_rollback();
    check_window();
    return report("ban");
}
