#include "smtp/address_form.h"

#include "core/text.h"
#include "smtp/idn.h"

struct slice address_domain(struct slice address)
{
    size_t at = address.len;
    while (at > 0 && address.ptr[at - 1] != '@') {
        at--;
    }
    return at == 0 ? SLICE_EMPTY : slice_from(address, at);
}

struct slice address_form(uint8_t buf[ADDRESS_FORM_MAX], struct slice address, bool whole)
{
    struct slice domain = address_domain(address);
    size_t from = whole ? 0 : address.len - domain.len;
    struct writer w = writer_init(buf, ADDRESS_FORM_MAX);
    if (!text_is_ascii(domain) && idn_address(&w, address, address.len - domain.len) == MX_OK) {
        address = writer_slice(&w);
    }
    if (address.len > ADDRESS_FORM_MAX) {
        return address;
    }
    struct slice part = slice_from(address, from);
    uint8_t *lower = buf + from;
    if (text_lowered(lower, part).ptr == part.ptr) {
        return address; /* it is so */
    }
    memmove(buf, address.ptr, from);
    return slice_of(buf, address.len);
}
