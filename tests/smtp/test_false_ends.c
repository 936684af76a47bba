/* False ends of data (SMTP smuggling) and commands or replies injected before TLS: what a client
 * sends and what goes on to a next hop have one end, whoever looks. Every sequence of CR, LF, dot
 * and NUL up to six bytes, and the published ones that are longer, stand where an end of data
 * would, with an envelope behind them. What the servers do that take less than CRLF.CRLF for an end
 * is modelled in lenient_end. */
#include "smtp/cli_engine.h"
#include "smtp/srv_engine.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

enum { ROOM = 1024, SEQUENCE_MAX = 6, MESSAGES_MAX = 4 };

static const char alphabet[4] = "\r\n."; /* and NUL */
static const char envelope[] = "EHLO a\r\nMAIL FROM:<a@example.net>\r\nRCPT TO:<b@example.org>\r\n";
static const char injected[] =
    "MAIL FROM:<evil@example.net>\r\nRCPT TO:<b@example.org>\r\nDATA\r\nevil\r\n.\r\n";
/* The sequence follows other text, or a line's end, or begins the content; in the body or the
 * header. */
static const char *const befores[] = {"S: x\r\n\r\nab", "S: x\r\n\r\nab\r\n", "S: x", ""};

struct content {
    uint8_t bytes[ROOM];
    size_t len;
};

/* What a server took. */
struct taken {
    unsigned mails; /* MAIL commands that reached the host */
    unsigned count;
    struct content messages[MESSAGES_MAX];
    enum srv_close_reason close;
};

static void add(struct content *c, const void *bytes, size_t len)
{
    cr_assert_leq(c->len + len, sizeof c->bytes);
    memcpy(c->bytes + c->len, bytes, len);
    c->len += len;
}

static void add_text(struct content *c, const char *text)
{
    add(c, text, strlen(text));
}

static struct slice content_slice(const struct content *c)
{
    return slice_of(c->bytes, c->len);
}

static void serve_question(struct srv *srv, struct taken *taken, struct writer *out)
{
    const struct srv_ask *ask = &srv->ask;
    struct content *message = &taken->messages[taken->count];
    switch (ask->kind) {
    case SRV_ASK_MAIL:
        taken->mails++;
        message->len = 0;
        break;
    case SRV_ASK_BODY:
        add(message, ask->text.ptr, ask->text.len);
        break;
    case SRV_ASK_END:
        cr_assert_lt(++taken->count, MESSAGES_MAX);
        break;
    default:
        break;
    }
    srv_answer(srv, REPLY_OK, SLICE_EMPTY, out);
}

static void serve_piece(struct srv *srv, struct taken *taken, struct slice *in)
{
    uint8_t buf[2 * SRV_REPLY_MAX];
    for (;;) {
        struct writer out = writer_init(buf, sizeof buf);
        enum srv_act act = srv_next(srv, in, &out);
        if (act == SRV_ASK) {
            out.len = 0;
            serve_question(srv, taken, &out);
        } else if (act != SRV_FLUSH) {
            taken->close = srv->close_reason;
            return;
        }
    }
}

/* A session: everything in two pieces, or byte by byte (split 0). */
static void serve(struct taken *taken, struct slice all, size_t split, const struct srv_conf *conf)
{
    struct srv srv;
    size_t shown = 0, seen = 0; /* seen: what the engine has used up */
    taken->mails = taken->count = 0;
    srv_init(&srv, conf, false);
    while (shown < all.len && srv.close_reason == SRV_CLOSE_NONE) {
        shown = split == 0 ? shown + 1 : shown < split ? split : all.len;
        struct slice in = slice_of(all.ptr + seen, shown - seen);
        serve_piece(&srv, taken, &in);
        seen = shown - in.len;
    }
    srv_leave(&srv);
}

static struct srv_conf conf_of(bool normalize, bool binary)
{
    return (struct srv_conf){.limits = {.line_bytes_max = 4096,
                                        .size_bytes_max = 1 << 20,
                                        .normalize_newlines = normalize,
                                        .offer_chunking = true,
                                        .offer_binarymime = binary},
                             .hostname = SLICE_LITERAL("mx.example.org")};
}

/* Bare CR or LF, or NUL. */
static bool is_odd(struct slice s)
{
    for (size_t i = 0; i < s.len; i++) {
        uint8_t c = s.ptr[i];
        if (c == '\0' || (c == '\r' && (i + 1 == s.len || s.ptr[i + 1] != '\n')) ||
            (c == '\n' && (i == 0 || s.ptr[i - 1] != '\r'))) {
            return true;
        }
    }
    return false;
}

static bool has_nul(struct slice s)
{
    return slice_find(s, 0) < s.len;
}

/* RFC 5321 section 4.1.1.4, with the content begun by a line start: where CRLF.CRLF is. */
static size_t true_end(struct slice s)
{
    if (s.len >= 3 && memcmp(s.ptr, ".\r\n", 3) == 0) {
        return 0;
    }
    for (size_t i = 0; i + 5 <= s.len; i++) {
        if (memcmp(s.ptr + i, "\r\n.\r\n", 5) == 0) {
            return i + 2;
        }
    }
    return s.len;
}

static void unstuff(struct content *out, struct slice s)
{
    out->len = 0;
    for (size_t i = 0; i < s.len; i++) {
        bool at_start = i == 0 || (i >= 2 && memcmp(s.ptr + i - 2, "\r\n", 2) == 0);
        if (!(at_start && s.ptr[i] == '.')) {
            add(out, s.ptr + i, 1);
        }
    }
}

/* Where a server finds the dot of the end that takes these bytes, each or pairs of them, for line
 * ends, and does not see NULs. */
static size_t lenient_end(struct slice s, const char *newlines, bool drops_cr)
{
    size_t dot = 0, column = 0;
    for (size_t i = 0; i < s.len; i++) {
        uint8_t c = s.ptr[i];
        if (c != '\0' && strchr(newlines, c) != NULL) {
            if (column == 1 && s.ptr[dot] == '.') {
                return dot;
            }
            column = 0;
        } else if (c != '\0' && !(drops_cr && c == '\r')) {
            dot = column++ == 0 ? i : dot;
        }
    }
    return s.len;
}

/* --- the next hop ------------------------------------------------------------------------------
 */

static enum cli_act hear(struct cli *cli, const char *text, struct writer *out)
{
    struct slice in = slice_of_text(text);
    enum cli_act act = cli_next(cli, &in, out);
    cr_assert_eq(in.len, 0);
    return act;
}

/* Content by DATA: what goes out behind the 354. step: how much of it is given at a time. */
static void relay(struct content *wire, struct slice content, size_t step)
{
    static const uint32_t first = 0;
    struct envelope_rcpt rcpt = {.address = SLICE_LITERAL("b@example.org")};
    struct envelope env = {.sender = SLICE_LITERAL("a@x.example"), .rcpts = &rcpt, .rcpt_count = 1};
    struct cli_message msg = {
        .env = &env, .rcpts = &first, .rcpt_count = 1, .content_bytes = content.len};
    struct cli_conf conf = {.ehlo_name = SLICE_LITERAL("me")};
    uint8_t state, buf[8 * ROOM];
    struct cli *cli = calloc(1, cli_bytes());
    struct writer out = writer_init(buf, sizeof buf);
    cli_init(cli, &conf);
    cr_assert_eq(hear(cli, "220 hi\r\n", &out), CLI_INPUT);
    cr_assert_eq(hear(cli, "250 hi\r\n", &out), CLI_READY);
    cli_begin(cli, &msg, &state);
    cr_assert_eq(hear(cli, "", &out), CLI_INPUT);
    cr_assert_eq(hear(cli, "250 sender\r\n", &out), CLI_INPUT);
    cr_assert_eq(hear(cli, "250 recipient\r\n", &out), CLI_INPUT);
    size_t behind = out.len;
    enum cli_act act = hear(cli, "354 go\r\n", &out);
    while (content.len > 0) {
        cr_assert_eq(act, CLI_BODY);
        content = slice_from(content, cli_body(cli, slice_first(content, step), &out));
        act = hear(cli, "", &out);
    }
    cr_assert_eq(act, CLI_INPUT);
    wire->len = 0;
    add(wire, buf + behind, out.len - behind);
    free(cli);
}

/* One end, where it belongs, for everybody; the content back for a strict server. */
static void check_relayed(struct slice content)
{
    static const struct {
        const char *newlines;
        bool drops_cr;
    } servers[] = {{"\n", true}, {"\n", false}, {"\r\n", false}, {"\r", false}};
    struct content wire, whole, back;
    relay(&whole, content, ROOM);
    relay(&wire, content, 1);
    cr_assert(slice_equal(content_slice(&whole), content_slice(&wire)));
    struct slice sent = content_slice(&wire);
    cr_assert(!is_odd(sent));
    size_t end = sent.len - 3;
    cr_assert_eq(true_end(sent), end);
    for (size_t i = 0; i < mx_countof(servers); i++) {
        size_t found = lenient_end(sent, servers[i].newlines, servers[i].drops_cr);
        /* For a server that knows no CR, or no LF, "." CR is no dot alone: it finds no end. */
        cr_assert(found == end || found == sent.len, "server %zu: end at %zu of %zu", i, found,
                  end);
    }
    cr_assert_eq(lenient_end(sent, "\n", true), end);
    cr_assert_eq(lenient_end(sent, "\r\n", false), end);
    unstuff(&back, slice_first(sent, end));
    cr_assert(slice_equal(slice_first(content_slice(&back), content.len), content));
    cr_assert(back.len == content.len || back.len == content.len + 2);
}

/* --- by DATA -----------------------------------------------------------------------------------
 */

static void check_taken(const struct taken *taken, struct slice data, bool normalize)
{
    size_t end = true_end(data);
    bool injects = end + 3 < data.len; /* the client itself has ended its message there */
    cr_assert_eq(taken->close, SRV_CLOSE_QUIT);
    if (injects) {
        return;
    }
    struct slice raw = slice_first(data, end);
    bool refused = normalize ? has_nul(raw) : is_odd(raw);
    cr_assert_eq(taken->mails, 1);
    cr_assert_eq(taken->count, refused ? 0 : 1);
    if (!refused && !normalize) {
        struct content want;
        unstuff(&want, raw);
        cr_assert(slice_equal(content_slice(&taken->messages[0]), content_slice(&want)));
    }
}

static void check_data(struct slice sequence, const char *before)
{
    struct content all = {.len = 0};
    static struct taken taken;
    add_text(&all, envelope);
    add_text(&all, "DATA\r\n");
    size_t begin = all.len;
    add_text(&all, before);
    size_t at = all.len;
    add(&all, sequence.ptr, sequence.len);
    add_text(&all, injected);
    struct slice data = slice_of(all.bytes + begin, all.len - begin);
    add_text(&all, "QUIT\r\n");
    for (unsigned normalize = 0; normalize < 2; normalize++) {
        struct srv_conf conf = conf_of(normalize, false);
        serve(&taken, content_slice(&all), 0, &conf);
        check_taken(&taken, data, normalize);
        for (size_t split = at - 2; split <= at + sequence.len + 1; split++) {
            serve(&taken, content_slice(&all), split, &conf);
            check_taken(&taken, data, normalize);
        }
        for (unsigned i = 0; i < taken.count; i++) {
            check_relayed(content_slice(&taken.messages[i]));
        }
    }
}

static void every_sequence(unsigned len_max, void (*check)(struct slice sequence, const char *))
{
    for (unsigned len = 0; len <= len_max; len++) {
        for (unsigned code = 0; code < 1u << (2 * len); code++) {
            uint8_t bytes[SEQUENCE_MAX];
            for (unsigned i = 0; i < len; i++) {
                bytes[i] = (uint8_t)alphabet[code >> (2 * i) & 3];
            }
            for (size_t i = 0; i < mx_countof(befores); i++) {
                check(slice_of(bytes, len), befores[i]);
            }
        }
    }
}

Test(false_ends, every_sequence_in_data, .timeout = 200)
{
    every_sequence(SEQUENCE_MAX, check_data);
}

/* Those that scanners for this look for, or that a server was known to take, with more bytes. */
Test(false_ends, published_sequences)
{
    static const struct slice published[] = {
        SLICE_LITERAL("\r\r\n.\r\r\n"),        SLICE_LITERAL("\r\n.\r\r\n"),
        SLICE_LITERAL("\r\n\0.\r\n"),          SLICE_LITERAL("\r\n.\0\r\n"),
        SLICE_LITERAL("\r\n\x1a.\r\n"),        SLICE_LITERAL("\r\n\x08.\r\n"),
        SLICE_LITERAL("\r\n. \r\n"),           SLICE_LITERAL("\r\n .\r\n"),
        SLICE_LITERAL("\r\n.\t\r\n"),          SLICE_LITERAL("\r\n\xc2\x85.\xc2\x85"),
        SLICE_LITERAL("\r\n.\x0b\r\n"),        SLICE_LITERAL("\x0b.\x0c"),
        SLICE_LITERAL("\r\n\r.\r\r\n"),        SLICE_LITERAL("\n\r\n.\n\r\n"),
        SLICE_LITERAL("\r\n\xef\xbc\x8e\r\n"),
    };
    for (size_t i = 0; i < mx_countof(published); i++) {
        for (size_t k = 0; k < mx_countof(befores); k++) {
            check_data(published[i], befores[k]);
        }
    }
}

/* --- by BDAT -----------------------------------------------------------------------------------
 */

static void check_bdat(struct slice sequence, const char *before)
{
    struct content content = {.len = 0}, all;
    static struct taken taken;
    add_text(&content, before);
    size_t at = content.len;
    add(&content, sequence.ptr, sequence.len);
    add_text(&content, injected);
    struct slice data = content_slice(&content);
    for (unsigned mode = 0; mode < 3; mode++) {
        bool normalize = mode == 1, binary = mode == 2;
        struct srv_conf conf = conf_of(normalize, binary);
        bool refused = !binary && (normalize ? has_nul(data) : is_odd(data));
        for (size_t cut = at; cut <= at + sequence.len; cut++) {
            char head[64];
            all.len = 0;
            add_text(&all, "EHLO a\r\nMAIL FROM:<a@example.net>");
            add_text(&all, binary ? " BODY=BINARYMIME" : "");
            add_text(&all, "\r\nRCPT TO:<b@example.org>\r\n");
            snprintf(head, sizeof head, "BDAT %zu\r\n", cut);
            add_text(&all, head);
            add(&all, data.ptr, cut);
            snprintf(head, sizeof head, "BDAT %zu LAST\r\n", data.len - cut);
            add_text(&all, head);
            add(&all, data.ptr + cut, data.len - cut);
            add_text(&all, "QUIT\r\n");
            for (size_t split = 0; split <= all.len; split += split == 0 ? all.len : 1) {
                serve(&taken, content_slice(&all), split, &conf);
                cr_assert_eq(taken.close, SRV_CLOSE_QUIT);
                cr_assert_eq(taken.mails, 1);
                cr_assert_eq(taken.count, refused ? 0 : 1);
            }
        }
        /* Binary content goes to nobody by DATA: tests of the client's commands. */
        if (taken.count == 1 && !binary) {
            check_relayed(content_slice(&taken.messages[0]));
        } else if (taken.count == 1) {
            cr_assert(slice_equal(content_slice(&taken.messages[0]), data));
        }
    }
}

Test(false_ends, every_sequence_in_chunks, .timeout = 200)
{
    every_sequence(5, check_bdat);
}

/* --- before TLS --------------------------------------------------------------------------------
 */

/* Replies in clear behind the 220 are no replies under TLS, however they arrive. */
Test(false_ends, replies_injected_before_tls)
{
    static const char clear[] = "220 hi\r\n250-hi\r\n250 STARTTLS\r\n";
    static const char go[] = "220 go\r\n250-evil\r\n250-CHUNKING\r\n250 SIZE 1\r\n250 evil\r\n";
    for (size_t split = 0; split < sizeof go; split++) {
        struct cli_conf conf = {.ehlo_name = SLICE_LITERAL("me"), .tls = CLI_TLS_REQUIRED};
        struct cli *cli = calloc(1, cli_bytes());
        uint8_t buf[8 * ROOM];
        struct writer out = writer_init(buf, sizeof buf);
        cli_init(cli, &conf);
        cr_assert_eq(hear(cli, "220 hi\r\n", &out), CLI_INPUT);
        cr_assert_eq(hear(cli, clear + 8, &out), CLI_INPUT);
        struct slice in = slice_of(go, split);
        enum cli_act act = cli_next(cli, &in, &out);
        if (act == CLI_INPUT) {
            in = slice_of(go + (split - in.len), sizeof go - 1 - (split - in.len));
            act = cli_next(cli, &in, &out);
        } /* else what comes later is for the handshake, which it is not */
        cr_assert_eq(act, CLI_START_TLS, "split %zu", split);
        cr_assert_eq(in.len, 0);
        out.len = 0;
        cli_tls_started(cli);
        cr_assert_eq(hear(cli, "", &out), CLI_INPUT);
        cr_assert(slice_equal(writer_slice(&out), SLICE_LITERAL("EHLO me\r\n")));
        cr_assert_eq(hear(cli, "250 hi\r\n", &out), CLI_READY);
        cr_assert(!cli_extensions(cli)->chunking && cli_extensions(cli)->size_max == 0);
        free(cli);
    }
}

/* Commands in clear behind STARTTLS are no commands under TLS. */
Test(false_ends, commands_injected_before_tls)
{
    static const char text[] =
        "EHLO a\r\nSTARTTLS\r\nEHLO evil\r\nMAIL FROM:<evil@example.net>\r\n";
    for (size_t split = 1; split < sizeof text; split++) {
        struct srv_conf conf = conf_of(false, false);
        static struct taken taken;
        struct srv srv;
        size_t seen = 0;
        conf.tls_available = true;
        taken.mails = taken.count = 0;
        srv_init(&srv, &conf, false);
        for (size_t shown = split; seen < shown && !srv.under_tls; shown = sizeof text - 1) {
            struct slice in = slice_of(text + seen, shown - seen);
            uint8_t buf[2 * SRV_REPLY_MAX];
            struct writer out = writer_init(buf, sizeof buf);
            enum srv_act act;
            while ((act = srv_next(&srv, &in, &out)) == SRV_ASK) {
                serve_question(&srv, &taken, &out);
            }
            seen = shown - in.len;
            if (act == SRV_START_TLS) {
                cr_assert_eq(in.len, 0);
                srv_tls_started(&srv);
            }
        }
        cr_assert(srv.under_tls);
        struct slice mail = SLICE_LITERAL("MAIL FROM:<a@example.net>\r\nQUIT\r\n");
        serve_piece(&srv, &taken, &mail);
        cr_assert(taken.mails == 0 && !srv.esmtp, "split %zu", split); /* 503: no EHLO yet */
        cr_assert_eq(taken.close, SRV_CLOSE_QUIT);
        srv_leave(&srv);
    }
}
