/* What expressions ask the DNS and the store that they fill (smtp/keys.h), and what was said. A run
 * of an expression that asks something new stops (EXPR_LATER); when the answer is there, `again` is
 * called, and whoever ran the expression does so from the beginning. Answers are kept until then,
 * whatever their time to live, so everything is asked once and every run sees the same; what nobody
 * could say is kept too. So a call that changes a key or a counter does it once, however often it
 * is evaluated while the same question of a session, or the same attempt, is decided.
 * Of mail that waits, where nothing more is to be changed, they may be forgotten and asked again
 * (dns_answers_rest).
 *
 * One question at a time: bounded by what waits, and by the DNS client (io/dns.h). */
#pragma once

#include "io/dns.h"
#include "route/expr.h"

enum {
    DNS_ANSWERS_SESSION_MAX = 8,  /* names and types of one question to a session */
    DNS_ANSWERS_MESSAGE_MAX = 64, /* of one attempt at a message, all recipients together */
    DNS_ANSWERS_RECORDS_MAX = 64, /* of one answer; what is more is left out */
    DNS_ANSWERS_KEYS = 2,         /* calls about keys and counters, for each of the names above */
};

struct dns_answers;
struct keys;

/* dns and keys: of the core. NULL: no memory. */
struct dns_answers *dns_answers_new(struct dns *dns, struct keys *keys, unsigned names_max,
                                    void (*again)(void *arg), void *arg);
/* A question that is open is cancelled. NULL is fine. */
void dns_answers_free(struct dns_answers *answers);
/* How many further names may be asked about, and for each of them DNS_ANSWERS_KEYS keys. */
unsigned dns_answers_left(const struct dns_answers *answers);
/* Until the next question nobody needs them: they are forgotten if others need their memory. What
 * is being asked is not given up, and keeps them. NULL is fine. */
void dns_answers_rest(struct dns_answers *answers);
/* From now on what is not known is not asked either. */
void dns_answers_close(struct dns_answers *answers);

/* Where a run keeps its answers; made when the first is needed. */
struct expr_asker {
    struct dns_answers *(*answers)(void *arg); /* yields NULL: no memory; itself NULL: nobody is
                                                  asked, keys and counters are as at a start */
    void *arg;
    /* Nothing is changed: key_set and counter_incr say what they would have said. */
    bool peeks;
    /* When nobody is asked: set to what would have been, bits 1 << enum expr_ask. May be NULL. */
    uint32_t *unasked;
};
/* For expr_host.ask: answers whatever functions ask. asker NULL: there is nobody to ask. */
enum expr_answer dns_answers_ask(const struct expr_asker *asker, struct expr_vm *vm,
                                 const struct expr_question *question, struct expr_value *out,
                                 const char **reason);
