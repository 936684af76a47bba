/* Changes of queued messages: one by one as patches, and all that a filter finds. */
#include "admin/api_queue.h"

#include "admin/validate.h"
#include "core/check.h"
#include "core/timefmt.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* --- collecting --------------------------------------------------------------------------------
 */

/* to: the recipient's address, unless all are meant. */
static mx_err collect(struct api_queue *q, uint64_t id, enum deliver_change_kind kind,
                      uint32_t rcpt, struct slice to, int64_t at_ms)
{
    size_t number;
    struct deliver_change change = {.kind = kind, .rcpt = rcpt, .at_ms = at_ms};
    mx_err err = queue_cores_change(q->queue, &number, id, &change, to);
    if (!err) {
        q->object_of[number] = q->objects;
    }
    return err;
}

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
                      "cannot be changed so: it is damaged, or its recipients are all delivered, "
                      "failed or held");
        return MX_OK;
    case MX_ERR_LIMIT:
        set_error_add(errors, SET_VALIDATION_FAILED, NULL, "more than %d changes in one call",
                      QUEUE_CHANGES_MAX);
        return MX_OK;
    default:
        return err;
    }
}

void api_queue_begin(void *arg)
{
    struct api_queue *q = arg;
    queue_cores_forget(q->queue);
    q->objects = 0;
}

struct settling {
    struct api_queue *q;
    api_refused_fn refused;
    void *refused_arg;
    size_t last_refused; /* object + 1 */
    mx_err err;
};

static void settled(void *arg, size_t number, mx_err err)
{
    struct settling *settling = arg;
    size_t object = settling->q->object_of[number];
    struct set_errors errors;
    errors.count = 0;
    err = problem_of(err, &errors);
    if (errors.count > 0 && settling->last_refused != object + 1) {
        settling->refused(settling->refused_arg, object, &errors);
        settling->last_refused = object + 1; /* its changes follow each other */
    }
    settling->err = settling->err ? settling->err : err;
}

mx_err api_queue_settle(void *arg, const struct api_caller *caller, api_refused_fn refused,
                        void *refused_arg)
{
    struct settling settling = {.q = arg, .refused = refused, .refused_arg = refused_arg};
    queue_cores_settle(settling.q->queue, caller->name, settled, &settling);
    return settling.err;
}

mx_err api_queue_destroy(void *arg, const struct api_caller *caller, uint64_t id,
                         struct set_errors *errors)
{
    struct api_queue *q = arg;
    (void)caller;
    mx_err err = problem_of(collect(q, id, CHANGE_CANCEL, CHANGE_ALL, SLICE_EMPTY, 0), errors);
    q->objects += !err && errors->count == 0;
    return err;
}

/* --- patches -----------------------------------------------------------------------------------
 */

/* One patch of one message. */
struct patching {
    struct api_queue *q;
    uint64_t id;
    struct set_errors *errors;
    struct queue_detail detail; /* once a recipient is named */
    struct envelope env;
    struct envelope_rcpt *rcpts;
    bool has_detail;
};

static void refuse(struct patching *p, const char *key, const char *reason)
{
    set_error_add(p->errors, SET_INVALID_PATCH, key, "%s", reason);
}

/* False: refused. */
static bool read_date(struct patching *p, const char *key, const json_t *value, int64_t *out_ms)
{
    bool good = json_is_string(value) && rfc3339_parse(out_ms, api_queue_string(value)) == MX_OK;
    if (!good) {
        refuse(p, key, "has to be a date, as 2026-11-22T00:00:00Z");
    }
    return good;
}

static mx_err collect_patch(struct patching *p, enum deliver_change_kind kind, uint32_t rcpt,
                            int64_t at_ms)
{
    struct slice to = rcpt == CHANGE_ALL ? SLICE_EMPTY : p->rcpts[rcpt].address;
    return collect(p->q, p->id, kind, rcpt, to, at_ms);
}

static mx_err patch_date(struct patching *p, const char *key, const json_t *value,
                         enum deliver_change_kind kind, uint32_t rcpt)
{
    int64_t at_ms;
    return read_date(p, key, value, &at_ms) ? collect_patch(p, kind, rcpt, at_ms) : MX_OK;
}

static mx_err patch_held(struct patching *p, const char *key, const json_t *value, uint32_t rcpt)
{
    if (!json_is_boolean(value)) {
        refuse(p, key, "has to be true or false");
        return MX_OK;
    }
    return collect_patch(p, json_is_true(value) ? CHANGE_HOLD : CHANGE_RELEASE, rcpt, 0);
}

static mx_err patch_expires(struct patching *p, const char *key, const json_t *value, uint32_t rcpt)
{
    if (!slice_equal(api_queue_string(json_object_get(value, "@type")), SLICE_LITERAL("Ttl"))) {
        refuse(p, key, "has to be {\"@type\": \"Ttl\", \"expiresAt\": date}");
        return MX_OK;
    }
    return patch_date(p, key, json_object_get(value, "expiresAt"), CHANGE_EXPIRE, rcpt);
}

static mx_err patch_status(struct patching *p, const char *key, const json_t *value, uint32_t rcpt)
{
    struct slice word = api_queue_string(json_object_get(value, "@type"));
    if (p->detail.rcpts[rcpt].status != RCPT_PENDING) {
        refuse(p, key, "is final");
    } else if (slice_equal(word, SLICE_LITERAL("Scheduled"))) {
        return collect_patch(p, CHANGE_RETRY, rcpt, 0);
    } else if (slice_equal(word, SLICE_LITERAL("PermanentFailure"))) {
        return collect_patch(p, CHANGE_GIVE_UP, rcpt, 0);
    } else {
        refuse(p, key, "can become Scheduled (tried now) or PermanentFailure (given up, reported)");
    }
    return MX_OK;
}

static mx_err patch_rcpt_property(struct patching *p, const char *key, struct slice name,
                                  const json_t *value, uint32_t rcpt)
{
    if (slice_equal(name, SLICE_LITERAL("retryDue"))) {
        return patch_date(p, key, value, CHANGE_RETRY, rcpt);
    }
    if (slice_equal(name, SLICE_LITERAL("held"))) {
        return patch_held(p, key, value, rcpt);
    }
    if (slice_equal(name, SLICE_LITERAL("expires"))) {
        return patch_expires(p, key, value, rcpt);
    }
    if (slice_equal(name, SLICE_LITERAL("expires/expiresAt"))) {
        return patch_date(p, key, value, CHANGE_EXPIRE, rcpt);
    }
    if (slice_equal(name, SLICE_LITERAL("status"))) {
        return patch_status(p, key, value, rcpt);
    }
    refuse(p, key, "cannot be changed");
    return MX_OK;
}

/* RFC 6901: "~1" is '/', "~0" is '~'. */
static struct slice unescape(uint8_t *buf, size_t cap, struct slice text)
{
    struct writer w = writer_init(buf, cap);
    for (size_t i = 0; i < text.len; i++) {
        bool escape = text.ptr[i] == '~' && i + 1 < text.len;
        put_u8(&w, !escape ? text.ptr[i] : text.ptr[++i] == '1' ? '/' : '~');
    }
    return writer_slice(&w);
}

static mx_err need_detail(struct patching *p)
{
    if (p->has_detail) {
        return MX_OK;
    }
    mx_err err = queue_cores_read(p->q->queue, p->id, &p->detail);
    p->has_detail = !err;
    if (!err && !api_queue_envelope(&p->detail, &p->env, &p->rcpts)) {
        err = MX_ERR_UNSUPPORTED;
    }
    return err;
}

/* "recipients/bob@example.org" or "recipients/bob@example.org/retryDue". An address that was given
 * twice means both. */
static mx_err patch_rcpt(struct patching *p, const char *key, const json_t *value)
{
    uint8_t buf[ADDRESS_MAX];
    struct slice rest = slice_from(slice_of_text(key), strlen("recipients/"));
    size_t end = slice_find(rest, '/');
    struct slice address = unescape(buf, sizeof buf, slice_first(rest, end));
    mx_err err = need_detail(p);
    bool found = false;
    for (uint32_t i = 0; !err && i < p->detail.rcpt_count && p->errors->count == 0; i++) {
        if (!slice_equal(p->rcpts[i].address, address)) {
            continue;
        }
        found = true;
        if (end < rest.len) {
            err = patch_rcpt_property(p, key, slice_from(rest, end + 1), value, i);
        } else if (json_is_null(value)) {
            err = collect_patch(p, CHANGE_CANCEL, i, 0);
        } else {
            refuse(p, key, "can only be set to null, or by its properties");
        }
    }
    if (!err && !found) {
        refuse(p, key, "is no recipient");
    }
    return err;
}

static mx_err patch_message(struct patching *p, const char *key, const json_t *value)
{
    const struct reg_variant *variant =
        &reg_type_find(SLICE_LITERAL("QueuedMessage"))->shape.variants[0];
    const struct reg_field *field = reg_field_find(variant, slice_of_text(key));
    if (strncmp(key, "recipients/", strlen("recipients/")) == 0) {
        return patch_rcpt(p, key, value);
    }
    if (strcmp(key, "nextRetry") == 0) {
        return patch_date(p, key, value, CHANGE_RETRY, CHANGE_ALL);
    }
    if (strcmp(key, "expiresAt") == 0) {
        return patch_date(p, key, value, CHANGE_EXPIRE, CHANGE_ALL);
    }
    if (strcmp(key, "held") == 0) {
        return patch_held(p, key, value, CHANGE_ALL);
    }
    refuse(p, key, field != NULL ? "is set by the server" : "is not supported by ringmx");
    return MX_OK;
}

mx_err api_queue_update(void *arg, const struct api_caller *caller, uint64_t id,
                        const json_t *patch, struct set_errors *errors)
{
    struct patching p = {.q = arg, .id = id, .errors = errors};
    const char *key;
    json_t *value;
    (void)caller;
    mx_err err = json_object_size(patch) == 0 ? need_detail(&p) : MX_OK;
    json_object_foreach((json_t *)(uintptr_t)patch, key, value)
    {
        err = err ? err : patch_message(&p, key, value);
    }
    free(p.rcpts);
    queue_detail_free(&p.detail);
    err = problem_of(err, errors);
    p.q->objects += !err && errors->count == 0;
    return err;
}

/* --- by filter ---------------------------------------------------------------------------------
 */

struct sweep {
    struct api_queue *q;
    struct queue_question question;
    enum deliver_change_kind kind;
    int64_t at_ms;
    uint64_t found, changed, refused;
    uint64_t refused_before; /* object + 1 */
    mx_err err;
};

static const struct {
    const char *word;
    enum deliver_change_kind kind;
    bool needs_time;
} operations[] = {{"hold", CHANGE_HOLD, false},     {"release", CHANGE_RELEASE, false},
                  {"retry", CHANGE_RETRY, false},   {"expire", CHANGE_EXPIRE, true},
                  {"cancel", CHANGE_CANCEL, false}, {"bounce", CHANGE_GIVE_UP, false}};

static void read_texts(struct queue_filter *filter, const json_t *body)
{
    filter->text = api_queue_string(json_object_get(body, "text"));
    filter->sender = api_queue_string(json_object_get(body, "returnPath"));
    filter->recipient = api_queue_string(json_object_get(body, "to"));
    filter->hop = api_queue_string(json_object_get(body, "nextHop"));
    filter->queue = api_queue_string(json_object_get(body, "queueName"));
    filter->error = api_queue_string(json_object_get(body, "error"));
    filter->status = api_queue_status(api_queue_string(json_object_get(body, "status")));
}

static mx_err read_times(struct queue_filter *f, const json_t *body)
{
    const struct {
        const char *name;
        enum store_compare compare;
        int64_t *min_ms, *max_ms;
    } times[] = {{"createdBefore", STORE_LESS, &f->arrived_min_ms, &f->arrived_max_ms},
                 {"createdAfter", STORE_GREATER, &f->arrived_min_ms, &f->arrived_max_ms},
                 {"dueBefore", STORE_LESS, &f->due_min_ms, &f->due_max_ms},
                 {"dueAfter", STORE_GREATER, &f->due_min_ms, &f->due_max_ms}};
    mx_err err = MX_OK;
    for (size_t i = 0; !err && i < mx_countof(times); i++) {
        const json_t *value = json_object_get(body, times[i].name);
        if (json_is_string(value)) {
            err = api_queue_range(times[i].min_ms, times[i].max_ms, times[i].compare, value);
        }
    }
    return err;
}

/* "ARRIVAL.NUMBER": the key behind the last one of the piece before. */
static bool read_cursor(struct queue_question *question, const json_t *value)
{
    char *end;
    if (!json_is_string(value)) {
        return true;
    }
    question->from_given = true;
    question->from.at_ms = strtoll(json_string_value(value), &end, 10);
    if (*end != '.') {
        return false;
    }
    question->from.id = strtoull(end + 1, &end, 10);
    return *end == '\0';
}

/* False: refused. */
static bool sweep_read(struct sweep *s, const json_t *body, struct set_errors *errors)
{
    struct slice word = api_queue_string(json_object_get(body, "operation"));
    const json_t *at = json_object_get(body, "at");
    size_t i = 0;
    while (i < mx_countof(operations) && !slice_equal(word, slice_of_text(operations[i].word))) {
        i++;
    }
    MX_ASSERT(i < mx_countof(operations)); /* the registry knows the words */
    s->kind = operations[i].kind;
    s->question = (struct queue_question){.ascending = true, .window = API_QUEUE_PIECE};
    queue_filter_init(&s->question.filter);
    read_texts(&s->question.filter, body);
    if (json_is_string(at) ? rfc3339_parse(&s->at_ms, api_queue_string(at)) != MX_OK
                           : operations[i].needs_time) {
        set_error_add(errors, SET_VALIDATION_FAILED, "at", "is needed: a date");
    } else if (read_times(&s->question.filter, body) ||
               !read_cursor(&s->question, json_object_get(body, "cursor"))) {
        set_error_add(errors, SET_VALIDATION_FAILED, "cursor", "is not one that was given");
    }
    return errors->count == 0;
}

/* A filter that speaks of recipients means those, not the others of the same message. */
static bool rcpt_is_meant(const struct queue_filter *filter, const struct queue_detail *detail,
                          const struct envelope_rcpt *rcpts, uint32_t i)
{
    const struct rcpt_state *state = &detail->rcpts[i];
    const struct queue_rcpt_text *text = &detail->texts[i];
    return state->status == RCPT_PENDING &&
           queue_filter_hop(filter, slice_of(text->hop, text->hop_len)) &&
           queue_filter_queue(filter, slice_of(text->queue, text->queue_len)) &&
           queue_filter_error(filter, slice_of(text->reply, text->reply_len)) &&
           (!(filter->status & QUEUE_HELD) || state->flags & RCPT_HELD) &&
           queue_filter_address(filter, rcpts[i].address);
}

static mx_err collect_rcpts(struct sweep *s, uint64_t id)
{
    struct queue_detail detail;
    struct envelope env;
    struct envelope_rcpt *rcpts = NULL;
    mx_err err = queue_cores_read(s->q->queue, id, &detail);
    if (err) {
        return err == MX_ERR_NOTFOUND ? MX_OK : err;
    }
    if (detail.rcpt_count == 1) {
        err = collect(s->q, id, s->kind, CHANGE_ALL, SLICE_EMPTY, s->at_ms);
    } else if (api_queue_envelope(&detail, &env, &rcpts)) {
        for (uint32_t i = 0; !err && i < detail.rcpt_count; i++) {
            if (rcpt_is_meant(&s->question.filter, &detail, rcpts, i)) {
                err = collect(s->q, id, s->kind, i, rcpts[i].address, s->at_ms);
            }
        }
    }
    free(rcpts);
    queue_detail_free(&detail);
    return err;
}

static void sweep_settled(void *arg, size_t number, mx_err err)
{
    struct sweep *s = arg;
    struct set_errors errors;
    errors.count = 0;
    bool first = number == 0 || s->q->object_of[number] != s->q->object_of[number - 1];
    bool was_refused = s->refused_before == s->q->object_of[number] + 1;
    s->changed += first;
    err = problem_of(err, &errors);
    if ((errors.count > 0 || err) && !was_refused) {
        s->changed--;
        s->refused++;
        s->refused_before = s->q->object_of[number] + 1;
    }
    s->err = s->err ? s->err : err;
}

/* Collects changes for the messages found; stops where there is no room for more. */
static mx_err sweep_collect(struct sweep *s, struct queue_key *keys, size_t count,
                            size_t *out_taken)
{
    bool single = queue_filter_is_of_rcpts(&s->question.filter);
    mx_err err = MX_OK;
    size_t i = 0;
    for (; !err && i < count; i++) {
        s->q->objects = i;
        err = single ? collect_rcpts(s, keys[i].id)
                     : collect(s->q, keys[i].id, s->kind, CHANGE_ALL, SLICE_EMPTY, s->at_ms);
    }
    bool full = err == MX_ERR_LIMIT && i > 1;
    *out_taken = full ? i - 1 : i; /* the last one comes again: its changes are none, or the same */
    return full ? MX_OK : err;
}

static json_t *cursor_json(const struct queue_key *last)
{
    char text[64];
    struct queue_key next = queue_key_next(last, true);
    (void)snprintf(text, sizeof text, "%" PRId64 ".%" PRIu64, next.at_ms, next.id);
    return json_string(text);
}

mx_err api_queue_change(struct api_queue *q, const struct api_caller *caller, const json_t *body,
                        json_t **out_shown, struct set_errors *errors)
{
    struct sweep s = {.q = q};
    struct queue_found found;
    struct queue_key keys[API_QUEUE_PIECE];
    size_t taken = 0;
    if (!sweep_read(&s, body, errors)) {
        return MX_OK;
    }
    api_queue_begin(q);
    mx_err err = queue_cores_find(q->queue, &s.question, &found);
    if (err) {
        return err;
    }
    bool more = found.more && found.count > 0;
    size_t count = found.count;
    memcpy(keys, found.keys, count * sizeof *keys); /* reading messages asks other questions */
    err = sweep_collect(&s, keys, count, &taken);
    if (!err) {
        queue_cores_settle(q->queue, caller->name, sweep_settled, &s);
        err = s.err;
    }
    if (!err) {
        json_t *cursor = more || taken < count ? cursor_json(&keys[taken - 1]) : json_null();
        *out_shown =
            json_pack("{s:I,s:I,s:I,s:o}", "found", (json_int_t)taken, "changed",
                      (json_int_t)s.changed, "refused", (json_int_t)s.refused, "cursor", cursor);
    }
    return err;
}
