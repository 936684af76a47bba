/* Deliveries of one hop into Maildir folders, in batches on the worker threads. */
#pragma once

#include "smtp/deliver.h"

/* Starts as many batches as there are workers to take them. */
void local_run(struct hop *hop);
