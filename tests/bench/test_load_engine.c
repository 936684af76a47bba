/* The client engine of the load: dialogues with a server that is a script, whole and byte by byte.
 * A script is a list of what the client must have written and what is answered then. */
#include "bench/dice.h"
#include "bench/load_engine.h"

#include <criterion/criterion.h>
#include <stdio.h>

enum { ROOM = 16384, RCPTS = 3 };

#define EHLO_ALL \
    "250-x\r\n250-PIPELINING\r\n250-CHUNKING\r\n250-SIZE 1000\r\n250-8BITMIME\r\n250 STARTTLS\r\n"
#define EHLO_DATA "250-x\r\n250 pipelining\r\n"

struct exchange {
    const char *wants, *answer; /* wants: all that was written since the last answer */
};

struct run {
    struct load_engine engine;
    struct load_engine_conf conf;
    uint8_t out_buf[ROOM];
    struct writer out;
    size_t out_seen;
    const char *content, *dotted;
    size_t content_at;
    uint32_t rcpts;
    unsigned messages, done; /* to send; ended */
    uint16_t codes[RCPTS], final_code;
    char replies[256]; /* "verb code " of each */
    bool closed, tls, has_8bit;
};

static const char verb_letters[] = "BESMRDXrQ"; /* by enum load_verb */

static void begin(struct run *run)
{
    static const struct load_rcpt rcpts[RCPTS] = {{SLICE_LITERAL("a@x"), SLICE_EMPTY},
                                                  {SLICE_LITERAL("unknown"), SLICE_LITERAL("@x")},
                                                  {SLICE_LITERAL("c@x"), SLICE_EMPTY}};
    struct load_message msg = {.sender = SLICE_LITERAL("s@x"),
                               .rcpts = rcpts,
                               .rcpt_count = run->rcpts,
                               .content_bytes = strlen(run->content),
                               .dotted_bytes = strlen(run->dotted),
                               .has_8bit = run->has_8bit};
    run->content_at = 0;
    load_engine_begin(&run->engine, &msg, run->codes);
}

static void note_reply(struct run *run)
{
    char text[16];
    (void)snprintf(text, sizeof text, "%c%u ", verb_letters[run->engine.verb], run->engine.code);
    cr_assert_lt(strlen(run->replies) + strlen(text), sizeof run->replies);
    strcat(run->replies, text);
}

static void body(struct run *run)
{
    const char *text = load_engine_chunked(&run->engine) ? run->content : run->dotted;
    size_t len = strlen(text + run->content_at);
    cr_assert_gt(len, 0);
    len = load_engine_body(&run->engine, len > 7 ? 7 : len);
    put_bytes(&run->out, text + run->content_at, len);
    run->content_at += len;
}

/* Until it waits for input, or is over. */
static void drive(struct run *run, struct slice *in)
{
    for (;;) {
        switch (load_engine_next(&run->engine, in, &run->out)) {
        case LOAD_INPUT:
            return;
        case LOAD_REPLY:
            note_reply(run);
            break;
        case LOAD_READY:
            if (run->done == run->messages) {
                load_engine_quit(&run->engine);
            } else {
                begin(run);
            }
            break;
        case LOAD_BODY:
            body(run);
            break;
        case LOAD_DONE:
            run->done++;
            run->final_code = run->engine.final_code;
            break;
        case LOAD_START_TLS:
            run->tls = true;
            in->len = 0;
            load_engine_tls_started(&run->engine);
            break;
        case LOAD_CLOSE:
            run->closed = true;
            return;
        case LOAD_FLUSH:
            break;
        }
    }
}

static void feed(struct run *run, const char *text, size_t piece)
{
    uint8_t pending[ROOM];
    size_t held = 0;
    for (size_t at = 0, len = strlen(text); at < len && !run->closed; at += piece) {
        size_t part = len - at < piece ? len - at : piece;
        memcpy(pending + held, text + at, part);
        struct slice in = slice_of(pending, held + part);
        drive(run, &in);
        memmove(pending, in.ptr, in.len);
        held = in.len;
    }
}

static void play(struct run *run, const struct exchange *script, size_t count, size_t piece)
{
    struct slice none = SLICE_EMPTY;
    run->out = writer_init(run->out_buf, sizeof run->out_buf);
    run->out_seen = 0;
    run->messages = run->messages == 0 ? 1 : run->messages;
    run->done = 0;
    run->replies[0] = '\0';
    run->closed = run->tls = false;
    load_engine_init(&run->engine, &run->conf, false);
    drive(run, &none);
    for (size_t i = 0; i < count; i++) {
        struct slice got = slice_from(writer_slice(&run->out), run->out_seen);
        cr_assert(slice_equal(got, slice_of_text(script[i].wants)),
                  "exchange %zu: got '%.*s', expected '%s'", i, SLICE_ARGS(got), script[i].wants);
        run->out_seen = run->out.len;
        feed(run, script[i].answer, piece);
    }
    cr_assert_eq(run->out.len, run->out_seen, "more was written: '%.*s'",
                 SLICE_ARGS(slice_from(writer_slice(&run->out), run->out_seen)));
}

#define PLAY(run, script)                                 \
    for (size_t piece = 1; piece <= ROOM; piece *= 128) { \
        play(run, script, mx_countof(script), piece);     \
    }

static struct run new_run(void)
{
    return (struct run){.conf = {.ehlo_name = SLICE_LITERAL("c"), .pipelining = PIPELINING_GROUP},
                        .content = ".a\r\nbb\r\n",
                        .dotted = "..a\r\nbb\r\n",
                        .rcpts = 1};
}

Test(load_engine, data_in_groups)
{
    static const struct exchange script[] = {
        {"", "220 hi\r\n"},
        {"EHLO c\r\n", EHLO_DATA},
        {"MAIL FROM:<s@x>\r\nRCPT TO:<a@x>\r\nRCPT TO:<unknown@x>\r\nDATA\r\n",
         "250 1\r\n250 2\r\n550-no\r\n550 no\r\n354 go\r\n"},
        {"..a\r\nbb\r\n.\r\n", "250 ok\r\n"},
        {"QUIT\r\n", "221 bye\r\n"},
    };
    struct run run = new_run();
    run.rcpts = 2;
    PLAY(&run, script);
    cr_assert_str_eq(run.replies, "B220 E250 M250 R250 R550 D354 X250 Q221 ");
    cr_assert(run.codes[0] == 250 && run.codes[1] == 550 && run.final_code == 250);
    cr_assert(run.closed);
}

Test(load_engine, data_one_by_one)
{
    static const struct exchange script[] = {
        {"", "220 hi\r\n"},
        {"EHLO c\r\n", "250-x\r\n250-SIZE\r\n250 8BITMIME\r\n"},
        {"MAIL FROM:<s@x> SIZE=8 BODY=8BITMIME\r\n", "250 1\r\n"},
        {"RCPT TO:<a@x>\r\n", "250 2\r\n"},
        {"RCPT TO:<unknown@x>\r\n", "250 3\r\n"},
        {"DATA\r\n", "354 go\r\n"},
        {"..a\r\nbb\r\n.\r\n", "451 later\r\n"},
        {"RSET\r\n", "250 ok\r\n"},
        {"QUIT\r\n", "221 bye\r\n"},
    };
    struct run run = new_run();
    run.rcpts = 2;
    run.has_8bit = true;
    PLAY(&run, script);
    cr_assert_eq(run.final_code, 451);
}

Test(load_engine, chunks)
{
    static const struct exchange group[] = {
        {"", "220 hi\r\n"},
        {"EHLO c\r\n", EHLO_ALL},
        {"MAIL FROM:<s@x> SIZE=8\r\nRCPT TO:<a@x>\r\n", "250 1\r\n250 2\r\n"},
        {"BDAT 3\r\n.a\rBDAT 3\r\n\nbbBDAT 2 LAST\r\n\r\n", "250 1\r\n250 2\r\n250 3\r\n"},
        {"QUIT\r\n", "221 bye\r\n"},
    };
    static const struct exchange one_by_one[] = {
        {"", "220 hi\r\n"},
        {"EHLO c\r\n", "250-x\r\n250 CHUNKING\r\n"},
        {"MAIL FROM:<s@x>\r\n", "250 1\r\n"},
        {"RCPT TO:<a@x>\r\n", "250 2\r\n"},
        {"BDAT 3\r\n.a\r", "250 1\r\n"},
        {"BDAT 3\r\n\nbb", "250 2\r\n"},
        {"BDAT 2 LAST\r\n\r\n", "250 3\r\n"},
        {"QUIT\r\n", "221 bye\r\n"},
    };
    static const struct exchange full[] = {
        {"", "220 hi\r\n"},
        {"EHLO c\r\n", EHLO_ALL},
        {"MAIL FROM:<s@x> SIZE=8\r\nRCPT TO:<a@x>\r\nBDAT 8 LAST\r\n.a\r\nbb\r\n",
         "250 1\r\n250 2\r\n250 3\r\n"},
        {"QUIT\r\n", "221 bye\r\n"},
    };
    struct run run = new_run();
    run.conf.chunking = true;
    run.conf.chunk_bytes = 3;
    PLAY(&run, group);
    cr_assert_str_eq(run.replies, "B220 E250 M250 R250 D250 D250 X250 Q221 ");
    PLAY(&run, one_by_one);
    run.conf.chunk_bytes = 0;
    run.conf.pipelining = PIPELINING_FULL;
    PLAY(&run, full);
    cr_assert_eq(run.final_code, 250);
}

Test(load_engine, a_chunk_that_is_refused_decides)
{
    static const struct exchange script[] = {
        {"", "220 hi\r\n"},
        {"EHLO c\r\n", "250-x\r\n250 CHUNKING\r\n"},
        {"MAIL FROM:<s@x>\r\n", "250 1\r\n"},
        {"RCPT TO:<a@x>\r\n", "250 2\r\n"},
        {"BDAT 3\r\n.a\r", "552 no\r\n"},
        {"RSET\r\n", "250 ok\r\n"},
        {"QUIT\r\n", "221 bye\r\n"},
    };
    static const struct exchange lost[] = {
        {"", "220 hi\r\n"},
        {"EHLO c\r\n", "250-x\r\n250 CHUNKING\r\n"},
        {"MAIL FROM:<s@x>\r\n", "250 1\r\n"},
        {"RCPT TO:<a@x>\r\n", "250 2\r\n"},
        {"BDAT 3\r\n.a\r", "250 1\r\n"},
        {"BDAT 3\r\n\nbb", ""},
    };
    struct run run = new_run();
    run.conf.chunking = true;
    run.conf.chunk_bytes = 3;
    PLAY(&run, script);
    cr_assert_eq(run.final_code, 552);
    PLAY(&run, lost);
    cr_assert_eq(run.engine.final_code, 0, "the reply to a part is not one to the message");
}

Test(load_engine, nobody_is_accepted)
{
    static const struct exchange data[] = {
        {"", "220 hi\r\n"},
        {"EHLO c\r\n", EHLO_DATA},
        {"MAIL FROM:<s@x>\r\nRCPT TO:<a@x>\r\nDATA\r\n", "250 1\r\n550 2\r\n503 no\r\n"},
        {"RSET\r\n", "250 ok\r\n"},
        {"QUIT\r\n", "221 bye\r\n"},
    };
    static const struct exchange go_ahead[] = {
        {"", "220 hi\r\n"},
        {"EHLO c\r\n", EHLO_DATA},
        {"MAIL FROM:<s@x>\r\nRCPT TO:<a@x>\r\nDATA\r\n", "250 1\r\n550 2\r\n354 go\r\n"},
        {".\r\n", "554 nobody\r\n"},
        {"RSET\r\n", "250 ok\r\n"},
        {"QUIT\r\n", "221 bye\r\n"},
    };
    static const struct exchange bdat[] = {
        {"", "220 hi\r\n"},
        {"EHLO c\r\n", EHLO_ALL},
        {"MAIL FROM:<s@x> SIZE=8\r\nRCPT TO:<a@x>\r\n", "250 1\r\n550 2\r\n"},
        {"RSET\r\n", "250 ok\r\n"},
        {"QUIT\r\n", "221 bye\r\n"},
    };
    struct run run = new_run();
    PLAY(&run, data);
    cr_assert_eq(run.codes[0], 550);
    PLAY(&run, go_ahead);
    cr_assert_eq(run.codes[0], 550);
    run.conf.chunking = true;
    PLAY(&run, bdat);
    cr_assert_eq(run.codes[0], 550);
}

Test(load_engine, mail_is_refused)
{
    static const struct exchange script[] = {
        {"", "220 hi\r\n"},
        {"EHLO c\r\n", EHLO_DATA},
        {"MAIL FROM:<s@x>\r\nRCPT TO:<a@x>\r\nRCPT TO:<unknown@x>\r\nDATA\r\n",
         "452 full\r\n503 1\r\n503 2\r\n503 3\r\n"},
        {"QUIT\r\n", "221 bye\r\n"},
    };
    struct run run = new_run();
    run.rcpts = 2;
    PLAY(&run, script);
    cr_assert(run.codes[0] == 452 && run.codes[1] == 452);
}

Test(load_engine, starttls)
{
    static const struct exchange script[] = {
        {"", "220 hi\r\n"},
        {"EHLO c\r\n", EHLO_ALL},
        {"STARTTLS\r\n", "220 go\r\n250 injected\r\n"},
        {"EHLO c\r\n", "250 x\r\n"}, /* what was offered in clear does not count */
        {"MAIL FROM:<s@x>\r\n", "421 bye\r\n"},
    };
    static const struct exchange missing[] = {
        {"", "220 hi\r\n"},
        {"EHLO c\r\n", EHLO_DATA},
    };
    struct run run = new_run();
    run.conf.starttls = run.conf.chunking = true;
    play(&run, script, mx_countof(script), ROOM);
    cr_assert(run.tls && run.closed);
    cr_assert_eq(run.codes[0], 421);
    cr_assert_eq(run.final_code, 421);
    PLAY(&run, missing);
    cr_assert(run.closed && run.done == 0);
}

Test(load_engine, ends_early)
{
    static const struct exchange banner[] = {{"", "554 no\r\n"}};
    static const struct exchange nonsense[] = {{"", "HTTP/1.1 400 Bad Request\r\n"}};
    static const struct exchange shutdown[] = {
        {"", "220 hi\r\n"},
        {"EHLO c\r\n", EHLO_DATA},
        {"MAIL FROM:<s@x>\r\nRCPT TO:<a@x>\r\nDATA\r\n", "250 1\r\n421 bye\r\n"},
    };
    static const struct exchange helo[] = {
        {"", "220 hi\r\n"},
        {"EHLO c\r\n", "502 what\r\n"},
        {"HELO c\r\n", "250 x\r\n"},
        {"MAIL FROM:<s@x>\r\n", "421 bye\r\n"},
    };
    struct run run = new_run();
    PLAY(&run, banner);
    cr_assert(run.closed && run.done == 0);
    PLAY(&run, nonsense);
    cr_assert(run.closed && run.done == 0);
    PLAY(&run, shutdown);
    cr_assert(run.closed && run.done == 1);
    cr_assert_eq(run.codes[0], 421);
    PLAY(&run, helo);
    cr_assert(run.closed);
}

/* A server that says anything at any time: the engine neither hangs nor breaks, and content is
 * never more than was announced. */
Test(load_engine, survives_any_server)
{
    static const char *const lines[] = {
        "220 x\r\n",
        "250 x\r\n",
        "250-PIPELINING\r\n",
        "250-CHUNKING\r\n",
        "250 STARTTLS\r\n",
        "250-SIZE 5\r\n",
        "354 x\r\n",
        "354 x\n",
        "421 x\r\n",
        "450 x\r\n",
        "550-x\r\n550 x\r\n",
        "552 x\r\n",
        "999 x\r\n",
        "000\r\n",
        "250\r\n",
        "\r\n",
        "25",
        "2x0 x\r\n",
        "250_x\r\n",
        "HTTP/1.1\r\n",
    };
    struct dice dice = {.state = 1};
    unsigned ended = 0, messages = 0;
    for (unsigned round = 0; round < 30000; round++) {
        struct run run = new_run();
        run.conf.pipelining = (enum load_pipelining)dice_below(&dice, 3);
        run.conf.chunking = dice_below(&dice, 2) == 0;
        run.conf.chunk_bytes = dice_below(&dice, 5);
        run.conf.starttls = dice_below(&dice, 8) == 0;
        run.rcpts = 1 + (uint32_t)dice_below(&dice, RCPTS);
        run.messages = 3;
        run.out = writer_init(run.out_buf, sizeof run.out_buf);
        load_engine_init(&run.engine, &run.conf, false);
        feed(&run, "220 hi\r\n", ROOM);
        for (unsigned i = 0; i < 60 && !run.closed; i++) {
            /* Mostly what fits, so that it gets somewhere. */
            bool data = (run.engine.written & 1U << LOAD_VERB_DATA) != 0;
            run.engine.written = 0;
            uint64_t any = dice_below(&dice, 3 * mx_countof(lines));
            feed(&run,
                 any < mx_countof(lines) ? lines[any]
                 : data                  ? "354 x\r\n"
                                         : "250 x\r\n",
                 1 + dice_below(&dice, 9));
            run.replies[0] = '\0';
        }
        ended += run.closed;
        messages += run.done;
        cr_assert_leq(run.done, run.messages);
    }
    cr_assert_gt(ended, 20000);
    cr_assert_gt(messages, 10000);
}
