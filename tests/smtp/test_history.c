#include "smtp/history.h"

#include <criterion/criterion.h>

static uint8_t bytes[256 * 1024];

static struct history_entry entry(uint32_t rcpt, uint32_t n, size_t text_len)
{
    static uint8_t text[400];
    memset(text, 'x', sizeof text);
    return (struct history_entry){.rcpt = rcpt,
                                  .at_ms = 1790000000000 + n,
                                  .took_ms = n,
                                  .kind = OUTCOME_TEMPORARY,
                                  .code = 451,
                                  .hop = SLICE_LITERAL("source"),
                                  .host = SLICE_LITERAL("mx.example.org"),
                                  .peer = SLICE_LITERAL("192.0.2.1:25"),
                                  .text = slice_of(text, text_len)};
}

Test(history, entries_come_back)
{
    struct history_entry in[2] = {entry(0, 1, 20), entry(3, 2, 0)}, out;
    in[1].kind = OUTCOME_DELIVERED;
    in[1].code = 0;
    in[1].host = in[1].peer = SLICE_EMPTY;
    struct writer w = writer_init(bytes, sizeof bytes);
    for (unsigned i = 0; i < 2; i++) {
        history_put(&w, &in[i]);
    }
    cr_assert_eq(w.len, history_entry_bytes(&in[0]) + history_entry_bytes(&in[1]));
    struct reader r = reader_init(writer_slice(&w));
    for (unsigned i = 0; i < 2; i++) {
        cr_assert_eq(history_get(&out, &r), MX_OK);
        cr_assert(out.rcpt == in[i].rcpt && out.at_ms == in[i].at_ms &&
                  out.took_ms == in[i].took_ms && out.kind == in[i].kind && out.code == in[i].code);
        cr_assert(slice_equal(out.hop, in[i].hop) && slice_equal(out.host, in[i].host) &&
                  slice_equal(out.peer, in[i].peer) && slice_equal(out.text, in[i].text));
    }
    cr_assert_eq(reader_left(&r), 0);
    for (size_t cut = 0; cut < w.len; cut++) {
        r = reader_init(slice_of(bytes, cut));
        mx_err err = MX_OK;
        while (!err && reader_left(&r) > 0) {
            err = history_get(&out, &r);
        }
        cr_assert_eq(err == MX_OK, cut == 0 || cut == history_entry_bytes(&in[0]), "cut %zu", cut);
    }
}

Test(history, long_texts_are_cut)
{
    struct history_entry in = entry(0, 1, 400), out;
    struct writer w = writer_init(bytes, sizeof bytes);
    history_put(&w, &in);
    cr_assert_eq(w.len, history_entry_bytes(&in));
    struct reader r = reader_init(writer_slice(&w));
    cr_assert_eq(history_get(&out, &r), MX_OK);
    cr_assert_eq(out.text.len, HISTORY_TEXT_MAX);
}

/* The last attempts of each recipient stay, in their order. */
Test(history, oldest_of_a_recipient_go)
{
    uint8_t counts[2];
    struct writer w = writer_init(bytes, sizeof bytes);
    for (uint32_t n = 0; n < HISTORY_RCPT_MAX + 5; n++) {
        struct history_entry e = entry(0, n, 3);
        history_put(&w, &e);
    }
    struct history_entry other = entry(1, 99, 3), out;
    history_put(&w, &other);
    size_t len = history_trim(bytes, w.len, 2, counts);
    struct reader r = reader_init(slice_of(bytes, len));
    for (uint32_t n = 5; n < HISTORY_RCPT_MAX + 5; n++) {
        cr_assert(history_get(&out, &r) == MX_OK && out.rcpt == 0 && out.took_ms == n);
    }
    cr_assert(history_get(&out, &r) == MX_OK && out.rcpt == 1 && reader_left(&r) == 0);
    cr_assert_eq(history_trim(bytes, len, 2, counts), len);
}

/* A message with many recipients: no more bytes than the bound, the newest of all stay. */
Test(history, bytes_are_bounded)
{
    static uint8_t counts[1000];
    struct writer w = writer_init(bytes, sizeof bytes);
    for (uint32_t i = 0; i < 1000; i++) {
        struct history_entry e = entry(i, i, 100);
        history_put(&w, &e);
    }
    cr_assert_not(w.overflow);
    size_t len = history_trim(bytes, w.len, 1000, counts);
    struct history_entry one = entry(0, 0, 100), out = {.rcpt = 0};
    cr_assert(len <= HISTORY_BYTES_MAX && len + history_entry_bytes(&one) > HISTORY_BYTES_MAX);
    struct reader r = reader_init(slice_of(bytes, len));
    while (reader_left(&r) > 0) {
        cr_assert_eq(history_get(&out, &r), MX_OK);
    }
    cr_assert_eq(out.rcpt, 999);
    /* What names a recipient that is not there, or is cut, is no history. */
    cr_assert_eq(history_trim(bytes, len, 999, counts), 0);
    cr_assert_eq(history_trim(bytes, len - 1, 1000, counts), 0);
}
