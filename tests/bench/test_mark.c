/* Marks and what carries them: messages of a load are read back, whole and split at every byte. */
#include "bench/content.h"
#include "bench/histogram.h"
#include "bench/ledger.h"
#include "bench/mark.h"

#include <criterion/criterion.h>

static struct content_text text;
static struct content_head head;

static void make_at(struct content *content, struct dice *dice, size_t size, int64_t wall_ms,
                    bool dotted)
{
    content_head_make(&head, SLICE_LITERAL("a@b"), wall_ms);
    content_make(content, &text, &head, dice, SLICE_LITERAL("run.1.2"), size, dotted);
}

static void make(struct content *content, struct dice *dice, size_t size)
{
    make_at(content, dice, size, 0, false);
}

/* Header, trace headers on top as a mail system would put them, body. */
static size_t message(uint8_t *out, const struct content *content)
{
    struct content c = *content;
    size_t len = 0;
    for (c.offset = 0; c.offset < c.wire;) {
        struct slice piece = content_next(&c);
        cr_assert_gt(piece.len, 0);
        memcpy(out + len, piece.ptr, piece.len);
        len += piece.len;
        content_advance(&c, piece.len);
    }
    cr_assert_eq(len, content->wire);
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
        make(&content, &dice, size);
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
    make(&content, &dice, 3 * CONTENT_TEXT_BYTES);
    size_t len = message(bytes, &content);
    cr_assert(good(bytes, len, len / 2, "run.1.2"));
}

/* What a receiver makes of the bytes under DATA. */
static size_t undot(uint8_t *out, const uint8_t *bytes, size_t len)
{
    size_t at = 0;
    for (size_t i = 0; i < len; i++) {
        if (bytes[i] == '.' && (i == 0 || bytes[i - 1] == '\n')) {
            i++;
        }
        out[at++] = bytes[i];
    }
    return at;
}

Test(mark, dotted)
{
    static uint8_t raw[CONTENT_HEADER_MAX + 3 * CONTENT_TEXT_BYTES];
    static uint8_t dotted[CONTENT_HEADER_MAX + 6 * CONTENT_TEXT_BYTES];
    static uint8_t back[CONTENT_HEADER_MAX + 6 * CONTENT_TEXT_BYTES];
    struct dice dice = {.state = 3};
    struct content content;
    size_t more = 0;
    content_text_make(&text, &dice);
    for (unsigned i = 0; i < 3000; i++) {
        size_t size = i < 2990
                          ? dice_between(&dice, CONTENT_SIZE_MIN, 2000)
                          : dice_between(&dice, CONTENT_TEXT_BYTES / 2, 3 * CONTENT_TEXT_BYTES);
        struct dice same = dice;
        make(&content, &dice, size);
        size_t raw_len = message(raw, &content);
        make_at(&content, &same, size, 0, true);
        size_t len = message(dotted, &content);
        more += len - raw_len;
        cr_assert_eq(undot(back, dotted, len), raw_len, "message %u of %zu", i, size);
        cr_assert_eq(memcmp(back, raw, raw_len), 0, "message %u of %zu", i, size);
        cr_assert_eq(content.total, raw_len);
    }
    cr_assert_gt(more, 1000);
}

/* Bodies of one size take turns; their hashes are of the second in which they are sent. */
Test(mark, bodies_that_are_used_again)
{
    enum { SIZE = 500, MESSAGES = 2000 };
    static uint8_t raw[CONTENT_HEADER_MAX + SIZE];
    static uint64_t hashes[MESSAGES];
    struct dice dice = {.state = 5};
    struct content content;
    unsigned again = 0;
    content_text_make(&text, &dice);
    for (unsigned i = 0; i < MESSAGES; i++) {
        make_at(&content, &dice, SIZE, (int64_t)i / 500 * 1000, false);
        size_t len = message(raw, &content);
        cr_assert(good(raw, len, len, "run.1.2"), "message %u", i);
        hashes[i] = content.hash;
        for (unsigned k = 0; k < i; k++) {
            again += hashes[k] == hashes[i];
            cr_assert(hashes[k] != hashes[i] || k / 500 == i / 500, "messages %u and %u", k, i);
        }
    }
    cr_assert_gt(again, MESSAGES);
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
