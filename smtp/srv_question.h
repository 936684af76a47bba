/* The answers to the engine's questions: of the connection, EHLO and MAIL (smtp/srv_question.c), of
 * RCPT (smtp/srv_rcpt.c), and of the content (smtp/srv_content.c). Internal to the pump
 * smtp/srv_conn.
 *
 * *later: the answer comes by srv_answer_late or srv_answer_again. *text is valid until the next
 * question. */
#pragma once

#include "route/throttle.h"
#include "smtp/srv_conn.h"

/* Answers the open question, at once or later (false). */
bool srv_answer_question(struct srv_conn *conn, struct writer *out);
enum reply srv_on_rcpt(struct srv_conn *conn, struct slice *text, bool *later);
enum reply srv_on_data(struct srv_conn *conn);
enum reply srv_on_end(struct srv_conn *conn, const struct srv_end *end, struct slice *text,
                      bool *later);

/* --- what they share ---------------------------------------------------------------------------
 */

/* What a client is told of a failure. */
enum reply srv_reply_of(mx_err err);
/* The transaction is over; what is on its way to the disk goes on without the session. */
void srv_drop_transaction(struct srv_conn *conn);
/* REPLY_OK: within all rates, or *later. */
enum reply srv_throttle(struct srv_conn *conn, enum inbound_stage stage, struct slice *text,
                        bool *later);

/* --- of the pump (smtp/srv_conn.c) -------------------------------------------------------------
 */

void srv_conn_answer(struct srv_conn *conn, enum reply reply, struct slice text,
                     struct writer *out);
/* An answer that comes late: the session goes on from here. */
void srv_answer_late(struct srv_conn *conn, enum reply reply, struct slice text);
/* What the open question waited for is there: it is answered from the beginning. */
void srv_answer_again(void *session);
/* The reply to an error has waited long enough. */
void srv_conn_go_on(struct srv_conn *conn);
/* Writes the 421 and closes. */
void srv_conn_end(struct srv_conn *conn, enum srv_close_reason reason);
