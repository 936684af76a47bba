/* The type QueuedMessage: the queues of the cores as objects. get, query, update, destroy; never
 * created. And what is done to all messages that a filter finds. */
#pragma once

#include "admin/api.h"
#include "admin/queue_cores.h"

struct api_queue {
    struct queue_cores *queue; /* outlives it */
    /* Changes that are collected: of which object of the call, by number. */
    size_t objects;
    size_t object_of[QUEUE_CHANGES_MAX];
    /* Where the last page that was not counted ended. */
    struct {
        uint64_t question, id, position;
    } bookmark;
};

/* For api_conf.foreign; q outlives the api. */
struct api_foreign api_queue_type(struct api_queue *q);

/* An Action/ChangeMtaQueue in normal form: one bounded piece of the work. *out_shown: how many
 * messages were found, changed and refused, and `cursor` for the next piece, null at the end. */
enum { API_QUEUE_PIECE = 500 };
MX_MUST_CHECK mx_err api_queue_change(struct api_queue *q, const struct api_caller *caller,
                                      const json_t *body, json_t **out_shown,
                                      struct set_errors *errors);
/* A message's text (malloc'd); only its header lines. Errors as queue_cores_content. */
MX_MUST_CHECK mx_err api_queue_download(struct api_queue *q, uint64_t id, bool headers,
                                        uint8_t **out_text, size_t *out_len);
/* {"minutes": [...], "rows": [{"nextHop", "total", "held", "ages": [...]}], "others": {...}} */
MX_MUST_CHECK mx_err api_queue_shape(struct api_queue *q, json_t **out_shape);

/* --- for the parts -----------------------------------------------------------------------------
 */

struct slice api_queue_string(const json_t *value);
/* A date narrows a range. MX_ERR_SYNTAX. */
MX_MUST_CHECK mx_err api_queue_range(int64_t *min_ms, int64_t *max_ms, enum store_compare compare,
                                     const json_t *value);
/* "held" ...; 0: none of the words. */
unsigned api_queue_status(struct slice word);
/* The states of a message's recipients, and its addresses; false: the record is unreadable. rcpts
 * is malloc'd, NULL then. */
bool api_queue_envelope(const struct queue_detail *detail, struct envelope *env,
                        struct envelope_rcpt **out_rcpts);
mx_err api_queue_update(void *arg, const struct api_caller *caller, uint64_t id,
                        const json_t *patch, struct set_errors *errors);
mx_err api_queue_destroy(void *arg, const struct api_caller *caller, uint64_t id,
                         struct set_errors *errors);
void api_queue_begin(void *arg);
mx_err api_queue_settle(void *arg, const struct api_caller *caller, api_refused_fn refused,
                        void *refused_arg);
