/* What an image answers by name. */
#include "route/image.h"

#include <criterion/criterion.h>

static void expect_system(const struct image *image, const char *name, const char *value)
{
    struct slice found = image_system(image, slice_of_text(name));
    cr_assert(slice_equal(found, slice_of_text(value)), "%s: %.*s", name, SLICE_ARGS(found));
}

Test(image, system_by_name)
{
    struct image image = {.hostname = SLICE_LITERAL("mx.example.org"),
                          .domain = SLICE_LITERAL("example.org"),
                          .node_id = SLICE_LITERAL("7"),
                          .node_hostname = SLICE_LITERAL("host7")};
    expect_system(&image, "hostname", "mx.example.org");
    expect_system(&image, "domain", "example.org");
    expect_system(&image, "node_id", "7");
    expect_system(&image, "node_hostname", "host7");
    expect_system(&image, "node_role", "");
}

Test(image, routes_and_schedules_by_name)
{
    struct route_conf routes[] = {{.name = SLICE_LITERAL("a")}, {.name = SLICE_LITERAL("b")}};
    struct schedule schedules[] = {{.name = SLICE_LITERAL("slow")}};
    struct image image = {
        .routes = routes, .route_count = 2, .schedules = schedules, .schedule_count = 1};
    cr_assert_eq(image_route(&image, SLICE_LITERAL("b")), &routes[1]);
    cr_assert_null(image_route(&image, SLICE_LITERAL("c")));
    cr_assert_eq(image_schedule(&image, SLICE_LITERAL("slow")), &schedules[0]);
    cr_assert_null(image_schedule(&image, SLICE_LITERAL("fast")));
}
