#include "tests/sim/operator.h"

#include "tests/sim/limits.h"
#include "tests/sim/oracle.h"
#include "tests/sim/sim.h"

#include <stdlib.h>

enum { LOOKS = 6, STEER_AGAIN_MS = 500 };

/* What is asked for, by number of the change. */
static struct asked {
    struct mail *mail;
    enum deliver_change_kind kind;
} asked[LOOKS];

/* NULL: a report, or nobody knows which one. */
static struct mail *mail_of(struct queue_cores *queue, uint64_t id)
{
    struct queue_detail detail;
    struct envelope env;
    struct mail *mail = NULL;
    if (queue_cores_read(queue, id, &detail)) {
        return NULL;
    }
    struct envelope_rcpt *rcpts =
        detail.envelope != NULL ? calloc(detail.rcpt_count, sizeof *rcpts) : NULL;
    if (rcpts != NULL &&
        envelope_decode(&env, rcpts, detail.rcpt_count,
                        slice_of(detail.envelope, detail.envelope_bytes)) == MX_OK) {
        mail = oracle_from(env.sender);
    }
    free(rcpts);
    queue_detail_free(&detail);
    return mail;
}

static void collect(struct queue_cores *queue, uint64_t id, struct mail *mail,
                    enum deliver_change_kind kind)
{
    struct deliver_change change = {.kind = kind, .rcpt = CHANGE_ALL};
    size_t number;
    if (queue_cores_change(queue, &number, id, &change, SLICE_EMPTY) == MX_OK) {
        asked[number] = (struct asked){mail, kind};
        if (mail != NULL) {
            oracle_asked(mail, kind);
        }
    }
}

static void settled(void *arg, size_t number, mx_err err)
{
    (void)arg;
    const struct asked *a = &asked[number];
    if (!err && a->mail != NULL) {
        sim_say("message %u: change %d is answered", a->mail->id, (int)a->kind);
        oracle_changed(a->mail, a->kind);
    }
}

void operator_pause(struct queue_cores *queue)
{
    struct deliver_pause pause = {.all = false};
    if (sim_chance(2)) {
        pause.queues = (struct queue_names){.count = 1, .names = {LIMITS_QUEUE}};
    }
    limits_pause(false);
    if (queue_cores_pause(queue, &pause, "operator") == MX_OK) {
        limits_pause(pause.queues.count > 0);
        sim_say("the virtual queue %s", pause.queues.count > 0 ? "rests" : "goes on");
    }
}

static bool resume(struct queue_cores *queue)
{
    limits_pause(false);
    return queue_cores_pause(queue, &(struct deliver_pause){.all = false}, "operator") == MX_OK;
}

void operator_steer(struct queue_cores *queue)
{
    static const enum deliver_change_kind kinds[] = {CHANGE_HOLD,   CHANGE_HOLD,    CHANGE_RELEASE,
                                                     CHANGE_CANCEL, CHANGE_GIVE_UP, CHANGE_RETRY,
                                                     CHANGE_EXPIRE};
    struct queue_question question = {.window = LOOKS};
    struct queue_key keys[LOOKS];
    struct queue_found found;
    queue_filter_init(&question.filter);
    if (queue_cores_find(queue, &question, &found)) {
        return;
    }
    size_t count = found.count;
    memcpy(keys, found.keys, count * sizeof *keys);
    for (size_t i = 0; i < count; i++) {
        enum deliver_change_kind kind = kinds[sim_below(mx_countof(kinds))];
        struct mail *mail = mail_of(queue, keys[i].id);
        if (mail != NULL && kind != CHANGE_EXPIRE) {
            collect(queue, keys[i].id, mail, kind);
        } else if (mail != NULL) {
            struct deliver_change never = {
                .kind = kind, .rcpt = CHANGE_ALL, .at_ms = sim.wall_ms + (INT64_C(1) << 40)};
            size_t number;
            if (queue_cores_change(queue, &number, keys[i].id, &never, SLICE_EMPTY) == MX_OK) {
                asked[number] = (struct asked){mail, kind};
            }
        }
    }
    queue_cores_settle(queue, "operator", settled, NULL);
}

bool operator_release_all(struct queue_cores *queue, const bool *stop)
{
    for (;;) {
        struct queue_question question = {.window = LOOKS};
        struct queue_key keys[LOOKS];
        struct queue_found found;
        queue_filter_init(&question.filter);
        question.filter.status = QUEUE_HELD;
        if (*stop) {
            return false;
        }
        if (resume(queue) && queue_cores_find(queue, &question, &found) == MX_OK) {
            size_t count = found.count;
            memcpy(keys, found.keys, count * sizeof *keys);
            for (size_t i = 0; i < count; i++) {
                collect(queue, keys[i].id, mail_of(queue, keys[i].id), CHANGE_RELEASE);
            }
            queue_cores_settle(queue, "operator", settled, NULL);
            if (count == 0) {
                return true;
            }
        }
        fiber_wait(sim.now_ns + STEER_AGAIN_MS * MX_NS_PER_MS, stop);
    }
}
