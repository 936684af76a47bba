/* Delivery to Maildir folders, as a blocking batch on a worker thread (io/work). Order per batch:
 * write every message into tmp/, sync its data, rename into new/, sync every new/ once; only then
 * does a delivery count. The file name is made from queue id and recipient, with the S= size, so a
 * repetition after a crash finds its own file (in new/, or in cur/ with any flags) and does not
 * deliver twice. */
#pragma once

#include "core/err.h"
#include "core/qid.h"
#include "core/slice.h"
#include "io/work.h"

enum { MAILDIR_PATH_MAX = 1024, MAILDIR_BATCH_MAX = 64 };

/* One part of the content, in order: bytes in memory, or a range of a file whose hash_checksum must
 * be `checksum` (else the delivery fails with MX_ERR_DAMAGED and nothing appears in new/). */
struct maildir_piece {
    struct slice bytes; /* used when path is NULL */
    const char *path;
    uint64_t offset;
    uint64_t len;
    uint64_t checksum;
};

struct maildir_delivery {
    /* in */
    struct slice mailbox_local; /* local part and domain of the account, canonical (lower case) */
    struct slice mailbox_domain;
    struct qid id;
    uint32_t rcpt;           /* index of the recipient in the envelope: part of the file name */
    int64_t arrived_wall_ms; /* first part of the file name */
    const struct maildir_piece *pieces; /* headers and body, in order */
    uint32_t piece_count;
    bool
        maybe_repeat; /* an earlier attempt may have succeeded unnoticed: look for its file first */
    /* out */
    mx_err err;
    bool was_there; /* found from an earlier attempt */
};

struct maildir_batch {
    struct work_job job;   /* set job.done; submit to io/work */
    const char *root;      /* folder of all mailboxes: ROOT/<domain>/<local>/{tmp,new,cur} */
    struct slice hostname; /* part of the file names */
    struct maildir_delivery *deliveries;
    uint32_t count;
    void *owner;
};

/* Prepares batch->job.run. */
void maildir_batch_init(struct maildir_batch *batch);
/* Folder name for one part of an address: safe for any bytes ('.', '..', '/', NUL, control
 * characters, length), injective, readable for ordinary names. Bytes outside [a-z0-9] and, behind
 * the first, "._+-=" are written as %XX; a name that would exceed 200 bytes is cut and given a
 * hash. Writes at most MAILDIR_NAME_MAX bytes. */
enum { MAILDIR_NAME_MAX = 255 };
void maildir_folder_name(struct writer *out, struct slice part);
