/* SMTP: command lines, content, and a whole conversation with the engine. */
#include "bench/micro.h"
#include "core/check.h"
#include "smtp/cmd_parse.h"
#include "smtp/srv_engine.h"

#include <stdlib.h>

enum {
    MESSAGE_BYTES = 4096,
    LINE_BYTES = 76,
    CONTENT_MAX = 2 * MESSAGE_BYTES,
    LINE_MAX_BYTES = 4096
};

static const struct cmd_offer offer = {.esmtp = true, .dsn = true, .size_bytes_max = 104857600};

struct mail {
    uint8_t dotted[CONTENT_MAX], plain[CONTENT_MAX]; /* with and without dots put before dots */
    size_t dotted_len, plain_len;
    uint8_t talk[CONTENT_MAX + 512]; /* what a client sends for one message */
    size_t talk_len;
    struct srv srv;
    uint8_t out[8192];
};

static const struct srv_conf conf = {.limits = {.line_bytes_max = LINE_MAX_BYTES,
                                                .rcpts_max = 1000,
                                                .size_bytes_max = 104857600,
                                                .received_max = 50,
                                                .errors_max = 20,
                                                .offer_chunking = true,
                                                .offer_pipelining = true,
                                                .offer_dsn = true},
                                     .hostname = {(const uint8_t *)"mx.example.org", 14}};

/* A head and lines of text, of which one in sixteen begins with a dot. */
static void write_content(struct mail *mail)
{
    static const char head[] =
        "Received: from a.example by b.example; Mon, 2 Jun 2025 08:00:00 +0000\r\n"
        "From: Sender <sender@remote.example>\r\nTo: alice@example.org\r\n"
        "Subject: The quarterly figures\r\nMessage-ID: <1@remote.example>\r\n\r\n";
    struct writer plain = writer_init(mail->plain, MESSAGE_BYTES);
    struct writer dotted = writer_init(mail->dotted, sizeof mail->dotted);
    put_text(&plain, head);
    put_text(&dotted, head);
    for (unsigned line = 0; writer_room(&plain) >= LINE_BYTES + 2; line++) {
        char text[LINE_BYTES + 2];
        for (unsigned i = 0; i < LINE_BYTES; i++) {
            text[i] = (char)('a' + (i * 7 + line) % 26);
        }
        memcpy(text + LINE_BYTES, "\r\n", 2);
        if (line % 16 == 0) {
            text[0] = '.';
            put_char(&dotted, '.');
        }
        put_bytes(&plain, text, sizeof text);
        put_bytes(&dotted, text, sizeof text);
    }
    put_text(&dotted, ".\r\n");
    MX_ASSERT(!plain.overflow && !dotted.overflow);
    mail->plain_len = plain.len;
    mail->dotted_len = dotted.len;
}

static const char greeting[] = "EHLO client.remote.example\r\n";

static void *make(uint64_t size)
{
    struct mail *mail = micro_take(sizeof *mail);
    struct writer talk = writer_init(mail->talk, sizeof mail->talk);
    (void)size;
    write_content(mail);
    put_text(&talk, "MAIL FROM:<sender@remote.example> SIZE=4096 BODY=8BITMIME\r\n"
                    "RCPT TO:<alice.walker@example.org>\r\nDATA\r\n");
    put_bytes(&talk, mail->dotted, mail->dotted_len);
    MX_ASSERT(!talk.overflow);
    mail->talk_len = talk.len;
    return mail;
}

/* --- command lines -----------------------------------------------------------------------------
 */

static struct slice argument_of(struct slice in)
{
    struct slice line, verb, argument;
    MX_ASSERT(cmd_find_line(&line, in, LINE_MAX_BYTES) == CMD_LINE);
    cmd_split(&verb, &argument, line);
    MX_ASSERT(verb.len == 4);
    return argument;
}

enum { COMMANDS = 1000 };

static void run_ehlo(void *state)
{
    (void)state;
    for (unsigned i = 0; i < COMMANDS; i++) {
        struct slice in = SLICE_LITERAL("EHLO client.remote.example\r\nMAIL");
        MX_ASSERT(cmd_check_helo(argument_of(in)) == REPLY_OK);
    }
}

static void run_mail(void *state)
{
    uint8_t envid[ENVID_MAX];
    struct slice sender;
    struct mail_params params;
    (void)state;
    for (unsigned i = 0; i < COMMANDS; i++) {
        struct slice in =
            SLICE_LITERAL("MAIL FROM:<sender@remote.example> SIZE=4096 BODY=8BITMIME\r\nRCPT");
        MX_ASSERT(cmd_parse_mail(&sender, &params, envid, argument_of(in), &offer) == REPLY_OK);
        MX_ASSERT(params.size == 4096 && sender.len == 21);
    }
}

static void run_rcpt(void *state)
{
    struct slice rcpt;
    struct rcpt_params params;
    (void)state;
    for (unsigned i = 0; i < COMMANDS; i++) {
        struct slice in = SLICE_LITERAL("RCPT TO:<alice.walker@example.org>\r\nDATA");
        MX_ASSERT(cmd_parse_rcpt(&rcpt, &params, argument_of(in), &offer, false) == REPLY_OK);
        MX_ASSERT(rcpt.len == 24);
    }
}

/* --- content -----------------------------------------------------------------------------------
 */

enum { MESSAGES = 100 };

static size_t decode(struct data_stream *ds, struct slice in)
{
    size_t bytes = 0;
    while (!ds->done && in.len > 0) {
        bytes += data_stream_next(ds, &in).len;
    }
    return bytes;
}

static void run_data(void *state)
{
    const struct mail *mail = state;
    for (unsigned i = 0; i < MESSAGES; i++) {
        struct data_stream ds;
        data_stream_init(&ds, 0, true, false, false);
        MX_ASSERT(decode(&ds, slice_of(mail->dotted, mail->dotted_len)) == mail->plain_len);
        MX_ASSERT(ds.done && ds.received == 1 && !ds.bare_newline);
    }
}

static void run_bdat(void *state)
{
    const struct mail *mail = state;
    for (unsigned i = 0; i < MESSAGES; i++) {
        struct data_stream ds;
        data_stream_init(&ds, 0, false, false, false);
        MX_ASSERT(decode(&ds, slice_of(mail->plain, mail->plain_len)) == mail->plain_len);
        data_stream_finish(&ds);
        MX_ASSERT(ds.ends_in_crlf && ds.received == 1);
    }
}

/* --- a conversation ----------------------------------------------------------------------------
 */

static void talk(struct mail *mail, struct slice in)
{
    struct writer out = writer_init(mail->out, sizeof mail->out);
    enum srv_act act;
    size_t bytes = 0;
    while ((act = srv_next(&mail->srv, &in, &out)) == SRV_ASK) {
        bool end = mail->srv.ask.kind == SRV_ASK_END;
        bytes += mail->srv.ask.kind == SRV_ASK_BODY ? mail->srv.ask.text.len : 0;
        srv_answer(&mail->srv, REPLY_OK, end ? SLICE_LITERAL("0001000000000001") : SLICE_EMPTY,
                   &out);
    }
    MX_ASSERT(act == SRV_INPUT && in.len == 0 && out.len > 4);
    MX_ASSERT(bytes == 0 || (bytes == mail->plain_len && memcmp(mail->out, "250", 3) == 0));
}

static void ready_session(void *state)
{
    struct mail *mail = state;
    srv_init(&mail->srv, &conf, false);
    talk(mail, slice_of(greeting, sizeof greeting - 1));
}

static void run_session(void *state)
{
    struct mail *mail = state;
    for (unsigned i = 0; i < MESSAGES; i++) {
        talk(mail, slice_of(mail->talk, mail->talk_len));
    }
}

static const struct micro items[] = {
    {"command-ehlo", "EHLO line: found, split, checked", COMMANDS, 0, false, make, NULL, run_ehlo,
     free},
    {"command-mail", "MAIL line with two parameters", COMMANDS, 0, false, make, NULL, run_mail,
     free},
    {"command-rcpt", "RCPT line", COMMANDS, 0, false, make, NULL, run_rcpt, free},
    {"data-4k", "4 KiB of DATA decoded, one line in 16 dotted", MESSAGES, 0, false, make, NULL,
     run_data, free},
    {"bdat-4k", "4 KiB of BDAT checked", MESSAGES, 0, false, make, NULL, run_bdat, free},
    {"session-4k", "MAIL, RCPT, DATA and 4 KiB through the engine", MESSAGES, 0, false, make,
     ready_session, run_session, free},
};
const struct micro_group micro_mail = {items, mx_countof(items)};
