#include "core/log.h"

#include "core/check.h"
#include "core/log_field.h"
#include "core/trace.h"

#include <stdlib.h>

mx_err log_init(struct log *log, int core, enum log_level level)
{
    *log = (struct log){.core = core, .level = level};
    log->lines = malloc(LOG_LINES * sizeof *log->lines); /* log_begin sets what is read */
    if (log->lines == NULL || spsc_init(&log->ready, LOG_LINES) ||
        spsc_init(&log->spare, LOG_LINES)) {
        log_fini(log);
        return MX_ERR_NOMEM;
    }
    for (unsigned i = 0; i < LOG_LINES; i++) {
        bool pushed = spsc_push(&log->spare, &log->lines[i]);
        MX_ASSERT(pushed);
    }
    return MX_OK;
}

void log_fini(struct log *log)
{
    spsc_fini(&log->ready);
    spsc_fini(&log->spare);
    free(log->lines);
    log->lines = NULL;
}

bool log_is_full(struct log *log)
{
    return log->lines != NULL && spsc_empty(&log->spare);
}

static void line_begin(const struct log *log, struct log_line *line, enum log_level level,
                       const char *event)
{
    line->wall_ms = log->wall_ms;
    line->level = level;
    line->event = event;
    line->subject = (struct log_subject){0};
    line->len = 0;
}

struct log_line *log_begin_trace(struct log *log, const char *event)
{
    if (log == NULL || log->trace == NULL) {
        return NULL;
    }
    line_begin(log, &log->untold, LOG_INFO, event);
    log->untold.unwritten = true;
    return &log->untold;
}

/* A line that will not be written. */
static struct log_line *begin_untold(struct log *log, enum log_level level, const char *event)
{
    struct log_line *line = log_begin_trace(log, event);
    if (line != NULL) {
        line->level = level;
    }
    return line;
}

struct log_line *log_begin(struct log *log, enum log_level level, const char *event)
{
    if (log == NULL || log->lines == NULL) {
        return NULL;
    }
    if (level > log->level) {
        return begin_untold(log, level, event);
    }
    struct log_line *line = spsc_pop(&log->spare);
    if (line == NULL) {
        log->dropped++;
        log->dropped_total++;
        return begin_untold(log, level, event);
    }
    line_begin(log, line, level, event);
    line->unwritten = false;
    if (log->dropped > 0) {
        log_u64(line, "lines-dropped-before", log->dropped);
        log->dropped = 0;
    }
    return line;
}

/* The event's entry. Few call sites exist, each with its literal. */
static struct log_repeat *repeat_of(struct log *log, const char *event)
{
    for (size_t i = 0; i < LOG_REPEATS; i++) {
        struct log_repeat *repeat = &log->repeats[i];
        if (repeat->event == event || repeat->event == NULL) {
            repeat->event = event;
            return repeat;
        }
    }
    MX_ASSERT(false);
    return NULL;
}

struct log_line *log_begin_repeated(struct log *log, enum log_level level, const char *event)
{
    if (log == NULL || log->lines == NULL) {
        return NULL;
    }
    if (level > log->level) {
        return begin_untold(log, level, event);
    }
    struct log_repeat *repeat = repeat_of(log, event);
    int64_t passed_ms = log->wall_ms - repeat->since_ms;
    if (passed_ms < 0 || passed_ms >= LOG_REPEATS_MS) { /* the calendar may be set back */
        repeat->since_ms = log->wall_ms;
        repeat->lines = 0;
    }
    if (repeat->lines >= LOG_REPEATS_MAX) {
        repeat->left_out++;
        log->repeats_total++;
        return begin_untold(log, level, event);
    }
    struct log_line *line = log_begin(log, level, event);
    if (line != NULL && !line->unwritten) {
        repeat->lines++;
        if (repeat->left_out > 0) {
            log_u64(line, "repeats-left-out", repeat->left_out);
            repeat->left_out = 0;
        }
    }
    return line;
}

/* One field, if there is room for its head. */
static void append(struct log_line *line, struct log_field field, const char *key,
                   const void *value, size_t len)
{
    size_t room = sizeof line->fields - line->len;
    size_t key_len = strlen(key);
    size_t head = sizeof field + key_len;
    MX_ASSERT(key_len <= UINT8_MAX);
    if (room < head + (field.kind == LOG_FIELD_NUMBER ? len : 0)) {
        return;
    }
    if (len > room - head) {
        len = room - head;
        field.kind = LOG_FIELD_CUT;
    }
    field.key_len = (uint8_t)key_len;
    field.len = (uint16_t)len;
    uint8_t *to = line->fields + line->len;
    memcpy(to, &field, sizeof field);
    memcpy(to + sizeof field, key, key_len);
    if (len > 0) {
        memcpy(to + head, value, len);
    }
    line->len += (uint32_t)(head + len);
}

void log_slice(struct log_line *line, const char *key, struct slice value)
{
    if (line != NULL) {
        append(line, (struct log_field){.kind = LOG_FIELD_TEXT}, key, value.ptr, value.len);
    }
}

void log_text(struct log_line *line, const char *key, const char *value)
{
    log_slice(line, key, slice_of_text(value));
}

void log_u64(struct log_line *line, const char *key, uint64_t value)
{
    if (line != NULL) {
        append(line, (struct log_field){.kind = LOG_FIELD_NUMBER}, key, &value, sizeof value);
    }
}

void log_qid(struct log_line *line, const char *key, struct qid id)
{
    char text[QID_TEXT_MAX];
    if (line == NULL) {
        return;
    }
    if (strcmp(key, "id") == 0) {
        line->subject.id = id;
    } else if (strcmp(key, "of") == 0) {
        line->subject.of = id;
    }
    struct writer w = writer_init(text, sizeof text);
    qid_print(&w, id);
    log_slice(line, key, writer_slice(&w));
}

void log_client(struct log_line *line, const struct netaddr *client)
{
    char text[NETADDR_TEXT_MAX];
    if (line == NULL) {
        return;
    }
    struct writer w = writer_init(text, sizeof text);
    put_netaddr(&w, client);
    log_slice(line, "client", writer_slice(&w));
    line->subject.client = *client;
}

void log_session(struct log_line *line, uint64_t session)
{
    log_u64(line, "session", session);
    if (line != NULL) {
        line->subject.session = session;
    }
}

void log_err(struct log_line *line, const char *key, mx_err err)
{
    log_text(line, key, err_text(err));
}

void log_end(struct log *log, struct log_line *line)
{
    if (line == NULL) {
        return;
    }
    if (log->trace != NULL) {
        trace_add(log->trace, line);
    }
    if (!line->unwritten) {
        bool pushed = spsc_push(&log->ready, line);
        MX_ASSERT(pushed); /* as many cells as lines */
    }
}

bool log_take_as(struct log *log, const struct log_style *style, struct writer *w)
{
    struct log_line *line = log->lines ? spsc_pop(&log->ready) : NULL;
    if (line == NULL) {
        return false;
    }
    log_render(w, style, log->core, line);
    bool returned = spsc_push(&log->spare, line);
    MX_ASSERT(returned);
    return true;
}

bool log_take(struct log *log, struct writer *w)
{
    static const struct log_style style = {.format = LOG_KEY_VALUE};
    return log_take_as(log, &style, w);
}
