/* An administrator of the queue: holds, releases and cancels messages over the real
 * admin/queue_cores and the cores' smtp/queue_view, and tells the oracle what was answered. Runs in
 * the manager's worker. */
#pragma once

#include "admin/queue_cores.h"

/* One look at the queue: some of its messages are held, released, cancelled or given up. */
void operator_steer(struct queue_cores *queue);
/* Pauses the virtual queue of runs with limits, or lets it go on. */
void operator_pause(struct queue_cores *queue);
/* Nothing is paused any more; releases what is held, until nothing is. False: the cores do not
 * answer, or *stop was set. */
bool operator_release_all(struct queue_cores *queue, const bool *stop);
