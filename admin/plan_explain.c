#include "admin/plan_explain.h"

#include "admin/config_build.h"
#include "admin/explain_json.h"
#include "core/text.h"
#include "smtp/addr_parse.h"

#include <stdlib.h>
#include <string.h>

enum { ROUND_COUNT = 2, PLACE_MAX = 400 };

struct recipient {
    struct slice address;
    char *places[ROUND_COUNT]; /* what becomes of it, in words; owned */
};

struct plan_explain {
    char *text; /* of the addresses */
    struct recipient *recipients;
    size_t count, cap;
    unsigned rounds; /* done */
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
        free(e->recipients[i].places[0]);
        free(e->recipients[i].places[1]);
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
    struct expr_vm *vm;
    struct expr_metrics metrics; /* as at a start: all 0 */
    struct explanation *explanation;
};

static void trial_free(struct trial *t)
{
    directory_free(t->directory);
    config_free(t->config);
    free(t->vm);
    free(t->explanation);
}

static mx_err trial_open(struct trial *t, struct store *store, struct config_problem *problem)
{
    const struct reg_type *type;
    *t = (struct trial){.vm = calloc(1, sizeof *t->vm),
                        .metrics = {.collected = true},
                        .explanation = calloc(1, sizeof *t->explanation)};
    mx_err err = t->vm == NULL || t->explanation == NULL ? MX_ERR_NOMEM : MX_OK;
    if (!err) {
        t->vm->metrics = &t->metrics;
    }
    err = err ? err : directory_new(&t->directory, 1);
    if (err) {
        config_problem_set(problem, "%s", err_text(err));
        return err;
    }
    err = config_build(&t->config, store, CONFIG_WHOLE, &type, problem);
    for (size_t i = 0; !err && i < t->config->domain_count; i++) {
        err = directory_put_domain(t->directory, &t->config->domains[i]);
    }
    const struct dir_block *block = err ? NULL : t->config->addresses;
    for (; !err && block != NULL; block = block->next) {
        err = directory_put_block(t->directory, block);
    }
    if (err == MX_ERR_NOMEM) {
        config_problem_set(problem, "%s", err_text(err));
    }
    return err;
}

static mx_err route_all(struct plan_explain *e, const struct trial *t, int64_t wall_ms)
{
    const struct expr_asker nobody = {.answers = NULL};
    struct schedule schedule;
    schedule_default(&schedule);
    struct routing_context context = {.image = &t->config->image,
                                      .directory = t->directory,
                                      .vm = t->vm,
                                      .now_ms = wall_ms,
                                      .schedule = &schedule,
                                      .asker = &nobody};
    for (size_t i = 0; i < e->count; i++) {
        char place[PLACE_MAX];
        struct writer w = writer_init(place, sizeof place - 1);
        struct explain_query query = {.rcpt = e->recipients[i].address};
        explain(t->explanation, &query, &context);
        put_place(&w, t->explanation);
        place[w.len] = '\0';
        e->recipients[i].places[e->rounds] = strdup(place);
        if (e->recipients[i].places[e->rounds] == NULL) {
            return MX_ERR_NOMEM;
        }
    }
    return MX_OK;
}

mx_err plan_explain_route(struct plan_explain *e, struct store *store, int64_t wall_ms,
                          struct config_problem *problem)
{
    struct trial trial;
    mx_err err = trial_open(&trial, store, problem);
    if (!err) {
        err = route_all(e, &trial, wall_ms);
        if (err) {
            config_problem_set(problem, "%s", err_text(err));
        }
    }
    trial_free(&trial);
    e->rounds += err == MX_OK;
    return err;
}

void plan_explain_print(const struct plan_explain *e, FILE *out)
{
    size_t moved = 0;
    for (size_t i = 0; i < e->count; i++) {
        const struct recipient *r = &e->recipients[i];
        if (strcmp(r->places[0], r->places[1]) != 0) {
            fprintf(out, "%.*s: %s -> %s\n", SLICE_ARGS(r->address), r->places[0], r->places[1]);
            moved++;
        }
    }
    fprintf(out, "%zu of %zu recipients would go another way\n", moved, e->count);
}
