#include "smtp/srv_wait.h"

#include "core/check.h"
#include "core/text.h"
#include "smtp/addr_parse.h"
#include "smtp/cmd_parse.h"
#include "smtp/dns_answers.h"
#include "smtp/service.h"
#include "smtp/srv_conn.h"

static struct verify_key key_of(const struct routing *routing, struct slice address)
{
    return (struct verify_key){.domain_id = routing->resolution.domain->id,
                               .route = routing->route->index,
                               .address = address};
}

static void keep_text(struct slice *text, uint8_t *memory, size_t room)
{
    MX_ASSERT(text->len <= room);
    if (text->len > 0) {
        memcpy(memory, text->ptr, text->len);
    }
    *text = slice_of(memory, text->len);
}

/* NULL: no memory. */
static struct srv_wait *begin(struct srv_conn *conn)
{
    struct srv_ask *ask = &conn->srv.ask;
    struct srv_wait *wait = conn->wait;
    if (wait != NULL) {
        return wait;
    }
    wait = pool_acquire(&conn->service->waits);
    if (wait != NULL) {
        wait->conn = conn;
        wait->dns = NULL;
        wait->verify = (struct verify_waiter){.answer = VERIFY_LATER};
        keep_text(&ask->text, wait->text, sizeof wait->text);
        if (ask->kind == SRV_ASK_RCPT) {
            keep_text(&ask->rcpt.orcpt, wait->orcpt, sizeof wait->orcpt);
        }
        conn->wait = wait;
    }
    return wait;
}

void srv_wait_end(struct srv_conn *conn)
{
    if (conn->wait != NULL) {
        verify_cancel(&conn->wait->verify);
        dns_answers_free(conn->wait->dns);
        pool_release(&conn->service->waits, conn->wait);
        conn->wait = NULL;
    }
}

struct dns_answers *srv_wait_dns(struct srv_conn *conn, void (*again)(void *conn))
{
    struct srv_wait *wait = begin(conn);
    if (wait != NULL && wait->dns == NULL) {
        wait->dns = dns_answers_new(&conn->service->dns, &conn->service->keys,
                                    DNS_ANSWERS_SESSION_MAX, again, conn);
    }
    return wait == NULL ? NULL : wait->dns;
}

enum verify_answer srv_wait_verify(struct srv_conn *conn, const struct routing *routing,
                                   struct slice address, void (*done)(struct verify_waiter *waiter))
{
    struct verify *v = &conn->service->deliver.verify;
    if (conn->wait != NULL && conn->wait->verify.answer != VERIFY_LATER) {
        return conn->wait->verify.answer;
    }
    struct srv_wait *wait = begin(conn);
    if (wait == NULL) {
        return VERIFY_UNKNOWN;
    }
    wait->verify.done = done;
    struct verify_key key = key_of(routing, address);
    return verify_ask(v, &key, &wait->verify);
}

/* --- what follows ------------------------------------------------------------------------------
 */

static void ask_ahead(struct srv_conn *conn, struct slice address)
{
    struct service *service = conn->service;
    struct routing_context ctx = service_routing(service);
    struct routing routing;
    routing_find(&routing, &ctx, address, &conn->txn->env);
    if (routing_verifies(&routing)) {
        struct verify_key key = key_of(&routing, address);
        (void)verify_ask(&service->deliver.verify, &key, NULL);
    }
}

void srv_wait_look_ahead(struct srv_conn *conn, struct slice in)
{
    const struct slice verb = SLICE_LITERAL("RCPT TO:");
    struct slice line;
    if (conn->service->image->stages[STAGE_REWRITE_RCPT] != NULL) {
        return; /* nobody knows yet who they will be */
    }
    for (unsigned i = 0; i < SRV_AHEAD_MAX; i++) {
        struct path path;
        size_t used;
        if (cmd_find_line(&line, in, conn->srv.conf->limits.line_bytes_max) != CMD_LINE ||
            !text_starts_nocase(line, verb) ||
            addr_parse_path(&path, &used, slice_from(line, verb.len)) != MX_OK) {
            return;
        }
        in = slice_from(in, line.len + 2);
        if (path.address.domain.len > 0) {
            ask_ahead(conn, path.address.text);
        }
    }
}
