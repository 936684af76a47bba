/* What the verbs of `queue` share. */
#pragma once

#include "tools/cli/cli.h"

#define QUEUE_OBJECT "x:QueuedMessage"

/* Of JSON: a member's text, or "". */
const char *queue_text(const json_t *object, const char *name);
/* The options that choose messages, as a filter of the API; with `action` as fields of
 * Action/ChangeMtaQueue. A new reference, NULL after a failure. */
json_t *queue_filter_json(struct cli *cli, bool action);
/* The API's id of a message that is named by it or by its queue id, a new reference. */
json_t *queue_id_json(struct cli *cli, const char *typed);
/* "2h", "30m", "7d" (from now on, or with `ago` back), or a date, as a date; NULL after a failure.
 */
json_t *queue_date_json(const char *option, const char *text, bool ago);
/* A GET with a JSON object as its answer; NULL after a failure. */
json_t *queue_get_json(struct cli *cli, const char *path);

bool queue_list(struct cli *cli);
bool queue_show(struct cli *cli);
bool queue_content(struct cli *cli);
bool queue_shape(struct cli *cli);
bool queue_change(struct cli *cli, const char *operation);
bool queue_pause(struct cli *cli, bool pause);
