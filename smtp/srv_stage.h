/* Expressions of one session (smtp/stage.h, smtp/session_settings.h), with what the session knows
 * by then. They may ask the DNS: the question to the session waits meanwhile, and is answered from
 * the beginning when the DNS has said something. */
#pragma once

#include "route/image.h"
#include "smtp/dns_answers.h"
#include "smtp/envelope.h"

struct srv_conn;

enum stage_verdict {
    STAGE_TRUE,
    STAGE_FALSE,
    STAGE_LATER,  /* the DNS is asked; again is called */
    STAGE_FAILED, /* it could not be evaluated; that is in the log */
};

/* What waits for the DNS, for runs of this session. */
struct srv_asking {
    struct srv_conn *conn;
    void (*again)(void *conn);
    struct expr_asker asker;
};
void srv_asking_init(struct srv_asking *asking, struct srv_conn *conn, void (*again)(void *conn));

/* The image has such a program. out (may be NULL): its value, valid until the vm runs again. */
enum stage_verdict srv_stage_run(struct srv_conn *conn, enum stage_program which,
                                 struct expr_value *out, void (*again)(void *conn));
/* The same for another program that yields true or false; setting: for the log. */
enum stage_verdict srv_stage_match(struct srv_conn *conn, const struct expr_program *program,
                                   const char *setting, void (*again)(void *conn));
/* The sender of the open question or the transaction. */
struct slice srv_stage_sender(const struct srv_conn *conn);
/* STAGE_RELAYING, for the open question, of the recipient that it has become; as by default where
 * the image has no such program. */
enum stage_verdict srv_stage_relays(struct srv_conn *conn, struct slice rcpt,
                                    void (*again)(void *conn));
/* Takes the limits of this session that are worked out in this context (EXPR_CONN or EXPR_EHLO);
 * it has some of its own. Never STAGE_FALSE. */
enum stage_verdict srv_stage_settings(struct srv_conn *conn, enum expr_context context,
                                      void (*again)(void *conn));
/* The address that takes the place of the one in the open question; in memory, or that one itself.
 * Never STAGE_FALSE. */
enum stage_verdict srv_stage_rewrite(struct srv_conn *conn, enum stage_program which,
                                     struct slice *out, uint8_t memory[ADDRESS_MAX],
                                     void (*again)(void *conn));
/* It is accepted so: for the log. */
void srv_stage_rewritten(const struct srv_conn *conn, struct slice to);
