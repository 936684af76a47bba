#include "core/handles.h"

#include "core/check.h"

#include <stdlib.h>

enum { PAGE_SLOTS = 4096 };

/* A free slot holds the next free number, shifted, with this bit; an object's address is even. */
#define FREE_BIT ((uintptr_t)1)

static uintptr_t *slot_of(const struct handles *h, uint32_t handle)
{
    return &h->pages[handle / PAGE_SLOTS][handle % PAGE_SLOTS];
}

mx_err handles_init(struct handles *h, uint32_t max)
{
    MX_ASSERT(max > 0 && max < HANDLE_NONE / 2);
    *h = (struct handles){.max = max, .free = HANDLE_NONE};
    h->pages = calloc((max + PAGE_SLOTS - 1) / PAGE_SLOTS, sizeof *h->pages);
    return h->pages != NULL ? MX_OK : MX_ERR_NOMEM;
}

void handles_fini(struct handles *h)
{
    for (uint32_t at = 0; at < h->made; at += PAGE_SLOTS) {
        free(h->pages[at / PAGE_SLOTS]);
    }
    free(h->pages);
    *h = (struct handles){0};
}

static mx_err make_one(struct handles *h, uint32_t *out_handle)
{
    if (h->made == h->max) {
        return MX_ERR_LIMIT;
    }
    if (h->made % PAGE_SLOTS == 0) {
        uintptr_t *page = calloc(PAGE_SLOTS, sizeof *page);
        if (page == NULL) {
            return MX_ERR_NOMEM;
        }
        h->pages[h->made / PAGE_SLOTS] = page;
    }
    *out_handle = h->made++;
    return MX_OK;
}

mx_err handles_add(struct handles *h, void *object, uint32_t *out_handle)
{
    MX_ASSERT(object != NULL && ((uintptr_t)object & FREE_BIT) == 0);
    if (h->free != HANDLE_NONE) {
        *out_handle = h->free;
        h->free = (uint32_t)(*slot_of(h, h->free) >> 1);
    } else {
        mx_err err = make_one(h, out_handle);
        if (err) {
            return err;
        }
    }
    *slot_of(h, *out_handle) = (uintptr_t)object;
    return MX_OK;
}

void handles_remove(struct handles *h, uint32_t handle)
{
    MX_ASSERT(handles_get(h, handle) != NULL);
    *slot_of(h, handle) = (uintptr_t)h->free << 1 | FREE_BIT;
    h->free = handle;
}

void *handles_get(const struct handles *h, uint32_t handle)
{
    uintptr_t value = handle < h->made ? *slot_of(h, handle) : FREE_BIT;
    return value & FREE_BIT ? NULL : (void *)value;
}
