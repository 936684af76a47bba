/* The client side of SMTP for a load: greeting, EHLO (HELO when refused), STARTTLS, transactions,
 * QUIT. Unlike the client of the mail path (smtp/cli_engine) it tells every single reply, so that
 * each can be counted and timed, and sends in ways that a mail system would not (BDAT in chunks of
 * any size, content behind recipients that nobody has accepted yet). Pure.
 *
 * A transaction is a list of items: MAIL, each RCPT, then DATA and the content, or each chunk. Two
 * cursors run over it: what was written, and what was answered. How far the first may run ahead is
 * the pipelining. The item whose reply comes next is told by the second. */
#pragma once

#include "core/cursor.h"

enum load_pipelining {
    PIPELINING_OFF,   /* wait for every reply */
    PIPELINING_GROUP, /* MAIL, RCPT, DATA together; chunks of BDAT together (RFC 2920, RFC 3030) */
    PIPELINING_FULL,  /* as before, and the first BDAT behind the last RCPT at once */
};

enum load_verb {
    LOAD_VERB_BANNER,
    LOAD_VERB_EHLO,
    LOAD_VERB_STARTTLS,
    LOAD_VERB_MAIL,
    LOAD_VERB_RCPT,
    LOAD_VERB_DATA, /* its 354, or the reply to a chunk that is not the last */
    LOAD_VERB_END,  /* the reply to the content */
    LOAD_VERB_RSET,
    LOAD_VERB_QUIT,
    LOAD_VERBS
};

struct load_engine_conf {
    struct slice ehlo_name;
    enum load_pipelining pipelining; /* if offered */
    bool chunking;                   /* BDAT if offered */
    uint64_t chunk_bytes;            /* of content in a BDAT; 0 = all */
    bool starttls;                   /* a server without it is of no use */
};

/* An address in two parts, so that unknown recipients need no memory of their own. */
struct load_rcpt {
    struct slice head, tail;
};

struct load_message {
    struct slice sender;
    const struct load_rcpt *rcpts;
    uint32_t rcpt_count;
    uint64_t content_bytes; /* for SIZE and BDAT */
    uint64_t dotted_bytes;  /* with the dots that DATA doubles; it ends in CRLF */
    bool has_8bit;
    bool last; /* QUIT follows: no RSET after a failure */
};

enum load_act {
    LOAD_INPUT,     /* wants more bytes, after out has been sent */
    LOAD_FLUSH,     /* out has too little room: send, then call again */
    LOAD_REPLY,     /* engine->verb was answered with engine->code */
    LOAD_START_TLS, /* send out, handshake, then load_engine_tls_started */
    LOAD_READY,     /* load_engine_begin, load_engine_quit, or wait */
    LOAD_BODY,      /* wants content behind out: load_engine_body */
    LOAD_DONE,      /* the transaction is over: rcpt_codes and final_code tell how */
    LOAD_CLOSE,     /* the session is over */
};

enum { LOAD_OUT_MIN = 1024, LOAD_REPLY_LINE_MAX = 4096 };

struct load_engine {
    const struct load_engine_conf *conf; /* borrowed */
    uint16_t code;                       /* of LOAD_REPLY */
    enum load_verb verb;
    uint32_t written; /* bit 1 << verb: these were written since the pump cleared it */
    /* of the transaction: */
    uint16_t *rcpt_codes; /* the reply to each RCPT, or to MAIL when that was refused; 0 = none */
    uint16_t final_code;  /* to the content, for the recipients with 2xx; 0 = none */
    bool offers_starttls, offers_pipelining, offers_chunking, offers_size, offers_8bit;
    bool offers_utf8;
    /* private */
    uint8_t state;
    bool under_tls, command_due, closing, broken;
    struct load_message msg;
    uint32_t sent, answered; /* cursors */
    uint32_t items;
    uint32_t accepted;
    bool failed; /* nothing more of this transaction is of use */
    bool mail_taken;
    bool in_item; /* the header of the item under way is written */
    uint64_t item_left, body_left;
};

/* under_tls: implicit TLS. */
void load_engine_init(struct load_engine *engine, const struct load_engine_conf *conf,
                      bool under_tls);
/* One act; *in is advanced over what was used. */
enum load_act load_engine_next(struct load_engine *engine, struct slice *in, struct writer *out);
/* After LOAD_READY. rcpt_codes has room for msg->rcpt_count, and like all that msg borrows lives
 * until LOAD_DONE. */
void load_engine_begin(struct load_engine *engine, const struct load_message *msg,
                       uint16_t *rcpt_codes);
/* Is the content to go by BDAT, as it is? Else by DATA, dotted. After LOAD_READY. */
bool load_engine_chunked(const struct load_engine *engine);
/* After LOAD_BODY: how many of len bytes, which come next of the content, are to be sent now. The
 * caller sends them as they are. */
size_t load_engine_body(struct load_engine *engine, size_t len);
void load_engine_tls_started(struct load_engine *engine);
void load_engine_quit(struct load_engine *engine);
