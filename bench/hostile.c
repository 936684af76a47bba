#include "bench/hostile.h"

#include "core/check.h"
#include "core/text.h"
#include "io/shard.h"
#include "io/stream.h"

#include <stdlib.h>
#include <sys/socket.h>

enum {
    DRIP_TOGETHER_MS = 2,    /* bytes that are due within this leave together */
    AGAIN_MS = 100,          /* between two connections of a client */
    SLOW_BUF_BYTES = 4096,   /* of who does not read */
    FLOOD_BYTES = 16 * 1024, /* not taken yet: more would only be memory of ours */
    LINE_MAX_BYTES = 4096,
    HANDSHAKE_MS = 20, /* for the server to read a part of the ClientHello */
};

struct hostile_client {
    struct stream stream;
    struct hostile *hostile;
    struct timer timer; /* until it connects again, or resets a handshake */
    struct wake drip;
    enum hostile_kind kind;
    uint32_t round; /* connections so far */
    bool connected; /* or connecting */
    bool ready;     /* connected */
    bool up, flooding;
    enum hostile_stage stage;
    size_t dripped; /* of the stage's script */
    uint64_t began_ns;
    bool answered, smuggled; /* the content; a command in it */
    bool offered;            /* what the stage to reset at needs */
};

const char *hostile_word(enum hostile_kind kind)
{
    static const char *const words[] = {
#define HOSTILE(name, word, what) [HOSTILE_##name] = word,
#include "bench/hostile.def"
#undef HOSTILE
    };
    return words[kind];
}

const char *hostile_what(enum hostile_kind kind)
{
    static const char *const texts[] = {
#define HOSTILE(name, word, what) [HOSTILE_##name] = what,
#include "bench/hostile.def"
#undef HOSTILE
    };
    return texts[kind];
}

const char *hostile_stage_word(enum hostile_stage stage)
{
    static const char *const words[] = {"connect", "banner",   "ehlo",      "mail",
                                        "rcpt",    "data",     "body",      "end",
                                        "quit",    "starttls", "handshake", "bdat"};
    _Static_assert(mx_countof(words) == STAGES, "a word for each");
    return words[stage];
}

bool hostile_parse(struct hostile_conf *conf, struct slice text)
{
    size_t colon = slice_find(text, ':');
    uint64_t count = 1;
    if (colon < text.len && (text_to_u64(&count, slice_from(text, colon + 1)) != MX_OK)) {
        return false;
    }
    for (unsigned kind = 0; kind < HOSTILE_KINDS; kind++) {
        if (slice_equal(slice_first(text, colon), slice_of_text(hostile_word(kind)))) {
            bool fits = count >= 1 && count + hostile_clients(conf) <= HOSTILE_CLIENTS_MAX;
            conf->clients[kind] += fits ? (uint32_t)count : 0;
            return fits;
        }
    }
    return false;
}

uint32_t hostile_clients(const struct hostile_conf *conf)
{
    uint32_t sum = 0;
    for (unsigned kind = 0; kind < HOSTILE_KINDS; kind++) {
        sum += conf->clients[kind];
    }
    return sum;
}

uint64_t hostile_smuggled(const struct hostile *hostile)
{
    uint64_t sum = 0;
    for (unsigned kind = 0; kind < HOSTILE_KINDS; kind++) {
        sum += hostile->counts[kind].smuggled;
    }
    return sum;
}

/* --- what is said ------------------------------------------------------------------------------
 */

static void script_put(struct hostile *hostile, enum hostile_stage stage, const char *before,
                       struct slice middle, const char *behind)
{
    struct writer w = writer_init(hostile->script[stage], HOSTILE_SCRIPT_MAX);
    put_text(&w, before);
    put_slice(&w, middle);
    put_text(&w, behind);
    MX_ASSERT(!w.overflow);
    hostile->script_len[stage] = w.len;
}

static void write_script(struct hostile *hostile, struct slice from, struct slice rcpt)
{
    /* The heads of a record of 512 bytes and of the ClientHello in it, its version, and a part of
     * its random bytes. */
    static const struct slice hello =
        SLICE_LITERAL("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03RANDOMRANDOMRANDOM");
    script_put(hostile, STAGE_EHLO, "EHLO hostile.invalid\r\n", SLICE_EMPTY, "");
    script_put(hostile, STAGE_MAIL, "MAIL FROM:<", from, ">\r\n");
    script_put(hostile, STAGE_RCPT, "RCPT TO:<", rcpt, ">\r\n");
    script_put(hostile, STAGE_DATA, "DATA\r\n", SLICE_EMPTY, "");
    script_put(hostile, STAGE_BODY, "Subject: hostile\r\n\r\nfirst line\r\n", SLICE_EMPTY, "");
    script_put(hostile, STAGE_END, "second line\r\n.\r\n", SLICE_EMPTY, "");
    script_put(hostile, STAGE_QUIT, "QUIT\r\n", SLICE_EMPTY, "");
    script_put(hostile, STAGE_STARTTLS, "STARTTLS\r\n", SLICE_EMPTY, "");
    script_put(hostile, STAGE_HANDSHAKE, "", hello, "");
    script_put(hostile, STAGE_BDAT, "BDAT 1000\r\nSubject: hostile\r\n\r\nfirst line\r\n",
               SLICE_EMPTY, "");
}

static struct slice script_of(const struct hostile_client *c, enum hostile_stage stage)
{
    /* After "\n.\n" come the commands of a second message, for a server that takes it as an end. */
    static const struct slice smuggling =
        SLICE_LITERAL("bare line\n.\nMAIL FROM:<smuggled@hostile.invalid>\nRCPT TO:<postmaster>\n"
                      "DATA\nSubject: smuggled\n\ninner\n.\n\r\n.\r\n");
    if (c->kind == HOSTILE_BARE_LF && stage == STAGE_END) {
        return smuggling;
    }
    return slice_of(c->hostile->script[stage], c->hostile->script_len[stage]);
}

/* --- the client --------------------------------------------------------------------------------
 */

static struct hostile_counts *counts_of(struct hostile_client *c)
{
    return &c->hostile->counts[c->kind];
}

static void say(struct hostile_client *c, struct slice text)
{
    if (text.len > 0 && stream_write(&c->stream, text) != MX_OK) {
        stream_abort(&c->stream, MX_ERR_IO);
    }
}

/* Where it resets this time; STAGES: nowhere. */
static enum hostile_stage aim_of(const struct hostile_client *c)
{
    return c->kind == HOSTILE_RESET ? (enum hostile_stage)(c->round % STAGES) : STAGES;
}

static bool resets_at(const struct hostile_client *c, enum hostile_stage stage)
{
    return stage == aim_of(c);
}

/* Ways to stages that others do not come to. */
static const struct {
    enum hostile_stage aim, from, to;
    const char *extension; /* that the server has to offer */
} detours[] = {
    {STAGE_STARTTLS, STAGE_EHLO, STAGE_STARTTLS, "STARTTLS"},
    {STAGE_HANDSHAKE, STAGE_EHLO, STAGE_STARTTLS, "STARTTLS"},
    {STAGE_BDAT, STAGE_RCPT, STAGE_BDAT, "CHUNKING"},
};

static enum hostile_stage stage_after(const struct hostile_client *c)
{
    for (size_t i = 0; i < mx_countof(detours); i++) {
        if (resets_at(c, detours[i].aim) && c->stage == detours[i].from) {
            return detours[i].to;
        }
    }
    return c->stage + 1;
}

/* NULL: every server has it. */
static const char *extension_of(enum hostile_stage stage)
{
    for (size_t i = 0; i < mx_countof(detours); i++) {
        if (detours[i].aim == stage) {
            return detours[i].extension;
        }
    }
    return NULL;
}

/* A line of the reply to EHLO. */
static void note_extension(struct hostile_client *c, struct slice line)
{
    const char *needed = extension_of(aim_of(c));
    if (needed != NULL && line.len > 4) {
        struct slice text = slice_from(line, 4);
        struct slice word = slice_first(text, slice_find(text, ' '));
        word = slice_first(word, slice_find(word, '\r'));
        c->offered = c->offered || text_equal_nocase(word, slice_of_text(needed));
    }
}

/* Closes with a reset instead of an end. */
static void reset(struct hostile_client *c)
{
    struct linger now = {.l_onoff = 1, .l_linger = 0};
    (void)setsockopt(c->stream.fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    counts_of(c)->reset[c->stage]++;
    c->up = false;
    stream_abort(&c->stream, MX_ERR_RESET);
}

/* Commands without end, until the server has no more room for its replies or has had enough. */
static void flood(struct hostile_client *c)
{
    static const char noop[] = "NOOP\r\n";
    uint8_t buf[FLOOD_BYTES];
    struct writer w = writer_init(buf, sizeof buf);
    while (writer_room(&w) >= sizeof noop) {
        put_text(&w, noop);
    }
    c->flooding = true;
    stream_pause(&c->stream);
    while (STREAM_OUT_MAX - stream_room(&c->stream) < FLOOD_BYTES) {
        mx_err err = stream_write(&c->stream, writer_slice(&w));
        if (err) {
            stream_abort(&c->stream, err);
            return;
        }
    }
    c->stream.want_drained = true;
}

static bool drips(const struct hostile_client *c)
{
    return c->kind == HOSTILE_DRIP || (c->kind == HOSTILE_SLOW_DATA && c->stage >= STAGE_BODY);
}

/* Half of the time to one and a half, by chance: with equal waits clients whose bytes left together
 * once would do so for ever, and more and more of them, until all speak at one moment. */
static void drip_later(struct hostile_client *c)
{
    uint32_t ms = c->hostile->conf.drip_ms;
    uint64_t mean_ns = (ms > 0 ? ms : HOSTILE_DRIP_MS) * MX_NS_PER_MS;
    uint64_t wait_ns = dice_between(&c->hostile->dice, mean_ns / 2, mean_ns + mean_ns / 2);
    wake_heap_add(&c->hostile->drips, &c->drip, c->hostile->shard->now_ns + wait_ns);
}

/* Goes to a stage: says what belongs to it. */
static void enter(struct hostile_client *c, enum hostile_stage stage)
{
    c->stage = stage;
    c->dripped = 0;
    bool said = c->kind == HOSTILE_EARLY && stage <= STAGE_MAIL;
    if (drips(c)) {
        drip_later(c);
    } else if (!said) {
        say(c, script_of(c, stage));
    }
    if (stage == STAGE_HANDSHAKE) {
        shard_after(c->hostile->shard, &c->timer, HANDSHAKE_MS * MX_NS_PER_MS);
    } else if (resets_at(c, stage) && stage != STAGE_STARTTLS) {
        streams_flush(c->hostile->shard); /* what was said is to arrive before */
        reset(c);
    } else if (stage == STAGE_BODY && !drips(c)) {
        enter(c, STAGE_END);
    }
}

/* At these stages the reply is waited for. */
static bool resets_on(const struct hostile_client *c, uint16_t code)
{
    return resets_at(c, c->stage) &&
           (c->stage == STAGE_BANNER || (c->stage == STAGE_STARTTLS && code < 400));
}

static void go_on(struct hostile_client *c)
{
    bool missing = c->stage == STAGE_EHLO && extension_of(aim_of(c)) != NULL && !c->offered;
    counts_of(c)->not_offered += missing;
    enter(c, missing ? STAGE_QUIT : stage_after(c));
}

/* A reply has come; on to what follows it. */
static void on_reply(struct hostile_client *c, uint16_t code)
{
    struct hostile_counts *counts = counts_of(c);
    counts->replies[code / 100]++;
    if (code == 421 || c->kind == HOSTILE_SILENT) {
        return; /* it is the server's turn to close, or the client waits for that */
    }
    counts->messages += c->stage == STAGE_END && code / 100 == 2;
    c->answered = c->answered || c->stage == STAGE_END;
    if (c->stage == STAGE_QUIT && c->kind == HOSTILE_BARE_LF && c->answered && code != 221) {
        counts->smuggled += !c->smuggled; /* this answers something in the content */
        c->smuggled = true;
    } else if (c->stage == STAGE_QUIT) {
        stream_close(&c->stream);
    } else if (resets_on(c, code)) {
        reset(c);
    } else if (c->kind == HOSTILE_SLOW_READER && c->stage == STAGE_EHLO) {
        flood(c);
    } else if (code >= 400) {
        enter(c, STAGE_QUIT);
    } else {
        go_on(c);
    }
}

/* Replies whole; what the early talker hears to its first words belongs to them. */
static size_t on_input(struct stream *stream, struct slice in)
{
    struct hostile_client *c = mx_container_of(stream, struct hostile_client, stream);
    size_t used = 0;
    while (used < in.len && c->up && !c->flooding) {
        if (c->stage == STAGE_HANDSHAKE) {
            return in.len; /* no reply, whatever it is */
        }
        struct slice rest = slice_from(in, used);
        size_t lf = slice_find(rest, '\n');
        if (lf == rest.len) {
            return rest.len > LINE_MAX_BYTES ? in.len : used;
        }
        struct slice line = slice_first(rest, lf);
        uint64_t code = 0;
        used += lf + 1;
        if (c->stage == STAGE_EHLO) {
            note_extension(c, line);
        }
        if (line.len > 3 && line.ptr[3] == '-') {
            continue;
        }
        bool good = line.len >= 3 && text_to_u64(&code, slice_first(line, 3)) == MX_OK &&
                    code >= 200 && code < 600;
        if (good) {
            on_reply(c, (uint16_t)code);
        } else {
            counts_of(c)->replies[0]++;
        }
    }
    return used;
}

static void on_ready(struct stream *stream)
{
    struct hostile_client *c = mx_container_of(stream, struct hostile_client, stream);
    c->up = c->ready = true;
    dial_header(c->hostile->dial, stream);
    if (c->kind == HOSTILE_EARLY) {
        say(c, script_of(c, STAGE_EHLO));
        say(c, script_of(c, STAGE_MAIL));
    }
    if (resets_at(c, STAGE_CONNECT)) {
        reset(c);
        return;
    }
    c->stage = STAGE_BANNER;
}

static void on_drained(struct stream *stream)
{
    flood(mx_container_of(stream, struct hostile_client, stream));
}

static void connect_again(struct hostile_client *c);

static void on_timer(struct timer *timer, uint64_t now_ns)
{
    struct hostile_client *c = mx_container_of(timer, struct hostile_client, timer);
    (void)now_ns;
    if (c->connected) { /* the handshake has begun */
        reset(c);
    } else {
        connect_again(c);
    }
}

/* The next byte. */
static void drip(struct hostile_client *c)
{
    struct slice script = script_of(c, c->stage);
    if (c->dripped < script.len) {
        say(c, slice_of(script.ptr + c->dripped++, 1));
    }
    if (c->dripped < script.len) {
        drip_later(c);
    } else if (c->stage == STAGE_BODY) {
        enter(c, STAGE_END);
    }
}

static void on_closed(struct stream *stream, mx_err why)
{
    struct hostile_client *c = mx_container_of(stream, struct hostile_client, stream);
    struct hostile *hostile = c->hostile;
    struct hostile_counts *counts = counts_of(c);
    bool own = c->stage == STAGE_QUIT || (c->kind == HOSTILE_RESET && why == MX_ERR_RESET);
    bool failed = !c->ready;
    c->connected = false;
    wake_heap_remove(&hostile->drips, &c->drip);
    c->round++;
    if (hostile->stopping) {
        return;
    }
    if (failed) {
        counts->first_failure = counts->failed++ == 0 ? why : counts->first_failure;
    } else if (!own) {
        uint64_t held_ns = hostile->shard->now_ns - c->began_ns;
        counts->closed++;
        counts->held_ns_max = mx_max_size(counts->held_ns_max, held_ns);
    }
    shard_after(hostile->shard, &c->timer, AGAIN_MS * MX_NS_PER_MS);
}

static const struct stream_ops callbacks = {
    .input = on_input, .drained = on_drained, .ready = on_ready, .closed = on_closed};

static void connect_again(struct hostile_client *c)
{
    struct hostile *hostile = c->hostile;
    bool slow = c->kind == HOSTILE_SLOW_READER;
    c->connected = true;
    c->ready = c->up = c->flooding = false;
    c->stage = STAGE_CONNECT;
    c->answered = c->smuggled = c->offered = false;
    c->began_ns = hostile->shard->now_ns;
    counts_of(c)->connections++;
    dial_connect(hostile->dial, &c->stream, hostile->shard, &callbacks, slow ? SLOW_BUF_BYTES : 0);
}

/* --- all of them -------------------------------------------------------------------------------
 */

mx_err hostile_init(struct hostile *hostile, const struct hostile_conf *conf, struct slice from,
                    struct slice rcpt)
{
    *hostile = (struct hostile){.conf = *conf, .count = hostile_clients(conf)};
    write_script(hostile, from, rcpt);
    hostile->list = calloc(hostile->count + 1, sizeof *hostile->list);
    if (hostile->list == NULL) {
        return MX_ERR_NOMEM;
    }
    mx_err err = wake_heap_init(&hostile->drips, hostile->count + 1);
    if (err) {
        return err;
    }
    uint32_t at = 0;
    for (unsigned kind = 0; kind < HOSTILE_KINDS; kind++) {
        for (uint32_t i = 0; i < conf->clients[kind]; i++) {
            struct hostile_client *c = &hostile->list[at++];
            c->hostile = hostile;
            c->kind = kind;
            c->timer.fire = on_timer;
            c->round = i; /* clients begin at different stages */
        }
    }
    return MX_OK;
}

void hostile_start(struct hostile *hostile, struct shard *shard, struct dial *dial)
{
    hostile->shard = shard;
    hostile->dial = dial;
    for (uint32_t i = 0; i < hostile->count; i++) {
        connect_again(&hostile->list[i]);
    }
}

void hostile_turn(struct hostile *hostile)
{
    struct wake *wake;
    while (!hostile->stopping && (wake = wake_heap_first(&hostile->drips)) != NULL &&
           wake->at_ns <= hostile->shard->now_ns) {
        wake_heap_remove(&hostile->drips, wake);
        drip(mx_container_of(wake, struct hostile_client, drip));
    }
}

uint64_t hostile_due_ns(const struct hostile *hostile)
{
    const struct wake *wake = hostile->stopping ? NULL : wake_heap_first(&hostile->drips);
    return wake == NULL ? UINT64_MAX : wake->at_ns + DRIP_TOGETHER_MS * MX_NS_PER_MS;
}

void hostile_stop(struct hostile *hostile)
{
    hostile->stopping = true;
    for (uint32_t i = 0; i < hostile->count; i++) {
        struct hostile_client *c = &hostile->list[i];
        wheel_cancel(&hostile->shard->wheel, &c->timer);
        if (c->connected) {
            counts_of(c)->held += c->ready;
            stream_abort(&c->stream, MX_ERR_CANCELLED);
        }
    }
}

void hostile_fini(struct hostile *hostile)
{
    wake_heap_fini(&hostile->drips);
    free(hostile->list);
    hostile->list = NULL;
    hostile->count = 0;
}
