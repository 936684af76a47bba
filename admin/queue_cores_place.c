/* Finding the key at a place of an order, as the 500,000th: the stretch that it lies in is cut into
 * parts, whose keys the cores count, until few are left. What comes and goes meanwhile may move the
 * place by as much. */
#include "admin/queue_cores_private.h"

/* A round leaves a 4,096th of the stretch: of 64 bits of times, then of numbers. */
enum { ROUNDS_MAX = 2 * 6 };

/* All keys of the question, and the part of them with the place, of which it is the *place-th. */
static mx_err begin(struct queue_cores *queue, const struct queue_question *question,
                    uint64_t until_ns, struct queue_stretch *out, uint64_t *out_count,
                    uint64_t *place, bool *out_unsure)
{
    struct queue_found found;
    struct queue_pass pass = {.question = question,
                              .from_given = question->from_given,
                              .from = question->from,
                              .count = true};
    mx_err err = queue_pass_run(queue, &pass, until_ns, &found);
    if (err) {
        return err;
    }
    *out_unsure = found.unsure;
    *out = (struct queue_stretch){.low = {.at_ms = INT64_MAX},
                                  .high = {.at_ms = INT64_MIN, .id = UINT64_MAX},
                                  .ascending = question->ascending};
    uint64_t never = 0;
    for (unsigned i = 0; i < queue->conf.cores; i++) {
        const struct queue_scan *scan = &queue->parts[i].request.scan;
        out->low.at_ms = scan->least_ms < out->low.at_ms ? scan->least_ms : out->low.at_ms;
        out->high.at_ms = scan->most_ms > out->high.at_ms ? scan->most_ms : out->high.at_ms;
        never += scan->never;
    }
    uint64_t timed = found.total - never, first = question->ascending ? timed : never;
    bool in_first = (*place += found.before) < first;
    *place -= in_first ? 0 : first;
    *out_count = in_first ? first : found.total - first;
    if (in_first != question->ascending) {
        out->low.at_ms = out->high.at_ms = QUEUE_NEVER_MS;
    }
    return MX_OK;
}

/* False: there are not so many keys any more. */
static mx_err narrow(struct queue_cores *queue, const struct queue_question *question,
                     uint64_t until_ns, struct queue_stretch *stretch, uint64_t *count,
                     uint64_t *place)
{
    struct queue_found found;
    struct queue_stretch whole = *stretch;
    struct queue_pass pass = {.question = question, .count = true, .stretch = &whole};
    mx_err err = queue_pass_run(queue, &pass, until_ns, &found);
    if (err) {
        return err;
    }
    struct queue_bins *sum = queue->parts[0].bins;
    for (unsigned i = 1; i < queue->conf.cores; i++) {
        for (size_t bin = 0; bin < QUEUE_BINS; bin++) {
            sum->counts[bin] += queue->parts[i].bins->counts[bin];
        }
    }
    if (!queue_bins_find(sum, stretch, count, place)) {
        *count = 0;
    }
    return MX_OK;
}

mx_err queue_cores_go_to(struct queue_cores *queue, struct queue_question *question,
                         uint64_t *place)
{
    uint64_t until_ns = queue_cores_deadline_ns(QUEUE_WAIT_MS), count, far = *place;
    struct queue_stretch stretch;
    bool unsure = false;
    mx_err err = queue_pass_begin(queue, question, until_ns);
    err = err ? err : begin(queue, question, until_ns, &stretch, &count, place, &unsure);
    if (unsure) {
        *place = far;
        return err;
    }
    for (unsigned i = 0; !err && count > QUEUE_NEAR_MAX && *place < count && i < ROUNDS_MAX; i++) {
        err = narrow(queue, question, until_ns, &stretch, &count, place);
    }
    if (err) {
        return err;
    }
    question->from_given = true;
    if (*place < count) {
        question->from = queue_stretch_first(&stretch);
    } else { /* behind the end */
        question->from = question->ascending
                             ? (struct queue_key){.at_ms = INT64_MAX, .id = UINT64_MAX}
                             : (struct queue_key){.at_ms = INT64_MIN};
        *place = 0;
    }
    return MX_OK;
}
