#include "route/image.h"

const struct route_conf *image_route(const struct image *image, struct slice name)
{
    for (uint32_t i = 0; i < image->route_count; i++) {
        if (slice_equal(image->routes[i].name, name)) {
            return &image->routes[i];
        }
    }
    return NULL;
}

const struct schedule *image_schedule(const struct image *image, struct slice name)
{
    for (uint32_t i = 0; i < image->schedule_count; i++) {
        if (slice_equal(image->schedules[i].name, name)) {
            return &image->schedules[i];
        }
    }
    return NULL;
}
