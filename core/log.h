/* Log lines of one thread: an event with keys and values, in a bounded ring of fixed-size lines
 * that the management core renders and writes out (core/log_format.c, admin/log_output.h), so that
 * a slow terminal, a full pipe or a full disk never holds a core. When the ring is full, lines are
 * dropped and counted; the count is in the next line that has room, as lines-dropped-before.
 *
 *   struct log_line *l = log_begin(log, LOG_INFO, "message-received");
 *   log_qid(l, "id", id);
 *   log_slice(l, "from", sender);
 *   log_end(log, l);
 *
 * All functions accept a NULL line (dropped) and a NULL log. Events and keys are literals of a-z
 * and
 * "-", a key once in a line; values are any bytes, and no value can forge a line or a key. A value
 * that does not fit is cut and ends in "..."; a key without room is left out.
 *
 * Lines that are about a message, a session or a client are kept in the thread's trace as well, if
 * it has one, even when they are not written. */
#pragma once

#include "core/cursor.h"
#include "core/err.h"
#include "core/netaddr.h"
#include "core/qid.h"
#include "core/spsc.h"

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

enum {
    LOG_LINE_BYTES = 1024,
    LOG_LINES = 1024, /* per thread */
    /* A rendered line: a byte may become six characters. */
    LOG_TEXT_BYTES = 6 * LOG_LINE_BYTES + 256,
    LOG_REPEATS = 16,     /* events that are limited, per thread */
    LOG_REPEATS_MAX = 20, /* lines of each in LOG_REPEATS_MS */
    LOG_REPEATS_MS = 1000,
};

enum log_format {
    LOG_KEY_VALUE, /* TIME LEVEL [core=N] EVENT key=value key="a value\x0a" ... */
    LOG_JSON,      /* one object: "time", "level", "core", "event", and the same keys */
};

struct log_style {
    enum log_format format;
    bool priority; /* "<N>" before the line, as journald takes it: sd-daemon(3) */
};

/* What a line is about, for core/trace. */
struct log_subject {
    struct qid id, of;     /* sequence 0: no message */
    struct netaddr client; /* family 0: none */
    uint64_t session;      /* 0: none */
};

struct log_line {
    int64_t wall_ms;
    const char *event;
    struct log_subject subject;
    enum log_level level;
    bool unwritten; /* only for the trace */
    uint32_t len;
    uint8_t fields[LOG_LINE_BYTES - 32 - sizeof(struct log_subject)]; /* see core/log_format.c */
};

/* An event that is written only so often. */
struct log_repeat {
    const char *event;
    int64_t since_ms;
    uint32_t lines; /* since then */
    uint64_t left_out;
};

struct log {
    struct spsc ready;      /* to the management core */
    struct spsc spare;      /* empty lines coming back */
    struct log_line *lines; /* backing store */
    uint64_t dropped;       /* by the owner thread, since it was said last */
    uint64_t dropped_total; /* since the start */
    uint64_t repeats_total; /* left out by log_begin_repeated, since the start */
    int64_t wall_ms;        /* set by the owner each turn */
    enum log_level level;   /* lines above it are not written */
    int core;               /* printed; -1 = management */
    struct trace *trace;    /* of this thread; NULL: none */
    struct log_line untold; /* the one that is being built only for the trace */
    struct log_repeat repeats[LOG_REPEATS];
};

MX_MUST_CHECK mx_err log_init(struct log *log, int core, enum log_level level);
void log_fini(struct log *log);

/* Producer's side: is there no line left? Then the next one would be dropped. */
bool log_is_full(struct log *log);
struct log_line *log_begin(struct log *log, enum log_level level, const char *event);
/* A line only for the trace, below what a log would be troubled with. One at a time. */
struct log_line *log_begin_trace(struct log *log, const char *event);
/* For what a client can cause as often as it likes: above LOG_REPEATS_MAX lines of the event in
 * LOG_REPEATS_MS the rest is left out (NULL) and counted; the count is in the event's next line, as
 * repeats-left-out. */
struct log_line *log_begin_repeated(struct log *log, enum log_level level, const char *event);
void log_slice(struct log_line *line, const char *key, struct slice value);
void log_text(struct log_line *line, const char *key, const char *value);
void log_u64(struct log_line *line, const char *key, uint64_t value);
/* The keys id and of also say what the line is about: a message, and the one that it came from. */
void log_qid(struct log_line *line, const char *key, struct qid id);
/* The client's address and the session's number, as client and session; what the line is about. */
void log_client(struct log_line *line, const struct netaddr *client);
void log_session(struct log_line *line, uint64_t session);
void log_err(struct log_line *line, const char *key, mx_err err);
void log_end(struct log *log, struct log_line *line);

/* Consumer's side: renders the next waiting line, newline-terminated, into w (LOG_TEXT_BYTES
 * suffice). False when none is waiting. */
bool log_take_as(struct log *log, const struct log_style *style, struct writer *w);
/* The same as key=value. */
bool log_take(struct log *log, struct writer *w);
/* The waiting lines' renderer; fields are those of a line that is complete. core as in struct log.
 */
void log_render(struct writer *w, const struct log_style *style, int core,
                const struct log_line *line);
