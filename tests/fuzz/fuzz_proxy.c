/* PROXY headers: the verdict and the number of bytes do not depend on how they are cut. */
#include "fuzz.h"
#include "io/proxy_parse.h"

static enum proxy_status run(struct proxy_parse *p, struct slice in, size_t step, size_t *out_used)
{
    enum proxy_status status = PROXY_MORE;
    size_t total = 0;
    proxy_parse_init(p);
    while (status == PROXY_MORE && total < in.len) {
        size_t used = 0;
        struct slice piece = slice_first(slice_from(in, total), step);
        status = proxy_parse_feed(p, piece, &used);
        FUZZ_CHECK(used <= piece.len && (status != PROXY_MORE || used == piece.len));
        total += used;
    }
    *out_used = total;
    return status;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct proxy_parse whole, single;
    struct slice in = slice_of(data, size);
    size_t used_whole, used_single;
    enum proxy_status a = run(&whole, in, size > 0 ? size : 1, &used_whole);
    enum proxy_status b = run(&single, in, 1, &used_single);
    FUZZ_CHECK(a == b && used_whole == used_single);
    if (a == PROXY_DONE) {
        FUZZ_CHECK(proxy_parse_is_local(&whole) == proxy_parse_is_local(&single));
        FUZZ_CHECK(netaddr_equal(proxy_parse_source(&whole), proxy_parse_source(&single)));
        FUZZ_CHECK(
            netaddr_equal(proxy_parse_destination(&whole), proxy_parse_destination(&single)));
    }
    return 0;
}
