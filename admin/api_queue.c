#include "admin/api_queue.h"

#include "admin/validate.h"
#include "core/check.h"
#include "core/timefmt.h"

#include <stdlib.h>

/* --- objects -----------------------------------------------------------------------------------
 */

/* Addresses are kept as they were sent; what is no UTF-8 is shown as far as it can be. */
static json_t *text_json(struct slice text)
{
    json_t *value = json_stringn((const char *)text.ptr, text.len);
    if (value == NULL) {
        char shown[ADDRESS_MAX + 1];
        size_t len = mx_min_size(text.len, sizeof shown);
        for (size_t i = 0; i < len; i++) {
            shown[i] = text.ptr[i] < 0x80 ? (char)text.ptr[i] : '?';
        }
        value = json_stringn(shown, len);
    }
    return value;
}

static json_t *text_or_null(struct slice text)
{
    return text.len > 0 ? text_json(text) : json_null();
}

static json_t *date_json(int64_t wall_ms)
{
    char text[40];
    struct writer w = writer_init(text, sizeof text);
    put_rfc3339_ms(&w, wall_ms);
    return json_stringn(text, w.len);
}

static json_t *due_json(int64_t due_ms)
{
    return due_ms == INT64_MAX ? json_null() : date_json(due_ms);
}

static int64_t due_of(const struct rcpt_state *state)
{
    return state->status == RCPT_PENDING ? state->due_ms : INT64_MAX;
}

static int64_t first_due(const struct queue_detail *detail)
{
    int64_t due_ms = INT64_MAX;
    for (uint32_t i = 0; i < detail->rcpt_count; i++) {
        int64_t own_ms = due_of(&detail->rcpts[i]);
        due_ms = own_ms < due_ms ? own_ms : due_ms;
    }
    return due_ms;
}

static json_t *status_json(const struct rcpt_state *state)
{
    const char *word = state->status == RCPT_DELIVERED ? "Completed"
                       : state->status == RCPT_FAILED  ? "PermanentFailure"
                       : state->attempts > 0           ? "TemporaryFailure"
                                                       : "Scheduled";
    json_t *status = json_pack("{s:s}", "@type", word);
    if (state->status != RCPT_PENDING || state->attempts > 0) {
        json_object_set_new(status, "responseCode",
                            state->code ? json_integer(state->code) : json_null());
    }
    return status;
}

static json_t *rcpt_json(const struct queue_detail *detail, const struct rcpt_state *state,
                         struct slice orcpt)
{
    int64_t expires_ms = detail->arrived_ms + (int64_t)detail->expire_ms;
    return json_pack("{s:o,s:i,s:o,s:i,s:{s:s,s:o},s:o}", "status", status_json(state),
                     "retryCount", state->attempts, "retryDue", due_json(due_of(state)),
                     "notifyCount", state->notified, "expires", "@type", "Ttl", "expiresAt",
                     date_json(expires_ms), "orcpt", text_or_null(orcpt));
}

/* An address that was given twice is shown once, as long as one of them waits. */
static void add_rcpt(json_t *rcpts, const struct queue_detail *detail,
                     const struct envelope_rcpt *rcpt, const struct rcpt_state *state)
{
    json_t *key = text_json(rcpt->address);
    const char *name = json_string_value(key);
    if (state->status == RCPT_PENDING || json_object_get(rcpts, name) == NULL) {
        json_object_set_new(rcpts, name, rcpt_json(detail, state, rcpt->params.orcpt));
    }
    json_decref(key);
}

static json_t *client_json(const struct envelope *env)
{
    char text[NETADDR_TEXT_MAX];
    struct writer w = writer_init(text, sizeof text);
    if (env->source != SOURCE_SMTP || env->client.family == 0) {
        return json_null();
    }
    put_netaddr(&w, &env->client);
    return json_stringn(text, w.len);
}

static void add_envelope(json_t *object, const struct queue_detail *detail,
                         const struct envelope *env)
{
    json_t *rcpts = json_object();
    for (uint32_t i = 0; i < env->rcpt_count && i < detail->rcpt_count; i++) {
        add_rcpt(rcpts, detail, &env->rcpts[i], &detail->rcpts[i]);
    }
    const char *flag = env->source == SOURCE_DSN ? "dsn" : "unauthenticated";
    json_object_set_new(object, "returnPath",
                        env->sender.len > 0 ? text_json(env->sender) : json_string("<>"));
    json_object_set_new(object, "recipients", rcpts);
    json_object_set_new(object, "envId", text_or_null(env->mail.envid));
    json_object_set_new(object, "receivedFromIp", client_json(env));
    json_object_set_new(object, "flags", json_pack("{s:b}", flag, 1));
}

/* What a damaged record does not tell. */
static void add_unknown(json_t *object)
{
    static const char *const nulls[] = {"returnPath", "envId", "receivedFromIp"};
    for (size_t i = 0; i < mx_countof(nulls); i++) {
        json_object_set_new(object, nulls[i], json_null());
    }
    json_object_set_new(object, "recipients", json_object());
    json_object_set_new(object, "flags", json_object());
}

static json_t *message_json(const struct queue_detail *detail)
{
    char text[QID_TEXT_MAX];
    struct writer w = writer_init(text, sizeof text);
    qid_print(&w, detail->id);
    json_t *object =
        json_pack("{s:o,s:o,s:I,s:o,s:b}", "nextRetry", due_json(first_due(detail)), "createdAt",
                  date_json(detail->arrived_ms), "size", (json_int_t)detail->body_bytes, "queueId",
                  json_stringn(text, w.len), "held", detail->held);
    struct envelope_rcpt *rcpts = calloc(detail->rcpt_count, sizeof *rcpts);
    struct envelope env;
    if (detail->envelope != NULL && rcpts != NULL &&
        envelope_decode(&env, rcpts, detail->rcpt_count,
                        slice_of(detail->envelope, detail->envelope_bytes)) == MX_OK) {
        add_envelope(object, detail, &env);
    } else {
        add_unknown(object);
    }
    free(rcpts);
    return object;
}

static mx_err get(void *arg, json_t **out_object, uint64_t id)
{
    struct queue_detail detail;
    mx_err err = queue_cores_read(arg, id, &detail);
    if (!err) {
        *out_object = message_json(&detail);
        queue_detail_free(&detail);
    }
    return err;
}

/* --- lists -------------------------------------------------------------------------------------
 */

static struct slice string_of(const json_t *value)
{
    return json_is_string(value) ? slice_of(json_string_value(value), json_string_length(value))
                                 : SLICE_EMPTY;
}

static mx_err due_condition(struct queue_filter *filter, enum store_compare compare,
                            const json_t *value)
{
    int64_t ms;
    mx_err err = rfc3339_parse(&ms, string_of(value));
    if (err) {
        return err;
    }
    int64_t min_ms = compare == STORE_LESS || compare == STORE_LESS_EQUAL ? INT64_MIN
                     : compare == STORE_GREATER                           ? ms + 1
                                                                          : ms;
    int64_t max_ms = compare == STORE_GREATER || compare == STORE_GREATER_EQUAL ? INT64_MAX
                     : compare == STORE_LESS                                    ? ms - 1
                                                                                : ms;
    filter->due_min_ms = min_ms > filter->due_min_ms ? min_ms : filter->due_min_ms;
    filter->due_max_ms = max_ms < filter->due_max_ms ? max_ms : filter->due_max_ms;
    return MX_OK;
}

/* The same text cannot be asked for twice. */
static mx_err text_condition(struct slice *place, const json_t *value)
{
    struct slice text = string_of(value);
    if (place->len > 0 || text.len > QUEUE_TEXT_MAX) {
        return MX_ERR_UNSUPPORTED;
    }
    *place = text;
    return MX_OK;
}

static mx_err filter_of(struct queue_filter *filter, const struct store_query *query)
{
    *filter = (struct queue_filter){.due_min_ms = INT64_MIN, .due_max_ms = INT64_MAX};
    mx_err err = MX_OK;
    for (size_t i = 0; !err && i < query->condition_count; i++) {
        const struct store_condition *condition = &query->conditions[i];
        const char *name = condition->field == NULL ? "text" : condition->field->name;
        if (strcmp(name, "due") == 0) {
            err = due_condition(filter, condition->compare, condition->value);
        } else if (strcmp(name, "text") == 0) {
            err = text_condition(&filter->text, condition->value);
        } else if (strcmp(name, "to") == 0) {
            err = text_condition(&filter->recipient, condition->value);
        } else if (strcmp(name, "returnPath") == 0) {
            err = text_condition(&filter->sender, condition->value);
        } else {
            err = MX_ERR_UNSUPPORTED;
        }
    }
    return err;
}

static mx_err anchor_key(struct queue_cores *queue, struct queue_question *question, uint64_t id)
{
    struct queue_detail detail;
    mx_err err = queue_cores_read(queue, id, &detail);
    if (!err) {
        question->from_given = true;
        question->from = (struct queue_key){
            .at_ms = question->by_due ? first_due(&detail) : detail.arrived_ms, .id = id};
        queue_detail_free(&detail);
    }
    return err;
}

/* A place before the anchor, or counted from the end, as one from the beginning. */
static mx_err resolve_place(struct queue_cores *queue, struct queue_question *question,
                            const struct store_query *query, uint64_t *out_skip)
{
    struct queue_found found;
    *out_skip = (uint64_t)query->offset;
    mx_err err = query->anchored ? anchor_key(queue, question, query->anchor) : MX_OK;
    if (err || query->offset >= 0) {
        return err;
    }
    question->window = 1;
    err = queue_cores_scan(queue, question, &found);
    if (err) {
        return err;
    }
    if (query->anchored && (found.count == 0 || found.keys[0].id != query->anchor)) {
        return MX_ERR_NOTFOUND;
    }
    uint64_t end = query->anchored ? found.before : found.total;
    uint64_t back = (uint64_t)-query->offset;
    *out_skip = end > back ? end - back : 0;
    question->from_given = false;
    return MX_OK;
}

static mx_err select_page(void *arg, struct store_page *page, const struct store_query *query)
{
    struct queue_question question = {.by_due = query->sort != NULL &&
                                                strcmp(query->sort->name, "due") == 0,
                                      .ascending = query->ascending};
    struct queue_found found;
    uint64_t skip;
    if (query->sort != NULL && !question.by_due) {
        return MX_ERR_UNSUPPORTED;
    }
    mx_err err = filter_of(&question.filter, query);
    err = err ? err : resolve_place(arg, &question, query, &skip);
    if (!err && skip + query->limit > QUEUE_WINDOW_MAX) {
        err = MX_ERR_UNSUPPORTED;
    }
    if (err) {
        return err;
    }
    question.window = mx_max_size((size_t)skip + query->limit, 1);
    err = queue_cores_scan(arg, &question, &found);
    if (err) {
        return err;
    }
    if (question.from_given && (found.count == 0 || found.keys[0].id != query->anchor)) {
        return MX_ERR_NOTFOUND;
    }
    page->count = 0;
    for (size_t i = (size_t)skip; i < found.count && page->count < query->limit; i++) {
        page->ids[page->count++] = found.keys[i].id;
    }
    page->position = found.before + skip;
    page->total = found.total;
    page->more = page->position + page->count < found.total;
    return MX_OK;
}

/* --- changes -----------------------------------------------------------------------------------
 */

/* Problems of this one message become its error; others are the call's. */
static mx_err problem_of(mx_err err, struct set_errors *errors)
{
    switch (err) {
    case MX_ERR_NOTFOUND:
        set_error_add(errors, SET_NOT_FOUND, NULL, "is not in the queue");
        return MX_OK;
    case MX_ERR_TIMEOUT:
    case MX_ERR_AGAIN:
        set_error_add(errors, SET_VALIDATION_FAILED, NULL,
                      "is being delivered, or the change is not on the disk yet; try again");
        return MX_OK;
    case MX_ERR_UNSUPPORTED:
        set_error_add(errors, SET_VALIDATION_FAILED, NULL,
                      "is incomplete or unreadable and cannot be tried");
        return MX_OK;
    default:
        return err;
    }
}

static const struct reg_variant *variant_of(void)
{
    return &reg_type_find(SLICE_LITERAL("QueuedMessage"))->shape.variants[0];
}

/* The only thing that can be changed. */
static bool check_patch(const json_t *patch, struct set_errors *errors)
{
    const struct reg_variant *variant = variant_of();
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)patch, key, value)
    {
        const struct reg_field *field = reg_field_find(variant, slice_of_text(key));
        if (field == NULL || field->mode == REG_SERVER_SET) {
            set_error_add(errors, SET_INVALID_PATCH, key, "%s",
                          field != NULL ? "is set by the server" : "is not supported by ringmx");
        }
    }
    return errors->count == 0;
}

static mx_err update(void *arg, const struct api_caller *caller, uint64_t id, const json_t *patch,
                     struct set_errors *errors)
{
    const struct reg_field *field = reg_field_find(variant_of(), SLICE_LITERAL("nextRetry"));
    const json_t *given = json_object_get(patch, "nextRetry");
    int64_t due_ms = 0;
    size_t number;
    (void)caller;
    if (!check_patch(patch, errors)) {
        return MX_OK;
    }
    if (given == NULL) {
        return queue_cores_look(arg, &number, id);
    }
    json_t *value = field_normalize(field, given, NULL, errors);
    if (errors->count > 0) {
        return MX_OK;
    }
    mx_err err = json_is_null(value) ? MX_OK : rfc3339_parse(&due_ms, string_of(value));
    if (json_is_null(value)) {
        set_error_add(errors, SET_INVALID_PATCH, "nextRetry", "may not be set to null");
    } else if (!err) {
        err = queue_cores_retry(arg, &number, id, due_ms);
    }
    json_decref(value);
    return err;
}

static mx_err destroy(void *arg, const struct api_caller *caller, uint64_t id,
                      struct set_errors *errors)
{
    size_t number;
    (void)caller;
    (void)errors;
    return queue_cores_cancel(arg, &number, id);
}

static void begin(void *arg)
{
    queue_cores_forget(arg);
}

struct settling {
    api_refused_fn refused;
    void *refused_arg;
    mx_err err;
};

static void settled(void *arg, size_t number, mx_err err)
{
    struct settling *settling = arg;
    struct set_errors errors;
    errors.count = 0;
    err = problem_of(err, &errors);
    if (errors.count > 0) {
        settling->refused(settling->refused_arg, number, &errors);
    }
    settling->err = settling->err ? settling->err : err;
}

static mx_err settle(void *arg, const struct api_caller *caller, api_refused_fn refused,
                     void *refused_arg)
{
    struct settling settling = {refused, refused_arg, MX_OK};
    queue_cores_settle(arg, caller->name, settled, &settling);
    return settling.err;
}

struct api_foreign api_queue_type(struct queue_cores *queue)
{
    return (struct api_foreign){.type = "QueuedMessage",
                                .arg = queue,
                                .get = get,
                                .query = select_page,
                                .update = update,
                                .destroy = destroy,
                                .begin = begin,
                                .settle = settle};
}
