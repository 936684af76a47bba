#include "smtp/history.h"

enum { FIXED_BYTES = 20, ENTRY_BYTES_MIN = FIXED_BYTES + 4 * 2 };

static void texts_of(const struct history_entry *entry, struct slice out[4])
{
    out[0] = slice_first(entry->hop, HISTORY_HOP_MAX);
    out[1] = slice_first(entry->host, HISTORY_HOP_MAX);
    out[2] = slice_first(entry->peer, HISTORY_PEER_MAX);
    out[3] = slice_first(entry->text, HISTORY_TEXT_MAX);
}

size_t history_entry_bytes(const struct history_entry *entry)
{
    struct slice texts[4];
    texts_of(entry, texts);
    return ENTRY_BYTES_MIN + texts[0].len + texts[1].len + texts[2].len + texts[3].len;
}

void history_put(struct writer *w, const struct history_entry *entry)
{
    struct slice texts[4];
    texts_of(entry, texts);
    put_u32(w, entry->rcpt);
    put_u64(w, (uint64_t)entry->at_ms);
    put_u32(w, entry->took_ms);
    put_u8(w, (uint8_t)entry->kind);
    put_u8(w, 0);
    put_u16(w, entry->code);
    for (unsigned i = 0; i < 4; i++) {
        put_slice16(w, texts[i]);
    }
}

mx_err history_get(struct history_entry *out_entry, struct reader *r)
{
    struct history_entry entry = {.rcpt = get_u32(r)};
    entry.at_ms = (int64_t)get_u64(r);
    entry.took_ms = get_u32(r);
    uint8_t kind = get_u8(r);
    (void)get_u8(r);
    entry.code = get_u16(r);
    entry.hop = get_slice16(r);
    entry.host = get_slice16(r);
    entry.peer = get_slice16(r);
    entry.text = get_slice16(r);
    if (r->overrun || kind > OUTCOME_PERMANENT) {
        return MX_ERR_SYNTAX;
    }
    entry.kind = (enum outcome_kind)kind;
    *out_entry = entry;
    return MX_OK;
}

/* Counts the entries of each recipient, up to 255. */
static mx_err count(struct slice bytes, uint32_t rcpts, uint8_t *counts)
{
    struct reader r = reader_init(bytes);
    memset(counts, 0, rcpts);
    while (reader_left(&r) > 0) {
        struct history_entry entry;
        mx_err err = history_get(&entry, &r);
        if (err || entry.rcpt >= rcpts) {
            return MX_ERR_SYNTAX;
        }
        if (counts[entry.rcpt] < UINT8_MAX) {
            counts[entry.rcpt]++;
        }
    }
    return MX_OK;
}

size_t history_trim(uint8_t *bytes, size_t len, uint32_t rcpts, uint8_t *counts)
{
    if (count(slice_of(bytes, len), rcpts, counts)) {
        return 0;
    }
    struct reader r = reader_init(slice_of(bytes, len));
    size_t kept = 0, left = len; /* left: if all that is not looked at yet stays */
    struct history_entry entry;
    size_t from = 0;
    while (reader_left(&r) > 0 && history_get(&entry, &r) == MX_OK) {
        size_t at = from;
        from = len - reader_left(&r);
        size_t entry_len = from - at;
        if (counts[entry.rcpt] > HISTORY_RCPT_MAX || left > HISTORY_BYTES_MAX) {
            counts[entry.rcpt]--;
            left -= entry_len;
            continue;
        }
        memmove(bytes + kept, bytes + at, entry_len);
        kept += entry_len;
    }
    return kept;
}
