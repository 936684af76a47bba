#include "smtp/offence.h"

#include "core/check.h"
#include "io/shard.h"

static void flush(struct offences *o)
{
    uint32_t count = o->batches[o->filling].count;
    if (o->sent || count == 0 || (timer_armed(&o->pause) && count < OFFENCE_NOTES_MAX)) {
        return;
    }
    o->msg.receive = o->conf.receive;
    o->filling = 1 - o->filling;
    o->sent = true;
    if (mbox_send(o->conf.hub, o->conf.from, o->conf.to, &o->msg) != MX_OK) {
        o->filling = 1 - o->filling; /* with the next note */
        o->sent = false;
    }
    if (o->shard != NULL) {
        shard_after(o->shard, &o->pause, OFFENCE_PAUSE_MS * MX_NS_PER_MS);
    }
}

static void pause_over(struct timer *timer, uint64_t now_ns)
{
    (void)now_ns;
    flush(mx_container_of(timer, struct offences, pause));
}

static void on_back(struct mbox_msg *msg, struct shard *at)
{
    struct offences *o = mx_container_of(msg, struct offences, back);
    (void)at;
    o->batches[1 - o->filling].count = 0;
    o->sent = false;
    flush(o);
}

void offences_init(struct offences *o, const struct offence_conf *conf, struct shard *shard)
{
    *o = (struct offences){
        .conf = *conf, .back.receive = on_back, .shard = shard, .pause.fire = pause_over};
}

void offences_close(struct offences *o)
{
    if (o->shard != NULL) {
        wheel_cancel(&o->shard->wheel, &o->pause);
    }
}

void offences_note(struct offences *o, enum offence kind, const struct netaddr *client,
                   uint32_t count)
{
    struct offence_batch *batch = &o->batches[o->filling];
    if (o->conf.receive == NULL) {
        return;
    }
    for (uint32_t i = 0; i < batch->count; i++) {
        struct offence_note *note = &batch->notes[i];
        if (note->kind == kind && netaddr_equal(&note->client, client)) {
            note->count += count;
            return;
        }
    }
    if (batch->count < OFFENCE_NOTES_MAX) {
        batch->notes[batch->count++] = (struct offence_note){*client, kind, count};
    }
    flush(o);
}

const struct offence_batch *offences_sent(const struct offences *o)
{
    return &o->batches[1 - o->filling];
}

void offences_return(struct offences *o)
{
    mx_err err = mbox_send(o->conf.hub, o->conf.to, o->conf.from, &o->back);
    MX_ASSERT(err == MX_OK); /* one at a time */
}
