#include "smtp/queue_filter.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

Test(queue_filter, numbers_lead_back_to_the_message)
{
    struct qid id = {.node = 1, .set = 3, .epoch = 42, .sequence = 7};
    uint64_t number = queue_id(1023, (1u << QUEUE_ID_HANDLE_BITS) - 1, queue_id_check(id));
    cr_assert_lt(number, UINT64_C(1) << 63);
    struct queue_place place = queue_id_place(number);
    cr_assert_eq(place.core, 1023);
    cr_assert_eq(place.handle, (1u << QUEUE_ID_HANDLE_BITS) - 1);
    cr_assert(queue_id_is(number, id));
    id.sequence++; /* the next message in the same place */
    cr_assert_not(queue_id_is(number, id));
    cr_assert_not(queue_id_is(0, id));
    place = queue_id_place(queue_id(0, 0, queue_id_check(id)));
    cr_assert_eq(place.core, 0);
    cr_assert_eq(place.handle, 0);
}

static int compare(const void *a, const void *b)
{
    return queue_key_order(a, b, true);
}

static int compare_down(const void *a, const void *b)
{
    return queue_key_order(a, b, false);
}

Test(queue_filter, the_first_of_an_order_are_kept)
{
    enum { COUNT = 5000, KEPT = 100 };
    static struct queue_key all[COUNT], kept[KEPT];
    for (int down = 0; down < 2; down++) {
        struct queue_top top = {.keys = kept, .max = KEPT, .ascending = !down};
        srand(7);
        for (unsigned i = 0; i < COUNT; i++) {
            all[i] = (struct queue_key){.at_ms = rand() % 300, .id = i};
            queue_top_add(&top, all[i]);
        }
        qsort(all, COUNT, sizeof *all, down ? compare_down : compare);
        qsort(kept, KEPT, sizeof *kept, down ? compare_down : compare);
        cr_assert_eq(top.count, KEPT);
        for (unsigned i = 0; i < KEPT; i++) {
            cr_assert_eq(kept[i].id, all[i].id);
        }
    }
    struct queue_top none = {.max = 0};
    queue_top_add(&none, all[0]);
    cr_assert_eq(none.count, 0);
}

/* Asks for the key at a place as the queue's cores are asked, and counts the rounds. */
static void find_place(const struct queue_key *all, size_t count, size_t place,
                       struct queue_stretch stretch, struct queue_key *out)
{
    static struct queue_bins bins;
    uint64_t left = place, in_part = count;
    unsigned rounds = 0;
    while (in_part > 1) {
        queue_bins_init(&bins, &stretch);
        for (size_t i = 0; i < count; i++) {
            queue_bins_add(&bins, &all[i]);
        }
        cr_assert(queue_bins_find(&bins, &stretch, &in_part, &left));
        cr_assert(left < in_part && ++rounds <= 12);
    }
    *out = queue_stretch_first(&stretch);
}

/* Neither the shape of the times nor keys of one time matter. */
Test(queue_filter, places)
{
    enum { COUNT = 3000 };
    static struct queue_key all[COUNT];
    for (unsigned shape = 0; shape < 3; shape++) {
        srand(9);
        for (unsigned i = 0; i < COUNT; i++) {
            static const int64_t times[3][3] = {{1, 2, 3}, {INT64_MIN, 0, INT64_MAX}, {77, 77, 77}};
            all[i] = (struct queue_key){.at_ms = times[shape][rand() % 3],
                                        .id = (uint64_t)i << (shape == 2 ? 50 : 0)};
        }
        for (int down = 0; down < 2; down++) {
            bool up = !down;
            qsort(all, COUNT, sizeof *all, down ? compare_down : compare);
            struct queue_stretch stretch = {
                .low = {.at_ms = INT64_MIN}, .high = {INT64_MAX, UINT64_MAX}, .ascending = up};
            for (size_t place = 0; place < COUNT; place += 97) {
                struct queue_key first;
                find_place(all, COUNT, place, stretch, &first);
                cr_expect(queue_key_order(&first, &all[place], up) <= 0);
                cr_expect(place == 0 || queue_key_order(&all[place - 1], &first, up) < 0);
            }
        }
    }
}

/* What lies outside does not count, and a place may be behind the end. */
Test(queue_filter, places_in_a_stretch)
{
    static struct queue_bins bins;
    struct queue_stretch stretch = {.low = {10, 5}, .high = {20, 7}, .ascending = true}, part;
    const struct queue_key keys[] = {{10, 4}, {10, 5}, {15, 0}, {20, 7}, {20, 8}, {9, 9}};
    uint64_t count, place = 2;
    queue_bins_init(&bins, &stretch);
    for (size_t i = 0; i < mx_countof(keys); i++) {
        queue_bins_add(&bins, &keys[i]);
    }
    cr_assert(queue_bins_find(&bins, &part, &count, &place));
    cr_assert(count == 1 && place == 0);
    cr_assert(part.low.at_ms == 20 && part.low.id == 0 && part.high.id == 7);
    place = 5;
    cr_assert(!queue_bins_find(&bins, &part, &count, &place));
    cr_assert(place == 2);
}

Test(queue_filter, envelopes)
{
    static const struct envelope_rcpt rcpts[] = {
        {.address = SLICE_LITERAL("Bob@Example.NET")},
        {.address = SLICE_LITERAL("carol@other.example")},
    };
    struct envelope env = {
        .sender = SLICE_LITERAL("alice@example.org"), .rcpts = rcpts, .rcpt_count = 2};
    struct envelope report = {.rcpts = rcpts, .rcpt_count = 2};
    static const struct {
        struct queue_filter filter;
        bool matches, matches_report;
    } cases[] = {
        {{.text = SLICE_LITERAL("")}, true, true},
        {{.text = SLICE_LITERAL("ALICE")}, true, false},
        {{.text = SLICE_LITERAL("bob@")}, true, true},
        {{.text = SLICE_LITERAL("dave")}, false, false},
        {{.sender = SLICE_LITERAL("example.org")}, true, false},
        {{.sender = SLICE_LITERAL("bob")}, false, false},
        {{.sender = SLICE_LITERAL("<>")}, false, true},
        {{.recipient = SLICE_LITERAL("other.example")}, true, true},
        {{.recipient = SLICE_LITERAL("alice")}, false, false},
        {{.text = SLICE_LITERAL("alice"), .recipient = SLICE_LITERAL("bob")}, true, false},
        {{.text = SLICE_LITERAL("alice"), .recipient = SLICE_LITERAL("dave")}, false, false},
        {{.recipient = SLICE_LITERAL("carol@other.example and more")}, false, false},
    };
    for (size_t i = 0; i < mx_countof(cases); i++) {
        cr_expect_eq(queue_filter_envelope(&cases[i].filter, &env), cases[i].matches, "case %zu",
                     i);
        cr_expect_eq(queue_filter_envelope(&cases[i].filter, &report), cases[i].matches_report,
                     "report, case %zu", i);
        cr_expect_eq(queue_filter_reads(&cases[i].filter), i > 0);
    }
    struct queue_filter times;
    queue_filter_init(&times);
    cr_expect(queue_filter_times(&times, INT64_MAX, 0));
    times.due_min_ms = 10;
    times.due_max_ms = 20;
    times.arrived_max_ms = 5;
    cr_expect(queue_filter_times(&times, 10, 5) && queue_filter_times(&times, 20, 5));
    cr_expect(!queue_filter_times(&times, 9, 5) && !queue_filter_times(&times, 21, 5));
    cr_expect(!queue_filter_times(&times, 10, 6));
}

Test(queue_filter, names_and_replies)
{
    struct queue_filter filter = {.hop = SLICE_LITERAL("MX"), .error = SLICE_LITERAL("grey")};
    cr_expect(queue_filter_hop(&filter, SLICE_LITERAL("mx")));
    cr_expect(queue_filter_hop(&filter, SLICE_LITERAL("mx:example.org")));
    cr_expect(!queue_filter_hop(&filter, SLICE_LITERAL("mx2")));
    cr_expect(!queue_filter_hop(&filter, SLICE_EMPTY));
    cr_expect(queue_filter_error(&filter, SLICE_LITERAL("4.7.1 Greylisted")));
    cr_expect(!queue_filter_error(&filter, SLICE_EMPTY));
    cr_expect(queue_filter_is_of_rcpts(&filter));
    cr_expect(queue_filter_address(&filter, SLICE_LITERAL("bob@example.org")));
    filter = (struct queue_filter){.queue = SLICE_LITERAL("bulk")};
    cr_expect(queue_filter_queue(&filter, SLICE_LITERAL("bulk")));
    cr_expect(!queue_filter_queue(&filter, SLICE_LITERAL("bulk2")));
    cr_expect(!queue_filter_queue(&filter, SLICE_LITERAL("bul")));
    cr_expect(!queue_filter_queue(&filter, SLICE_EMPTY));
    cr_expect(queue_filter_is_of_rcpts(&filter) && !queue_filter_reads(&filter));
    filter = (struct queue_filter){.recipient = SLICE_LITERAL("BOB@")};
    cr_expect(queue_filter_address(&filter, SLICE_LITERAL("bob@example.org")));
    cr_expect(!queue_filter_address(&filter, SLICE_LITERAL("alice@example.org")));
    filter = (struct queue_filter){.sender = SLICE_LITERAL("a"), .status = QUEUE_FRESH};
    cr_expect(!queue_filter_is_of_rcpts(&filter));
    cr_expect(queue_filter_hop(&filter, SLICE_EMPTY) && queue_filter_error(&filter, SLICE_EMPTY));
    cr_expect(queue_filter_queue(&filter, SLICE_EMPTY));
}

/* Whatever part of an address is looked for, its digest may have it; few others do. */
Test(queue_filter, digests)
{
    struct envelope_rcpt rcpt = {.address = SLICE_LITERAL("Bob.Builder@Example.org")};
    struct envelope env = {
        .sender = SLICE_LITERAL("alice@example.net"), .rcpts = &rcpt, .rcpt_count = 1};
    struct queue_digest digest, part;
    queue_digest_of(&digest, &env);
    for (size_t from = 0; from < rcpt.address.len; from++) {
        for (size_t len = 1; len <= rcpt.address.len - from; len++) {
            struct queue_filter filter = {.text = slice_first(slice_from(rcpt.address, from), len)};
            queue_filter_parts(&filter, &part);
            cr_assert(queue_digest_may_have(&digest, &part));
        }
    }
    unsigned taken = 0;
    for (unsigned n = 0; n < 1000; n++) {
        char text[32];
        (void)snprintf(text, sizeof text, "user%u@other.test", n);
        struct queue_filter filter = {.recipient = slice_of_text(text)};
        queue_filter_parts(&filter, &part);
        taken += queue_digest_may_have(&digest, &part);
    }
    cr_assert_lt(taken, 10);
    struct queue_filter null_sender = {.sender = SLICE_LITERAL("<>")};
    queue_filter_parts(&null_sender, &part);
    cr_assert(part.bits[0] == 0 && part.bits[1] == 0);
    env.rcpt_count = QUEUE_DIGEST_RCPTS_MAX + 1;
    queue_digest_of(&digest, &env);
    cr_assert(digest.bits[0] == UINT64_MAX && digest.bits[1] == UINT64_MAX);
}

Test(queue_filter, next_keys)
{
    static const struct {
        struct queue_key key, next;
        bool ascending;
    } cases[] = {{{5, 7}, {5, 8}, true},
                 {{5, UINT64_MAX}, {6, 0}, true},
                 {{5, 7}, {5, 6}, false},
                 {{5, 0}, {4, UINT64_MAX}, false}};
    for (size_t i = 0; i < mx_countof(cases); i++) {
        struct queue_key next = queue_key_next(&cases[i].key, cases[i].ascending);
        cr_expect(queue_key_order(&next, &cases[i].next, true) == 0, "case %zu", i);
        cr_expect(queue_key_order(&cases[i].key, &next, cases[i].ascending) == -1, "case %zu", i);
    }
}
