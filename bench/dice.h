/* Pseudo-random numbers that a seed decides (splitmix64). */
#pragma once

#include "core/base.h"

struct dice {
    uint64_t state;
};

static inline uint64_t dice_next(struct dice *dice)
{
    uint64_t z = dice->state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

/* 0 .. count-1; count is small against 2^64, so the bias does not matter here. */
static inline uint64_t dice_below(struct dice *dice, uint64_t count)
{
    return dice_next(dice) % count;
}

/* min .. max */
static inline uint64_t dice_between(struct dice *dice, uint64_t min, uint64_t max)
{
    return min + dice_below(dice, max - min + 1);
}
