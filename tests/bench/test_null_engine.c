/* The null responder's engine: dialogues whole, split at every byte and byte by byte; the end of
 * content against a slow reference over every short string of the bytes that matter. */
#include "bench/null_engine.h"

#include <criterion/criterion.h>

enum { ROOM = 16384, STRING_MAX = 7 };

struct run {
    struct null_session session;
    uint8_t buf[ROOM];
    struct writer out;
    enum null_act act;
};

static void feed(struct run *run, const struct null_conf *conf, struct slice in)
{
    if (in.len > 0 && run->act == NULL_MORE) {
        run->act = null_feed(&run->session, conf, &in, &run->out);
    }
}

/* In pieces: up to split, then of step bytes each. */
static void talk(struct run *run, const struct null_conf *conf, struct slice in, size_t split,
                 size_t step)
{
    *run = (struct run){.act = NULL_MORE};
    run->out = writer_init(run->buf, sizeof run->buf);
    null_begin(&run->session, &run->out);
    feed(run, conf, slice_first(in, split));
    for (size_t at = split; at < in.len; at += step) {
        feed(run, conf, slice_first(slice_from(in, at), step));
    }
}

static void expect(const struct null_conf *conf, const char *input, const char *replies,
                   uint64_t messages, enum null_act act)
{
    static struct run run;
    struct slice in = slice_of_text(input);
    for (size_t split = 0; split <= in.len; split++) {
        for (size_t step = 1; step <= in.len; step = step == 1 ? in.len : in.len + 1) {
            talk(&run, conf, in, split, step);
            struct slice got = writer_slice(&run.out);
            cr_assert(slice_equal(got, slice_of_text(replies)), "split %zu step %zu: %.*s", split,
                      step, SLICE_ARGS(got));
            cr_assert_eq(run.session.messages, messages);
            cr_assert_eq(run.act, act);
        }
    }
}

#define BANNER "220 null.invalid ESMTP\r\n"
#define HELLO                                                                      \
    "250-null.invalid\r\n250-PIPELINING\r\n250-SIZE 104857600\r\n250-8BITMIME\r\n" \
    "250-SMTPUTF8\r\n250-CHUNKING\r\n"
#define LAST "250 ENHANCEDSTATUSCODES\r\n"
#define SENDER "250 2.1.0 Sender OK\r\n"
#define RCPT "250 2.1.5 Recipient OK\r\n"
#define GO "354 Send the message, end with <CRLF>.<CRLF>\r\n"
#define QUEUED "250 2.0.0 Queued as 0000000000000000\r\n"
#define BYE "221 2.0.0 Bye\r\n"

Test(null_engine, data_and_quit)
{
    expect(
        &(struct null_conf){0},
        "EHLO a.example\r\nMAIL FROM:<s@example.net>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n"
        "Subject: a line that is longer than one block of the scan, which has sixty-four bytes\r\n"
        "\r\n..dot\r\n.. \r\nx.\r\n.\r\nMAIL FROM:<>\r\nRSET\r\nNOOP\r\nQUIT\r\n",
        BANNER HELLO LAST SENDER RCPT GO QUEUED SENDER "250 2.0.0 OK\r\n250 2.0.0 OK\r\n" BYE, 1,
        NULL_QUIT);
}

Test(null_engine, chunks)
{
    expect(&(struct null_conf){0},
           "HELO a.example\r\nMAIL FROM:<s@example.net>\r\nRCPT TO:<b@example.org>\r\n"
           "BDAT 7\r\n\r\n.\r\nxyBDAT 0\r\nBDAT 3 LAST\r\nabcBDAT 0 LAST\r\nWHAT\r\n",
           BANNER HELLO LAST SENDER RCPT
           "250 2.0.0 Chunk taken\r\n250 2.0.0 Chunk taken\r\n" QUEUED QUEUED
           "500 5.5.2 Unknown command\r\n",
           2, NULL_MORE);
}

Test(null_engine, refused_recipients)
{
    expect(&(struct null_conf){.refuse_rcpts = true},
           "EHLO a.example\r\nMAIL FROM:<s@example.net>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n"
           "BDAT 2 LAST\r\nabQUIT\r\n",
           BANNER HELLO LAST SENDER
           "550 5.1.1 No such user here\r\n554 5.5.1 No valid recipients\r\n"
           "554 5.5.1 No valid recipients\r\n" BYE,
           0, NULL_QUIT);
}

Test(null_engine, starttls)
{
    expect(&(struct null_conf){.offer_starttls = true}, "EHLO a.example\r\nSTARTTLS\r\nNOOP\r\n",
           BANNER HELLO "250-STARTTLS\r\n" LAST "220 2.0.0 Ready to start TLS\r\n", 0,
           NULL_START_TLS);
    static struct run run;
    struct null_conf conf = {.offer_starttls = true};
    talk(&run, &conf, SLICE_LITERAL("STARTTLS\r\n"), 0, 64);
    null_tls_started(&run.session);
    run.act = NULL_MORE;
    run.out.len = 0;
    feed(&run, &conf, SLICE_LITERAL("EHLO a.example\r\n"));
    cr_assert(slice_equal(writer_slice(&run.out), SLICE_LITERAL(HELLO LAST)));
}

/* Replies that find no room wait. */
Test(null_engine, full)
{
    struct null_session session;
    uint8_t buf[NULL_REPLY_MAX + 16];
    struct writer out = writer_init(buf, sizeof buf);
    struct slice in = SLICE_LITERAL("NOOP\r\nNOOP\r\n");
    null_begin(&session, &out);
    cr_assert_eq(null_feed(&session, &(struct null_conf){0}, &in, &out), NULL_FULL);
    cr_assert_eq(in.len, 12);
}

/* Index behind the first end of content, after a line end; 0 = none. */
static size_t reference(const char *text, size_t len)
{
    for (size_t i = 0; i + 3 <= len; i++) {
        bool line_start = i == 0 || (i >= 2 && memcmp(text + i - 2, "\r\n", 2) == 0);
        if (line_start && memcmp(text + i, ".\r\n", 3) == 0) {
            return i + 3;
        }
    }
    return 0;
}

Test(null_engine, end_of_content_everywhere)
{
    static const char bytes[] = {'\r', '\n', '.', 'x'};
    struct null_conf conf = {0};
    char text[64 + STRING_MAX + 3];
    for (unsigned pad = 0; pad <= 64; pad += 61) { /* across the blocks of the scan */
        for (unsigned code = 0; code < 1U << (2 * STRING_MAX); code++) {
            memset(text, 'x', pad);
            for (unsigned i = 0; i < STRING_MAX; i++) {
                text[pad + i] = bytes[code >> (2 * i) & 3];
            }
            size_t len = pad + STRING_MAX;
            size_t end = reference(text, len);
            struct null_session session;
            uint8_t buf[1024];
            struct writer out = writer_init(buf, sizeof buf);
            struct slice in = SLICE_LITERAL("DATA\r\n");
            null_begin(&session, &out);
            (void)null_feed(&session, &conf, &in, &out);
            in = slice_of(text, len);
            (void)null_feed(&session, &conf, &in, &out);
            cr_assert_eq(session.messages > 0, end > 0, "%.*s", (int)len, text);
        }
    }
}
