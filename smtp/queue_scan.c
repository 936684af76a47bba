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
           : state->attempts > 0      ? QUEUE_DEFERRED
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
static uint32_t handle_at(const struct queue_scan *scan, const struct handles *handles,
                          uint32_t number)
{
    return scan->top.ascending ? number : handles->made - 1 - number;
}

static void fetch_ahead(const struct queue_scan *scan, const struct handles *handles)
{
    uint32_t ahead = scan->looked + AHEAD;
    if (ahead < handles->made) {
        const struct message *msg = handles_get(handles, handle_at(scan, handles, ahead));
        if (msg != NULL) {
            __builtin_prefetch(&msg->all_node);
            __builtin_prefetch(&msg->arrived_ms);
            __builtin_prefetch(&msg->one);
        }
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
    for (unsigned i = 0; i < QUEUE_LOOKS_MAX && scan->looked < handles->made; i++) {
        fetch_ahead(scan, handles);
        const struct message *msg = handles_get(handles, handle_at(scan, handles, scan->looked++));
        if (queue_is_there(msg)) {
            look_at(&looking, msg);
        }
    }
    request->done = scan->looked >= handles->made;
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
