#include "smtp/tour.h"

#include "io/shard.h"

#include <stdlib.h>

static void again_fire(struct timer *timer, uint64_t now_ns);

void tours_open(struct tours *tours, struct shard *shard)
{
    *tours = (struct tours){.shard = shard, .cores = 1};
    if (shard->hub != NULL && shard->conf.count > 1) {
        tours->cores = shard->conf.count;
        tours->self = shard->conf.id;
    }
    list_init(&tours->waiting);
    tours->again.fire = again_fire;
}

static void drop_waiting(struct tours *tours)
{
    struct list_node *node;
    while ((node = list_pop_front(&tours->waiting)) != NULL) {
        free(mx_container_of(node, struct tour, node));
    }
}

void tours_stop(struct tours *tours)
{
    tours->stopping = true;
    drop_waiting(tours);
}

void tours_close(struct tours *tours)
{
    if (tours->shard != NULL) {
        wheel_cancel(&tours->shard->wheel, &tours->again);
        drop_waiting(tours);
        *tours = (struct tours){0};
    }
}

static void receive(struct mbox_msg *msg, struct shard *at)
{
    struct tour *tour = mx_container_of(msg, struct tour, msg);
    if (at->service == NULL) {
        free(tour);
    } else {
        tour->arrive(tour, at);
    }
}

static void wait(struct tours *tours, struct tour *tour)
{
    list_push_back(&tours->waiting, &tour->node);
    if (!timer_armed(&tours->again)) {
        shard_after(tours->shard, &tours->again, TOUR_RETRY_MS * MX_NS_PER_MS);
    }
}

void tours_send(struct tours *tours, struct tour *tour, unsigned to)
{
    tour->to = to;
    tour->msg.receive = receive;
    if (tours->stopping) {
        free(tour);
    } else if (to == tours->self ||
               mbox_send(tours->shard->hub, tours->self, to, &tour->msg) != MX_OK) {
        wait(tours, tour);
    }
}

static void again_fire(struct timer *timer, uint64_t now_ns)
{
    (void)now_ns;
    struct tours *tours = mx_container_of(timer, struct tours, again);
    struct list now;
    struct list_node *node;
    list_init(&now);
    list_splice(&now, &tours->waiting);
    while ((node = list_pop_front(&now)) != NULL) {
        struct tour *tour = mx_container_of(node, struct tour, node);
        if (tour->to == tours->self) {
            tour->arrive(tour, tours->shard);
        } else {
            tours_send(tours, tour, tour->to);
        }
    }
}
