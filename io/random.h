/* Unpredictable bytes (getrandom). Part of the simulation seam (random_linux.c). */
#pragma once

#include "core/base.h"

void random_fill(void *out, size_t len);
uint64_t random_u64(void);
