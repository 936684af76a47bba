/* Regular expressions when they are loaded; searches are in expr_search.c. */
#include "route/expr_regex.h"

#include <stdlib.h>

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
