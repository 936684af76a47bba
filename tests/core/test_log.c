#include "core/log.h"

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
    char buf[LOG_LINE_BYTES + 64];
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
    char buf[LOG_LINE_BYTES + 64];
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
    char buf[LOG_LINE_BYTES + 64];
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
