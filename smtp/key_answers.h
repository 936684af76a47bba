/* What expressions ask the store that they fill, and what it said: the part of smtp/dns_answers
 * that is about keys and counters. Of one question of a session, or of one attempt at a message. */
#pragma once

#include "route/expr.h"
#include "smtp/keys.h"

struct known_key;

struct key_answers {
    struct keys *keys;
    struct key_question question; /* about `asked` */
    struct known_key *known;      /* what was answered */
    struct known_key *asked;      /* NULL: nothing is being asked */
    struct answer_share *share;   /* of the dns_answers that these belong to */
    unsigned count, max;
    bool inside; /* within keys_ask: whoever asks is there */
    bool closed; /* nothing is asked any more */
    void (*again)(void *arg);
    void *arg;
};

/* keys: of the core; NULL: they cannot be asked. At most max calls that differ. */
void key_answers_init(struct key_answers *answers, struct keys *keys, struct answer_share *share,
                      unsigned max, void (*again)(void *arg), void *arg);
/* What was answered is given back, and asked again when it is needed. */
void key_answers_forget(struct key_answers *answers);
/* What is being asked is given up, and nothing is asked from now on. */
void key_answers_close(struct key_answers *answers);
void key_answers_fini(struct key_answers *answers);
/* How many further calls there may be. */
unsigned key_answers_left(const struct key_answers *answers);
/* For expr_host.ask: key_get, key_exists, key_set, counter_get, counter_incr of the store. A call
 * is the same when function and arguments are: then it is not asked again. peeks: nothing is
 * changed, and the answer is what it would have been. */
enum expr_answer key_answers_ask(struct key_answers *answers, struct expr_vm *vm,
                                 const struct expr_question *question, bool peeks,
                                 struct expr_value *out, const char **reason);
/* The same of a store that is empty, and stays so. */
enum expr_answer key_answers_blank(struct expr_vm *vm, const struct expr_question *question,
                                   struct expr_value *out, const char **reason);
