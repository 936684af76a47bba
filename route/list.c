#include "route/list.h"

#include "core/hash.h"

#include <stdlib.h>

/* Fixed: progress in a journal means the same after a restart. */
enum { BUCKET_SEED = 0x6c697374 };

static int compare(const void *left, const void *right)
{
    const struct dir_member *a = left, *b = right;
    if (a->bucket != b->bucket) {
        return a->bucket < b->bucket ? -1 : 1;
    }
    int order = memcmp(a->address.ptr, b->address.ptr, mx_min_size(a->address.len, b->address.len));
    return order != 0 ? order
                      : (a->address.len > b->address.len) - (a->address.len < b->address.len);
}

void list_order(struct dir_member *members, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        members[i].bucket = (uint8_t)(hash_seeded(members[i].address, BUCKET_SEED) % LIST_BUCKETS);
    }
    if (count > 1) {
        qsort(members, count, sizeof *members, compare);
    }
}

uint32_t list_from_bucket(const struct dir_list *list, unsigned bucket)
{
    uint32_t low = 0, high = list->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (list->members[middle].bucket < bucket) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}
