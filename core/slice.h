/* A borrowed range of bytes. Never owns, never NUL-terminated. Empty slices may have ptr NULL. */
#pragma once

#include "core/base.h"

#include <string.h>

struct slice {
    const uint8_t *ptr;
    size_t len;
};

#define SLICE_LITERAL(text) ((struct slice){(const uint8_t *)(text), sizeof(text) - 1})
#define SLICE_EMPTY ((struct slice){NULL, 0})
/* For printf's "%.*s". */
#define SLICE_ARGS(s) (int)(s).len, (const char *)(s).ptr

static inline struct slice slice_of(const void *ptr, size_t len)
{
    return (struct slice){(const uint8_t *)ptr, len};
}

static inline struct slice slice_of_text(const char *text)
{
    return (struct slice){(const uint8_t *)text, text ? strlen(text) : 0};
}

static inline bool slice_equal(struct slice a, struct slice b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

/* The part from offset on; offset may not exceed len. */
static inline struct slice slice_from(struct slice s, size_t offset)
{
    return (struct slice){s.len == 0 ? s.ptr : s.ptr + offset, s.len - offset};
}

/* The first len bytes, or all of s if it is shorter. */
static inline struct slice slice_first(struct slice s, size_t len)
{
    return (struct slice){s.ptr, len < s.len ? len : s.len};
}

/* Index of the first occurrence of byte, or s.len. */
static inline size_t slice_find(struct slice s, uint8_t byte)
{
    const void *found = s.len ? memchr(s.ptr, byte, s.len) : NULL;
    return found ? (size_t)((const uint8_t *)found - s.ptr) : s.len;
}
