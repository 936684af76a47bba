#include "smtp/record.h"

#include "core/check.h"

enum { FLAG_STATES = 1 };

size_t record_message_prefix_bytes(const struct record_message *m)
{
    size_t states = !m->has_states        ? 0
                    : m->states_bytes > 0 ? m->states_bytes
                                          : (size_t)m->rcpt_count * RECORD_RCPT_BYTES;
    size_t charges = (size_t)m->charge_count * RECORD_CHARGE_BYTES;
    return RECORD_MESSAGE_HEAD_BYTES + charges + m->marks_bytes + states;
}

size_t record_message_bytes(const struct record_message *m)
{
    return record_message_prefix_bytes(m) + m->envelope_bytes + m->inline_bytes;
}

void record_message_head_put(struct writer *w, const struct record_message *m)
{
    size_t start = w->len;
    MX_ASSERT(m->charge_count <= RECORD_CHARGES_MAX);
    put_u8(w, m->charge_count > 0 ? RECORD_VERSION_CHARGES : RECORD_VERSION);
    put_u8(w, m->has_states ? FLAG_STATES : 0);
    put_u16(w, (uint16_t)m->charge_count);
    put_u32(w, m->rcpt_count);
    put_u32(w, m->envelope_bytes);
    put_u32(w, m->inline_bytes);
    put_u32(w, m->extent_count);
    put_u32(w, m->mark_count);
    put_u32(w, m->marks_bytes);
    put_u32(w, m->states_bytes);
    put_u64(w, m->body_bytes);
    put_u64(w, (uint64_t)m->arrived_ms);
    put_qid(w, m->marks_of);
    MX_ASSERT(w->overflow || w->len - start == RECORD_MESSAGE_HEAD_BYTES);
}

mx_err record_message_head_get(struct record_message *out_m, struct slice payload)
{
    struct reader r = reader_init(payload);
    uint8_t version = get_u8(&r);
    uint8_t flags = get_u8(&r);
    uint16_t charge_count = get_u16(&r);
    struct record_message m = {.has_states = (flags & FLAG_STATES) != 0};
    m.rcpt_count = get_u32(&r);
    m.envelope_bytes = get_u32(&r);
    m.inline_bytes = get_u32(&r);
    m.extent_count = get_u32(&r);
    m.mark_count = get_u32(&r);
    m.marks_bytes = get_u32(&r);
    m.states_bytes = get_u32(&r);
    m.body_bytes = get_u64(&r);
    m.arrived_ms = (int64_t)get_u64(&r);
    m.marks_of = get_qid(&r);
    if (r.overrun || m.extent_count > EXTENTS_MAX) {
        return MX_ERR_SYNTAX;
    }
    if (version != RECORD_VERSION && version != RECORD_VERSION_CHARGES) {
        return MX_ERR_VERSION;
    }
    m.charge_count = version == RECORD_VERSION_CHARGES ? charge_count : 0;
    if (m.charge_count > RECORD_CHARGES_MAX) {
        return MX_ERR_SYNTAX;
    }
    *out_m = m;
    return MX_OK;
}

uint32_t record_indexed_bytes(uint8_t type, struct slice payload)
{
    struct record_message m;
    if (type == RECORD_MESSAGE && record_message_head_get(&m, payload) == MX_OK) {
        return (uint32_t)mx_min_size(record_message_prefix_bytes(&m), payload.len);
    }
    if (type == RECORD_EXTENT) {
        return (uint32_t)mx_min_size(RECORD_EXTENT_HEAD_BYTES, payload.len);
    }
    if (type == RECORD_HISTORY) {
        return (uint32_t)mx_min_size(RECORD_HISTORY_HEAD_BYTES, payload.len);
    }
    return payload.len > UINT32_MAX ? UINT32_MAX : (uint32_t)payload.len;
}

size_t record_rcpt_bytes(const struct rcpt_state *state)
{
    return state->flags & RCPT_EXPIRES ? RECORD_RCPT_BYTES_MAX : RECORD_RCPT_BYTES;
}

void record_rcpt_put(struct writer *w, const struct rcpt_state *state)
{
    put_u8(w, state->status);
    put_u8(w, state->attempts);
    put_u8(w, state->notified);
    put_u8(w, state->expanded);
    put_u16(w, state->code);
    put_u8(w, state->flags);
    put_u8(w, state->report);
    put_u64(w, (uint64_t)state->due_ms);
    if (state->flags & RCPT_EXPIRES) {
        put_u64(w, (uint64_t)state->expires_ms);
    }
}

void record_rcpt_get(struct rcpt_state *out_state, struct reader *r)
{
    out_state->status = get_u8(r);
    out_state->attempts = get_u8(r);
    out_state->notified = get_u8(r);
    out_state->expanded = get_u8(r);
    out_state->code = get_u16(r);
    out_state->flags = get_u8(r);
    out_state->report = get_u8(r);
    out_state->due_ms = (int64_t)get_u64(r);
    out_state->expires_ms = out_state->flags & RCPT_EXPIRES ? (int64_t)get_u64(r) : 0;
    out_state->reply = 0;
    out_state->hop = 0;
    out_state->queue = 0;
}

void record_extent_put(struct writer *w, const struct record_extent *e)
{
    put_u32(w, e->number);
    put_u32(w, e->len);
    put_u64(w, e->checksum);
}

mx_err record_extent_get(struct record_extent *out_e, struct slice payload)
{
    struct reader r = reader_init(payload);
    struct record_extent e;
    e.number = get_u32(&r);
    e.len = get_u32(&r);
    e.checksum = get_u64(&r);
    if (r.overrun || e.number >= EXTENTS_MAX || e.len > EXTENT_BYTES) {
        return MX_ERR_SYNTAX;
    }
    *out_e = e;
    return MX_OK;
}

static struct slice stored_text(const struct record_outcome *o)
{
    struct slice text = slice_first(o->text, RECORD_TEXT_MAX);
    return slice_first(text, slice_find(text, '\0'));
}

static struct slice stored_hop(const struct record_outcome *o)
{
    return slice_first(o->hop, RECORD_HOP_MAX);
}

static struct slice stored_queue(const struct record_outcome *o)
{
    return slice_first(o->queue, RECORD_QUEUE_MAX);
}

static size_t text_bytes(const struct record_outcome *o)
{
    size_t hop = stored_hop(o).len, queue = stored_queue(o).len;
    return stored_text(o).len + (hop + queue > 0 ? 1 + hop : 0) + (queue > 0 ? 1 + queue : 0);
}

size_t record_outcome_bytes(const struct record_outcome *o)
{
    return 4 + record_rcpt_bytes(&o->state) + 2 + text_bytes(o);
}

void record_outcome_put(struct writer *w, const struct record_outcome *o)
{
    put_u32(w, o->rcpt);
    record_rcpt_put(w, &o->state);
    put_u16(w, (uint16_t)text_bytes(o));
    put_slice(w, stored_text(o));
    if (o->hop.len > 0 || o->queue.len > 0) {
        put_u8(w, 0);
        put_slice(w, stored_hop(o));
    }
    if (o->queue.len > 0) {
        put_u8(w, 0);
        put_slice(w, stored_queue(o));
    }
}

/* What is before the next NUL; *rest is what is behind it. */
static struct slice text_before_nul(struct slice *rest)
{
    size_t end = slice_find(*rest, '\0');
    struct slice text = slice_first(*rest, end);
    *rest = end < rest->len ? slice_from(*rest, end + 1) : SLICE_EMPTY;
    return text;
}

mx_err record_outcome_get(struct record_outcome *out_o, struct reader *r)
{
    struct record_outcome o;
    o.rcpt = get_u32(r);
    record_rcpt_get(&o.state, r);
    struct slice texts = get_slice16(r);
    o.text = text_before_nul(&texts);
    o.hop = text_before_nul(&texts);
    o.queue = text_before_nul(&texts);
    if (r->overrun || o.state.status > RCPT_FAILED) {
        return MX_ERR_SYNTAX;
    }
    *out_o = o;
    return MX_OK;
}
