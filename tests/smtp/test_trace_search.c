#include "smtp/trace_search.h"

#include <criterion/criterion.h>

static struct log logs;
static struct trace trace;
static struct trace_record found[TRACE_FOUND_MAX];
static struct trace_search search;

static void begin(void)
{
    struct trace next = {0};
    cr_assert_eq(log_init(&logs, 0, LOG_INFO), MX_OK);
    cr_assert_eq(trace_prepare(&next, 16384 * TRACE_RECORD_BYTES), MX_OK);
    trace_switch(&trace, &next);
    logs.trace = &trace;
}

static void end(void)
{
    log_fini(&logs);
    trace_fini(&trace);
}

TestSuite(trace_search, .init = begin, .fini = end);

static struct qid id_of(uint64_t sequence)
{
    return (struct qid){.node = 1, .epoch = 1, .sequence = sequence};
}

static struct log_line *tell(const char *event, uint64_t id, uint64_t of)
{
    struct log_line *line = log_begin_trace(&logs, event);
    logs.wall_ms++;
    if (id != 0) {
        log_qid(line, "id", id_of(id));
    }
    if (of != 0) {
        log_qid(line, "of", id_of(of));
    }
    return line;
}

static void tell_arrival(uint64_t id, uint64_t session, const char *from)
{
    struct log_line *line = tell("received", id, 0);
    log_session(line, session);
    log_text(line, "from", from);
    log_end(&logs, line);
}

static void tell_outcome(uint64_t id, const char *to)
{
    struct log_line *line = tell("delivered", id, 0);
    log_text(line, "to", to);
    log_end(&logs, line);
}

static void tell_refusal(uint64_t session, const char *client, const char *address)
{
    struct netaddr addr;
    cr_assert_eq(netaddr_parse(&addr, slice_of_text(client)), MX_OK);
    struct log_line *line = tell("command-refused", 0, 0);
    log_session(line, session);
    log_client(line, &addr);
    log_text(line, "address", address);
    log_end(&logs, line);
}

/* Runs it to the end; the events found, oldest first in each ring, joined by blanks. */
static const char *run(const struct trace_query *query)
{
    static char text[4096];
    struct writer w = writer_init(text, sizeof text - 1);
    search = (struct trace_search){.query = query, .found = found};
    while (!trace_search_piece(&search, &trace)) {
    }
    for (size_t i = 0; i < search.count && i < 20; i++) {
        const struct trace_record *record = &found[TRACE_FOUND_MAX - search.count + i];
        put_text(&w, i > 0 ? " " : "");
        put_text(&w, record->event);
        put_decimal(&w, record->subject.id.sequence);
    }
    text[w.len] = '\0';
    return text;
}

/* A message with the session that it came by, and the report that came of it with its own end. */
Test(trace_search, message)
{
    tell_refusal(7, "192.0.2.1", "nobody@example.org");
    tell_arrival(10, 7, "a@example.net");
    tell_arrival(11, 8, "b@example.net");
    tell_outcome(11, "x@example.org");
    tell_outcome(10, "bob@example.org");
    log_end(&logs, tell("dsn-queued", 12, 10));
    tell_outcome(12, "a@example.net");
    cr_assert_str_eq(run(&(struct trace_query){.id = id_of(10)}),
                     "command-refused0 received10 delivered10 dsn-queued12 delivered12");
    cr_assert_str_eq(run(&(struct trace_query){.id = id_of(12)}), "dsn-queued12 delivered12");
    cr_assert_str_eq(run(&(struct trace_query){.id = id_of(99)}), "");
    cr_assert_eq(search.oldest_ms, 1);
}

Test(trace_search, address)
{
    tell_refusal(3, "192.0.2.1", "Bob@example.org");
    tell_arrival(10, 4, "a@example.net");
    tell_outcome(10, "carol@example.org");
    tell_outcome(10, "bob@example.org");
    tell_arrival(11, 5, "a@example.net");
    tell_outcome(11, "carol@example.org");
    cr_assert_str_eq(run(&(struct trace_query){.address = SLICE_LITERAL("bob@EXAMPLE.org")}),
                     "command-refused0 received10 delivered10 delivered10");
    cr_assert_str_eq(run(&(struct trace_query){.address = SLICE_LITERAL("a@example.net")}),
                     "received10 delivered10 delivered10 received11 delivered11");
}

/* What came of it, however it was asked for: mail to a list's members, and the report about that.
 */
Test(trace_search, offspring)
{
    tell_refusal(7, "192.0.2.1", "nobody@example.org");
    tell_arrival(10, 7, "a@example.net");
    tell_outcome(10, "list@example.org");
    log_end(&logs, tell("list-sent", 11, 10));
    tell_outcome(11, "member@example.org");
    log_end(&logs, tell("dsn-queued", 12, 11));
    tell_outcome(12, "owner@example.org");
    tell_outcome(13, "somebody@example.org");
    const char *all = "command-refused0 received10 delivered10 list-sent11 delivered11 "
                      "dsn-queued12 delivered12";
    cr_assert_str_eq(run(&(struct trace_query){.id = id_of(10)}), all);
    cr_assert_str_eq(run(&(struct trace_query){.address = SLICE_LITERAL("list@example.org")}), all);
    cr_assert_str_eq(run(&(struct trace_query){.id = id_of(12)}), "dsn-queued12 delivered12");
}

Test(trace_search, client_and_network)
{
    struct trace_query query = {.id = {.sequence = 0}};
    tell_refusal(1, "192.0.2.1", "x@example.org");
    tell_refusal(2, "192.0.2.200", "x@example.org");
    tell_refusal(3, "198.51.100.1", "x@example.org");
    cr_assert_eq(netmask_parse(&query.client, SLICE_LITERAL("192.0.2.0/24")), MX_OK);
    (void)run(&query);
    cr_assert_eq(search.count, 2);
    cr_assert_eq(netmask_parse(&query.client, SLICE_LITERAL("198.51.100.1")), MX_OK);
    (void)run(&query);
    cr_assert_eq(search.count, 1);
    cr_assert_eq(found[TRACE_FOUND_MAX - 1].subject.session, 3);
}

/* The newest are told, and that there are more. */
Test(trace_search, more_than_fits)
{
    for (uint64_t i = 1; i <= TRACE_SUBJECTS_MAX + 50; i++) {
        tell_arrival(i, i, "a@example.net");
    }
    (void)run(&(struct trace_query){.address = SLICE_LITERAL("a@example.net")});
    cr_assert_eq(search.count, TRACE_SUBJECTS_MAX);
    cr_assert(search.more);
    cr_assert_eq(found[TRACE_FOUND_MAX - search.count].subject.id.sequence, 51);
    for (unsigned i = 0; i < TRACE_FOUND_MAX + 5; i++) {
        tell_outcome(5, "bob@example.org");
    }
    (void)run(&(struct trace_query){.id = id_of(5)});
    cr_assert_eq(search.count, TRACE_FOUND_MAX);
    cr_assert(search.more);
    (void)run(&(struct trace_query){.id = id_of(6)});
    cr_assert_not(search.more);
}

/* While it looks, records come in, until none of the old ones is left. */
Test(trace_search, the_ring_goes_on_meanwhile)
{
    struct trace_query query = {.id = id_of(1)};
    for (unsigned i = 0; i < 12288; i++) {
        tell_outcome(1, "bob@example.org");
    }
    search = (struct trace_search){.query = &query, .found = found};
    unsigned pieces = 0;
    while (!trace_search_piece(&search, &trace)) {
        for (unsigned i = 0; i < 3000; i++) {
            tell_outcome(2, "carol@example.org");
        }
        cr_assert_lt(++pieces, 100);
    }
    cr_assert_gt(pieces, 2);
    for (size_t i = 0; i < search.count; i++) {
        cr_assert_eq(found[TRACE_FOUND_MAX - search.count + i].subject.id.sequence, 1);
    }
}
