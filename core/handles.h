/* Small numbers for objects: number -> pointer in constant time, with an upper bound. Memory grows
 * by pages and is kept. A number is given again after its object has gone, so who keeps numbers
 * for long checks the object that they lead to. Single-threaded. */
#pragma once

#include "core/err.h"

struct handles {
    uintptr_t **pages;
    uint32_t max;
    uint32_t made; /* numbers given so far: all are below */
    uint32_t free; /* first of the free ones, or HANDLE_NONE */
};

#define HANDLE_NONE UINT32_MAX

MX_MUST_CHECK mx_err handles_init(struct handles *h, uint32_t max);
void handles_fini(struct handles *h); /* a zeroed one is fine */
/* object: not NULL, its address even. MX_ERR_LIMIT, MX_ERR_NOMEM. */
MX_MUST_CHECK mx_err handles_add(struct handles *h, void *object, uint32_t *out_handle);
void handles_remove(struct handles *h, uint32_t handle);
/* NULL: not given at the moment. Any number may be asked for. */
void *handles_get(const struct handles *h, uint32_t handle);
