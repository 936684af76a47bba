#include "route/directory.h"
#include "tests/dir_records.h"

#include <criterion/criterion.h>
#include <stdio.h>

#define S(text) SLICE_LITERAL(text)

enum { MEMBERS = 3000 };

DIR_RECORDS(records, 4096);

static char texts[MEMBERS][32];
static struct dir_member members[MEMBERS];

static struct dir_list make(size_t count)
{
    for (size_t i = 0; i < count; i++) {
        (void)snprintf(texts[i], sizeof texts[i], "m%zu@example.org", count - i);
        members[i] = (struct dir_member){.address = slice_of_text(texts[i])};
    }
    list_order(members, count);
    return (struct dir_list){members, (uint32_t)count};
}

Test(list, buckets_are_ordered_and_found)
{
    struct dir_list list = make(MEMBERS);
    unsigned seen = 0;
    for (unsigned bucket = 0; bucket < LIST_BUCKETS; bucket++) {
        uint32_t from = list_from_bucket(&list, bucket);
        uint32_t end = list_from_bucket(&list, bucket + 1);
        cr_assert(from <= end && end <= list.count);
        for (uint32_t i = from; i < end; i++) {
            cr_assert_eq(list.members[i].bucket, bucket);
            seen++;
        }
        cr_assert_lt(end - from, 100u, "bucket %u is crowded", bucket);
    }
    cr_assert_eq(seen, MEMBERS);
    cr_assert_eq(list_from_bucket(&list, LIST_BUCKETS), MEMBERS);
}

/* Progress through a list means the same when others come and go, and in every later version: the
 * bucket follows from the address alone. */
Test(list, bucket_of_an_address)
{
    static uint8_t bucket_of[MEMBERS + 1];
    struct dir_list list = make(MEMBERS);
    for (uint32_t i = 0; i < list.count; i++) {
        unsigned number = 0;
        cr_assert_eq(sscanf((const char *)list.members[i].address.ptr, "m%u@", &number), 1);
        bucket_of[number] = list.members[i].bucket;
    }
    list = make(10);
    for (uint32_t i = 0; i < list.count; i++) {
        unsigned number = 0;
        cr_assert_eq(sscanf((const char *)list.members[i].address.ptr, "m%u@", &number), 1);
        cr_assert_eq(list.members[i].bucket, bucket_of[number]);
    }
    struct dir_member one = {.address = S("alice@example.org")};
    list_order(&one, 1);
    cr_assert_eq(one.bucket, 112, "was %u", one.bucket);
}

Test(list, empty)
{
    list_order(NULL, 0);
    struct dir_list list = {NULL, 0};
    cr_assert_eq(list_from_bucket(&list, 0), 0u);
}

Test(list, resolves_by_name_alias_and_tag)
{
    static const struct dir_list list = {members, 1};
    static const struct dir_domain domains[] = {
        {.id = 1, .name = SLICE_LITERAL("example.org"), .enabled = true, .tag_mode = 1},
        {.id = 2, .name = SLICE_LITERAL("off.example"), .tag_mode = 1},
    };
    static const struct dir_address addresses[] = {
        {1, SLICE_LITERAL("team"), DIR_LIST, true, false, 9, SLICE_LITERAL("team@example.org"),
         &list},
        {1, SLICE_LITERAL("crew"), DIR_LIST, true, false, 9, SLICE_LITERAL("team@example.org"),
         NULL},
        {1, SLICE_LITERAL("old"), DIR_LIST, false, false, 9, SLICE_LITERAL("team@example.org"),
         NULL},
        {1, SLICE_LITERAL("far"), DIR_LIST, true, false, 8, SLICE_LITERAL("far@off.example"), NULL},
        {2, SLICE_LITERAL("far"), DIR_LIST, true, false, 8, SLICE_LITERAL("far@off.example"),
         &list},
        {1, SLICE_LITERAL("sales"), DIR_GROUP, true, false, 7, SLICE_LITERAL("sales@example.org"),
         NULL},
    };
    struct directory *dir;
    cr_assert_eq(directory_new(&dir, 5), MX_OK);
    for (size_t i = 0; i < mx_countof(domains); i++) {
        cr_assert_eq(directory_put_domain(dir, &domains[i]), MX_OK);
    }
    for (size_t i = 0; i < mx_countof(addresses); i++) {
        const struct dir_record *record = dir_records_add(records, records_max, &addresses[i]);
        cr_assert_eq(directory_put_address(dir, record), MX_OK);
    }
    static const struct {
        const char *local;
        enum resolve_kind kind;
        enum dir_kind found;
        uint64_t id;
        bool tag, members;
    } cases[] = {
        {"team", RESOLVE_LOCAL, DIR_LIST, 9, false, true},
        {"TEAM+x", RESOLVE_LOCAL, DIR_LIST, 9, true, true},
        {"crew", RESOLVE_LOCAL, DIR_LIST, 9, false, true},
        {"crew+y", RESOLVE_LOCAL, DIR_LIST, 9, true, true},
        {"old", RESOLVE_UNKNOWN_USER, DIR_ACCOUNT, 0, false, false},
        {"far", RESOLVE_LOCAL, DIR_LIST, 8, false,
         true}, /* an alias works while the domain is off */
        {"sales", RESOLVE_LOCAL, DIR_GROUP, 7, false, false},
        {"sales+eu", RESOLVE_LOCAL, DIR_GROUP, 7, true, false},
    };
    for (size_t i = 0; i < mx_countof(cases); i++) {
        struct resolution r;
        directory_resolve(dir, slice_of_text(cases[i].local), S("example.org"), SLICE_EMPTY, &r);
        cr_assert_eq(r.kind, cases[i].kind, "%s", cases[i].local);
        cr_assert_eq(r.found, cases[i].found, "%s", cases[i].local);
        cr_assert_eq(r.object_id, cases[i].id, "%s", cases[i].local);
        cr_assert_eq(r.via_tag, cases[i].tag, "%s", cases[i].local);
        if (r.kind == RESOLVE_LOCAL) {
            cr_assert_eq(directory_find_list(dir, r.mailbox), cases[i].members ? &list : NULL, "%s",
                         cases[i].local);
        }
    }
    cr_assert(directory_is_local_address(dir, S("Team@example.org")));
    cr_assert(directory_is_local_address(dir, S("sales+x@example.org")));
    cr_assert(!directory_is_local_address(dir, S("old@example.org")));
    cr_assert_null(directory_find_list(dir, S("nobody@example.org")));
    cr_assert_null(directory_find_list(dir, S("team@else.example")));
    cr_assert_null(directory_find_list(dir, S("team")));
    directory_free(dir);
}
