/* What happened to messages and sessions, of one core: the newest log lines that are about one, in
 * records of fixed size, whatever the log's level is and whether or not a line found room there.
 *
 * Sessions have a ring of their own, a quarter of the memory: refusing a flood of them does not
 * push out what happened to mail. Records are numbered from 0 for ever; the newest `max` are kept.
 */
#pragma once

#include "core/log.h"

enum {
    TRACE_RECORD_BYTES = 384,
    TRACE_SESSIONS_SHARE = 4, /* one in so many bytes is for sessions */
    TRACE_MOVED_MAX = 8192,   /* records that another size keeps: so many are moved in one turn */
};

struct trace_record {
    int64_t wall_ms;
    const char *event;
    struct log_subject subject;
    uint16_t len;
    uint8_t fields[TRACE_RECORD_BYTES - 2 * 8 - sizeof(struct log_subject) - 2 - 6];
};

struct trace_ring {
    struct trace_record *records; /* NULL: none is kept */
    uint64_t max;                 /* places */
    uint64_t next;                /* number of the next record */
    uint64_t first;               /* numbers below it were not moved here */
};

struct trace {
    struct trace_ring messages, sessions;
};

/* Takes the memory of a trace of so many bytes in all (less than two records: of none) into *next,
 * which is zeroed or from an earlier call. */
MX_MUST_CHECK mx_err trace_prepare(struct trace *next, size_t bytes);
/* *trace becomes *next, with the newest records of both kinds, TRACE_MOVED_MAX each; *next is
 * zeroed. */
void trace_switch(struct trace *trace, struct trace *next);
void trace_fini(struct trace *trace);
/* Keeps what fits of a complete line with a subject; others are passed over. */
void trace_add(struct trace *trace, const struct log_line *line);

/* The oldest number that is kept, at most ring->next. */
static inline uint64_t trace_oldest(const struct trace_ring *ring)
{
    uint64_t fit = ring->next > ring->max ? ring->next - ring->max : 0;
    return fit > ring->first ? fit : ring->first;
}
/* A number from trace_oldest to before ring->next; valid until the next trace_add. */
static inline const struct trace_record *trace_get(const struct trace_ring *ring, uint64_t number)
{
    return &ring->records[number % ring->max];
}
/* Does a text under one of the record's keys equal it? ASCII letters regardless of case. */
bool trace_has_text(const struct trace_record *record, const char *const *keys, size_t key_count,
                    struct slice text);
/* The record as a log line, for log_render. */
void trace_line(const struct trace_record *record, struct log_line *out_line);
