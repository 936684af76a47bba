#include "admin/api_queue.h"

#include "admin/json_text.h"
#include "admin/validate.h"
#include "core/check.h"
#include "core/hash.h"
#include "core/timefmt.h"
#include "smtp/history.h"

#include <stdio.h>
#include <stdlib.h>

/* --- objects -----------------------------------------------------------------------------------
 */

static json_t *text_or_null(struct slice text)
{
    return text.len > 0 ? json_text(text) : json_null();
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
    return rcpt_waits(state) ? state->due_ms : INT64_MAX;
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

static int64_t last_expiry(const struct queue_detail *detail)
{
    int64_t expires_ms = INT64_MIN;
    for (uint32_t i = 0; i < detail->rcpt_count; i++) {
        const struct rcpt_state *state = &detail->rcpts[i];
        if (state->status == RCPT_PENDING && state->expires_ms > expires_ms) {
            expires_ms = state->expires_ms;
        }
    }
    return expires_ms == INT64_MIN ? INT64_MAX : expires_ms;
}

static json_t *status_json(const struct rcpt_state *state, const struct queue_rcpt_text *text)
{
    const char *word = state->status == RCPT_DELIVERED ? "Completed"
                       : state->status == RCPT_FAILED  ? "PermanentFailure"
                       : rcpt_is_deferred(state)       ? "TemporaryFailure"
                                                       : "Scheduled";
    json_t *status = json_pack("{s:s}", "@type", word);
    if (state->status != RCPT_PENDING || rcpt_is_deferred(state)) {
        json_object_set_new(status, "responseCode",
                            state->code ? json_integer(state->code) : json_null());
        json_object_set_new(status, "responseMessage",
                            text_or_null(slice_of(text->reply, text->reply_len)));
    }
    return status;
}

static json_t *attempt_json(const struct history_entry *entry)
{
    static const char *const results[] = {[OUTCOME_DELIVERED] = "delivered",
                                          [OUTCOME_TEMPORARY] = "deferred",
                                          [OUTCOME_PERMANENT] = "failed"};
    return json_pack("{s:o,s:s,s:I,s:o,s:o,s:o,s:o,s:o}", "at", date_json(entry->at_ms), "result",
                     results[entry->kind], "duration", (json_int_t)entry->took_ms, "nextHop",
                     text_or_null(entry->hop), "host", text_or_null(entry->host), "peer",
                     text_or_null(entry->peer), "responseCode",
                     entry->code ? json_integer(entry->code) : json_null(), "responseMessage",
                     text_or_null(entry->text));
}

/* {"0": {...}, ...} of recipient i. */
static json_t *attempts_json(const struct queue_detail *detail, uint32_t i)
{
    json_t *list = json_object();
    struct reader r = reader_init(slice_of(detail->history, detail->history_len));
    struct history_entry entry;
    while (reader_left(&r) > 0 && history_get(&entry, &r) == MX_OK) {
        if (entry.rcpt == i) {
            char key[24];
            (void)snprintf(key, sizeof key, "%zu", json_object_size(list));
            json_object_set_new(list, key, attempt_json(&entry));
        }
    }
    return list;
}

static json_t *rcpt_json(const struct rcpt_state *state, const struct queue_rcpt_text *text,
                         struct slice orcpt)
{
    return json_pack("{s:o,s:i,s:o,s:i,s:{s:s,s:o},s:o,s:o,s:o,s:b}", "status",
                     status_json(state, text), "retryCount", state->attempts, "retryDue",
                     due_json(due_of(state)), "notifyCount", state->notified, "expires", "@type",
                     "Ttl", "expiresAt", due_json(state->expires_ms), "orcpt", text_or_null(orcpt),
                     "nextHop", text_or_null(slice_of(text->hop, text->hop_len)), "queueName",
                     text_or_null(slice_of(text->queue, text->queue_len)), "held",
                     state->status == RCPT_PENDING && state->flags & RCPT_HELD);
}

/* An address that was given twice is shown once, as long as one of them waits. */
static void add_rcpt(json_t *rcpts, const struct queue_detail *detail,
                     const struct envelope_rcpt *rcpt, uint32_t i)
{
    const struct rcpt_state *state = &detail->rcpts[i];
    json_t *key = json_text(rcpt->address);
    const char *name = json_string_value(key);
    if (state->status == RCPT_PENDING || json_object_get(rcpts, name) == NULL) {
        json_t *shown = rcpt_json(state, &detail->texts[i], rcpt->params.orcpt);
        json_object_set_new(shown, "attempts", attempts_json(detail, i));
        json_object_set_new(rcpts, name, shown);
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
        add_rcpt(rcpts, detail, &env->rcpts[i], i);
    }
    const char *flag = env->source == SOURCE_DSN ? "dsn" : "unauthenticated";
    json_object_set_new(object, "returnPath",
                        env->sender.len > 0 ? json_text(env->sender) : json_string("<>"));
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

bool api_queue_envelope(const struct queue_detail *detail, struct envelope *env,
                        struct envelope_rcpt **out_rcpts)
{
    *out_rcpts =
        detail->envelope == NULL ? NULL : calloc(detail->rcpt_count, sizeof(struct envelope_rcpt));
    if (*out_rcpts != NULL &&
        envelope_decode(env, *out_rcpts, detail->rcpt_count,
                        slice_of(detail->envelope, detail->envelope_bytes)) == MX_OK) {
        return true;
    }
    free(*out_rcpts);
    *out_rcpts = NULL;
    return false;
}

static bool is_held(const struct queue_detail *detail)
{
    bool held = false;
    for (uint32_t i = 0; i < detail->rcpt_count; i++) {
        if (detail->rcpts[i].status == RCPT_PENDING) {
            if (!(detail->rcpts[i].flags & RCPT_HELD)) {
                return false;
            }
            held = true;
        }
    }
    return held;
}

static json_t *message_json(const struct queue_detail *detail, uint64_t id)
{
    char text[QID_TEXT_MAX], blob[OBJECT_ID_TEXT_MAX];
    struct writer w = writer_init(text, sizeof text), b = writer_init(blob, sizeof blob);
    qid_print(&w, detail->id);
    put_object_id(&b, id);
    json_t *object =
        json_pack("{s:o,s:o,s:o,s:I,s:o,s:o,s:b,s:b,s:b}", "nextRetry", due_json(first_due(detail)),
                  "expiresAt", due_json(last_expiry(detail)), "createdAt",
                  date_json(detail->arrived_ms), "size", (json_int_t)detail->body_bytes, "blobId",
                  json_stringn(blob, b.len), "queueId", json_stringn(text, w.len), "held",
                  is_held(detail), "damaged", detail->damaged, "active", detail->active);
    struct envelope_rcpt *rcpts;
    struct envelope env;
    if (api_queue_envelope(detail, &env, &rcpts)) {
        add_envelope(object, detail, &env);
    } else {
        add_unknown(object);
    }
    free(rcpts);
    return object;
}

static mx_err get(void *arg, json_t **out_object, uint64_t id)
{
    const struct api_queue *q = arg;
    struct queue_detail detail;
    mx_err err = queue_cores_read(q->queue, id, &detail);
    if (!err) {
        *out_object = message_json(&detail, id);
        queue_detail_free(&detail);
    }
    return err;
}

/* --- lists -------------------------------------------------------------------------------------
 */

struct slice api_queue_string(const json_t *value)
{
    return json_is_string(value) ? slice_of(json_string_value(value), json_string_length(value))
                                 : SLICE_EMPTY;
}

mx_err api_queue_range(int64_t *min_ms, int64_t *max_ms, enum store_compare compare,
                       const json_t *value)
{
    int64_t ms;
    mx_err err = rfc3339_parse(&ms, api_queue_string(value));
    if (err) {
        return err;
    }
    int64_t low_ms = compare == STORE_LESS || compare == STORE_LESS_EQUAL ? INT64_MIN
                     : compare == STORE_GREATER                           ? ms + 1
                                                                          : ms;
    int64_t high_ms = compare == STORE_GREATER || compare == STORE_GREATER_EQUAL ? INT64_MAX
                      : compare == STORE_LESS                                    ? ms - 1
                                                                                 : ms;
    *min_ms = low_ms > *min_ms ? low_ms : *min_ms;
    *max_ms = high_ms < *max_ms ? high_ms : *max_ms;
    return MX_OK;
}

unsigned api_queue_status(struct slice word)
{
    static const struct {
        const char *word;
        unsigned status;
    } table[] = {{"fresh", QUEUE_FRESH},
                 {"deferred", QUEUE_DEFERRED},
                 {"held", QUEUE_HELD},
                 {"damaged", QUEUE_DAMAGED}};
    for (size_t i = 0; i < mx_countof(table); i++) {
        if (slice_equal(word, slice_of_text(table[i].word))) {
            return table[i].status;
        }
    }
    return 0;
}

/* The same text cannot be asked for twice. */
static mx_err text_condition(struct slice *place, const json_t *value)
{
    struct slice text = api_queue_string(value);
    if (place->len > 0 || text.len > QUEUE_TEXT_MAX) {
        return MX_ERR_UNSUPPORTED;
    }
    *place = text;
    return MX_OK;
}

static mx_err add_condition(struct queue_filter *filter, const char *name,
                            const struct store_condition *condition)
{
    const struct {
        const char *name;
        struct slice *place;
    } texts[] = {{"text", &filter->text},         {"to", &filter->recipient},
                 {"returnPath", &filter->sender}, {"nextHop", &filter->hop},
                 {"queueName", &filter->queue},   {"error", &filter->error}};
    for (size_t i = 0; i < mx_countof(texts); i++) {
        if (strcmp(texts[i].name, name) == 0) {
            return text_condition(texts[i].place, condition->value);
        }
    }
    if (strcmp(name, "due") == 0) {
        return api_queue_range(&filter->due_min_ms, &filter->due_max_ms, condition->compare,
                               condition->value);
    }
    if (strcmp(name, "createdAt") == 0) {
        return api_queue_range(&filter->arrived_min_ms, &filter->arrived_max_ms, condition->compare,
                               condition->value);
    }
    if (strcmp(name, "queueId") == 0 && qid_none(filter->id)) {
        return qid_parse(&filter->id, api_queue_string(condition->value)) ? MX_ERR_UNSUPPORTED
                                                                          : MX_OK;
    }
    if (strcmp(name, "status") == 0 && filter->status == 0) {
        filter->status = api_queue_status(api_queue_string(condition->value));
        return filter->status != 0 ? MX_OK : MX_ERR_UNSUPPORTED;
    }
    return MX_ERR_UNSUPPORTED;
}

static mx_err filter_of(struct queue_filter *filter, const struct store_query *query)
{
    queue_filter_init(filter);
    mx_err err = MX_OK;
    for (size_t i = 0; !err && i < query->condition_count; i++) {
        const struct store_condition *condition = &query->conditions[i];
        err = add_condition(filter, condition->field == NULL ? "text" : condition->field->name,
                            condition);
    }
    return err;
}

/* What is asked for, apart from the place. */
static uint64_t question_hash(const struct queue_question *question)
{
    const struct queue_filter *f = &question->filter;
    const struct slice texts[] = {f->text, f->sender, f->recipient, f->hop, f->queue, f->error};
    const int64_t numbers[] = {(int64_t)qid_hash(f->id), f->due_min_ms,      f->due_max_ms,
                               f->arrived_min_ms,        f->arrived_max_ms,  f->status,
                               question->by_due,         question->ascending};
    uint64_t hash = hash_checksum(slice_of(numbers, sizeof numbers));
    for (size_t i = 0; i < mx_countof(texts); i++) {
        hash = hash_checksum_next(hash, texts[i]) + texts[i].len;
    }
    return hash;
}

static const struct api_queue_bookmark *find_bookmark(const struct api_queue *q,
                                                      const struct queue_question *question,
                                                      const struct store_query *query)
{
    uint64_t hash = question_hash(question);
    for (unsigned i = 0; i < API_QUEUE_BOOKMARKS; i++) {
        const struct api_queue_bookmark *mark = &q->bookmarks[i];
        if (mark->question == hash && mark->key.id == query->anchor) {
            return query->anchored && query->offset > 0 ? mark : NULL;
        }
    }
    return NULL;
}

/* One for each question and message. */
static void put_bookmark(struct api_queue *q, const struct queue_question *question,
                         const struct queue_key *key, uint64_t position)
{
    struct api_queue_bookmark made = {question_hash(question), *key, position};
    for (unsigned i = 0; i < API_QUEUE_BOOKMARKS; i++) {
        struct api_queue_bookmark *mark = &q->bookmarks[i];
        if (mark->question == made.question && mark->key.id == key->id) {
            *mark = made;
            return;
        }
    }
    q->bookmarks[q->next_bookmark] = made;
    q->next_bookmark = (q->next_bookmark + 1) % API_QUEUE_BOOKMARKS;
}

static mx_err anchor_key(struct queue_cores *queue, struct queue_question *question, uint64_t id)
{
    struct queue_detail detail;
    mx_err err = queue_cores_read(queue, id, &detail);
    if (!err) {
        question->from_given = true;
        question->from = (struct queue_key){
            .at_ms = question->by_due ? detail.due_ms : detail.arrived_ms, .id = id};
        queue_detail_free(&detail);
    }
    return err;
}

/* A place before the anchor, or counted from the end, as one from the beginning. mark: of the
 * anchor, or NULL. */
static mx_err resolve_place(struct queue_cores *queue, struct queue_question *question,
                            const struct store_query *query, const struct api_queue_bookmark *mark,
                            uint64_t *out_skip)
{
    struct queue_found found;
    *out_skip = (uint64_t)query->offset;
    if (mark != NULL) {
        question->from_given = true;
        question->from = queue_key_next(&mark->key, question->ascending);
        *out_skip -= 1;
        return MX_OK;
    }
    mx_err err = query->anchored ? anchor_key(queue, question, query->anchor) : MX_OK;
    if (err || query->offset >= 0) {
        return err;
    }
    question->window = 1;
    question->count = true;
    err = queue_cores_find(queue, question, &found);
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

/* Goes on to a place that is too far away to have all keys before it in an answer. */
static mx_err skip_far(struct queue_cores *queue, struct queue_question *question, size_t limit,
                       uint64_t *skip)
{
    mx_err err = MX_OK;
    if (!queue_filter_reads(&question->filter) && *skip >= 2 * QUEUE_NEAR_MAX) {
        err = queue_cores_go_to(queue, question, skip);
    }
    while (!err && *skip + limit >= QUEUE_WINDOW_MAX) {
        struct queue_found found;
        question->window = mx_min_size((size_t)*skip, QUEUE_WINDOW_MAX);
        err = queue_cores_find(queue, question, &found);
        if (!err && found.count > 0) {
            question->from_given = true;
            question->from = queue_key_next(&found.keys[found.count - 1], question->ascending);
        }
        *skip -= err ? 0 : found.count;
        if (!err && found.count < question->window) {
            *skip = 0; /* behind the end: there is nothing from there on */
        }
    }
    return err;
}

static void fill_page(struct api_queue *q, struct store_page *page,
                      const struct queue_question *question, const struct queue_found *found,
                      uint64_t skip, size_t limit)
{
    page->count = 0;
    for (size_t i = (size_t)skip; i < found->count && page->count < limit; i++) {
        page->ids[page->count++] = found->keys[i].id;
    }
    page->total = found->total;
    page->more = skip + page->count < found->count;
    if (page->count > 0) {
        put_bookmark(q, question, &found->keys[skip + page->count - 1],
                     page->position + page->count - 1);
    }
}

static mx_err select_page(void *arg, struct store_page *page, const struct store_query *query)
{
    struct api_queue *q = arg;
    struct queue_question question = {.by_due = query->sort != NULL &&
                                                strcmp(query->sort->name, "due") == 0,
                                      .ascending = query->ascending};
    struct queue_found found;
    uint64_t skip;
    if (query->sort != NULL && !question.by_due) {
        return MX_ERR_UNSUPPORTED;
    }
    mx_err err = filter_of(&question.filter, query);
    if (err) {
        return err;
    }
    const struct api_queue_bookmark *mark = find_bookmark(q, &question, query);
    err = resolve_place(q->queue, &question, query, mark, &skip);
    if (err) {
        return err;
    }
    uint64_t before = mark != NULL ? mark->position + 1 : 0;
    bool anchored = question.from_given;
    uint64_t asked = skip;
    question.count = false;
    err = skip_far(q->queue, &question, query->limit, &skip);
    if (err) {
        return err;
    }
    question.window = (size_t)skip + query->limit + 1; /* one more: is there another page? */
    question.count = query->want_total || (query->anchored && mark == NULL);
    err = queue_cores_find(q->queue, &question, &found);
    if (err) {
        return err;
    }
    if (anchored && asked == skip && question.from.id == query->anchor &&
        (found.count == 0 || found.keys[0].id != query->anchor)) {
        return MX_ERR_NOTFOUND;
    }
    page->position = found.counted ? found.before + skip : anchored ? before + asked : asked;
    fill_page(q, page, &question, &found, skip, query->limit);
    return MX_OK;
}

/* --- content and shape -------------------------------------------------------------------------
 */

/* With the empty line behind them. */
static size_t headers_end(const uint8_t *text, size_t len)
{
    const uint8_t *end = memmem(text, len, "\r\n\r\n", 4);
    return end == NULL ? len : (size_t)(end - text) + 4;
}

mx_err api_queue_download(struct api_queue *q, uint64_t id, bool headers, uint8_t **out_text,
                          size_t *out_len)
{
    mx_err err = queue_cores_content(q->queue, id, out_text, out_len);
    if (!err && headers) {
        *out_len = headers_end(*out_text, *out_len);
    }
    return err;
}

static json_t *row_json(const struct queue_shape_row *row)
{
    json_t *ages = json_array();
    for (size_t i = 0; i < QUEUE_SHAPE_AGES; i++) {
        json_array_append_new(ages, json_integer((json_int_t)row->ages[i]));
    }
    return json_pack("{s:o,s:I,s:I,s:o}", "nextHop", text_or_null(slice_of(row->hop, row->hop_len)),
                     "total", (json_int_t)row->total, "held", (json_int_t)row->held, "ages", ages);
}

mx_err api_queue_shape(struct api_queue *q, json_t **out_shape)
{
    struct queue_shape_rows shape;
    mx_err err = queue_cores_shape(q->queue, &shape);
    if (err) {
        return err;
    }
    json_t *rows = json_array(), *minutes = json_array();
    for (size_t i = 0; i < shape.count && i < QUEUE_SHAPE_ROWS; i++) {
        json_array_append_new(rows, row_json(&shape.rows[i]));
    }
    for (size_t i = QUEUE_SHAPE_ROWS; i < shape.count; i++) {
        for (size_t age = 0; age < QUEUE_SHAPE_AGES; age++) {
            shape.others.ages[age] += shape.rows[i].ages[age];
        }
        shape.others.total += shape.rows[i].total;
        shape.others.held += shape.rows[i].held;
    }
    for (size_t i = 0; i < QUEUE_SHAPE_AGES - 1; i++) {
        json_array_append_new(minutes, json_integer(queue_shape_minutes[i]));
    }
    *out_shape = json_pack("{s:o,s:o,s:o}", "minutes", minutes, "rows", rows, "others",
                           row_json(&shape.others));
    return MX_OK;
}

struct api_foreign api_queue_type(struct api_queue *q)
{
    return (struct api_foreign){.type = "QueuedMessage",
                                .arg = q,
                                .get = get,
                                .query = select_page,
                                .update = api_queue_update,
                                .destroy = api_queue_destroy,
                                .begin = api_queue_begin,
                                .settle = api_queue_settle};
}
