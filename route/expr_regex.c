/* Regular expressions: the only file that includes PCRE2. Patterns and subjects are bytes. A search
 * takes its memory from the VM and has a bound on steps: what is over it fails, as a value that
 * could not be worked out. */
#include "core/text.h"
#include "route/expr_private.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdlib.h>

struct expr_regex {
    pcre2_code *code;
    uint32_t groups;
};

/* --- at load -----------------------------------------------------------------------------------
 */

static void *take(size_t size, void *arg)
{
    (void)arg;
    return malloc(size);
}

static void give_back(void *memory, void *arg)
{
    (void)arg;
    free(memory);
}

static mx_err compile(struct expr_regex *regex, struct slice pattern, uint32_t *out_at,
                      char *message, size_t message_cap)
{
    pcre2_general_context *memory = pcre2_general_context_create(take, give_back, NULL);
    pcre2_compile_context *context = memory ? pcre2_compile_context_create(memory) : NULL;
    if (context == NULL) {
        pcre2_general_context_free(memory);
        return MX_ERR_NOMEM;
    }
    int problem;
    size_t at;
    regex->code = pcre2_compile(pattern.len ? pattern.ptr : (const uint8_t *)"", pattern.len,
                                PCRE2_NEVER_UTF | PCRE2_NEVER_UCP | PCRE2_NEVER_BACKSLASH_C,
                                &problem, &at, context);
    pcre2_compile_context_free(context);
    pcre2_general_context_free(memory);
    if (regex->code == NULL) {
        *out_at = (uint32_t)at;
        (void)pcre2_get_error_message(problem, (PCRE2_UCHAR8 *)message, message_cap);
        return problem == PCRE2_ERROR_HEAP_FAILED ? MX_ERR_NOMEM : MX_ERR_SYNTAX;
    }
    (void)pcre2_pattern_info(regex->code, PCRE2_INFO_CAPTURECOUNT, &regex->groups);
    return MX_OK;
}

static void put_message(char *message, size_t cap, const char *text)
{
    struct writer w = writer_init(message, cap - 1);
    put_text(&w, text);
    message[w.len] = '\0';
}

mx_err expr_regex_new(struct expr_regex **out_regex, struct slice pattern, uint32_t *out_at,
                      char *message, size_t message_cap)
{
    struct expr_regex *regex = calloc(1, sizeof *regex);
    *out_at = 0;
    put_message(message, message_cap, "out of memory");
    mx_err err = regex ? compile(regex, pattern, out_at, message, message_cap) : MX_ERR_NOMEM;
    if (!err && regex->groups >= EXPR_CAPTURES_MAX) {
        put_message(message, message_cap, "more than 31 groups");
        err = MX_ERR_LIMIT;
    }
    if (err) {
        expr_regex_free(regex);
        return err;
    }
    *out_regex = regex;
    return MX_OK;
}

void expr_regex_free(struct expr_regex *regex)
{
    if (regex != NULL) {
        pcre2_code_free(regex->code);
        free(regex);
    }
}

uint32_t expr_regex_groups(const struct expr_regex *regex)
{
    return regex->groups;
}

/* --- at run time -------------------------------------------------------------------------------
 */

/* The VM's memory, handed out from the front; all of it is free again before the next search. */
struct front {
    uint8_t *at;
    size_t left;
};

static void *take_front(size_t size, void *arg)
{
    struct front *front = arg;
    size = mx_round_up(size, 16);
    if (size > front->left) {
        return NULL;
    }
    void *taken = front->at;
    front->at += size;
    front->left -= size;
    return taken;
}

static void keep_front(void *memory, void *arg)
{
    (void)memory;
    (void)arg;
}

/* PCRE2 begins with 20 KiB of backtracking memory and doubles it, copying; with what it has had
 * before, the largest that fits is 160 KiB. */
enum { HEAP_KIB = 160 };

static int search(struct front *front, const struct expr_regex *regex, struct slice subject,
                  pcre2_match_data **out_data)
{
    pcre2_general_context *memory = pcre2_general_context_create(take_front, keep_front, front);
    pcre2_match_context *context = memory ? pcre2_match_context_create(memory) : NULL;
    *out_data = context ? pcre2_match_data_create(regex->groups + 1, memory) : NULL;
    if (*out_data == NULL) {
        return PCRE2_ERROR_NOMEMORY;
    }
    (void)pcre2_set_match_limit(context, EXPR_REGEX_STEPS);
    (void)pcre2_set_heap_limit(context, HEAP_KIB);
    return pcre2_match(regex->code, subject.len ? subject.ptr : (const uint8_t *)"", subject.len, 0,
                       0, *out_data, context);
}

bool expr_regex_search(struct expr_vm *vm, const struct expr_regex *regex, struct slice subject,
                       bool *out_found)
{
    struct front front = {vm->regex_memory, sizeof vm->regex_memory};
    pcre2_match_data *data;
    vm->capture_count = 0;
    if (!expr_spend(vm, EXPR_REGEX_STEPS / 10)) {
        return false;
    }
    int found = search(&front, regex, subject, &data);
    if (found < 0 && found != PCRE2_ERROR_NOMATCH) {
        return expr_fail(vm, "a regular expression takes too many steps or too much memory");
    }
    *out_found = found > 0;
    const PCRE2_SIZE *at = found > 0 ? pcre2_get_ovector_pointer(data) : NULL;
    for (int i = 0; i < found; i++) {
        bool set = at[2 * i] != PCRE2_UNSET && at[2 * i] <= at[2 * i + 1];
        vm->captures[i] =
            set ? slice_first(slice_from(subject, at[2 * i]), at[2 * i + 1] - at[2 * i])
                : SLICE_EMPTY;
    }
    vm->capture_count = found > 0 ? (uint32_t)found : 0;
    return true;
}
