/* Log lines of one thread: built as logfmt ("event key=value ...") in a bounded ring of fixed-size
 * lines and written out by the management core, so that a slow terminal or a full pipe never holds
 * a core. When the ring is full, lines are dropped and counted; the count is logged later.
 *
 *   struct log_line *l = log_begin(log, LOG_INFO, "message-received");
 *   log_qid(l, "id", id);
 *   log_slice(l, "from", sender);
 *   log_end(log, l);
 *
 * All functions accept a NULL line (dropped) and a NULL log. Bytes outside printable ASCII, quotes
 * and backslashes in values are written as \xNN, and quotes are closed also where a value had to be
 * cut (it then ends in "..."), so a peer cannot forge lines or keys. */
#pragma once

#include "core/cursor.h"
#include "core/err.h"
#include "core/qid.h"
#include "core/spsc.h"

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

enum {
    LOG_LINE_BYTES = 1024,
    LOG_LINES = 1024, /* per thread */
};

struct log_line {
    int64_t wall_ms;
    enum log_level level;
    uint32_t len;
    uint8_t text[LOG_LINE_BYTES - 16];
};

struct log {
    struct spsc ready;      /* to the management core */
    struct spsc spare;      /* empty lines coming back */
    struct log_line *lines; /* backing store */
    uint64_t dropped;       /* by the owner thread, since it was said last */
    uint64_t dropped_total; /* since the start */
    int64_t wall_ms;        /* set by the owner each turn */
    enum log_level level;   /* lines above it are not built */
    int core;               /* printed; -1 = management */
};

MX_MUST_CHECK mx_err log_init(struct log *log, int core, enum log_level level);
void log_fini(struct log *log);

/* Producer's side: is there no line left? Then the next one would be dropped. */
bool log_is_full(struct log *log);
struct log_line *log_begin(struct log *log, enum log_level level, const char *event);
void log_slice(struct log_line *line, const char *key, struct slice value);
void log_text(struct log_line *line, const char *key, const char *value);
void log_u64(struct log_line *line, const char *key, uint64_t value);
void log_qid(struct log_line *line, const char *key, struct qid id);
void log_err(struct log_line *line, const char *key, mx_err err);
void log_end(struct log *log, struct log_line *line);

/* Consumer side: renders the next waiting line, with time, level and core, newline-terminated, into
 * w (LOG_LINE_BYTES + 64 suffices). False when none is waiting. */
bool log_take(struct log *log, struct writer *w);
