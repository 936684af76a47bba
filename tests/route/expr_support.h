/* A host of fixed answers, and expressions as text in, result as text out. */
#pragma once

#include "route/expr.h"
#include "route/expr_tables.h"
#include "route/lookup.h"

#include <criterion/criterion.h>
#include <stdio.h>

static struct expr_vm vm;

static void host_variable(void *arg, uint16_t index, struct expr_value *out)
{
    (void)arg;
    *out = (struct expr_value){.type = EXPR_STRING, .string = SLICE_EMPTY};
    if (index == EXPR_VAR_RCPT) {
        out->string = SLICE_LITERAL("Bob+News@Example.org");
    } else if (index == EXPR_VAR_RCPT_DOMAIN) {
        out->string = SLICE_LITERAL("Example.org");
    } else if (index == EXPR_VAR_SENDER) {
        out->string = SLICE_LITERAL("a@b.example");
    } else if (index == EXPR_VAR_SIZE) {
        *out = (struct expr_value){.type = EXPR_INTEGER, .integer = 1000};
    } else if (index == EXPR_VAR_RECIPIENTS) {
        struct expr_value *items = expr_array(&vm, 2);
        if (items == NULL) {
            return;
        }
        items[0] = (struct expr_value){.type = EXPR_STRING, .string = SLICE_LITERAL("a@x")};
        items[1] = (struct expr_value){.type = EXPR_STRING, .string = SLICE_LITERAL("b@y")};
        *out = (struct expr_value){.type = EXPR_ARRAY, .array = {items, 2}};
    }
}

static bool host_local_domain(void *arg, struct slice domain)
{
    (void)arg;
    return domain.len == 11;
}

static bool host_local_address(void *arg, struct slice address)
{
    (void)arg;
    return address.len > 0 && (address.ptr[0] | 0x20) == 'a';
}

static struct slice host_system(void *arg, struct slice name)
{
    (void)arg;
    return slice_equal(name, SLICE_LITERAL("node_id"))    ? SLICE_LITERAL("7")
           : slice_equal(name, SLICE_LITERAL("hostname")) ? SLICE_LITERAL("mx.example.org")
                                                          : SLICE_LITERAL("example.org");
}

/* No digest: the length of what was to be digested, and of the algorithm's name. */
static size_t host_digest(void *arg, struct slice algorithm, struct slice text,
                          uint8_t out[EXPR_DIGEST_MAX])
{
    (void)arg;
    out[0] = (uint8_t)text.len;
    out[1] = (uint8_t)algorithm.len;
    return 2;
}

/* The lists of all tests. */
static __attribute__((unused)) const struct lookups *host_lookups(void)
{
    static const struct lookup_row rows[] = {
        {SLICE_LITERAL("known"), SLICE_LITERAL("a@b.example")},
        {SLICE_LITERAL("known"), SLICE_LITERAL("1000")},
        {SLICE_LITERAL("known"), SLICE_LITERAL("*+News@*"), .pattern = true},
        {SLICE_LITERAL("named"), SLICE_LITERAL("a@b.example"), SLICE_LITERAL("12"), true},
        {SLICE_LITERAL("named"), SLICE_LITERAL(""), SLICE_LITERAL(""), true},
    };
    static struct lookups *lookups;
    size_t at;
    if (lookups == NULL) {
        cr_assert_eq(lookups_new(&lookups, rows, mx_countof(rows), &at), MX_OK);
    }
    return lookups;
}

/* Statistics: each is 100 more than the one before. */
static __attribute__((unused)) const struct expr_metrics *host_metrics(void)
{
    static struct expr_metrics metrics;
    for (unsigned i = 0; i < EXPR_METRICS; i++) {
        metrics.values[i] = 100 * i;
    }
    metrics.collected = true;
    return &metrics;
}

/* The store that expressions fill, of one run: a few entries, compared by kind and key. */
struct host_entry {
    bool counter;
    bool there; /* not only looked at */
    struct slice key;
    struct expr_value value;
};
static struct host_entry host_entries[512];
static unsigned host_entry_count;

static struct host_entry *host_entry(bool counter, struct slice key)
{
    unsigned i = 0;
    while (i < host_entry_count &&
           (host_entries[i].counter != counter || !slice_equal(host_entries[i].key, key))) {
        i++;
    }
    cr_assert_lt(i, mx_countof(host_entries));
    if (i == host_entry_count) {
        host_entries[host_entry_count++] = (struct host_entry){.counter = counter, .key = key};
    }
    return &host_entries[i];
}

static enum expr_answer host_ask(void *arg, const struct expr_question *question,
                                 struct expr_value *out, const char **reason)
{
    const struct expr_value *args = question->args;
    (void)arg;
    *out = (struct expr_value){.type = EXPR_INTEGER, .integer = 1};
    if (question->kind == EXPR_ASK_DNS) {
        *out = args[0];
        if (args[0].type != EXPR_STRING) {
            *reason = "no name server";
            return EXPR_UNANSWERED;
        }
        return EXPR_ANSWERED;
    }
    cr_assert(args[0].type == EXPR_STRING && slice_equal(args[0].string, SLICE_LITERAL("*")));
    cr_assert_eq(question->changes, question->kind == EXPR_ASK_CHANGE);
    struct host_entry *entry =
        host_entry(question->function[0] == 'c',
                   args[1].type == EXPR_STRING ? args[1].string : SLICE_LITERAL("number"));
    bool is_there = entry->there;
    if (strcmp(question->function, "key_set") == 0) {
        cr_assert_eq(question->argc, 3);
        entry->value = args[2];
        entry->there = true;
    } else if (strcmp(question->function, "key_exists") == 0) {
        out->integer = is_there;
    } else if (strcmp(question->function, "key_get") == 0) {
        *out = entry->value;
    } else {
        int64_t n = question->argc < 3 ? 0 : args[2].type == EXPR_INTEGER ? args[2].integer : 1;
        int64_t value = is_there ? entry->value.integer : 0;
        if (__builtin_add_overflow(value, n, &value)) {
            value = n > 0 ? INT64_MAX : INT64_MIN;
        }
        *out = (struct expr_value){.type = EXPR_INTEGER, .integer = value};
        if (question->argc == 3) {
            entry->value = *out;
            entry->there = true;
        }
    }
    return EXPR_ANSWERED;
}

static __attribute__((unused)) const struct expr_host host = {
    .variable = host_variable,
    .is_local_domain = host_local_domain,
    .is_local_address = host_local_address,
    .system = host_system,
    .digest = host_digest,
    .ask = host_ask,
};

/* The result of a text, as put_expr_value writes it; "" and the problem's or the failure's text
 * behind it when there is none. */
static __attribute__((unused)) const char *result_of(const char *text)
{
    static char shown[1024];
    struct writer w = writer_init(shown, sizeof shown - 1);
    struct expr_source source = {.otherwise = slice_of_text(text)};
    struct expr_program *program;
    struct expr_problem problem;
    struct expr_value value;
    struct expr_environment environment = {.asks = UINT32_MAX, .lookups = host_lookups()};
    host_entry_count = 0;
    vm.metrics = host_metrics();
    if (expr_compile_in(&program, &source, EXPR_QRCPT, &environment, &problem) != MX_OK) {
        snprintf(shown, sizeof shown, "refused: %s", problem.message);
        return shown;
    }
    if (expr_run(&vm, program, &host, NULL, &value) == EXPR_DONE) {
        put_expr_value(&w, &value);
    } else {
        put_text(&w, "failed: ");
        put_text(&w, vm.failure);
    }
    shown[w.len] = '\0';
    expr_free(program);
    return shown;
}
