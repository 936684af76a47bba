#include "smtp/envelope.h"

/* Layout, little-endian, fixed for ever per version (slice16 = u16 length and bytes):
 *   u8 version, u8 flags, u8 source, u8 body, u8 ret, u8 family, u16 port, u8[16] address,
 *   i64 arrived_wall_ms, u64 size, u64 body_bytes,
 *   slice16 sender, envid, helo, prefix, u32 rcpt_count,
 *   rcpt_count times: slice16 address, u8 notify, slice16 orcpt. */
enum {
    ENVELOPE_VERSION = 1,
    FLAG_SMTPUTF8 = 1,
    FLAG_ENDS_IN_CRLF = 2,
    FLAG_HAS_8BIT = 4,
    FLAGS_ALL = 7,
    FIXED_BYTES = 6 + 2 + 16 + 8 + 8 + 8 + 4 * 2 + 4,
    RCPT_FIXED_BYTES = 2 + 1 + 2,
    NOTIFY_ALL = NOTIFY_NEVER | NOTIFY_SUCCESS | NOTIFY_FAILURE | NOTIFY_DELAY,
};

size_t envelope_bytes(const struct envelope *env)
{
    size_t bytes =
        FIXED_BYTES + env->sender.len + env->mail.envid.len + env->helo.len + env->prefix.len;
    for (uint32_t i = 0; i < env->rcpt_count; i++) {
        bytes += RCPT_FIXED_BYTES + env->rcpts[i].address.len + env->rcpts[i].params.orcpt.len;
    }
    return bytes;
}

static uint8_t flags_of(const struct envelope *env)
{
    unsigned flags = (env->mail.smtputf8 ? FLAG_SMTPUTF8 : 0u) |
                     (env->body_ends_in_crlf ? FLAG_ENDS_IN_CRLF : 0u) |
                     (env->body_has_8bit ? FLAG_HAS_8BIT : 0u);
    return (uint8_t)flags;
}

void envelope_encode(struct writer *w, const struct envelope *env)
{
    put_u8(w, ENVELOPE_VERSION);
    put_u8(w, flags_of(env));
    put_u8(w, (uint8_t)env->source);
    put_u8(w, (uint8_t)env->mail.body);
    put_u8(w, (uint8_t)env->mail.ret);
    put_u8(w, env->client.family);
    put_u16(w, env->client.port);
    put_bytes(w, env->client.bytes, sizeof env->client.bytes);
    put_u64(w, (uint64_t)env->arrived_wall_ms);
    put_u64(w, env->mail.size);
    put_u64(w, env->body_bytes);
    put_slice16(w, env->sender);
    put_slice16(w, env->mail.envid);
    put_slice16(w, env->helo);
    put_slice16(w, env->prefix);
    put_u32(w, env->rcpt_count);
    for (uint32_t i = 0; i < env->rcpt_count; i++) {
        put_slice16(w, env->rcpts[i].address);
        put_u8(w, env->rcpts[i].params.notify);
        put_slice16(w, env->rcpts[i].params.orcpt);
    }
}

static bool get_fixed(struct envelope *env, struct reader *r)
{
    uint8_t flags = get_u8(r);
    uint8_t source = get_u8(r);
    uint8_t body = get_u8(r);
    uint8_t ret = get_u8(r);
    env->client.family = get_u8(r);
    env->client.port = get_u16(r);
    struct slice address = get_bytes(r, sizeof env->client.bytes);
    if (address.len == sizeof env->client.bytes) {
        memcpy(env->client.bytes, address.ptr, address.len);
    }
    env->arrived_wall_ms = (int64_t)get_u64(r);
    env->mail.size = get_u64(r);
    env->body_bytes = get_u64(r);
    env->source = (enum envelope_source)source;
    env->mail.body = (enum body_type)body;
    env->mail.ret = (enum dsn_ret)ret;
    env->mail.smtputf8 = (flags & FLAG_SMTPUTF8) != 0;
    env->body_ends_in_crlf = (flags & FLAG_ENDS_IN_CRLF) != 0;
    env->body_has_8bit = (flags & FLAG_HAS_8BIT) != 0;
    return (flags & ~(unsigned)FLAGS_ALL) == 0 && source <= SOURCE_LIST &&
           body <= BODY_BINARYMIME && ret <= RET_HDRS &&
           (env->client.family == 0 || env->client.family == 4 || env->client.family == 6);
}

static bool get_texts(struct envelope *env, struct reader *r)
{
    env->sender = get_slice16(r);
    env->mail.envid = get_slice16(r);
    env->helo = get_slice16(r);
    env->prefix = get_slice16(r);
    env->rcpt_count = get_u32(r);
    return env->sender.len <= ADDRESS_MAX && env->mail.envid.len <= ENVID_MAX &&
           env->helo.len <= HELO_NAME_MAX && env->rcpt_count <= ENVELOPE_RCPTS_MAX;
}

static bool notify_valid(uint8_t notify)
{
    return notify == NOTIFY_NEVER ||
           ((notify & NOTIFY_NEVER) == 0 && (notify & ~(unsigned)NOTIFY_ALL) == 0);
}

static bool get_rcpt(struct envelope_rcpt *rcpt, struct reader *r)
{
    rcpt->address = get_slice16(r);
    rcpt->params.notify = get_u8(r);
    rcpt->params.orcpt = get_slice16(r);
    return !r->overrun && rcpt->address.len > 0 && rcpt->address.len <= ADDRESS_MAX &&
           rcpt->params.orcpt.len <= ORCPT_MAX && notify_valid(rcpt->params.notify);
}

mx_err envelope_decode(struct envelope *env, struct envelope_rcpt *rcpts, size_t rcpts_max,
                       struct slice bytes)
{
    struct envelope out = {0};
    struct reader r = reader_init(bytes);

    uint8_t version = get_u8(&r);
    if (version > ENVELOPE_VERSION) {
        return MX_ERR_VERSION;
    }
    if (version == 0 || !get_fixed(&out, &r) || !get_texts(&out, &r) || r.overrun) {
        return MX_ERR_SYNTAX;
    }
    /* First only checked, so that rcpts stays untouched when something later is malformed. */
    struct reader check = r;
    for (uint32_t i = 0; i < out.rcpt_count; i++) {
        struct envelope_rcpt rcpt;
        if (!get_rcpt(&rcpt, &check)) {
            return MX_ERR_SYNTAX;
        }
    }
    if (reader_left(&check) != 0) {
        return MX_ERR_SYNTAX;
    }
    if (out.rcpt_count > rcpts_max) {
        env->rcpt_count = out.rcpt_count;
        return MX_ERR_LIMIT;
    }
    for (uint32_t i = 0; i < out.rcpt_count; i++) {
        (void)get_rcpt(&rcpts[i], &r);
    }
    out.rcpts = rcpts;
    *env = out;
    return MX_OK;
}
