/* HTTP requests: what comes of a connection's bytes does not depend on how they are cut, and
 * nothing that is handed on breaks the contract of http_request.h. */
#include "admin/http_target_parse.h"
#include "core/text.h"
#include "fuzz.h"
#include "tests/admin/http_lines.h"

static void run(struct http_lines *l, struct slice in, struct slice cuts)
{
    http_lines_init(l);
    for (size_t i = 0; in.len > 0; i++) {
        size_t step = cuts.len > 0 ? (size_t)cuts.ptr[i % cuts.len] + 1 : in.len;
        struct slice piece = slice_first(in, step);
        /* Exact copies, so that a sanitizer sees every byte too far. */
        uint8_t *copy = malloc(piece.len);
        FUZZ_CHECK(copy != NULL);
        memcpy(copy, piece.ptr, piece.len);
        http_lines_feed(l, slice_of(copy, piece.len));
        free(copy);
        in = slice_from(in, piece.len);
    }
}

static bool is_clean(struct slice s)
{
    for (size_t i = 0; i < s.len; i++) {
        if ((s.ptr[i] < 0x20 && s.ptr[i] != '\t') || s.ptr[i] == 0x7f) {
            return false;
        }
    }
    return true;
}

static void check_request(const struct http_request *r)
{
    FUZZ_CHECK(r->verb < HTTP_VERB_COUNT && r->method.len > 0);
    FUZZ_CHECK(r->path.len > 0 &&
               (r->path.ptr[0] == '/' || slice_equal(r->path, SLICE_LITERAL("*"))));
    FUZZ_CHECK(text_is_utf8(r->path) && is_clean(r->path) && is_clean(r->query));
    FUZZ_CHECK(r->host.len == 0 || http_host_valid(r->host));
    FUZZ_CHECK(is_clean(r->authorization) && is_clean(r->content_type) &&
               is_clean(r->accept_encoding) && is_clean(r->if_none_match));
    (void)http_accepts_gzip(r->accept_encoding);
    for (size_t i = 0; i + 1 < r->path.len; i++) {
        struct slice segment = slice_from(r->path, i + 1);
        segment = slice_first(segment, slice_find(segment, '/'));
        FUZZ_CHECK(r->path.ptr[i] != '/' || !(slice_equal(segment, SLICE_LITERAL(".")) ||
                                              slice_equal(segment, SLICE_LITERAL(".."))));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct http_lines whole = {.check = check_request}, single, cut;
    struct fuzz_source source = {slice_of(data, size)};
    uint8_t cuts[4];
    for (size_t i = 0; i < sizeof cuts; i++) {
        cuts[i] = fuzz_byte(&source);
    }
    run(&whole, source.left, SLICE_EMPTY);
    run(&single, source.left, slice_of("", 1));
    run(&cut, source.left, slice_of(cuts, sizeof cuts));
    FUZZ_CHECK(whole.len == single.len && memcmp(whole.text, single.text, whole.len) == 0);
    FUZZ_CHECK(whole.len == cut.len && memcmp(whole.text, cut.text, whole.len) == 0);
    FUZZ_CHECK(!whole.refused || whole.engine.refusal.status == 0 ||
               (whole.engine.refusal.status >= 400 && whole.engine.refusal.status <= 505));
    return 0;
}
