#include "bench/load_engine.h"

#include "core/check.h"
#include "core/text.h"

/* Legal paths: banner -> ehlo (-> helo) (-> starttls -> tls -> ehlo) -> ready -> { message (->
 * rset)
 * -> done -> ready }* -> quit -> closed. A 421 or what is not SMTP leads through done (when a
 * transaction is open) to closed. */
enum load_state {
    ST_BANNER,
    ST_EHLO,
    ST_HELO,
    ST_STARTTLS,
    ST_TLS, /* the pump does the handshake */
    ST_READY,
    ST_MESSAGE,
    ST_RSET,
    ST_DONE, /* LOAD_DONE is to be told */
    ST_QUIT,
    ST_CLOSED,
};

static void enter(struct load_engine *engine, enum load_state state)
{
    engine->state = (uint8_t)state;
    engine->command_due = state == ST_EHLO || state == ST_HELO || state == ST_STARTTLS ||
                          state == ST_RSET || state == ST_QUIT;
}

void load_engine_init(struct load_engine *engine, const struct load_engine_conf *conf,
                      bool under_tls)
{
    *engine = (struct load_engine){.conf = conf, .under_tls = under_tls};
    enter(engine, ST_BANNER);
}

/* --- items of a transaction ---------------------------------------------------------------------
 */

/* The first item behind the recipients: DATA, or the first chunk. */
static uint32_t first_behind(const struct load_engine *engine)
{
    return engine->msg.rcpt_count + 1;
}

bool load_engine_chunked(const struct load_engine *engine)
{
    return engine->conf->chunking && engine->offers_chunking;
}

static enum load_pipelining pipelining(const struct load_engine *engine)
{
    return engine->offers_pipelining ? engine->conf->pipelining : PIPELINING_OFF;
}

static enum load_verb verb_of(const struct load_engine *engine, uint32_t item)
{
    return item == 0                        ? LOAD_VERB_MAIL
           : item <= engine->msg.rcpt_count ? LOAD_VERB_RCPT
           : item + 1 < engine->items       ? LOAD_VERB_DATA
                                            : LOAD_VERB_END;
}

static uint32_t chunks_of(const struct load_engine *engine)
{
    uint64_t bytes = engine->msg.content_bytes, chunk = engine->conf->chunk_bytes;
    return chunk == 0 || bytes <= chunk ? 1 : (uint32_t)((bytes + chunk - 1) / chunk);
}

void load_engine_begin(struct load_engine *engine, const struct load_message *msg,
                       uint16_t *rcpt_codes)
{
    MX_ASSERT(engine->state == ST_READY && msg->rcpt_count > 0 && msg->content_bytes > 0);
    engine->msg = *msg;
    engine->rcpt_codes = rcpt_codes;
    memset(rcpt_codes, 0, msg->rcpt_count * sizeof *rcpt_codes);
    engine->final_code = 0;
    engine->sent = 0;
    engine->answered = 0;
    engine->accepted = 0;
    engine->failed = false;
    engine->mail_taken = false;
    engine->in_item = false;
    engine->body_left = load_engine_chunked(engine) ? msg->content_bytes : msg->dotted_bytes;
    engine->items = first_behind(engine) + (load_engine_chunked(engine) ? chunks_of(engine) : 2);
    enter(engine, ST_MESSAGE);
}

/* May the item at the first cursor be written before more is answered? */
static bool may_write(const struct load_engine *engine)
{
    uint32_t at = engine->sent, behind = first_behind(engine);
    if (at == engine->items || (engine->failed && !engine->in_item)) {
        return false;
    }
    if (engine->in_item || pipelining(engine) == PIPELINING_OFF) {
        return engine->in_item || engine->answered == at;
    }
    if (!load_engine_chunked(engine)) {
        return at <= behind || engine->answered == at; /* the content waits for the 354 */
    }
    return at != behind || pipelining(engine) == PIPELINING_FULL || engine->answered == at;
}

static void put_mail(const struct load_engine *engine, struct writer *out)
{
    const struct load_message *msg = &engine->msg;
    put_text(out, "MAIL FROM:<");
    put_slice(out, msg->sender);
    put_char(out, '>');
    if (engine->offers_size) {
        put_text(out, " SIZE=");
        put_decimal(out, msg->content_bytes);
    }
    if (engine->offers_8bit && msg->has_8bit) {
        put_text(out, " BODY=8BITMIME");
    }
    if (engine->offers_utf8 && msg->sender.len > 0 && !text_is_ascii(msg->sender)) {
        put_text(out, " SMTPUTF8");
    }
    put_text(out, "\r\n");
}

static void put_rcpt(const struct load_rcpt *rcpt, struct writer *out)
{
    put_text(out, "RCPT TO:<");
    put_slice(out, rcpt->head);
    put_slice(out, rcpt->tail);
    put_text(out, ">\r\n");
}

static void content_begin(struct load_engine *engine, struct writer *out)
{
    engine->in_item = true;
    engine->item_left = engine->body_left;
    if (load_engine_chunked(engine)) {
        bool last = engine->sent + 1 == engine->items;
        if (!last) {
            engine->item_left = engine->conf->chunk_bytes;
        }
        put_text(out, "BDAT ");
        put_decimal(out, engine->item_left);
        put_text(out, last ? " LAST\r\n" : "\r\n");
    }
}

static void item_written(struct load_engine *engine)
{
    engine->written |= 1U << verb_of(engine, engine->sent);
    engine->in_item = false;
    engine->sent++;
}

/* Writes one item, or as much of it as goes without content; true: LOAD_BODY. */
static bool write_item(struct load_engine *engine, struct writer *out)
{
    uint32_t at = engine->sent;
    if (at == 0) {
        put_mail(engine, out);
    } else if (at <= engine->msg.rcpt_count) {
        put_rcpt(&engine->msg.rcpts[at - 1], out);
    } else if (!load_engine_chunked(engine) && at + 1 < engine->items) {
        put_text(out, "DATA\r\n");
    } else {
        if (!engine->in_item) {
            content_begin(engine, out);
        }
        if (engine->item_left > 0) {
            return true;
        }
        if (!load_engine_chunked(engine)) {
            put_text(out, ".\r\n");
        }
    }
    item_written(engine);
    return false;
}

size_t load_engine_body(struct load_engine *engine, size_t len)
{
    MX_ASSERT(engine->state == ST_MESSAGE && engine->in_item && engine->item_left > 0);
    size_t part = mx_min_size(len, engine->item_left);
    engine->item_left -= part;
    engine->body_left -= part;
    return part;
}

static void set_all_codes(struct load_engine *engine, uint16_t code)
{
    for (uint32_t i = 0; i < engine->msg.rcpt_count; i++) {
        engine->rcpt_codes[i] = code;
    }
}

/* The reply to the item at the second cursor. */
static void on_item_reply(struct load_engine *engine)
{
    uint32_t at = engine->answered++;
    uint16_t code = engine->code;
    bool good = code / 100 == 2;
    if (at == 0) {
        engine->mail_taken = good;
        engine->failed = !good;
        if (!good) {
            set_all_codes(engine, code);
        }
    } else if (at <= engine->msg.rcpt_count) {
        if (engine->mail_taken) {
            engine->rcpt_codes[at - 1] = code;
            engine->accepted += good;
        }
        if (at == engine->msg.rcpt_count && engine->accepted == 0) {
            engine->failed = true;
        }
    } else if (!load_engine_chunked(engine) && at + 1 < engine->items) {
        if (code == 354 && engine->failed) {
            engine->body_left = 0; /* RFC 2920 section 3.1: an empty content */
            engine->failed = false;
        } else if (code != 354) {
            engine->final_code = good ? 451 : code; /* a go-ahead that none is */
            engine->failed = true;
        }
    } else if (engine->final_code == 0 && (!good || at + 1 == engine->items)) {
        engine->final_code = code; /* the last chunk, or the first that was refused */
        engine->failed = engine->failed || !good;
    }
}

static bool item_list_over(const struct load_engine *engine)
{
    return engine->answered == engine->sent && !engine->in_item &&
           (engine->sent == engine->items || engine->failed);
}

/* --- replies -----------------------------------------------------------------------------------
 */

static void on_extension(struct load_engine *engine, struct slice text)
{
    static const struct {
        struct slice name;
        size_t offset;
    } known[] = {
        {SLICE_LITERAL("PIPELINING"), offsetof(struct load_engine, offers_pipelining)},
        {SLICE_LITERAL("CHUNKING"), offsetof(struct load_engine, offers_chunking)},
        {SLICE_LITERAL("SIZE"), offsetof(struct load_engine, offers_size)},
        {SLICE_LITERAL("STARTTLS"), offsetof(struct load_engine, offers_starttls)},
        {SLICE_LITERAL("8BITMIME"), offsetof(struct load_engine, offers_8bit)},
        {SLICE_LITERAL("SMTPUTF8"), offsetof(struct load_engine, offers_utf8)},
    };
    struct slice keyword = slice_first(text, slice_find(text, ' '));
    for (size_t i = 0; i < mx_countof(known); i++) {
        if (text_equal_nocase(keyword, known[i].name)) {
            *(bool *)((char *)engine + known[i].offset) = true;
        }
    }
}

static void forget_extensions(struct load_engine *engine)
{
    engine->offers_starttls = engine->offers_pipelining = engine->offers_chunking = false;
    engine->offers_size = engine->offers_8bit = engine->offers_utf8 = false;
}

/* The session cannot go on. */
static void give_up(struct load_engine *engine)
{
    engine->closing = true;
    if (engine->state == ST_MESSAGE || engine->state == ST_RSET) {
        enter(engine, ST_DONE);
    } else if (engine->state != ST_DONE) {
        enter(engine, ST_CLOSED);
    }
}

static void on_ehlo(struct load_engine *engine)
{
    if (engine->code / 100 != 2) {
        if (engine->state == ST_EHLO && engine->code / 100 == 5 && !engine->conf->starttls) {
            enter(engine, ST_HELO);
        } else {
            give_up(engine);
        }
    } else if (engine->conf->starttls && !engine->under_tls) {
        if (engine->offers_starttls) {
            enter(engine, ST_STARTTLS);
        } else {
            give_up(engine);
        }
    } else {
        enter(engine, ST_READY);
    }
}

/* 421 announces the end of the session; it is the answer to all that is not answered. */
static void on_shutdown(struct load_engine *engine)
{
    if (engine->state == ST_MESSAGE) {
        for (uint32_t i = 0; i < engine->msg.rcpt_count; i++) {
            if (engine->rcpt_codes[i] == 0) {
                engine->rcpt_codes[i] = engine->code;
            }
        }
        engine->final_code = engine->code;
    }
    give_up(engine);
}

static void on_reply(struct load_engine *engine)
{
    static const enum load_verb verbs[] = {
        [ST_BANNER] = LOAD_VERB_BANNER,     [ST_EHLO] = LOAD_VERB_EHLO, [ST_HELO] = LOAD_VERB_EHLO,
        [ST_STARTTLS] = LOAD_VERB_STARTTLS, [ST_RSET] = LOAD_VERB_RSET, [ST_QUIT] = LOAD_VERB_QUIT,
    };
    enum load_state state = engine->state;
    engine->verb = state == ST_MESSAGE ? verb_of(engine, engine->answered) : verbs[engine->state];
    if (engine->code == 421 && state != ST_QUIT) {
        on_shutdown(engine);
    } else if (state == ST_BANNER) {
        if (engine->code / 100 == 2) {
            enter(engine, ST_EHLO);
        } else {
            give_up(engine);
        }
    } else if (state == ST_EHLO || state == ST_HELO) {
        on_ehlo(engine);
    } else if (state == ST_STARTTLS) {
        if (engine->code == 220) {
            enter(engine, ST_TLS);
        } else {
            give_up(engine);
        }
    } else if (state == ST_MESSAGE) {
        on_item_reply(engine);
    } else {
        enter(engine, state == ST_RSET ? ST_DONE : ST_CLOSED);
    }
}

/* The state in which a reply is awaited; in the others the server has nothing to say. */
static bool awaits_reply(const struct load_engine *engine)
{
    return engine->state == ST_MESSAGE ? engine->answered < engine->sent
                                       : engine->state != ST_READY && engine->state != ST_DONE &&
                                             engine->state != ST_TLS && engine->state != ST_CLOSED;
}

/* One line out of *in; true when a reply is complete. *out_more: there is no whole line. */
static bool read_line(struct load_engine *engine, struct slice *in, bool *out_more)
{
    size_t lf = slice_find(*in, '\n');
    *out_more = lf == in->len;
    if (*out_more) {
        engine->broken = in->len > LOAD_REPLY_LINE_MAX;
        return false;
    }
    struct slice line = slice_first(*in, lf);
    *in = slice_from(*in, lf + 1);
    if (line.len > 0 && line.ptr[line.len - 1] == '\r') {
        line.len--;
    }
    bool digits = line.len >= 3 && ascii_is_digit(line.ptr[0]) && ascii_is_digit(line.ptr[1]) &&
                  ascii_is_digit(line.ptr[2]);
    bool continues = line.len > 3 && line.ptr[3] == '-';
    if (!digits || (line.len > 3 && line.ptr[3] != ' ' && !continues)) {
        engine->broken = true;
        return false;
    }
    engine->code =
        (uint16_t)((line.ptr[0] - '0') * 100 + (line.ptr[1] - '0') * 10 + (line.ptr[2] - '0'));
    if (engine->state == ST_EHLO && engine->code / 100 == 2) {
        on_extension(engine, slice_from(line, mx_min_size(4, line.len)));
    }
    return !continues;
}

/* --- the machine -------------------------------------------------------------------------------
 */

static void put_command(struct load_engine *engine, struct writer *out)
{
    enum load_verb verb = LOAD_VERB_EHLO;
    switch (engine->state) {
    case ST_STARTTLS:
        verb = LOAD_VERB_STARTTLS;
        put_text(out, "STARTTLS\r\n");
        break;
    case ST_RSET:
        verb = LOAD_VERB_RSET;
        put_text(out, "RSET\r\n");
        break;
    case ST_QUIT:
        verb = LOAD_VERB_QUIT;
        put_text(out, "QUIT\r\n");
        break;
    default:
        forget_extensions(engine);
        put_text(out, engine->state == ST_HELO ? "HELO " : "EHLO ");
        put_slice(out, engine->conf->ehlo_name);
        put_text(out, "\r\n");
        break;
    }
    engine->written |= 1U << verb;
    engine->command_due = false;
}

/* Writes what may be written of a transaction; true: *out_act is to be returned. */
static bool write_items(struct load_engine *engine, struct writer *out, enum load_act *out_act)
{
    while (may_write(engine)) {
        if (writer_room(out) < LOAD_OUT_MIN) {
            *out_act = LOAD_FLUSH;
            return true;
        }
        if (write_item(engine, out)) {
            *out_act = LOAD_BODY;
            return true;
        }
    }
    return false;
}

static enum load_act take_reply(struct load_engine *engine, struct slice *in)
{
    bool more = false;
    while (!more && !engine->broken) {
        if (read_line(engine, in, &more)) {
            on_reply(engine);
            return LOAD_REPLY;
        }
    }
    if (engine->broken) {
        in->len = 0;
        give_up(engine);
        return LOAD_FLUSH; /* call again: the state has changed */
    }
    return LOAD_INPUT;
}

static void end_message(struct load_engine *engine)
{
    bool left = engine->mail_taken && engine->final_code / 100 != 2 && !engine->msg.last;
    enter(engine, left ? ST_RSET : ST_DONE);
}

enum load_act load_engine_next(struct load_engine *engine, struct slice *in, struct writer *out)
{
    enum load_act act;
    if (writer_room(out) < LOAD_OUT_MIN) {
        return LOAD_FLUSH;
    }
    if (engine->state == ST_MESSAGE) {
        if (write_items(engine, out, &act)) {
            return act;
        }
        if (item_list_over(engine)) {
            end_message(engine);
        }
    }
    if (engine->command_due) {
        put_command(engine, out);
    }
    switch (engine->state) {
    case ST_TLS:
        in->len = 0; /* nothing sent in clear behind the 220 counts */
        return LOAD_START_TLS;
    case ST_READY:
        return LOAD_READY;
    case ST_DONE:
        enter(engine, engine->closing ? ST_CLOSED : ST_READY);
        return LOAD_DONE;
    case ST_CLOSED:
        return LOAD_CLOSE;
    default:
        MX_ASSERT(awaits_reply(engine));
        return take_reply(engine, in);
    }
}

void load_engine_tls_started(struct load_engine *engine)
{
    MX_ASSERT(engine->state == ST_TLS);
    engine->under_tls = true;
    enter(engine, ST_EHLO);
}

void load_engine_quit(struct load_engine *engine)
{
    MX_ASSERT(engine->state == ST_READY);
    enter(engine, ST_QUIT);
}
