/* Delivery status notifications: one for all that came of one activation of a message. Outcomes
 * that a sender is to be told are noted; the report is built when the message leaves memory, queued
 * like any message, and committed in one record with the marks that it reports, so that no crash
 * can lose or repeat one.
 *
 * Until then a final outcome stays open (rcpt_state.report): what is known of it is in the state
 * and in the text of its mark, so after a crash, or without memory, the report is made up from
 * these. */
#pragma once

#include "smtp/deliver.h"
#include "smtp/dsn.h"

enum {
    /* A next hop that takes longer than this gets a report of its own. */
    BOUNCE_WAIT_MS = 10 * 60 * 1000,
    /* Memory of reports that are not durable yet, per core, beside the last one: where the disk is
     * full, more of them are made later. */
    BOUNCE_BYTES_MAX = 16 * 1024 * 1024,
};

struct bounce_item {
    uint32_t rcpt; /* index in the envelope */
    enum dsn_action action;
    struct outcome outcome; /* text valid until the message leaves memory; so is remote */
    uint8_t notices; /* delayed: how many of such DSNs this one stands for, with earlier ones */
    int64_t retry_until_ms; /* delayed: when it is given up; 0: not known */
    int64_t attempted_ms;   /* 0: not known */
    struct slice remote;
    bool written; /* that it is open is in the journal already */
};

/* True when this recipient's outcome is to be reported: the sender is not null, NOTIFY asks for it.
 * action -1: nothing to report. */
bool bounce_wanted(const struct active *active, uint32_t rcpt, int action);
/* An outcome for the report. A final one is open from here on. */
void bounce_note(struct active *active, const struct bounce_item *item);
/* The same for a final outcome that an earlier activation, or process, did not report. */
void bounce_note_open(struct active *active, uint32_t rcpt);
/* Queues one DSN for all that was noted, if anything was. The marks of these recipients travel with
 * it; when the spool cannot take it now it is tried again until it can. */
void bounce_send(struct active *active);
