#include "core/text.h"
#include "io/clock.h"
#include "smtp/addr_parse.h"
#include "smtp/deliver.h"
#include "smtp/idn.h"

enum { TIMED_EVERY = 16 /* evaluations: reading the clock costs more than most of them */ };

struct lookup {
    const struct routing_context *ctx;
    const struct envelope *env;
    struct slice rcpt, rcpt_domain;
};

static void split(struct slice address, struct slice *local, struct slice *domain)
{
    size_t at = address.len;
    while (at > 0 && address.ptr[at - 1] != '@') {
        at--;
    }
    if (at == 0) {
        *local = address;
        *domain = SLICE_EMPTY;
        return;
    }
    *local = slice_first(address, at - 1);
    *domain = slice_from(address, at);
}

static struct expr_value text_value(struct slice text)
{
    return (struct expr_value){.type = EXPR_STRING, .string = text};
}

static struct expr_value sender_domain(const struct lookup *look)
{
    struct slice local, domain;
    split(look->env->sender, &local, &domain);
    return text_value(domain);
}

static void variable(void *arg, uint16_t index, struct expr_value *out)
{
    const struct lookup *look = arg;
    switch (index) {
    case EXPR_VAR_RCPT:
        *out = text_value(look->rcpt);
        break;
    case EXPR_VAR_RCPT_DOMAIN:
        *out = text_value(look->rcpt_domain);
        break;
    case EXPR_VAR_SENDER:
        *out = text_value(look->env->sender);
        break;
    case EXPR_VAR_SENDER_DOMAIN:
        *out = sender_domain(look);
        break;
    case EXPR_VAR_SIZE:
        *out = (struct expr_value){.type = EXPR_INTEGER, .integer = (int64_t)look->env->body_bytes};
        break;
    case EXPR_VAR_SOURCE:
        *out = text_value(look->env->source == SOURCE_DSN ? SLICE_LITERAL("dsn")
                                                          : SLICE_LITERAL("unauthenticated"));
        break;
    default:
        *out = text_value(SLICE_EMPTY);
    }
}

static bool local_domain(void *arg, struct slice domain)
{
    const struct lookup *look = arg;
    return directory_is_local_domain(look->ctx->directory, domain);
}

static bool local_address(void *arg, struct slice address)
{
    const struct lookup *look = arg;
    return directory_is_local_address(look->ctx->directory, address);
}

static struct slice system_value(void *arg, struct slice name)
{
    const struct lookup *look = arg;
    return slice_equal(name, SLICE_LITERAL("hostname")) ? look->ctx->image->hostname : SLICE_EMPTY;
}

static enum expr_status evaluate(struct expr_vm *vm, const struct expr_program *program,
                                 const struct expr_host *host, struct expr_value *value)
{
    if (!count_is_on() || vm->stats.evaluations % TIMED_EVERY != 0) {
        return expr_run(vm, program, host, value);
    }
    uint64_t began_ns = clock_monotonic_ns();
    enum expr_status status = expr_run(vm, program, host, value);
    hdr_add(&vm->stats.ns, clock_monotonic_ns() - began_ns);
    return status;
}

static void run_program(struct routing *out, struct lookup *look)
{
    const struct image *image = look->ctx->image;
    struct expr_host host = {.arg = look,
                             .variable = variable,
                             .is_local_domain = local_domain,
                             .is_local_address = local_address,
                             .system = system_value};
    struct expr_value value;
    enum expr_status status = evaluate(look->ctx->vm, image->route_program, &host, &value);
    if (status != EXPR_DONE) {
        out->problem = "the route expression could not be evaluated";
    } else if (value.type != EXPR_STRING) {
        out->problem = "the route expression did not yield a route's name";
    } else {
        out->route = image_route(image, value.string);
        out->problem = out->route == NULL ? "the route expression names an unknown route" : NULL;
    }
}

void routing_find(struct routing *out, const struct routing_context *ctx, struct slice rcpt,
                  const struct envelope *env)
{
    struct slice local, domain;
    uint8_t ascii[ADDRESS_MAX + DOMAIN_MAX];
    split(rcpt, &local, &domain);
    if (domain.len > 0 && !text_is_ascii(domain)) {
        struct writer w = writer_init(ascii, sizeof ascii);
        if (idn_address(&w, rcpt, rcpt.len - domain.len) == MX_OK) {
            rcpt = writer_slice(&w);
            split(rcpt, &local, &domain);
        }
    }
    struct lookup look = {.ctx = ctx, .env = env, .rcpt = rcpt, .rcpt_domain = domain};
    *out = (struct routing){0};
    directory_resolve(ctx->directory, local, domain, ctx->image->postmaster, &out->resolution);
    if (out->resolution.kind == RESOLVE_LOCAL) {
        look.rcpt = out->resolution.mailbox; /* tag, alias, catch-all: what it leads to is local */
    } else if (domain.len == 0) {
        look.rcpt = ctx->image->postmaster; /* <postmaster>: as the configured one */
    }
    if (domain.len == 0) {
        split(look.rcpt, &local, &look.rcpt_domain);
    }
    run_program(out, &look);
}
