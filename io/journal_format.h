/* Layout of the journal on disk. Pure. Little-endian.
 *
 * Segment  header block | group | group | ... | index   every part begins on a 4 KiB boundary
 * Header   magic u64 | version u16 | state u16 | set u16 | node u16 | epoch u32 | end u32 |
 * instance u64 | size u64 | checksum u64 Group    magic u32 | version u16 | 0 u16 | set u16 | node
 * u16 | epoch u32 | instance u64 | sequence u64 | length u32 | records u32 | checksum u64, then the
 * records, then zeros up to the boundary Record   type u8 | 0 u8 | 0 u16 | payload length u32 |
 * queue id 16 | payload checksum u64 | check of this header u64, then the payload, then zeros up to
 * 8 bytes
 *
 * Blank    magic u32 | version u16 | 0 u16 | set u16 | node u16 | epoch u32 | instance u64 |
 * checksum u64. It lies in the place of the first group until that is written.
 *
 * Of a segment header, magic, version and checksum stay where they are in every version.
 * Checksums are XXH3-64. A group's checksum covers its header and all record headers, which in turn
 * contain the checksums of their payloads: every byte is hashed once. set, epoch and instance make
 * what an earlier use of the file left behind recognizable as such. */
#pragma once

#include "core/cursor.h"
#include "core/err.h"
#include "core/qid.h"

enum {
    /* 1: recipient states had a fixed size. 2: no histories, no charges or fewer, no texts in
     * copies of messages, no blanks. Both are read as well. A program that knows less refuses at
     * its start: what records hold is told by the version of the segments. */
    JF_VERSION = 3,
    JF_BLOCK_BYTES = 4096,
    JF_GROUP_HEADER_BYTES = 48,
    JF_RECORD_HEADER_BYTES = 40,
    JF_RECORD_ALIGN = 8,
};

enum jf_state { JF_FREE = 1, JF_ACTIVE = 2 };

struct jf_segment {
    enum jf_state state;
    uint16_t set, node;
    uint32_t epoch;
    uint32_t end; /* bytes; what lies there or behind is void; 0 = not known */
    uint64_t instance;
    uint64_t size;
};

/* Fills a whole block of JF_BLOCK_BYTES. */
void jf_segment_put(void *block, const struct jf_segment *segment);
/* MX_ERR_DAMAGED: no valid header (a file in the making, or rot); MX_ERR_VERSION: newer than we
 * know. */
MX_MUST_CHECK mx_err jf_segment_get(struct jf_segment *out_segment, struct slice block);
/* The block behind the header of a segment in which no group was ever written. As groups are
 * written one after the other, each once the one before it is durable, it says that there is none.
 * A block that is merely no group says nothing: the first group may have rotted. */
void jf_blank_put(void *block, const struct jf_segment *segment);
bool jf_blank_is(const struct jf_segment *segment, struct slice block);

struct jf_group {
    uint16_t set, node;
    uint32_t epoch;
    uint64_t instance;
    uint64_t sequence;
    uint32_t length; /* bytes with header, before padding */
    uint32_t records;
};

struct jf_record {
    uint8_t type;
    uint32_t len;
    struct qid id;
    uint64_t payload_checksum;
};

static inline size_t jf_record_bytes(uint32_t payload_len)
{
    return JF_RECORD_HEADER_BYTES + (size_t)mx_round_up(payload_len, JF_RECORD_ALIGN);
}

/* Writes a record header without payload checksum and check; they come with jf_group_seal. */
void jf_record_put(struct writer *w, const struct jf_record *record);
/* Checks and decodes the record header at the start of bytes. */
MX_MUST_CHECK mx_err jf_record_get(struct jf_record *out_record, struct slice bytes);
/* True when payload is what the header's checksum says. */
bool jf_payload_good(const struct jf_record *record, struct slice payload);

/* Completes a group in place: bytes hold room for the header and the records as put; computes every
 * checksum. */
void jf_group_seal(uint8_t *bytes, const struct jf_group *group);
/* --- index -------------------------------------------------------------------------------------
 *
 * A sealed segment may end with an index, so that a start need not read payloads:
 *
 *   ... groups | unused | entries, zeros up to 4 KiB | trailer block = the last of the file
 *
 * Entry    payload offset u32 | kept bytes u32 | record header 40 | kept first bytes of the
 * payload, zeros up to 8 bytes Trailer  magic u64 | version u16 | set u16 | epoch u32 | instance
 * u64 | entries' bytes u32 | records u32 | groups u64 | checksum of the entries u64 | check of the
 * trailer u64
 *
 * It only repeats what the groups say: without it, or with a bad one, they are read. */
enum { JF_INDEX_ENTRY_BYTES = 8 + JF_RECORD_HEADER_BYTES };

struct jf_index {
    uint16_t set;
    uint32_t epoch;
    uint64_t instance;
    uint32_t length;
    uint32_t records;
    uint64_t groups;
    uint64_t checksum;
};
struct jf_index_entry {
    uint32_t offset; /* of the payload in the file */
    struct jf_record record;
    struct slice kept;
};
static inline size_t jf_index_entry_bytes(uint32_t kept)
{
    return JF_INDEX_ENTRY_BYTES + (size_t)mx_round_up(kept, JF_RECORD_ALIGN);
}
/* header: JF_RECORD_HEADER_BYTES of a sealed group. */
void jf_index_add(struct writer *w, uint32_t offset, const uint8_t *header, struct slice kept);
/* Fills a whole block of JF_BLOCK_BYTES. */
void jf_index_put(void *block, const struct jf_index *index);
/* MX_ERR_DAMAGED: none, or rot; also where it is of a newer version. */
MX_MUST_CHECK mx_err jf_index_get(struct jf_index *out_index, struct slice block);
/* True when these are the entries that the trailer speaks of. */
bool jf_index_good(const struct jf_index *index, struct slice entries);
/* Steps through the entries: *at is 0 before the first. False at the end or at a bad entry. */
bool jf_index_next(struct slice entries, size_t *at, struct jf_index_entry *out_entry);

/* --- reading groups ----------------------------------------------------------------------------
 */

/* Decodes a group header alone: plausible, not yet verified. MX_ERR_DAMAGED, MX_ERR_VERSION. */
MX_MUST_CHECK mx_err jf_group_peek(struct jf_group *out_group, struct slice bytes);
/* Verifies header and record headers of a whole group (not the payloads). */
MX_MUST_CHECK mx_err jf_group_check(const struct jf_group *group, struct slice bytes);
/* Steps through the records: *at is 0 before the first. False at the end or at a bad record header.
 * *payload_at is the payload's offset in bytes. */
bool jf_group_next(struct slice bytes, size_t *at, struct jf_record *out_record,
                   size_t *payload_at);
