#include "smtp/deliver_ask.h"

#include "core/check.h"
#include "smtp/deliver_private.h"
#include "smtp/keys.h"

/* Names that one recipient may ask about. */
enum { ASKED_BY_ONE = DNS_ANSWERS_SESSION_MAX };

static void go_on(struct active *active)
{
    list_remove(&active->asking_node);
    active_dispatch(active);
    active_release(active);
}

static void answered(void *arg)
{
    struct active *active = arg;
    if (list_linked(&active->asking_node)) {
        go_on(active);
    }
}

static struct dns_answers *answers_of(void *arg)
{
    struct active *active = arg;
    if (active->answers == NULL) {
        active->answers = dns_answers_new(active->deliver->conf.dns, active->deliver->conf.keys,
                                          DNS_ANSWERS_MESSAGE_MAX, answered, active);
    }
    return active->answers;
}

void deliver_asker(struct expr_asker *out, struct active *active)
{
    *out = (struct expr_asker){.answers = answers_of, .arg = active};
}

/* Waits for what this recipient's expressions ask. */
static bool is_known(struct active *active, uint32_t i)
{
    struct deliver *d = active->deliver;
    struct expr_asker asker;
    struct routing routing;
    deliver_asker(&asker, active);
    struct routing_context ctx = {.image = d->image,
                                  .directory = d->directory,
                                  .vm = d->vm,
                                  .now_ms = d->shard->wall_ms,
                                  .state = &active->msg->rcpts[i],
                                  .schedule = &d->conf.schedule,
                                  .asker = &asker};
    routing_find(&routing, &ctx, active->txn->rcpts[i].address, &active->txn->env);
    return !routing.waits;
}

bool deliver_may_ask(const struct deliver *d)
{
    return !d->image->routing_asks || d->conf.keys == NULL ||
           !answer_memory_is_low(&d->conf.keys->answers);
}

bool deliver_routes_known(struct active *active, uint32_t *out_end)
{
    struct deliver *d = active->deliver;
    uint32_t i = 0;
    *out_end = active->msg->rcpt_count;
    if (!d->image->routing_asks) {
        return true;
    }
    if (active->answers == NULL && !deliver_may_ask(d)) {
        *out_end = 0; /* many have been read at once: as soon as it may */
        return true;
    }
    if (!dns_has_room(d->conf.dns)) {
        active->no_room = true; /* again in a while: it is not the recipients' fault */
        *out_end = 0;
        return true;
    }
    for (; i < active->msg->rcpt_count; i++) {
        if (!deliver_is_due(d, &active->msg->rcpts[i])) {
            continue;
        }
        if (i > 0 && active->answers != NULL && dns_answers_left(active->answers) < ASKED_BY_ONE) {
            break;
        }
        if (!is_known(active, i)) {
            active->deliveries++; /* until go_on */
            list_push_back(&d->asking, &active->asking_node);
            return false;
        }
    }
    *out_end = i;
    return true;
}

void deliver_stop_asking(struct deliver *d)
{
    MX_ASSERT(d->stopping);
    struct list_node *node;
    while ((node = list_first(&d->asking)) != NULL && !list_empty(&d->asking)) {
        struct active *active = mx_container_of(node, struct active, asking_node);
        dns_answers_close(active->answers);
        go_on(active);
    }
}

void deliver_forget_answers(struct active *active)
{
    dns_answers_free(active->answers);
    active->answers = NULL;
}
