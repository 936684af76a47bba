/* The expression language (text -> tokens -> tree -> bytecode -> verified program) and its VM. Pure
 * apart from the allocation of a program at load. The language is that of the management contract:
 * operators and precedence, types string/integer/float/array/constant, if/then/else blocks,
 * variables per context, functions.
 *
 * Compile errors name the position, what was found and what was expected. What can fail only at run
 * time is an EXPR_FAILED result: the caller answers "temporary", it never picks another route.
 *
 * The VM needs no allocation: values live in a struct expr_vm that the caller provides. Its whole
 * state is in there (program counter, stack), so a function whose answer comes later (DNS, a
 * store) stops it with EXPR_WAITING, and expr_resume goes on with the answer. Explaining is the
 * same run with a trace: every value that was worked out, with its place in the source.
 *
 * The tables of the language (operators, functions, variables, constants) are in expr_tables.h. */
#pragma once

#include "core/cursor.h"
#include "core/err.h"
#include "core/hdr.h"
#include "core/slice.h"

/* Which variables exist (contexts of the management contract). */
enum expr_context {
    EXPR_CONN,
    EXPR_EHLO,
    EXPR_MAIL,
    EXPR_RCPT,
    EXPR_QRCPT,
    EXPR_QHOST,
    EXPR_QSENDER,
    EXPR_RCPTDOM,
    EXPR_ADDR,
    EXPR_HTTP,
    EXPR_CONSTANT, /* none: settings that must be known at load */
    EXPR_CONTEXTS
};

enum expr_type { EXPR_STRING, EXPR_INTEGER, EXPR_FLOAT, EXPR_ARRAY, EXPR_CONSTANT_NAME };

enum {
    EXPR_ARRAY_MAX = 1024,
    EXPR_STACK_MAX = 64,
    EXPR_STEPS_MAX = 100000,
    EXPR_SCRATCH_BYTES = 16384,
    EXPR_SOURCE_MAX = 65536,
    EXPR_BRANCHES_MAX = 256,
    EXPR_CAPTURES_MAX = 32,        /* $0 to $31 */
    EXPR_REGEX_BYTES = 300 * 1024, /* memory of one search, see expr_regex.c */
    EXPR_REGEX_STEPS = 10000,      /* of one search; over it the run fails */
    EXPR_DIGEST_MAX = 64,
    EXPR_MESSAGE_MAX = 448,
};

struct expr_value {
    enum expr_type type;
    union {
        struct slice string; /* also a constant's name */
        int64_t integer;
        double number;
        struct {
            const struct expr_value *items;
            uint32_t count;
        } array;
    };
};

/* Source of one block: branches in order, then else. */
struct expr_branch {
    struct slice condition, then;
};
struct expr_source {
    const struct expr_branch *branches;
    uint32_t branch_count;
    struct slice otherwise;
};

struct expr_problem {
    int32_t branch;                 /* index of the branch, -1 = else */
    bool in_condition;              /* in "if" (true) or "then"/"else" (false) */
    uint32_t position;              /* byte offset in that text */
    char message[EXPR_MESSAGE_MAX]; /* what was found, what was expected, names available */
};

struct expr_program; /* immutable; shared between cores */
struct lookups;      /* route/lookup.h */

MX_MUST_CHECK mx_err expr_compile(struct expr_program **out_program,
                                  const struct expr_source *source, enum expr_context context,
                                  struct expr_problem *problem);
void expr_free(struct expr_program *program);
/* Every result that the program can yield as a string literal ("route names"): calls each for every
 * literal that is a whole then/else value. Returns false when some result is not a literal. */
bool expr_literal_results(const struct expr_program *program,
                          void (*each)(void *arg, struct slice name), void *arg);
/* The same for results of any type. */
bool expr_known_results(const struct expr_program *program,
                        void (*each)(void *arg, const struct expr_value *value), void *arg);
/* True and *out set when the whole program folds to one value (settings that must be constant). */
bool expr_constant(const struct expr_program *program, struct expr_value *out);

/* Does some part of the program look at the variable (enum expr_variable_id)? */
bool expr_uses(const struct expr_program *program, uint16_t variable);
/* Does it ask the host something that may be answered later? */
bool expr_asks(const struct expr_program *program);
/* Can a run of it change a key or a counter? */
bool expr_changes(const struct expr_program *program);

/* What a function asks that the host may have to find out first. */
enum expr_ask {
    EXPR_ASK_NOTHING,
    EXPR_ASK_DNS,
    EXPR_ASK_KEY,    /* key_get, key_exists, counter_get */
    EXPR_ASK_CHANGE, /* key_set, counter_incr */
};
/* What a program may use beyond the language. */
struct expr_environment {
    uint32_t asks; /* questions that the caller answers (bits 1 << enum expr_ask): functions that
                      ask others are refused by name */
    /* The lists for key_get and key_exists; borrowed for as long as the program is there. NULL:
     * every name passes, and the program is only looked at: looking a key up fails. */
    const struct lookups *lookups;
};
/* The store whose keys and counters expressions themselves set; no list has its name. */
#define EXPR_STORE_NAME "*"
/* As expr_compile, which has the questions of the context and no lists. */
MX_MUST_CHECK mx_err expr_compile_in(struct expr_program **out_program,
                                     const struct expr_source *source, enum expr_context context,
                                     const struct expr_environment *environment,
                                     struct expr_problem *problem);

struct expr_question {
    enum expr_ask kind;
    const char *function; /* its name in the table; the same function has the same pointer */
    bool changes;         /* answered twice it does something twice */
    const struct expr_value *args; /* stay until the answer */
    uint32_t argc;
};
enum expr_answer { EXPR_ANSWERED, EXPR_UNANSWERED, EXPR_LATER };

enum expr_status { EXPR_DONE, EXPR_FAILED, EXPR_WAITING };

struct expr_vm;

/* What the program asks from outside. */
struct expr_host {
    void *arg;
    /* Value of a variable; for arrays see expr_array. */
    void (*variable)(void *arg, uint16_t variable, struct expr_value *out);
    bool (*is_local_domain)(void *arg, struct slice domain);
    bool (*is_local_address)(void *arg, struct slice address);
    struct slice (*system)(void *arg, struct slice name);
    /* Digest by name ("md5", "sha1", "sha256", "sha512"); returns its length in bytes. */
    size_t (*digest)(void *arg, struct slice algorithm, struct slice text,
                     uint8_t out[EXPR_DIGEST_MAX]);
    /* EXPR_ANSWERED: *out is set (it stays as long as the run). EXPR_UNANSWERED: *reason is set
     * (static text; only then), the run fails. EXPR_LATER: the run stops; expr_resume. Only asked
     * what the program was compiled for. */
    enum expr_answer (*ask)(void *arg, const struct expr_question *question, struct expr_value *out,
                            const char **reason);
};

/* Statistics that metric() knows, by the names of the management contract. */
enum expr_metric {
#define METRIC(id, name, description) EXPR_METRIC_##id,
#include "route/expr_metric.def"
#undef METRIC
    EXPR_METRICS
};
/* Their values for the whole process as they were last collected: written by one thread, read by
 * the machines of all others at any time, without waiting. */
struct expr_metrics {
    _Atomic uint64_t values[EXPR_METRICS];
    _Atomic bool collected; /* once at least: before, metric() fails */
};

struct expr_stats {
    uint64_t evaluations, failed, steps;
    struct hdr ns; /* of those that the caller timed */
};
/* One value that was worked out, for explanations. */
struct expr_step {
    uint32_t part;       /* 2 * branch (its "if"), 2 * branch + 1 (its "then"); the last: "else" */
    uint32_t start, end; /* bytes of the text of that part */
    bool decides;        /* the value of a whole "if" */
    bool result;         /* the value of the program */
    const struct expr_value *value;
};
struct expr_trace {
    void *arg;
    void (*step)(void *arg, const struct expr_step *step);
};
/* The source of a part, as it was compiled; borrowed from the program. */
struct slice expr_part_text(const struct expr_program *program, uint32_t part);
uint32_t expr_part_count(const struct expr_program *program);

struct expr_vm {
    struct expr_stats stats;            /* since the vm was made: all zero */
    const struct expr_metrics *metrics; /* set by whoever makes the vm; NULL: metric() fails */
    const struct expr_program *program;
    const struct expr_host *host;
    const struct expr_trace *trace; /* NULL: none */
    uint32_t pc, depth, steps, scratch_used, arrays_used, capture_count;
    const char *failure;           /* static text after EXPR_FAILED */
    struct expr_question question; /* while EXPR_WAITING */
    struct expr_value stack[EXPR_STACK_MAX];
    struct slice captures[EXPR_CAPTURES_MAX];
    struct expr_value arrays[EXPR_ARRAY_MAX];
    uint8_t scratch[EXPR_SCRATCH_BYTES];
    _Alignas(16) uint8_t regex_memory[EXPR_REGEX_BYTES];
};

/* Runs until it ends or waits; *out borrows from the program, the host's values or the vm. trace
 * may be NULL. */
enum expr_status expr_run(struct expr_vm *vm, const struct expr_program *program,
                          const struct expr_host *host, const struct expr_trace *trace,
                          struct expr_value *out);
/* Goes on after EXPR_WAITING. The answer is copied; NULL: there is none, the run fails with
 * reason (static text). */
enum expr_status expr_resume(struct expr_vm *vm, const struct expr_value *answer,
                             const char *reason, struct expr_value *out);
static inline bool expr_truthy(const struct expr_value *value)
{
    switch (value->type) {
    case EXPR_STRING:
        return value->string.len > 0;
    case EXPR_INTEGER:
        return value->integer != 0;
    case EXPR_FLOAT:
        return value->number != 0;
    case EXPR_ARRAY:
        return value->array.count > 0;
    default:
        return true;
    }
}
/* For hosts: the text of a value, as functions see it: a string or constant itself, a number's
 * digits (in memory that lives as long as the run), '' for an array. False: no memory; the run
 * fails. */
bool expr_value_text(struct expr_vm *vm, const struct expr_value *value, struct slice *out);
/* For hosts: memory for an array of count values, as long as the run. NULL when it is used up; the
 * run fails then. */
struct expr_value *expr_array(struct expr_vm *vm, size_t count);
/* For hosts whose texts end before the value of the run is used: a text between from and to is
 * copied into the VM. Only the value itself, not the items of an array. False: no memory; the run
 * has failed. */
bool expr_keep_text(struct expr_vm *vm, struct expr_value *value, const void *from, const void *to);
/* The value as people read it: texts in quotes, arrays in brackets. Cut where there is no room. */
void put_expr_value(struct writer *w, const struct expr_value *value);
/* Variables by number, for hosts; the rows of route/expr_tables.c are in this order. */
enum expr_variable_id {
    EXPR_VAR_RCPT,
    EXPR_VAR_RCPT_DOMAIN,
    EXPR_VAR_RECIPIENTS,
    EXPR_VAR_SENDER,
    EXPR_VAR_SENDER_DOMAIN,
    EXPR_VAR_AUTHENTICATED_AS,
    EXPR_VAR_SOURCE,
    EXPR_VAR_SIZE,
    EXPR_VAR_PRIORITY,
    EXPR_VAR_RETRY_NUM,
    EXPR_VAR_NOTIFY_NUM,
    EXPR_VAR_EXPIRES_IN,
    EXPR_VAR_LAST_STATUS,
    EXPR_VAR_LAST_ERROR,
    EXPR_VAR_QUEUE_NAME,
    EXPR_VAR_QUEUE_AGE,
    EXPR_VAR_RECEIVED_FROM_IP,
    EXPR_VAR_RECEIVED_VIA_PORT,
    EXPR_VAR_MX,
    EXPR_VAR_LISTENER,
    EXPR_VAR_REMOTE_IP,
    EXPR_VAR_REMOTE_PORT,
    EXPR_VAR_LOCAL_IP,
    EXPR_VAR_LOCAL_PORT,
    EXPR_VAR_PROTOCOL,
    EXPR_VAR_IS_TLS,
    EXPR_VAR_HELO_DOMAIN,
    EXPR_VAR_ASN,
    EXPR_VAR_COUNTRY,
    EXPR_VAR_URL,
    EXPR_VAR_PATH,
    EXPR_VAR_HEADERS,
    EXPR_VAR_METHOD,
};
const char *expr_variable_name(uint16_t variable);
/* Index of a variable by name, for hosts: stable within a build; UINT16_MAX when there is none. */
uint16_t expr_variable(struct slice name);
