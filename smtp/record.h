/* Payloads of the spool's journal records. Pure; little-endian; versioned. What an earlier program
 * would misread or not know needs a new JF_VERSION (io/journal_format.h).
 *
 * MESSAGE  head | charges | marks | recipient states | envelope | last part of the content
 *          A small message is one contiguous record. The content of a large one lies in EXTENT
 *          records; the MESSAGE record then holds what is left and makes the message exist.
 *          Charges: keys of the queue quotas that it counts under (smtp/quota.h).
 *          Marks: outcomes of another message that become true with this record (a DSN and what it
 *          reports are one record); about the message itself: texts of its states.
 *          States: present in a copy made by moving the message forward.
 * EXTENT   number, length and checksum, then content. Belongs to the MESSAGE of the same id.
 * OUTCOME  what happened to recipients of the message with the record's id.
 * HISTORY  number, then the attempts so far (smtp/history) of that message; the highest number
 * counts.
 */
#pragma once

#include "core/cursor.h"
#include "core/err.h"
#include "core/qid.h"

enum record_type { RECORD_MESSAGE = 1, RECORD_EXTENT = 2, RECORD_OUTCOME = 3, RECORD_HISTORY = 4 };

enum {
    RECORD_VERSION = 1,
    RECORD_VERSION_CHARGES = 2, /* a message with charges */
    RECORD_CHARGE_BYTES = 8,
    RECORD_CHARGES_MAX = 32000, /* beyond what smtp/quota has for a message; fits 16 bits */
    RECORD_MESSAGE_HEAD_BYTES = 64,
    RECORD_EXTENT_HEAD_BYTES = 16,
    RECORD_HISTORY_HEAD_BYTES = 4,
    RECORD_RCPT_BYTES = 16,     /* one recipient state, without text */
    RECORD_RCPT_BYTES_MAX = 24, /* ... with an expiry of its own */
    RECORD_TEXT_MAX = 200,      /* reason kept for the operator */
    RECORD_HOP_MAX = 255,       /* what the next hop is called, likewise */
    RECORD_QUEUE_MAX = 8,       /* ... and the virtual queue */
    RECORD_OUTCOME_BYTES_MAX = 1024,
    EXTENT_BYTES =
        256 * 1024, /* content per EXTENT record, and the most that a MESSAGE record holds */
    EXTENTS_MAX = 4096,
};

enum rcpt_status {
    RCPT_PENDING = 0,   /* to be tried at due_ms */
    RCPT_DELIVERED = 1, /* the next hop or the mailbox has it */
    RCPT_FAILED = 2,    /* given up; reported where that was wanted */
};

/* Of rcpt_state.flags; those without another word are set by an administrator. */
enum {
    RCPT_PUT_OFF = 1,     /* due_ms was set */
    RCPT_HELD = 2,        /* not tried and not given up until this is taken back */
    RCPT_EXPIRES = 4,     /* expires_ms holds, whatever the schedule says */
    RCPT_TLS_FAILED = 64, /* the last attempt failed for want of the TLS that it needed */
    RCPT_GIVE_UP = 8,     /* cancelled: becomes failed, with a report where one is wanted */
    RCPT_FOR_NOTICE = 16, /* due_ms is the time of a delay DSN alone */
    RCPT_EARLY = 32,      /* to be tried now, before due_ms: its next hop may be back */
    RCPT_THROTTLED = 128, /* due_ms is its turn, for a rate's sake */
};

/* State of one recipient, in memory and stored (without the last three). */
struct rcpt_state {
    uint8_t status;   /* enum rcpt_status */
    uint8_t attempts; /* stays at 255 */
    uint8_t notified; /* delay DSNs sent */
    uint8_t expanded; /* a list: buckets of members that have got their mail (route/list.h) */
    uint16_t code;    /* last SMTP reply code, 0 = none */
    uint8_t flags;    /* RCPT_PUT_OFF ... */
    uint8_t report; /* 0, or its final outcome is still to be reported: enum dsn_action + 1; due_ms
                       is when */
    int64_t due_ms; /* wall time of the next attempt */
    /* When it is given up; stored with RCPT_EXPIRES only, else what the schedule said last: 0 = not
     * known, RCPT_BY_ATTEMPTS. */
    int64_t expires_ms;
    uint32_t reply; /* last reply or reason (smtp/texts), 0 = not known */
    uint32_t hop;   /* next hop of the last attempt (smtp/texts), 0 = not known */
    uint32_t queue; /* virtual queue of its schedule then, or before the first, likewise */
};

#define RCPT_BY_ATTEMPTS INT64_MAX

/* Something is still to be done for it: an attempt, or a report. The message stays. */
static inline bool rcpt_open(const struct rcpt_state *state)
{
    return state->status == RCPT_PENDING || state->report != 0;
}

/* It waits for an attempt. */
static inline bool rcpt_waits(const struct rcpt_state *state)
{
    return state->status == RCPT_PENDING && !(state->flags & RCPT_HELD);
}

/* It has been put off, so there is a reason. */
static inline bool rcpt_is_deferred(const struct rcpt_state *state)
{
    return state->attempts > 0 || state->reply != 0 || (state->flags & RCPT_THROTTLED) != 0;
}

struct record_message {
    uint32_t rcpt_count;
    uint32_t envelope_bytes;
    uint32_t inline_bytes; /* content in this record */
    uint32_t extent_count;
    uint64_t body_bytes; /* whole content */
    int64_t arrived_ms;
    bool has_states;
    uint32_t states_bytes; /* encoded size of the states; 0: RECORD_RCPT_BYTES for each */
    uint32_t mark_count;
    uint32_t marks_bytes; /* encoded size of the marks section */
    struct qid marks_of;  /* when mark_count > 0 */
    uint32_t charge_count;
};

/* How many of a record's first bytes recovery needs (journal_ops.indexed). */
uint32_t record_indexed_bytes(uint8_t type, struct slice payload);

/* Head and all sections before the envelope: what recovery needs. */
size_t record_message_prefix_bytes(const struct record_message *m);
size_t record_message_bytes(const struct record_message *m);
void record_message_head_put(struct writer *w, const struct record_message *m);
MX_MUST_CHECK mx_err record_message_head_get(struct record_message *out_m, struct slice payload);

size_t record_rcpt_bytes(const struct rcpt_state *state);
void record_rcpt_put(struct writer *w, const struct rcpt_state *state);
void record_rcpt_get(struct rcpt_state *out_state, struct reader *r);

struct record_extent {
    uint32_t number; /* 0, 1, 2 ... */
    uint32_t len;
    uint64_t checksum; /* hash_checksum of the content */
};
void record_extent_put(struct writer *w, const struct record_extent *e);
MX_MUST_CHECK mx_err record_extent_get(struct record_extent *out_e, struct slice payload);

/* One recipient in an OUTCOME record or in a MESSAGE's marks. */
struct record_outcome {
    uint32_t rcpt;
    struct rcpt_state state;
    struct slice text; /* borrowed; cut at RECORD_TEXT_MAX and at a NUL */
    /* Borrowed; cut at RECORD_HOP_MAX and RECORD_QUEUE_MAX. Stored behind the text, each behind a
     * NUL, so that who does not know them reads on; empty: not said. */
    struct slice hop, queue;
};
size_t record_outcome_bytes(const struct record_outcome *o);
void record_outcome_put(struct writer *w, const struct record_outcome *o);
MX_MUST_CHECK mx_err record_outcome_get(struct record_outcome *out_o, struct reader *r);
