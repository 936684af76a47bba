#include "core/trace.h"

#include "core/check.h"
#include "core/log_field.h"
#include "core/text.h"

#include <stdlib.h>

_Static_assert(sizeof(struct trace_record) == TRACE_RECORD_BYTES, "records have no holes");

/* --- memory ------------------------------------------------------------------------------------
 */

/* The newest of the old ring, under their numbers. */
static void ring_move(struct trace_ring *to, const struct trace_ring *from)
{
    uint64_t kept = from->next - trace_oldest(from);
    kept = kept < to->max ? kept : to->max;
    kept = kept < TRACE_MOVED_MAX ? kept : TRACE_MOVED_MAX;
    to->next = from->next;
    to->first = from->next - kept;
    for (uint64_t i = to->first; i < from->next; i++) {
        to->records[i % to->max] = *trace_get(from, i);
    }
}

/* Places for so many records; calloc leaves the pages untouched until they are used. */
static mx_err ring_init(struct trace_ring *ring, uint64_t places)
{
    *ring = (struct trace_ring){.max = places};
    if (places == 0) {
        return MX_OK;
    }
    ring->records = calloc(places, sizeof *ring->records);
    return ring->records == NULL ? MX_ERR_NOMEM : MX_OK;
}

mx_err trace_prepare(struct trace *next, size_t bytes)
{
    uint64_t places = bytes / sizeof(struct trace_record);
    uint64_t sessions = places / TRACE_SESSIONS_SHARE;
    trace_fini(next);
    mx_err err = ring_init(&next->messages, places - sessions);
    err = err ? err : ring_init(&next->sessions, sessions);
    if (err) {
        trace_fini(next);
    }
    return err;
}

void trace_switch(struct trace *trace, struct trace *next)
{
    ring_move(&next->messages, &trace->messages);
    ring_move(&next->sessions, &trace->sessions);
    trace_fini(trace);
    *trace = *next;
    *next = (struct trace){0};
}

void trace_fini(struct trace *trace)
{
    free(trace->messages.records);
    free(trace->sessions.records);
    *trace = (struct trace){0};
}

/* --- records -----------------------------------------------------------------------------------
 */

/* Whole fields while they fit; of the first text that does not, what fits. */
static uint16_t fields_fit(uint8_t *to, size_t room, const uint8_t *fields, size_t len)
{
    size_t at = 0;
    while (at < len) {
        struct log_field field;
        memcpy(&field, fields + at, sizeof field);
        size_t head = sizeof field + field.key_len;
        size_t all = head + field.len;
        if (at + all > room) {
            if (field.kind != LOG_FIELD_NUMBER && at + head < room) {
                field.kind = LOG_FIELD_CUT;
                field.len = (uint16_t)(room - at - head);
                memcpy(to + at, &field, sizeof field);
                memcpy(to + at + sizeof field, fields + at + sizeof field,
                       field.key_len + (size_t)field.len);
                at = room;
            }
            break;
        }
        memcpy(to + at, fields + at, all);
        at += all;
    }
    return (uint16_t)at;
}

void trace_add(struct trace *trace, const struct log_line *line)
{
    const struct log_subject *subject = &line->subject;
    bool about_message = !qid_none(subject->id);
    struct trace_ring *ring = about_message ? &trace->messages : &trace->sessions;
    bool about_session = subject->session != 0 || subject->client.family != 0;
    if (ring->max == 0 || (!about_message && !about_session)) {
        return;
    }
    struct trace_record *record = &ring->records[ring->next++ % ring->max];
    record->wall_ms = line->wall_ms;
    record->event = line->event;
    record->subject = *subject;
    record->len = fields_fit(record->fields, sizeof record->fields, line->fields, line->len);
}

bool trace_has_text(const struct trace_record *record, const char *const *keys, size_t key_count,
                    struct slice text)
{
    for (size_t at = 0; at < record->len;) {
        struct log_field field;
        memcpy(&field, record->fields + at, sizeof field);
        struct slice key = slice_of(record->fields + at + sizeof field, field.key_len);
        struct slice value = slice_of(key.ptr + key.len, field.len);
        for (size_t i = 0; field.kind == LOG_FIELD_TEXT && i < key_count; i++) {
            if (slice_equal(key, slice_of_text(keys[i])) && text_equal_nocase(value, text)) {
                return true;
            }
        }
        at += sizeof field + field.key_len + field.len;
    }
    return false;
}

void trace_line(const struct trace_record *record, struct log_line *out_line)
{
    out_line->wall_ms = record->wall_ms;
    out_line->event = record->event;
    out_line->subject = record->subject;
    out_line->level = LOG_INFO;
    out_line->len = record->len;
    memcpy(out_line->fields, record->fields, record->len);
}
