/* Marks and what carries them: messages of a load are read back, whole and split at every byte. */
#include "bench/content.h"
#include "bench/histogram.h"
#include "bench/ledger.h"
#include "bench/mark.h"

#include <criterion/criterion.h>

static struct content_text text;

/* Header, trace headers on top as a mail system would put them, body. */
static size_t message(uint8_t *out, const struct content *content)
{
    struct content c = *content;
    size_t len = 0;
    for (c.offset = 0; c.offset < c.total;) {
        struct slice piece = content_next(&c);
        cr_assert_gt(piece.len, 0);
        memcpy(out + len, piece.ptr, piece.len);
        len += piece.len;
        content_advance(&c, piece.len);
    }
    cr_assert_eq(len, content->total);
    return len;
}

static bool good(const uint8_t *bytes, size_t len, size_t cut, const char *id)
{
    struct mark_reader reader;
    mark_reader_init(&reader);
    mark_reader_add(&reader, SLICE_LITERAL("Received: from x\r\n by y; now\r\nX-Long: "));
    for (size_t i = 0; i < MARK_LINE_MAX; i++) {
        mark_reader_add(&reader, SLICE_LITERAL("xx"));
    }
    mark_reader_add(&reader, SLICE_LITERAL("\r\n"));
    mark_reader_add(&reader, slice_of(bytes, cut));
    mark_reader_add(&reader, slice_of(bytes + cut, len - cut));
    return slice_equal(mark_reader_id(&reader), slice_of_text(id)) &&
           reader.given == mark_reader_hash(&reader);
}

Test(mark, of_every_size_and_split)
{
    static uint8_t bytes[CONTENT_HEADER_MAX + 600];
    struct dice dice = {.state = 1};
    struct content content;
    content_text_make(&text, &dice);
    for (size_t size = CONTENT_SIZE_MIN; size < 600; size++) {
        content_make(&content, &text, &dice, SLICE_LITERAL("run.1.2"), SLICE_LITERAL("a@b"), 0,
                     size);
        size_t len = message(bytes, &content);
        for (size_t i = 0; i < len; i++) { /* a mail system would refuse bare CR and LF */
            cr_assert_eq(bytes[i] == '\r', i + 1 < len && bytes[i + 1] == '\n');
        }
        for (size_t cut = 0; cut <= len; cut += size % 50 == 3 ? 1 : 97) {
            cr_assert(good(bytes, len, cut, "run.1.2"), "size %zu, cut %zu", size, cut);
        }
        size_t at = len - 1 - dice_below(&dice, size);
        bytes[at] ^= 1;
        cr_assert(!good(bytes, len, len, "run.1.2"), "size %zu, byte %zu altered", size, at);
    }
}

Test(mark, larger_than_the_text)
{
    static uint8_t bytes[CONTENT_HEADER_MAX + 3 * CONTENT_TEXT_BYTES];
    struct dice dice = {.state = 2};
    struct content content;
    content_text_make(&text, &dice);
    content_make(&content, &text, &dice, SLICE_LITERAL("run.1.2"), SLICE_LITERAL("a@b"), 0,
                 3 * CONTENT_TEXT_BYTES);
    size_t len = message(bytes, &content);
    cr_assert(good(bytes, len, len / 2, "run.1.2"));
}

Test(mark, not_in_the_body)
{
    struct mark_reader reader;
    mark_reader_init(&reader);
    mark_reader_add(&reader, SLICE_LITERAL("Subject: x\r\n\r\nX-Ringmx-Id: run.1.1\r\n"
                                           "X-Ringmx-XXH64: 0000000000000000\r\n"));
    cr_assert_eq(mark_reader_id(&reader).len, 0);
}

Test(ledger, lines)
{
    static const char *const wrong[] = {"taken",
                                        "taken 1 2 id",
                                        "taken 1 2 id 5 6",
                                        "taken x 2 id 5 6 r",
                                        "taken 1 2 id 5g 6 r",
                                        "sent 1 2 id 5 6 r",
                                        "kill 5",
                                        "kill 5 4"};
    struct ledger_entry entry;
    cr_assert_eq(ledger_parse(&entry, SLICE_LITERAL("silent 1 2 run.1.2 ff 9 \"a b\"@c")), MX_OK);
    cr_assert_eq(entry.kind, LEDGER_SILENT);
    cr_assert_eq(entry.time_us, 1);
    cr_assert_eq(entry.since_us, 2);
    cr_assert_eq(entry.hash, 255);
    cr_assert_eq(entry.bytes, 9);
    cr_assert(slice_equal(entry.id, SLICE_LITERAL("run.1.2")));
    cr_assert(slice_equal(entry.rcpt, SLICE_LITERAL("\"a b\"@c")));
    cr_assert_eq(ledger_parse(&entry, SLICE_LITERAL("# x")), MX_ERR_NOTFOUND);
    for (size_t i = 0; i < mx_countof(wrong); i++) {
        cr_assert_eq(ledger_parse(&entry, slice_of_text(wrong[i])), MX_ERR_SYNTAX, "%s", wrong[i]);
    }
}

Test(histogram, error_is_small)
{
    static struct histogram h;
    cr_assert_eq(histogram_percentile(&h, 50), 0);
    for (uint64_t value = 1; value < UINT64_C(1) << 62; value = value * 3 + 1) {
        h = (struct histogram){0};
        histogram_add(&h, value);
        histogram_add(&h, UINT64_MAX);
        uint64_t got = histogram_percentile(&h, 50);
        cr_assert(got >= value && got - value <= value / 100, "%llu for %llu",
                  (unsigned long long)got, (unsigned long long)value);
        cr_assert_eq(histogram_percentile(&h, 100), UINT64_MAX);
    }
}
