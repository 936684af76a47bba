#include "smtp/queue_view.h"

#include "core/check.h"
#include "smtp/deliver.h"
#include "smtp/service.h"

#include <stdlib.h>

_Static_assert(SPOOL_MESSAGES_MAX <= 1 << QUEUE_ID_HANDLE_BITS, "a handle fits into a number");

static struct spool *spool_of(const struct queue_request *request)
{
    struct service *service = request->shard->service;
    return &service->spool;
}

static void answer(struct queue_request *request)
{
    struct shard *shard = request->shard;
    mx_err err = mbox_send(shard->hub, shard->conf.id, request->reply_to, &request->reply);
    MX_ASSERT(err == MX_OK); /* one question at a time */
}

/* NULL: it has gone. */
static struct message *find(const struct queue_request *request, uint64_t id)
{
    struct queue_place place = queue_id_place(id);
    struct message *msg = handles_get(&spool_of(request)->handles, place.handle);
    bool same = place.core == request->shard->conf.id && msg != NULL &&
                list_linked(&msg->all_node) && queue_id_is(id, msg->id);
    return same ? msg : NULL;
}

static int64_t due_of(const struct message *msg)
{
    int64_t due_ms = INT64_MAX;
    for (uint32_t i = 0; i < msg->rcpt_count; i++) {
        const struct rcpt_state *state = &msg->rcpts[i];
        if (state->status == RCPT_PENDING && state->due_ms < due_ms) {
            due_ms = state->due_ms;
        }
    }
    return due_ms;
}

/* --- envelopes from the journal ----------------------------------------------------------------
 */

static void read_done(struct journal_read *read, mx_err err);

/* False: no memory. */
static bool read_begin(struct queue_read *read, const struct message *msg)
{
    struct journal_ref ref = msg->res.resident.ref;
    size_t bytes = (size_t)mx_round_up(journal_read_bytes(ref), JOURNAL_BLOCK_BYTES);
    void *buf = aligned_alloc(JOURNAL_BLOCK_BYTES, bytes);
    if (buf == NULL) {
        return false;
    }
    read->read = (struct journal_read){.done = read_done, .ref = ref, .buf = buf};
    read->request->reading++;
    journal_read(spool_of(read->request)->journal, &read->read);
    return true;
}

/* The encoded envelope, borrowed from the read. */
static mx_err envelope_of(struct slice *out_bytes, const struct queue_read *read)
{
    struct record_message head;
    mx_err err = record_message_head_get(&head, read->read.payload);
    if (err) {
        return err;
    }
    size_t prefix = record_message_prefix_bytes(&head);
    if (prefix + read->envelope_bytes > read->read.payload.len) {
        return MX_ERR_DAMAGED;
    }
    *out_bytes = slice_first(slice_from(read->read.payload, prefix), read->envelope_bytes);
    return MX_OK;
}

static void scan_count(struct queue_scan *scan, struct queue_key key)
{
    scan->total++;
    if (scan->from_given && queue_key_order(&key, &scan->from, scan->top.ascending) < 0) {
        scan->before++;
    } else {
        queue_top_add(&scan->top, key);
    }
}

static mx_err scan_envelope(struct queue_request *request, const struct queue_read *read,
                            uint32_t rcpt_count)
{
    struct slice bytes;
    struct envelope env;
    struct envelope_rcpt *rcpts = calloc(rcpt_count, sizeof *rcpts);
    mx_err err = rcpts == NULL ? MX_ERR_NOMEM : envelope_of(&bytes, read);
    if (!err) {
        err = envelope_decode(&env, rcpts, rcpt_count, bytes);
    }
    if (!err && queue_filter_envelope(request->scan.filter, &env)) {
        scan_count(&request->scan, read->key);
    }
    free(rcpts);
    return err == MX_ERR_NOMEM ? err : MX_OK; /* who cannot be read has no sender to be found by */
}

static mx_err detail_envelope(struct queue_detail *detail, const struct queue_read *read)
{
    struct slice bytes;
    if (envelope_of(&bytes, read)) {
        return MX_OK;
    }
    detail->envelope = malloc(bytes.len + 1);
    if (detail->envelope == NULL) {
        return MX_ERR_NOMEM;
    }
    memcpy(detail->envelope, bytes.ptr, bytes.len);
    detail->envelope_bytes = (uint32_t)bytes.len;
    return MX_OK;
}

static void read_use(struct queue_read *read, const struct message *msg, bool readable)
{
    struct queue_request *request = read->request;
    mx_err err = MX_OK;
    if (request->op == QUEUE_READ && msg == NULL) {
        err = MX_ERR_NOTFOUND;
    } else if (readable && msg != NULL) {
        err = request->op == QUEUE_READ ? detail_envelope(&request->detail, read)
                                        : scan_envelope(request, read, msg->rcpt_count);
    }
    request->err = request->err ? request->err : err;
}

static void read_done(struct journal_read *journal_read, mx_err err)
{
    struct queue_read *read = mx_container_of(journal_read, struct queue_read, read);
    struct queue_request *request = read->request;
    struct message *msg = handles_get(&spool_of(request)->handles, read->handle);
    if (msg != NULL && !(list_linked(&msg->all_node) && qid_equal(msg->id, read->id))) {
        msg = NULL; /* it has ended meanwhile */
    }
    request->reading--;
    bool moved = msg != NULL && msg->res.resident.ref.segment != read->read.ref.segment;
    if (err && moved && ++read->tries < QUEUE_READ_TRIES) {
        free(read->read.buf);
        if (read_begin(read, msg)) {
            return;
        }
        request->err = MX_ERR_NOMEM;
    } else {
        read_use(read, msg, err == MX_OK);
        free(read->read.buf);
    }
    if (request->reading == 0) {
        answer(request);
    }
}

static void read_init(struct queue_read *read, struct queue_request *request,
                      const struct message *msg)
{
    *read = (struct queue_read){.request = request,
                                .id = msg->id,
                                .handle = msg->handle,
                                .envelope_bytes = msg->envelope_bytes};
}

/* --- scan --------------------------------------------------------------------------------------
 */

/* One message: counted, passed over, or its envelope is on its way. */
static mx_err scan_one(struct queue_request *request, const struct message *msg)
{
    struct queue_scan *scan = &request->scan;
    int64_t due_ms = due_of(msg);
    if (msg->rcpts_left == 0 || !queue_filter_due(scan->filter, due_ms)) {
        return MX_OK;
    }
    struct queue_key key = {.at_ms = scan->by_due ? due_ms : msg->arrived_ms,
                            .id = queue_id(request->shard->conf.id, msg->handle, msg->id)};
    if (!queue_filter_reads(scan->filter)) {
        scan_count(scan, key);
        return MX_OK;
    }
    struct queue_read *read = &request->reads[request->reading];
    read_init(read, request, msg);
    read->key = key;
    return read_begin(read, msg) ? MX_OK : MX_ERR_NOMEM;
}

static mx_err scan_piece(struct queue_request *request)
{
    struct queue_scan *scan = &request->scan;
    const struct handles *handles = &spool_of(request)->handles;
    mx_err err = MX_OK;
    for (unsigned i = 0; !err && i < QUEUE_LOOKS_MAX && scan->next < handles->made; i++) {
        if (request->reading == QUEUE_READS_MAX) {
            break;
        }
        const struct message *msg = handles_get(handles, scan->next++);
        if (msg != NULL && list_linked(&msg->all_node)) {
            err = scan_one(request, msg);
        }
    }
    scan->finished = scan->next >= handles->made;
    return err;
}

/* --- one message -------------------------------------------------------------------------------
 */

static mx_err read_one(struct queue_request *request, const struct message *msg)
{
    const struct service *service = request->shard->service;
    struct queue_detail *detail = &request->detail;
    *detail = (struct queue_detail){.id = msg->id,
                                    .arrived_ms = msg->arrived_ms,
                                    .body_bytes = msg->body_bytes,
                                    .held = msg->held,
                                    .expire_ms = service->deliver.conf.schedule.expire_ms,
                                    .rcpt_count = msg->rcpt_count};
    detail->rcpts = malloc(msg->rcpt_count * sizeof *detail->rcpts);
    if (detail->rcpts == NULL) {
        return MX_ERR_NOMEM;
    }
    memcpy(detail->rcpts, msg->rcpts, msg->rcpt_count * sizeof *detail->rcpts);
    read_init(&request->reads[0], request, msg);
    return read_begin(&request->reads[0], msg) ? MX_OK : MX_ERR_NOMEM;
}

static void log_change(const struct queue_request *request, const char *event,
                       const struct message *msg)
{
    struct log *log = &request->shard->log;
    struct log_line *line = log_begin(log, LOG_INFO, event);
    if (msg != NULL) {
        log_qid(line, "id", msg->id);
    }
    log_text(line, "by", request->by);
    log_end(log, line);
}

static mx_err cancel(struct queue_request *request, struct message *msg)
{
    struct service *service = request->shard->service;
    if (msg->rcpts_left == 0 || msg->active != NULL || msg->writes > 0) {
        return MX_ERR_AGAIN; /* what is written now may say "pending" and has to come first */
    }
    log_change(request, "cancelled", msg);
    deliver_cancel_message(&service->deliver, msg);
    return MX_ERR_AGAIN;
}

static mx_err retry(struct queue_request *request, struct message *msg)
{
    struct service *service = request->shard->service;
    if (msg->held) {
        return MX_ERR_UNSUPPORTED;
    }
    if (msg->rcpts_left == 0 || msg->active != NULL) {
        return MX_ERR_AGAIN;
    }
    log_change(request, "rescheduled", msg);
    deliver_reschedule(&service->deliver, msg, request->due_ms);
    return MX_OK;
}

static mx_err run_on_message(struct queue_request *request)
{
    struct message *msg = find(request, request->id);
    if (msg == NULL) {
        return MX_ERR_NOTFOUND;
    }
    switch (request->op) {
    case QUEUE_READ:
        return read_one(request, msg);
    case QUEUE_CANCEL:
        return cancel(request, msg);
    case QUEUE_RETRY:
        return retry(request, msg);
    default:
        return MX_ERR_BUG;
    }
}

static mx_err run(struct queue_request *request)
{
    struct service *service = request->shard->service;
    if (service == NULL || !service->started || service->stopping) {
        return MX_ERR_AGAIN;
    }
    switch (request->op) {
    case QUEUE_SCAN:
        return scan_piece(request);
    case QUEUE_PAUSE:
        if (!service->deliver.conf.paused) {
            log_change(request, "delivery-paused", NULL);
            deliver_pause(&service->deliver);
        }
        return MX_OK;
    case QUEUE_RESUME:
        if (service->deliver.conf.paused) {
            log_change(request, "delivery-resumed", NULL);
            deliver_resume(&service->deliver);
        }
        return MX_OK;
    case QUEUE_FORGET_NAMES:
        log_change(request, "names-forgotten", NULL);
        dns_forget(&service->dns);
        deliver_forget_addresses(&service->deliver);
        return MX_OK;
    case QUEUE_FORGET_ABSENT:
        log_change(request, "absent-names-forgotten", NULL);
        dns_forget_absent(&service->dns);
        return MX_OK;
    default:
        return run_on_message(request);
    }
}

void queue_request_receive(struct mbox_msg *msg, struct shard *at)
{
    struct queue_request *request = mx_container_of(msg, struct queue_request, msg);
    request->shard = at;
    request->reading = 0;
    request->err = MX_OK;
    mx_err err = run(request);
    request->err = request->err ? request->err : err;
    if (request->reading == 0) {
        answer(request);
    }
}
