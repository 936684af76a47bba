#include "core/log_field.h"
#include "core/text.h"
#include "core/trace.h"

#include <criterion/criterion.h>

static struct log logs;
static struct trace trace;

static struct qid id_of(uint64_t sequence)
{
    return (struct qid){.node = 1, .set = 2, .epoch = 3, .sequence = sequence};
}

static void size(size_t records)
{
    struct trace next = {0};
    cr_assert_eq(trace_prepare(&next, records * TRACE_RECORD_BYTES), MX_OK);
    trace_switch(&trace, &next);
}

static void begin(void)
{
    cr_assert_eq(log_init(&logs, 0, LOG_WARN), MX_OK);
    logs.trace = &trace;
    size(8); /* six for messages, two for sessions */
}

static void end(void)
{
    log_fini(&logs);
    trace_fini(&trace);
}

TestSuite(trace, .init = begin, .fini = end);

static void tell_message(uint64_t sequence)
{
    struct log_line *line = log_begin(&logs, LOG_INFO, "delivered");
    log_qid(line, "id", id_of(sequence));
    log_text(line, "to", "Bob@Example.org");
    log_end(&logs, line);
}

static void tell_session(uint64_t session)
{
    struct netaddr client;
    cr_assert_eq(netaddr_parse(&client, SLICE_LITERAL("192.0.2.7")), MX_OK);
    struct log_line *line = log_begin_trace(&logs, "command-refused");
    log_session(line, session);
    log_client(line, &client);
    log_end(&logs, line);
}

/* Also below the log's level, and when the log has no line left. */
Test(trace, keeps_what_is_not_written)
{
    char buf[LOG_TEXT_BYTES];
    struct writer w = writer_init(buf, sizeof buf);
    tell_message(1);
    cr_assert_not(log_take(&logs, &w), "nothing is written below the level");
    cr_assert_eq(trace.messages.next, 1);
    const struct trace_record *record = trace_get(&trace.messages, 0);
    cr_assert(qid_equal(record->subject.id, id_of(1)));
    cr_assert_str_eq(record->event, "delivered");
    for (unsigned i = 0; i < LOG_LINES + 3; i++) {
        struct log_line *line = log_begin(&logs, LOG_WARN, "postponed");
        log_qid(line, "id", id_of(i + 2));
        log_end(&logs, line);
    }
    cr_assert_eq(logs.dropped_total, 3);
    cr_assert_eq(trace.messages.next, LOG_LINES + 4);
}

Test(trace, lines_about_nobody_are_passed_over)
{
    struct log_line *line = log_begin(&logs, LOG_WARN, "next-hop-down");
    log_text(line, "route", "relay");
    log_end(&logs, line);
    cr_assert_eq(trace.messages.next + trace.sessions.next, 0);
}

Test(trace, a_flood_of_sessions_leaves_messages_alone)
{
    tell_message(1);
    for (uint64_t i = 1; i <= 1000; i++) {
        tell_session(i);
    }
    cr_assert_eq(trace_oldest(&trace.messages), 0);
    cr_assert_eq(trace_get(&trace.messages, 0)->subject.id.sequence, 1);
    cr_assert_eq(trace.sessions.next - trace_oldest(&trace.sessions), 2);
    cr_assert_eq(trace_get(&trace.sessions, 999)->subject.session, 1000);
}

/* A text that does not fit is cut; numbers behind it are left out; nothing is torn. */
Test(trace, long_lines_are_cut)
{
    static uint8_t reply[LOG_LINE_BYTES];
    char buf[LOG_TEXT_BYTES];
    memset(reply, 'x', sizeof reply);
    for (size_t len = 0; len < sizeof reply; len++) {
        struct log_line *line = log_begin_trace(&logs, "deferred");
        log_qid(line, "id", id_of(1));
        log_slice(line, "reply", slice_of(reply, len));
        log_u64(line, "code", 451);
        log_end(&logs, line);
        struct log_line out;
        static const struct log_style style = {.format = LOG_KEY_VALUE};
        const struct trace_record *record = trace_get(&trace.messages, trace.messages.next - 1);
        struct writer w = writer_init(buf, sizeof buf);
        trace_line(record, &out);
        log_render(&w, &style, 0, &out);
        cr_assert_not(w.overflow);
        buf[w.len] = '\0';
        bool whole = strstr(buf, " code=451\n") != NULL;
        bool cut = strstr(buf, "...\"\n") != NULL;
        cr_assert(record->len <= sizeof record->fields);
        cr_assert(whole || cut || record->len + 20UL > sizeof record->fields, "%zu: %s", len, buf);
        cr_assert(len < 200 ? whole : true, "%zu", len);
    }
}

Test(trace, another_size_keeps_the_newest)
{
    for (uint64_t i = 1; i <= 10; i++) {
        tell_message(i); /* numbers 4 to 9 are kept */
        tell_session(i);
    }
    size(16);
    cr_assert_eq(trace_oldest(&trace.messages), 4);
    cr_assert_eq(trace_get(&trace.messages, 4)->subject.id.sequence, 5);
    cr_assert_eq(trace_get(&trace.sessions, 9)->subject.session, 10);
    tell_message(11);
    cr_assert_eq(trace_oldest(&trace.messages), 4);
    cr_assert_eq(trace_get(&trace.messages, 10)->subject.id.sequence, 11);
    size(4);
    cr_assert_eq(trace_oldest(&trace.messages), 8);
    cr_assert_eq(trace_get(&trace.messages, 8)->subject.id.sequence, 9);
    tell_message(12);
    cr_assert_eq(trace_oldest(&trace.messages), 9);
    struct trace next = {0};
    cr_assert_eq(trace_prepare(&next, 4 * TRACE_RECORD_BYTES), MX_OK);
    cr_assert_eq(trace_prepare(&next, 5 * TRACE_RECORD_BYTES), MX_OK, "instead of the first");
    trace_switch(&trace, &next);
    cr_assert_eq(trace_get(&trace.messages, 11)->subject.id.sequence, 12);
    cr_assert_null(next.messages.records);
}

Test(trace, nothing_is_kept_without_room)
{
    size(0);
    tell_message(1);
    tell_session(1);
    cr_assert_eq(trace.messages.next + trace.sessions.next, 0);
    cr_assert_eq(trace_oldest(&trace.messages), 0);
}

Test(trace, texts_by_key)
{
    static const char *const keys[] = {"from", "to"};
    tell_message(1);
    const struct trace_record *record = trace_get(&trace.messages, 0);
    cr_assert(trace_has_text(record, keys, 2, SLICE_LITERAL("bob@example.ORG")));
    cr_assert_not(trace_has_text(record, keys, 1, SLICE_LITERAL("bob@example.org")));
    cr_assert_not(trace_has_text(record, keys, 2, SLICE_LITERAL("bob@example.or")));
}
