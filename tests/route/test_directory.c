#include "route/directory.h"
#include "tests/dir_records.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#define S(text) SLICE_LITERAL(text)

static const struct dir_domain domains[] = {
    {.id = 1,
     .name = {(const uint8_t *)"relay.example", 13},
     .enabled = true,
     .allow_relaying = true,
     .tag_mode = 1,
     .catch_all = {(const uint8_t *)"alice@relay.example", 19}},
    {.id = 2, .name = {(const uint8_t *)"full.example", 12}, .enabled = true, .tag_mode = 1},
    {.id = 3,
     .name = {(const uint8_t *)"catch.example", 13},
     .enabled = true,
     .tag_mode = 1,
     .catch_all = {(const uint8_t *)"Bob+any@FULL.example", 20}},
    {.id = 4,
     .name = {(const uint8_t *)"off.example", 11},
     .enabled = false,
     .allow_relaying = true,
     .tag_mode = 1},
    {.id = 5, .name = {(const uint8_t *)"notag.example", 13}, .enabled = true, .tag_mode = 0},
    {.id = 6,
     .name = {(const uint8_t *)"dead.example", 12},
     .enabled = true,
     .tag_mode = 1,
     .catch_all = {(const uint8_t *)"nobody@full.example", 19}},
};

#define ADDRESS(domain, text, is_enabled, of_kind, to)                               \
    {                                                                                \
        .domain_id = (domain), .local = {(const uint8_t *)(text), sizeof(text) - 1}, \
        .kind = (of_kind), .enabled = (is_enabled), .object_id = 7, .mailbox = {     \
            (const uint8_t *)(to),                                                   \
            sizeof(to) - 1                                                           \
        }                                                                            \
    }

static const struct dir_address addresses[] = {
    ADDRESS(1, "alice", true, DIR_ACCOUNT, "alice@relay.example"),
    ADDRESS(1, "alice+special", true, DIR_ALIAS, "carol@relay.example"),
    ADDRESS(1, "gone", false, DIR_ALIAS, "alice@relay.example"),
    ADDRESS(2, "bob", true, DIR_ACCOUNT, "bob@full.example"),
    ADDRESS(2, "b.smith", true, DIR_ALIAS, "bob@full.example"),
    ADDRESS(2, "postmaster", true, DIR_ACCOUNT, "postmaster@full.example"),
    ADDRESS(4, "dave", true, DIR_ACCOUNT, "dave@off.example"),
    ADDRESS(5, "eve", true, DIR_ACCOUNT, "eve@notag.example"),
};

DIR_RECORDS(records, 16 << 20);

static const struct dir_record *record_of(const struct dir_address *about)
{
    return dir_records_add(records, records_max, about);
}

static struct directory *make(void)
{
    struct directory *dir;
    cr_assert_eq(directory_new(&dir, 99), MX_OK);
    for (size_t i = 0; i < mx_countof(domains); i++) {
        cr_assert_eq(directory_put_domain(dir, &domains[i]), MX_OK);
    }
    for (size_t i = 0; i < mx_countof(addresses); i++) {
        cr_assert_eq(directory_put_address(dir, record_of(&addresses[i])), MX_OK);
    }
    return dir;
}

/* What goes in comes out; an account's own address shares its text with the mailbox. */
Test(directory, records)
{
    static const struct dir_list list = {NULL, 0};
    static const struct {
        const char *local, *mailbox;
        size_t bytes; /* of 64-bit machines */
    } cases[] = {{"alice", "alice@a.example", 36},
                 {"al", "alice@a.example", 36},
                 {"bob", "alice@a.example", 40},
                 {"", "", 20},
                 {"a", "", 24}};
    cr_assert_eq(sizeof(struct dir_record), 20u);
    for (size_t i = 0; i < mx_countof(cases); i++) {
        for (unsigned bits = 0; bits < 32; bits++) {
            struct dir_address about = {.domain_id = UINT64_MAX - bits,
                                        .object_id = bits,
                                        .local = slice_of_text(cases[i].local),
                                        .mailbox = slice_of_text(cases[i].mailbox),
                                        .kind = (enum dir_kind)(bits & 3),
                                        .enabled = (bits & 4) != 0,
                                        .separate = (bits & 8) != 0,
                                        .list = (bits & 16) != 0 ? &list : NULL};
            const struct dir_record *record = record_of(&about);
            cr_assert_eq(dir_record_size(record), cases[i].bytes + (bits & 16) / 2);
            cr_assert_eq(record->domain_id, UINT64_MAX - bits);
            cr_assert_eq(record->object_id, bits);
            cr_assert_eq(record->kind, bits & 3);
            cr_assert(record->enabled == about.enabled && record->separate == about.separate);
            cr_assert(slice_equal(dir_record_local(record), about.local));
            cr_assert(slice_equal(dir_record_mailbox(record), about.mailbox));
            cr_assert_eq(dir_record_list(record), about.list);
        }
    }
}

Test(directory, resolution_order)
{
    static const struct {
        const char *local, *domain;
        enum resolve_kind kind;
        const char *mailbox;
    } cases[] = {
        {"alice", "relay.example", RESOLVE_LOCAL, "alice@relay.example"},
        {"Alice", "Relay.EXAMPLE", RESOLVE_LOCAL, "alice@relay.example"},
        {"alice+news", "relay.example", RESOLVE_LOCAL, "alice@relay.example"},
        {"alice+special", "relay.example", RESOLVE_LOCAL,
         "carol@relay.example"}, /* exact before the tag is cut */
        {"ALICE+SPECIAL", "relay.example", RESOLVE_LOCAL, "carol@relay.example"},
        {"unknown", "relay.example", RESOLVE_RELAY, NULL}, /* relaying comes before the catch-all */
        {"unknown+tag", "relay.example", RESOLVE_RELAY, NULL},
        {"gone", "relay.example", RESOLVE_RELAY, NULL}, /* a disabled alias is absent */
        {"+alice", "relay.example", RESOLVE_RELAY, NULL},
        {"b.smith+x", "full.example", RESOLVE_LOCAL, "bob@full.example"},
        {"unknown", "full.example", RESOLVE_UNKNOWN_USER, NULL},
        {"anyone", "catch.example", RESOLVE_LOCAL, "bob@full.example"},
        {"anyone", "dead.example", RESOLVE_UNKNOWN_USER, NULL}, /* the catch-all leads nowhere */
        {"dave", "off.example", RESOLVE_UNKNOWN_DOMAIN, NULL},
        {"eve", "notag.example", RESOLVE_LOCAL, "eve@notag.example"},
        {"eve+x", "notag.example", RESOLVE_UNKNOWN_USER, NULL},
        {"alice", "elsewhere.example", RESOLVE_UNKNOWN_DOMAIN, NULL},
        {"alice", "", RESOLVE_UNKNOWN_DOMAIN, NULL},
        {"postmaster", "full.example", RESOLVE_LOCAL, "postmaster@full.example"},
        {"PostMaster", "relay.example", RESOLVE_RELAY, NULL},
        {"postmaster", "catch.example", RESOLVE_LOCAL, "bob@full.example"},
        {"postmaster", "notag.example", RESOLVE_LOCAL,
         "eve@notag.example"}, /* the configured address */
        {"POSTMASTER", "", RESOLVE_LOCAL, "eve@notag.example"},
        {"postmaster", "elsewhere.example", RESOLVE_UNKNOWN_DOMAIN, NULL},
    };
    struct directory *dir = make();
    for (size_t i = 0; i < mx_countof(cases); i++) {
        struct resolution r;
        directory_resolve(dir, slice_of_text(cases[i].local), slice_of_text(cases[i].domain),
                          S("Eve@notag.example"), &r);
        cr_assert_eq(r.kind, cases[i].kind, "%s@%s: %d", cases[i].local, cases[i].domain, r.kind);
        if (cases[i].mailbox != NULL) {
            cr_assert(slice_equal(r.mailbox, slice_of_text(cases[i].mailbox)), "%s@%s",
                      cases[i].local, cases[i].domain);
        }
    }
    directory_free(dir);
}

Test(directory, postmaster_without_any_target_is_still_accepted)
{
    struct directory *dir = make();
    struct resolution r;
    directory_resolve(dir, S("postmaster"), S("notag.example"), SLICE_EMPTY, &r);
    cr_assert_eq(r.kind, RESOLVE_RELAY);
    cr_assert(r.is_postmaster);
    directory_resolve(dir, S("postmaster"), SLICE_EMPTY, S("nobody@nowhere.example"), &r);
    cr_assert_eq(r.kind, RESOLVE_RELAY);
    directory_free(dir);
}

Test(directory, predicates_of_the_route_rule)
{
    struct directory *dir = make();
    cr_assert(directory_is_local_domain(dir, S("RELAY.example")));
    cr_assert_not(directory_is_local_domain(dir, S("off.example")));
    cr_assert_not(directory_is_local_domain(dir, SLICE_EMPTY));
    cr_assert(directory_is_local_address(dir, S("Alice+x@Relay.example")));
    cr_assert_not(directory_is_local_address(dir, S("gone@relay.example")));
    cr_assert_not(
        directory_is_local_address(dir, S("anyone@catch.example"))); /* no catch-all here */
    cr_assert_not(directory_is_local_address(dir, S("alice")));
    cr_assert_not(directory_is_local_address(dir, S("@relay.example")));
    directory_free(dir);
}

/* Room that was reserved is enough, and a domain that is removed is unknown, with its addresses. */
Test(directory, reserve_and_remove_domain)
{
    struct directory *dir;
    struct directory_stats before, after;
    struct resolution r;
    cr_assert_eq(directory_new(&dir, 1), MX_OK);
    cr_assert_eq(directory_reserve(dir, 1000, 5000), MX_OK);
    directory_stats(dir, &before);
    for (size_t i = 0; i < mx_countof(domains); i++) {
        cr_assert_eq(directory_put_domain(dir, &domains[i]), MX_OK);
    }
    for (size_t i = 0; i < mx_countof(addresses); i++) {
        cr_assert_eq(directory_put_address(dir, record_of(&addresses[i])), MX_OK);
    }
    directory_stats(dir, &after);
    cr_assert(before.capacity == after.capacity && before.memory_bytes == after.memory_bytes);
    directory_resolve(dir, S("bob"), S("full.example"), SLICE_EMPTY, &r);
    cr_assert_eq(r.kind, RESOLVE_LOCAL);
    directory_remove_domain(dir, S("full.example"));
    directory_remove_domain(dir, S("full.example")); /* absent: nothing happens */
    directory_remove_address(dir, 99, S("nobody"));
    directory_resolve(dir, S("bob"), S("full.example"), SLICE_EMPTY, &r);
    cr_assert_eq(r.kind, RESOLVE_UNKNOWN_DOMAIN);
    directory_free(dir);
}

/* RFC 5321 section 4.1.2: quotes do not make another mailbox. */
Test(directory, quoted_local_parts)
{
    struct directory *dir = make();
    static const char *const same[] = {"alice", "\"alice\"", "\"ALICE\"", "\"al\\ice\"",
                                       "\"alice+x\""};
    struct resolution r;
    for (size_t i = 0; i < mx_countof(same); i++) {
        directory_resolve(dir, slice_of_text(same[i]), S("relay.example"), SLICE_EMPTY, &r);
        cr_assert(r.kind == RESOLVE_LOCAL && slice_equal(r.mailbox, S("alice@relay.example")), "%s",
                  same[i]);
    }
    directory_resolve(dir, S("\"al ice\""), S("full.example"), SLICE_EMPTY, &r);
    cr_assert_eq(r.kind, RESOLVE_UNKNOWN_USER);
    directory_free(dir);
}

enum { MANY = 200000 };

/* "userNUMBER" of full.example */
static const struct dir_record *numbered(unsigned number, uint64_t object_id)
{
    char name[16];
    int len = snprintf(name, sizeof name, "user%u", number);
    struct dir_address about = {.domain_id = 2,
                                .local = slice_of(name, (size_t)len),
                                .enabled = true,
                                .object_id = object_id,
                                .mailbox = S("x@full.example")};
    return record_of(&about);
}

/* Random puts and removals against an array. */
Test(directory, many_addresses_against_a_model)
{
    static const struct dir_record *made[MANY];
    static bool present[MANY];
    struct directory *dir;
    struct directory_stats stats;
    size_t count = 0;
    cr_assert_eq(directory_new(&dir, 5), MX_OK);
    cr_assert_eq(directory_put_domain(dir, &domains[1]), MX_OK);
    srand(3);
    for (unsigned i = 0; i < MANY; i++) {
        made[i] = numbered(i, i);
    }
    for (unsigned round = 0; round < 3 * MANY; round++) {
        unsigned i = (unsigned)rand() % MANY;
        if (rand() % 3 == 0) {
            directory_remove_address(dir, 2, dir_record_local(made[i]));
            count -= present[i];
            present[i] = false;
        } else {
            cr_assert_eq(directory_put_address(dir, made[i]), MX_OK);
            count += !present[i];
            present[i] = true;
        }
    }
    for (unsigned i = 0; i < MANY; i++) {
        struct resolution r;
        directory_resolve(dir, dir_record_local(made[i]), S("full.example"), SLICE_EMPTY, &r);
        cr_assert_eq(r.kind, present[i] ? RESOLVE_LOCAL : RESOLVE_UNKNOWN_USER);
        cr_assert(!present[i] || r.object_id == i);
    }
    directory_stats(dir, &stats);
    cr_assert_eq(stats.addresses, count);
    while (!directory_settle(dir, 1000)) {
    }
    directory_stats(dir, &stats);
    cr_assert_leq(stats.memory_bytes, count * 20 + 4096); /* right after a doubling */
    directory_free(dir);
}

/* While a table grows, what has not moved is found, replaced and removed like the rest. */
Test(directory, changes_while_growing)
{
    enum { COUNT = 50000 };
    static const struct dir_record *made[COUNT], *others[COUNT];
    struct directory *dir;
    struct directory_stats stats;
    struct resolution r;
    cr_assert_eq(directory_new(&dir, 6), MX_OK);
    cr_assert_eq(directory_put_domain(dir, &domains[1]), MX_OK);
    for (unsigned i = 0; i < COUNT; i++) {
        made[i] = numbered(i, i);
        others[i] = numbered(i, i + COUNT);
        cr_assert_eq(directory_put_address(dir, made[i]), MX_OK);
    }
    while (!directory_settle(dir, 1000)) {
    }
    directory_stats(dir, &stats);
    size_t before = stats.memory_bytes;
    cr_assert_eq(directory_reserve(dir, 0, COUNT), MX_OK);
    directory_stats(dir, &stats);
    cr_assert_gt(stats.memory_bytes, before * 2, "nothing grew");
    /* A third is removed, a third replaced, in the midst of the moving. */
    for (unsigned i = 0; i < COUNT; i++) {
        if (i % 3 == 0) {
            directory_remove_address(dir, 2, dir_record_local(made[i]));
        } else if (i % 3 == 1) {
            cr_assert_eq(directory_put_address(dir, others[i]), MX_OK);
        }
        if (i == COUNT / 20) {
            cr_assert(!directory_settle(dir, 1), "it was moved in one go");
        }
    }
    for (unsigned settled = 0; settled < 2; settled++) {
        for (unsigned i = 0; i < COUNT; i++) {
            directory_resolve(dir, dir_record_local(made[i]), S("full.example"), SLICE_EMPTY, &r);
            cr_assert_eq(r.kind, i % 3 == 0 ? RESOLVE_UNKNOWN_USER : RESOLVE_LOCAL);
            cr_assert(i % 3 == 0 || r.object_id == (i % 3 == 1 ? i + COUNT : i));
        }
        while (!directory_settle(dir, 100)) {
        }
    }
    directory_stats(dir, &stats);
    cr_assert_eq(stats.addresses, COUNT - (COUNT + 2) / 3);
    directory_free(dir);
}
