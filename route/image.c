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

struct slice image_system(const struct image *image, struct slice name)
{
    const struct {
        const char *name;
        struct slice value;
    } rows[] = {{"hostname", image->hostname},
                {"domain", image->domain},
                {"node_id", image->node_id},
                {"node_hostname", image->node_hostname}};
    for (size_t i = 0; i < mx_countof(rows); i++) {
        if (slice_equal(name, slice_of_text(rows[i].name))) {
            return rows[i].value;
        }
    }
    return SLICE_EMPTY;
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
