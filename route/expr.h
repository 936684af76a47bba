/* The expression language (text -> tokens -> tree -> bytecode -> verified program) and its VM. Pure
 * apart from the allocation of a program at load. The language is that of the management contract:
 * operators and precedence, types string/integer/float/array/constant, if/then/else blocks,
 * variables per context, functions.
 *
 * Compile errors name the position, what was found and what was expected. What can fail only at run
 * time is an EXPR_FAILED result: the caller answers "temporary", it never picks another route.
 *
 * The VM needs no allocation: values live in a struct expr_vm that the caller provides. Its whole
 * state is in there (program counter, stack), so that a host function which answers later can be
 * added without changing programs. */
#pragma once

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
    EXPR_CONSTANT /* none: settings that must be known at load */
};

enum expr_type { EXPR_STRING, EXPR_INTEGER, EXPR_FLOAT, EXPR_ARRAY, EXPR_CONSTANT_NAME };

enum {
    EXPR_ARRAY_MAX = 1024,
    EXPR_STACK_MAX = 64,
    EXPR_STEPS_MAX = 100000,
    EXPR_SCRATCH_BYTES = 16384,
    EXPR_SOURCE_MAX = 65536,
    EXPR_BRANCHES_MAX = 256
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
    int32_t branch;    /* index of the branch, -1 = else */
    bool in_condition; /* in "if" (true) or "then"/"else" (false) */
    uint32_t position; /* byte offset in that text */
    char message[256]; /* what was found, what was expected, names available */
};

struct expr_program; /* immutable; shared between cores */

MX_MUST_CHECK mx_err expr_compile(struct expr_program **out_program,
                                  const struct expr_source *source, enum expr_context context,
                                  struct expr_problem *problem);
void expr_free(struct expr_program *program);
/* Every result that the program can yield as a string literal ("route names"): calls each for every
 * literal that is a whole then/else value. Returns false when some result is not a literal. */
bool expr_literal_results(const struct expr_program *program,
                          void (*each)(void *arg, struct slice name), void *arg);
/* True and *out set when the whole program folds to one value (settings that must be constant). */
bool expr_constant(const struct expr_program *program, struct expr_value *out);

enum expr_status { EXPR_DONE, EXPR_FAILED };

struct expr_vm;

/* What the program asks from outside. */
struct expr_host {
    void *arg;
    /* Value of a variable (index as in the context's table, see expr_variable_name). */
    void (*variable)(void *arg, uint16_t variable, struct expr_value *out);
    bool (*is_local_domain)(void *arg, struct slice domain);
    bool (*is_local_address)(void *arg, struct slice address);
    struct slice (*system)(void *arg, struct slice name);
};

struct expr_stats {
    uint64_t evaluations, failed, steps;
    struct hdr ns; /* of those that the caller timed */
};

struct expr_vm {
    struct expr_stats stats; /* since the vm was made: all zero */
    const struct expr_program *program;
    const struct expr_host *host;
    uint32_t pc, depth, steps, scratch_used, arrays_used;
    const char *failure; /* static text after EXPR_FAILED */
    struct expr_value stack[EXPR_STACK_MAX];
    uint8_t scratch[EXPR_SCRATCH_BYTES];
    struct expr_value arrays[EXPR_ARRAY_MAX];
};

/* Runs to the end; *out borrows from the program, the host's values or the vm. */
enum expr_status expr_run(struct expr_vm *vm, const struct expr_program *program,
                          const struct expr_host *host, struct expr_value *out);
bool expr_truthy(const struct expr_value *value);
/* Variables by number, for hosts; the rows of route/expr_tables.c are in this order. */
enum expr_variable_id {
    EXPR_VAR_RCPT,
    EXPR_VAR_RCPT_DOMAIN,
    EXPR_VAR_SENDER,
    EXPR_VAR_SENDER_DOMAIN,
    EXPR_VAR_SOURCE,
    EXPR_VAR_SIZE,
    EXPR_VAR_LISTENER,
    EXPR_VAR_REMOTE_IP,
    EXPR_VAR_REMOTE_PORT,
    EXPR_VAR_LOCAL_IP,
    EXPR_VAR_LOCAL_PORT,
    EXPR_VAR_PROTOCOL,
    EXPR_VAR_IS_TLS,
    EXPR_VAR_HELO_DOMAIN,
};
const char *expr_variable_name(uint16_t variable);
/* Index of a variable by name, for hosts: stable within a build; UINT16_MAX when there is none. */
uint16_t expr_variable(struct slice name);
