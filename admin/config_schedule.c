/* MtaVirtualQueue, MtaDeliverySchedule and the expression that chooses among them, as part of the
 * image. */
#include "admin/config_private.h"
#include "admin/object_id.h"
#include "core/check.h"
#include "core/text.h"

#include <stdlib.h>

struct queue_list {
    struct builder *b;
    struct queue_conf *queues;
    uint64_t *ids; /* of their objects */
    uint32_t count;
    struct schedule *schedules;
    uint32_t schedule_count;
};

static mx_err add_queue(void *arg, uint64_t id, json_t *object)
{
    struct queue_list *list = arg;
    if (list->count == IMAGE_QUEUES_MAX) {
        return builder_fail(list->b, MX_ERR_LIMIT, "there are more than %d virtual queues",
                            IMAGE_QUEUES_MAX);
    }
    struct queue_conf *queue = &list->queues[list->count];
    queue->workers = (uint32_t)json_integer_value(json_object_get(object, "threadsPerNode"));
    list->ids[list->count++] = id;
    return arena_copy(&queue->name, list->b->arena, config_text(object, "name"));
}

/* The list is normal: "0", "1", ... */
static uint32_t intervals_of(uint64_t *out_ms, const json_t *choice)
{
    const json_t *list = json_object_get(choice, "intervals");
    char key[16];
    uint32_t count = 0;
    for (; count < json_object_size(list); count++) {
        MX_ASSERT(count < SCHEDULE_STEPS_MAX);
        struct writer w = writer_init(key, sizeof(key) - 1);
        put_decimal(&w, count);
        key[w.len] = 0;
        const json_t *item = json_object_get(list, key);
        out_ms[count] = (uint64_t)json_integer_value(json_object_get(item, "duration"));
    }
    return count;
}

static int compare_ms(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

static void read_times(struct schedule *schedule, const json_t *object)
{
    uint64_t retry_ms[SCHEDULE_STEPS_MAX], notify_ms[SCHEDULE_STEPS_MAX];
    uint32_t retries = intervals_of(retry_ms, json_object_get(object, "retry"));
    uint32_t notices = intervals_of(notify_ms, json_object_get(object, "notify"));
    const json_t *expiry = json_object_get(object, "expiry");
    schedule_default(schedule);
    if (retries > 0) {
        schedule->retry_count = retries;
        memcpy(schedule->retry_ms, retry_ms, retries * sizeof(retry_ms[0]));
    }
    if (notices > 0) {
        schedule->notify_count = notices;
        memcpy(schedule->notify_ms, notify_ms, notices * sizeof(notify_ms[0]));
        qsort(schedule->notify_ms, notices, sizeof(notify_ms[0]), compare_ms);
    }
    schedule->attempts_max = (uint32_t)json_integer_value(json_object_get(expiry, "maxAttempts"));
    schedule->expire_ms = (uint64_t)json_integer_value(json_object_get(expiry, "expire"));
}

static mx_err add_schedule(void *arg, uint64_t id, json_t *object)
{
    struct queue_list *list = arg;
    uint64_t queue_id = 0;
    (void)id;
    if (list->schedule_count == IMAGE_SCHEDULES_MAX) {
        return builder_fail(list->b, MX_ERR_LIMIT, "there are more than %d schedules",
                            IMAGE_SCHEDULES_MAX);
    }
    struct schedule *schedule = &list->schedules[list->schedule_count++];
    read_times(schedule, object);
    mx_err err = object_id_parse(&queue_id, config_text(object, "queueId"));
    MX_ASSERT(err == MX_OK);
    while (schedule->queue < list->count && list->ids[schedule->queue] != queue_id) {
        schedule->queue++;
    }
    if (schedule->queue == list->count) {
        return builder_fail(list->b, MX_ERR_NOTFOUND,
                            "field queueId: there is no such MtaVirtualQueue");
    }
    return arena_copy(&schedule->name, list->b->arena, config_text(object, "name"));
}

mx_err build_schedules(struct builder *b)
{
    uint64_t ids[IMAGE_QUEUES_MAX];
    struct queue_list list = {.b = b, .ids = ids};
    list.queues = arena_take(b->arena, IMAGE_QUEUES_MAX * sizeof(*list.queues));
    list.schedules = arena_take(b->arena, IMAGE_SCHEDULES_MAX * sizeof(*list.schedules));
    if (!list.queues || !list.schedules) {
        return builder_fail(b, MX_ERR_NOMEM, "%s", err_text(MX_ERR_NOMEM));
    }
    mx_err err = builder_each(b, "MtaVirtualQueue", add_queue, &list);
    err = err ? err : builder_each(b, "MtaDeliverySchedule", add_schedule, &list);
    b->config->image.queues = list.queues;
    b->config->image.queue_count = list.count;
    b->config->image.schedules = list.schedules;
    b->config->image.schedule_count = list.schedule_count;
    return err;
}

struct name_search {
    const struct image *image;
    struct slice missing;
};

static void check_name(void *arg, struct slice name)
{
    struct name_search *search = arg;
    if (!search->missing.ptr && !image_schedule(search->image, name)) {
        search->missing = name;
    }
}

mx_err build_schedule_program(struct builder *b, const json_t *strategy)
{
    mx_err err = builder_compile(b, &b->programs->schedule, strategy, "schedule", EXPR_QRCPT);
    if (err) {
        return err;
    }
    if (expr_changes(b->programs->schedule)) {
        return builder_fail(b, MX_ERR_INVALID,
                            "field schedule: is worked out more often than once for each attempt, "
                            "so it cannot change keys or counters");
    }
    struct name_search search = {.image = &b->config->image};
    if (!expr_literal_results(b->programs->schedule, check_name, &search)) {
        return builder_fail(
            b, MX_ERR_INVALID,
            "field schedule: every result must be the name of an MtaDeliverySchedule in quotes");
    }
    if (search.missing.ptr) {
        return builder_fail(b, MX_ERR_NOTFOUND,
                            "field schedule: names the schedule '%.*s', which does not exist",
                            SLICE_ARGS(search.missing));
    }
    b->config->image.schedule_program = b->programs->schedule;
    return MX_OK;
}
