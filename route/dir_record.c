#include "route/dir_record.h"

#include "core/check.h"

static bool is_prefix(const struct dir_address *about)
{
    return about->local.len <= about->mailbox.len &&
           slice_equal(about->local, slice_first(about->mailbox, about->local.len));
}

static size_t bytes_of(size_t local, size_t mailbox, bool prefix, bool list)
{
    size_t text = mailbox + (prefix ? 0 : local) + (list ? sizeof(struct dir_list *) : 0);
    return mx_round_up(sizeof(struct dir_record) + text, DIR_RECORD_ALIGN);
}

size_t dir_record_bytes(const struct dir_address *about)
{
    return bytes_of(about->local.len, about->mailbox.len, is_prefix(about), about->list != NULL);
}

size_t dir_record_size(const struct dir_record *record)
{
    return bytes_of(record->local_len, record->mailbox_len, record->is_prefix, record->has_list);
}

static uint8_t *put(uint8_t *at, const void *bytes, size_t len)
{
    if (len > 0) {
        memcpy(at, bytes, len);
    }
    return at + len;
}

struct dir_record *dir_record_put(void *memory, const struct dir_address *about)
{
    struct dir_record *record = memory;
    MX_ASSERT(about->local.len <= DIR_LOCAL_MAX && about->mailbox.len <= DIR_MAILBOX_MAX);
    *record = (struct dir_record){.domain_id = about->domain_id,
                                  .object_id = about->object_id,
                                  .local_len = (uint32_t)about->local.len & DIR_LOCAL_MAX,
                                  .mailbox_len = (uint32_t)about->mailbox.len & DIR_MAILBOX_MAX,
                                  .kind = (uint32_t)about->kind & 3,
                                  .enabled = about->enabled,
                                  .separate = about->separate,
                                  .is_prefix = is_prefix(about),
                                  .has_list = about->list != NULL};
    uint8_t *at = put(record->text, about->mailbox.ptr, about->mailbox.len);
    if (!record->is_prefix) {
        at = put(at, about->local.ptr, about->local.len);
    }
    if (about->list != NULL) {
        (void)put(at, &about->list, sizeof about->list);
    }
    return record;
}

const struct dir_list *dir_record_list(const struct dir_record *record)
{
    const struct dir_list *list = NULL;
    if (record->has_list) {
        size_t at = record->mailbox_len + (record->is_prefix ? 0u : record->local_len);
        memcpy(&list, record->text + at, sizeof list);
    }
    return list;
}

static const char *const verify_names[] = {[DIR_VERIFY_OFF] = "disable",
                                           [DIR_VERIFY_ELSE_ACCEPT] = "accept",
                                           [DIR_VERIFY_ELSE_DEFER] = "defer"};

enum dir_verify dir_verify_parse(struct slice name)
{
    for (unsigned i = 0; i < mx_countof(verify_names); i++) {
        if (slice_equal(name, slice_of_text(verify_names[i]))) {
            return (enum dir_verify)i;
        }
    }
    return DIR_VERIFY_OFF;
}

const char *dir_verify_name(unsigned verify)
{
    return verify_names[verify < mx_countof(verify_names) ? verify : DIR_VERIFY_OFF];
}
