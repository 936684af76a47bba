/* What happened to messages and sessions, as JSON. */
#pragma once

#include "admin/queue_cores.h"

#include <jansson.h>

/* {"records": [{"time", "core", "event", and the keys of its log line}, ...], "more": BOOL,
 * "since": TIME or null}, a new reference; errors as queue_cores_trace. since: how far back all
 * cores know of messages. */
MX_MUST_CHECK mx_err api_trace_read(struct queue_cores *queue, const struct trace_query *query,
                                    json_t **out_trace);
