/* What the parts of the client engine need of each other: smtp/cli_engine.c (its life, outcomes,
 * the machine), _session (from the greeting to the first transaction), _envelope (MAIL, RCPT, DATA
 * and their replies), _content (what follows, and its replies), _commands (what is said). */
#pragma once

#include "smtp/cli_engine.h"
#include "smtp/reply_parse.h"

/* Legal paths: greeting -> ehlo (-> helo) (-> starttls -> tls -> ehlo) -> ready; then per
 * transaction: begin -> envelope -> (body -> end | rset) -> emit -> done -> ready; finally quit ->
 * closed. From anywhere a lost connection, a 421 or nonsense leads through emit (if a transaction
 * is open) to closed.
 *
 * In the envelope two cursors run over one list of commands: 0 = MAIL, 1..n = RCPT, n+1 = DATA.
 * `sent` runs ahead of `answered` by all that PIPELINING allows. With CHUNKING there is no DATA in
 * the list: the content of a message whose recipients are all refused would be sent for nothing. */
enum cli_state {
    CLI_ST_GREETING,  /* connected; the banner is awaited */
    CLI_ST_EHLO,      /* EHLO or LHLO is out */
    CLI_ST_HELO,      /* EHLO was refused; HELO is out */
    CLI_ST_STARTTLS,  /* STARTTLS is out */
    CLI_ST_TLS,       /* the pump does the handshake */
    CLI_ST_READY,     /* between transactions */
    CLI_ST_BEGIN,     /* a transaction was begun; recipients that cannot go are sorted out */
    CLI_ST_ENVELOPE,  /* commands leave, replies come */
    CLI_ST_BODY,      /* content leaves */
    CLI_ST_END,       /* the content is out; final replies are awaited */
    CLI_ST_EMPTY_END, /* 354 although no recipient was taken: "." is out */
    CLI_ST_RSET,      /* RSET is out */
    CLI_ST_EMIT,      /* the same outcome for all undecided recipients */
    CLI_ST_DONE,      /* CLI_DONE is to be told */
    CLI_ST_QUIT,      /* QUIT is out */
    CLI_ST_CLOSED,
};

enum rcpt_progress { RCPT_OPEN = 0, RCPT_ACCEPTED = 1, RCPT_DECIDED = 2 };

enum {
    COMMAND_ROOM = 2 * (ADDRESS_MAX + 3 * ORCPT_MAX), /* the longest command that we write */
    DIGITS_MAX = 20,
};

struct cli {
    struct cli_conf conf;
    enum cli_state state;
    bool command_due; /* the state's command is not written yet */
    bool was_ready;
    bool helo_only;
    bool tls_tried;
    bool closing; /* the session ends after the transaction */
    struct cli_extensions ext;
    struct reply_parse reply;
    bool reply_complete; /* the next reply_parse_next begins a new reply */
    struct outcome outcome, problem;
    bool has_problem;
    uint8_t problem_text[CLI_TEXT_MAX];
    /* the transaction */
    struct cli_message msg;
    uint8_t *states;
    uint32_t sent, answered; /* cursors */
    uint32_t accepted;
    uint32_t emit_at;
    uint32_t lmtp_at; /* next accepted recipient that waits for its final reply */
    bool mail_refused;
    bool chunked;
    bool body_begun;
    bool needs_rset;
    bool early; /* a reply came while content was leaving */
    uint64_t body_left;
    bool line_start, after_cr;
    struct outcome verdict; /* for CLI_ST_EMIT; text in verdict_text */
    uint8_t verdict_text[CLI_TEXT_MAX];
};

/* --- smtp/cli_engine.c */
void cli_enter(struct cli *cli, enum cli_state state);
struct outcome cli_outcome_of_reply(const struct cli *cli, const char *command);
/* text and command are static. */
struct outcome cli_own_outcome(enum outcome_kind kind, uint8_t subject, uint8_t detail,
                               const char *text, const char *command);
/* Keeps an outcome whose text is about to be overwritten. */
void cli_keep_outcome(struct outcome *to, uint8_t *text, const struct outcome *from);
/* All undecided recipients get this; then the transaction is over. */
void cli_decide_all(struct cli *cli, const struct outcome *o);
/* The session cannot go on. */
void cli_fail_session(struct cli *cli, const struct outcome *o);
enum cli_act cli_emit(struct cli *cli, uint32_t i, const struct outcome *o);

/* --- smtp/cli_session.c */
/* One line of the reply to EHLO. */
void cli_extension_add(struct cli *cli, struct slice line);
void cli_on_greeting(struct cli *cli);
void cli_on_ehlo(struct cli *cli);
void cli_on_starttls(struct cli *cli);

/* --- smtp/cli_envelope.c */
/* Finds out what cannot be sent to this server at all. Returns true with an outcome to emit. */
bool cli_sort_out(struct cli *cli, uint32_t *out_rcpt, struct outcome *out);
/* The first recipient from there on that nothing is known of. */
uint32_t cli_next_open(const struct cli *cli, uint32_t from);
/* All that PIPELINING and the room in out allow. */
void cli_send_commands(struct cli *cli, struct writer *out);
enum cli_act cli_on_envelope_reply(struct cli *cli);
/* Has the last reply of the list been seen? */
void cli_envelope_check(struct cli *cli);

/* --- smtp/cli_content.c */
enum cli_act cli_body_next(struct cli *cli, struct writer *out);
enum cli_act cli_on_final(struct cli *cli);

/* --- smtp/cli_commands.c */
void cli_put_mail(struct cli *cli, struct writer *out);
void cli_put_rcpt(struct cli *cli, struct writer *out, uint32_t i);
/* The one that the state is about. */
void cli_put_state_command(struct cli *cli, struct writer *out);
bool cli_is_ascii(struct slice text);
