/* A valid group of records, then changed as the input says: what still verifies carries only
 * payloads that were written. */
#include "core/hash.h"
#include "fuzz.h"
#include "io/journal_format.h"

enum { RECORDS = 3, GROUP_BYTES = 1024 };

static uint8_t original[GROUP_BYTES];
static size_t original_len;
static const char *const payloads[RECORDS] = {"first payload", "",
                                              "the third and longest payload of all"};

static void make(void)
{
    struct writer w = {.buf = original, .len = JF_GROUP_HEADER_BYTES, .cap = sizeof original};
    for (uint32_t i = 0; i < RECORDS; i++) {
        uint32_t len = (uint32_t)strlen(payloads[i]);
        jf_record_put(&w, &(struct jf_record){.type = 1, .len = len, .id = {1, 2, 3, i + 1}});
        put_bytes(&w, payloads[i], len);
        while (w.len % JF_RECORD_ALIGN != 0) {
            put_u8(&w, 0);
        }
    }
    original_len = w.len;
    jf_group_seal(original, &(struct jf_group){.set = 2,
                                               .node = 1,
                                               .epoch = 3,
                                               .instance = 4,
                                               .sequence = 5,
                                               .length = (uint32_t)w.len,
                                               .records = RECORDS});
}

static void read_group(struct slice bytes)
{
    struct jf_group group;
    struct jf_record record;
    size_t at = 0, payload_at;
    unsigned count = 0;
    if (jf_group_peek(&group, bytes) != MX_OK || group.length > bytes.len ||
        jf_group_check(&group, bytes) != MX_OK) {
        return;
    }
    while (jf_group_next(slice_first(bytes, group.length), &at, &record, &payload_at)) {
        struct slice payload = slice_first(slice_from(bytes, payload_at), record.len);
        if (!jf_payload_good(&record, payload)) {
            continue;
        }
        FUZZ_CHECK(record.id.sequence >= 1 && record.id.sequence <= RECORDS);
        FUZZ_CHECK(slice_equal(payload, slice_of_text(payloads[record.id.sequence - 1])));
        FUZZ_CHECK(++count <= RECORDS);
    }
}

/* The same records as an index, changed: it is believed whole or not at all. */
static void read_index(struct fuzz_source source)
{
    uint8_t bytes[GROUP_BYTES], block[JF_BLOCK_BYTES];
    struct slice group = slice_of(original, original_len);
    struct writer w = writer_init(bytes, sizeof bytes);
    struct jf_record record;
    struct jf_index index = {.set = 2, .epoch = 3, .instance = 4, .groups = 1};
    size_t at = 0, payload_at;
    while (jf_group_next(group, &at, &record, &payload_at)) {
        jf_index_add(&w, (uint32_t)payload_at, original + payload_at - JF_RECORD_HEADER_BYTES,
                     slice_first(slice_from(group, payload_at), record.len / 2));
        index.records++;
    }
    index.length = (uint32_t)w.len;
    index.checksum = hash_checksum(writer_slice(&w));
    jf_index_put(block, &index);
    FUZZ_CHECK(jf_index_get(&index, slice_of(block, sizeof block)) == MX_OK);
    FUZZ_CHECK(index.records == RECORDS && jf_index_good(&index, writer_slice(&w)));
    bool changed = false;
    while (source.left.len >= 3) {
        size_t place = ((size_t)fuzz_byte(&source) << 8 | fuzz_byte(&source)) % w.len;
        uint8_t bits = fuzz_byte(&source);
        bytes[place] ^= bits;
        changed = true;
    }
    struct jf_index_entry entry;
    for (at = 0; jf_index_next(writer_slice(&w), &at, &entry);) {
        FUZZ_CHECK(entry.kept.len <= entry.record.len);
    }
    if (!changed) {
        FUZZ_CHECK(at == w.len);
    } else if (jf_index_good(&index, writer_slice(&w))) {
        FUZZ_CHECK(hash_checksum(writer_slice(&w)) == index.checksum);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t bytes[GROUP_BYTES];
    struct fuzz_source source = {slice_of(data, size)};
    struct jf_segment segment = {0};
    struct jf_index index;
    struct jf_index_entry entry;
    if (original_len == 0) {
        make();
    }
    read_index(source);
    memcpy(bytes, original, sizeof bytes);
    read_group(slice_of(bytes, sizeof bytes));
    while (source.left.len >= 3) {
        size_t at = (size_t)fuzz_byte(&source) << 8 | fuzz_byte(&source);
        bytes[at % original_len] ^= fuzz_byte(&source);
    }
    read_group(slice_of(bytes, sizeof bytes));
    read_group(slice_of(data, size)); /* and bytes that never were a group */
    (void)(jf_segment_get(&segment, slice_of(data, size)) == MX_OK);
    (void)jf_blank_is(&segment, slice_of(data, size));
    (void)(jf_index_get(&index, slice_of(data, size)) == MX_OK);
    for (size_t at = 0; jf_index_next(slice_of(data, size), &at, &entry);) {
        FUZZ_CHECK(at <= size + JF_RECORD_ALIGN);
    }
    return 0;
}
