#include "smtp/reply.h"

#include <criterion/criterion.h>
#include <stdlib.h>

Test(reply, rows_are_well_formed)
{
    for (unsigned i = 0; i < REPLY_COUNT; i++) {
        const struct reply_row *row = reply_row((enum reply)i);
        cr_assert(row->code >= 200 && row->code <= 559 && row->text[0] != '\0', "row %u", i);
        const char *place = strchr(row->text, '%');
        cr_assert(place == NULL || (place[1] == 's' && strchr(place + 1, '%') == NULL), "row %u",
                  i);
        if (row->enhanced[0] != '\0') {
            /* RFC 2034: the class is that of the reply code. */
            cr_assert_eq(row->enhanced[0], '0' + row->code / 100, "row %u", i);
        }
        cr_assert(!row->counts_as_error || row->code >= 500, "row %u", i);
        uint8_t room[512];
        struct writer w = writer_init(room, sizeof room);
        reply_print(&w, (enum reply)i, SLICE_EMPTY);
        /* RFC 5321 section 4.5.3.1.5 */
        cr_assert(!w.overflow && w.len <= 512 && room[w.len - 1] == '\n', "row %u", i);
    }
}

static void assert_printed(enum reply reply, struct slice arg, const char *want)
{
    uint8_t room[1024];
    struct writer w = writer_init(room, sizeof room);
    reply_print(&w, reply, arg);
    cr_assert(slice_equal(writer_slice(&w), slice_of_text(want)), "%.*s",
              SLICE_ARGS(writer_slice(&w)));
}

Test(reply, prints)
{
    assert_printed(REPLY_QUEUED, SLICE_LITERAL("1-2-3"), "250 2.0.0 Queued as 1-2-3\r\n");
    assert_printed(REPLY_DATA_GO, SLICE_EMPTY, "354 Send the message, end with <CRLF>.<CRLF>\r\n");
    assert_printed(REPLY_QUEUED, SLICE_LITERAL("a\r\nb\0\xff%s"),
                   "250 2.0.0 Queued as a??b??%s\r\n");
}

Test(reply, argument_is_cut)
{
    uint8_t room[1024];
    char arg[700];
    memset(arg, 'x', sizeof arg);
    struct writer w = writer_init(room, sizeof room);
    reply_print(&w, REPLY_QUEUED, slice_of(arg, sizeof arg));
    cr_assert_eq(w.len, strlen("250 2.0.0 Queued as \r\n") + REPLY_ARG_MAX);
}
