#include "admin/queue_cores.h"

#include "core/check.h"
#include "io/clock.h"

#include <stdio.h>
#include <stdlib.h>

struct core_queue {
    struct queue_request request;
    bool waiting; /* for its answer */
    struct queue_key *keys;
    size_t keys_max;
};

struct queue_cores {
    struct queue_cores_conf conf;
    struct core_queue *parts;
    struct queue_filter filter; /* what the cores read; borrows from texts */
    uint8_t texts[3][QUEUE_TEXT_MAX];
    struct queue_key *merged;
    size_t merged_max;
    struct change {
        enum queue_op op;
        uint64_t id;
        int64_t due_ms;
        bool asked;
        mx_err err; /* MX_ERR_AGAIN: not made yet */
    } changes[QUEUE_CHANGES_MAX];
    size_t change_count;
};

/* --- messages ----------------------------------------------------------------------------------
 */

static void on_reply(struct mbox_msg *msg, struct shard *at)
{
    struct queue_request *request = mx_container_of(msg, struct queue_request, reply);
    (void)at;
    mx_container_of(request, struct core_queue, request)->waiting = false;
}

static void send(struct queue_cores *queue, unsigned core)
{
    struct core_queue *part = &queue->parts[core];
    part->waiting = true;
    mx_err err = mbox_send(queue->conf.hub, queue->conf.index, core, &part->request.msg);
    MX_ASSERT(err == MX_OK); /* one question at a time */
}

static uint64_t deadline_ns(void)
{
    return clock_monotonic_ns() + QUEUE_WAIT_MS * MX_NS_PER_MS;
}

/* False: time is over. */
static bool wait_a_moment(struct queue_cores *queue, uint64_t until_ns)
{
    uint64_t now_ns = clock_monotonic_ns();
    if (now_ns >= until_ns) {
        return false;
    }
    queue->conf.wait(queue->conf.wait_arg, (unsigned)((until_ns - now_ns) / MX_NS_PER_MS) + 1);
    return true;
}

static bool any_waiting(const struct queue_cores *queue)
{
    for (unsigned i = 0; i < queue->conf.cores; i++) {
        if (queue->parts[i].waiting) {
            return true;
        }
    }
    return false;
}

static mx_err await_all(struct queue_cores *queue, uint64_t until_ns)
{
    while (any_waiting(queue)) {
        if (!wait_a_moment(queue, until_ns)) {
            return MX_ERR_TIMEOUT;
        }
    }
    return MX_OK;
}

/* What an earlier question left is over. */
static mx_err ready(struct queue_cores *queue, uint64_t until_ns)
{
    if (await_all(queue, until_ns)) {
        return MX_ERR_AGAIN;
    }
    for (unsigned i = 0; i < queue->conf.cores; i++) {
        queue_detail_free(&queue->parts[i].request.detail);
    }
    return MX_OK;
}

/* --- scan --------------------------------------------------------------------------------------
 */

static struct slice keep(uint8_t *copy, struct slice text)
{
    struct slice kept = slice_of(copy, mx_min_size(text.len, QUEUE_TEXT_MAX));
    if (kept.len > 0) {
        memcpy(copy, text.ptr, kept.len);
    }
    return kept;
}

static mx_err room_for(struct queue_key **keys, size_t *max, size_t wanted)
{
    if (*max >= wanted) {
        return MX_OK;
    }
    free(*keys);
    *max = 0;
    *keys = malloc(wanted * sizeof **keys);
    if (*keys == NULL) {
        return MX_ERR_NOMEM;
    }
    *max = wanted;
    return MX_OK;
}

static mx_err scan_begin(struct queue_cores *queue, const struct queue_question *question)
{
    queue->filter = question->filter;
    queue->filter.text = keep(queue->texts[0], question->filter.text);
    queue->filter.sender = keep(queue->texts[1], question->filter.sender);
    queue->filter.recipient = keep(queue->texts[2], question->filter.recipient);
    mx_err err =
        room_for(&queue->merged, &queue->merged_max, question->window * queue->conf.cores + 1);
    for (unsigned i = 0; !err && i < queue->conf.cores; i++) {
        struct core_queue *part = &queue->parts[i];
        err = room_for(&part->keys, &part->keys_max, question->window + 1);
        part->request.op = QUEUE_SCAN;
        part->request.err = err;
        part->request.scan = (struct queue_scan){
            .filter = &queue->filter,
            .by_due = question->by_due,
            .from_given = question->from_given,
            .from = question->from,
            .top = {.keys = part->keys, .max = question->window, .ascending = question->ascending}};
    }
    return err;
}

/* Sends every core its next piece; false when none has one. */
static bool scan_go_on(struct queue_cores *queue)
{
    bool busy = false;
    for (unsigned i = 0; i < queue->conf.cores; i++) {
        struct core_queue *part = &queue->parts[i];
        if (!part->waiting && !part->request.err && !part->request.scan.finished) {
            send(queue, i);
        }
        busy = busy || part->waiting;
    }
    return busy;
}

static int ascending(const void *a, const void *b)
{
    return queue_key_order(a, b, true);
}

static int descending(const void *a, const void *b)
{
    return queue_key_order(a, b, false);
}

static mx_err scan_end(struct queue_cores *queue, const struct queue_question *question,
                       struct queue_found *found)
{
    *found = (struct queue_found){.keys = queue->merged};
    for (unsigned i = 0; i < queue->conf.cores; i++) {
        const struct queue_request *request = &queue->parts[i].request;
        if (request->err) {
            return request->err;
        }
        memcpy(queue->merged + found->count, request->scan.top.keys,
               request->scan.top.count * sizeof *queue->merged);
        found->count += request->scan.top.count;
        found->total += request->scan.total;
        found->before += request->scan.before;
    }
    qsort(queue->merged, found->count, sizeof *queue->merged,
          question->ascending ? ascending : descending);
    found->count = mx_min_size(found->count, question->window);
    return MX_OK;
}

mx_err queue_cores_scan(struct queue_cores *queue, const struct queue_question *question,
                        struct queue_found *found)
{
    MX_ASSERT(question->window <= QUEUE_WINDOW_MAX);
    uint64_t until_ns = deadline_ns();
    mx_err err = ready(queue, until_ns);
    err = err ? err : scan_begin(queue, question);
    while (!err && scan_go_on(queue)) {
        err = wait_a_moment(queue, until_ns) ? MX_OK : MX_ERR_TIMEOUT;
    }
    return err ? err : scan_end(queue, question, found);
}

/* --- one message -------------------------------------------------------------------------------
 */

/* NULL: there is no such core. */
static struct queue_request *request_for(struct queue_cores *queue, enum queue_op op, uint64_t id)
{
    struct queue_place place = queue_id_place(id);
    if (place.core >= queue->conf.cores) {
        return NULL;
    }
    struct queue_request *request = &queue->parts[place.core].request;
    request->op = op;
    request->id = id;
    return request;
}

static void set_by(struct queue_request *request, const char *by)
{
    (void)snprintf(request->by, sizeof request->by, "%.*s", QUEUE_BY_MAX - 1, by);
}

static mx_err ask_one(struct queue_cores *queue, const struct queue_request *request,
                      uint64_t until_ns)
{
    send(queue, queue_id_place(request->id).core);
    mx_err err = await_all(queue, until_ns);
    return err ? err : request->err;
}

void queue_detail_free(struct queue_detail *detail)
{
    free(detail->rcpts);
    free(detail->envelope);
    *detail = (struct queue_detail){0};
}

mx_err queue_cores_read(struct queue_cores *queue, uint64_t id, struct queue_detail *detail)
{
    uint64_t until_ns = deadline_ns();
    mx_err err = ready(queue, until_ns);
    if (err) {
        return err;
    }
    struct queue_request *request = request_for(queue, QUEUE_READ, id);
    err = request == NULL ? MX_ERR_NOTFOUND : ask_one(queue, request, until_ns);
    if (!err) {
        *detail = request->detail;
        request->detail = (struct queue_detail){0};
    }
    return err;
}

/* --- changes -----------------------------------------------------------------------------------
 */

static mx_err collect(struct queue_cores *queue, size_t *out_number, const struct change *change)
{
    if (queue->change_count == QUEUE_CHANGES_MAX) {
        return MX_ERR_LIMIT;
    }
    *out_number = queue->change_count;
    queue->changes[queue->change_count++] = *change;
    return MX_OK;
}

mx_err queue_cores_cancel(struct queue_cores *queue, size_t *out_number, uint64_t id)
{
    struct change change = {.op = QUEUE_CANCEL, .id = id, .err = MX_ERR_AGAIN};
    return collect(queue, out_number, &change);
}

mx_err queue_cores_retry(struct queue_cores *queue, size_t *out_number, uint64_t id, int64_t due_ms)
{
    struct change change = {.op = QUEUE_RETRY, .id = id, .due_ms = due_ms, .err = MX_ERR_AGAIN};
    return collect(queue, out_number, &change);
}

mx_err queue_cores_look(struct queue_cores *queue, size_t *out_number, uint64_t id)
{
    struct change change = {.op = QUEUE_READ, .id = id, .err = MX_ERR_AGAIN};
    return collect(queue, out_number, &change);
}

void queue_cores_forget(struct queue_cores *queue)
{
    queue->change_count = 0;
}

/* A message that was there and is gone has been cancelled, durably. */
static mx_err ask_for(struct queue_cores *queue, struct change *change, const char *by,
                      uint64_t until_ns)
{
    struct queue_request *request = request_for(queue, change->op, change->id);
    if (request == NULL) {
        return MX_ERR_NOTFOUND;
    }
    set_by(request, by);
    request->due_ms = change->due_ms;
    mx_err err = ask_one(queue, request, until_ns);
    bool cancelled = change->asked && change->op == QUEUE_CANCEL && err == MX_ERR_NOTFOUND;
    change->asked = true;
    queue_detail_free(&request->detail);
    return cancelled ? MX_OK : err;
}

/* Every change that is not made yet, once. Returns whether some are left. */
static bool ask_for_all(struct queue_cores *queue, const char *by, uint64_t until_ns)
{
    bool left = false;
    for (size_t i = 0; i < queue->change_count; i++) {
        struct change *change = &queue->changes[i];
        if (change->err == MX_ERR_AGAIN) {
            change->err = ask_for(queue, change, by, until_ns);
            left = left || change->err == MX_ERR_AGAIN;
        }
    }
    return left;
}

void queue_cores_settle(struct queue_cores *queue, const char *by, queue_settled_fn settled,
                        void *arg)
{
    uint64_t until_ns = deadline_ns();
    mx_err err = queue->change_count == 0 ? MX_OK : ready(queue, until_ns);
    while (!err && ask_for_all(queue, by, until_ns) && clock_monotonic_ns() < until_ns) {
        queue->conf.wait(queue->conf.wait_arg, QUEUE_POLL_MS);
    }
    for (size_t i = 0; i < queue->change_count; i++) {
        mx_err own = queue->changes[i].err;
        settled(arg, i, err ? err : own == MX_ERR_AGAIN ? MX_ERR_TIMEOUT : own);
    }
    queue_cores_forget(queue);
}

/* --- all cores ---------------------------------------------------------------------------------
 */

mx_err queue_cores_tell(struct queue_cores *queue, enum queue_op op, const char *by)
{
    uint64_t until_ns = deadline_ns();
    mx_err err = queue->conf.cores == 0 ? MX_ERR_UNSUPPORTED : ready(queue, until_ns);
    for (unsigned i = 0; !err && i < queue->conf.cores; i++) {
        queue->parts[i].request.op = op;
        set_by(&queue->parts[i].request, by);
        send(queue, i);
    }
    err = err ? err : await_all(queue, until_ns);
    for (unsigned i = 0; !err && i < queue->conf.cores; i++) {
        err = queue->parts[i].request.err;
    }
    return err;
}

/* --- life --------------------------------------------------------------------------------------
 */

mx_err queue_cores_new(struct queue_cores **out_queue, const struct queue_cores_conf *conf)
{
    struct queue_cores *queue = calloc(1, sizeof *queue);
    struct core_queue *parts = calloc(conf->cores + 1, sizeof *parts);
    if (queue == NULL || parts == NULL) {
        free(queue);
        free(parts);
        return MX_ERR_NOMEM;
    }
    queue->conf = *conf;
    queue->parts = parts;
    for (unsigned i = 0; i < conf->cores; i++) {
        parts[i].request = (struct queue_request){.msg.receive = queue_request_receive,
                                                  .reply.receive = on_reply,
                                                  .reply_to = conf->index};
    }
    *out_queue = queue;
    return MX_OK;
}

void queue_cores_free(struct queue_cores *queue)
{
    if (queue == NULL) {
        return;
    }
    for (unsigned i = 0; i < queue->conf.cores; i++) {
        queue_detail_free(&queue->parts[i].request.detail);
        free(queue->parts[i].keys);
    }
    free(queue->parts);
    free(queue->merged);
    free(queue);
}
