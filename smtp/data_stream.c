#include "smtp/data_stream.h"

#include "core/check.h"
#include "core/text.h"

/* Where the decoder stands in the input. A line end is CRLF and nothing else. A bare CR or LF is
 * content, to be refused or normalized; a dot after it is just a dot. */
enum {
    AT_LINE_START, /* after CRLF, or nothing read yet: a dot would be stuffing or the end */
    AFTER_DOT,     /* line start and a dot, which is not part of the content */
    AFTER_DOT_CR,  /* line start, dot, CR: LF makes the end; the CR has not been given out */
    IN_LINE,       /* somewhere else */
    AFTER_CR,      /* a CR has been given out (normalize: as CRLF); an LF may complete it */
    AT_NEWLINE,    /* normalize: the input begins with a CR or LF to be given out as CRLF */
};

enum { MATCH_NONE = 0xff, SCAN_BYTES = 64 };

/* Bytes that are compared at once: each gives 0xff or 0. */
typedef uint8_t lanes __attribute__((vector_size(16)));

static lanes lanes_at(const uint8_t *p)
{
    lanes v;
    memcpy(&v, p, sizeof v);
    return v;
}

static lanes lanes_of(uint8_t c)
{
    return (lanes){0} + c;
}

/* A byte that has one of these bits. */
static bool lanes_any(lanes v, uint8_t bits)
{
    uint64_t half[2];
    lanes masked = v & lanes_of(bits);
    memcpy(half, &masked, sizeof half);
    return (half[0] | half[1]) != 0;
}

static const uint8_t received_name[] = "received:";

void data_stream_init(struct data_stream *ds, uint64_t size_bytes_max, bool dotted, bool normalize,
                      bool binary)
{
    *ds = (struct data_stream){
        .size_bytes_max = size_bytes_max,
        .state = AT_LINE_START,
        .in_header = true,
        .dotted = dotted,
        .normalize = normalize && !binary,
        .binary = binary,
        .ends_in_crlf = true,
    };
}

/* Looks at a part of one line of the header, without its line end. */
static void header_see(struct data_stream *ds, const uint8_t *text, size_t len)
{
    for (size_t i = 0; i < len && ds->header_match != MATCH_NONE; i++) {
        if (ascii_lower(text[i]) != received_name[ds->header_match]) {
            ds->header_match = MATCH_NONE;
        } else if (++ds->header_match == sizeof received_name - 1) {
            ds->received++;
            ds->header_match = MATCH_NONE;
        }
    }
}

/* A line of the header has ended; an empty one ends the header. */
static void header_line_end(struct data_stream *ds)
{
    if (ds->header_match == 0) {
        ds->in_header = false;
    }
    ds->header_match = 0;
}

static bool any_8bit(struct slice s)
{
    lanes all = {0};
    uint8_t rest = 0;
    size_t at = 0;
    for (; at + SCAN_BYTES <= s.len; at += SCAN_BYTES) {
        for (size_t i = 0; i < SCAN_BYTES; i += sizeof all) {
            all |= lanes_at(s.ptr + at + i);
        }
    }
    for (; at < s.len; at++) {
        rest |= s.ptr[at];
    }
    return rest >= 0x80 || lanes_any(all, 0x80);
}

/* Counts and examines a decoded piece; false when it is over the limit and thus thrown away. */
static bool take(struct data_stream *ds, struct slice piece)
{
    ds->bytes += piece.len;
    ds->has_8bit = ds->has_8bit || any_8bit(piece);
    ds->nul = ds->nul || (!ds->binary && slice_find(piece, 0) < piece.len);
    ds->over_size = ds->over_size || (ds->size_bytes_max != 0 && ds->bytes > ds->size_bytes_max);
    return !ds->over_size;
}

/* A bare CR or LF has been seen (not in normalize mode). */
static void bare_newline(struct data_stream *ds)
{
    ds->bare_newline = ds->bare_newline || !ds->binary;
    ds->header_match = MATCH_NONE;
    ds->ends_in_crlf = false;
}

/* normalize: gives out the CRLF that stands for a bare CR or LF. */
static struct slice normal_newline(struct data_stream *ds)
{
    if (ds->in_header) {
        header_line_end(ds);
    }
    ds->ends_in_crlf = true;
    return SLICE_LITERAL("\r\n");
}

/* Cuts the first len bytes off the input. */
static struct slice cut(struct slice *in, size_t len)
{
    struct slice piece = slice_first(*in, len);
    *in = slice_from(*in, len);
    return piece;
}

/* Decides about a CR or LF at position at that does not obviously belong to a CRLF. Returns true
 * when the piece has to end before it. */
static bool odd_newline(struct data_stream *ds, struct slice in, size_t at)
{
    if (ds->normalize) {
        ds->state = AT_NEWLINE;
        return true;
    }
    if (in.ptr[at] == '\r' && at + 1 == in.len) {
        ds->state = AFTER_CR;
        return false;
    }
    bare_newline(ds);
    return false;
}

/* How many bytes from pos on certainly hold nothing but whole or half lines of ordinary content:
 * every CR and LF belongs to a CRLF, and no dot begins a line. A multiple of SCAN_BYTES. One byte
 * behind a block is looked at. */
static size_t ordinary(struct slice in, size_t pos, bool dotted)
{
    const lanes cr = lanes_of('\r'), lf = lanes_of('\n');
    /* What no line may begin with; never LF after an LF. */
    const lanes dot = lanes_of(dotted ? '.' : '\n');
    size_t at = pos;
    for (; at + SCAN_BYTES < in.len; at += SCAN_BYTES) {
        lanes odd = {0};
        for (size_t i = 0; i < SCAN_BYTES; i += sizeof odd) {
            lanes c = lanes_at(in.ptr + at + i), next = lanes_at(in.ptr + at + i + 1);
            odd |= (lanes)((c == cr) ^ (next == lf)) | (lanes)((c == lf) & (next == dot));
        }
        if (lanes_any(odd, 0xff)) {
            break;
        }
    }
    return at - pos;
}

/* The longest piece of content at the start of the input that can be given out as it is. */
static struct slice run(struct data_stream *ds, struct slice *in)
{
    bool line_start = ds->state == AT_LINE_START;
    size_t pos = 0;

    if (ds->state == AFTER_CR) { /* the input begins with the LF that completes a CRLF */
        line_start = true;
        pos = 1;
        if (ds->in_header) {
            header_line_end(ds);
        }
    }
    ds->state = IN_LINE;
    while (pos < in->len && !(line_start && ds->dotted && in->ptr[pos] == '.')) {
        size_t skip = ds->in_header || in->ptr[pos] == '\n' ? 0 : ordinary(*in, pos, ds->dotted);
        if (skip > 0) {
            pos += skip - (in->ptr[pos + skip - 1] == '\r'); /* its LF is still to come */
            line_start = in->ptr[pos - 1] == '\n';
            continue;
        }
        size_t lf = pos + slice_find(slice_from(*in, pos), '\n');
        size_t odd = pos + slice_find(slice_first(slice_from(*in, pos), lf - pos), '\r');
        if (ds->in_header) {
            header_see(ds, in->ptr + pos, odd - pos);
        }
        line_start = odd + 1 == lf && lf < in->len;
        if (line_start) {
            pos = lf + 1;
            if (ds->in_header) {
                header_line_end(ds);
            }
        } else if (odd < in->len && odd_newline(ds, *in, odd)) {
            pos = odd;
            break;
        } else {
            pos = odd < in->len ? odd + 1 : in->len;
        }
    }
    if (line_start) {
        ds->state = AT_LINE_START;
    }
    if (pos > 0) {
        ds->ends_in_crlf = line_start;
    }
    return cut(in, pos);
}

/* A dot at a line start has been dropped. Gives out a CR after it that turned out to be content. */
static struct slice after_dot(struct data_stream *ds, struct slice *in)
{
    if (ds->state == AFTER_DOT) {
        ds->state = in->ptr[0] == '\r' ? AFTER_DOT_CR : IN_LINE;
        (void)cut(in, ds->state == AFTER_DOT_CR ? 1 : 0);
        return SLICE_EMPTY;
    }
    if (in->ptr[0] == '\n') {
        (void)cut(in, 1);
        ds->done = true;
        return SLICE_EMPTY;
    }
    ds->state = IN_LINE;
    if (ds->normalize) {
        return normal_newline(ds);
    }
    bare_newline(ds);
    return SLICE_LITERAL("\r");
}

static struct slice after_cr(struct data_stream *ds, struct slice *in)
{
    if (in->ptr[0] != '\n') {
        ds->state = IN_LINE;
        if (!ds->normalize) {
            bare_newline(ds);
        }
        return SLICE_EMPTY;
    }
    if (ds->normalize) {
        ds->state = AT_LINE_START;
        (void)cut(in, 1);
        return SLICE_EMPTY;
    }
    return run(ds, in);
}

static struct slice step(struct data_stream *ds, struct slice *in)
{
    switch (ds->state) {
    case AT_LINE_START:
        if (ds->dotted && in->ptr[0] == '.') {
            ds->state = AFTER_DOT;
            (void)cut(in, 1);
            return SLICE_EMPTY;
        }
        return run(ds, in);
    case IN_LINE:
        return run(ds, in);
    case AFTER_DOT:
    case AFTER_DOT_CR:
        return after_dot(ds, in);
    case AFTER_CR:
        return after_cr(ds, in);
    default:
        MX_ASSERT(ds->state == AT_NEWLINE && ds->normalize);
        ds->state = cut(in, 1).ptr[0] == '\r' ? AFTER_CR : IN_LINE;
        return normal_newline(ds);
    }
}

struct slice data_stream_next(struct data_stream *ds, struct slice *in)
{
    while (in->len > 0 && !ds->done) {
        struct slice piece = step(ds, in);
        if (piece.len > 0 && take(ds, piece)) {
            return piece;
        }
    }
    return SLICE_EMPTY;
}

void data_stream_finish(struct data_stream *ds)
{
    MX_ASSERT(!ds->dotted);
    if (ds->state == AFTER_CR && !ds->normalize) {
        bare_newline(ds);
    }
    ds->done = true;
}
