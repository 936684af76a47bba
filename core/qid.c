#include "core/qid.h"

#include "core/hash.h"
#include "core/text.h"

void qid_print(struct writer *w, struct qid id)
{
    put_hex(w, id.node);
    put_char(w, '-');
    put_hex(w, id.set);
    put_char(w, '-');
    put_hex(w, id.epoch);
    put_char(w, '-');
    put_hex(w, id.sequence);
}

static mx_err parse_hex(uint64_t *out_value, struct slice text, size_t digits_max)
{
    if (text.len == 0 || text.len > digits_max) {
        return MX_ERR_SYNTAX;
    }
    uint64_t value = 0;
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = text.ptr[i];
        if (ascii_is_digit(c)) {
            value = value << 4 | (uint64_t)(c - '0');
        } else if (c >= 'a' && c <= 'f') {
            value = value << 4 | (uint64_t)(c - 'a' + 10);
        } else {
            return MX_ERR_SYNTAX;
        }
    }
    *out_value = value;
    return MX_OK;
}

mx_err qid_parse(struct qid *out_id, struct slice text)
{
    static const uint8_t digits_max[4] = {4, 4, 8, 16};
    uint64_t part[4];
    for (unsigned i = 0; i < 4; i++) {
        size_t end = i < 3 ? slice_find(text, '-') : text.len;
        if (i < 3 && end == text.len) {
            return MX_ERR_SYNTAX;
        }
        mx_err err = parse_hex(&part[i], slice_first(text, end), digits_max[i]);
        if (err) {
            return err;
        }
        text = slice_from(text, i < 3 ? end + 1 : end);
    }
    *out_id = (struct qid){.node = (uint16_t)part[0],
                           .set = (uint16_t)part[1],
                           .epoch = (uint32_t)part[2],
                           .sequence = part[3]};
    return MX_OK;
}

void put_qid(struct writer *w, struct qid id)
{
    put_u16(w, id.node);
    put_u16(w, id.set);
    put_u32(w, id.epoch);
    put_u64(w, id.sequence);
}

struct qid get_qid(struct reader *r)
{
    struct qid id;
    id.node = get_u16(r);
    id.set = get_u16(r);
    id.epoch = get_u32(r);
    id.sequence = get_u64(r);
    return id;
}

uint64_t qid_hash(struct qid id)
{
    uint8_t bytes[16];
    struct writer w = writer_init(bytes, sizeof bytes);
    put_qid(&w, id);
    return hash_seeded(writer_slice(&w), 0x71696421);
}
