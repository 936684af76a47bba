#include "core/log.h"

#include "core/check.h"
#include "core/text.h"
#include "core/timefmt.h"

#include <stdlib.h>

mx_err log_init(struct log *log, int core, enum log_level level)
{
    *log = (struct log){.core = core, .level = level};
    log->lines = calloc(LOG_LINES, sizeof *log->lines);
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

static void append(struct log_line *line, const void *bytes, size_t len)
{
    struct writer w = {.buf = line->text, .len = line->len, .cap = sizeof line->text};
    put_bytes(&w, bytes, len);
    line->len = (uint32_t)w.len;
}

bool log_is_full(struct log *log)
{
    return log->lines != NULL && spsc_empty(&log->spare);
}

struct log_line *log_begin(struct log *log, enum log_level level, const char *event)
{
    if (log == NULL || log->lines == NULL || level > log->level) {
        return NULL;
    }
    struct log_line *line = spsc_pop(&log->spare);
    if (line == NULL) {
        log->dropped++;
        log->dropped_total++;
        return NULL;
    }
    line->wall_ms = log->wall_ms;
    line->level = level;
    line->len = 0;
    append(line, event, strlen(event));
    if (log->dropped > 0) {
        log_u64(line, "lines-dropped-before", log->dropped);
        log->dropped = 0;
    }
    return line;
}

static size_t line_room(const struct log_line *line)
{
    return sizeof line->text - line->len;
}

static bool is_plain(uint8_t c)
{
    return ascii_is_graph(c) && c != '"' && c != '\\' && c != '=';
}

static void append_key(struct log_line *line, const char *key)
{
    append(line, " ", 1);
    append(line, key, strlen(key));
    append(line, "=", 1);
}

/* What follows in a value that was cut: the quotes are closed in any case, so that the rest of the
 * line keeps its meaning. */
#define CUT "...\""
enum { CUT_BYTES = sizeof CUT - 1 };

static void append_quoted(struct log_line *line, struct slice value)
{
    append(line, "\"", 1);
    for (size_t i = 0; i < value.len; i++) {
        uint8_t c = value.ptr[i];
        bool as_is = is_plain(c) || c == ' ' || c == '=';
        char escaped[4] = {'\\', 'x', "0123456789abcdef"[c >> 4], "0123456789abcdef"[c & 15]};
        if (line_room(line) < (as_is ? 1 : sizeof escaped) + CUT_BYTES) {
            append(line, CUT, CUT_BYTES);
            return;
        }
        if (as_is) {
            append(line, &c, 1);
        } else {
            append(line, escaped, sizeof escaped);
        }
    }
    append(line, "\"", 1);
}

void log_slice(struct log_line *line, const char *key, struct slice value)
{
    if (line == NULL || line_room(line) < strlen(key) + 3 + CUT_BYTES) {
        return;
    }
    bool plain = value.len > 0;
    for (size_t i = 0; i < value.len && plain; i++) {
        plain = is_plain(value.ptr[i]);
    }
    append_key(line, key);
    if (plain && value.len <= line_room(line)) {
        append(line, value.ptr, value.len);
    } else {
        append_quoted(line, value);
    }
}

void log_text(struct log_line *line, const char *key, const char *value)
{
    log_slice(line, key, slice_of_text(value));
}

void log_u64(struct log_line *line, const char *key, uint64_t value)
{
    char digits[24];
    struct writer w = writer_init(digits, sizeof digits);
    put_decimal(&w, value);
    log_slice(line, key, writer_slice(&w));
}

void log_qid(struct log_line *line, const char *key, struct qid id)
{
    char text[QID_TEXT_MAX];
    struct writer w = writer_init(text, sizeof text);
    qid_print(&w, id);
    log_slice(line, key, writer_slice(&w));
}

void log_err(struct log_line *line, const char *key, mx_err err)
{
    log_text(line, key, err_text(err));
}

void log_end(struct log *log, struct log_line *line)
{
    if (line != NULL) {
        bool pushed = spsc_push(&log->ready, line);
        MX_ASSERT(pushed); /* as many cells as lines */
    }
}

bool log_take(struct log *log, struct writer *w)
{
    static const char *const levels[] = {"error", "warn", "info", "debug"};
    struct log_line *line = log->lines ? spsc_pop(&log->ready) : NULL;
    if (line == NULL) {
        return false;
    }
    put_rfc3339_ms(w, line->wall_ms);
    put_char(w, ' ');
    put_text(w, levels[line->level]);
    if (log->core >= 0) {
        put_text(w, " core=");
        put_decimal(w, (uint64_t)log->core);
    }
    put_char(w, ' ');
    put_bytes(w, line->text, line->len);
    put_char(w, '\n');
    bool returned = spsc_push(&log->spare, line);
    MX_ASSERT(returned);
    return true;
}
