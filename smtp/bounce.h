/* Delivery status notifications of one delivery: built, queued like any message, and committed in
 * one record with the marks that they report, so that no crash can lose or repeat one. */
#pragma once

#include "smtp/deliver.h"
#include "smtp/dsn.h"

struct bounce_item {
    uint32_t rcpt; /* index in the envelope */
    enum dsn_action action;
    struct outcome outcome; /* text valid during the call */
    uint8_t notices; /* delayed: how many of such DSNs this one stands for, with earlier ones */
    int64_t retry_until_ms; /* delayed: when it is given up; 0: not known */
    struct slice remote;
};

/* True when this recipient's outcome is to be reported: the sender is not null, NOTIFY asks for it.
 * action -1: nothing to report. */
bool bounce_wanted(const struct active *active, uint32_t rcpt, int action);
/* Queues one DSN for the items. The marks of these recipients travel with it; when the spool cannot
 * take it now it is tried again until it can. */
void bounce_send(struct active *active, const struct bounce_item *items, uint32_t count);
