#include "smtp/received.h"

#include "core/timefmt.h"
#include "smtp/addr_parse.h"

enum {
    LINE_MAX_BYTES = 78, /* RFC 5322 section 2.1.1, without CRLF */
    TOKEN_MAX = 512,
    FIELD_NAME_BYTES = sizeof "Received:" - 1,
};

/* A header being folded: where its current line began in the writer. */
struct folding {
    struct writer *w;
    size_t line_start;
};

static void fold_here(struct folding *f)
{
    put_text(f->w, "\r\n\t");
    f->line_start = f->w->len - 1;
}

/* Appends a token after a space, or on a new line when it would not fit; the first one always
 * behind the field's name. */
static void put_token(struct folding *f, const struct writer *token)
{
    size_t used = f->w->len - f->line_start;
    if (used > FIELD_NAME_BYTES && used + 1 + token->len > LINE_MAX_BYTES) {
        fold_here(f);
    } else if (used > 1) {
        put_char(f->w, ' ');
    }
    put_slice(f->w, writer_slice(token));
    f->w->overflow = f->w->overflow || token->overflow;
}

/* RFC 3848 and RFC 6531 section 3.7.3. A HELO session under TLS has no keyword of its own. */
static const char *protocol_of(const struct received *r)
{
    static const char *const names[2][2][2] = {
        /* [lmtp][utf8][tls] */
        {{"ESMTP", "ESMTPS"}, {"UTF8SMTP", "UTF8SMTPS"}},
        {{"LMTP", "LMTPS"}, {"UTF8LMTP", "UTF8LMTPS"}},
    };
    if (!r->esmtp && !r->lmtp) {
        return "SMTP";
    }
    return names[r->lmtp][r->smtputf8][r->under_tls];
}

/* TCP-info; nothing for family 0. */
static void put_literal(struct folding *f, const struct netaddr *addr)
{
    uint8_t room[TOKEN_MAX];
    struct writer token = writer_init(room, sizeof room);
    if (addr->family != 0) {
        put_text(&token, addr->family == 6 ? "([IPv6:" : "([");
        put_netaddr(&token, addr);
        put_text(&token, "])");
        put_token(f, &token);
    }
}

static void put_from(struct folding *f, const struct received *r)
{
    uint8_t room[TOKEN_MAX];
    struct writer token = writer_init(room, sizeof room);
    bool valid = addr_is_domain(r->helo, false) || addr_is_literal(r->helo);
    put_text(&token, "from ");
    put_slice(&token, valid ? r->helo : SLICE_LITERAL("unknown"));
    put_token(f, &token);
    put_literal(f, &r->client);
}

static void put_by(struct folding *f, const struct received *r)
{
    uint8_t room[TOKEN_MAX];
    struct writer token = writer_init(room, sizeof room);
    put_text(&token, "by ");
    put_slice(&token, r->hostname);
    put_token(f, &token);
    put_literal(f, &r->server);

    token = writer_init(room, sizeof room);
    put_text(&token, "with ");
    put_text(&token, protocol_of(r));
    put_token(f, &token);

    if (r->under_tls && r->tls_version.len > 0) {
        token = writer_init(room, sizeof room);
        put_char(&token, '(');
        put_slice(&token, r->tls_version);
        put_text(&token, r->tls_cipher.len > 0 ? " cipher " : "");
        put_slice(&token, r->tls_cipher);
        put_char(&token, ')');
        put_token(f, &token);
    }
}

static void put_id_for(struct folding *f, const struct received *r)
{
    uint8_t room[TOKEN_MAX];
    struct writer token = writer_init(room, sizeof room);
    put_text(&token, "id ");
    qid_print(&token, r->id);
    put_text(&token, r->only_rcpt.len > 0 ? "" : ";");
    put_token(f, &token);

    if (r->only_rcpt.len > 0) {
        token = writer_init(room, sizeof room);
        put_text(&token, "for <");
        put_slice(&token, r->only_rcpt);
        put_text(&token, ">;");
        put_token(f, &token);
    }
}

void received_print(struct writer *w, const struct received *r)
{
    struct folding f = {.w = w, .line_start = w->len};
    put_text(w, "Received:");
    put_from(&f, r);
    fold_here(&f);
    put_by(&f, r);
    put_id_for(&f, r);
    fold_here(&f);
    put_rfc5322(w, r->wall_ms);
    put_text(w, "\r\n");
}
