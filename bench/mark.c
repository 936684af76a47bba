#include "bench/mark.h"

#include "core/text.h"

#define ID_HEADER "X-Ringmx-Id: "
#define HASH_HEADER "X-Ringmx-XXH64: "

enum { HASH_DIGITS = 16 };

static void put_hash(struct writer *w, uint64_t hash)
{
    for (unsigned shift = 64; shift > 0; shift -= 4) {
        put_char(w, "0123456789abcdef"[hash >> (shift - 4) & 15]);
    }
}

void put_mark(struct writer *w, struct slice id, uint64_t hash)
{
    put_text(w, ID_HEADER);
    put_slice(w, id);
    put_text(w, "\r\n" HASH_HEADER);
    put_hash(w, hash);
    put_text(w, "\r\n");
}

void mark_reader_init(struct mark_reader *reader)
{
    reader->line_len = 0;
    reader->id_len = 0;
    reader->in_headers = true;
    reader->found = false;
    reader->given = 0;
    reader->content = 0;
    hash_stream_init(&reader->hash);
}

static bool parse_hash(uint64_t *out, struct slice text)
{
    uint64_t value = 0;
    if (text.len != HASH_DIGITS) {
        return false;
    }
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = ascii_lower(text.ptr[i]);
        if (!ascii_is_digit(c) && (c < 'a' || c > 'f')) {
            return false;
        }
        value = value << 4 | (uint64_t)(ascii_is_digit(c) ? c - '0' : c - 'a' + 10);
    }
    *out = value;
    return true;
}

/* A complete header line without its end. */
static void on_line(struct mark_reader *reader, struct slice line)
{
    const struct slice id = SLICE_LITERAL(ID_HEADER), hash = SLICE_LITERAL(HASH_HEADER);
    if (line.len == 0) {
        reader->in_headers = false;
    } else if (text_starts_nocase(line, id) && line.len - id.len <= MARK_ID_MAX) {
        reader->id_len = (uint32_t)(line.len - id.len);
        memcpy(reader->id, line.ptr + id.len, reader->id_len);
    } else if (reader->id_len > 0 && text_starts_nocase(line, hash) &&
               parse_hash(&reader->given, slice_from(line, hash.len))) {
        reader->found = true;
        reader->in_headers = false;
    }
}

/* Takes a header line, or a part of one, from the front. */
static struct slice take_line(struct mark_reader *reader, struct slice piece)
{
    size_t lf = slice_find(piece, '\n');
    struct slice part = slice_first(piece, lf);
    /* A line that is too long stays full, and thus unequal to ours. */
    part = slice_first(part, MARK_LINE_MAX - reader->line_len);
    memcpy(reader->line + reader->line_len, part.ptr, part.len);
    reader->line_len += (uint32_t)part.len;
    if (lf == piece.len) {
        return SLICE_EMPTY;
    }
    struct slice line = slice_of(reader->line, reader->line_len);
    if (line.len > 0 && line.ptr[line.len - 1] == '\r') {
        line.len--;
    }
    reader->line_len = 0;
    on_line(reader, line);
    return slice_from(piece, lf + 1);
}

void mark_reader_add(struct mark_reader *reader, struct slice piece)
{
    reader->content += piece.len;
    while (piece.len > 0 && reader->in_headers) {
        piece = take_line(reader, piece);
    }
    if (reader->found) {
        hash_stream_add(&reader->hash, piece);
    }
}

struct slice mark_reader_id(const struct mark_reader *reader)
{
    return reader->found ? slice_of(reader->id, reader->id_len) : SLICE_EMPTY;
}

uint64_t mark_reader_hash(const struct mark_reader *reader)
{
    return hash_stream_value(&reader->hash);
}
