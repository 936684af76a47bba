/* Limits of the queue that some runs have in all configurations: a quota, a rate of what leaves,
 * and a virtual queue of one worker for all cores. */
#pragma once

#include "route/image.h"

struct deliver;

enum { LIMITS_QUEUED = 6, LIMITS_WORKERS = 1 };
#define LIMITS_QUEUE "all"

/* A new run begins, with limits or without. */
void limits_reset(bool some);
bool limits_set(void);
void limits_image(struct image *image);
/* All cores have answered that the queue is paused; false: it goes on, or a new life begins. */
void limits_pause(bool yes);
/* So many deliveries of it are under way on all cores. False: one has begun although it is paused.
 */
bool limits_rest(uint32_t busy);
/* Workers of a core that are busy with the queue of these images. */
uint32_t limits_busy(const struct deliver *d);
