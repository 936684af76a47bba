/* The SMTP/LMTP client session as a pure state machine: greeting, EHLO (HELO fallback), STARTTLS,
 * then any number of transactions, QUIT. Commands are pipelined when PIPELINING was offered: MAIL,
 * all RCPTs and DATA (or BDAT) leave together and replies are matched in order (two cursors over
 * one list).
 *
 * The pump feeds input, sends what is in the writer, supplies content when asked. No I/O, clock,
 * allocation. Per-recipient outcomes come out one by one; each recipient gets exactly one. */
#pragma once

#include "core/cursor.h"
#include "core/err.h"
#include "smtp/envelope.h"

enum cli_tls_mode { CLI_TLS_OPPORTUNISTIC, CLI_TLS_NEVER, CLI_TLS_REQUIRED };

struct cli_conf {
    struct slice ehlo_name; /* ours; borrowed for the session */
    bool lmtp;              /* LHLO, one reply per recipient after the data (RFC 2033) */
    enum cli_tls_mode tls;
    bool under_tls;                  /* implicit TLS: the stream is encrypted from the start */
    bool no_pipelining, no_chunking; /* not to be used although offered */
};

enum cli_act {
    CLI_INPUT,     /* wants more bytes (after out has been sent) */
    CLI_FLUSH,     /* out is full: send, then call again */
    CLI_START_TLS, /* send out, handshake, then cli_tls_started, or cli_lost on failure */
    CLI_READY,     /* no transaction: cli_begin, cli_quit, or keep the connection */
    CLI_BODY,      /* wants content: cli_body */
    CLI_OUTCOME,   /* cli->outcome holds one recipient's result; call cli_next again */
    CLI_DONE,      /* all recipients of the transaction have their outcome; next is CLI_READY or
                      CLI_CLOSE */
    CLI_CLOSE,     /* the session is over (after QUIT's reply, or unusable): close the connection */
};

enum outcome_kind { OUTCOME_DELIVERED, OUTCOME_TEMPORARY, OUTCOME_PERMANENT };

enum { CLI_TEXT_MAX = 512, CLI_REPLY_LINE_MAX = 2048, CLI_REPLY_LINES_MAX = 128 };

/* What happened to one recipient, or to the session (in cli->problem). */
struct outcome {
    enum outcome_kind kind;
    uint32_t rcpt; /* index in the message */
    uint16_t code; /* SMTP reply code, 0 = none (connection lost, our own decision) */
    uint8_t
        status[3]; /* enhanced status class, subject, detail; made from the code if none was sent */
    bool expired;  /* was temporary, and the last attempt */
    bool host_fault; /* the connection or host is to blame, not this message or recipient */
    bool tls_fault;  /* there was no TLS as it is required */
    bool no_step;    /* nothing was tried as nobody could say when: no step of the schedule */
    int64_t due_ms;  /* not tried for a rate's sake, but then; 0: it was tried */
    struct slice
        text; /* printable text of the last reply or our reason; valid until the next call */
    struct slice command; /* static: "RCPT TO", "DATA", "connect"; for log and DSN */
    struct slice host;    /* who said so before there was a transaction; as long as text */
};

struct cli_message {
    const struct envelope *env; /* sender, mail params, size facts; borrowed until CLI_DONE */
    const uint32_t *rcpts;      /* indexes into env->rcpts that this transaction is for */
    uint32_t rcpt_count;
    uint64_t content_bytes; /* all that will be supplied through cli_body */
    bool ends_in_crlf;
    bool has_8bit;
    /* Recipients are only asked about: MAIL, RCPT, RSET. Those that are accepted get their outcome
     * at once; content_bytes is 0. */
    bool only_asks;
};

struct cli_extensions {
    bool pipelining, chunking, size, mime8bit, binarymime, smtputf8, dsn, starttls, enhanced;
    uint64_t size_max; /* 0 = no limit named */
};

struct cli;
/* Size and alignment of the engine's state, for embedding through a pool. */
size_t cli_bytes(void);

void cli_init(struct cli *cli, const struct cli_conf *conf);
enum cli_act cli_next(struct cli *cli, struct slice *in, struct writer *out);
/* Starts a transaction; only after CLI_READY. outcomes: rcpt_count entries of scratch that the
 * engine uses to remember RCPT results (1 byte state each); owned by the caller until CLI_DONE. */
void cli_begin(struct cli *cli, const struct cli_message *msg, uint8_t *rcpt_states);
/* Encodes content into out (dot-stuffing under DATA, raw under BDAT); returns bytes of content
 * consumed. Stops when out is full. The engine knows from content_bytes when all has been supplied,
 * and then writes the end (final CRLF if missing, "." CRLF). */
size_t cli_body(struct cli *cli, struct slice content, struct writer *out);
void cli_tls_started(struct cli *cli);
/* The connection is gone or a deadline passed: the recipients without outcome get a temporary one
 * (err's text); if the final dot had been sent, still temporary. cli_next then yields the outcomes,
 * CLI_DONE, CLI_CLOSE. */
void cli_lost(struct cli *cli, mx_err err);
/* Something came that was not taken, as content is still leaving. It is shown again when all is
 * out: a refusal in it counts; nobody can have taken what he had not got. */
void cli_spoke_early(struct cli *cli);
/* After CLI_DONE: something came behind the last reply. Nobody asked for it, and it would pass for
 * the reply to what is sent next: the session ends. */
void cli_spoke_unasked(struct cli *cli);
/* cli_lost, when rest came so and was not taken: a 4xx or 5xx in it is why the other side did not
 * wait for the end, and counts as the reply to the content. */
void cli_hung_up(struct cli *cli, mx_err err, struct slice rest);
/* Polite end; only after CLI_READY. */
void cli_quit(struct cli *cli);
const struct outcome *cli_outcome(const struct cli *cli);
/* Why the session could not be used, when CLI_CLOSE comes before any CLI_READY: greeting or EHLO
 * refused, TLS failed. Applies to everything that wanted this host. NULL if nothing is wrong. */
const struct outcome *cli_problem(const struct cli *cli);
const struct cli_extensions *cli_extensions(const struct cli *cli);
/* STARTTLS was said. */
bool cli_tried_tls(const struct cli *cli);

/* What the engine waits for, for deadlines (RFC 5321 section 4.5.3.2). */
enum cli_phase {
    CLI_PHASE_GREETING,
    CLI_PHASE_EHLO,
    CLI_PHASE_MAIL,
    CLI_PHASE_RCPT,
    CLI_PHASE_DATA,
    CLI_PHASE_BODY,
    CLI_PHASE_END,
    CLI_PHASE_RSET,
    CLI_PHASE_IDLE,
    CLI_PHASE_QUIT
};
enum cli_phase cli_phase(const struct cli *cli);
/* The same for people, behind what went wrong: "while waiting for the reply to RCPT". Static. */
const char *cli_phase_text(const struct cli *cli);
/* Grows with every command, whole reply and piece of content: deadlines are for these, not for the
 * bytes of a reply. */
uint64_t cli_progress(const struct cli *cli);
uint64_t cli_phase_timeout_ms(enum cli_phase phase);
