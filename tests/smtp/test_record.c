#include "smtp/record.h"

#include <criterion/criterion.h>

Test(record, a_head_of_a_newer_version_is_told_apart)
{
    uint8_t bytes[RECORD_MESSAGE_HEAD_BYTES];
    struct writer w = writer_init(bytes, sizeof bytes);
    struct record_message m = {.rcpt_count = 1, .envelope_bytes = 10, .inline_bytes = 5}, again;
    record_message_head_put(&w, &m);
    cr_assert_eq(record_message_head_get(&again, writer_slice(&w)), MX_OK);
    cr_assert_eq(again.envelope_bytes, 10);
    bytes[0] = RECORD_VERSION_CHARGES + 1;
    cr_assert_eq(record_message_head_get(&again, writer_slice(&w)), MX_ERR_VERSION);
}

/* What a message counts under: only such a record has the newer version, and it lies between the
 * head and everything else. */
Test(record, charges)
{
    uint8_t bytes[RECORD_MESSAGE_HEAD_BYTES];
    struct writer w = writer_init(bytes, sizeof bytes);
    struct record_message m = {.rcpt_count = 1, .envelope_bytes = 10, .charge_count = 3}, again;
    record_message_head_put(&w, &m);
    cr_assert_eq(bytes[0], RECORD_VERSION_CHARGES);
    cr_assert_eq(record_message_head_get(&again, writer_slice(&w)), MX_OK);
    cr_assert_eq(again.charge_count, 3);
    cr_assert_eq(record_message_prefix_bytes(&again),
                 RECORD_MESSAGE_HEAD_BYTES + 3 * RECORD_CHARGE_BYTES);
    bytes[0] = RECORD_VERSION; /* whatever an older one has there */
    cr_assert_eq(record_message_head_get(&again, writer_slice(&w)), MX_OK);
    cr_assert_eq(again.charge_count, 0);
    bytes[0] = RECORD_VERSION_CHARGES;
    bytes[3] = 0xff;
    cr_assert_eq(record_message_head_get(&again, writer_slice(&w)), MX_ERR_SYNTAX);
}

/* What recovery keeps of a record: never more than there is. */
Test(record, indexed_bytes)
{
    uint8_t bytes[RECORD_MESSAGE_HEAD_BYTES + 2 * RECORD_RCPT_BYTES];
    struct record_message m = {.rcpt_count = 2, .has_states = true, .envelope_bytes = 1};
    struct writer w = writer_init(bytes, sizeof bytes);
    record_message_head_put(&w, &m);
    cr_assert_eq(record_indexed_bytes(RECORD_MESSAGE, slice_of(bytes, sizeof bytes)), sizeof bytes);
    cr_assert_eq(record_indexed_bytes(RECORD_MESSAGE, slice_of(bytes, RECORD_MESSAGE_HEAD_BYTES)),
                 RECORD_MESSAGE_HEAD_BYTES);
    cr_assert_eq(record_indexed_bytes(RECORD_EXTENT, slice_of(bytes, sizeof bytes)),
                 RECORD_EXTENT_HEAD_BYTES);
    cr_assert_eq(record_indexed_bytes(RECORD_EXTENT, slice_of(bytes, 3)), 3);
    cr_assert_eq(record_indexed_bytes(RECORD_OUTCOME, slice_of(bytes, 7)), 7);
}

/* The names of next hop and queue lie behind the text; without them a record is as it always was.
 */
Test(record, hop_of_an_outcome)
{
    uint8_t bytes[RECORD_OUTCOME_BYTES_MAX], long_text[600];
    memset(long_text, 'x', sizeof long_text);
    const struct record_outcome all[] = {
        {.rcpt = 1, .text = SLICE_LITERAL("busy"), .hop = SLICE_LITERAL("mx:d.example")},
        {.rcpt = 2, .text = SLICE_LITERAL("busy")},
        {.rcpt = 3, .hop = SLICE_LITERAL("source")},
        {.rcpt = 4, .text = {(const uint8_t *)"cut\0here", 8}, .hop = SLICE_LITERAL("a")},
        {.rcpt = 5,
         .text = {long_text, 600},
         .hop = {long_text, 600},
         .queue = {long_text, RECORD_QUEUE_MAX}},
        {.rcpt = 6, .hop = SLICE_LITERAL("source"), .queue = SLICE_LITERAL("remote")},
        {.rcpt = 7, .text = SLICE_LITERAL("busy"), .queue = SLICE_LITERAL("bulk")},
    };
    struct writer w = writer_init(bytes, sizeof bytes);
    size_t sum = 0;
    for (size_t i = 0; i < mx_countof(all); i++) {
        record_outcome_put(&w, &all[i]);
        sum += record_outcome_bytes(&all[i]);
        cr_assert_eq(w.len, sum);
    }
    struct reader r = reader_init(writer_slice(&w));
    for (size_t i = 0; i < mx_countof(all); i++) {
        struct record_outcome again;
        cr_assert_eq(record_outcome_get(&again, &r), MX_OK);
        cr_assert_eq(again.rcpt, all[i].rcpt);
        struct slice text =
            i == 3 ? SLICE_LITERAL("cut") : slice_first(all[i].text, RECORD_TEXT_MAX);
        cr_assert(slice_equal(again.text, text));
        cr_assert(slice_equal(again.hop, slice_first(all[i].hop, RECORD_HOP_MAX)));
        cr_assert(slice_equal(again.queue, all[i].queue));
    }
    cr_assert_eq(reader_left(&r), 0);
}
