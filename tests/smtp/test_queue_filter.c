#include "smtp/queue_filter.h"

#include <criterion/criterion.h>
#include <stdlib.h>

Test(queue_filter, numbers_lead_back_to_the_message)
{
    struct qid id = {.node = 1, .set = 3, .epoch = 42, .sequence = 7};
    uint64_t number = queue_id(1023, (1u << QUEUE_ID_HANDLE_BITS) - 1, id);
    cr_assert_lt(number, UINT64_C(1) << 63);
    struct queue_place place = queue_id_place(number);
    cr_assert_eq(place.core, 1023);
    cr_assert_eq(place.handle, (1u << QUEUE_ID_HANDLE_BITS) - 1);
    cr_assert(queue_id_is(number, id));
    id.sequence++; /* the next message in the same place */
    cr_assert_not(queue_id_is(number, id));
    cr_assert_not(queue_id_is(0, id));
    place = queue_id_place(queue_id(0, 0, id));
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
    struct queue_filter due = {.due_min_ms = 10, .due_max_ms = 20};
    cr_expect(queue_filter_due(&due, 10) && queue_filter_due(&due, 20));
    cr_expect(!queue_filter_due(&due, 9) && !queue_filter_due(&due, 21));
}
