/* The SMTP server session as a pure state machine (RFC 5321 and the extensions named in EHLO).
 *
 * The pump gives bytes (srv_next), gets replies in a writer and one action. When the action is
 * SRV_ASK the engine waits for exactly one srv_answer; until then srv_next must not be called, so
 * pipelined input simply stays with the pump and replies keep their order. No I/O, clock or
 * allocation; text in questions borrows from the input and is valid until the next srv_next.
 *
 * Legal paths: banner -> EHLO/HELO -> (STARTTLS -> EHLO) -> { MAIL -> RCPT+ -> (DATA | BDAT+) ->
 * end }* -> QUIT. RSET, EHLO and the end of data bring a session back to "greeted". srv_enter is
 * the only place that changes the state; verb.def tells which command is legal where.
 *
 * A refused BDAT chunk that is not the last fails the transaction: it is dropped at once, and the
 * chunks that follow are read, thrown away and answered 503 until LAST, RSET or EHLO (RFC 3030).
 *
 * Who speaks HTTP or TLS before EHLO, or sends more behind a command that has to be waited for, or
 * pipelines before that was offered, is told so once, and the session ends. Seen is only what has
 * been shown together with the command, so it depends on chance who is caught, never who is not.
 *
 * The product's sentence: the 250 after the data is written only by srv_answer to SRV_ASK_END with
 * REPLY_OK, which the pump gives only after the covering synced write. */
#pragma once

#include "core/cursor.h"
#include "core/err.h"
#include "smtp/data_stream.h"
#include "smtp/envelope.h"
#include "smtp/reply.h"
#include "smtp/srv_counts.h"

/* Settings of a session; what was announced stays true because they do not change under it. A limit
 * of 0 means none (recipients: ENVELOPE_RCPTS_MAX). */
struct srv_limits {
    uint32_t line_bytes_max;  /* command line, without CRLF: 4096 */
    uint32_t rcpts_max;       /* 1000; never more than ENVELOPE_RCPTS_MAX */
    uint64_t size_bytes_max;  /* 100 MiB */
    uint32_t received_max;    /* 50 */
    uint32_t errors_max;      /* 20, since a message was accepted */
    uint32_t rcpt_errors_max; /* of them, refused recipients: 0 */
    uint32_t messages_max;    /* 1000 */
    uint32_t commands_max;    /* 10000, since a message was accepted */
    bool refuse_pipelining;   /* of what may not be: the session ends with REPLY_NOT_WAITED */
    bool normalize_newlines;  /* bare CR / LF become CRLF instead of 550 5.5.2 */
    bool offer_chunking;      /* true */
    bool offer_binarymime;    /* false */
    bool offer_pipelining;    /* true */
    bool offer_dsn;           /* true */
    bool helo_optional;       /* false; MAIL is taken without EHLO or HELO */
};

/* Immutable while the session lives; owned by the caller (one per listener and image). */
struct srv_conf {
    struct srv_limits limits;
    struct slice hostname;
    bool tls_available;        /* STARTTLS is offered on a clear-text session */
    struct srv_counts *counts; /* NULL: nothing is counted */
};

enum srv_act {
    SRV_INPUT,     /* wants more bytes; *in holds what could not be used yet: at most
                      line_bytes_max + 1 bytes, to be shown again with what follows them */
    SRV_ASK,       /* a question is in srv->ask */
    SRV_FLUSH,     /* send out, then call again: it has too little room for a reply, or srv->error
                      is set */
    SRV_START_TLS, /* send out, handshake, then srv_tls_started; *in has been emptied, and input
                      that was read but not shown yet must be thrown away too (RFC 3207 section 4.2)
                    */
    SRV_CLOSE,     /* send out, close; srv->close_reason tells why */
};

enum srv_question {
    SRV_ASK_CONNECT, /* may the banner go out? */
    SRV_ASK_HELO,    /* ask.text = name given, ask.esmtp */
    SRV_ASK_MAIL,    /* ask.text = sender without brackets, ask.mail */
    SRV_ASK_RCPT,    /* ask.text = recipient without brackets (source route stripped), ask.rcpt */
    SRV_ASK_DATA,    /* may the 354 go out (or the first BDAT chunk be taken)? */
    SRV_ASK_BODY,    /* ask.text = decoded content, at least one byte; answer when stored */
    SRV_ASK_END,     /* content complete: ask.end; answer REPLY_OK with the queue id once durable */
    SRV_ASK_ABORT,   /* the transaction is dropped (RSET, EHLO, refused content); answer REPLY_OK at
                        once */
};

struct srv_end {
    uint64_t bytes;
    bool has_8bit;
    bool ends_in_crlf;
    bool chunked; /* BDAT */
};

struct srv_ask {
    enum srv_question kind;
    bool esmtp;
    struct slice text;
    union { /* by kind */
        struct mail_params mail;
        struct rcpt_params rcpt;
        struct srv_end end;
    };
};

/* For deadlines of the pump: what the session waits for. */
enum srv_phase {
    SRV_PHASE_COMMAND, /* idle timeout */
    SRV_PHASE_DATA,    /* data block timeout */
    SRV_PHASE_ANSWER,  /* waits for us */
    SRV_PHASE_CLOSED,
};

enum srv_close_reason {
    SRV_CLOSE_NONE,
    SRV_CLOSE_QUIT,
    SRV_CLOSE_ERRORS,   /* too many errors */
    SRV_CLOSE_COMMANDS, /* too many commands or messages */
    SRV_CLOSE_TIMEOUT,
    SRV_CLOSE_SHUTDOWN,
    SRV_CLOSE_SLOW,     /* content comes too slowly */
    SRV_CLOSE_PROTOCOL, /* no SMTP, or spoken out of turn */
    SRV_CLOSE_REFUSED,  /* SRV_ASK_CONNECT was refused, or another question with a 421 */
};

enum {
    SRV_REPLY_MAX = 1024, /* room that out must have for one step: a reply and a 421 after it */
    SRV_REPLY_TEXT_MAX = REPLY_ARG_MAX, /* longest text argument of an answer */
};

struct srv {
    const struct srv_conf *conf;
    struct srv_ask ask;   /* the open question */
    uint64_t chunk_left;  /* bytes of the current BDAT chunk */
    uint8_t close_reason; /* enum srv_close_reason */
    uint8_t refused;      /* enum reply of the first 4xx or 5xx of the session */
    uint8_t refused_verb; /* what it answered: see smtp/srv_counts.h */
    bool esmtp;
    bool under_tls;
    bool brought_mail; /* a message was accepted */
    uint16_t refusals; /* replies of 4xx and 5xx so far, at most 65535 */
    uint8_t error;     /* enum reply of the error that the last srv_next or srv_answer said, else
                          REPLY_OK. Nothing behind it has been looked at, so it may be let wait. */
    uint32_t error_at; /* where that reply begins in out */
    uint32_t errors;   /* since a message was accepted */
    uint32_t scans;    /* what only who looks for holes does: for the host, which sets it to 0 */
    /* The rest is private to the engine. */
    bool waiting;         /* a question is open */
    bool open;            /* MAIL was accepted, and neither END nor ABORT was asked since */
    bool smtputf8;        /* of the transaction */
    bool discarding_line; /* inside an over-long command line */
    bool chunk_last;
    bool hello_seen;    /* EHLO or HELO was tried, if only to be refused */
    uint8_t state;      /* enum srv_state in srv_verbs.h */
    uint8_t verb;       /* what replies answer: see smtp/srv_counts.h */
    uint8_t next_state; /* where a chunk that is thrown away, or a dropped transaction, leads */
    uint8_t body;       /* enum body_type */
    uint8_t failed;     /* enum reply that the end of this content will get, REPLY_OK = none */
    uint32_t rcpts_ok;
    uint32_t rcpt_errors;
    uint32_t commands;
    uint32_t commands_before; /* of them, those up to the last message that was accepted */
    struct data_stream data;
    uint32_t messages;
    uint8_t envid[ENVID_MAX]; /* what ask.mail.envid borrows */
};

/* Begins a session: the first action is SRV_ASK_CONNECT. under_tls: implicit TLS. */
void srv_init(struct srv *srv, const struct srv_conf *conf, bool under_tls);
/* Goes on. *in is advanced over what was consumed. out collects replies; its capacity is at least
 * SRV_REPLY_MAX. Never to be called while a question is open or after SRV_CLOSE. SRV_ASK_BODY's
 * text may point into *in's consumed part. */
enum srv_act srv_next(struct srv *srv, struct slice *in, struct writer *out);
/* Answers the open question; out as in srv_next and with at least SRV_REPLY_MAX bytes of room.
 * REPLY_OK accepts; any other reply refuses with that reply. text: for SRV_ASK_END the queue id;
 * for SRV_ASK_CONNECT the banner, empty = the usual one; else put in the place of the reply's "%s"
 * if it has one. A refusal of SRV_ASK_BODY is remembered: the rest is read and thrown away, and the
 * end gets that reply. */
void srv_answer(struct srv *srv, enum reply reply, struct slice text, struct writer *out);
/* The handshake after SRV_START_TLS is complete: everything learnt before is forgotten. */
void srv_tls_started(struct srv *srv);
/* Once, when the session is over for its owner: it is no longer counted. Harmless before srv_init.
 */
void srv_leave(struct srv *srv);
/* Ends the session from outside (timeout, shutdown): writes the 421, if out has room and no TLS
 * handshake is under way; the session is closed then. Allowed while a question is open; its late
 * answer must not be given any more. */
void srv_stop(struct srv *srv, enum srv_close_reason reason, struct writer *out);
/* Is this the refusal of a recipient that does not exist, or may not be sent to? */
bool srv_refuses_rcpt(enum reply reply);
enum srv_phase srv_phase(const struct srv *srv);
