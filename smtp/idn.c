#include "smtp/idn.h"

#include <idn2.h>
#include <stdlib.h>

enum { DOMAIN_UTF8_MAX = 1020 };

mx_err idn_address(struct writer *out, struct slice address, size_t domain_at)
{
    char domain[DOMAIN_UTF8_MAX + 1];
    struct slice utf8 = slice_from(address, domain_at);
    char *ascii = NULL;
    if (utf8.len > DOMAIN_UTF8_MAX) {
        return MX_ERR_SYNTAX;
    }
    memcpy(domain, utf8.ptr, utf8.len);
    domain[utf8.len] = '\0';
    if (idn2_to_ascii_8z(domain, &ascii, IDN2_NFC_INPUT | IDN2_NONTRANSITIONAL) != IDN2_OK) {
        return MX_ERR_SYNTAX;
    }
    put_slice(out, slice_first(address, domain_at));
    put_text(out, ascii);
    free(ascii);
    return out->overflow ? MX_ERR_LIMIT : MX_OK;
}
