/* Vocabulary shared by every file: attributes and small arithmetic. No kernel, no mail. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MX_MUST_CHECK __attribute__((warn_unused_result))
#define MX_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#define MX_COLD __attribute__((cold))
#define MX_NORETURN __attribute__((noreturn))
#define MX_LIKELY(x) __builtin_expect(!!(x), 1)
#define MX_UNLIKELY(x) __builtin_expect(!!(x), 0)

#define mx_container_of(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))
#define mx_countof(array) (sizeof(array) / sizeof((array)[0]))

static inline size_t mx_min_size(size_t a, size_t b)
{
    return a < b ? a : b;
}

static inline size_t mx_max_size(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* Rounds up to a multiple of align, which is a power of two. */
static inline uint64_t mx_round_up(uint64_t value, uint64_t align)
{
    return (value + align - 1) & ~(align - 1);
}

#define MX_NS_PER_MS UINT64_C(1000000)
#define MX_NS_PER_S UINT64_C(1000000000)
