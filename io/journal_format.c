#include "io/journal_format.h"

#include "core/check.h"
#include "core/hash.h"

#define SEGMENT_MAGIC UINT64_C(0x31474553584d5252) /* "RRMXSEG1" */
#define GROUP_MAGIC UINT32_C(0x47584d52)           /* "RMXG" */
#define BLANK_MAGIC UINT32_C(0x42584d52)           /* "RMXB" */
#define INDEX_MAGIC UINT64_C(0x3158444958524d52)   /* "RMRXIDX1" */

enum {
    SEGMENT_SUMMED_BYTES = 40,
    GROUP_SUMMED_BYTES = 40,
    BLANK_SUMMED_BYTES = 24,
    INDEX_SUMMED_BYTES = 48,
    RECORD_SUMMED_BYTES = 32,
    RECORD_PAYLOAD_SUM_AT = 24,
};

void jf_segment_put(void *block, const struct jf_segment *segment)
{
    memset(block, 0, JF_BLOCK_BYTES);
    struct writer w = writer_init(block, JF_BLOCK_BYTES);
    put_u64(&w, SEGMENT_MAGIC);
    put_u16(&w, JF_VERSION);
    put_u16(&w, (uint16_t)segment->state);
    put_u16(&w, segment->set);
    put_u16(&w, segment->node);
    put_u32(&w, segment->epoch);
    put_u32(&w, segment->end);
    put_u64(&w, segment->instance);
    put_u64(&w, segment->size);
    MX_ASSERT(w.len == SEGMENT_SUMMED_BYTES);
    put_u64(&w, hash_checksum(writer_slice(&w)));
}

mx_err jf_segment_get(struct jf_segment *out_segment, struct slice block)
{
    struct reader r = reader_init(block);
    uint64_t magic = get_u64(&r);
    uint16_t version = get_u16(&r);
    uint16_t state = get_u16(&r);
    struct jf_segment s = {.state = (enum jf_state)state};
    s.set = get_u16(&r);
    s.node = get_u16(&r);
    s.epoch = get_u32(&r);
    s.end = get_u32(&r);
    s.instance = get_u64(&r);
    s.size = get_u64(&r);
    uint64_t sum = get_u64(&r);
    if (r.overrun || magic != SEGMENT_MAGIC) {
        return MX_ERR_DAMAGED;
    }
    if (sum != hash_checksum(slice_first(block, SEGMENT_SUMMED_BYTES))) {
        return MX_ERR_DAMAGED; /* also when rot made it look newer */
    }
    if (version > JF_VERSION) {
        return MX_ERR_VERSION;
    }
    if (state != JF_FREE && state != JF_ACTIVE) {
        return MX_ERR_DAMAGED;
    }
    *out_segment = s;
    return MX_OK;
}

void jf_blank_put(void *block, const struct jf_segment *segment)
{
    memset(block, 0, JF_BLOCK_BYTES);
    struct writer w = writer_init(block, JF_BLOCK_BYTES);
    put_u32(&w, BLANK_MAGIC);
    put_u16(&w, JF_VERSION);
    put_u16(&w, 0);
    put_u16(&w, segment->set);
    put_u16(&w, segment->node);
    put_u32(&w, segment->epoch);
    put_u64(&w, segment->instance);
    MX_ASSERT(w.len == BLANK_SUMMED_BYTES);
    put_u64(&w, hash_checksum(writer_slice(&w)));
}

bool jf_blank_is(const struct jf_segment *segment, struct slice block)
{
    struct reader r = reader_init(block);
    uint32_t magic = get_u32(&r);
    uint16_t version = get_u16(&r);
    (void)get_u16(&r);
    struct jf_segment s = {.set = get_u16(&r)};
    s.node = get_u16(&r);
    s.epoch = get_u32(&r);
    s.instance = get_u64(&r);
    uint64_t sum = get_u64(&r);
    return !r.overrun && magic == BLANK_MAGIC && version <= JF_VERSION &&
           sum == hash_checksum(slice_first(block, BLANK_SUMMED_BYTES)) && s.set == segment->set &&
           s.epoch == segment->epoch && s.instance == segment->instance;
}

void jf_record_put(struct writer *w, const struct jf_record *record)
{
    put_u8(w, record->type);
    put_u8(w, 0);
    put_u16(w, 0);
    put_u32(w, record->len);
    put_qid(w, record->id);
    put_u64(w, 0);
    put_u64(w, 0);
}

mx_err jf_record_get(struct jf_record *out_record, struct slice bytes)
{
    struct reader r = reader_init(bytes);
    struct jf_record record = {.type = get_u8(&r)};
    (void)get_u8(&r);
    (void)get_u16(&r);
    record.len = get_u32(&r);
    record.id = get_qid(&r);
    record.payload_checksum = get_u64(&r);
    uint64_t check = get_u64(&r);
    if (r.overrun || check != hash_checksum(slice_first(bytes, RECORD_SUMMED_BYTES))) {
        return MX_ERR_DAMAGED;
    }
    *out_record = record;
    return MX_OK;
}

bool jf_payload_good(const struct jf_record *record, struct slice payload)
{
    return payload.len == record->len && hash_checksum(payload) == record->payload_checksum;
}

static uint32_t length_at(const uint8_t *record)
{
    struct reader r = reader_init(slice_of(record + 4, 4));
    return get_u32(&r);
}

static uint64_t chain(uint64_t sum, const uint8_t *record)
{
    return hash_checksum_next(sum, slice_of(record, JF_RECORD_HEADER_BYTES));
}

static void record_seal(uint8_t *record)
{
    uint32_t len = length_at(record);
    struct writer sum = writer_init(record + RECORD_PAYLOAD_SUM_AT, 8);
    put_u64(&sum, hash_checksum(slice_of(record + JF_RECORD_HEADER_BYTES, len)));
    struct writer check = writer_init(record + RECORD_SUMMED_BYTES, 8);
    put_u64(&check, hash_checksum(slice_of(record, RECORD_SUMMED_BYTES)));
}

void jf_group_seal(uint8_t *bytes, const struct jf_group *group)
{
    struct writer w = writer_init(bytes, JF_GROUP_HEADER_BYTES);
    put_u32(&w, GROUP_MAGIC);
    put_u16(&w, JF_VERSION);
    put_u16(&w, 0);
    put_u16(&w, group->set);
    put_u16(&w, group->node);
    put_u32(&w, group->epoch);
    put_u64(&w, group->instance);
    put_u64(&w, group->sequence);
    put_u32(&w, group->length);
    put_u32(&w, group->records);
    MX_ASSERT(w.len == GROUP_SUMMED_BYTES);
    uint64_t sum = hash_checksum(writer_slice(&w));
    size_t at = JF_GROUP_HEADER_BYTES;
    for (uint32_t i = 0; i < group->records; i++) {
        MX_ASSERT(at + JF_RECORD_HEADER_BYTES <= group->length);
        record_seal(bytes + at);
        sum = chain(sum, bytes + at);
        at += jf_record_bytes(length_at(bytes + at));
    }
    MX_ASSERT(at == group->length);
    put_u64(&w, sum);
}

mx_err jf_group_peek(struct jf_group *out_group, struct slice bytes)
{
    struct reader r = reader_init(bytes);
    uint32_t magic = get_u32(&r);
    uint16_t version = get_u16(&r);
    (void)get_u16(&r);
    struct jf_group g = {.set = get_u16(&r)};
    g.node = get_u16(&r);
    g.epoch = get_u32(&r);
    g.instance = get_u64(&r);
    g.sequence = get_u64(&r);
    g.length = get_u32(&r);
    g.records = get_u32(&r);
    (void)get_u64(&r);
    if (r.overrun || magic != GROUP_MAGIC || g.length < JF_GROUP_HEADER_BYTES) {
        return MX_ERR_DAMAGED;
    }
    if (version > JF_VERSION) {
        return MX_ERR_VERSION;
    }
    *out_group = g;
    return MX_OK;
}

bool jf_group_next(struct slice bytes, size_t *at, struct jf_record *out_record, size_t *payload_at)
{
    size_t pos = *at == 0 ? JF_GROUP_HEADER_BYTES : *at;
    struct jf_record record;
    if (pos >= bytes.len || jf_record_get(&record, slice_from(bytes, pos)) != MX_OK) {
        return false;
    }
    size_t total = jf_record_bytes(record.len);
    if (total > bytes.len - pos) {
        return false;
    }
    *out_record = record;
    *payload_at = pos + JF_RECORD_HEADER_BYTES;
    *at = pos + total;
    return true;
}

mx_err jf_group_check(const struct jf_group *group, struct slice bytes)
{
    if (bytes.len < group->length) {
        return MX_ERR_DAMAGED;
    }
    bytes = slice_first(bytes, group->length);
    struct reader r = reader_init(slice_from(bytes, GROUP_SUMMED_BYTES));
    uint64_t stored = get_u64(&r);
    uint64_t sum = hash_checksum(slice_first(bytes, GROUP_SUMMED_BYTES));
    size_t at = 0, payload_at;
    struct jf_record record;
    for (uint32_t i = 0; i < group->records; i++) {
        if (!jf_group_next(bytes, &at, &record, &payload_at)) {
            return MX_ERR_DAMAGED;
        }
        sum = chain(sum, bytes.ptr + payload_at - JF_RECORD_HEADER_BYTES);
    }
    bool whole = group->records == 0 ? bytes.len == JF_GROUP_HEADER_BYTES : at == bytes.len;
    return whole && sum == stored ? MX_OK : MX_ERR_DAMAGED;
}

void jf_index_add(struct writer *w, uint32_t offset, const uint8_t *header, struct slice kept)
{
    put_u32(w, offset);
    put_u32(w, (uint32_t)kept.len);
    put_bytes(w, header, JF_RECORD_HEADER_BYTES);
    put_slice(w, kept);
    for (size_t i = kept.len; i % JF_RECORD_ALIGN != 0; i++) {
        put_u8(w, 0);
    }
}

void jf_index_put(void *block, const struct jf_index *index)
{
    memset(block, 0, JF_BLOCK_BYTES);
    struct writer w = writer_init(block, JF_BLOCK_BYTES);
    put_u64(&w, INDEX_MAGIC);
    put_u16(&w, JF_VERSION);
    put_u16(&w, index->set);
    put_u32(&w, index->epoch);
    put_u64(&w, index->instance);
    put_u32(&w, index->length);
    put_u32(&w, index->records);
    put_u64(&w, index->groups);
    put_u64(&w, index->checksum);
    MX_ASSERT(w.len == INDEX_SUMMED_BYTES);
    put_u64(&w, hash_checksum(writer_slice(&w)));
}

mx_err jf_index_get(struct jf_index *out_index, struct slice block)
{
    struct reader r = reader_init(block);
    uint64_t magic = get_u64(&r);
    uint16_t version = get_u16(&r);
    struct jf_index index = {.set = get_u16(&r)};
    index.epoch = get_u32(&r);
    index.instance = get_u64(&r);
    index.length = get_u32(&r);
    index.records = get_u32(&r);
    index.groups = get_u64(&r);
    index.checksum = get_u64(&r);
    uint64_t check = get_u64(&r);
    if (r.overrun || magic != INDEX_MAGIC || version == 0 || version > JF_VERSION ||
        check != hash_checksum(slice_first(block, INDEX_SUMMED_BYTES))) {
        return MX_ERR_DAMAGED;
    }
    *out_index = index;
    return MX_OK;
}

bool jf_index_next(struct slice entries, size_t *at, struct jf_index_entry *out_entry)
{
    if (*at >= entries.len) {
        return false;
    }
    struct reader r = reader_init(slice_from(entries, *at));
    struct jf_index_entry entry = {.offset = get_u32(&r)};
    uint32_t kept = get_u32(&r);
    struct slice header = get_bytes(&r, JF_RECORD_HEADER_BYTES);
    entry.kept = get_bytes(&r, kept);
    if (r.overrun || jf_record_get(&entry.record, header) != MX_OK || kept > entry.record.len) {
        return false;
    }
    *at += jf_index_entry_bytes(kept);
    *out_entry = entry;
    return true;
}

bool jf_index_good(const struct jf_index *index, struct slice entries)
{
    struct jf_index_entry entry;
    size_t at = 0;
    uint32_t records = 0;
    if (entries.len != index->length || hash_checksum(entries) != index->checksum) {
        return false;
    }
    while (jf_index_next(entries, &at, &entry)) {
        records++;
    }
    return at == entries.len && records == index->records;
}
