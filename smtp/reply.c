#include "smtp/reply.h"

#include "core/check.h"
#include "core/text.h"

static const struct reply_row rows[REPLY_COUNT] = {
    [REPLY_OK] = {250, "2.0.0", false, "OK"},
#define REPLY(name, code, enhanced, counts, text) [REPLY_##name] = {code, enhanced, counts, text},
#include "smtp/reply.def"
#undef REPLY
};

static const char *const names[REPLY_COUNT] = {
    [REPLY_OK] = "OK",
#define REPLY(name, code, enhanced, counts, text) [REPLY_##name] = #name,
#include "smtp/reply.def"
#undef REPLY
};

const char *reply_name(enum reply reply)
{
    MX_ASSERT((unsigned)reply < REPLY_COUNT);
    return names[reply];
}

const struct reply_row *reply_row(enum reply reply)
{
    MX_ASSERT((unsigned)reply < REPLY_COUNT);
    return &rows[reply];
}

static void put_printable(struct writer *w, struct slice text)
{
    for (size_t i = 0; i < text.len; i++) {
        bool printable = ascii_is_graph(text.ptr[i]) || text.ptr[i] == ' ';
        put_char(w, printable ? (char)text.ptr[i] : '?');
    }
}

void reply_print(struct writer *w, enum reply reply, struct slice arg)
{
    const struct reply_row *row = reply_row(reply);
    struct slice text = slice_of_text(row->text);
    size_t place = slice_find(text, '%');

    put_decimal(w, row->code);
    put_char(w, ' ');
    if (row->enhanced[0] != '\0') {
        put_text(w, row->enhanced);
        put_char(w, ' ');
    }
    put_slice(w, slice_first(text, place));
    if (place < text.len) {
        put_printable(w, slice_first(arg, REPLY_ARG_MAX));
        put_slice(w, slice_from(text, place + 2));
    }
    put_text(w, "\r\n");
}
