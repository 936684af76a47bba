#include "smtp/dsn.h"

#include "core/text.h"
#include "core/timefmt.h"
#include "smtp/addr_parse.h"
#include "smtp/xtext.h"

enum { LINE_TEXT_MAX = 900, PER_RCPT_BYTES = 6144, MESSAGE_ID_MAX = 250 };

static const struct {
    const char *subject, *intro, *action;
} forms[] = {
    [DSN_FAILED] = {"Undelivered Mail Returned to Sender",
                    "Your message could not be delivered to the following recipients:", "failed"},
    [DSN_DELAYED] = {"Delayed Mail (still being retried)",
                     "Your message could not be delivered yet to the following recipients. It is "
                     "still\r\nqueued and will be tried again; you need not send it again:",
                     "delayed"},
    [DSN_DELIVERED] = {"Successful Mail Delivery",
                       "Your message was delivered to the following recipients:", "delivered"},
    [DSN_RELAYED] = {"Mail Handed On",
                     "Your message was handed on for the following recipients, to a system that "
                     "sends no\r\nfurther notification:",
                     "relayed"},
    [DSN_EXPANDED] = {"Mail Distributed",
                      "Your message was sent on to the members of these mailing lists:",
                      "expanded"},
};

bool dsn_wanted(uint8_t notify, enum dsn_action action)
{
    uint8_t bits = notify == NOTIFY_UNSET ? NOTIFY_FAILURE | NOTIFY_DELAY : notify;
    switch (action) {
    case DSN_FAILED:
        return (bits & NOTIFY_FAILURE) != 0;
    case DSN_DELAYED:
        return (bits & NOTIFY_DELAY) != 0;
    default:
        return (bits & NOTIFY_SUCCESS) != 0;
    }
}

/* One number of a status code, and what has to follow it. */
static bool take_number(struct slice *text, uint8_t *out, char end)
{
    unsigned value = 0;
    size_t digits = 0;
    while (digits < text->len && digits < 3 && ascii_is_digit(text->ptr[digits])) {
        value = value * 10 + (unsigned)(text->ptr[digits++] - '0');
    }
    bool good = digits > 0 && value <= UINT8_MAX && digits < text->len && text->ptr[digits] == end;
    *out = (uint8_t)value;
    *text = slice_from(*text, mx_min_size(digits + 1, text->len));
    return good;
}

void dsn_status_guess(uint8_t out_status[3], enum dsn_action action, struct slice text)
{
    uint8_t class_ = action == DSN_FAILED ? 5 : action == DSN_DELAYED ? 4 : 2;
    uint8_t found[3];
    bool good = take_number(&text, &found[0], '.') && take_number(&text, &found[1], '.') &&
                take_number(&text, &found[2], ' ') && found[0] == class_;
    out_status[0] = class_;
    out_status[1] = good ? found[1] : 0;
    out_status[2] = good ? found[2] : 0;
}

size_t dsn_bytes_max(const struct dsn *dsn)
{
    return 8192 + (size_t)dsn->rcpt_count * PER_RCPT_BYTES + dsn->original_header.len +
           dsn->original_body.len;
}

/* Text from outside in one header line: nothing in it may end the line. */
static void put_safe(struct writer *w, struct slice text, bool utf8)
{
    text = slice_first(text, LINE_TEXT_MAX);
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = text.ptr[i];
        put_u8(w, c >= 0x20 && c != 0x7f && (c < 0x80 || utf8) ? c : '?');
    }
}

static bool is_utf8(const struct dsn *dsn)
{
    return dsn->env->mail.smtputf8;
}

/* A report in ASCII has addresses that are not in ASCII as well: a list's members, say. */
static void put_address(struct writer *w, const struct dsn *dsn, struct slice address)
{
    uint8_t coded[6 * ADDRESS_MAX];
    struct writer c = writer_init(coded, sizeof coded);
    if (!text_is_ascii(address) && !is_utf8(dsn)) {
        put_utf8_xtext(&c, address, false);
        address = writer_slice(&c);
    }
    put_safe(w, address, is_utf8(dsn));
}

static void put_status(struct writer *w, const uint8_t status[3])
{
    put_decimal(w, status[0]);
    put_char(w, '.');
    put_decimal(w, status[1]);
    put_char(w, '.');
    put_decimal(w, status[2]);
}

/* Of what is quoted, whatever the envelope said. */
static bool quotes_8bit(const struct dsn *dsn)
{
    return !text_is_ascii(dsn->original_header) || !text_is_ascii(dsn->original_body);
}

static void put_boundary(struct writer *w, const struct dsn *dsn)
{
    put_text(w, "=_ringmx-");
    qid_print(w, dsn->id);
}

static void put_encoding(struct writer *w, bool is_8bit)
{
    put_text(w, is_8bit ? "Content-Transfer-Encoding: 8bit\r\n" : "");
}

static void put_part(struct writer *w, const struct dsn *dsn, const char *type, bool is_8bit)
{
    put_text(w, "\r\n--");
    put_boundary(w, dsn);
    put_text(w, "\r\nContent-Type: ");
    put_text(w, type);
    put_text(w, "\r\n");
    put_encoding(w, is_8bit);
    put_text(w, "\r\n");
}

/* The most serious thing that happened names the message. */
static enum dsn_action main_action(const struct dsn *dsn)
{
    enum dsn_action action = DSN_EXPANDED;
    for (uint32_t i = 0; i < dsn->rcpt_count; i++) {
        action = dsn->rcpts[i].action < action ? dsn->rcpts[i].action : action;
    }
    return action;
}

/* RFC 2047 encoded words of at most 75 characters; a character of UTF-8 is not cut. */
static void put_words(struct writer *w, struct slice text)
{
    enum { WORD_MAX = 75 - 2, CHARACTER_MAX = 4 * 3 };
    static const char begin[] = "=?utf-8?Q?";
    size_t used = 0;
    for (size_t i = 0; i < text.len; i++) {
        bool first = (text.ptr[i] & 0xc0) != 0x80; /* of a character */
        if (used == 0 || (first && used + CHARACTER_MAX > WORD_MAX) || used + 3 > WORD_MAX) {
            put_text(w, used == 0 ? "" : "?=\r\n ");
            put_text(w, begin);
            used = sizeof begin - 1;
        }
        if (ascii_is_alnum(text.ptr[i])) {
            put_u8(w, text.ptr[i]);
            used++;
        } else {
            static const char hex[] = "0123456789ABCDEF";
            put_char(w, '=');
            put_char(w, hex[text.ptr[i] >> 4]);
            put_char(w, hex[text.ptr[i] & 15]);
            used += 3;
        }
    }
    put_text(w, "?=");
}

/* A phrase (RFC 5322): words as they are, else encoded. */
static void put_name(struct writer *w, struct slice name)
{
    bool plain = true;
    for (size_t i = 0; i < name.len; i++) {
        plain = plain && (ascii_is_alnum(name.ptr[i]) || name.ptr[i] == ' ' || name.ptr[i] == '-' ||
                          name.ptr[i] == '_');
    }
    if (plain) {
        put_slice(w, name);
    } else {
        put_words(w, name);
    }
}

static void put_from(struct writer *w, const struct dsn *dsn)
{
    struct slice name = text_trim(slice_first(dsn->from_name, DSN_NAME_MAX));
    put_name(w, name.len > 0 ? name : SLICE_LITERAL("Mail Delivery System"));
    put_text(w, " <");
    if (dsn->from_address.len > 0) {
        put_slice(w, dsn->from_address);
    } else {
        put_text(w, "MAILER-DAEMON@");
        put_slice(w, dsn->hostname);
    }
    put_text(w, ">");
}

/* "<...>" without white space, as the original's header has it, or empty. */
static struct slice message_id(struct slice header)
{
    const struct slice name = SLICE_LITERAL("Message-ID:");
    while (header.len > 0) {
        size_t end = slice_find(header, '\n');
        struct slice line = slice_first(header, end);
        line.len -= line.len > 0 && line.ptr[line.len - 1] == '\r';
        header = slice_from(header, mx_min_size(end + 1, header.len));
        if (!text_starts_nocase(line, name)) {
            continue;
        }
        struct slice id = text_trim(slice_from(line, name.len));
        bool good = id.len > 2 && id.len <= MESSAGE_ID_MAX && id.ptr[0] == '<' &&
                    slice_find(id, '>') == id.len - 1;
        for (size_t i = 0; good && i < id.len; i++) {
            good = id.ptr[i] > 0x20 && id.ptr[i] < 0x7f;
        }
        return good ? id : SLICE_EMPTY;
    }
    return SLICE_EMPTY;
}

/* RFC 3834 section 3.1.5. */
static void put_references(struct writer *w, const struct dsn *dsn)
{
    struct slice id = message_id(dsn->original_header);
    if (id.len > 0) {
        put_text(w, "In-Reply-To: ");
        put_slice(w, id);
        put_text(w, "\r\nReferences: ");
        put_slice(w, id);
        put_text(w, "\r\n");
    }
}

static void put_header(struct writer *w, const struct dsn *dsn)
{
    put_text(w, "Date: ");
    put_rfc5322(w, dsn->wall_ms);
    put_text(w, "\r\nFrom: ");
    put_from(w, dsn);
    put_text(w, "\r\nTo: <");
    put_safe(w, dsn->env->sender, is_utf8(dsn));
    put_text(w, ">\r\nSubject: ");
    put_text(w, forms[main_action(dsn)].subject);
    put_text(w, "\r\nMessage-ID: <");
    qid_print(w, dsn->id);
    put_text(w, ".dsn@");
    put_slice(w, dsn->hostname);
    put_text(w, ">\r\n");
    put_references(w, dsn);
    put_text(w, "Auto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n"
                "Content-Type: multipart/report; report-type=delivery-status;\r\n\tboundary=\"");
    put_boundary(w, dsn);
    put_text(w, "\"\r\n");
    put_encoding(w, is_utf8(dsn) || quotes_8bit(dsn));
}

static void put_human_group(struct writer *w, const struct dsn *dsn, enum dsn_action action)
{
    bool first = true;
    for (uint32_t i = 0; i < dsn->rcpt_count; i++) {
        const struct dsn_rcpt *r = &dsn->rcpts[i];
        if (r->action != action) {
            continue;
        }
        if (first) {
            put_text(w, "\r\n");
            put_text(w, forms[action].intro);
            put_text(w, "\r\n\r\n");
            first = false;
        }
        put_text(w, "  <");
        put_address(w, dsn, r->rcpt->address);
        put_text(w, ">\r\n      ");
        put_text(w, r->expired ? "Given up; at last: " : "");
        if (r->remote_host.len > 0) {
            put_safe(w, r->remote_host, false);
            put_text(w, " said: ");
        }
        if (r->code != 0) {
            put_decimal(w, r->code);
            put_char(w, ' ');
        }
        put_safe(w, r->text, is_utf8(dsn));
        put_text(w, "\r\n");
    }
}

static void put_human(struct writer *w, const struct dsn *dsn)
{
    put_text(w, "This is the mail system at ");
    put_slice(w, dsn->hostname);
    put_text(w, ".\r\n");
    for (unsigned action = DSN_FAILED; action <= DSN_EXPANDED; action++) {
        put_human_group(w, dsn, (enum dsn_action)action);
    }
    put_text(w, "\r\nQueue id: ");
    qid_print(w, dsn->original_id);
    put_text(w, "\r\n");
}

/* RFC 3464 section 2.3.1: from ORCPT when there was one. */
static void put_original_rcpt(struct writer *w, const struct dsn *dsn, const struct dsn_rcpt *r)
{
    struct slice orcpt = r->rcpt->params.orcpt;
    size_t semicolon = slice_find(orcpt, ';');
    if (semicolon == orcpt.len) {
        return;
    }
    uint8_t decoded[3 * ORCPT_MAX];
    struct writer d = writer_init(decoded, sizeof decoded);
    struct slice address = slice_from(orcpt, semicolon + 1);
    if (!text_is_ascii(address) && is_utf8(dsn)) {
        put_slice(&d, address); /* of type utf-8, as it came */
    } else if (!text_is_ascii(address)) {
        put_utf8_xtext(&d, address, true);
    } else if (xtext_decode(&d, address) != MX_OK) {
        return;
    }
    put_text(w, "Original-Recipient: ");
    put_safe(w, slice_first(orcpt, semicolon), false);
    put_char(w, ';');
    put_safe(w, writer_slice(&d), is_utf8(dsn));
    put_text(w, "\r\n");
}

static void put_final_rcpt(struct writer *w, const struct dsn *dsn, const struct dsn_rcpt *r)
{
    bool is_ascii = text_is_ascii(r->rcpt->address);
    put_text(w, is_ascii ? "Final-Recipient: rfc822;" : "Final-Recipient: utf-8;");
    put_address(w, dsn, r->rcpt->address);
    put_text(w, "\r\n");
}

static void put_rcpt(struct writer *w, const struct dsn *dsn, const struct dsn_rcpt *r)
{
    put_text(w, "\r\n");
    put_original_rcpt(w, dsn, r);
    put_final_rcpt(w, dsn, r);
    put_text(w, "Action: ");
    put_text(w, forms[r->action].action);
    put_text(w, "\r\nStatus: ");
    put_status(w, r->status);
    put_text(w, "\r\n");
    if (r->remote_host.len > 0) {
        put_text(w, "Remote-MTA: dns;");
        put_safe(w, r->remote_host, false);
        put_text(w, "\r\n");
    }
    if (r->text.len > 0) {
        put_text(w, r->code != 0 ? "Diagnostic-Code: smtp;" : "Diagnostic-Code: X-Ringmx;");
        if (r->code != 0) {
            put_decimal(w, r->code);
            put_char(w, ' ');
        }
        put_safe(w, r->text, is_utf8(dsn));
        put_text(w, "\r\n");
    }
    if (r->attempted_ms != 0) {
        put_text(w, "Last-Attempt-Date: ");
        put_rfc5322(w, r->attempted_ms);
        put_text(w, "\r\n");
    }
    if (r->action != DSN_DELAYED && r->remote_host.len == 0) { /* nobody behind us has it */
        put_text(w, "Final-Log-ID: ");
        qid_print(w, dsn->original_id);
        put_text(w, "\r\n");
    }
    if (r->action == DSN_DELAYED && r->retry_until_ms != 0) {
        put_text(w, "Will-Retry-Until: ");
        put_rfc5322(w, r->retry_until_ms);
        put_text(w, "\r\n");
    }
}

/* RFC 3464 section 2.2.4: what the client called itself, and where it was. Not of mail made here.
 */
static void put_received_from(struct writer *w, const struct envelope *env)
{
    bool named = addr_is_domain(env->helo, false) || addr_is_literal(env->helo);
    if (env->client.family == 0) {
        return;
    }
    put_text(w, "Received-From-MTA: dns;");
    put_slice(w, named ? env->helo : SLICE_EMPTY);
    put_text(w, named ? " (" : "");
    put_text(w, env->client.family == 6 ? "[IPv6:" : "[");
    put_netaddr(w, &env->client);
    put_text(w, named ? "])\r\n" : "]\r\n");
}

static void put_machine(struct writer *w, const struct dsn *dsn)
{
    put_text(w, "Reporting-MTA: dns;");
    put_slice(w, dsn->hostname);
    put_text(w, "\r\n");
    if (dsn->env->mail.envid.len > 0) {
        put_text(w, "Original-Envelope-Id: ");
        put_safe(w, dsn->env->mail.envid, false);
        put_text(w, "\r\n");
    }
    put_received_from(w, dsn->env);
    put_text(w, "X-Ringmx-Queue-ID: ");
    qid_print(w, dsn->original_id);
    put_text(w, "\r\nArrival-Date: ");
    put_rfc5322(w, dsn->env->arrived_wall_ms);
    put_text(w, "\r\n");
    for (uint32_t i = 0; i < dsn->rcpt_count; i++) {
        put_rcpt(w, dsn, &dsn->rcpts[i]);
    }
}

/* Quoted content goes on as a message of lines, whatever it came as: what BINARYMIME may hold, bare
 * CR and LF and NUL, would be a false end of data for a lenient server. So would half a CRLF, where
 * a long header was cut. One byte for each: the size does not change. */
static void put_quoted(struct writer *w, struct slice text)
{
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = text.ptr[i];
        bool odd = c == '\r'   ? i + 1 == text.len || text.ptr[i + 1] != '\n'
                   : c == '\n' ? i == 0 || text.ptr[i - 1] != '\r'
                               : c == '\0';
        put_u8(w, odd ? '?' : c);
    }
}

/* The header ends with a line end of its own. */
static void put_original(struct writer *w, const struct dsn *dsn)
{
    bool whole = dsn->original_body.len > 0;
    bool is_8bit = quotes_8bit(dsn);
    if (whole) {
        put_part(w, dsn, is_utf8(dsn) ? "message/global" : "message/rfc822", is_8bit);
    } else {
        put_part(w, dsn, is_utf8(dsn) ? "message/global-headers" : "text/rfc822-headers", is_8bit);
    }
    put_quoted(w, dsn->original_header);
    if (whole) {
        put_quoted(w, dsn->original_body);
    }
    struct slice s = dsn->original_header;
    if (!whole && (s.len < 2 || memcmp(s.ptr + s.len - 2, "\r\n", 2) != 0)) {
        put_text(w, "\r\n");
    }
}

void dsn_print(struct writer *w, const struct dsn *dsn)
{
    put_header(w, dsn);
    put_text(w, "\r\nThis is a MIME-encapsulated delivery status notification.\r\n");
    put_part(w, dsn, is_utf8(dsn) ? "text/plain; charset=utf-8" : "text/plain; charset=us-ascii",
             is_utf8(dsn));
    put_human(w, dsn);
    put_part(w, dsn, is_utf8(dsn) ? "message/global-delivery-status" : "message/delivery-status",
             is_utf8(dsn));
    put_machine(w, dsn);
    put_original(w, dsn);
    put_text(w, "\r\n--");
    put_boundary(w, dsn);
    put_text(w, "--\r\n");
}
