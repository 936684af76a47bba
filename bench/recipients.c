#include "bench/recipients.h"

#include "core/text.h"
#include "io/sys.h"
#include "smtp/envelope.h"

#include <stdio.h>
#include <stdlib.h>

static bool usable(struct slice address)
{
    bool good = address.len > 0 && address.len <= ADDRESS_MAX;
    for (size_t i = 0; good && i < address.len; i++) {
        good = address.ptr[i] > ' ' && address.ptr[i] != 0x7f && address.ptr[i] != '>';
    }
    return good;
}

mx_err recipients_add(struct recipients *rcpts, struct slice address)
{
    if (!usable(address)) {
        return MX_ERR_INVALID;
    }
    if (rcpts->count == RECIPIENTS_MAX) {
        return MX_ERR_LIMIT;
    }
    if (rcpts->count == rcpts->cap) {
        uint32_t cap = rcpts->cap == 0 ? 128 : rcpts->cap * 2;
        struct slice *grown = realloc(rcpts->addresses, cap * sizeof *grown);
        if (grown == NULL) {
            return MX_ERR_NOMEM;
        }
        rcpts->addresses = grown;
        rcpts->cap = cap;
    }
    rcpts->addresses[rcpts->count++] = address;
    return MX_OK;
}

mx_err recipients_add_file(struct recipients *rcpts, const char *path)
{
    if (rcpts->file.ptr != NULL) {
        return MX_ERR_EXISTS;
    }
    uint8_t *bytes = NULL;
    size_t len = 0;
    mx_err err = sys_read_file(&bytes, &len, path, RECIPIENTS_FILE_MAX);
    if (!err) {
        rcpts->file = slice_of(bytes, len);
    }
    for (struct slice rest = rcpts->file; !err && rest.len > 0;) {
        size_t lf = slice_find(rest, '\n');
        struct slice line = text_trim(slice_first(rest, lf));
        line.len -= line.len > 0 && line.ptr[line.len - 1] == '\r';
        if (line.len > 0 && line.ptr[0] != '#') {
            err = recipients_add(rcpts, line);
        }
        rest = slice_from(rest, mx_min_size(lf + 1, rest.len));
    }
    return err;
}

void recipients_name_unknown(struct recipients *rcpts, struct dice *dice)
{
    for (unsigned i = 0; i < UNKNOWN_NAMES; i++) {
        (void)snprintf(rcpts->unknown[i], UNKNOWN_NAME_MAX, "unknown-%08x",
                       (unsigned)(dice_next(dice) >> 32));
    }
}

static struct load_rcpt one(const struct recipients *rcpts, struct dice *dice, uint32_t i)
{
    struct slice address = rcpts->addresses[i];
    if (rcpts->unknown_share == 0 || dice_below(dice, UNKNOWN_SHARE_ALL) >= rcpts->unknown_share) {
        return (struct load_rcpt){.head = address};
    }
    return (struct load_rcpt){.head =
                                  slice_of_text(rcpts->unknown[dice_below(dice, UNKNOWN_NAMES)]),
                              .tail = slice_from(address, slice_find(address, '@'))};
}

/* Floyd's way to draw different numbers: `count` draws, and as many looks back for each. */
void recipients_draw(const struct recipients *rcpts, struct dice *dice, struct load_rcpt *out,
                     uint32_t count)
{
    uint32_t chosen[RECIPIENTS_PER_MESSAGE_MAX];
    for (uint32_t i = 0; i < count; i++) {
        uint32_t last = rcpts->count - count + i;
        uint32_t draw = count == rcpts->count ? i : (uint32_t)dice_below(dice, (uint64_t)last + 1);
        for (uint32_t k = 0; k < i; k++) {
            draw = chosen[k] == draw ? last : draw;
        }
        chosen[i] = draw;
        out[i] = one(rcpts, dice, draw);
    }
}

void recipients_free(struct recipients *rcpts)
{
    free(rcpts->addresses);
    free((void *)(uintptr_t)rcpts->file.ptr);
    rcpts->addresses = NULL;
    rcpts->file = SLICE_EMPTY;
    rcpts->count = rcpts->cap = 0;
}
