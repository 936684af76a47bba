/* An address as the tables of route/directory refer to it: one packed piece of memory, 20 bytes and
 * its text, since there may be millions of them. All cores share it; it never changes. */
#pragma once

#include "core/slice.h"
#include "route/list.h"

/* Recipients that are not here and take a relay route: is the next hop asked whether it has them,
 * and what if it cannot say? The numbers are stored. */
enum dir_verify { DIR_VERIFY_OFF = 0, DIR_VERIFY_ELSE_ACCEPT = 1, DIR_VERIFY_ELSE_DEFER = 2 };
/* As in Domain.verifyRecipients; what is not known is off. */
enum dir_verify dir_verify_parse(struct slice name);
const char *dir_verify_name(unsigned verify);

enum dir_kind { DIR_ACCOUNT, DIR_ALIAS, DIR_GROUP, DIR_LIST };

/* The same unpacked, to make one from. */
struct dir_address {
    uint64_t domain_id;
    struct slice local; /* lower case */
    enum dir_kind kind;
    bool enabled;
    bool separate;        /* allocated by itself: freed by the publisher when it is replaced */
    uint64_t object_id;   /* the account or list (for aliases: what they lead to) */
    struct slice mailbox; /* its canonical address "local@domain", lower case */
    /* The own address of a list: its members; NULL for everything else, aliases of lists too (they
     * are DIR_LIST as well: their mailbox leads to the members). Lives as long as the record. */
    const struct dir_list *list;
};

enum {
    DIR_LOCAL_MAX = 1023,
    DIR_MAILBOX_MAX = 4095,
    DIR_RECORD_ALIGN = 4,
};

struct dir_record {
    uint64_t domain_id;
    uint64_t object_id;
    uint32_t local_len : 10;
    uint32_t mailbox_len : 12;
    uint32_t kind : 2; /* enum dir_kind */
    uint32_t enabled : 1, separate : 1;
    uint32_t is_prefix : 1; /* the local part is the beginning of the mailbox */
    uint32_t has_list : 1;
    uint8_t text[]; /* the mailbox; the local part, unless it is a prefix; the list's address */
} __attribute__((packed, aligned(4)));

/* Bytes that it takes, a multiple of DIR_RECORD_ALIGN. */
size_t dir_record_bytes(const struct dir_address *about);
/* Into memory of so many bytes. Texts are copied; they are within the bounds above. */
struct dir_record *dir_record_put(void *memory, const struct dir_address *about);
size_t dir_record_size(const struct dir_record *record);

static inline struct slice dir_record_mailbox(const struct dir_record *record)
{
    return slice_of(record->text, record->mailbox_len);
}
static inline struct slice dir_record_local(const struct dir_record *record)
{
    return slice_of(record->text + (record->is_prefix ? 0 : record->mailbox_len),
                    record->local_len);
}
const struct dir_list *dir_record_list(const struct dir_record *record);

/* Records of a start stand back to back in blocks. */
struct dir_block {
    const struct dir_block *next;
    size_t bytes; /* of the records */
    _Alignas(DIR_RECORD_ALIGN) uint8_t records[];
};
