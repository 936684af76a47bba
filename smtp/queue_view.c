#include "smtp/queue_view.h"

#include "core/check.h"
#include "smtp/deliver_private.h"
#include "smtp/service.h"
#include "smtp/spool_history.h"
#include "smtp/spool_index.h"

#include <stdlib.h>

_Static_assert(SPOOL_MESSAGES_MAX <= 1 << QUEUE_ID_HANDLE_BITS, "a handle fits into a number");

struct spool *queue_spool(const struct queue_request *request)
{
    struct service *service = request->shard->service;
    return &service->spool;
}

static void go_on(struct queue_view *view);

bool queue_is_there(const struct message *msg)
{
    return msg != NULL && list_linked(&msg->all_node);
}

struct message *queue_find(const struct queue_request *request, uint64_t id)
{
    struct queue_place place = queue_id_place(id);
    struct message *msg = handles_get(&queue_spool(request)->handles, place.handle);
    bool same =
        place.core == request->shard->conf.id && queue_is_there(msg) && queue_id_is(id, msg->id);
    return same ? msg : NULL;
}

/* --- records from the journal ------------------------------------------------------------------
 */

static void read_done(struct journal_read *read, mx_err err);

static mx_err read_begin(struct queue_read *read, struct journal_ref ref)
{
    size_t bytes = (size_t)mx_round_up(journal_read_bytes(ref), JOURNAL_BLOCK_BYTES);
    void *buf = aligned_alloc(JOURNAL_BLOCK_BYTES, bytes);
    if (buf == NULL) {
        return MX_ERR_NOMEM;
    }
    read->read = (struct journal_read){.done = read_done, .ref = ref, .buf = buf};
    read->request->reading++;
    journal_read(queue_spool(read->request)->journal, &read->read);
    return MX_OK;
}

mx_err queue_read(struct queue_read *read, struct queue_request *request, const struct message *msg,
                  struct journal_ref ref)
{
    *read = (struct queue_read){.request = request,
                                .id = msg->id,
                                .handle = msg->handle,
                                .envelope_bytes = msg->envelope_bytes,
                                .at = read->at};
    return read_begin(read, ref);
}

mx_err queue_envelope(struct slice *out_bytes, const struct queue_read *read)
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

/* Of the extent that has a part of the content, from 1. */
static const struct extent *extent_of(const struct message *msg, uint32_t part)
{
    const struct extent *extent = msg->extents;
    while (extent != NULL && extent->number + 1 != part) {
        extent = extent->next;
    }
    return extent;
}

/* Where it is by now. */
static struct journal_ref ref_of(const struct queue_read *read, const struct message *msg)
{
    const struct queue_request *request = read->request;
    if (read->is_history) {
        return msg->history != NULL ? msg->history->res.resident.ref : read->read.ref;
    }
    const struct extent *extent =
        request->op == QUEUE_CONTENT && request->part > 0 ? extent_of(msg, request->part) : NULL;
    return extent != NULL ? extent->res.resident.ref : msg->res.resident.ref;
}

/* A history is a comfort: what cannot be read is not shown. */
static mx_err history_use(struct queue_request *request, const struct queue_read *read,
                          bool readable)
{
    struct queue_detail *detail = &request->detail;
    struct slice entries = readable ? spool_history_entries(read->read.payload) : SLICE_EMPTY;
    detail->history = entries.len == 0 ? NULL : malloc(entries.len);
    if (detail->history != NULL) {
        memcpy(detail->history, entries.ptr, entries.len);
        detail->history_len = entries.len;
    }
    return MX_OK;
}

static void text_copy(uint8_t *out, uint8_t *out_len, struct slice text)
{
    *out_len = (uint8_t)text.len;
    if (text.len > 0) {
        memcpy(out, text.ptr, text.len);
    }
}

/* What is known of its schedule before it is tried. */
static void use_schedule(struct queue_detail *detail, uint32_t i, const struct schedule *schedule,
                         const struct image *image)
{
    if (detail->rcpts[i].expires_ms == RCPT_BY_ATTEMPTS) {
        deliver_note_end(&detail->rcpts[i], schedule, detail->arrived_ms);
    }
    if (detail->texts[i].queue_len == 0 && schedule->queue < image->queue_count) {
        text_copy(detail->texts[i].queue, &detail->texts[i].queue_len,
                  image->queues[schedule->queue].name);
    }
}

/* After a start nobody has asked for the schedules of those that wait yet. */
static mx_err find_schedules(struct queue_request *request)
{
    struct queue_detail *detail = &request->detail;
    struct envelope env;
    struct envelope_rcpt *rcpts = calloc(detail->rcpt_count, sizeof *rcpts);
    struct slice bytes = slice_of(detail->envelope, detail->envelope_bytes);
    if (rcpts == NULL) {
        return MX_ERR_NOMEM;
    }
    bool readable = envelope_decode(&env, rcpts, detail->rcpt_count, bytes) == MX_OK;
    for (uint32_t i = 0; readable && i < env.rcpt_count; i++) {
        struct rcpt_state *state = &detail->rcpts[i];
        bool known = state->expires_ms != RCPT_BY_ATTEMPTS && detail->texts[i].queue_len > 0;
        if (!known && state->status == RCPT_PENDING) {
            struct routing_context ctx = service_routing(request->shard->service);
            const char *problem;
            ctx.state = state;
            const struct schedule *schedule =
                routing_schedule(&ctx, env.rcpts[i].address, &env, &problem);
            if (schedule != NULL) {
                use_schedule(detail, i, schedule, ctx.image);
            }
        }
    }
    free(rcpts);
    return MX_OK;
}

static mx_err detail_use(struct queue_request *request, const struct queue_read *read,
                         bool readable)
{
    struct queue_detail *detail = &request->detail;
    struct slice bytes;
    if (!readable || queue_envelope(&bytes, read)) {
        return MX_OK;
    }
    detail->envelope = malloc(bytes.len + 1);
    if (detail->envelope == NULL) {
        return MX_ERR_NOMEM;
    }
    memcpy(detail->envelope, bytes.ptr, bytes.len);
    detail->envelope_bytes = (uint32_t)bytes.len;
    return find_schedules(request);
}

/* The buffer changes hands. */
static mx_err content_use(struct queue_request *request, struct queue_read *read,
                          const struct message *msg)
{
    struct queue_content *content = &request->content;
    struct slice payload = read->read.payload, envelope;
    if (request->part > 0) {
        content->body = slice_from(payload, mx_min_size(RECORD_EXTENT_HEAD_BYTES, payload.len));
    } else {
        struct envelope env;
        struct envelope_rcpt *rcpts = calloc(msg->rcpt_count, sizeof *rcpts);
        mx_err err = rcpts == NULL ? MX_ERR_NOMEM : queue_envelope(&envelope, read);
        err = err ? err : envelope_decode(&env, rcpts, msg->rcpt_count, envelope);
        free(rcpts);
        if (err) {
            return err;
        }
        content->prefix = env.prefix;
        content->body = slice_from(payload, (size_t)(envelope.ptr + envelope.len - payload.ptr));
    }
    content->buf = read->read.buf;
    read->read.buf = NULL;
    return MX_OK;
}

static mx_err read_use(struct queue_read *read, struct message *msg, mx_err problem)
{
    struct queue_request *request = read->request;
    if (request->op == QUEUE_CHECK) {
        if (!problem && msg != NULL) {
            queue_check_use(request, read, msg);
        }
        return MX_OK; /* who cannot be read has no addresses to be found by */
    }
    if (msg == NULL) {
        return MX_ERR_NOTFOUND;
    }
    if (read->is_history) {
        return history_use(request, read, !problem);
    }
    if (request->op == QUEUE_READ) {
        return detail_use(request, read, !problem);
    }
    return problem ? problem : content_use(request, read, msg);
}

static void read_done(struct journal_read *journal_read, mx_err err)
{
    struct queue_read *read = mx_container_of(journal_read, struct queue_read, read);
    struct queue_request *request = read->request;
    struct message *msg = handles_get(&queue_spool(request)->handles, read->handle);
    if (!queue_is_there(msg) || !qid_equal(msg->id, read->id)) {
        msg = NULL; /* it has ended meanwhile */
    }
    request->reading--;
    bool moved = msg != NULL && ref_of(read, msg).segment != read->read.ref.segment;
    if (err && moved && ++read->tries < QUEUE_READ_TRIES) {
        free(read->read.buf);
        read->read.buf = NULL;
        err = read_begin(read, ref_of(read, msg));
        if (!err) {
            return;
        }
    }
    err = read_use(read, msg, err);
    request->err = request->err ? request->err : err;
    free(read->read.buf);
    if (request->reading == 0) {
        struct service *service = request->shard->service;
        go_on(&service->queue_view);
    }
}

/* --- one message -------------------------------------------------------------------------------
 */

static void detail_states(struct queue_detail *detail, const struct service *service,
                          const struct message *msg)
{
    const struct texts *texts = &service->spool.texts;
    for (uint32_t i = 0; i < msg->rcpt_count; i++) {
        const struct rcpt_state *state = &msg->rcpts[i];
        struct queue_rcpt_text *text = &detail->texts[i];
        detail->rcpts[i] = *state;
        if (state->expires_ms == 0) { /* nobody has looked up its schedule yet */
            detail->rcpts[i].expires_ms = RCPT_BY_ATTEMPTS;
        }
        text_copy(text->reply, &text->reply_len, texts_get(texts, state->reply));
        text_copy(text->hop, &text->hop_len, texts_get(texts, state->hop));
        text_copy(text->queue, &text->queue_len, texts_get(texts, state->queue));
    }
}

static mx_err read_one(struct queue_request *request, const struct message *msg)
{
    struct queue_detail *detail = &request->detail;
    *detail = (struct queue_detail){.id = msg->id,
                                    .arrived_ms = msg->arrived_ms,
                                    .due_ms = spool_index_due_ms(queue_spool(request), msg),
                                    .body_bytes = msg->body_bytes,
                                    .damaged = msg->held,
                                    .active = msg->active != NULL,
                                    .rcpt_count = msg->rcpt_count};
    detail->rcpts = malloc(msg->rcpt_count * sizeof *detail->rcpts);
    detail->texts = malloc(msg->rcpt_count * sizeof *detail->texts);
    if (detail->rcpts == NULL || detail->texts == NULL) {
        return MX_ERR_NOMEM;
    }
    detail_states(detail, request->shard->service, msg);
    mx_err err = queue_read(&request->reads[0], request, msg, msg->res.resident.ref);
    if (!err && msg->history != NULL) {
        struct queue_read *read = &request->reads[1];
        err = queue_read(read, request, msg, msg->history->res.resident.ref);
        read->is_history = !err;
    }
    return err;
}

static mx_err content_one(struct queue_request *request, const struct message *msg)
{
    if (request->part > msg->extent_count ||
        (request->part > 0 && extent_of(msg, request->part) == NULL)) {
        return MX_ERR_NOTFOUND;
    }
    request->content =
        (struct queue_content){.extent_count = msg->extent_count, .body_bytes = msg->body_bytes};
    request->reads[0] = (struct queue_read){.request = request};
    return queue_read(&request->reads[0], request, msg, ref_of(&request->reads[0], msg));
}

static void one_message(struct queue_request *request)
{
    const struct message *msg = queue_find(request, request->id);
    request->done = true;
    request->err = msg == NULL                 ? MX_ERR_NOTFOUND
                   : request->op == QUEUE_READ ? read_one(request, msg)
                                               : content_one(request, msg);
}

/* --- changes -----------------------------------------------------------------------------------
 */

static struct log_line *log_begin_by(const struct queue_request *request, const char *event)
{
    struct log_line *line = log_begin(&request->shard->log, LOG_INFO, event);
    log_text(line, "by", request->by);
    return line;
}

static void log_change(const struct queue_request *request, const struct queue_change *change,
                       struct qid id)
{
    static const char *const events[] = {
        [CHANGE_HOLD] = "held",         [CHANGE_RELEASE] = "released",
        [CHANGE_RETRY] = "rescheduled", [CHANGE_EXPIRE] = "expiry-changed",
        [CHANGE_CANCEL] = "cancelled",  [CHANGE_GIVE_UP] = "cancelled-with-report",
    };
    struct log_line *line = log_begin_by(request, events[change->change.kind]);
    log_qid(line, "id", id);
    if (change->to_len > 0) {
        log_slice(line, "to", slice_of(change->to, change->to_len));
    }
    log_end(&request->shard->log, line);
}

static void change_one(struct queue_request *request, struct queue_change *change)
{
    struct service *service = request->shard->service;
    struct message *msg = queue_find(request, change->id);
    bool made = change->made;
    if (msg == NULL) {
        change->err = MX_ERR_NOTFOUND;
        return;
    }
    if (msg->held && change->change.kind == CHANGE_RETRY) {
        change->err = MX_ERR_UNSUPPORTED;
        return;
    }
    struct qid id = msg->id;
    change->err = deliver_change(&service->deliver, msg, &change->change, &change->made);
    if (change->made && !made) {
        log_change(request, change, id);
    }
}

static void changes_piece(struct queue_request *request)
{
    for (unsigned i = 0; i < QUEUE_STEPS_MAX && request->change_next < request->change_count; i++) {
        change_one(request, request->changes[request->change_next++]);
    }
    request->done = request->change_next == request->change_count;
}

/* Names of a list, separated by ","; those without room are cut off, so that other keys have some.
 */
static void log_names(struct log_line *line, const char *key, const char *names, size_t size,
                      unsigned count)
{
    char text[LOG_LINE_BYTES / 3];
    static const char cut[] = "...";
    struct writer w = writer_init(text, sizeof text - sizeof cut);
    for (unsigned i = 0; i < count; i++) {
        put_text(&w, i > 0 ? "," : "");
        put_text(&w, names + i * size);
    }
    if (w.overflow) {
        memcpy(text + w.len, cut, sizeof cut - 1);
        w.len += sizeof cut - 1;
    }
    if (count > 0) {
        log_slice(line, key, slice_of(text, w.len));
    }
}

static void log_pause(const struct queue_request *request)
{
    const struct deliver_pause *pause = request->pause;
    bool ends = !pause->all && pause->route_count == 0 && pause->queues.count == 0;
    struct log_line *line = log_begin_by(request, ends ? "delivery-resumed" : "delivery-paused");
    if (!ends) {
        log_text(line, "everything", pause->all ? "yes" : "no");
        log_names(line, "routes", pause->routes[0], sizeof pause->routes[0], pause->route_count);
        log_names(line, "queues", pause->queues.names[0], sizeof pause->queues.names[0],
                  pause->queues.count);
    }
    log_end(&request->shard->log, line);
}

static void pause(struct queue_request *request)
{
    struct service *service = request->shard->service;
    if (memcmp(&service->deliver.conf.pause, request->pause, sizeof *request->pause) != 0) {
        log_pause(request);
        deliver_pause(&service->deliver, request->pause);
    }
    request->done = true;
}

static void forget_names(struct queue_request *request)
{
    struct service *service = request->shard->service;
    log_end(&request->shard->log, log_begin_by(request, "names-forgotten"));
    dns_forget(&service->dns);
    deliver_forget_addresses(&service->deliver);
    request->done = true;
}

static void forget_absent(struct queue_request *request)
{
    struct service *service = request->shard->service;
    log_end(&request->shard->log, log_begin_by(request, "absent-names-forgotten"));
    dns_forget_absent(&service->dns);
    request->done = true;
}

static void trace_piece(struct queue_request *request)
{
    const struct service *service = request->shard->service;
    request->done = trace_search_piece(&request->trace, &service->trace);
}

/* --- turns -------------------------------------------------------------------------------------
 */

static void piece(struct queue_request *request)
{
    static void (*const pieces[])(struct queue_request * request) = {
        [QUEUE_SCAN] = queue_scan_piece,
        [QUEUE_CHECK] = queue_check_piece,
        [QUEUE_READ] = one_message,
        [QUEUE_CONTENT] = one_message,
        [QUEUE_CHANGE] = changes_piece,
        [QUEUE_SHAPE] = queue_shape_piece,
        [QUEUE_PAUSE] = pause,
        [QUEUE_TRACE] = trace_piece,
        [QUEUE_FORGET_NAMES] = forget_names,
        [QUEUE_FORGET_ABSENT] = forget_absent,
    };
    const struct service *service = request->shard->service;
    if (service->stopping) {
        request->err = MX_ERR_AGAIN;
    } else {
        pieces[request->op](request);
    }
}

/* Nothing is being read. */
static void go_on(struct queue_view *view)
{
    struct queue_request *request = view->running;
    struct shard *shard = request->shard;
    if (!request->done && !request->err) {
        piece(request);
    }
    if (request->reading > 0) {
        return;
    }
    if (!request->done && !request->err) {
        shard_again(shard);
        return;
    }
    view->running = NULL;
    mx_err err = mbox_send(shard->hub, shard->conf.id, request->reply_to, &request->reply);
    MX_ASSERT(err == MX_OK); /* one question at a time */
}

static void turn(struct shard_hook *hook)
{
    struct queue_view *view = mx_container_of(hook, struct queue_view, hook);
    if (view->running != NULL && view->running->reading == 0) {
        go_on(view);
    }
}

void queue_view_open(struct queue_view *view, struct shard *shard)
{
    *view = (struct queue_view){.hook = {.turn = turn}};
    shard_add_hook(shard, &view->hook);
}

void queue_request_receive(struct mbox_msg *msg, struct shard *at)
{
    struct queue_request *request = mx_container_of(msg, struct queue_request, msg);
    struct service *service = at->service;
    request->shard = at;
    request->reading = 0;
    request->done = false;
    request->err = MX_OK;
    if (service == NULL || !service->started) {
        request->err = MX_ERR_AGAIN;
        mx_err err = mbox_send(at->hub, at->conf.id, request->reply_to, &request->reply);
        MX_ASSERT(err == MX_OK);
        return;
    }
    MX_ASSERT(service->queue_view.running == NULL);
    service->queue_view.running = request;
    go_on(&service->queue_view);
}
