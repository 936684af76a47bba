/* The type QueuedMessage: the queues of the cores as objects. get, query, update of nextRetry,
 * destroy; never created. */
#pragma once

#include "admin/api.h"
#include "admin/queue_cores.h"

/* For api_conf.foreign; queue outlives the api. */
struct api_foreign api_queue_type(struct queue_cores *queue);
