/* Delivery schedules that some runs have in all configurations: by domain, with other waits, delay
 * reports and ends, by time and by attempts; in two versions, of which the slow one takes twice as
 * long. */
#pragma once

#include "route/image.h"

/* A new run begins, with schedules or without. asks: which one it is depends on the DNS, which has
 * to answer then: without, the default schedule of days would follow. */
void schedules_reset(bool some, bool asks);
bool schedules_set(void);
bool schedules_ask(void);
/* Its program is the image's (expr_free). */
MX_MUST_CHECK mx_err schedules_image(struct image *image, bool slow);

/* What holds in both versions, of a recipient with this address: at the earliest, as age. */
uint64_t schedules_end_ns(const char *address);
uint64_t schedules_notify_ns(const char *address, unsigned n); /* 0: no n-th delay report */
/* ... and at the latest, in the versions that there were. */
uint64_t schedules_notify_last_ns(const char *address, unsigned n);
/* The n-th wait (from 0) between two attempts: at the least, or at the most. */
uint64_t schedules_wait_ns(const char *address, unsigned n, bool least);
/* No attempt is made at a greater age; 0: attempts are what counts. */
uint64_t schedules_last_ns(const char *address);
