/* Taking over what recovery found for one core, in bounded slices, so that mail latency does not
 * notice. A message is handed to spool_ops.recovered as soon as it is in the spool; when all are,
 * the journal may free and move their segments, and spool_ops.adopted is called. When memory is
 * short, it waits: what is not taken over yet stays on the disk. */
#pragma once

#include "smtp/spool.h"

enum {
    SPOOL_ADOPT_PER_TURN = 256,
    SPOOL_ADOPT_RETRY_MS = 1000,
    /* Of the pools, while adopting; the rest is for new mail. */
    SPOOL_ADOPT_PERCENT = 90,
};

/* Begins; the part stays until spool_ops.adopted or spool_close. Once. */
void spool_adopt(struct spool *spool, struct spool_part *part);
/* One slice; called by the spool's turn hook. */
void spool_adopt_step(struct spool *spool);
