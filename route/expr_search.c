/* Searches of regular expressions. A search takes its memory from the VM and has a bound on steps:
 * what is over it fails, as a value that could not be worked out. */
#include "route/expr_regex.h"

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
