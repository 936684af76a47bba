#include "core/handles.h"

#include <criterion/criterion.h>

Test(handles, given_removed_and_given_again)
{
    static uint64_t objects[10000];
    struct handles h;
    uint32_t handle;
    cr_assert_eq(handles_init(&h, 10000), MX_OK);
    cr_assert_null(handles_get(&h, 0));
    cr_assert_null(handles_get(&h, HANDLE_NONE));
    for (uint32_t i = 0; i < 10000; i++) {
        cr_assert_eq(handles_add(&h, &objects[i], &handle), MX_OK);
        cr_assert_eq(handle, i);
    }
    cr_assert_eq(handles_add(&h, objects, &handle), MX_ERR_LIMIT);
    for (uint32_t i = 0; i < 10000; i += 2) {
        handles_remove(&h, i);
        cr_assert_null(handles_get(&h, i));
    }
    for (uint32_t i = 1; i < 10000; i += 2) {
        cr_assert_eq(handles_get(&h, i), &objects[i]); /* the others stay */
    }
    for (uint32_t i = 0; i < 5000; i++) {
        cr_assert_eq(handles_add(&h, &objects[i], &handle), MX_OK);
        cr_assert_eq(handle % 2, 0);
        cr_assert_eq(handles_get(&h, handle), &objects[i]);
    }
    cr_assert_eq(handles_add(&h, objects, &handle), MX_ERR_LIMIT);
    handles_fini(&h);
    handles_fini(&h);
}
