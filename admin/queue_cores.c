#include "admin/queue_cores_private.h"

#include "core/check.h"
#include "io/clock.h"

#include <stdio.h>
#include <stdlib.h>

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

uint64_t queue_cores_deadline_ns(unsigned wait_ms)
{
    return clock_monotonic_ns() + wait_ms * MX_NS_PER_MS;
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
mx_err queue_cores_ready(struct queue_cores *queue, uint64_t until_ns)
{
    if (await_all(queue, until_ns)) {
        return MX_ERR_AGAIN;
    }
    for (unsigned i = 0; i < queue->conf.cores; i++) {
        queue_detail_free(&queue->parts[i].request.detail);
        free(queue->parts[i].request.content.buf);
        queue->parts[i].request.content.buf = NULL;
    }
    return MX_OK;
}

/* Asks all cores, which are ready, the same. */
mx_err queue_cores_ask_all(struct queue_cores *queue, enum queue_op op, uint64_t until_ns)
{
    for (unsigned i = 0; i < queue->conf.cores; i++) {
        queue->parts[i].request.op = op;
        send(queue, i);
    }
    mx_err err = await_all(queue, until_ns);
    for (unsigned i = 0; !err && i < queue->conf.cores; i++) {
        err = queue->parts[i].request.err;
    }
    return err;
}

/* --- scan --------------------------------------------------------------------------------------
 */

static struct slice keep(uint8_t *copy, struct slice text)
{
    struct slice kept = slice_of(copy, text.len);
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

static void filter_keep(struct queue_cores *queue, const struct queue_filter *filter)
{
    struct slice *const kept[] = {&queue->filter.text,      &queue->filter.sender,
                                  &queue->filter.recipient, &queue->filter.hop,
                                  &queue->filter.queue,     &queue->filter.error};
    _Static_assert(mx_countof(kept) == mx_countof(queue->texts), "a place for every text");
    queue->filter = *filter;
    for (size_t i = 0; i < mx_countof(kept); i++) {
        *kept[i] = keep(queue->texts[i], slice_first(*kept[i], QUEUE_TEXT_MAX));
    }
}

static mx_err room_for_bins(struct core_queue *part, const struct queue_stretch *stretch)
{
    if (part->bins == NULL) {
        part->bins = malloc(sizeof *part->bins);
    }
    if (part->bins == NULL) {
        return MX_ERR_NOMEM;
    }
    queue_bins_init(part->bins, stretch);
    return MX_OK;
}

static mx_err pass_prepare(struct queue_cores *queue, const struct queue_pass *pass)
{
    mx_err err = room_for(&queue->merged, &queue->merged_max, pass->window * queue->conf.cores + 1);
    for (unsigned i = 0; !err && i < queue->conf.cores; i++) {
        struct core_queue *part = &queue->parts[i];
        err = room_for(&part->keys, &part->keys_max, pass->window + 1);
        if (!err && pass->stretch != NULL) {
            err = room_for_bins(part, pass->stretch);
        }
        part->request.scan = (struct queue_scan){.filter = &queue->filter,
                                                 .parts = pass->parts,
                                                 .by_due = pass->question->by_due,
                                                 .count = pass->count,
                                                 .from_given = pass->from_given,
                                                 .from = pass->from,
                                                 .bins = pass->stretch ? part->bins : NULL,
                                                 .top = {.keys = part->keys,
                                                         .max = pass->window,
                                                         .ascending = pass->question->ascending}};
    }
    return err;
}

static int ascending(const void *a, const void *b)
{
    return queue_key_order(a, b, true);
}

static int descending(const void *a, const void *b)
{
    return queue_key_order(a, b, false);
}

/* The first keys of all cores together. */
static void pass_merge(struct queue_cores *queue, const struct queue_pass *pass,
                       struct queue_found *found)
{
    *found = (struct queue_found){.keys = queue->merged, .counted = pass->count};
    bool passed_over = false;
    for (unsigned i = 0; i < queue->conf.cores; i++) {
        const struct queue_scan *scan = &queue->parts[i].request.scan;
        memcpy(queue->merged + found->count, scan->top.keys,
               scan->top.count * sizeof *queue->merged);
        found->count += scan->top.count;
        found->total += scan->total;
        found->before += scan->before;
        passed_over = passed_over || scan->passed_over;
        found->unsure = found->unsure || scan->unsure;
    }
    qsort(queue->merged, found->count, sizeof *queue->merged,
          pass->question->ascending ? ascending : descending);
    found->count = mx_min_size(found->count, pass->window);
    found->more = passed_over || found->before + found->count < found->total;
}

mx_err queue_pass_run(struct queue_cores *queue, const struct queue_pass *pass, uint64_t until_ns,
                      struct queue_found *found)
{
    mx_err err = pass_prepare(queue, pass);
    err = err ? err : queue_cores_ask_all(queue, QUEUE_SCAN, until_ns);
    if (!err) {
        pass_merge(queue, pass, found);
    }
    return err;
}

/* --- by addresses, and queues
 * -----------------------------------------------------------------------
 */

static mx_err room_for_fits(struct queue_cores *queue, size_t wanted)
{
    if (queue->fits_max < wanted) {
        free(queue->fits);
        queue->fits = malloc(wanted * sizeof *queue->fits);
        queue->fits_max = queue->fits == NULL ? 0 : wanted;
    }
    return queue->fits == NULL ? MX_ERR_NOMEM : MX_OK;
}

/* Which of the candidates fit. */
static mx_err check(struct queue_cores *queue, const struct queue_found *found, uint64_t until_ns)
{
    mx_err err = room_for_fits(queue, found->count + 1);
    if (err) {
        return err;
    }
    memset(queue->fits, 0, found->count * sizeof *queue->fits);
    for (unsigned i = 0; i < queue->conf.cores; i++) {
        queue->parts[i].request.check = (struct queue_check){.filter = &queue->filter,
                                                             .keys = found->keys,
                                                             .fits = queue->fits,
                                                             .count = found->count};
    }
    return queue_cores_ask_all(queue, QUEUE_CHECK, until_ns);
}

/* Takes over those that fit; counts those that lie before the place that was asked for. */
static void take_fitting(struct queue_cores *queue, const struct queue_question *question,
                         const struct queue_found *candidates, struct queue_found *found)
{
    for (size_t i = 0; i < candidates->count; i++) {
        const struct queue_key *key = &candidates->keys[i];
        if (!queue->fits[i]) {
            continue;
        }
        found->total++;
        if (question->from_given &&
            queue_key_order(key, &question->from, question->ascending) < 0) {
            found->before++;
        } else if (found->count < question->window) {
            queue->kept[found->count++] = *key;
        } else {
            found->more = true;
        }
    }
}

/* Candidates in their order, more and more of them, until there are enough, or none is left. */
static mx_err search(struct queue_cores *queue, const struct queue_question *question,
                     uint64_t until_ns, struct queue_found *found)
{
    struct queue_pass pass = {.question = question,
                              .from_given = question->from_given && !question->count,
                              .from = question->from,
                              .window = mx_max_size(2 * question->window, QUEUE_CANDIDATES_MIN)};
    bool left = true;
    queue_filter_parts(&queue->filter, &pass.parts);
    mx_err err = room_for(&queue->kept, &queue->kept_max, question->window + 1);
    *found = (struct queue_found){.keys = queue->kept, .counted = question->count};
    while (!err && left && (question->count || !found->more)) {
        struct queue_found candidates;
        pass.window = mx_min_size(pass.window, QUEUE_WINDOW_MAX);
        err = queue_pass_run(queue, &pass, until_ns, &candidates);
        err = err ? err : check(queue, &candidates, until_ns);
        if (err) {
            break;
        }
        take_fitting(queue, question, &candidates, found);
        left = candidates.more;
        if (candidates.count > 0) {
            pass.from_given = true;
            pass.from = queue_key_next(&candidates.keys[candidates.count - 1], question->ascending);
        }
        pass.window *= 4;
    }
    return err;
}

mx_err queue_pass_begin(struct queue_cores *queue, const struct queue_question *question,
                        uint64_t until_ns)
{
    mx_err err = queue_cores_ready(queue, until_ns);
    if (!err) {
        filter_keep(queue, &question->filter);
    }
    return err;
}

mx_err queue_cores_find(struct queue_cores *queue, const struct queue_question *question,
                        struct queue_found *found)
{
    MX_ASSERT(question->window <= QUEUE_WINDOW_MAX);
    bool reads = queue_filter_reads(&question->filter);
    uint64_t until_ns = queue_cores_deadline_ns(reads ? QUEUE_SEARCH_WAIT_MS : QUEUE_WAIT_MS);
    mx_err err = queue_pass_begin(queue, question, until_ns);
    if (err || reads) {
        return err ? err : search(queue, question, until_ns, found);
    }
    struct queue_pass pass = {.question = question,
                              .from_given = question->from_given,
                              .count = question->count,
                              .from = question->from,
                              .window = question->window};
    err = queue_pass_run(queue, &pass, until_ns, found);
    return !err && found->unsure
               ? search(queue, question, queue_cores_deadline_ns(QUEUE_SEARCH_WAIT_MS), found)
               : err;
}

/* --- one message -------------------------------------------------------------------------------
 */

/* NULL: there is no such core. */
struct queue_request *queue_cores_request_for(struct queue_cores *queue, enum queue_op op,
                                              uint64_t id)
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

mx_err queue_cores_ask_one(struct queue_cores *queue, const struct queue_request *request,
                           uint64_t until_ns)
{
    send(queue, queue_id_place(request->id).core);
    mx_err err = await_all(queue, until_ns);
    return err ? err : request->err;
}

void queue_detail_free(struct queue_detail *detail)
{
    free(detail->rcpts);
    free(detail->texts);
    free(detail->history);
    free(detail->envelope);
    *detail = (struct queue_detail){0};
}

mx_err queue_cores_read(struct queue_cores *queue, uint64_t id, struct queue_detail *detail)
{
    uint64_t until_ns = queue_cores_deadline_ns(QUEUE_WAIT_MS);
    mx_err err = queue_cores_ready(queue, until_ns);
    if (err) {
        return err;
    }
    struct queue_request *request = queue_cores_request_for(queue, QUEUE_READ, id);
    err = request == NULL ? MX_ERR_NOTFOUND : queue_cores_ask_one(queue, request, until_ns);
    if (!err) {
        *detail = request->detail;
        request->detail = (struct queue_detail){0};
    }
    return err;
}

/* --- changes -----------------------------------------------------------------------------------
 */

mx_err queue_cores_change(struct queue_cores *queue, size_t *out_number, uint64_t id,
                          const struct deliver_change *change, struct slice to)
{
    if (queue->change_count == QUEUE_CHANGES_MAX) {
        return MX_ERR_LIMIT;
    }
    if (queue->change_count == 0 && any_waiting(queue)) {
        /* A core that has not answered may still read the changes of an earlier call here. */
        mx_err err = queue_cores_ready(queue, queue_cores_deadline_ns(QUEUE_WAIT_MS));
        if (err) {
            return err;
        }
    }
    *out_number = queue->change_count;
    struct queue_change *place = &queue->changes[queue->change_count++];
    place->id = id;
    place->change = *change;
    place->made = false;
    place->err = MX_ERR_AGAIN;
    place->to_len = (uint16_t)keep(place->to, slice_first(to, sizeof place->to)).len;
    return MX_OK;
}

void queue_cores_forget(struct queue_cores *queue)
{
    queue->change_count = 0;
}

/* Gives every core those of its changes that are not made yet. Returns whether there are any. */
static bool changes_divide(struct queue_cores *queue)
{
    bool left = false;
    for (unsigned i = 0; i < queue->conf.cores; i++) {
        queue->parts[i].request.change_count = 0;
    }
    for (size_t i = 0; i < queue->change_count; i++) {
        struct queue_change *change = &queue->changes[i];
        struct queue_place place = queue_id_place(change->id);
        if (change->err != MX_ERR_AGAIN) {
            continue;
        }
        if (place.core >= queue->conf.cores) {
            change->err = MX_ERR_NOTFOUND;
            continue;
        }
        struct core_queue *part = &queue->parts[place.core];
        part->changes[part->request.change_count++] = change;
        left = true;
    }
    return left;
}

static mx_err changes_ask(struct queue_cores *queue, const char *by, uint64_t until_ns)
{
    for (unsigned i = 0; i < queue->conf.cores; i++) {
        struct core_queue *part = &queue->parts[i];
        set_by(&part->request, by);
        part->request.changes = part->changes;
        part->request.change_next = 0;
    }
    return queue_cores_ask_all(queue, QUEUE_CHANGE, until_ns);
}

/* A message that was changed and is gone has ended by the change, durably. */
static mx_err outcome_of(const struct queue_change *change, mx_err err)
{
    if (change->err == MX_ERR_NOTFOUND && change->made) {
        return MX_OK;
    }
    return change->err != MX_ERR_AGAIN ? change->err : err ? err : MX_ERR_TIMEOUT;
}

void queue_cores_settle(struct queue_cores *queue, const char *by, queue_settled_fn settled,
                        void *arg)
{
    uint64_t until_ns = queue_cores_deadline_ns(QUEUE_WAIT_MS);
    mx_err err = queue->change_count == 0 ? MX_OK : queue_cores_ready(queue, until_ns);
    while (!err && changes_divide(queue)) {
        err = changes_ask(queue, by, until_ns);
        if (!err && changes_divide(queue)) {
            if (clock_monotonic_ns() >= until_ns) {
                break;
            }
            queue->conf.wait(queue->conf.wait_arg, QUEUE_POLL_MS);
        }
    }
    if (err == MX_ERR_TIMEOUT) {
        /* The cores still have them: nothing may be told of what they write. */
        (void)await_all(queue, queue_cores_deadline_ns(QUEUE_WAIT_MS));
    }
    for (size_t i = 0; i < queue->change_count; i++) {
        settled(arg, i, any_waiting(queue) ? MX_ERR_TIMEOUT : outcome_of(&queue->changes[i], err));
    }
    queue_cores_forget(queue);
}

/* --- all cores ---------------------------------------------------------------------------------
 */

mx_err queue_cores_pause(struct queue_cores *queue, const struct deliver_pause *pause,
                         const char *by)
{
    uint64_t until_ns = queue_cores_deadline_ns(QUEUE_WAIT_MS);
    mx_err err = queue->conf.cores == 0 ? MX_ERR_UNSUPPORTED : queue_cores_ready(queue, until_ns);
    if (err) {
        return err;
    }
    queue->pause = *pause;
    for (unsigned i = 0; i < queue->conf.cores; i++) {
        queue->parts[i].request.pause = &queue->pause;
        set_by(&queue->parts[i].request, by);
    }
    return queue_cores_ask_all(queue, QUEUE_PAUSE, until_ns);
}

mx_err queue_cores_tell(struct queue_cores *queue, enum queue_op op, const char *by)
{
    uint64_t until_ns = queue_cores_deadline_ns(QUEUE_WAIT_MS);
    mx_err err = queue->conf.cores == 0 ? MX_ERR_UNSUPPORTED : queue_cores_ready(queue, until_ns);
    for (unsigned i = 0; !err && i < queue->conf.cores; i++) {
        set_by(&queue->parts[i].request, by);
    }
    return err ? err : queue_cores_ask_all(queue, op, until_ns);
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
        free(queue->parts[i].request.content.buf);
        free(queue->parts[i].keys);
        free(queue->parts[i].bins);
    }
    free(queue->parts);
    free(queue->merged);
    free(queue->kept);
    free(queue->fits);
    free(queue->rows);
    free(queue->traced);
    free(queue->trace_rows);
    free(queue);
}
