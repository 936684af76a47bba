/* The members of a mailing list, in the order in which it is expanded. Pure.
 *
 * A long list becomes several messages, and how far that has got is kept with the recipient. So
 * that nobody is left out or served twice when the list changes in between, progress is counted in
 * buckets: a member's bucket follows from its address alone, and a bucket goes into one message. */
#pragma once

#include "core/base.h"
#include "core/slice.h"

enum {
    LIST_MEMBERS_MAX = 20000,
    LIST_BUCKETS = 255, /* progress 0 .. 255 */
};

struct dir_member {
    struct slice address;
    uint8_t bucket;
};

struct dir_list {
    const struct dir_member *members; /* by bucket, then by address */
    uint32_t count;
};

/* Gives the members their buckets and sorts them. */
void list_order(struct dir_member *members, size_t count);
/* Index of the first member of a bucket not below this one; count when there is none. */
uint32_t list_from_bucket(const struct dir_list *list, unsigned bucket);
