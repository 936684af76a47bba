/* The sink's protocol engine: dialogues whole, split at every byte and byte by byte; its decoder of
 * dotted content against a slow reference over every short string of the bytes that matter. */
#include "bench/sink_engine.h"

#include <criterion/criterion.h>

enum { ROOM = 8192, STRING_MAX = 7 };

struct run {
    struct sink_engine engine;
    uint8_t replies_buf[ROOM];
    struct writer replies;
    uint8_t content[ROOM];
    size_t content_len;
    char events[256]; /* a letter for each act */
    size_t event_count;
    bool closed;
};

static void event(struct run *run, char letter)
{
    cr_assert_lt(run->event_count, sizeof run->events - 1);
    run->events[run->event_count++] = letter;
    run->events[run->event_count] = '\0';
}

static void on_act(struct run *run, enum sink_act act)
{
    struct slice text = run->engine.text;
    switch (act) {
    case SINK_SENDER:
        event(run, 'S');
        break;
    case SINK_RECIPIENT:
        event(run, 'R');
        break;
    case SINK_CONTENT:
        cr_assert_leq(run->content_len + text.len, ROOM);
        memcpy(run->content + run->content_len, text.ptr, text.len);
        run->content_len += text.len;
        break;
    case SINK_END:
        event(run, 'E');
        break;
    case SINK_RESULT:
        event(run, run->engine.answered ? 'Y' : run->engine.taken ? 'L' : 'N');
        break;
    case SINK_DONE:
        event(run, 'D');
        break;
    case SINK_FORGET:
        event(run, 'F');
        break;
    case SINK_DELAY:
        event(run, 'd');
        break;
    default:
        break;
    }
}

/* Shows the engine what there is; returns how much it used. */
static size_t feed(struct run *run, struct slice in)
{
    size_t before = in.len;
    enum sink_act act;
    do {
        act = sink_engine_next(&run->engine, &in, &run->replies, SLICE_LITERAL("rcpt"));
        cr_assert_neq(act, SINK_FLUSH);
        on_act(run, act);
    } while (act != SINK_INPUT && act != SINK_CLOSE);
    run->closed = act == SINK_CLOSE;
    return before - in.len;
}

/* The input comes in pieces that end at `cut` and then every `step` bytes. */
static void play(struct run *run, const struct sink_engine_conf *conf, struct slice in, size_t cut,
                 size_t step)
{
    *run = (struct run){0};
    run->replies = writer_init(run->replies_buf, sizeof run->replies_buf);
    sink_engine_init(&run->engine, conf);
    size_t used = 0, shown = 0;
    (void)feed(run, SLICE_EMPTY);
    for (shown = mx_min_size(cut, in.len); !run->closed;
         shown = mx_min_size(shown + step, in.len)) {
        used += feed(run, slice_of(in.ptr + used, shown - used));
        if (shown == in.len) {
            break;
        }
    }
}

/* The codes of the replies, in order, "250 250 354 ". Continuation lines do not count. */
static void codes_of(const struct run *run, char *out, size_t room)
{
    struct slice rest = writer_slice(&run->replies);
    size_t len = 0;
    while (rest.len > 0) {
        size_t lf = slice_find(rest, '\n');
        cr_assert_lt(lf, rest.len);
        if (rest.ptr[3] == ' ') {
            cr_assert_lt(len + 4, room);
            memcpy(out + len, rest.ptr, 4);
            len += 4;
        }
        rest = slice_from(rest, lf + 1);
    }
    out[len] = '\0';
}

struct dialogue {
    const char *name;
    const char *faults[4];
    bool lmtp;
    const char *in, *codes, *events, *content;
    bool closed;
};

#define HELLO "EHLO x\r\n"
#define ENVELOPE "MAIL FROM:<a@b> SIZE=5\r\nRCPT TO:<c@d>\r\nRCPT TO:<e@f>\r\n"

static const struct dialogue dialogues[] = {
    {"data",
     {0},
     false,
     HELLO ENVELOPE "DATA\r\n..x\r\n.\r\nQUIT\r\n",
     "220 250 250 250 250 354 250 221 ",
     "SRREYYD",
     ".x\r\n",
     true},
    {"chunks",
     {0},
     false,
     HELLO ENVELOPE "BDAT 4\r\n.\r\n.BDAT 0 LAST\r\nNOOP\r\n",
     "220 250 250 250 250 250 250 250 ",
     "SRREYYD",
     ".\r\n.",
     false},
    {"two messages",
     {0},
     false,
     HELLO ENVELOPE "DATA\r\n.\r\n" ENVELOPE "DATA\r\na\r\n.\r\n",
     "220 250 250 250 250 354 250 250 250 250 354 250 ",
     "SRREYYDSRREYYD",
     "a\r\n",
     false},
    {"reset",
     {0},
     false,
     HELLO ENVELOPE "RSET\r\nDATA\r\n",
     "220 250 250 250 250 250 503 ",
     "SRRF",
     "",
     false},
    {"order",
     {0},
     false,
     "MAIL FROM:<a@b>\r\nRCPT TO:<a@b>\r\nDATA\r\nLHLO x\r\nNONSENSE\r\n",
     "220 503 503 503 500 500 ",
     "",
     "",
     false},
    {"chunk without recipients",
     {0},
     false,
     HELLO "BDAT 6 LAST\r\nQUIT\r\nNOOP\r\n",
     "220 250 503 250 ",
     "",
     "",
     false},
    {"bad chunk",
     {0},
     false,
     HELLO ENVELOPE "BDAT x\r\nNOOP\r\n",
     "220 250 250 250 250 501 ",
     "SRR",
     "",
     true},
    {"too big",
     {0},
     false,
     HELLO ENVELOPE "DATA\r\n0123456789012345678901234567890\r\n.\r\nNOOP\r\n",
     "220 250 250 250 250 354 552 250 ",
     "SRRF",
     "",
     false},
    {"lmtp",
     {"eod:452:100%:rcpt"},
     true,
     "LHLO x\r\n" ENVELOPE "DATA\r\n.\r\nNOOP\r\n",
     "220 250 250 250 250 354 452 452 250 ",
     "SRRENND",
     "",
     false},
    {"lost",
     {"eod:lost"},
     false,
     HELLO ENVELOPE "DATA\r\na\r\n.\r\nNOOP\r\n",
     "220 250 250 250 250 354 ",
     "SRRELLD",
     "a\r\n",
     true},
    {"lost under lmtp",
     {"eod:lost"},
     true,
     "LHLO x\r\n" ENVELOPE "BDAT 1 LAST\r\naNOOP\r\n",
     "220 250 250 250 250 ",
     "SRRELLD",
     "a",
     true},
    {"421 at the end",
     {"eod:421"},
     true,
     "LHLO x\r\n" ENVELOPE "DATA\r\n.\r\nNOOP\r\n",
     "220 250 250 250 250 354 421 ",
     "SRRENND",
     "",
     true},
    {"mute",
     {"rcpt:silent:100%:e@f"},
     false,
     HELLO ENVELOPE "DATA\r\nNOOP\r\n",
     "220 250 250 250 ",
     "SR",
     "",
     false},
    {"drop",
     {"data:drop"},
     false,
     HELLO ENVELOPE "DATA\r\nNOOP\r\n",
     "220 250 250 250 250 ",
     "SRR",
     "",
     true},
    {"refused chunk",
     {"data:4xx"},
     false,
     HELLO ENVELOPE "BDAT 3 LAST\r\nabcNOOP\r\n",
     "220 250 250 250 250 451 250 ",
     "SRRF",
     "",
     false},
    {"delay",
     {"rcpt:delay=100", "rcpt:5xx:100%:e@f"},
     false,
     HELLO ENVELOPE "NOOP\r\n",
     "220 250 250 250 550 250 ",
     "SdRd",
     "",
     false},
};

static void check_dialogue(const struct dialogue *d, size_t cut, size_t step)
{
    struct fault_plan faults = {0};
    struct sink_engine_conf conf = {.hostname = SLICE_LITERAL("sink"),
                                    .lmtp = d->lmtp,
                                    .offer_pipelining = true,
                                    .size_bytes_max = 30,
                                    .faults = &faults};
    static struct run run;
    char codes[256];
    for (size_t i = 0; i < mx_countof(d->faults) && d->faults[i] != NULL; i++) {
        cr_assert_eq(fault_add(&faults, slice_of_text(d->faults[i])), MX_OK);
    }
    play(&run, &conf, slice_of_text(d->in), cut, step);
    codes_of(&run, codes, sizeof codes);
    cr_assert_str_eq(codes, d->codes, "%s, cut %zu: %s", d->name, cut, codes);
    cr_assert_str_eq(run.events, d->events, "%s, cut %zu: %s", d->name, cut, run.events);
    cr_assert_eq(run.closed, d->closed, "%s, cut %zu", d->name, cut);
    if (strcmp(d->name, "too big") != 0) { /* what came before the limit was given out */
        cr_assert(slice_equal(slice_of(run.content, run.content_len), slice_of_text(d->content)),
                  "%s, cut %zu: %.*s", d->name, cut, (int)run.content_len, run.content);
    }
}

Test(sink_engine, dialogues)
{
    for (size_t i = 0; i < mx_countof(dialogues); i++) {
        size_t len = strlen(dialogues[i].in);
        for (size_t cut = 0; cut <= len; cut++) {
            check_dialogue(&dialogues[i], cut, len);
        }
        check_dialogue(&dialogues[i], 0, 1);
    }
}

/* What dotted content means: (content, true) when it ends within s. */
static bool reference(struct slice s, uint8_t *out, size_t *out_len)
{
    size_t at = 0;
    *out_len = 0;
    for (;;) { /* at is the start of a line */
        size_t end = at;
        while (end + 1 < s.len && !(s.ptr[end] == '\r' && s.ptr[end + 1] == '\n')) {
            end++;
        }
        if (end + 1 >= s.len) {
            return false;
        }
        if (end == at + 1 && s.ptr[at] == '.') {
            return true;
        }
        at += s.ptr[at] == '.';
        memcpy(out + *out_len, s.ptr + at, end + 2 - at);
        *out_len += end + 2 - at;
        at = end + 2;
    }
}

static void check_string(struct slice s, size_t cut, size_t step)
{
    static const struct slice head =
        SLICE_LITERAL(HELLO "MAIL FROM:<>\r\nRCPT TO:<a@b>\r\nDATA\r\n");
    struct fault_plan faults = {0};
    struct sink_engine_conf conf = {
        .hostname = SLICE_LITERAL("sink"), .size_bytes_max = ROOM, .faults = &faults};
    static struct run run;
    uint8_t all[128], wanted[STRING_MAX * 2];
    size_t wanted_len;
    memcpy(all, head.ptr, head.len);
    memcpy(all + head.len, s.ptr, s.len);
    bool ends = reference(s, wanted, &wanted_len);
    play(&run, &conf, slice_of(all, head.len + s.len), head.len + cut, step);
    cr_assert_eq(run.event_count > 2, ends, "the end in %zu bytes", s.len);
    if (ends) {
        cr_assert(
            slice_equal(slice_of(run.content, run.content_len), slice_of(wanted, wanted_len)));
    }
}

Test(sink_engine, content_as_the_reference)
{
    static const uint8_t alphabet[] = {'\r', '\n', '.', 'a'};
    for (size_t len = 0; len <= STRING_MAX; len++) {
        for (size_t code = 0; code < (size_t)1 << 2 * len; code++) {
            uint8_t text[STRING_MAX];
            for (size_t i = 0; i < len; i++) {
                text[i] = alphabet[code >> 2 * i & 3];
            }
            for (size_t cut = 0; cut <= len; cut++) {
                check_string(slice_of(text, len), cut, STRING_MAX);
            }
            check_string(slice_of(text, len), 0, 1);
        }
    }
}
