#include "smtp/envelope.h"

#include <criterion/criterion.h>
#include <stdlib.h>

static const struct envelope_rcpt two_rcpts[] = {
    {SLICE_LITERAL("alice@example.org"),
     {NOTIFY_SUCCESS | NOTIFY_DELAY, SLICE_LITERAL("rfc822;a")}},
    {SLICE_LITERAL("postmaster"), {NOTIFY_NEVER, SLICE_EMPTY}},
};

static struct envelope sample(void)
{
    return (struct envelope){
        .sender = SLICE_LITERAL("bob@example.net"),
        .mail = {.size = 4711,
                 .body = BODY_8BITMIME,
                 .ret = RET_HDRS,
                 .smtputf8 = true,
                 .envid = SLICE_LITERAL("QQ 314159")},
        .arrived_wall_ms = -5,
        .client = {.family = 6, .bytes = {0x20, 1, 0xd, 0xb8, [15] = 1}, .port = 2525},
        .helo = SLICE_LITERAL("client.example.net"),
        .source = SOURCE_DSN,
        .body_bytes = UINT64_C(1) << 40,
        .body_ends_in_crlf = true,
        .prefix = SLICE_LITERAL("Received: x\r\n"),
        .rcpt_count = 2,
        .rcpts = two_rcpts,
    };
}

static size_t encode(uint8_t *room, size_t cap, const struct envelope *env)
{
    struct writer w = writer_init(room, cap);
    envelope_encode(&w, env);
    cr_assert(!w.overflow);
    cr_assert_eq(w.len, envelope_bytes(env));
    return w.len;
}

static void assert_text(struct slice got, struct slice want)
{
    cr_assert(slice_equal(got, want), "%.*s is not %.*s", SLICE_ARGS(got), SLICE_ARGS(want));
}

Test(envelope, round_trip)
{
    uint8_t room[1024];
    struct envelope env = sample(), back;
    struct envelope_rcpt rcpts[4];
    size_t len = encode(room, sizeof room, &env);
    cr_assert_eq(envelope_decode(&back, rcpts, 4, slice_of(room, len)), MX_OK);
    assert_text(back.sender, env.sender);
    assert_text(back.mail.envid, env.mail.envid);
    assert_text(back.helo, env.helo);
    assert_text(back.prefix, env.prefix);
    cr_assert(back.mail.size == 4711 && back.mail.body == BODY_8BITMIME);
    cr_assert(back.mail.ret == RET_HDRS && back.mail.smtputf8);
    cr_assert(back.arrived_wall_ms == -5 && back.source == SOURCE_DSN);
    cr_assert(back.client.family == 6 && back.client.port == 2525);
    cr_assert_arr_eq(back.client.bytes, env.client.bytes, 16);
    cr_assert(back.body_bytes == env.body_bytes && back.body_ends_in_crlf && !back.body_has_8bit);
    cr_assert(back.rcpt_count == 2 && back.rcpts == rcpts);
    for (size_t i = 0; i < 2; i++) {
        assert_text(rcpts[i].address, two_rcpts[i].address);
        assert_text(rcpts[i].params.orcpt, two_rcpts[i].params.orcpt);
        cr_assert_eq(rcpts[i].params.notify, two_rcpts[i].params.notify);
    }
}

Test(envelope, null_sender_and_largest)
{
    static char text[ORCPT_MAX];
    memset(text, 'x', sizeof text);
    struct envelope_rcpt *many = calloc(ENVELOPE_RCPTS_MAX, sizeof *many);
    struct envelope_rcpt *back_rcpts = calloc(ENVELOPE_RCPTS_MAX, sizeof *back_rcpts);
    for (size_t i = 0; i < ENVELOPE_RCPTS_MAX; i++) {
        many[i].address = slice_of(text, ADDRESS_MAX);
        many[i].params.orcpt = slice_of(text, ORCPT_MAX);
    }
    struct envelope env = {.rcpt_count = ENVELOPE_RCPTS_MAX, .rcpts = many}, back;
    size_t bytes = envelope_bytes(&env);
    uint8_t *room = malloc(bytes);
    cr_assert_eq(encode(room, bytes, &env), bytes);
    cr_assert_eq(envelope_decode(&back, back_rcpts, ENVELOPE_RCPTS_MAX, slice_of(room, bytes)),
                 MX_OK);
    cr_assert_eq(back.sender.len, 0);
    cr_assert_eq(back.rcpts[ENVELOPE_RCPTS_MAX - 1].address.len, ADDRESS_MAX);

    back = (struct envelope){.body_bytes = 7};
    cr_assert_eq(envelope_decode(&back, back_rcpts, 10, slice_of(room, bytes)), MX_ERR_LIMIT);
    cr_assert(back.rcpt_count == ENVELOPE_RCPTS_MAX && back.body_bytes == 7);
    free(room);
    free(many);
    free(back_rcpts);
}

Test(envelope, every_truncation_and_extension_is_refused)
{
    uint8_t room[1024] = {0};
    struct envelope env = sample(), back = {.body_bytes = 7};
    struct envelope_rcpt rcpts[4] = {0};
    size_t len = encode(room, sizeof room, &env);
    for (size_t cut = 0; cut < len; cut++) {
        uint8_t *copy = malloc(cut + 1);
        memcpy(copy, room, cut);
        cr_assert_eq(envelope_decode(&back, rcpts, 4, slice_of(copy, cut)), MX_ERR_SYNTAX);
        free(copy);
    }
    cr_assert_eq(envelope_decode(&back, rcpts, 4, slice_of(room, len + 1)), MX_ERR_SYNTAX);
    cr_assert(back.body_bytes == 7 && rcpts[0].address.ptr == NULL, "untouched on failure");
}

Test(envelope, every_damaged_byte_is_refused_or_bounded)
{
    uint8_t room[1024];
    struct envelope env = sample();
    size_t len = encode(room, sizeof room, &env);
    for (size_t at = 0; at < len; at++) {
        for (unsigned value = 0; value < 256; value++) {
            uint8_t *copy = malloc(len);
            memcpy(copy, room, len);
            copy[at] = (uint8_t)value;
            struct envelope back;
            struct envelope_rcpt rcpts[4];
            if (envelope_decode(&back, rcpts, 4, slice_of(copy, len)) == MX_OK) {
                cr_assert(back.rcpt_count == 2 && back.mail.body <= BODY_BINARYMIME);
                cr_assert(back.sender.ptr >= copy &&
                          back.prefix.ptr + back.prefix.len <= copy + len);
            }
            free(copy);
        }
    }
}

Test(envelope, newer_version_and_bad_values)
{
    uint8_t room[1024];
    struct envelope env = sample(), back;
    struct envelope_rcpt rcpts[4];
    size_t len = encode(room, sizeof room, &env);
    room[0] = 2;
    cr_assert_eq(envelope_decode(&back, rcpts, 4, slice_of(room, len)), MX_ERR_VERSION);
    room[0] = 0;
    cr_assert_eq(envelope_decode(&back, rcpts, 4, slice_of(room, len)), MX_ERR_SYNTAX);

    struct envelope_rcpt bad = {SLICE_LITERAL("a@b"), {NOTIFY_NEVER | NOTIFY_DELAY, SLICE_EMPTY}};
    env = (struct envelope){.rcpt_count = 1, .rcpts = &bad};
    len = encode(room, sizeof room, &env);
    cr_assert_eq(envelope_decode(&back, rcpts, 4, slice_of(room, len)), MX_ERR_SYNTAX);
    bad = (struct envelope_rcpt){.address = SLICE_EMPTY};
    len = encode(room, sizeof room, &env);
    cr_assert_eq(envelope_decode(&back, rcpts, 4, slice_of(room, len)), MX_ERR_SYNTAX);
}
