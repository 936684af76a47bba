#include "bench/proxy_header.h"

enum { V2_PROXY = 0x21, V2_TCP4 = 0x11, V2_TCP6 = 0x21 };

void put_proxy_v1(struct writer *w, const struct netaddr *from, const struct netaddr *to)
{
    put_text(w, from->family == 4 ? "PROXY TCP4 " : "PROXY TCP6 ");
    put_netaddr(w, from);
    put_char(w, ' ');
    put_netaddr(w, to);
    put_char(w, ' ');
    put_decimal(w, from->port);
    put_char(w, ' ');
    put_decimal(w, to->port);
    put_text(w, "\r\n");
}

static void put_big16(struct writer *w, uint16_t v)
{
    put_u8(w, (uint8_t)(v >> 8));
    put_u8(w, (uint8_t)v);
}

void put_proxy_v2(struct writer *w, const struct netaddr *from, const struct netaddr *to)
{
    static const uint8_t signature[12] = "\r\n\r\n\0\r\nQUIT\n";
    size_t len = from->family == 4 ? 4 : 16;
    put_bytes(w, signature, sizeof signature);
    put_u8(w, V2_PROXY);
    put_u8(w, from->family == 4 ? V2_TCP4 : V2_TCP6);
    put_big16(w, (uint16_t)(2 * len + 4));
    put_bytes(w, from->bytes, len);
    put_bytes(w, to->bytes, len);
    put_big16(w, from->port);
    put_big16(w, to->port);
}
