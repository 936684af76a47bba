#include "smtp/key_answers.h"

#include <stdlib.h>

/* What a call about a key said; its texts are behind it. */
struct known_key {
    struct known_key *next;
    const char *function;
    struct slice key;
    struct key_value given; /* third argument */
    const char *problem;
    bool found;
    struct key_value value;
    uint8_t *text; /* of the value */
    size_t bytes;  /* of all that */
};

static const char no_room[] = "no memory for more answers now";

void key_answers_init(struct key_answers *answers, struct keys *keys, struct answer_share *share,
                      unsigned max, void (*again)(void *arg), void *arg)
{
    *answers =
        (struct key_answers){.keys = keys, .share = share, .max = max, .again = again, .arg = arg};
}

static void known_key_free(struct key_answers *answers, struct known_key *known)
{
    answer_memory_give(answers->share, known->bytes);
    free(known->text);
    free(known);
}

void key_answers_close(struct key_answers *answers)
{
    if (answers->asked != NULL) {
        keys_cancel(answers->keys, &answers->question);
        known_key_free(answers, answers->asked);
        answers->asked = NULL;
    }
    answers->closed = true;
}

void key_answers_forget(struct key_answers *answers)
{
    while (answers->known != NULL) {
        struct known_key *known = answers->known;
        answers->known = known->next;
        answers->count--;
        known_key_free(answers, known);
    }
}

void key_answers_fini(struct key_answers *answers)
{
    key_answers_close(answers);
    key_answers_forget(answers);
}

unsigned key_answers_left(const struct key_answers *answers)
{
    return answers->max - answers->count;
}

/* --- asking ------------------------------------------------------------------------------------
 */

static void keep_answer(struct key_answers *answers, struct known_key *known, mx_err err,
                        bool found, const struct key_value *value)
{
    size_t text = value->type == KEY_TEXT ? value->text.len : 0;
    known->problem = err == MX_ERR_LIMIT ? "a key or its value is too long"
                     : err               ? err_text(err)
                                         : NULL;
    known->found = found;
    known->value = *value;
    if (text > 0 && !answer_memory_take(answers->share, text)) {
        known->problem = no_room;
        text = 0;
    }
    known->bytes += text;
    if (text > 0 && (known->text = malloc(text)) == NULL) {
        known->problem = err_text(MX_ERR_NOMEM);
        text = 0;
    }
    if (text > 0) {
        memcpy(known->text, value->text.ptr, text);
    }
    known->value.text = slice_of(known->text, text);
    known->next = answers->known;
    answers->known = known;
}

static void key_answered(struct key_question *question, mx_err err, bool found,
                         const struct key_value *value)
{
    struct key_answers *answers = mx_container_of(question, struct key_answers, question);
    struct known_key *known = answers->asked;
    answers->asked = NULL;
    keep_answer(answers, known, err, found, value);
    if (!answers->inside) {
        answers->again(answers->arg);
    }
}

static bool same_value(const struct key_value *a, const struct key_value *b)
{
    return a->type == b->type && a->integer == b->integer &&
           memcmp(&a->number, &b->number, sizeof a->number) == 0 && slice_equal(a->text, b->text);
}

static struct known_key *find_key(const struct key_answers *answers, const char *function,
                                  const struct key_request *request)
{
    struct known_key *known = answers->known;
    while (known != NULL &&
           (known->function != function || !slice_equal(known->key, request->key) ||
            !same_value(&known->given, &request->value))) {
        known = known->next;
    }
    return known;
}

/* NULL: no memory. */
static struct known_key *known_key_new(struct key_answers *answers, const char *function,
                                       const struct key_request *request)
{
    size_t key = request->key.len, text = request->value.text.len;
    size_t bytes = sizeof(struct known_key) + key + text;
    bool room = answer_memory_take(answers->share, bytes);
    struct known_key *known = room ? calloc(1, bytes) : NULL;
    if (known == NULL && room) {
        answer_memory_give(answers->share, bytes);
    }
    if (known != NULL) {
        uint8_t *at = (uint8_t *)(known + 1);
        known->bytes = bytes;
        known->function = function;
        known->given = request->value;
        known->key = slice_of(at, key);
        known->given.text = slice_of(at + key, text);
        if (key > 0) {
            memcpy(at, request->key.ptr, key);
        }
        if (text > 0) {
            memcpy(at + key, request->value.text.ptr, text);
        }
    }
    return known;
}

/* Asks; NULL: not known yet, or *reason why it never will be. */
static struct known_key *find_out_key(struct key_answers *answers, const char *function,
                                      const struct key_request *request, const char **reason)
{
    struct known_key *known = find_key(answers, function, request);
    *reason = NULL;
    if (known != NULL || answers->asked != NULL) {
        return known; /* one after the other */
    }
    if (answers->closed || answers->keys == NULL) {
        *reason = "keys cannot be asked about now";
    } else if (answers->count == answers->max) {
        *reason = "the expression asks about too many keys";
    } else if ((answers->asked = known_key_new(answers, function, request)) == NULL) {
        *reason = no_room;
    } else {
        answers->count++;
        answers->question.done = key_answered;
        answers->inside = true;
        keys_ask(answers->keys, &answers->question, request);
        answers->inside = false;
    }
    return find_key(answers, function, request);
}

/* What is to be kept under a key. False: an array. */
static bool value_of(struct key_value *out, const struct expr_value *value)
{
    *out = (struct key_value){.type = value->type == EXPR_INTEGER ? KEY_INTEGER
                                      : value->type == EXPR_FLOAT ? KEY_FLOAT
                                                                  : KEY_TEXT};
    if (value->type == EXPR_INTEGER) {
        out->integer = value->integer;
    } else if (value->type == EXPR_FLOAT) {
        out->number = value->number;
    } else {
        out->text = value->string;
    }
    return value->type != EXPR_ARRAY;
}

static struct expr_value shown_value(const struct known_key *known)
{
    switch (known->value.type) {
    case KEY_INTEGER:
        return (struct expr_value){.type = EXPR_INTEGER, .integer = known->value.integer};
    case KEY_FLOAT:
        return (struct expr_value){.type = EXPR_FLOAT, .number = known->value.number};
    default:
        return (struct expr_value){.type = EXPR_STRING, .string = known->value.text};
    }
}

/* The functions by name; what the table of the language says of them decides who comes here. */
enum key_function { F_GET, F_EXISTS, F_SET, F_COUNTER_GET, F_COUNTER_INCR };
static const struct {
    const char *name;
    enum key_op op;
} key_functions[] = {[F_GET] = {"key_get", KEY_GET},
                     [F_EXISTS] = {"key_exists", KEY_GET},
                     [F_SET] = {"key_set", KEY_PUT},
                     [F_COUNTER_GET] = {"counter_get", COUNTER_GET},
                     [F_COUNTER_INCR] = {"counter_incr", COUNTER_ADD}};

static enum key_function key_function_of(const char *name)
{
    unsigned i = 0;
    while (i + 1 < mx_countof(key_functions) && strcmp(key_functions[i].name, name) != 0) {
        i++;
    }
    return (enum key_function)i;
}

/* False: *reason. */
static bool make_request(struct key_request *out, struct expr_vm *vm, enum key_function function,
                         const struct expr_question *question, const char **reason)
{
    *out = (struct key_request){.op = key_functions[function].op, .value.type = KEY_INTEGER};
    *reason = NULL;
    if (question->args[1].type == EXPR_ARRAY) {
        *reason = "an array is no key";
    } else if (!expr_value_text(vm, &question->args[1], &out->key)) {
        *reason = vm->failure;
    } else if (function == F_SET && !value_of(&out->value, &question->args[2])) {
        *reason = "an array cannot be kept under a key";
    } else if (function == F_COUNTER_INCR && question->args[2].type != EXPR_INTEGER) {
        *reason = "a counter takes whole numbers";
    } else if (function == F_COUNTER_INCR) {
        out->value.integer = question->args[2].integer;
    }
    return *reason == NULL;
}

static int64_t add_saturated(int64_t a, int64_t b)
{
    int64_t sum;
    return !__builtin_add_overflow(a, b, &sum) ? sum : b > 0 ? INT64_MAX : INT64_MIN;
}

/* known NULL: the store does not have it. */
static void give(struct expr_value *out, enum key_function function, const struct known_key *known,
                 int64_t more)
{
    bool found = known != NULL && known->found;
    if (function == F_EXISTS) {
        out->integer = found;
    } else if (function == F_GET) {
        *out = found ? shown_value(known)
                     : (struct expr_value){.type = EXPR_STRING, .string = SLICE_EMPTY};
    } else if (function != F_SET) {
        out->integer = add_saturated(found ? known->value.integer : 0, more);
    }
}

enum expr_answer key_answers_blank(struct expr_vm *vm, const struct expr_question *question,
                                   struct expr_value *out, const char **reason)
{
    enum key_function function = key_function_of(question->function);
    struct key_request request;
    *out = (struct expr_value){.type = EXPR_INTEGER, .integer = 1};
    if (!make_request(&request, vm, function, question, reason)) {
        return EXPR_UNANSWERED;
    }
    give(out, function, NULL, function == F_COUNTER_INCR ? request.value.integer : 0);
    return EXPR_ANSWERED;
}

enum expr_answer key_answers_ask(struct key_answers *answers, struct expr_vm *vm,
                                 const struct expr_question *question, bool peeks,
                                 struct expr_value *out, const char **reason)
{
    enum key_function function = key_function_of(question->function);
    struct key_request request;
    int64_t more = 0;
    *out = (struct expr_value){.type = EXPR_INTEGER, .integer = 1};
    if (!make_request(&request, vm, function, question, reason)) {
        return EXPR_UNANSWERED;
    }
    if (peeks && function == F_SET) {
        return EXPR_ANSWERED;
    }
    if (peeks && function == F_COUNTER_INCR) {
        more = request.value.integer;
        request =
            (struct key_request){.op = COUNTER_GET, .key = request.key, .value.type = KEY_INTEGER};
    }
    const struct known_key *known = find_out_key(answers, question->function, &request, reason);
    if (known == NULL || known->problem != NULL) {
        *reason = known != NULL ? known->problem : *reason;
        return *reason == NULL ? EXPR_LATER : EXPR_UNANSWERED;
    }
    give(out, function, known, more);
    return EXPR_ANSWERED;
}
