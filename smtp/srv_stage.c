#include "smtp/srv_stage.h"

#include "smtp/service.h"
#include "smtp/srv_conn.h"
#include "smtp/stage.h"

static struct dns_answers *answers_of(void *arg)
{
    struct srv_asking *asking = arg;
    return srv_wait_dns(asking->conn, asking->again);
}

void srv_asking_init(struct srv_asking *asking, struct srv_conn *conn, void (*again)(void *conn))
{
    *asking = (struct srv_asking){
        .conn = conn, .again = again, .asker = {.answers = answers_of, .arg = asking}};
}

/* Where the client has connected to: at the proxy, or here. */
static struct netaddr server_address(const struct srv_conn *conn)
{
    struct ring_addr local;
    if (conn->server.family != 0) {
        return conn->server;
    }
    return ring_local(&local, conn->stream.fd) == MX_OK ? ring_addr_netaddr(&local)
                                                        : conn->listener->bind;
}

static struct stage_facts facts_of(const struct srv_conn *conn)
{
    const struct srv_ask *ask = &conn->srv.ask;
    const struct envelope *env = conn->txn == NULL ? NULL : &conn->txn->env;
    struct stage_facts facts = {.session = {.listener = conn->listener->conf,
                                            .client = conn->client,
                                            .local = server_address(conn),
                                            .directory = conn->service->directory,
                                            .tls = conn->stream.tls != NULL},
                                .helo = slice_of(conn->helo, conn->helo_len),
                                .env = env};
    switch (ask->kind) {
    case SRV_ASK_HELO:
        facts.helo = ask->text;
        break;
    case SRV_ASK_MAIL:
        facts.sender = ask->text;
        break;
    case SRV_ASK_RCPT:
        facts.sender = env->sender;
        facts.rcpt = ask->text;
        break;
    default:
        break;
    }
    return facts;
}

static void log_failed(const struct srv_conn *conn, const char *setting, const char *reason)
{
    struct log *log = &conn->service->shard->log;
    struct log_line *line = log_begin_repeated(log, LOG_WARN, "expression-failed");
    log_text(line, "field", setting);
    log_client(line, &conn->client);
    log_text(line, "reason", reason);
    log_text(line, "effect", "the client is told to try again");
    log_end(log, line);
}

static enum stage_verdict run(struct srv_conn *conn, const struct expr_program *program,
                              const char *setting, const struct stage_facts *facts,
                              struct expr_value *out, void (*again)(void *conn))
{
    struct service *service = conn->service;
    struct expr_vm *vm = service->deliver.vm;
    struct srv_asking asking;
    srv_asking_init(&asking, conn, again);
    switch (stage_run_program(out, service->image, program, facts, vm, &asking.asker, NULL)) {
    case EXPR_DONE:
        return expr_truthy(out) ? STAGE_TRUE : STAGE_FALSE;
    case EXPR_WAITING:
        return STAGE_LATER;
    default:
        log_failed(conn, setting, vm->failure);
        return STAGE_FAILED;
    }
}

enum stage_verdict srv_stage_run(struct srv_conn *conn, enum stage_program which,
                                 struct expr_value *out, void (*again)(void *conn))
{
    const struct expr_program *program = conn->service->image->stages[which];
    struct stage_facts facts = facts_of(conn);
    struct expr_value value;
    return run(conn, program, stage_setting(which), &facts, out != NULL ? out : &value, again);
}

enum stage_verdict srv_stage_match(struct srv_conn *conn, const struct expr_program *program,
                                   const char *setting, void (*again)(void *conn))
{
    struct stage_facts facts = facts_of(conn);
    struct expr_value value;
    return run(conn, program, setting, &facts, &value, again);
}

struct slice srv_stage_sender(const struct srv_conn *conn)
{
    return facts_of(conn).sender;
}

enum stage_verdict srv_stage_relays(struct srv_conn *conn, struct slice rcpt,
                                    void (*again)(void *conn))
{
    const struct expr_program *program = conn->service->image->stages[STAGE_RELAYING];
    struct stage_facts facts = facts_of(conn);
    struct expr_value value;
    facts.rcpt = rcpt;
    return program == NULL
               ? STAGE_FALSE
               : run(conn, program, stage_setting(STAGE_RELAYING), &facts, &value, again);
}

enum stage_verdict srv_stage_settings(struct srv_conn *conn, enum expr_context context,
                                      void (*again)(void *conn))
{
    struct service *service = conn->service;
    struct stage_facts facts = facts_of(conn);
    struct srv_asking asking;
    srv_asking_init(&asking, conn, again);
    struct session_run run = {.image = service->image,
                              .facts = &facts.session,
                              .helo = facts.helo,
                              .vm = service->deliver.vm,
                              .asker = &asking.asker};
    switch (session_settings_take(conn->own, context, &run)) {
    case EXPR_DONE:
        return STAGE_TRUE;
    case EXPR_WAITING:
        return STAGE_LATER;
    default:
        log_failed(conn, session_setting_row(run.failed)->name, run.problem);
        return STAGE_FAILED;
    }
}

static void log_rewritten(const struct srv_conn *conn, struct slice from, struct slice to)
{
    struct log *log = &conn->service->shard->log;
    struct log_line *line = log_begin_repeated(log, LOG_INFO, "address-rewritten");
    log_session(line, conn->number);
    log_client(line, &conn->client);
    log_text(line, "command", conn->srv.ask.kind == SRV_ASK_MAIL ? "MAIL" : "RCPT");
    log_slice(line, "address", from);
    log_slice(line, "becomes", to);
    log_end(log, line);
}

enum stage_verdict srv_stage_rewrite(struct srv_conn *conn, enum stage_program which,
                                     struct slice *out, uint8_t memory[ADDRESS_MAX],
                                     void (*again)(void *conn))
{
    struct service *service = conn->service;
    const struct srv_ask *ask = &conn->srv.ask;
    *out = ask->text;
    if (service->image->stages[which] == NULL) {
        return STAGE_TRUE;
    }
    struct stage_facts facts = facts_of(conn);
    bool smtputf8 = ask->kind == SRV_ASK_MAIL ? ask->mail.smtputf8 : conn->txn->env.mail.smtputf8;
    struct expr_vm *vm = service->deliver.vm;
    struct srv_asking asking;
    srv_asking_init(&asking, conn, again);
    switch (stage_rewrite(out, memory, service->image, which, &facts, smtputf8, vm, &asking.asker,
                          NULL)) {
    case EXPR_DONE:
        return STAGE_TRUE;
    case EXPR_WAITING:
        return STAGE_LATER;
    default:
        log_failed(conn, stage_setting(which), vm->failure);
        return STAGE_FAILED;
    }
}

void srv_stage_rewritten(const struct srv_conn *conn, struct slice to)
{
    if (!slice_equal(conn->srv.ask.text, to)) {
        log_rewritten(conn, conn->srv.ask.text, to);
    }
}
