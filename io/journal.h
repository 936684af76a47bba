/* The journal: an append-only, checksummed, group-committed log in recycled, pre-written segments.
 * It stores records (type, queue id, payload) and knows nothing of mail; smtp/spool gives them
 * meaning.
 *
 * On disk.  DIR/epoch                number of the newest start, replaced atomically
 *           DIR/set-%04x/lock        exclusive lock of the process that uses the set
 *           DIR/set-%04x/%08x.seg    segment files, fixed size, recycled
 * The exact layout is io/journal_format.h. A segment starts with a header block (state, set, epoch,
 * instance); groups follow, each on a 4 KiB boundary, each one write.
 *
 * Durability.  append -> (group forms) -> one write with RWF_DSYNC -> done(MX_OK). At most one
 * group is in flight per journal, so only the last group of a segment may be torn. While a group is
 * being written, the next one forms; commits share writes by themselves.
 *
 * After a write that failed its segment is cut: its header says, durably, where the groups end, and
 * they go on in another one. Where there is no other, on a full disk, the rest of the segment is
 * all the room for outcomes: then the first block of what failed is overwritten, the header says
 * again that groups follow, and they take that place. Each of these steps is durable before the
 * next, so the group that was reported as failed never comes back.
 *
 * Index.  A segment that is full gets an index of its records at its end, in a write of its own
 * that nobody waits for: a start that finds it whole reads it instead of the groups. Payloads are
 * then verified when they are read. A segment whose writing ended otherwise (kill, error, full
 * disk) has none and is read.
 *
 * Order of freeing.  Records that finish a message (outcomes) must outlive the message's record.
 * Such a dependency always points to a segment that is at least as old (birth order: epoch, then
 * instance). A segment is freed when no resident lives in it and every segment it depends on has
 * been freed durably; freeing rewrites the header block durably before dependants may go. So a
 * crash at any moment never revives a finished message.
 *
 * Blank.  A segment is made ready to be written to before it is needed, durably. The block behind
 * its header then says that nothing was, until the first group takes its place: by that a start
 * knows which segments of earlier ones hold nothing, and uses those of its own set again before it
 * makes others. So starts that end before the old queue was read leave nothing behind, but for
 * segments in which they stored mail; these are bounded (JOURNAL_STARTS_MAX), beyond that new mail
 * waits for the old queue to be read, as on a full disk.
 *
 * Start.  A journal writes to its set at once, in segments of the new epoch; what earlier epochs
 * left stays with the store. One thread scans it meanwhile, decides what depends on what, takes the
 * segments out of the store, set by set, and hands them over (journal_adopt). Every segment of the
 * new epoch is younger than all of them, so the order of births needs no more than that. Nothing of
 * an adopted segment is freed or moved before journal_adopted says that all that lives there has
 * been settled.
 *
 * Threads.  journal_store_open runs before the cores start. journal_store_scan, segment_depend and
 * journal_store_take block and belong to one thread, which may run while the cores do, after all
 * journals were opened. Everything else belongs to the shard that opened the journal; making
 * segments happens on its workers. */
#pragma once

#include "core/cursor.h"
#include "core/err.h"
#include "core/hdr.h"
#include "core/list.h"
#include "core/qid.h"
#include "io/ring.h"

struct shard;
struct log;
struct journal;
struct journal_store;
struct segment;

enum {
    JOURNAL_BLOCK_BYTES = 4096,
    JOURNAL_GROUP_BYTES = 4 * 1024 * 1024,
    JOURNAL_GROUP_RECORDS = 4096,
    JOURNAL_RECORD_MAX = 1024 * 1024, /* payload */
    JOURNAL_SEGMENTS_MAX = 4096,      /* per set */
    JOURNAL_SETS_MAX = 1024,
    JOURNAL_EMPTY_MAX = 8, /* segments that are kept for later use; more are removed */
    /* Starts that have left records in a set: with so many nothing is made there before it is known
     * what of that is alive. Each takes a segment at least. */
    JOURNAL_STARTS_MAX = 64,
    JOURNAL_LAZY_MS = 20, /* a lazy record waits this long at most for company */
};

struct journal_conf {
    uint16_t node;
    uint64_t first_segment_bytes; /* default 16 MiB */
    uint64_t segment_bytes;       /* default 64 MiB */
    unsigned first_segments;      /* default 2: made before the first record */
    uint64_t reserve_bytes;       /* free disk space never used for segments, default 64 MiB */
    uint32_t group_bytes;         /* most per write, default and at most JOURNAL_GROUP_BYTES */
    uint32_t kept_bytes; /* room in segments for outcomes and moves, default 4 MiB; half of it for
                            outcomes alone */
    bool no_direct;      /* buffered writes with fdatasync, where O_DIRECT is refused */
};

/* --- start-up ----------------------------------------------------------------------------------
 */

/* Where a payload is. segment is stable until the segment is freed. */
struct journal_ref {
    struct segment *segment;
    uint32_t offset; /* of the payload in the file */
    uint32_t len;    /* of the payload */
};

struct journal_record {
    uint8_t type;
    struct qid id;
    /* Verified; borrowed during the call. Where the index of the segment was used, only the first
     * bytes, as many as journal_ops.indexed had said; ref.len is the length of the whole. */
    struct slice payload;
    struct journal_ref ref;
};

struct journal_scan_ops {
    /* Every valid record of all sets, oldest segment first. An error ends the scan. */
    mx_err (*record)(void *arg, const struct journal_record *record);
    /* A record whose payload or group is damaged (not a torn tail). The id is that of the record's
     * own checksummed header, or none when even that is unreadable. The bytes were copied to
     * DIR/quarantine. */
    void (*damaged)(void *arg, struct qid id, const char *file, uint64_t offset, uint32_t len);
    /* At first and behind each segment: how many are done, of how many. An error ends the scan.
     * May be NULL. */
    mx_err (*progress)(void *arg, uint64_t done, uint64_t total);
};

struct journal_scan_result {
    uint64_t segments, groups, records;
    uint64_t indexed;     /* segments whose payloads need not be read */
    uint64_t torn_groups; /* cut off at the end of a segment: normal after a kill */
    uint64_t damaged_records;
};

/* Opens (makes if absent) the folder, takes a new epoch, locks every set that nobody has locked.
 * MX_ERR_VERSION: a segment was written by a newer version; nothing was changed. */
MX_MUST_CHECK mx_err journal_store_open(struct journal_store **out_store, const char *dir,
                                        const struct journal_conf *conf, struct log *log);
/* Opens without taking an epoch or changing anything, for offline reading. */
MX_MUST_CHECK mx_err journal_store_open_readonly(struct journal_store **out_store, const char *dir,
                                                 struct log *log);
MX_MUST_CHECK mx_err journal_store_scan(struct journal_store *store,
                                        const struct journal_scan_ops *ops, void *arg,
                                        struct journal_scan_result *out_result);
/* Reads and verifies one payload (blocking); buf holds at least ref.len bytes. MX_ERR_DAMAGED. */
MX_MUST_CHECK mx_err journal_store_read(struct journal_store *store, struct journal_ref ref,
                                        void *buf);
/* Ends the store; journals opened from it must have been closed before. */
void journal_store_close(struct journal_store *store);
uint32_t journal_store_epoch(const struct journal_store *store);
/* The sets that were found and locked, whether or not anything is in them; at most max ids. */
unsigned journal_store_sets(const struct journal_store *store, uint16_t *out_sets, unsigned max);

/* Segments on their way from the store to a journal. */
struct journal_part {
    struct list segments;
    uint64_t count;
};
void journal_part_init(struct journal_part *part);
/* Takes the segments of these sets, oldest first, with their files opened. Removes what is left of
 * sets that no journal writes to: files without records. On an error the part holds what was taken.
 */
MX_MUST_CHECK mx_err journal_store_take(struct journal_store *store, const uint16_t *sets,
                                        unsigned set_count, struct journal_part *part);
/* Frees what was not adopted; the files stay. */
void journal_part_free(struct journal_part *part);

/* The record at `outcome` must outlive segment `of` (no-op when they are the same segment). For the
 * thread that scans; later journal_depend. */
void segment_depend(struct segment *outcome, struct segment *of);
/* Set of a segment found by the scan. */
uint16_t segment_set(const struct segment *segment);
/* Total order of all segments of a folder: older ones first. */
bool segment_older(const struct segment *a, const struct segment *b);

/* --- running -----------------------------------------------------------------------------------
 */

/* Something that lives in a segment and keeps it: the record of an unfinished message, an extent of
 * its body. Embedded in its owner. */
struct journal_resident {
    struct list_node node;
    struct journal_ref ref;
};

struct journal_ops {
    /* Move this resident forward (append a copy, settle there, leave here) or drop it; the segment
     * is wanted empty. Called for a few residents at a time. */
    void (*evict)(void *arg, struct journal_resident *resident);
    /* How many of a record's first bytes a later start needs. Pure. NULL: segments get no index. */
    uint32_t (*indexed)(uint8_t type, struct slice payload);
    /* The journal can take messages again after MX_ERR_NOSPACE or MX_ERR_IO. May be NULL. */
    void (*recovered)(void *arg);
};

/* Opens a journal of this shard, ready to append. It writes to the store's set number `index` (in
 * the order of journal_store_sets), or to a new one when there are fewer. Makes the first segments
 * (blocking). Registers a turn hook. Journals with different indexes may open at the same time. */
MX_MUST_CHECK mx_err journal_open(struct journal **out_journal, struct journal_store *store,
                                  struct shard *shard, unsigned index,
                                  const struct journal_ops *ops, void *arg);
/* Takes over older segments; leaves the part empty. Their records can be read and settled from now
 * on. Once. */
void journal_adopt(struct journal *journal, struct journal_part *part);
/* All that lives in the adopted segments has been settled: they are freed and moved like others. */
void journal_adopted(struct journal *journal);
/* True when nothing is in flight or waiting to be written. */
bool journal_quiet(const struct journal *journal);
/* Writes what is waiting at the next turn, lazy records too. */
void journal_flush(struct journal *journal);
/* Requires journal_quiet. Residents stay on disk. */
void journal_close(struct journal *journal);

/* Set and epoch of new queue ids; the sequence comes from journal_next_id. */
struct qid journal_next_id(struct journal *journal);

enum journal_append_flags {
    JOURNAL_LAZY = 1,         /* need not start a write by itself for JOURNAL_LAZY_MS */
    JOURNAL_RESERVE = 2,      /* may use the space kept back for moves */
    JOURNAL_LAST_RESERVE = 4, /* and what is kept back for outcomes alone */
    JOURNAL_COUNTED = 8,      /* is counted in group_counted */
    JOURNAL_REPORT = 16,      /* may use of the last of it what outcomes do not need
                                 (journal_expect) */
};

/* One append in flight; embedded in its owner, which stays until done. */
struct journal_append {
    struct list_node node;
    void (*done)(struct journal_append *append, mx_err err); /* never called from within append */
    struct journal_ref ref;                                  /* valid in done */
};

/* Adds a record to the forming group and hands out its payload as a writer, which the caller fills
 * completely before it returns to the loop.
 * MX_ERR_AGAIN: the group is full, see journal_wait. MX_ERR_NOSPACE: the disk is full.
 * MX_ERR_IO: the disk fails at the moment. In all these cases nothing was taken. */
MX_MUST_CHECK mx_err journal_append(struct journal *journal, struct journal_append *append,
                                    uint8_t type, struct qid id, uint32_t payload_len,
                                    unsigned flags, struct writer *out_payload);

/* Called once when a group is open again after MX_ERR_AGAIN, in order of waiting. */
struct journal_waiter {
    struct list_node node;
    void (*ready)(struct journal_waiter *waiter);
};
void journal_wait(struct journal *journal, struct journal_waiter *waiter);
void journal_unwait(struct journal_waiter *waiter);

/* MX_OK when records of that many bytes in all could be stored now, appended with these flags;
 * MX_ERR_NOSPACE or MX_ERR_IO otherwise. The answer for MAIL FROM with SIZE. */
mx_err journal_room(const struct journal *journal, uint64_t bytes, unsigned flags);

/* So many messages will end with an outcome, which may take a block each: what records with
 * JOURNAL_REPORT leave of what is kept back for outcomes. */
void journal_expect(struct journal *journal, uint64_t messages);

/* How commits are shared; from the next one on. */
struct journal_tuning {
    uint64_t commit_delay_ns; /* a group waits so long for company; 0: not at all */
    uint64_t lazy_ns;         /* how long lazy records wait at most */
    uint32_t group_records;   /* most records of a group: 1 to JOURNAL_GROUP_RECORDS */
};
void journal_tune(struct journal *journal, const struct journal_tuning *tuning);

void journal_settle(struct journal *journal, struct journal_resident *resident,
                    struct journal_ref ref);
/* Harmless when not settled. */
void journal_leave(struct journal *journal, struct journal_resident *resident);
/* The record at `outcome` must outlive segment `of` (no-op when they are the same segment). */
void journal_depend(struct journal *journal, struct segment *outcome, struct segment *of);

/* One read in flight; embedded in its owner. buf is JOURNAL_BLOCK_BYTES aligned and holds at least
 * journal_read_bytes(ref); on success *payload points into it. Verifies the checksum. */
struct journal_read {
    void (*done)(struct journal_read *read, mx_err err);
    struct slice payload;
    struct journal_ref ref;
    void *buf;
    struct journal *journal; /* the rest is private */
    struct op op;
};
size_t journal_read_bytes(struct journal_ref ref);
void journal_read(struct journal *journal, struct journal_read *read);

struct journal_stats {
    uint64_t groups, records, bytes, failed_groups;
    uint64_t segments, segments_free, residents;
    uint64_t live_bytes, capacity_bytes; /* of what is in the segments; the segments in use */
    uint64_t reads;                      /* of records, for delivery and moves */
    struct hdr sync_ns;                  /* of a synced write */
    struct hdr group_records;
    struct hdr group_counted; /* of them, those with JOURNAL_COUNTED */
    bool direct;
};
void journal_stats(const struct journal *journal, struct journal_stats *out_stats);
/* Path of the file that holds a segment, NUL-terminated, for readers on worker threads. */
void segment_path(const struct segment *segment, const struct journal *journal, char *out,
                  size_t cap);
