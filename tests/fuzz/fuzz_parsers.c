/* Addresses, replies, stored envelopes and records, IP addresses: no crash, results stay inside the
 * input. */
#include "core/netaddr.h"
#include "core/qid.h"
#include "fuzz.h"
#include "smtp/addr_parse.h"
#include "smtp/record.h"
#include "smtp/reply_parse.h"

static bool inside(struct slice part, struct slice whole)
{
    return part.len == 0 || (part.ptr >= whole.ptr && part.ptr + part.len <= whole.ptr + whole.len);
}

static void addresses(struct slice in)
{
    struct path path;
    struct address address;
    size_t used = 0;
    if (addr_parse_path(&path, &used, in) == MX_OK) {
        FUZZ_CHECK(used > 0 && used <= in.len && inside(path.address.text, in) &&
                   inside(path.route, in));
    }
    if (addr_parse_mailbox(&address, in) == MX_OK) {
        FUZZ_CHECK(inside(address.local, in) && inside(address.domain, in) &&
                   address.local.len > 0);
        FUZZ_CHECK(address.text.len == in.len);
    }
    (void)addr_is_domain(in, true);
    (void)addr_is_literal(in);
}

static void network(struct slice in)
{
    struct netaddr addr, again;
    char text[NETADDR_TEXT_MAX];
    if (netaddr_parse(&addr, in) == MX_OK) {
        struct writer w = writer_init(text, sizeof text);
        put_netaddr(&w, &addr);
        FUZZ_CHECK(!w.overflow && netaddr_parse(&again, writer_slice(&w)) == MX_OK &&
                   netaddr_equal(&addr, &again));
    }
    struct qid id;
    if (qid_parse(&id, in) == MX_OK) {
        FUZZ_CHECK(in.len <= QID_TEXT_MAX);
    }
}

static void replies(struct slice in)
{
    struct reply_parse parse;
    struct slice text;
    reply_parse_reset(&parse);
    while (in.len > 0) {
        size_t before = in.len;
        enum reply_event event = reply_parse_next(&parse, &in, &text);
        if (event == REPLY_MORE || event == REPLY_BAD) {
            return;
        }
        FUZZ_CHECK(in.len < before && parse.code >= 200 && parse.code < 600 &&
                   parse.text_len <= CLI_TEXT_MAX);
        if (event == REPLY_LAST) {
            FUZZ_CHECK(parse.status[0] == parse.code / 100);
            reply_parse_reset(&parse);
        }
    }
}

static void stored(struct slice in)
{
    struct envelope env;
    struct envelope_rcpt rcpts[8];
    if (envelope_decode(&env, rcpts, 8, in) == MX_OK) {
        FUZZ_CHECK(env.rcpt_count <= 8 && inside(env.sender, in) && inside(env.prefix, in));
        static uint8_t again[1 << 16];
        struct writer w = writer_init(again, sizeof again);
        envelope_encode(&w, &env);
        FUZZ_CHECK(w.overflow || envelope_bytes(&env) == w.len);
    }
    struct record_message head;
    if (record_message_head_get(&head, in) == MX_OK) {
        FUZZ_CHECK(head.extent_count <= EXTENTS_MAX);
    }
    struct record_extent extent;
    (void)(record_extent_get(&extent, in) == MX_OK);
    struct reader r = reader_init(in);
    struct record_outcome outcome;
    while (record_outcome_get(&outcome, &r) == MX_OK) {
        FUZZ_CHECK(inside(outcome.text, in));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice in = slice_of(data, size);
    addresses(in);
    network(in);
    replies(in);
    stored(in);
    return 0;
}
