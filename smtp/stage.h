/* Decisions of a session that are expressions (enum stage_program): the programs of the image, run
 * with what is known of the session by then. The same for mail and for who asks why. */
#pragma once

#include "smtp/envelope.h"
#include "smtp/session_settings.h"

/* Facts of a stage; what is not known yet is empty. */
struct stage_facts {
    struct session_facts session;
    struct slice helo, sender, rcpt; /* addresses as they were sent */
    const struct envelope *env;      /* recipients so far; NULL: none */
};

/* The setting that holds it, for logs and people. */
const char *stage_setting(enum stage_program which);
/* The image has such a program; *out borrows from it, the facts and the vm. EXPR_WAITING: asker's
 * answers call again. EXPR_FAILED: vm->failure says why. */
enum expr_status stage_run(struct expr_value *out, const struct image *image,
                           enum stage_program which, const struct stage_facts *facts,
                           struct expr_vm *vm, const struct expr_asker *asker,
                           const struct expr_trace *trace);
/* The same for another program with the variables of a stage. */
enum expr_status stage_run_program(struct expr_value *out, const struct image *image,
                                   const struct expr_program *program,
                                   const struct stage_facts *facts, struct expr_vm *vm,
                                   const struct expr_asker *asker, const struct expr_trace *trace);
/* The address that takes the place of one: by STAGE_REWRITE_SENDER of facts->sender, by
 * STAGE_REWRITE_RCPT of facts->rcpt. *out is that one itself, also when the program yields its own
 * variable, or in memory. EXPR_FAILED also when
 * the result is no address, or not ASCII without smtputf8. */
enum expr_status stage_rewrite(struct slice *out, uint8_t memory[ADDRESS_MAX],
                               const struct image *image, enum stage_program which,
                               const struct stage_facts *facts, bool smtputf8, struct expr_vm *vm,
                               const struct expr_asker *asker, const struct expr_trace *trace);
