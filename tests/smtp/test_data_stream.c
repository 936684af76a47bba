/* The decoder against a slow reference that looks at the whole stream at once: every string over
 * {CR, LF, '.', 'a'} up to eight bytes, whole, byte by byte and at every split, in every mode. */
#include "smtp/data_stream.h"

#include "core/cursor.h"

#include <criterion/criterion.h>
#include <stdlib.h>

enum { ROOM = 4096 };

struct result {
    uint8_t text[ROOM];
    size_t len;
    size_t used; /* input bytes up to and including the end of data */
    bool done, bare, crlf_end, over_size;
    uint32_t received;
};

static bool crlf_at(struct slice s, size_t pos)
{
    return pos + 1 < s.len && s.ptr[pos] == '\r' && s.ptr[pos + 1] == '\n';
}

/* Position of the dot that ends the data, or s.len. */
static size_t reference_end(struct slice s)
{
    for (size_t i = 0; i + 2 < s.len; i++) {
        bool line_start = i == 0 || (i >= 2 && crlf_at(s, i - 2));
        if (line_start && s.ptr[i] == '.' && crlf_at(s, i + 1)) {
            return i;
        }
    }
    return s.len;
}

static void put_result(struct result *r, const char *text, size_t len)
{
    memcpy(r->text + r->len, text, len);
    r->len += len;
}

static void reference(struct result *r, struct slice s, bool dotted, bool normalize)
{
    *r = (struct result){.crlf_end = true};
    size_t end = dotted ? reference_end(s) : s.len;
    r->done = !dotted || end < s.len;
    r->used = dotted && r->done ? end + 3 : s.len;
    for (size_t i = 0; i < end; i++) {
        bool line_start = i == 0 || (i >= 2 && crlf_at(s, i - 2));
        uint8_t c = s.ptr[i];
        if (dotted && c == '.' && line_start) {
            continue;
        }
        r->crlf_end = false;
        if (crlf_at(s, i)) {
            put_result(r, "\r\n", 2);
            r->crlf_end = true;
            i++;
        } else if (c == '\r' || c == '\n') {
            r->bare = !normalize;
            put_result(r, normalize ? "\r\n" : (const char *)&c, normalize ? 2 : 1);
            r->crlf_end = normalize;
        } else {
            put_result(r, (const char *)&c, 1);
        }
    }
}

static void collect(struct data_stream *ds, struct result *r, struct slice part)
{
    /* A copy of its own lets the address sanitizer see every byte that is read too far. */
    uint8_t *copy = malloc(part.len > 0 ? part.len : 1);
    memcpy(copy, part.ptr, part.len);
    struct slice in = slice_of(copy, part.len);
    for (;;) {
        struct slice piece = data_stream_next(ds, &in);
        if (piece.len == 0) {
            break;
        }
        put_result(r, (const char *)piece.ptr, piece.len);
    }
    r->used += part.len - in.len;
    cr_assert(in.len == 0 || ds->done);
    free(copy);
}

/* Decodes s in pieces of step bytes, the first one of first bytes. */
static void decode(struct result *r, struct slice s, bool dotted, bool normalize, size_t first,
                   size_t step)
{
    struct data_stream ds;
    *r = (struct result){.len = 0};
    data_stream_init(&ds, 0, dotted, normalize, false);
    for (size_t len = first; s.len > 0 && !ds.done; len = step) {
        struct slice part = slice_first(s, len);
        collect(&ds, r, part);
        s = slice_from(s, part.len);
    }
    if (!dotted) {
        data_stream_finish(&ds);
    }
    r->done = ds.done;
    r->bare = ds.bare_newline;
    r->crlf_end = ds.ends_in_crlf;
    r->received = ds.received;
    cr_assert_eq(ds.bytes, r->len);
}

static void put_visible(struct writer *w, struct slice s)
{
    for (size_t i = 0; i < s.len; i++) {
        put_text(w, s.ptr[i] == '\r' ? "\\r" : s.ptr[i] == '\n' ? "\\n" : "");
        if (s.ptr[i] >= 0x20) {
            put_u8(w, s.ptr[i]);
        }
    }
    put_u8(w, 0);
}

static void compare(const struct result *want, const struct result *got, struct slice s,
                    bool dotted, bool normalize, size_t first)
{
    uint8_t shown[1024];
    struct writer w = writer_init(shown, sizeof shown);
    /* What cannot be judged before more arrives: a pending end of data. */
    bool same = want->done == got->done && want->used == got->used;
    if (want->done) {
        same = same && want->len == got->len && memcmp(want->text, got->text, want->len) == 0 &&
               want->bare == got->bare && want->crlf_end == got->crlf_end;
    }
    if (!same) {
        put_visible(&w, s);
        cr_assert(same, "input \"%s\" dotted %d normalize %d first piece %zu", shown, dotted,
                  normalize, first);
    }
}

static void check_all(struct slice s)
{
    struct result want, got;
    for (unsigned mode = 0; mode < 4; mode++) {
        bool dotted = (mode & 1) != 0, normalize = (mode & 2) != 0;
        reference(&want, s, dotted, normalize);
        decode(&got, s, dotted, normalize, 1, 1);
        compare(&want, &got, s, dotted, normalize, 1);
        for (size_t first = 1; first <= s.len; first++) {
            decode(&got, s, dotted, normalize, first, ROOM);
            compare(&want, &got, s, dotted, normalize, first);
        }
    }
}

Test(data_stream, every_short_string)
{
    static const char alphabet[4] = "\r\n.a";
    for (unsigned len = 0; len <= 8; len++) {
        for (unsigned code = 0; code < 1u << (2 * len); code++) {
            uint8_t text[8];
            for (unsigned i = 0; i < len; i++) {
                text[i] = (uint8_t)alphabet[code >> (2 * i) & 3];
            }
            check_all(slice_of(text, len));
        }
    }
}

/* The same with an end of data behind, so that everything before it is compared. */
Test(data_stream, every_short_string_with_end)
{
    static const char alphabet[4] = "\r\n.a";
    for (unsigned len = 0; len <= 6; len++) {
        for (unsigned code = 0; code < 1u << (2 * len); code++) {
            uint8_t text[16];
            for (unsigned i = 0; i < len; i++) {
                text[i] = (uint8_t)alphabet[code >> (2 * i) & 3];
            }
            memcpy(text + len, "\r\n.\r\na", 6);
            check_all(slice_of(text, len + 6));
        }
    }
}

/* Behind the header whole blocks are looked at: the short strings at every place around the ends of
 * the first two. */
Test(data_stream, every_short_string_across_blocks)
{
    enum { BLOCK = 64, LEN = 5 };
    static const char alphabet[4] = "\r\n.a";
    static const char end[] = "\r\n.\r\n";
    uint8_t text[3 * BLOCK];
    for (size_t at = BLOCK - LEN - 1; at <= 2 * BLOCK + 2; at++) {
        for (unsigned code = 0; code < 1u << (2 * LEN); code++) {
            struct result want, got;
            memset(text, 'a', sizeof text);
            memcpy(text, "\r\n", 2); /* an empty header */
            for (unsigned i = 0; i < LEN; i++) {
                text[at + i] = (uint8_t)alphabet[code >> (2 * i) & 3];
            }
            memcpy(text + sizeof text - sizeof end, end, sizeof end - 1);
            struct slice s = slice_of(text, sizeof text);
            for (unsigned mode = 0; mode < 4; mode++) {
                bool dotted = (mode & 1) != 0, normalize = (mode & 2) != 0;
                reference(&want, s, dotted, normalize);
                for (size_t first = 1; first <= s.len; first = first < 4 ? first + 1 : 2 * first) {
                    decode(&got, s, dotted, normalize, first, ROOM);
                    compare(&want, &got, s, dotted, normalize, first);
                }
            }
        }
    }
}

static struct data_stream run_whole(const char *text, size_t len, uint64_t max, bool dotted,
                                    bool normalize, bool binary)
{
    struct data_stream ds;
    struct slice in = slice_of(text, len);
    data_stream_init(&ds, max, dotted, normalize, binary);
    uint64_t given = 0;
    for (;;) {
        struct slice piece = data_stream_next(&ds, &in);
        if (piece.len == 0) {
            break;
        }
        given += piece.len;
    }
    cr_assert(max == 0 || given <= max);
    return ds;
}
#define RUN(text, max, dotted, normalize, binary) \
    run_whole(text, sizeof(text) - 1, max, dotted, normalize, binary)

Test(data_stream, counts_received_in_the_header_only)
{
    static const char mail[] =
        "Received: a\r\nrEcEiVeD: b\r\n  Received: folded\r\nX-Received: c\r\n"
        "..Received: stuffed\r\nReceived : no\r\nReceived:\r\n\r\n"
        "Received: body\r\n.\r\n";
    cr_assert_eq(RUN(mail, 0, true, false, false).received, 3);
    for (size_t first = 1; first < sizeof mail; first++) {
        struct result r;
        decode(&r, slice_of(mail, sizeof mail - 1), true, false, first, 1);
        cr_assert_eq(r.received, 3, "first %zu", first);
    }
    /* With normalize, line ends of any kind count. */
    cr_assert_eq(RUN("Received: a\nReceived: b\n\nReceived: c\n", 0, false, true, false).received,
                 2);
    /* Without it, a bare newline ends no header and begins no line. */
    cr_assert_eq(RUN("Received: a\nReceived: b\n\n", 0, false, false, false).received, 1);
}

Test(data_stream, notices_nul_and_8bit)
{
    struct data_stream ds = RUN("a\0b\r\n.\r\n", 0, true, false, false);
    cr_assert(ds.nul && ds.done && !ds.has_8bit);
    ds = RUN("a\xc3\xa9\r\n.\r\n\0", 0, true, false, false);
    cr_assert(!ds.nul && ds.has_8bit, "what follows the end is not content");
    ds = RUN("a\0\n\r\xff", 0, false, false, true);
    cr_assert(!ds.nul && !ds.bare_newline && ds.has_8bit && ds.bytes == 5);
}

/* Content is looked at in blocks, behind which a rest follows. */
Test(data_stream, notices_8bit_and_nul_anywhere)
{
    enum { LEN = 200 };
    static const char odd[] = {'\x80', '\xff', '\0', '\x7f'};
    for (size_t at = 0; at < LEN; at++) {
        for (size_t i = 0; i < sizeof odd; i++) {
            char text[LEN];
            memset(text, 'a', sizeof text);
            text[at] = odd[i];
            struct data_stream ds = run_whole(text, at % 2 ? LEN : at + 1, 0, true, false, false);
            cr_assert(ds.has_8bit == (i < 2) && ds.nul == (i == 2), "%zu at %zu", i, at);
        }
    }
}

Test(data_stream, over_the_limit)
{
    struct data_stream ds = RUN("12345678\r\n.\r\n", 10, true, false, false);
    cr_assert(!ds.over_size && ds.done && ds.bytes == 10);
    ds = RUN("123456789\r\n.\r\n", 10, true, false, false);
    cr_assert(ds.over_size && ds.done && ds.bytes == 11);
    ds = RUN("..3456789\r\n.\r\n", 10, true, false, false);
    cr_assert(!ds.over_size && ds.done && ds.bytes == 10, "stuffed dots do not count");
}

Test(data_stream, binary_line_ends_and_finish)
{
    struct data_stream ds = RUN("a\r\nb\r", 0, false, false, false);
    cr_assert(!ds.bare_newline && !ds.ends_in_crlf);
    data_stream_finish(&ds);
    cr_assert(ds.bare_newline && ds.done);
    ds = RUN("", 0, false, false, false);
    data_stream_finish(&ds);
    cr_assert(ds.ends_in_crlf && ds.bytes == 0);
}
