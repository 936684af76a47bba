#include "smtp/dns_answers.h"

#include "core/netaddr.h"
#include "smtp/key_answers.h"

#include <stdlib.h>

/* One answer, as texts. */
struct known {
    struct known *next;
    struct dns_name name;
    enum dns_type type;
    const char *problem; /* static text: nobody could say */
    uint32_t count;
    struct slice *items; /* one piece of memory with their texts */
    size_t bytes;        /* of all that */
};

static const char no_room[] = "no memory for more answers now";

struct dns_answers {
    struct key_answers keys;
    struct answer_share share; /* of the core's memory, for those too */
    struct dns *dns;
    struct dns_query query;
    void (*again)(void *arg);
    void *arg;
    bool inside;         /* within dns_ask: whoever asks is there */
    bool closed;         /* nothing is asked any more */
    struct known *known; /* what was answered */
    struct known *asked; /* NULL: nothing is being asked */
    unsigned count, max;
};

static void known_free(struct dns_answers *answers, struct known *known)
{
    if (known != NULL) {
        answer_memory_give(&answers->share, known->bytes);
        free(known->items);
        free(known);
    }
}

static void forget(struct answer_share *share)
{
    struct dns_answers *answers = mx_container_of(share, struct dns_answers, share);
    key_answers_forget(&answers->keys);
    while (answers->known != NULL) {
        struct known *known = answers->known;
        answers->known = known->next;
        answers->count--;
        known_free(answers, known);
    }
}

struct dns_answers *dns_answers_new(struct dns *dns, struct keys *keys, unsigned names_max,
                                    void (*again)(void *arg), void *arg)
{
    struct dns_answers *answers = calloc(1, sizeof *answers);
    if (answers != NULL) {
        answers->dns = dns;
        answers->share =
            (struct answer_share){.memory = keys == NULL ? NULL : &keys->answers, .forget = forget};
        key_answers_init(&answers->keys, keys, &answers->share, names_max * DNS_ANSWERS_KEYS, again,
                         arg);
        answers->max = names_max;
        answers->again = again;
        answers->arg = arg;
    }
    return answers;
}

/* What is being asked is given up. */
static void cancel(struct dns_answers *answers)
{
    dns_cancel(&answers->query);
    known_free(answers, answers->asked);
    answers->asked = NULL;
}

void dns_answers_free(struct dns_answers *answers)
{
    if (answers == NULL) {
        return;
    }
    answer_memory_wake(&answers->share);
    cancel(answers);
    forget(&answers->share);
    key_answers_fini(&answers->keys);
    free(answers);
}

void dns_answers_rest(struct dns_answers *answers)
{
    if (answers != NULL && answers->asked == NULL && answers->keys.asked == NULL) {
        answer_memory_rest(&answers->share);
    }
}

unsigned dns_answers_left(const struct dns_answers *answers)
{
    unsigned names = answers->max - answers->count;
    unsigned keys = key_answers_left(&answers->keys) / DNS_ANSWERS_KEYS;
    return names < keys ? names : keys;
}

void dns_answers_close(struct dns_answers *answers)
{
    cancel(answers);
    key_answers_close(&answers->keys);
    answers->closed = true;
}

/* --- answers -----------------------------------------------------------------------------------
 */

/* A record as people write it. */
static void put_record(struct writer *w, enum dns_type type, struct slice data)
{
    if (type == DNS_A || type == DNS_AAAA) {
        struct netaddr addr = {.family = type == DNS_A ? 4 : 6};
        memcpy(addr.bytes, data.ptr, mx_min_size(data.len, sizeof addr.bytes));
        put_netaddr(w, &addr);
    } else {
        put_slice(w, data);
    }
}

static void remember(struct dns_answers *answers, struct known *known,
                     const struct dns_answer *answer)
{
    size_t records = answer->status == DNS_FOUND ? answer->count : 0;
    records = mx_min_size(records, DNS_ANSWERS_RECORDS_MAX);
    size_t texts = answer->len + records * NETADDR_TEXT_MAX;
    size_t bytes = records * sizeof *known->items + texts + 1;
    if (!answer_memory_take(&answers->share, bytes)) {
        known->problem = no_room;
        return;
    }
    known->bytes += bytes;
    known->items = malloc(bytes);
    if (known->items == NULL) {
        known->problem = err_text(MX_ERR_NOMEM);
        return;
    }
    struct writer w = writer_init(known->items + records, texts);
    struct dns_rdata record;
    for (size_t at = 0; known->count < records && dns_answer_next(answer, &at, &record);) {
        size_t from = w.len;
        put_record(&w, known->type, record.data);
        known->items[known->count++] = slice_from(writer_slice(&w), from);
    }
}

static void answered(struct dns_query *query, mx_err err, const struct dns_answer *answer,
                     const char *problem)
{
    struct dns_answers *answers = mx_container_of(query, struct dns_answers, query);
    struct known *known = answers->asked;
    answers->asked = NULL;
    known->problem = err ? problem : NULL;
    known->next = answers->known;
    answers->known = known;
    if (!err) {
        remember(answers, known, answer);
    }
    if (!answers->inside) {
        answers->again(answers->arg);
    }
}

static struct known *find(const struct dns_answers *answers, const struct dns_name *name,
                          enum dns_type type)
{
    struct known *known = answers->known;
    while (known != NULL && (known->type != type || !dns_name_equal(&known->name, name))) {
        known = known->next;
    }
    return known;
}

/* NULL: no memory. */
static struct known *known_new(struct dns_answers *answers, const struct dns_name *name,
                               enum dns_type type)
{
    bool room = answer_memory_take(&answers->share, sizeof(struct known));
    struct known *known = room ? calloc(1, sizeof *known) : NULL;
    if (known == NULL && room) {
        answer_memory_give(&answers->share, sizeof *known);
    }
    if (known != NULL) {
        *known = (struct known){.name = *name, .type = type, .bytes = sizeof *known};
    }
    return known;
}

/* Asks; NULL: not known yet, or *reason why it never will be. */
static struct known *find_out(struct dns_answers *answers, const struct dns_name *name,
                              enum dns_type type, const char **reason)
{
    *reason = NULL;
    if (answers->asked != NULL) {
        return NULL; /* one after the other */
    }
    if (answers->closed) {
        *reason = "the DNS cannot be asked now";
    } else if (answers->count == answers->max) {
        *reason = "the expression asks the DNS about too many names";
    } else if ((answers->asked = known_new(answers, name, type)) == NULL) {
        *reason = no_room;
    } else {
        answers->count++;
        answers->query.done = answered;
        answers->inside = true;
        dns_ask(answers->dns, &answers->query, name, type);
        answers->inside = false;
    }
    return find(answers, name, type);
}

static enum expr_answer look_up(struct dns_answers *answers, const struct dns_name *name,
                                enum dns_type type, struct known **out, const char **reason)
{
    *out = find(answers, name, type);
    if (*out == NULL) {
        *out = find_out(answers, name, type, reason);
    }
    if (*out == NULL) {
        return *reason == NULL ? EXPR_LATER : EXPR_UNANSWERED;
    }
    *reason = (*out)->problem;
    return *reason == NULL ? EXPR_ANSWERED : EXPR_UNANSWERED;
}

/* --- questions ---------------------------------------------------------------------------------
 */

/* The name in the DNS of what an expression asks about; an address asked for its PTR is turned. */
static bool name_of(struct dns_name *out, struct slice text, bool reverse)
{
    static const char digits[] = "0123456789abcdef";
    uint8_t buf[80];
    struct netaddr addr;
    struct writer w = writer_init(buf, sizeof buf);
    if (!reverse || netaddr_parse(&addr, text) != MX_OK) {
        return dns_name_parse(out, text) == MX_OK;
    }
    for (int i = addr.family == 4 ? 3 : 15; i >= 0; i--) {
        if (addr.family == 4) {
            put_decimal(&w, addr.bytes[i]);
        } else {
            put_char(&w, digits[addr.bytes[i] & 15]);
            put_char(&w, '.');
            put_char(&w, digits[addr.bytes[i] >> 4]);
        }
        put_char(&w, '.');
    }
    put_text(&w, addr.family == 4 ? "in-addr.arpa" : "ip6.arpa");
    return dns_name_parse(out, writer_slice(&w)) == MX_OK;
}

static const struct {
    const char *word;
    enum dns_type types[2]; /* the second: 0 = none */
} asked_types[] = {{"ip", {DNS_A, DNS_AAAA}}, {"ipv4", {DNS_A}},  {"ipv6", {DNS_AAAA}},
                   {"mx", {DNS_MX}},          {"txt", {DNS_TXT}}, {"ptr", {DNS_PTR}}};

static void note_unasked(const struct expr_asker *asker, enum expr_ask kind)
{
    if (asker != NULL && asker->unasked != NULL) {
        *asker->unasked |= UINT32_C(1) << kind;
    }
}

/* They stay as long as this run may look at them. NULL: no memory. */
static struct dns_answers *answers_of(const struct expr_asker *asker)
{
    struct dns_answers *answers = asker->answers(asker->arg);
    if (answers != NULL) {
        answer_memory_wake(&answers->share);
    }
    return answers;
}

/* dns_query(name, type) */
static enum expr_answer ask_dns(const struct expr_asker *asker, struct expr_vm *vm,
                                const struct expr_question *question, struct expr_value *out,
                                const char **reason)
{
    struct known *known[2] = {NULL, NULL};
    struct dns_name name;
    unsigned row = 0;
    if (question->args[0].type != EXPR_STRING || question->args[1].type != EXPR_STRING) {
        *reason = "the DNS can only be asked about names";
        return EXPR_UNANSWERED;
    }
    while (row + 1 < mx_countof(asked_types) &&
           !slice_equal(question->args[1].string, slice_of_text(asked_types[row].word))) {
        row++;
    }
    *out = (struct expr_value){.type = EXPR_ARRAY};
    if (!name_of(&name, question->args[0].string, asked_types[row].types[0] == DNS_PTR)) {
        return EXPR_ANSWERED; /* there cannot be such a name */
    }
    bool alone = asker == NULL || asker->answers == NULL;
    struct dns_answers *answers = alone ? NULL : answers_of(asker);
    if (answers == NULL) {
        note_unasked(asker, question->kind);
        *reason = alone ? "the DNS cannot be asked here" : err_text(MX_ERR_NOMEM);
        return EXPR_UNANSWERED;
    }
    uint32_t count = 0;
    for (unsigned i = 0; i < 2 && asked_types[row].types[i] != 0; i++) {
        enum expr_answer answer =
            look_up(answers, &name, asked_types[row].types[i], &known[i], reason);
        if (answer != EXPR_ANSWERED) {
            return answer;
        }
        count += known[i]->count;
    }
    struct expr_value *items = expr_array(vm, count);
    if (items == NULL) {
        *reason = "too many records";
        return EXPR_UNANSWERED;
    }
    out->array.items = items;
    for (unsigned i = 0; i < 2 && known[i] != NULL; i++) {
        for (uint32_t k = 0; k < known[i]->count; k++) {
            items[out->array.count++] =
                (struct expr_value){.type = EXPR_STRING, .string = known[i]->items[k]};
        }
    }
    return EXPR_ANSWERED;
}

enum expr_answer dns_answers_ask(const struct expr_asker *asker, struct expr_vm *vm,
                                 const struct expr_question *question, struct expr_value *out,
                                 const char **reason)
{
    if (question->kind == EXPR_ASK_DNS) {
        return ask_dns(asker, vm, question, out, reason);
    }
    if (asker == NULL) {
        *reason = "keys cannot be asked about here";
        return EXPR_UNANSWERED;
    }
    if (asker->answers == NULL) {
        note_unasked(asker, question->kind);
        return key_answers_blank(vm, question, out, reason);
    }
    struct dns_answers *answers = answers_of(asker);
    if (answers == NULL) {
        *reason = err_text(MX_ERR_NOMEM);
        return EXPR_UNANSWERED;
    }
    return key_answers_ask(&answers->keys, vm, question, asker->peeks, out, reason);
}
