/* Shared by queue_cores.c (asking, finding, changing), queue_cores_show.c (content, shape) and
 * queue_cores_trace.c, queue_cores_place.c. */
#pragma once

#include "admin/queue_cores.h"

struct core_queue {
    struct queue_request request;
    bool waiting; /* for its answer */
    struct queue_key *keys;
    size_t keys_max;
    struct queue_bins *bins; /* NULL: nobody has asked for a far place yet */
    struct queue_change *changes[QUEUE_CHANGES_MAX];
};

struct queue_cores {
    struct queue_cores_conf conf;
    struct core_queue *parts;
    struct queue_filter filter; /* what the cores read; borrows from texts */
    uint8_t texts[6][QUEUE_TEXT_MAX];
    struct queue_key *merged, *kept; /* candidates; those that fit */
    size_t merged_max, kept_max;
    bool *fits; /* per candidate */
    size_t fits_max;
    struct queue_shape_row *rows;
    struct trace_record *traced; /* TRACE_FOUND_MAX per core */
    struct queue_trace_row *trace_rows;
    struct trace_query trace_query; /* what the cores read; borrows from texts */
    struct deliver_pause pause;
    struct queue_change changes[QUEUE_CHANGES_MAX];
    size_t change_count;
};

/* A pass over everything: the candidates from a place on, or how many keys lie where. */
struct queue_pass {
    const struct queue_question *question; /* queue->filter holds its filter */
    bool from_given, count;
    struct queue_key from;
    size_t window;
    struct queue_digest parts;
    const struct queue_stretch *stretch; /* NULL, or: the keys in it are counted in bins */
};
/* What a question begins with: the cores are ready, its filter is kept. MX_ERR_AGAIN. */
MX_MUST_CHECK mx_err queue_pass_begin(struct queue_cores *queue,
                                      const struct queue_question *question, uint64_t until_ns);
MX_MUST_CHECK mx_err queue_pass_run(struct queue_cores *queue, const struct queue_pass *pass,
                                    uint64_t until_ns, struct queue_found *found);

uint64_t queue_cores_deadline_ns(unsigned wait_ms);
/* What an earlier question left is over. MX_ERR_AGAIN: it is not. */
MX_MUST_CHECK mx_err queue_cores_ready(struct queue_cores *queue, uint64_t until_ns);
/* Asks all cores, which are ready, the same. */
MX_MUST_CHECK mx_err queue_cores_ask_all(struct queue_cores *queue, enum queue_op op,
                                         uint64_t until_ns);
/* The request for the core of a message; NULL: there is no such core. */
struct queue_request *queue_cores_request_for(struct queue_cores *queue, enum queue_op op,
                                              uint64_t id);
MX_MUST_CHECK mx_err queue_cores_ask_one(struct queue_cores *queue,
                                         const struct queue_request *request, uint64_t until_ns);
