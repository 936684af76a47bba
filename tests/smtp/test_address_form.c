#include "smtp/address_form.h"

#include <criterion/criterion.h>

Test(address_form, forms)
{
    static const struct {
        const char *address, *queue, *session;
    } cases[] = {
        {"bob@example.org", "bob@example.org", "bob@example.org"},
        {"Bob@example.org", "Bob@example.org", "bob@example.org"},
        {"Bob@Example.ORG", "Bob@example.org", "bob@example.org"},
        {"Postmaster", "Postmaster", "postmaster"},
        {"", "", ""},
        {"\"A@B\"@C.example", "\"A@B\"@c.example", "\"a@b\"@c.example"},
        {"x@[IPv6:2001:DB8::1]", "x@[ipv6:2001:db8::1]", "x@[ipv6:2001:db8::1]"},
        {"X@B\xc3\xbc"
         "cher.EXAMPLE",
         "X@xn--bcher-kva.example", "x@xn--bcher-kva.example"},
        {"\xc3\x9cX@b.EXAMPLE", "\xc3\x9cX@b.example", "\xc3\x9cx@b.example"}, /* A to Z alone */
        {"X@\xff.Example", "X@\xff.example", "x@\xff.example"}, /* no domain: as far as it goes */
    };
    for (size_t i = 0; i < mx_countof(cases); i++) {
        uint8_t buf[ADDRESS_FORM_MAX];
        struct slice address = slice_of_text(cases[i].address);
        struct slice form = address_form(buf, address, false);
        cr_assert(slice_equal(form, slice_of_text(cases[i].queue)), "%s: %.*s", cases[i].address,
                  SLICE_ARGS(form));
        cr_assert_eq(form.ptr == address.ptr, slice_equal(form, address), "%s", cases[i].address);
        form = address_form(buf, address, true);
        cr_assert(slice_equal(form, slice_of_text(cases[i].session)), "%s: %.*s", cases[i].address,
                  SLICE_ARGS(form));
    }
}

Test(address_form, longest)
{
    char address[ADDRESS_FORM_MAX + 8];
    uint8_t buf[ADDRESS_FORM_MAX];
    memset(address, 'A', sizeof address);
    address[64] = '@';
    struct slice longest = slice_of(address, ADDRESS_FORM_MAX),
                 longer = slice_of(address, ADDRESS_FORM_MAX + 1);
    cr_assert_eq(address_form(buf, longest, true).ptr[0], 'a');
    cr_assert_eq(address_form(buf, longest, false).ptr[65], 'a');
    cr_assert_eq(address_form(buf, longer, true).ptr, longer.ptr, "no address is so long");
}

Test(address_form, domain)
{
    cr_assert(slice_equal(address_domain(SLICE_LITERAL("a@b@C.d")), SLICE_LITERAL("C.d")));
    cr_assert_eq(address_domain(SLICE_LITERAL("postmaster")).len, 0);
    cr_assert_eq(address_domain(SLICE_LITERAL("a@")).len, 0);
}
