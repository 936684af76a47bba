#include "core/log.h"
#include "core/text.h"

#include <criterion/criterion.h>

/* The line behind "core=0 ", without the newline. */
static struct slice take(struct log *log, char *buf, size_t cap)
{
    struct writer w = writer_init(buf, cap);
    cr_assert(log_take(log, &w));
    cr_assert(!w.overflow);
    struct slice line = writer_slice(&w);
    for (size_t i = 0; i + 7 < line.len; i++) {
        if (memcmp(line.ptr + i, "core=0 ", 7) == 0) {
            struct slice rest = slice_from(line, i + 7);
            cr_assert_eq(rest.ptr[rest.len - 1], '\n');
            return slice_first(rest, rest.len - 1);
        }
    }
    cr_assert(false, "no core in the line");
    return SLICE_EMPTY;
}

static unsigned count(struct slice text, char c)
{
    unsigned n = 0;
    for (size_t i = 0; i < text.len; i++) {
        n += text.ptr[i] == (uint8_t)c;
    }
    return n;
}

/* Whatever the length of a value, of its kind, and of what is in the line already: quotes are
 * balanced, and a key never stands without its value. */
Test(log, cut_values_keep_their_quotes)
{
    static const char kinds[] = {'x', ' ', '"', '\xff'};
    static uint8_t value[LOG_LINE_BYTES * 2];
    char buf[LOG_TEXT_BYTES];
    struct log log;
    cr_assert_eq(log_init(&log, 0, LOG_INFO), MX_OK);
    for (size_t kind = 0; kind < sizeof kinds; kind++) {
        memset(value, kinds[kind], sizeof value);
        for (size_t len = 0; len <= LOG_LINE_BYTES + 20; len += len < 200 ? 50 : 1) {
            struct log_line *line = log_begin(&log, LOG_INFO, "event");
            log_slice(line, "from", slice_of(value, len));
            log_u64(line, "n", 12345);
            log_text(line, "why", "no such user");
            log_end(&log, line);
            struct slice text = take(&log, buf, sizeof buf);
            cr_assert_eq(count(text, '"') % 2, 0, "kind %zu len %zu", kind, len);
            cr_assert_neq(text.ptr[text.len - 1], '=', "kind %zu len %zu", kind, len);
        }
    }
    log_fini(&log);
}

Test(log, plain_and_quoted)
{
    char buf[LOG_TEXT_BYTES];
    struct log log;
    struct qid id = {.node = 1, .set = 2, .epoch = 3, .sequence = 0x4f};
    cr_assert_eq(log_init(&log, 0, LOG_INFO), MX_OK);
    cr_assert_null(log_begin(&log, LOG_DEBUG, "not built"));
    struct log_line *line = log_begin(&log, LOG_INFO, "event");
    log_text(line, "a", "plain");
    log_text(line, "b", "two words");
    log_text(line, "c", "");
    log_text(line, "d", "x=1");
    log_slice(line, "e", SLICE_LITERAL("a\r\nb\"\\"));
    log_u64(line, "f", 0);
    log_qid(line, "g", id);
    log_err(line, "h", MX_ERR_LIMIT);
    log_end(&log, line);
    struct slice text = take(&log, buf, sizeof buf);
    struct slice expected = SLICE_LITERAL(
        "event a=plain b=\"two words\" c=\"\" d=\"x=1\" e=\"a\\x0d\\x0ab\\x22\\x5c\" f=0 "
        "g=1-2-3-4f h=\"a configured limit is exceeded\"");
    cr_assert(slice_equal(text, expected), "%.*s", SLICE_ARGS(text));
    log_text(NULL, "k", "v"); /* dropped lines are fine */
    log_u64(NULL, "k", 1);
    log_qid(NULL, "k", id);
    log_end(&log, NULL);
    log_end(NULL, log_begin(NULL, LOG_ERROR, "x"));
    log_fini(&log);
}

/* Lines without room are said with the next one that has, and counted for good. */
Test(log, counts_what_it_drops)
{
    static struct log log;
    char buf[LOG_TEXT_BYTES];
    unsigned dropped = 0;
    cr_assert_eq(log_init(&log, 0, LOG_INFO), MX_OK);
    for (unsigned i = 0; i < LOG_LINES + 10; i++) {
        struct log_line *line = log_begin(&log, LOG_INFO, "event");
        dropped += line == NULL;
        log_end(&log, line);
    }
    cr_assert(dropped >= 10);
    (void)take(&log, buf, sizeof buf);
    log_end(&log, log_begin(&log, LOG_INFO, "room"));
    cr_assert_eq(log.dropped, 0);
    cr_assert_eq(log.dropped_total, dropped);
    log_fini(&log);
}

static const struct log_style as_json = {.format = LOG_JSON};

/* What JSON and UTF-8 do not allow is escaped, and what a terminal would obey; the rest stays. */
Test(log, json)
{
    char buf[LOG_TEXT_BYTES];
    struct log log;
    struct writer w = writer_init(buf, sizeof buf);
    cr_assert_eq(log_init(&log, 2, LOG_INFO), MX_OK);
    struct log_line *line = log_begin(&log, LOG_WARN, "event");
    log_text(line, "a", "two \"words\" \\");
    log_u64(line, "b", UINT64_MAX);
    log_text(line, "c", "250");
    log_text(line, "d", "");
    log_slice(line, "e", SLICE_LITERAL("\r\n\t\0\x1b\x7f"));
    log_text(line, "f", "gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x93\xa8");
    log_text(line, "g", "\xff \xc3 \xc0\x80 \xed\xa0\x80 \xf5 \xe2\x82"); /* no UTF-8 */
    log_text(line, "h", "\xc2\x9b");                                      /* U+009B, CSI */
    log_end(&log, line);
    cr_assert(log_take_as(&log, &as_json, &w));
    struct slice expected = SLICE_LITERAL(
        "{\"time\":\"1970-01-01T00:00:00.000Z\",\"level\":\"warn\",\"core\":2,\"event\":\"event\","
        "\"a\":\"two \\\"words\\\" \\\\\",\"b\":18446744073709551615,\"c\":\"250\",\"d\":\"\","
        "\"e\":\"\\u000d\\u000a\\u0009\\u0000\\u001b\\u007f\","
        "\"f\":\"gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x93\xa8\","
        "\"g\":\"\\\\xff \\\\xc3 \\\\xc0\\\\x80 \\\\xed\\\\xa0\\\\x80 \\\\xf5 \\\\xe2\\\\x82\","
        "\"h\":\"\\u009b\"}\n");
    cr_assert(slice_equal(writer_slice(&w), expected), "%.*s", (int)w.len, buf);
    log_fini(&log);
}

/* Whatever bytes and however many: one line, in the room that is promised, valid UTF-8. */
Test(log, any_bytes_in_any_format)
{
    static uint8_t value[LOG_LINE_BYTES];
    static char buf[LOG_TEXT_BYTES];
    struct log log;
    uint32_t random = 1;
    cr_assert_eq(log_init(&log, 0, LOG_INFO), MX_OK);
    for (unsigned n = 0; n < 2000; n++) {
        struct log_style style = {.format = n % 2 ? LOG_JSON : LOG_KEY_VALUE,
                                  .priority = n % 3 == 0};
        for (size_t i = 0; i < sizeof value; i++) {
            random = random * 1664525 + 1013904223;
            value[i] = n < 256 ? (uint8_t)n : (uint8_t)(random >> 24);
        }
        struct log_line *line = log_begin(&log, LOG_INFO, "event");
        log_slice(line, "a", slice_of(value, n % sizeof value));
        log_u64(line, "n", UINT64_MAX);
        log_slice(line, "b", slice_of(value, sizeof value));
        log_u64(line, "left-out", 1);
        log_end(&log, line);
        struct writer w = writer_init(buf, sizeof buf);
        cr_assert(log_take_as(&log, &style, &w));
        cr_assert(!w.overflow);
        cr_assert(text_is_utf8(writer_slice(&w)), "n %u", n);
        cr_assert_eq(count(writer_slice(&w), '\n'), 1);
        cr_assert_eq(buf[w.len - 1], '\n');
        cr_assert_eq(memcmp(buf,
                            style.priority             ? "<6>"
                            : style.format == LOG_JSON ? "{\"t"
                                                       : "197",
                            3),
                     0);
        for (size_t i = 0; i + 1 < w.len; i++) {
            cr_assert((uint8_t)buf[i] >= 0x20 && buf[i] != 0x7f);
        }
    }
    log_fini(&log);
}

static unsigned repeats(struct log *log, const char *event, unsigned tries)
{
    unsigned lines = 0;
    for (unsigned i = 0; i < tries; i++) {
        struct log_line *line = log_begin_repeated(log, LOG_WARN, event);
        lines += line != NULL;
        log_end(log, line);
    }
    return lines;
}

Test(log, repeats_are_left_out_and_counted)
{
    static const char one[] = "one", other[] = "other";
    char buf[LOG_TEXT_BYTES];
    struct log log;
    cr_assert_eq(log_init(&log, 0, LOG_INFO), MX_OK);
    log.wall_ms = 5000;
    cr_assert_eq(repeats(&log, one, LOG_REPEATS_MAX + 7), LOG_REPEATS_MAX);
    cr_assert_eq(repeats(&log, other, 3), 3, "each event has its own limit");
    cr_assert_eq(log.repeats_total, 7);
    for (unsigned i = 0; i < LOG_REPEATS_MAX + 3; i++) {
        (void)take(&log, buf, sizeof buf);
    }
    log.wall_ms += LOG_REPEATS_MS;
    cr_assert_eq(repeats(&log, one, 1), 1);
    struct slice text = take(&log, buf, sizeof buf);
    cr_assert(slice_equal(text, SLICE_LITERAL("one repeats-left-out=7")), "%.*s", SLICE_ARGS(text));
    log.wall_ms = 0; /* the calendar is set back */
    cr_assert_eq(repeats(&log, one, LOG_REPEATS_MAX), LOG_REPEATS_MAX);
    cr_assert_eq(log.dropped_total, 0);
    log_fini(&log);
}
