#include "smtp/cmd_parse.h"

#include "core/check.h"
#include "core/text.h"
#include "smtp/xtext.h"

enum { SIZE_DIGITS_MAX = 20 }; /* RFC 1870 section 3, RFC 3030 section 2 */

enum cmd_found cmd_find_line(struct slice *out_line, struct slice in, uint32_t line_bytes_max)
{
    struct slice window = slice_first(in, (size_t)line_bytes_max + 2);
    size_t pos = 0;
    while (pos < window.len) {
        pos += slice_find(slice_from(window, pos), '\n');
        if (pos < window.len && pos > 0 && window.ptr[pos - 1] == '\r') {
            *out_line = slice_first(window, pos - 1);
            return CMD_LINE;
        }
        pos++;
    }
    return window.len == (size_t)line_bytes_max + 2 ? CMD_TOO_LONG : CMD_PARTIAL;
}

size_t cmd_skip_line(bool *out_ended, struct slice in)
{
    *out_ended = false;
    for (size_t pos = 0; pos < in.len; pos++) {
        pos += slice_find(slice_from(in, pos), '\n');
        if (pos < in.len && pos > 0 && in.ptr[pos - 1] == '\r') {
            *out_ended = true;
            return pos + 1;
        }
    }
    return in.len > 0 && in.ptr[in.len - 1] == '\r' ? in.len - 1 : in.len;
}

static size_t word_len(struct slice text)
{
    size_t len = 0;
    while (len < text.len && text.ptr[len] != ' ' && text.ptr[len] != '\t') {
        len++;
    }
    return len;
}

static struct slice next_word(struct slice *text)
{
    *text = text_trim(*text);
    struct slice word = slice_first(*text, word_len(*text));
    *text = slice_from(*text, word.len);
    return word;
}

enum reply cmd_foreign(struct slice in)
{
    /* RFC 8446 section 5.1: handshake, version 3.x; RFC 9110 section 9, RFC 9113 section 3.4. */
    static const struct slice tls = SLICE_LITERAL("\x16\x03");
    static const struct slice methods[] = {
        SLICE_LITERAL("GET "),    SLICE_LITERAL("POST "),    SLICE_LITERAL("HEAD "),
        SLICE_LITERAL("PUT "),    SLICE_LITERAL("OPTIONS "), SLICE_LITERAL("CONNECT "),
        SLICE_LITERAL("DELETE "), SLICE_LITERAL("PATCH "),   SLICE_LITERAL("TRACE "),
        SLICE_LITERAL("PRI "),
    };
    if (slice_equal(slice_first(in, tls.len), tls)) {
        return REPLY_SPEAKS_TLS;
    }
    for (size_t i = 0; i < mx_countof(methods); i++) {
        if (slice_equal(slice_first(in, methods[i].len), methods[i])) {
            return REPLY_SPEAKS_HTTP;
        }
    }
    return REPLY_OK;
}

void cmd_split(struct slice *out_verb, struct slice *out_argument, struct slice line)
{
    size_t len = word_len(line);
    *out_verb = slice_first(line, len);
    *out_argument = text_trim(slice_from(line, len));
}

enum reply cmd_check_helo(struct slice argument)
{
    if (argument.len == 0 || argument.len > HELO_NAME_MAX) {
        return REPLY_ARGUMENT_SYNTAX;
    }
    for (size_t i = 0; i < argument.len; i++) {
        if (!ascii_is_graph(argument.ptr[i])) {
            return REPLY_ARGUMENT_SYNTAX;
        }
    }
    return REPLY_OK;
}

enum reply cmd_check_text(struct slice argument)
{
    for (size_t i = 0; i < argument.len; i++) {
        uint8_t c = argument.ptr[i];
        if ((c < 0x20 && c != '\t') || c == 0x7f) {
            return REPLY_ARGUMENT_SYNTAX;
        }
    }
    return text_is_utf8(argument) ? REPLY_OK : REPLY_ARGUMENT_SYNTAX;
}

/* One esmtp-param (RFC 5321 section 4.1.2). */
struct param {
    struct slice keyword;
    struct slice value;
    bool has_value;
};

static bool is_keyword(struct slice s)
{
    if (s.len == 0 || !ascii_is_alnum(s.ptr[0])) {
        return false;
    }
    for (size_t i = 1; i < s.len; i++) {
        if (!ascii_is_alnum(s.ptr[i]) && s.ptr[i] != '-') {
            return false;
        }
    }
    return true;
}

static bool is_value(struct slice s)
{
    for (size_t i = 0; i < s.len; i++) {
        if ((!ascii_is_graph(s.ptr[i]) && s.ptr[i] < 0x80) || s.ptr[i] == '=') {
            return false;
        }
    }
    return s.len > 0 && text_is_utf8(s);
}

static bool param_split(struct param *out, struct slice word)
{
    size_t equals = slice_find(word, '=');
    out->keyword = slice_first(word, equals);
    out->has_value = equals < word.len;
    out->value = out->has_value ? slice_from(word, equals + 1) : SLICE_EMPTY;
    return is_keyword(out->keyword) && (!out->has_value || is_value(out->value));
}

static bool is_word(struct slice text, const char *word)
{
    return text_equal_nocase(text, slice_of_text(word));
}

/* What the parameters of one command are written to. */
struct param_target {
    const struct cmd_offer *offer;
    struct mail_params *mail;
    uint8_t *envid_room;
    struct rcpt_params *rcpt;
    bool smtputf8;
};

static enum reply set_size(struct param_target *t, struct slice value)
{
    if (value.len > SIZE_DIGITS_MAX) {
        return REPLY_ARGUMENT_SYNTAX;
    }
    switch (text_to_u64(&t->mail->size, value)) {
    case MX_OK:
        return REPLY_OK;
    case MX_ERR_RANGE:
        t->mail->size = UINT64_MAX;
        return REPLY_OK;
    default:
        return REPLY_ARGUMENT_SYNTAX;
    }
}

static enum reply set_body(struct param_target *t, struct slice value)
{
    if (is_word(value, "7BIT")) {
        t->mail->body = BODY_7BIT;
    } else if (is_word(value, "8BITMIME")) {
        t->mail->body = BODY_8BITMIME;
    } else if (is_word(value, "BINARYMIME")) {
        t->mail->body = BODY_BINARYMIME;
        return t->offer->binarymime ? REPLY_OK : REPLY_UNKNOWN_PARAMETER;
    } else {
        return REPLY_ARGUMENT_SYNTAX;
    }
    return REPLY_OK;
}

static enum reply set_smtputf8(struct param_target *t, struct slice value)
{
    (void)value;
    t->mail->smtputf8 = true;
    return REPLY_OK;
}

static enum reply set_ret(struct param_target *t, struct slice value)
{
    if (is_word(value, "FULL")) {
        t->mail->ret = RET_FULL;
    } else if (is_word(value, "HDRS")) {
        t->mail->ret = RET_HDRS;
    } else {
        return REPLY_ARGUMENT_SYNTAX;
    }
    return REPLY_OK;
}

static enum reply set_envid(struct param_target *t, struct slice value)
{
    struct writer w = writer_init(t->envid_room, ENVID_MAX);
    if (!xtext_is_printable(value) || xtext_decode(&w, value) != MX_OK) {
        return REPLY_ARGUMENT_SYNTAX;
    }
    t->mail->envid = writer_slice(&w);
    return REPLY_OK;
}

static enum reply set_notify(struct param_target *t, struct slice value)
{
    unsigned bits = 0;
    for (bool more = true; more;) {
        size_t comma = slice_find(value, ',');
        struct slice word = slice_first(value, comma);
        if (is_word(word, "NEVER")) {
            bits |= NOTIFY_NEVER;
        } else if (is_word(word, "SUCCESS")) {
            bits |= NOTIFY_SUCCESS;
        } else if (is_word(word, "FAILURE")) {
            bits |= NOTIFY_FAILURE;
        } else if (is_word(word, "DELAY")) {
            bits |= NOTIFY_DELAY;
        } else {
            return REPLY_ARGUMENT_SYNTAX;
        }
        more = comma < value.len;
        value = more ? slice_from(value, comma + 1) : SLICE_EMPTY;
    }
    if ((bits & NOTIFY_NEVER) != 0 && bits != NOTIFY_NEVER) {
        return REPLY_ARGUMENT_SYNTAX;
    }
    t->rcpt->notify = (uint8_t)bits;
    return REPLY_OK;
}

static bool is_addr_type(struct slice type)
{
    for (size_t i = 0; i < type.len; i++) {
        if (!ascii_is_alnum(type.ptr[i]) && type.ptr[i] != '-') {
            return false;
        }
    }
    return type.len > 0;
}

/* RFC 3461 section 4.2; with SMTPUTF8 the address of type utf-8 may be UTF-8 as it is (RFC 6533
 * section 3, utf-8-addr-unitext). */
static enum reply set_orcpt(struct param_target *t, struct slice value)
{
    size_t semicolon = slice_find(value, ';');
    struct slice type = slice_first(value, semicolon);
    if (value.len > ORCPT_MAX || semicolon + 1 >= value.len || !is_addr_type(type)) {
        return REPLY_ARGUMENT_SYNTAX;
    }
    struct slice address = slice_from(value, semicolon + 1);
    bool plain_utf8 = t->smtputf8 && is_word(type, "utf-8") && !text_is_ascii(address);
    if (!plain_utf8 && !xtext_is_printable(address)) {
        return REPLY_ARGUMENT_SYNTAX;
    }
    t->rcpt->orcpt = value;
    return REPLY_OK;
}

struct param_row {
    const char *keyword;
    bool of_mail; /* else of RCPT */
    bool dsn;     /* only when DSN is offered */
    bool needs_value;
    enum reply (*set)(struct param_target *t, struct slice value);
};

static const struct param_row param_rows[] = {
    {"SIZE", true, false, true, set_size},          {"BODY", true, false, true, set_body},
    {"SMTPUTF8", true, false, false, set_smtputf8}, {"RET", true, true, true, set_ret},
    {"ENVID", true, true, true, set_envid},         {"NOTIFY", false, true, true, set_notify},
    {"ORCPT", false, true, true, set_orcpt},
};

static enum reply take_param(struct param_target *t, unsigned *seen, const struct param *param)
{
    for (size_t i = 0; i < mx_countof(param_rows); i++) {
        const struct param_row *row = &param_rows[i];
        if (row->of_mail != (t->mail != NULL) || !is_word(param->keyword, row->keyword)) {
            continue;
        }
        if ((row->dsn && !t->offer->dsn) || (*seen & 1u << i) != 0) {
            return REPLY_UNKNOWN_PARAMETER;
        }
        *seen |= 1u << i;
        if (row->needs_value != param->has_value) {
            return REPLY_ARGUMENT_SYNTAX;
        }
        return row->set(t, param->value);
    }
    return REPLY_UNKNOWN_PARAMETER;
}

static enum reply take_params(struct param_target *t, struct slice text)
{
    unsigned seen = 0;
    for (;;) {
        struct param param;
        struct slice word = next_word(&text);
        if (word.len == 0) {
            return REPLY_OK;
        }
        if (!param_split(&param, word)) {
            return REPLY_ARGUMENT_SYNTAX;
        }
        enum reply refusal =
            t->offer->esmtp ? take_param(t, &seen, &param) : REPLY_UNKNOWN_PARAMETER;
        if (refusal != REPLY_OK) {
            return refusal;
        }
    }
}

/* "FROM:" or "TO:", then the path; *argument is left at the parameters. */
static enum reply take_path(struct path *out_path, struct slice *argument, const char *prefix,
                            enum reply malformed)
{
    struct slice lead = slice_of_text(prefix);
    size_t used = 0;
    if (!text_starts_nocase(*argument, lead)) {
        return REPLY_ARGUMENT_SYNTAX;
    }
    struct slice rest = text_trim(slice_from(*argument, lead.len));
    if (addr_parse_path(out_path, &used, rest) != MX_OK) {
        return malformed;
    }
    *argument = slice_from(rest, used);
    if (argument->len > 0 && word_len(*argument) > 0) {
        return REPLY_ARGUMENT_SYNTAX;
    }
    return REPLY_OK;
}

enum reply cmd_parse_mail(struct slice *out_sender, struct mail_params *out_mail,
                          uint8_t *envid_room, struct slice argument, const struct cmd_offer *offer)
{
    struct path path;
    struct mail_params mail = {.body = BODY_7BIT};
    struct param_target target = {.offer = offer, .mail = &mail, .envid_room = envid_room};

    enum reply refusal = take_path(&path, &argument, "FROM:", REPLY_SENDER_SYNTAX);
    if (refusal != REPLY_OK) {
        return refusal;
    }
    if (path.address.text.len > 0 && path.address.domain.len == 0) {
        return REPLY_SENDER_SYNTAX;
    }
    refusal = take_params(&target, argument);
    if (refusal != REPLY_OK) {
        return refusal;
    }
    if (path.address.non_ascii && !mail.smtputf8) {
        return REPLY_NEEDS_SMTPUTF8;
    }
    if (offer->size_bytes_max != 0 && mail.size > offer->size_bytes_max) {
        return REPLY_TOO_BIG;
    }
    *out_sender = path.address.text;
    *out_mail = mail;
    return REPLY_OK;
}

enum reply cmd_parse_rcpt(struct slice *out_rcpt, struct rcpt_params *out_params,
                          struct slice argument, const struct cmd_offer *offer, bool smtputf8)
{
    struct path path;
    struct rcpt_params params = {.notify = NOTIFY_UNSET};
    struct param_target target = {.offer = offer, .rcpt = &params, .smtputf8 = smtputf8};

    enum reply refusal = take_path(&path, &argument, "TO:", REPLY_RCPT_SYNTAX);
    if (refusal != REPLY_OK) {
        return refusal;
    }
    if (path.address.text.len == 0) {
        return REPLY_RCPT_SYNTAX;
    }
    refusal = take_params(&target, argument);
    if (refusal != REPLY_OK) {
        return refusal;
    }
    if (path.address.non_ascii && !smtputf8) {
        return REPLY_NEEDS_SMTPUTF8;
    }
    *out_rcpt = path.address.text;
    *out_params = params;
    return REPLY_OK;
}

enum reply cmd_parse_bdat(uint64_t *out_bytes, bool *out_last, struct slice argument)
{
    uint64_t bytes = 0;
    struct slice size = next_word(&argument);
    struct slice last = next_word(&argument);
    if (size.len > SIZE_DIGITS_MAX || text_to_u64(&bytes, size) != MX_OK ||
        (last.len > 0 && !is_word(last, "LAST")) || next_word(&argument).len > 0) {
        return REPLY_ARGUMENT_SYNTAX;
    }
    *out_bytes = bytes;
    *out_last = last.len > 0;
    return REPLY_OK;
}
