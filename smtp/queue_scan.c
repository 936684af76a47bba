/* Looking for messages: in memory by times, states and digests, then by their addresses. */
#include "smtp/queue_view.h"
#include "smtp/service.h"

#include <stdlib.h>

enum { AHEAD = 8 /* messages whose memory is fetched before they are looked at */ };

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
    struct queue_scan *scan;
    struct verdicts hops, errors;
    unsigned core;
};

static unsigned status_of(const struct message *msg, const struct rcpt_state *state)
{
    return msg->held                  ? QUEUE_DAMAGED
           : state->flags & RCPT_HELD ? QUEUE_HELD
           : rcpt_is_deferred(state)  ? QUEUE_DEFERRED
                                      : QUEUE_FRESH;
}

static bool rcpt_fits(struct looking *looking, const struct message *msg,
                      const struct rcpt_state *state)
{
    const struct queue_filter *filter = looking->scan->filter;
    return state->status == RCPT_PENDING &&
           (filter->status == 0 || filter->status & status_of(msg, state)) &&
           (filter->hop.len == 0 || verdict(&looking->hops, state->hop)) &&
           (filter->error.len == 0 || verdict(&looking->errors, state->reply));
}

static bool any_fits(struct looking *looking, const struct message *msg)
{
    const struct queue_filter *filter = looking->scan->filter;
    bool fits = filter->status == 0 && filter->hop.len == 0 && filter->error.len == 0;
    for (uint32_t i = 0; !fits && i < msg->rcpt_count; i++) {
        fits = rcpt_fits(looking, msg, &msg->rcpts[i]);
    }
    return fits;
}

static void look_at(struct looking *looking, const struct message *msg)
{
    struct queue_scan *scan = looking->scan;
    int64_t due_ms = deliver_due_ms(msg);
    bool other = !qid_none(scan->filter->id) && !qid_equal(scan->filter->id, msg->id);
    if (msg->rcpts_left == 0 || other ||
        !queue_filter_times(scan->filter, due_ms, msg->arrived_ms) ||
        (msg->has_digest && !queue_digest_may_have(&msg->digest, &scan->parts)) ||
        !any_fits(looking, msg)) {
        return;
    }
    struct queue_key key = {.at_ms = scan->by_due ? due_ms : msg->arrived_ms,
                            .id = queue_id(looking->core, msg->handle, msg->id)};
    scan->total++;
    if (scan->from_given && queue_key_order(&key, &scan->from, scan->top.ascending) < 0) {
        scan->before++;
    } else {
        queue_top_add(&scan->top, key);
    }
}

/* Newest first: the last handles first, so that most others come behind what is kept. */
static uint32_t handle_at(const struct queue_scan *scan, uint32_t number)
{
    return scan->top.ascending ? number : scan->end - 1 - number;
}

static void fetch_ahead(const struct queue_scan *scan, const struct handles *handles)
{
    uint32_t ahead = scan->looked + AHEAD;
    if (ahead < scan->end) {
        const struct message *msg = handles_get(handles, handle_at(scan, ahead));
        if (msg != NULL) {
            __builtin_prefetch(&msg->all_node);
            __builtin_prefetch(&msg->arrived_ms);
            __builtin_prefetch(&msg->one);
        }
    }
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

/* Passes over blocks from the present place on; a block that begins or ends elsewhere is looked at.
 */
static void pass_over(struct queue_scan *scan, const struct spool *spool, unsigned *looks)
{
    while (scan->looked < scan->end && *looks < QUEUE_LOOKS_MAX) {
        uint32_t handle = handle_at(scan, scan->looked);
        bool begins = scan->top.ascending ? handle % SPOOL_BLOCK == 0
                                          : handle % SPOOL_BLOCK == SPOOL_BLOCK - 1;
        const struct spool_block *block = &spool->blocks[handle / SPOOL_BLOCK];
        bool behind = is_behind(scan, block);
        if (!begins || scan->count || scan->by_due || !(behind || is_before(scan, block))) {
            return;
        }
        scan->passed_over = scan->passed_over || behind;
        uint32_t left = scan->end - scan->looked;
        scan->looked += left < SPOOL_BLOCK ? left : SPOOL_BLOCK;
        ++*looks;
    }
}

void queue_scan_piece(struct queue_request *request)
{
    struct queue_scan *scan = &request->scan;
    const struct spool *spool = queue_spool(request);
    const struct handles *handles = &spool->handles;
    struct looking looking = {
        .scan = scan,
        .core = request->shard->conf.id,
        .hops = {.filter = scan->filter, .fits = queue_filter_hop, .texts = &spool->texts},
        .errors = {.filter = scan->filter, .fits = queue_filter_error, .texts = &spool->texts}};
    if (scan->looked == 0) {
        scan->end = handles->made; /* what comes later is not looked at */
    }
    for (unsigned looks = 0; looks < QUEUE_LOOKS_MAX; looks++) {
        pass_over(scan, spool, &looks);
        if (scan->looked >= scan->end) {
            break;
        }
        fetch_ahead(scan, handles);
        const struct message *msg = handles_get(handles, handle_at(scan, scan->looked++));
        if (queue_is_there(msg)) {
            look_at(&looking, msg);
        }
    }
    request->done = scan->looked >= scan->end;
}

/* --- by addresses ------------------------------------------------------------------------------
 */

void queue_check_use(struct queue_request *request, const struct queue_read *read,
                     struct message *msg)
{
    struct slice bytes;
    struct envelope env;
    struct envelope_rcpt *rcpts = calloc(msg->rcpt_count, sizeof *rcpts);
    mx_err err = rcpts == NULL ? MX_ERR_NOMEM : queue_envelope(&bytes, read);
    err = err ? err : envelope_decode(&env, rcpts, msg->rcpt_count, bytes);
    if (!err) {
        queue_digest_of(&msg->digest, &env);
        msg->has_digest = true;
        request->check.fits[read->at] = queue_filter_envelope(request->check.filter, &env);
    } else if (err == MX_ERR_NOMEM) {
        request->err = err;
    }
    free(rcpts);
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
        if (msg != NULL) {
            request->err = queue_read(read, request, msg, msg->res.resident.ref);
        }
    }
    request->done = check->next == check->count;
}
