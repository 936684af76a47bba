#include "smtp/srv_stage.h"

#include "core/check.h"
#include "core/text.h"
#include "smtp/service.h"
#include "smtp/session_settings.h"
#include "smtp/srv_conn.h"

#include <stdlib.h>

/* One answer, as texts. */
struct known {
    struct dns_name name;
    enum dns_type type;
    uint32_t count;
    struct slice *items; /* one piece of memory with their texts */
};

struct srv_dns {
    struct dns_query query;
    struct srv_conn *conn;
    void (*again)(struct srv_conn *conn);
    bool inside;          /* within dns_ask: whoever asks is there */
    const char *problem;  /* static text: nobody could say */
    struct dns_name name; /* being asked about */
    enum dns_type type;
    unsigned count;
    struct known known[SRV_DNS_MAX];
};

struct view {
    struct session_view session; /* the first member */
    struct srv_conn *conn;
    void (*again)(struct srv_conn *conn);
};

/* --- variables ---------------------------------------------------------------------------------
 */

struct slice srv_stage_domain(struct slice address)
{
    size_t at = address.len;
    while (at > 0 && address.ptr[at - 1] != '@') {
        at--;
    }
    return at == 0 ? SLICE_EMPTY : slice_from(address, at);
}

struct slice srv_stage_sender(const struct srv_conn *conn)
{
    const struct srv_ask *ask = &conn->srv.ask;
    return ask->kind == SRV_ASK_MAIL ? ask->text
           : conn->txn != NULL       ? conn->txn->env.sender
                                     : SLICE_EMPTY;
}

static struct slice rcpt_of(const struct srv_conn *conn)
{
    return conn->srv.ask.kind == SRV_ASK_RCPT ? conn->srv.ask.text : SLICE_EMPTY;
}

static struct expr_value recipients(const struct srv_conn *conn)
{
    const struct envelope *env = conn->txn == NULL ? NULL : &conn->txn->env;
    uint32_t count = env == NULL ? 0 : env->rcpt_count;
    struct expr_value *items = expr_array(conn->service->deliver.vm, count);
    for (uint32_t i = 0; items != NULL && i < count; i++) {
        items[i] = (struct expr_value){.type = EXPR_STRING, .string = env->rcpts[i].address};
    }
    return (struct expr_value){.type = EXPR_ARRAY, .array = {items, items == NULL ? 0 : count}};
}

static void variable(void *arg, uint16_t index, struct expr_value *out)
{
    const struct srv_conn *conn = ((struct view *)arg)->conn;
    *out = (struct expr_value){.type = EXPR_STRING, .string = SLICE_EMPTY};
    switch (index) {
    case EXPR_VAR_SENDER:
        out->string = srv_stage_sender(conn);
        break;
    case EXPR_VAR_SENDER_DOMAIN:
        out->string = srv_stage_domain(srv_stage_sender(conn));
        break;
    case EXPR_VAR_RCPT:
        out->string = rcpt_of(conn);
        break;
    case EXPR_VAR_RCPT_DOMAIN:
        out->string = srv_stage_domain(rcpt_of(conn));
        break;
    case EXPR_VAR_RECIPIENTS:
        *out = recipients(conn);
        break;
    case EXPR_VAR_HELO_DOMAIN:
        out->string = slice_of(conn->helo, conn->helo_len);
        break;
    case EXPR_VAR_PRIORITY:
        *out = (struct expr_value){.type = EXPR_INTEGER, .integer = 0};
        break;
    default:
        session_variable(arg, index, out);
    }
}

/* --- the DNS -----------------------------------------------------------------------------------
 */

struct srv_dns *srv_dns_new(void)
{
    return calloc(1, sizeof(struct srv_dns));
}

void srv_dns_free(struct srv_dns *dns)
{
    if (dns == NULL) {
        return;
    }
    dns_cancel(&dns->query);
    for (unsigned i = 0; i < dns->count; i++) {
        free(dns->known[i].items);
    }
    free(dns);
}

/* A record as people write it. */
static void put_record(struct writer *w, enum dns_type type, struct slice data)
{
    if (type == DNS_A || type == DNS_AAAA) {
        struct netaddr addr = {.family = type == DNS_A ? 4 : 6};
        memcpy(addr.bytes, data.ptr, mx_min_size(data.len, sizeof addr.bytes));
        put_netaddr(w, &addr);
    } else {
        put_slice(w, data);
    }
}

/* False: no memory. */
static bool remember(struct srv_dns *dns, const struct dns_answer *answer)
{
    struct known *known = &dns->known[dns->count];
    size_t records = answer->status == DNS_FOUND ? answer->count : 0;
    records = mx_min_size(records, SRV_DNS_RECORDS_MAX);
    size_t texts = answer->len + records * NETADDR_TEXT_MAX;
    *known = (struct known){.name = dns->name, .type = dns->type};
    known->items = malloc(records * sizeof *known->items + texts + 1);
    if (known->items == NULL) {
        return false;
    }
    struct writer w = writer_init(known->items + records, texts);
    struct dns_rdata record;
    for (size_t at = 0; known->count < records && dns_answer_next(answer, &at, &record);) {
        size_t from = w.len;
        put_record(&w, dns->type, record.data);
        known->items[known->count++] = slice_from(writer_slice(&w), from);
    }
    dns->count++;
    return true;
}

static void answered(struct dns_query *query, mx_err err, const struct dns_answer *answer,
                     const char *problem)
{
    struct srv_dns *dns = mx_container_of(query, struct srv_dns, query);
    if (err) {
        dns->problem = problem;
    } else if (!remember(dns, answer)) {
        dns->problem = err_text(MX_ERR_NOMEM);
    }
    if (!dns->inside) {
        dns->again(dns->conn);
    }
}

static struct known *find(struct srv_dns *dns, const struct dns_name *name, enum dns_type type)
{
    for (unsigned i = 0; i < dns->count; i++) {
        if (dns->known[i].type == type && dns_name_equal(&dns->known[i].name, name)) {
            return &dns->known[i];
        }
    }
    return NULL;
}

static enum expr_answer look_up(struct view *view, const struct dns_name *name, enum dns_type type,
                                struct known **out, const char **reason)
{
    struct srv_dns *dns = srv_wait_dns(view->conn);
    if (dns == NULL) {
        *reason = err_text(MX_ERR_NOMEM);
        return EXPR_UNANSWERED;
    }
    *out = find(dns, name, type);
    if (*out != NULL) {
        return EXPR_ANSWERED;
    }
    if (dns->problem == NULL && dns->count == SRV_DNS_MAX) {
        dns->problem = "the expression asks the DNS about too many names";
    }
    if (dns->problem == NULL) {
        dns->conn = view->conn;
        dns->again = view->again;
        dns->name = *name;
        dns->type = type;
        dns->query.done = answered;
        unsigned before = dns->count;
        dns->inside = true;
        dns_ask(&view->conn->service->dns, &dns->query, name, type);
        dns->inside = false;
        if (dns->problem == NULL && dns->count == before) {
            return EXPR_LATER;
        }
    }
    *out = find(dns, name, type);
    if (*out != NULL) {
        return EXPR_ANSWERED;
    }
    *reason = dns->problem;
    return EXPR_UNANSWERED;
}

/* The name in the DNS of what an expression asks about; an address asked for its PTR is turned. */
static bool name_of(struct dns_name *out, struct slice text, bool reverse)
{
    static const char digits[] = "0123456789abcdef";
    uint8_t buf[80];
    struct netaddr addr;
    struct writer w = writer_init(buf, sizeof buf);
    if (!reverse || netaddr_parse(&addr, text) != MX_OK) {
        return dns_name_parse(out, text) == MX_OK;
    }
    for (int i = addr.family == 4 ? 3 : 15; i >= 0; i--) {
        if (addr.family == 4) {
            put_decimal(&w, addr.bytes[i]);
        } else {
            put_char(&w, digits[addr.bytes[i] & 15]);
            put_char(&w, '.');
            put_char(&w, digits[addr.bytes[i] >> 4]);
        }
        put_char(&w, '.');
    }
    put_text(&w, addr.family == 4 ? "in-addr.arpa" : "ip6.arpa");
    return dns_name_parse(out, writer_slice(&w)) == MX_OK;
}

static const struct {
    const char *word;
    enum dns_type types[2]; /* the second: 0 = none */
} asked_types[] = {{"ip", {DNS_A, DNS_AAAA}}, {"ipv4", {DNS_A}},  {"ipv6", {DNS_AAAA}},
                   {"mx", {DNS_MX}},          {"txt", {DNS_TXT}}, {"ptr", {DNS_PTR}}};

static enum expr_answer ask(void *arg, const struct expr_question *question, struct expr_value *out,
                            const char **reason)
{
    struct view *view = arg;
    struct known *known[2] = {NULL, NULL};
    struct dns_name name;
    unsigned row = 0;
    if (question->args[0].type != EXPR_STRING || question->args[1].type != EXPR_STRING) {
        *reason = "the DNS can only be asked about names";
        return EXPR_UNANSWERED;
    }
    while (row + 1 < mx_countof(asked_types) &&
           !slice_equal(question->args[1].string, slice_of_text(asked_types[row].word))) {
        row++;
    }
    *out = (struct expr_value){.type = EXPR_ARRAY};
    if (!name_of(&name, question->args[0].string, asked_types[row].types[0] == DNS_PTR)) {
        return EXPR_ANSWERED; /* there cannot be such a name */
    }
    uint32_t count = 0;
    for (unsigned i = 0; i < 2 && asked_types[row].types[i] != 0; i++) {
        enum expr_answer answer =
            look_up(view, &name, asked_types[row].types[i], &known[i], reason);
        if (answer != EXPR_ANSWERED) {
            return answer;
        }
        count += known[i]->count;
    }
    struct expr_value *items = expr_array(view->conn->service->deliver.vm, count);
    if (items == NULL) {
        *reason = "too many records";
        return EXPR_UNANSWERED;
    }
    out->array.items = items;
    for (unsigned i = 0; i < 2 && known[i] != NULL; i++) {
        for (uint32_t k = 0; k < known[i]->count; k++) {
            items[out->array.count++] =
                (struct expr_value){.type = EXPR_STRING, .string = known[i]->items[k]};
        }
    }
    return EXPR_ANSWERED;
}

/* --- evaluation --------------------------------------------------------------------------------
 */

static void log_failed(const struct srv_conn *conn, const char *field, const char *reason)
{
    struct log *log = &conn->service->shard->log;
    struct log_line *line = log_begin_repeated(log, LOG_WARN, "expression-failed");
    char text[NETADDR_TEXT_MAX];
    struct writer w = writer_init(text, sizeof text);
    put_netaddr(&w, &conn->client);
    log_text(line, "field", field);
    log_slice(line, "client", writer_slice(&w));
    log_text(line, "reason", reason);
    log_text(line, "effect", "the client is told to try again");
    log_end(log, line);
}

static enum stage_verdict run(struct srv_conn *conn, const struct expr_program *program,
                              const char *field, struct expr_value *out,
                              void (*again)(struct srv_conn *conn))
{
    struct service *service = conn->service;
    struct session_facts facts = {.listener = conn->listener->conf,
                                  .client = conn->client,
                                  .local = conn->listener->bind,
                                  .directory = service->directory,
                                  .tls = conn->stream.tls != NULL};
    struct view view = {
        .session = {.facts = &facts, .image = service->image}, .conn = conn, .again = again};
    struct expr_host host = session_host(&view.session);
    struct expr_vm *vm = service->deliver.vm;
    struct expr_value value;
    host.variable = variable;
    host.ask = ask;
    switch (expr_run(vm, program, &host, NULL, &value)) {
    case EXPR_DONE:
        if (out != NULL) {
            *out = value;
        }
        return expr_truthy(&value) ? STAGE_TRUE : STAGE_FALSE;
    case EXPR_WAITING:
        return STAGE_LATER;
    default:
        log_failed(conn, field, vm->failure);
        return STAGE_FAILED;
    }
}

enum stage_verdict srv_stage_run(struct srv_conn *conn, enum stage_program which,
                                 struct expr_value *out, void (*again)(struct srv_conn *conn))
{
    static const char *const stages[STAGE_PROGRAMS] = {[STAGE_GREETING] = "smtpGreeting",
                                                       [STAGE_FQDN] = "rejectNonFqdn",
                                                       [STAGE_SENDER] = "isSenderAllowed",
                                                       [STAGE_RELAYING] = "allowRelaying"};
    return run(conn, conn->service->image->stages[which], stages[which], out, again);
}

enum stage_verdict srv_stage_match(struct srv_conn *conn, const struct expr_program *program,
                                   const char *field, void (*again)(struct srv_conn *conn))
{
    return run(conn, program, field, NULL, again);
}
