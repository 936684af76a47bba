/* Looking for what a core's trace (core/trace) tells of a message, an address or a client. First
 * which messages and sessions are meant, the newest first; then all that is kept of those. A piece
 * at a time, while records come in and the oldest go. */
#pragma once

#include "core/trace.h"

enum {
    TRACE_LOOKS_MAX = 2048,    /* records looked at in a piece */
    TRACE_SUBJECTS_MAX = 256,  /* messages, and as many sessions, that are told of */
    TRACE_SUBJECT_SLOTS = 512, /* of a table of them */
    TRACE_FOUND_MAX = 2000,    /* records per core */
};

/* One of the three. */
struct trace_query {
    struct qid id;        /* of a message, or of the one it came from */
    struct slice address; /* sender, recipient, or what was refused */
    struct netmask client;
};

struct trace_subjects {
    struct qid ids[TRACE_SUBJECT_SLOTS]; /* open addressing; sequence 0: free */
    uint64_t sessions[TRACE_SUBJECT_SLOTS];
    size_t id_count, session_count;
};

/* Begins with everything zero but query and found. */
struct trace_search {
    const struct trace_query *query; /* only read */
    struct trace_record *found;      /* the caller's, TRACE_FOUND_MAX; filled from its end: the
                                        newest of each ring last */
    size_t count;
    bool more;         /* there is more than fitted, older */
    int64_t oldest_ms; /* of what was kept of messages; 0: nothing */
    /* private */
    unsigned pass; /* which ring and what for */
    bool passing;  /* at is set */
    uint64_t at;   /* the number after the next one to be looked at */
    struct trace_subjects subjects;
};

/* True: the search is over. */
bool trace_search_piece(struct trace_search *search, const struct trace *trace);
