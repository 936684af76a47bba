#include "smtp/stage.h"

#include "core/text.h"
#include "smtp/address_form.h"

struct view {
    struct session_view session; /* the first member */
    const struct stage_facts *facts;
    uint8_t sender[ADDRESS_FORM_MAX], rcpt[ADDRESS_FORM_MAX];
};

static struct expr_value recipients(struct expr_vm *vm, const struct envelope *env)
{
    uint32_t count = env == NULL ? 0 : env->rcpt_count;
    struct expr_value *items = expr_array(vm, count);
    for (uint32_t i = 0; items != NULL && i < count; i++) {
        items[i] = (struct expr_value){.type = EXPR_STRING, .string = env->rcpts[i].address};
    }
    return (struct expr_value){.type = EXPR_ARRAY, .array = {items, items == NULL ? 0 : count}};
}

static void variable(void *arg, uint16_t index, struct expr_value *out)
{
    struct view *view = arg;
    const struct stage_facts *facts = view->facts;
    *out = (struct expr_value){.type = EXPR_STRING, .string = SLICE_EMPTY};
    switch (index) {
    case EXPR_VAR_SENDER:
        out->string = address_form(view->sender, facts->sender, true);
        break;
    case EXPR_VAR_SENDER_DOMAIN:
        out->string = address_domain(address_form(view->sender, facts->sender, true));
        break;
    case EXPR_VAR_RCPT:
        out->string = address_form(view->rcpt, facts->rcpt, true);
        break;
    case EXPR_VAR_RCPT_DOMAIN:
        out->string = address_domain(address_form(view->rcpt, facts->rcpt, true));
        break;
    case EXPR_VAR_RECIPIENTS:
        *out = recipients(view->session.vm, facts->env);
        break;
    case EXPR_VAR_PRIORITY:
        *out = (struct expr_value){.type = EXPR_INTEGER, .integer = 0};
        break;
    default:
        session_variable(arg, index, out);
    }
}

const char *stage_setting(enum stage_program which)
{
    static const char *const settings[STAGE_PROGRAMS] = {
        [STAGE_GREETING] = "smtpGreeting",  [STAGE_FQDN] = "rejectNonFqdn",
        [STAGE_SENDER] = "isSenderAllowed", [STAGE_RELAYING] = "allowRelaying",
        [STAGE_REWRITE_SENDER] = "rewrite", [STAGE_REWRITE_RCPT] = "rewrite"};
    return settings[which];
}

enum expr_status stage_run_program(struct expr_value *out, const struct image *image,
                                   const struct expr_program *program,
                                   const struct stage_facts *facts, struct expr_vm *vm,
                                   const struct expr_asker *asker, const struct expr_trace *trace)
{
    struct view view = {
        .session = {.facts = &facts->session, .image = image, .vm = vm, .asker = asker},
        .facts = facts};
    view.session.helo = facts->helo;
    struct expr_host host = session_host(&view.session);
    host.variable = variable;
    enum expr_status status = expr_run(vm, program, &host, trace, out);
    return status == EXPR_DONE && !expr_keep_text(vm, out, &view, &view + 1) ? EXPR_FAILED : status;
}

enum expr_status stage_run(struct expr_value *out, const struct image *image,
                           enum stage_program which, const struct stage_facts *facts,
                           struct expr_vm *vm, const struct expr_asker *asker,
                           const struct expr_trace *trace)
{
    return stage_run_program(out, image, image->stages[which], facts, vm, asker, trace);
}

static bool is_usable(struct slice text, bool smtputf8)
{
    struct address address;
    return text.len <= ADDRESS_MAX && (smtputf8 || text_is_ascii(text)) &&
           addr_parse_mailbox(&address, text) == MX_OK;
}

/* The program has yielded its variable, which shows the address in another form. */
static bool is_unchanged(struct slice address, struct slice value)
{
    uint8_t form[ADDRESS_FORM_MAX];
    return slice_equal(address_form(form, address, true), value);
}

enum expr_status stage_rewrite(struct slice *out, uint8_t memory[ADDRESS_MAX],
                               const struct image *image, enum stage_program which,
                               const struct stage_facts *facts, bool smtputf8, struct expr_vm *vm,
                               const struct expr_asker *asker, const struct expr_trace *trace)
{
    struct expr_value value;
    *out = which == STAGE_REWRITE_SENDER ? facts->sender : facts->rcpt;
    if (image->stages[which] == NULL || out->len == 0) {
        return EXPR_DONE;
    }
    enum expr_status status = stage_run(&value, image, which, facts, vm, asker, trace);
    if (status != EXPR_DONE || value.type != EXPR_STRING || value.string.len == 0) {
        return status;
    }
    if (is_unchanged(*out, value.string)) {
        return EXPR_DONE;
    }
    if (!is_usable(value.string, smtputf8)) {
        vm->failure = "the result is not an address";
        return EXPR_FAILED;
    }
    memcpy(memory, value.string.ptr, value.string.len);
    *out = slice_of(memory, value.string.len);
    return EXPR_DONE;
}
