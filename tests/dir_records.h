/* Address records for tests: packed behind each other in memory of the test. */
#pragma once

#include "core/check.h"
#include "route/dir_record.h"

#define DIR_RECORDS(name, bytes)                                 \
    static _Alignas(16) uint8_t name##_memory[(bytes)];          \
    static struct dir_block *const name = (void *)name##_memory; \
    static const size_t name##_max = sizeof name##_memory - sizeof(struct dir_block)

/* Adds one; max: bytes of records that the block has room for. */
static inline const struct dir_record *dir_records_add(struct dir_block *block, size_t max,
                                                       const struct dir_address *about)
{
    size_t bytes = dir_record_bytes(about);
    MX_ASSERT(block->bytes + bytes <= max);
    struct dir_record *record = dir_record_put(block->records + block->bytes, about);
    MX_ASSERT(dir_record_size(record) == bytes);
    block->bytes += bytes;
    return record;
}
