#include "smtp/xtext.h"

#include <criterion/criterion.h>

static mx_err decode(struct slice *out, const char *text)
{
    static uint8_t room[16];
    struct writer w = writer_init(room, sizeof room);
    mx_err err = xtext_decode(&w, slice_of_text(text));
    *out = writer_slice(&w);
    return err;
}

Test(xtext, decodes)
{
    struct slice got;
    cr_assert_eq(decode(&got, "a+2Bb+3D+20+0A"), MX_OK);
    cr_assert(slice_equal(got, SLICE_LITERAL("a+b= \n")));
    cr_assert_eq(decode(&got, ""), MX_OK);
    cr_assert_eq(got.len, 0);
}

Test(xtext, refuses)
{
    static const char *const bad[] = {"+", "+2", "a=b", "a b", "+2b", "+G0", "+0G", "\x7f", "\xc3"};
    struct slice got;
    for (size_t i = 0; i < mx_countof(bad); i++) {
        cr_assert_eq(decode(&got, bad[i]), MX_ERR_SYNTAX, "%s", bad[i]);
        cr_assert(!xtext_is_printable(slice_of_text(bad[i])));
    }
    cr_assert_eq(decode(&got, "12345678901234567"), MX_ERR_LIMIT);
}

Test(xtext, printable)
{
    cr_assert(xtext_is_printable(SLICE_LITERAL("QQ+20314159+2B")));
    cr_assert(!xtext_is_printable(SLICE_LITERAL("a+0D+0AInjected:")));
    cr_assert(!xtext_is_printable(SLICE_LITERAL("+00")));
    cr_assert(!xtext_is_printable(SLICE_LITERAL("+7F")));
    cr_assert(!xtext_is_printable(SLICE_LITERAL("+C3+A9")));
}

Test(xtext, every_byte_round_trips)
{
    uint8_t all[256], coded[1024], back[256];
    for (unsigned i = 0; i < 256; i++) {
        all[i] = (uint8_t)i;
    }
    struct writer w = writer_init(coded, sizeof coded);
    put_xtext(&w, slice_of(all, sizeof all));
    struct writer b = writer_init(back, sizeof back);
    cr_assert_eq(xtext_decode(&b, writer_slice(&w)), MX_OK);
    cr_assert(slice_equal(writer_slice(&b), slice_of(all, sizeof all)));
}

/* RFC 6533 section 3: an address in ASCII, whatever it is made of. */
Test(xtext, utf8_addresses)
{
    static const struct {
        const char *address, *wanted, *wanted_coded;
    } rows[] = {
        {"bob@example.org", "bob@example.org", "bob@example.org"},
        {"b\xc3\xb8"
         "b@x",
         "b\\x{F8}b@x", "b\\x{F8}b@x"},
        {"\xe2\x82\xac\xf0\x9f\x98\x80", "\\x{20AC}\\x{1F600}", "\\x{20AC}\\x{1F600}"},
        {"a+b=c\\ d", "a\\x{2B}b\\x{3D}c\\x{5C}\\x{20}d", "a+b=c\\ d"},
        {"\\x{F8}\xc3\xb8", "\\x{5C}x{F8}\\x{F8}", "\\x{F8}\\x{F8}"},
        {"a\xff"
         "b\xc3",
         "a\\x{FFFD}b\\x{FFFD}", "a\\x{FFFD}b\\x{FFFD}"},
        {"\x7f\x80", "\\x{FFFD}", "\\x{FFFD}"},
        {"\x01", "\\x{01}", "\x01"},
        {"", "", ""},
    };
    for (size_t i = 0; i < mx_countof(rows); i++) {
        for (int coded = 0; coded < 2; coded++) {
            uint8_t room[256];
            struct writer w = writer_init(room, sizeof room);
            put_utf8_xtext(&w, slice_of_text(rows[i].address), coded);
            const char *wanted = coded ? rows[i].wanted_coded : rows[i].wanted;
            cr_expect(slice_equal(writer_slice(&w), slice_of_text(wanted)), "row %zu: %.*s", i,
                      SLICE_ARGS(writer_slice(&w)));
        }
    }
}
