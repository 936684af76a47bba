#include "admin/plan_explain.h"

#include "admin/config_build.h"
#include "admin/explain_json.h"
#include "core/text.h"
#include "io/clock.h"
#include "smtp/addr_parse.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum { ROUND_COUNT = 2, PLACE_MAX = 400 };

/* What becomes of a recipient, in words; owned. */
struct place {
    char *text;
    char *untold; /* why that is not certain; NULL: it is */
};

struct recipient {
    struct slice address;
    struct place places[ROUND_COUNT];
};

struct plan_explain {
    char *text; /* of the addresses */
    struct recipient *recipients;
    size_t count, cap;
    unsigned rounds;    /* done */
    uint64_t asking_ns; /* that the cores have been waited for */
    const char *silent; /* static text: why nobody is asked any more; NULL: somebody is */
};

/* --- recipients --------------------------------------------------------------------------------
 */

static mx_err add(struct plan_explain *e, struct slice address)
{
    struct address parsed;
    if (addr_parse_mailbox(&parsed, address) != MX_OK &&
        !text_equal_nocase(address, SLICE_LITERAL("postmaster"))) {
        return MX_ERR_SYNTAX;
    }
    if (e->count == PLAN_EXPLAIN_MAX) {
        return MX_ERR_LIMIT;
    }
    if (e->count == e->cap) {
        size_t cap = e->cap ? 2 * e->cap : 64;
        struct recipient *grown = realloc(e->recipients, cap * sizeof *grown);
        if (grown == NULL) {
            return MX_ERR_NOMEM;
        }
        e->recipients = grown;
        e->cap = cap;
    }
    e->recipients[e->count++] = (struct recipient){.address = address};
    return MX_OK;
}

static mx_err add_lines(struct plan_explain *e, struct slice rest, uint32_t *out_line)
{
    for (*out_line = 1; rest.len > 0; ++*out_line) {
        size_t end = slice_find(rest, '\n');
        struct slice line = slice_first(rest, end);
        line.len -= line.len > 0 && line.ptr[line.len - 1] == '\r';
        line = text_trim(line);
        mx_err err = line.len == 0 || line.ptr[0] == '#' ? MX_OK : add(e, line);
        if (err) {
            return err;
        }
        rest = slice_from(rest, mx_min_size(end + 1, rest.len));
    }
    return MX_OK;
}

mx_err plan_explain_new(struct plan_explain **out_explain, struct slice recipients,
                        uint32_t *out_line)
{
    struct plan_explain *e = calloc(1, sizeof *e);
    if (e == NULL || (e->text = malloc(recipients.len + 1)) == NULL) {
        free(e);
        return MX_ERR_NOMEM;
    }
    if (recipients.len > 0) {
        memcpy(e->text, recipients.ptr, recipients.len);
    }
    mx_err err = add_lines(e, slice_of(e->text, recipients.len), out_line);
    if (err) {
        plan_explain_free(e);
        return err;
    }
    *out_explain = e;
    return MX_OK;
}

void plan_explain_free(struct plan_explain *e)
{
    if (e == NULL) {
        return;
    }
    for (size_t i = 0; i < e->count; i++) {
        for (unsigned round = 0; round < ROUND_COUNT; round++) {
            free(e->recipients[i].places[round].text);
            free(e->recipients[i].places[round].untold);
        }
    }
    free(e->recipients);
    free(e->text);
    free(e);
}

/* --- routing -----------------------------------------------------------------------------------
 */

static void put_name(struct writer *w, const char *what, struct slice name)
{
    put_text(w, what);
    put_slice(w, name);
}

/* How it gets there: "; schedule remote, connection default, tls default". */
static void put_strategies(struct writer *w, const struct explanation *x)
{
    const struct strategy_pick *strategy = &x->strategy;
    put_name(w, "; schedule ", x->schedule.name);
    if (x->schedule.queue < x->image->queue_count) {
        put_name(w, ", queue ", x->image->queues[x->schedule.queue].name);
    }
    if (x->routing.route->kind != ROUTE_LOCAL) {
        put_name(w, ", connection ",
                 strategy->connection != NULL ? strategy->connection->name : SLICE_LITERAL("none"));
        put_name(w, ", tls ", strategy->tls != NULL ? strategy->tls->name : SLICE_LITERAL("none"));
    }
}

/* "relayed by source (192.0.2.25:25; ...)", "refused (550 5.1.1)" */
static void put_place(struct writer *w, const struct explanation *x)
{
    const struct route_conf *route = x->routing.route;
    put_text(w, explain_outcome_name(x->outcome));
    if (x->reply != REPLY_OK) {
        put_text(w, " (");
        put_decimal(w, reply_row(x->reply)->code);
        put_char(w, ' ');
        put_text(w, reply_row(x->reply)->enhanced);
        put_char(w, ')');
        return;
    }
    if (x->outcome == EXPLAIN_REFUSED || x->outcome == EXPLAIN_TEMPORARY) { /* only later */
        put_text(w, " (");
        put_text(w, x->reason);
        put_char(w, ')');
        return;
    }
    put_text(w, " by ");
    put_slice(w, route->name);
    put_text(w, " (");
    if (route->kind == ROUTE_LOCAL) {
        put_slice(w, x->routing.resolution.mailbox);
    } else if (route->kind == ROUTE_MX) {
        put_text(w, "MX");
    } else {
        put_slice(w, route->address);
        put_char(w, ':');
        put_decimal(w, route->port);
        put_text(w, route->lmtp ? " lmtp" : "");
    }
    put_strategies(w, x);
    put_char(w, ')');
}

/* What a core has, made for this one run. */
struct trial {
    struct config *config;
    struct directory *directory;
    struct explain_config tried; /* the two, for a core */
    struct expr_vm *vm;
    struct expr_metrics metrics; /* as at a start: all 0 */
    struct explanation *explanation;
};

static void trial_free(void *trial)
{
    struct trial *t = trial;
    directory_free(t->directory);
    config_free(t->config);
    free(t->vm);
    free(t->explanation);
    free(t);
}

static const struct expr_metrics *metrics_of(const struct trial *t,
                                             const struct explain_cores *cores)
{
    const struct expr_metrics *metrics = cores != NULL ? explain_cores_metrics(cores) : NULL;
    bool known = metrics != NULL && atomic_load_explicit(&metrics->collected, memory_order_acquire);
    return known ? metrics : &t->metrics;
}

static mx_err trial_fill(struct trial *t, struct store *store, struct config_problem *problem)
{
    const struct reg_type *type;
    mx_err err = config_build(&t->config, store, CONFIG_WHOLE, &type, problem);
    for (size_t i = 0; !err && i < t->config->domain_count; i++) {
        err = directory_put_domain(t->directory, &t->config->domains[i]);
    }
    const struct dir_block *block = err ? NULL : t->config->addresses;
    for (; !err && block != NULL; block = block->next) {
        err = directory_put_block(t->directory, block);
    }
    if (!err) {
        t->tried = (struct explain_config){&t->config->image, t->directory};
    } else if (err == MX_ERR_NOMEM) {
        config_problem_set(problem, "%s", err_text(err));
    }
    return err;
}

static mx_err trial_new(struct trial **out_trial, struct store *store,
                        const struct explain_cores *cores, struct config_problem *problem)
{
    struct trial *t = calloc(1, sizeof *t);
    bool made = t != NULL && (t->vm = calloc(1, sizeof *t->vm)) != NULL &&
                (t->explanation = calloc(1, sizeof *t->explanation)) != NULL &&
                directory_new(&t->directory, 1) == MX_OK;
    mx_err err = made ? trial_fill(t, store, problem) : MX_ERR_NOMEM;
    if (!made) {
        config_problem_set(problem, "%s", err_text(err));
    }
    if (err) {
        if (t != NULL) {
            trial_free(t);
        }
        return err;
    }
    atomic_store_explicit(&t->metrics.collected, true, memory_order_relaxed);
    t->vm->metrics = metrics_of(t, cores);
    *out_trial = t;
    return MX_OK;
}

/* --- looking up --------------------------------------------------------------------------------
 */

enum { BIT_DNS = 1 << EXPR_ASK_DNS };

static bool looks_at_host(const struct expr_program *program, enum route_kind kind)
{
    return program != NULL &&
           (expr_uses(program, EXPR_VAR_REMOTE_IP) || expr_uses(program, EXPR_VAR_LOCAL_IP) ||
            (kind == ROUTE_MX && expr_uses(program, EXPR_VAR_MX)));
}

/* How it leaves depends on a host that is not known. */
static bool misses_host(const struct explanation *x)
{
    const struct route_conf *route = x->routing.route;
    const struct outbound_conf *outbound = &x->image->outbound;
    return x->outcome == EXPLAIN_RELAYED && x->hop.address_count == 0 &&
           (looks_at_host(outbound->tls_program, route->kind) ||
            looks_at_host(outbound->connection_program, route->kind));
}

static bool goes_to_mx(const struct explanation *x)
{
    return x->outcome == EXPLAIN_RELAYED && x->routing.route->kind == ROUTE_MX;
}

/* NULL: nobody answers. */
static const struct explanation *ask_core(struct plan_explain *e, const struct trial *t,
                                          struct explain_cores *cores,
                                          const struct explain_query *query)
{
    const struct explanation *answer;
    if (e->silent != NULL) {
        return NULL;
    }
    uint64_t began_ns = clock_monotonic_ns();
    mx_err err = explain_cores_ask(cores, query, &t->tried, &answer);
    e->asking_ns += clock_monotonic_ns() - began_ns;
    if (err) {
        e->silent = err == MX_ERR_UNSUPPORTED ? "nothing is looked up in recovery mode"
                                              : "a core has not answered";
    } else if (e->asking_ns > PLAN_EXPLAIN_ASK_MS * MX_NS_PER_MS) {
        e->silent = "it took too long to look up what the recipients before need";
    }
    return err ? NULL : answer;
}

static void put_problem(struct writer *w, const struct explanation *x)
{
    for (uint32_t i = 0; i < x->decision_count && w->len == 0; i++) {
        const struct explain_decision *decision = &x->decisions[i];
        if (decision->problem != NULL) {
            put_text(w, decision->object);
            put_char(w, '.');
            put_text(w, decision->setting);
            put_text(w, ": ");
            put_text(w, decision->problem);
        }
    }
}

/* What could not be told. asks: what was asked, or would have been; silent: why it was not, or
 * NULL. */
static void put_untold(struct writer *w, const struct explanation *x, uint32_t asks,
                       const char *silent)
{
    if (silent != NULL && asks != 0) {
        put_text(w, (asks & BIT_DNS) != 0 ? "dns_query: " : "keys and counters: ");
        put_text(w, silent);
        return;
    }
    if (asks != 0 || x->outcome == EXPLAIN_TEMPORARY) {
        put_problem(w, x);
    }
    if (w->len == 0 && misses_host(x)) {
        put_text(w, "addresses of its hosts: ");
        put_text(w, silent != NULL                 ? silent
                    : x->hop.names_problem != NULL ? x->hop.names_problem
                                                   : "not known");
    }
}

/* --- all of them -------------------------------------------------------------------------------
 */

static mx_err keep_text(char **out, char *text, struct writer *w)
{
    text[w->len] = '\0';
    *out = strdup(text);
    return *out == NULL ? MX_ERR_NOMEM : MX_OK;
}

static mx_err route_one(struct plan_explain *e, struct recipient *r, const struct trial *t,
                        struct explain_cores *cores)
{
    char text[PLACE_MAX], why[PLACE_MAX];
    struct writer w = writer_init(text, sizeof text - 1), untold = writer_init(why, sizeof why - 1);
    struct place *place = &r->places[e->rounds];
    uint32_t asks = 0;
    const struct expr_asker nobody = {.unasked = &asks};
    struct schedule schedule;
    schedule_default(&schedule);
    struct routing_context context = {.image = &t->config->image,
                                      .directory = t->directory,
                                      .vm = t->vm,
                                      .now_ms = clock_wall_ms(),
                                      .schedule = &schedule,
                                      .asker = &nobody};
    struct explain_query query = {.rcpt = r->address};
    const struct explanation *x = t->explanation;
    explain(t->explanation, &query, &context);
    asks &= cores == NULL ? BIT_DNS : UINT32_MAX; /* what is remembered ends with the process */
    bool wants = asks != 0 || misses_host(x) || goes_to_mx(x);
    const struct explanation *asked = wants ? ask_core(e, t, cores, &query) : NULL;
    put_place(&w, asked != NULL ? asked : x);
    put_untold(&untold, asked != NULL ? asked : x, asks, asked != NULL ? NULL : e->silent);
    mx_err err = keep_text(&place->text, text, &w);
    return err || untold.len == 0 ? err : keep_text(&place->untold, why, &untold);
}

mx_err plan_explain_route(struct plan_explain *e, struct store *store, struct explain_cores *cores,
                          struct config_problem *problem)
{
    struct trial *trial;
    if (cores == NULL) {
        e->silent = "nothing is looked up while no server runs";
    }
    mx_err err = trial_new(&trial, store, cores, problem);
    if (err) {
        return err;
    }
    for (size_t i = 0; !err && i < e->count; i++) {
        err = route_one(e, &e->recipients[i], trial, cores);
    }
    if (err) {
        config_problem_set(problem, "%s", err_text(err));
    }
    explain_cores_free_config(cores, &trial->tried, trial, trial_free);
    e->rounds += err == MX_OK;
    return err;
}

void plan_explain_print(const struct plan_explain *e, FILE *out)
{
    size_t moved = 0, untold = 0;
    for (size_t i = 0; i < e->count; i++) {
        const struct recipient *r = &e->recipients[i];
        const struct place *now = &r->places[0], *then = &r->places[1];
        const char *why = now->untold != NULL ? now->untold : then->untold;
        bool differs = strcmp(now->text, then->text) != 0;
        if (differs) {
            fprintf(out, "%.*s: %s -> %s", SLICE_ARGS(r->address), now->text, then->text);
        } else if (why != NULL) {
            fprintf(out, "%.*s: %s", SLICE_ARGS(r->address), now->text);
        }
        if (why != NULL) {
            fprintf(out, "; not certain, %s", why);
        }
        if (differs || why != NULL) {
            fputc('\n', out);
        }
        moved += differs && why == NULL;
        untold += why != NULL;
    }
    fprintf(out, "%zu of %zu recipients would go another way", moved, e->count);
    if (untold > 0) {
        fprintf(out, "; of %zu it is not certain", untold);
    }
    fputc('\n', out);
}
