/* Rates of what comes in, and replies to errors that wait: those that some runs have in all
 * configurations, and what clients saw of them. Counters live as long as a process, so no more may
 * be accepted than each life had at once and what came back meanwhile, however the configuration
 * changes. */
#pragma once

#include "route/image.h"

enum { RATES_NETWORK = 2 /* connections of one */ };

/* A new run begins, with rates or without. */
void rates_reset(bool some);
void rates_image(struct image *image);
/* A process starts. */
void rates_life(void);
/* A client got a banner; a message got its first recipient in this domain accepted. */
void rates_session(void);
void rates_domain(const char *name);
/* A connection was answered 421 at once, or a recipient 452. */
void rates_over(void);
/* A client's command was refused so long after it was sent: such replies wait, unless places for
 * parked input are short. */
void rates_error(uint64_t took_ns);
/* Of all runs with rates. */
extern unsigned long long rates_refused, rates_errors;
