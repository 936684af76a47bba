#include "route/limits.h"

#include "core/cursor.h"
#include "core/hash.h"
#include "core/text.h"

enum { PIECE_MAX = 512 };

/* Its length goes before it, so that no two lists of texts look alike. */
static uint64_t add_text(uint64_t key, struct slice text)
{
    uint8_t bytes[8 + PIECE_MAX];
    struct writer w = writer_init(bytes, sizeof bytes);
    text = slice_first(text, PIECE_MAX);
    put_u64(&w, text.len);
    text_lower(bytes + w.len, text);
    return hash_checksum_next(key, slice_of(bytes, w.len + text.len));
}

static uint64_t add_address(uint64_t key, const struct netaddr *addr)
{
    char text[NETADDR_TEXT_MAX];
    struct writer w = writer_init(text, sizeof text);
    if (addr != NULL) {
        put_netaddr(&w, addr);
    }
    return add_text(key, writer_slice(&w));
}

static struct slice domain_of(struct slice address)
{
    size_t at = address.len;
    while (at > 0 && address.ptr[at - 1] != '@') {
        at--;
    }
    return at == 0 ? SLICE_EMPTY : slice_from(address, at);
}

uint64_t limit_key(uint64_t id, uint8_t parts, const struct limit_facts *facts)
{
    uint8_t head[9];
    struct writer w = writer_init(head, sizeof head);
    put_u64(&w, id);
    put_u8(&w, parts);
    uint64_t key = hash_checksum(writer_slice(&w));
    const struct {
        uint8_t part;
        struct slice text;
    } texts[] = {
        {LIMIT_SENDER, facts->sender}, {LIMIT_SENDER_DOMAIN, domain_of(facts->sender)},
        {LIMIT_RCPT, facts->rcpt},     {LIMIT_RCPT_DOMAIN, domain_of(facts->rcpt)},
        {LIMIT_MX, facts->mx},
    };
    for (size_t i = 0; i < mx_countof(texts); i++) {
        key = parts & texts[i].part ? add_text(key, texts[i].text) : key;
    }
    key = parts & LIMIT_REMOTE_IP ? add_address(key, facts->remote) : key;
    return parts & LIMIT_LOCAL_IP ? add_address(key, facts->local) : key;
}
