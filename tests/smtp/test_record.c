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
