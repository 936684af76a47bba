/* The envelope of a message: who sends it, to whom, and what the client said about it. Pure.
 * In memory it is a struct with borrowed text; stored it is a byte string (envelope_encode) that
 * ends up in the message's journal record. */
#pragma once

#include "core/cursor.h"
#include "core/err.h"
#include "core/netaddr.h"
#include "core/qid.h"

enum {
    ADDRESS_MAX = 254 + 66, /* local part 64 (quoted: 66), "@", domain 255 */
    LOCAL_PART_MAX = 66,
    DOMAIN_MAX = 255,
    ENVID_MAX = 100, /* decoded; RFC 3461 section 4.4 */
    ORCPT_MAX = 500, /* RFC 3461 section 4.2 */
    HELO_NAME_MAX = 255,
};

enum body_type { BODY_7BIT, BODY_8BITMIME, BODY_BINARYMIME };
enum dsn_ret { RET_UNSET, RET_FULL, RET_HDRS };
/* RFC 3461 section 4.1; NOTIFY_UNSET = parameter absent. */
enum dsn_notify {
    NOTIFY_UNSET = 0,
    NOTIFY_NEVER = 1,
    NOTIFY_SUCCESS = 2,
    NOTIFY_FAILURE = 4,
    NOTIFY_DELAY = 8,
};

/* Parameters of MAIL FROM. Text is borrowed. */
struct mail_params {
    uint64_t size; /* 0 = not declared */
    enum body_type body;
    enum dsn_ret ret;
    bool smtputf8;
    struct slice envid; /* xtext-decoded */
};

/* Parameters of RCPT TO. */
struct rcpt_params {
    uint8_t notify;     /* enum dsn_notify bits */
    struct slice orcpt; /* as sent: "rfc822;xtext" */
};

/* One recipient. address keeps the spelling that was sent, without angle brackets. */
struct envelope_rcpt {
    struct slice address;
    struct rcpt_params params;
};

/* Stored. SOURCE_LIST: made here from mail to a list that came by SMTP. */
enum envelope_source { SOURCE_SMTP = 0, SOURCE_DSN = 1, SOURCE_LIST = 2 };

struct envelope {
    struct slice sender; /* empty = null sender */
    struct mail_params mail;
    int64_t arrived_wall_ms;
    struct netaddr client; /* family 0 for our own mail */
    struct slice helo;
    enum envelope_source source;
    uint64_t body_bytes; /* content as received, without prefix */
    bool body_ends_in_crlf;
    bool body_has_8bit;
    struct slice prefix; /* headers that we add on top (Received:), CRLF-terminated lines */
    uint32_t rcpt_count;
    const struct envelope_rcpt *rcpts;
};

enum { ENVELOPE_RCPTS_MAX = 1000 };

/* Exact number of bytes envelope_encode will write. */
size_t envelope_bytes(const struct envelope *env);
void envelope_encode(struct writer *w, const struct envelope *env);
/* Decodes into env and rcpts (room for rcpts_max); text borrows from bytes. MX_ERR_SYNTAX when
 * malformed (lengths, enum values and trailing bytes are checked), MX_ERR_VERSION when written by a
 * newer version, MX_ERR_LIMIT when there are more recipients than room (only env->rcpt_count is set
 * then). Otherwise env and rcpts are untouched on failure. */
MX_MUST_CHECK mx_err envelope_decode(struct envelope *env, struct envelope_rcpt *rcpts,
                                     size_t rcpts_max, struct slice bytes);
