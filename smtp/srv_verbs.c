#include "smtp/srv_verbs.h"

#include "core/check.h"
#include "core/text.h"
#include "smtp/cmd_parse.h"

static struct cmd_offer offer_of(const struct srv *srv)
{
    const struct srv_limits *limits = &srv->conf->limits;
    return (struct cmd_offer){
        .esmtp = srv->esmtp,
        .binarymime = limits->offer_binarymime && limits->offer_chunking,
        .dsn = limits->offer_dsn,
        .size_bytes_max = limits->size_bytes_max,
    };
}

static enum reply check_ehlo(struct srv *srv, struct slice argument)
{
    srv->ask.text = argument;
    srv->ask.esmtp = true;
    return cmd_check_helo(argument);
}

static enum reply check_helo(struct srv *srv, struct slice argument)
{
    srv->ask.text = argument;
    srv->ask.esmtp = false;
    return cmd_check_helo(argument);
}

static void act_helo(struct srv *srv, struct writer *out)
{
    (void)out;
    srv->hello_seen = true;
    srv_question(srv, SRV_ASK_HELO);
}

static enum reply check_mail(struct srv *srv, struct slice argument)
{
    struct cmd_offer offer = offer_of(srv);
    uint32_t messages_max = srv->conf->limits.messages_max;
    if (messages_max != 0 && srv->messages >= messages_max) {
        return REPLY_TOO_MANY_COMMANDS;
    }
    return cmd_parse_mail(&srv->ask.text, &srv->ask.mail, srv->envid, argument, &offer);
}

static void act_mail(struct srv *srv, struct writer *out)
{
    (void)out;
    srv_question(srv, SRV_ASK_MAIL);
}

static enum reply check_rcpt(struct srv *srv, struct slice argument)
{
    struct cmd_offer offer = offer_of(srv);
    enum reply refusal =
        cmd_parse_rcpt(&srv->ask.text, &srv->ask.rcpt, argument, &offer, srv->smtputf8);
    if (refusal == REPLY_OK && srv->rcpts_ok >= srv_rcpts_max(srv)) {
        return REPLY_TOO_MANY_RCPTS;
    }
    return refusal;
}

static void act_rcpt(struct srv *srv, struct writer *out)
{
    (void)out;
    srv_question(srv, SRV_ASK_RCPT);
}

static void begin_content(struct srv *srv, bool dotted)
{
    const struct srv_limits *limits = &srv->conf->limits;
    data_stream_init(&srv->data, limits->size_bytes_max, dotted, limits->normalize_newlines,
                     srv->body == BODY_BINARYMIME);
    srv_question(srv, SRV_ASK_DATA);
}

static enum reply check_data(struct srv *srv, struct slice argument)
{
    (void)argument;
    if (srv->state == SRV_STATE_MAIL) {
        return REPLY_NO_VALID_RCPTS;
    }
    /* RFC 3030 section 3: binary content needs BDAT. */
    return srv->body == BODY_BINARYMIME ? REPLY_WRONG_ORDER : REPLY_OK;
}

static void act_data(struct srv *srv, struct writer *out)
{
    (void)out;
    begin_content(srv, true);
}

static enum reply check_bdat(struct srv *srv, struct slice argument)
{
    (void)argument;
    uint64_t max = srv->conf->limits.size_bytes_max;
    uint64_t before = srv->state == SRV_STATE_CHUNKED ? srv->data.bytes : 0;
    if (!srv->esmtp || !srv->conf->limits.offer_chunking) {
        return REPLY_NOT_OFFERED;
    }
    if (srv->state == SRV_STATE_MAIL) {
        return REPLY_NO_VALID_RCPTS;
    }
    return max != 0 && srv->chunk_left > max - before ? REPLY_TOO_BIG : REPLY_OK;
}

static void act_bdat(struct srv *srv, struct writer *out)
{
    (void)out;
    if (srv->state == SRV_STATE_RCPT) {
        begin_content(srv, false);
    } else {
        srv_enter(srv, SRV_STATE_CHUNK);
    }
}

static void act_rset(struct srv *srv, struct writer *out)
{
    if (srv->state == SRV_STATE_CHUNK_FAILED) {
        srv_enter(srv, SRV_STATE_GREETED);
    }
    srv_say(srv, REPLY_DONE, SLICE_EMPTY, out);
}

static void act_noop(struct srv *srv, struct writer *out)
{
    srv_say(srv, REPLY_DONE, SLICE_EMPTY, out);
}

static void act_quit(struct srv *srv, struct writer *out)
{
    srv_say(srv, REPLY_BYE, SLICE_EMPTY, out);
    srv_close(srv, SRV_CLOSE_QUIT);
}

static enum reply check_vrfy(struct srv *srv, struct slice argument)
{
    (void)srv;
    return argument.len == 0 ? REPLY_ARGUMENT_SYNTAX : REPLY_OK;
}

static void act_vrfy(struct srv *srv, struct writer *out)
{
    srv_say(srv, REPLY_VRFY, SLICE_EMPTY, out);
}

static void act_help(struct srv *srv, struct writer *out)
{
    srv_say(srv, REPLY_HELP, SLICE_EMPTY, out);
}

static enum reply check_starttls(struct srv *srv, struct slice argument)
{
    (void)argument;
    if (srv->under_tls) {
        return REPLY_WRONG_ORDER;
    }
    return srv->conf->tls_available ? REPLY_OK : REPLY_TLS_UNAVAILABLE;
}

static void act_starttls(struct srv *srv, struct writer *out)
{
    srv_say(srv, REPLY_TLS_READY, SLICE_EMPTY, out);
    srv_enter(srv, SRV_STATE_TLS);
}

static enum reply check_not_offered(struct srv *srv, struct slice argument)
{
    (void)srv;
    (void)argument;
    return REPLY_NOT_OFFERED;
}

#define IN(state) (1u << SRV_STATE_##state)
#define ANY_TIME (IN(BANNERED) | IN(GREETED) | IN(MAIL) | IN(RCPT) | IN(CHUNKED) | IN(CHUNK_FAILED))

static const struct verb verbs[] = {
#define VERB(text, states, argument, drops, waits, check, act) \
    {SLICE_LITERAL(text), states, ARGUMENT_##argument, drops, WAIT_##waits, check, act},
#include "smtp/verb.def"
#undef VERB
};

static const struct verb *find_verb(struct slice text)
{
    for (size_t i = 0; i < mx_countof(verbs); i++) {
        if (text_equal_nocase(verbs[i].text, text)) {
            return &verbs[i];
        }
    }
    return NULL;
}

uint8_t srv_verb_number(const struct verb *verb)
{
    return verb == NULL ? SRV_VERB_UNKNOWN : (uint8_t)(SRV_VERB_FIRST + (verb - verbs));
}

static enum reply check_argument(struct srv *srv, const struct verb *verb, struct slice argument)
{
    switch (verb->argument) {
    case ARGUMENT_NONE:
        return argument.len == 0 ? REPLY_OK : REPLY_ARGUMENT_SYNTAX;
    case ARGUMENT_TEXT:
        return cmd_check_text(argument);
    case ARGUMENT_CHUNK:
        return cmd_parse_bdat(&srv->chunk_left, &srv->chunk_last, argument);
    default:
        return REPLY_OK;
    }
}

enum reply srv_verb_check(struct srv *srv, const struct verb **out_verb, struct slice line)
{
    struct slice text, argument;
    cmd_split(&text, &argument, line);
    *out_verb = find_verb(text);
    const struct verb *verb = *out_verb;
    if (verb == NULL) {
        return text.len + argument.len == 0 ? REPLY_EMPTY_COMMAND : REPLY_UNKNOWN_COMMAND;
    }
    enum reply malformed = check_argument(srv, verb, argument);
    if (malformed != REPLY_OK) {
        return malformed;
    }
    if ((verb->states & 1u << srv->state) == 0) {
        return srv->state == SRV_STATE_BANNERED ? REPLY_HELLO_FIRST : REPLY_WRONG_ORDER;
    }
    return verb->check == NULL ? REPLY_OK : verb->check(srv, argument);
}
