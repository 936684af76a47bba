/* POST /api/trace: the timeline of messages and sessions that a queue id, an address or a client
 * stands for. */
#include "admin/api_trace.h"

#include "admin/api_private.h"
#include "core/timefmt.h"

#include <stdlib.h>

/* A record as its log line says it; the level tells nothing here. */
static json_t *row_json(const struct queue_trace_row *row)
{
    static const struct log_style style = {.format = LOG_JSON};
    struct log_line line;
    char text[LOG_TEXT_BYTES];
    struct writer w = writer_init(text, sizeof text);
    trace_line(row->record, &line);
    log_render(&w, &style, (int)row->core, &line);
    json_t *json = json_loadb(text, w.len, 0, NULL);
    json_object_del(json, "level");
    return json;
}

static json_t *time_json(int64_t wall_ms)
{
    char text[64];
    struct writer w = writer_init(text, sizeof text);
    if (wall_ms == 0) {
        return json_null();
    }
    put_rfc3339_ms(&w, wall_ms);
    return json_stringn(text, w.len);
}

mx_err api_trace_read(struct queue_cores *queue, const struct trace_query *query,
                      json_t **out_trace)
{
    struct queue_trace_rows found;
    mx_err err = queue_cores_trace(queue, query, &found);
    json_t *records = err ? NULL : json_array();
    for (size_t i = 0; !err && i < found.count; i++) {
        if (json_array_append_new(records, row_json(&found.rows[i]))) {
            err = MX_ERR_NOMEM;
        }
    }
    if (err) {
        json_decref(records);
        return err;
    }
    *out_trace = json_pack("{s:o,s:b,s:o}", "records", records, "more", found.more, "since",
                           time_json(found.oldest_ms));
    return *out_trace == NULL ? MX_ERR_NOMEM : MX_OK;
}

/* --- asking ------------------------------------------------------------------------------------
 */

static bool read_query(struct trace_query *query, const json_t *body)
{
    struct slice of = api_string(json_object_get(body, "of"));
    *query = (struct trace_query){.id = {.sequence = 0}};
    if (slice_find(of, '@') < of.len) {
        query->address = of;
        return true;
    }
    return of.len > 0 &&
           (qid_parse(&query->id, of) == MX_OK || netmask_parse(&query->client, of) == MX_OK);
}

static void run(struct api *api, const json_t *body, struct api_answer *answer)
{
    struct trace_query query;
    json_t *trace = NULL;
    if (json_object_size(body) != 1 || !read_query(&query, body)) {
        api_answer_problem(answer, 400, "Bad Request",
                           "of: neither a queue id (1-3-2a-1f0c) nor an address (a@example.org) "
                           "nor a client's address or network");
        return;
    }
    mx_err err =
        api->conf.trace == NULL ? MX_ERR_AGAIN : api->conf.trace(api->conf.arg, &query, &trace);
    if (err) {
        api_answer_problem(answer, 503, "Temporarily Unavailable",
                           "The cores have not answered; try again.");
        return;
    }
    api_answer_json(answer, 200, trace);
}

void api_post_trace(struct api *api, const struct api_request *request, struct api_answer *answer)
{
    struct api_caller caller;
    if (!api_sign_in(api, request, &caller, answer)) {
        return;
    }
    if (!caller.may(caller.arg, "sysQueuedMessageGet")) {
        api_answer_problem(answer, 403, "Forbidden", "Needs the permission sysQueuedMessageGet.");
        return;
    }
    json_t *body = json_loadb((const char *)request->body.ptr, request->body.len,
                              JSON_REJECT_DUPLICATES, NULL);
    run(api, body, answer);
    json_decref(body);
}
