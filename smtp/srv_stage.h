/* Decisions of a session that are expressions (enum stage_program), with what is known of it by
 * then. They may ask the DNS: the question to the session waits meanwhile, and the expression is
 * evaluated from the beginning when an answer is there; answers are kept until the question is
 * decided, so every name is asked once. */
#pragma once

#include "io/dns.h"
#include "route/image.h"

struct srv_conn;

enum {
    SRV_DNS_MAX = 8,          /* names and types of one question */
    SRV_DNS_RECORDS_MAX = 64, /* of one answer; what is more is left out */
};

enum stage_verdict {
    STAGE_TRUE,
    STAGE_FALSE,
    STAGE_LATER,  /* the DNS is asked; again is called */
    STAGE_FAILED, /* it could not be evaluated; that is in the log */
};

/* Of one question of a session; in its srv_wait. */
struct srv_dns;

/* The image has such a program. out (may be NULL): its value, valid until the vm runs again. */
enum stage_verdict srv_stage_run(struct srv_conn *conn, enum stage_program which,
                                 struct expr_value *out, void (*again)(struct srv_conn *conn));
/* The same for another program that yields true or false; field: for the log. */
enum stage_verdict srv_stage_match(struct srv_conn *conn, const struct expr_program *program,
                                   const char *field, void (*again)(struct srv_conn *conn));
/* The sender of the open question or the transaction, and the domain of an address. */
struct slice srv_stage_sender(const struct srv_conn *conn);
struct slice srv_stage_domain(struct slice address);
/* For srv_wait. */
/* NULL: no memory. */
struct srv_dns *srv_dns_new(void);
void srv_dns_free(struct srv_dns *dns);
