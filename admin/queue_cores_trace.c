/* What happened to messages and sessions, from the traces of all cores. */
#include "admin/queue_cores_private.h"

#include <stdlib.h>

static mx_err room(struct queue_cores *queue)
{
    size_t places = (size_t)queue->conf.cores * TRACE_FOUND_MAX + 1;
    if (queue->traced == NULL) {
        queue->traced = malloc(places * sizeof *queue->traced);
    }
    if (queue->trace_rows == NULL) {
        queue->trace_rows = malloc(places * sizeof *queue->trace_rows);
    }
    return queue->traced == NULL || queue->trace_rows == NULL ? MX_ERR_NOMEM : MX_OK;
}

static int by_time(const void *a, const void *b)
{
    const struct queue_trace_row *one = a, *other = b;
    int64_t first = one->record->wall_ms, second = other->record->wall_ms;
    if (first != second) {
        return first < second ? -1 : 1;
    }
    /* Where the calendar cannot tell: the order of the core. */
    return one->core != other->core      ? (one->core < other->core ? -1 : 1)
           : one->record < other->record ? -1
                                         : one->record > other->record;
}

static void join(struct queue_cores *queue, struct queue_trace_rows *out)
{
    for (unsigned i = 0; i < queue->conf.cores; i++) {
        const struct trace_search *search = &queue->parts[i].request.trace;
        for (size_t r = 0; r < search->count; r++) {
            queue->trace_rows[out->count++] = (struct queue_trace_row){
                .core = i, .record = &search->found[TRACE_FOUND_MAX - search->count + r]};
        }
        out->more = out->more || search->more;
        if (search->oldest_ms > out->oldest_ms) {
            out->oldest_ms = search->oldest_ms;
        }
    }
    qsort(queue->trace_rows, out->count, sizeof *queue->trace_rows, by_time);
    out->rows = queue->trace_rows;
}

static void keep(struct queue_cores *queue, const struct trace_query *query)
{
    queue->trace_query = *query;
    queue->trace_query.address.len = mx_min_size(query->address.len, QUEUE_TEXT_MAX);
    queue->trace_query.address.ptr = queue->texts[0];
    if (query->address.len > 0) {
        memcpy(queue->texts[0], query->address.ptr, queue->trace_query.address.len);
    }
}

mx_err queue_cores_trace(struct queue_cores *queue, const struct trace_query *query,
                         struct queue_trace_rows *out)
{
    uint64_t until_ns = queue_cores_deadline_ns(QUEUE_SEARCH_WAIT_MS);
    *out = (struct queue_trace_rows){.count = 0};
    mx_err err = queue_cores_ready(queue, until_ns);
    err = err ? err : room(queue);
    if (err) {
        return err;
    }
    keep(queue, query);
    for (unsigned i = 0; i < queue->conf.cores; i++) {
        queue->parts[i].request.trace = (struct trace_search){
            .query = &queue->trace_query, .found = queue->traced + (size_t)i * TRACE_FOUND_MAX};
    }
    err = queue_cores_ask_all(queue, QUEUE_TRACE, until_ns);
    if (!err) {
        join(queue, out);
    }
    return err;
}
