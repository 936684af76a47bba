/* Looking for messages: by times, digests and queue id in the index, by states in the messages,
 * then by addresses, which are read back. */
#include "smtp/deliver_private.h"
#include "smtp/queue_view.h"
#include "smtp/service.h"
#include "smtp/spool_index.h"

#include <stdlib.h>

enum { AHEAD = 16 /* messages whose memory is fetched before they are looked at */ };

/* Verdicts about texts are the same for many recipients. Texts may go between turns, and with them
 * their numbers, so what is known holds for one piece. */
struct verdicts {
    struct {
        text_id id;
        bool known, good;
    } slots[64];
    const struct queue_filter *filter;
    bool (*fits)(const struct queue_filter *filter, struct slice text);
    const struct texts *texts;
};

static bool verdict(struct verdicts *v, text_id id)
{
    if (!v->slots[id % mx_countof(v->slots)].known ||
        v->slots[id % mx_countof(v->slots)].id != id) {
        v->slots[id % mx_countof(v->slots)].id = id;
        v->slots[id % mx_countof(v->slots)].known = true;
        v->slots[id % mx_countof(v->slots)].good = v->fits(v->filter, texts_get(v->texts, id));
    }
    return v->slots[id % mx_countof(v->slots)].good;
}

struct looking {
    struct queue_scan *scan; /* NULL: of single messages */
    const struct queue_filter *filter;
    const struct spool *spool;
    struct verdicts hops, queues, errors;
    unsigned core;
    bool strict;    /* whose virtual queue is not known does not fit; in any case: */
    bool unsure;    /* there are such, and but for that they would */
    bool by_states; /* messages have to be looked at, not only their rows in the index */
    bool by_parts;  /* digests */
    unsigned looks; /* at messages, in this piece */
    struct {
        struct queue_key key;
        const struct message *msg;
    } ahead[AHEAD]; /* being fetched */
    unsigned ahead_count;
};

static unsigned status_of(const struct message *msg, const struct rcpt_state *state)
{
    return msg->held                  ? QUEUE_DAMAGED
           : state->flags & RCPT_HELD ? QUEUE_HELD
           : rcpt_is_deferred(state)  ? QUEUE_DEFERRED
                                      : QUEUE_FRESH;
}

static bool queue_fits(struct looking *looking, const struct rcpt_state *state)
{
    if (looking->filter->queue.len == 0) {
        return true;
    }
    looking->unsure = looking->unsure || state->queue == 0;
    return state->queue == 0 ? !looking->strict : verdict(&looking->queues, state->queue);
}

static bool rcpt_fits(struct looking *looking, const struct message *msg,
                      const struct rcpt_state *state)
{
    const struct queue_filter *filter = looking->filter;
    return state->status == RCPT_PENDING &&
           (filter->status == 0 || filter->status & status_of(msg, state)) &&
           (filter->hop.len == 0 || verdict(&looking->hops, state->hop)) &&
           (filter->error.len == 0 || verdict(&looking->errors, state->reply)) &&
           queue_fits(looking, state);
}

static bool is_of_states(const struct queue_filter *filter)
{
    return filter->status != 0 || filter->hop.len > 0 || filter->queue.len > 0 ||
           filter->error.len > 0;
}

static bool any_fits(struct looking *looking, const struct message *msg)
{
    bool fits = !is_of_states(looking->filter);
    for (uint32_t i = 0; !fits && i < msg->rcpt_count; i++) {
        fits = rcpt_fits(looking, msg, &msg->rcpts[i]);
    }
    return fits;
}

static inline void take(struct queue_scan *scan, const struct queue_key *key)
{
    scan->total++;
    scan->never += key->at_ms == QUEUE_NEVER_MS;
    scan->least_ms = key->at_ms < scan->least_ms ? key->at_ms : scan->least_ms;
    scan->most_ms =
        key->at_ms > scan->most_ms && key->at_ms != QUEUE_NEVER_MS ? key->at_ms : scan->most_ms;
    if (scan->bins != NULL) {
        queue_bins_add(scan->bins, key);
    } else if (scan->from_given && queue_key_order(key, &scan->from, scan->top.ascending) < 0) {
        scan->before++;
    } else if (!queue_top_is_behind(&scan->top, key)) {
        queue_top_add(&scan->top, *key);
    }
}

/* Whose place is enough to know that it does not matter. */
static inline bool is_elsewhere(struct queue_scan *scan, const struct queue_key *key)
{
    if (scan->count) {
        return false;
    }
    bool behind = queue_top_is_behind(&scan->top, key);
    scan->passed_over = scan->passed_over || behind;
    return behind ||
           (scan->from_given && queue_key_order(key, &scan->from, scan->top.ascending) < 0);
}

static void look_at_those_ahead(struct looking *looking)
{
    struct queue_scan *scan = looking->scan;
    for (unsigned i = 0; i < looking->ahead_count; i++) {
        const struct message *msg = looking->ahead[i].msg;
        bool other = !qid_none(scan->filter->id) && !qid_equal(scan->filter->id, msg->id);
        if (!other && any_fits(looking, msg)) {
            take(scan, &looking->ahead[i].key);
        }
    }
    looking->looks += looking->ahead_count;
    looking->ahead_count = 0;
}

/* Its memory is fetched while others are passed. */
static void look_at_later(struct looking *looking, const struct queue_key *key, uint32_t handle)
{
    const struct message *msg = handles_get(&looking->spool->handles, handle);
    __builtin_prefetch(&msg->rcpts);
    __builtin_prefetch(&msg->one);
    looking->ahead[looking->ahead_count].key = *key;
    looking->ahead[looking->ahead_count++].msg = msg;
    if (looking->ahead_count == AHEAD) {
        look_at_those_ahead(looking);
    }
}

static inline void look_at_row(struct looking *looking, const struct spool_block *block,
                               uint32_t handle)
{
    struct queue_scan *scan = looking->scan;
    const struct queue_filter *filter = scan->filter;
    unsigned at = handle % SPOOL_BLOCK;
    int64_t due_ms = block->due_ms[at], arrived_ms = block->arrived_ms[at];
    if (due_ms == SPOOL_NOT_THERE || !queue_filter_times(filter, due_ms, arrived_ms) ||
        (looking->by_parts && !queue_digest_may_have(&block->digests[at], &scan->parts)) ||
        (!qid_none(filter->id) && block->checks[at] != queue_id_check(filter->id))) {
        return;
    }
    struct queue_key key = {.at_ms = scan->by_due ? due_ms : arrived_ms,
                            .id = queue_id(looking->core, handle, block->checks[at])};
    if (is_elsewhere(scan, &key)) {
        return;
    }
    if (looking->by_states) {
        look_at_later(looking, &key, handle);
    } else {
        take(scan, &key);
    }
}

/* Newest first: the last handles first, so that most others come behind what is kept. */
static uint32_t handle_at(const struct queue_scan *scan, uint32_t number)
{
    return scan->top.ascending ? number : scan->end - 1 - number;
}

/* By their arrivals, all messages of a block lie before the place that is asked for. */
static bool is_before(const struct queue_scan *scan, const struct spool_block *block)
{
    return scan->from_given && (scan->top.ascending ? block->newest_ms < scan->from.at_ms
                                                    : block->oldest_ms > scan->from.at_ms);
}

/* ... or behind all that is kept, and there is no room for more. */
static bool is_behind(const struct queue_scan *scan, const struct spool_block *block)
{
    const struct queue_top *top = &scan->top;
    bool full = top->count == top->max && top->max > 0;
    return full && (top->ascending ? block->oldest_ms > top->keys[0].at_ms
                                   : block->newest_ms < top->keys[0].at_ms);
}

/* A block that begins or ends elsewhere is looked at. */
static bool is_passed_over(struct queue_scan *scan, const struct spool_block *block,
                           uint32_t handle)
{
    bool begins =
        scan->top.ascending ? handle % SPOOL_BLOCK == 0 : handle % SPOOL_BLOCK == SPOOL_BLOCK - 1;
    bool behind = is_behind(scan, block);
    if (!begins || scan->count || scan->by_due || !(behind || is_before(scan, block))) {
        return false;
    }
    scan->passed_over = scan->passed_over || behind;
    return true;
}

static void looking_init(struct looking *looking, const struct spool *spool,
                         const struct queue_filter *filter)
{
    const struct texts *texts = &spool->texts;
    *looking =
        (struct looking){.filter = filter,
                         .spool = spool,
                         .hops = {.filter = filter, .fits = queue_filter_hop, .texts = texts},
                         .queues = {.filter = filter, .fits = queue_filter_queue, .texts = texts},
                         .errors = {.filter = filter, .fits = queue_filter_error, .texts = texts}};
}

void queue_scan_piece(struct queue_request *request)
{
    struct queue_scan *scan = &request->scan;
    const struct queue_filter *filter = scan->filter;
    const struct spool *spool = queue_spool(request);
    struct looking looking;
    looking_init(&looking, spool, filter);
    looking.scan = scan;
    looking.core = request->shard->conf.id;
    looking.by_parts = (scan->parts.bits[0] | scan->parts.bits[1]) != 0;
    looking.by_states = is_of_states(filter) || !qid_none(filter->id);
    if (scan->looked == 0) {
        scan->end = spool->handles.made; /* what comes later is not looked at */
        scan->least_ms = INT64_MAX;
        scan->most_ms = INT64_MIN;
    }
    for (unsigned rows = 0; scan->looked < scan->end && rows < QUEUE_ROWS_MAX &&
                            looking.looks + looking.ahead_count < QUEUE_LOOKS_MAX;) {
        uint32_t handle = handle_at(scan, scan->looked);
        const struct spool_block *block = spool->blocks[handle / SPOOL_BLOCK];
        uint32_t step = 1;
        if (block != NULL && is_passed_over(scan, block, handle)) {
            step = SPOOL_BLOCK;
        } else if (block != NULL) { /* there was memory for it */
            look_at_row(&looking, block, handle);
        }
        uint32_t left = scan->end - scan->looked;
        scan->looked += step < left ? step : left;
        rows++;
    }
    look_at_those_ahead(&looking);
    scan->unsure = scan->unsure || looking.unsure;
    request->done = scan->looked >= scan->end;
}

/* --- by addresses, and by queues that are not known yet ----------------------------------------
 */

/* Looks up the virtual queues that are not known, for those who come later as well. */
static void find_queues(struct queue_request *request, struct message *msg,
                        const struct envelope *env)
{
    struct service *service = request->shard->service;
    struct routing_context ctx = service_routing(service);
    for (uint32_t i = 0; i < msg->rcpt_count; i++) {
        struct rcpt_state *state = &msg->rcpts[i];
        const char *problem;
        ctx.state = state;
        if (state->queue == 0 && state->status == RCPT_PENDING) {
            const struct schedule *schedule =
                routing_schedule(&ctx, env->rcpts[i].address, env, &problem);
            if (schedule != NULL) {
                deliver_note_queue(&service->deliver, state, schedule);
            }
        }
    }
}

/* By what is known of its recipients. *out_sure: nothing else can come of it. */
static bool fits_by_states(const struct queue_request *request, const struct message *msg,
                           bool *out_sure)
{
    struct looking looking;
    looking_init(&looking, queue_spool(request), request->check.filter);
    looking.strict = true;
    bool fits = any_fits(&looking, msg);
    *out_sure = fits || !looking.unsure;
    return fits;
}

void queue_check_use(struct queue_request *request, const struct queue_read *read,
                     struct message *msg)
{
    struct slice bytes;
    struct envelope env;
    struct envelope_rcpt *rcpts = calloc(msg->rcpt_count, sizeof *rcpts);
    mx_err err = rcpts == NULL ? MX_ERR_NOMEM : queue_envelope(&bytes, read);
    err = err ? err : envelope_decode(&env, rcpts, msg->rcpt_count, bytes);
    if (!err) {
        bool sure;
        spool_index_addresses(queue_spool(request), msg, &env);
        if (request->check.filter->queue.len > 0) {
            find_queues(request, msg, &env);
        }
        request->check.fits[read->at] = queue_filter_envelope(request->check.filter, &env) &&
                                        fits_by_states(request, msg, &sure);
    } else if (err == MX_ERR_NOMEM) {
        request->err = err;
    }
    free(rcpts);
}

/* Nothing has to be read to tell. */
static bool is_told(struct queue_request *request, const struct message *msg, bool *out_fits)
{
    bool sure = false;
    *out_fits = !queue_filter_reads(request->check.filter) && fits_by_states(request, msg, &sure);
    return sure;
}

void queue_check_piece(struct queue_request *request)
{
    struct queue_check *check = &request->check;
    for (unsigned i = 0; !request->err && i < QUEUE_LOOKS_MAX && check->next < check->count; i++) {
        if (request->reading == QUEUE_READS_MAX) {
            return;
        }
        struct queue_read *read = &request->reads[request->reading];
        read->at = check->next++;
        const struct message *msg = queue_find(request, check->keys[read->at].id);
        if (msg != NULL && !is_told(request, msg, &check->fits[read->at])) {
            request->err = queue_read(read, request, msg, msg->res.resident.ref);
        }
    }
    request->done = check->next == check->count;
}
