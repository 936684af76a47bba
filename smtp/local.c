#include "smtp/local.h"

#include "core/check.h"
#include "smtp/hop.h"
#include "smtp/maildir.h"

#include <stdlib.h>

enum { HEADER_BYTES_MAX = 2 * ADDRESS_MAX + 64 };

/* One recipient of a batch. */
struct item {
    struct delivery *delivery;
    uint32_t index; /* in delivery->rcpts */
    uint8_t header[HEADER_BYTES_MAX];
    struct maildir_piece *pieces;
};

struct batch {
    struct maildir_batch maildir;
    struct hop *hop;
    unsigned queue; /* all its deliveries are of this virtual queue; it takes one worker */
    uint64_t began_ns;
    struct maildir_delivery deliveries[MAILDIR_BATCH_MAX];
    struct item items[MAILDIR_BATCH_MAX];
    char paths[MAILDIR_BATCH_MAX][MAILDIR_PATH_MAX]; /* of the segments that hold extents */
    unsigned paths_used;
};

static struct slice header_make(struct item *item, const struct active *active)
{
    struct writer w = writer_init(item->header, sizeof item->header);
    const struct envelope *env = &active->txn->env;
    put_text(&w, "Return-Path: <");
    put_slice(&w, env->sender);
    put_text(&w, ">\r\nDelivered-To: ");
    put_slice(&w, env->rcpts[item->delivery->rcpts[item->index].rcpt].address);
    put_text(&w, "\r\n");
    MX_ASSERT(!w.overflow);
    return writer_slice(&w);
}

static uint32_t pieces_max(const struct active *active)
{
    uint32_t count = 3 + active->msg->extent_count;
    for (const struct block *b = active->content.head; b != NULL; b = b->next) {
        count++;
    }
    return count;
}

/* A file path per extent would be long; segments repeat, so the last one is looked at first. */
static const char *segment_file(struct batch *batch, const struct journal *journal,
                                const struct segment *segment)
{
    if (batch->paths_used == MAILDIR_BATCH_MAX) {
        return NULL;
    }
    char *path = batch->paths[batch->paths_used];
    segment_path(segment, journal, path, MAILDIR_PATH_MAX);
    if (batch->paths_used > 0 && strcmp(batch->paths[batch->paths_used - 1], path) == 0) {
        return batch->paths[batch->paths_used - 1];
    }
    batch->paths_used++;
    return path;
}

static bool pieces_make(struct batch *batch, struct item *item, struct maildir_delivery *out)
{
    const struct active *active = item->delivery->active;
    const struct journal *journal = active->deliver->spool->journal;
    item->pieces = calloc(pieces_max(active), sizeof *item->pieces);
    if (item->pieces == NULL) {
        return false;
    }
    uint32_t n = 0;
    item->pieces[n++].bytes = header_make(item, active);
    item->pieces[n++].bytes = active->txn->env.prefix;
    for (const struct extent *e = active->msg->extents; e != NULL; e = e->next) {
        const char *path = segment_file(batch, journal, e->res.resident.ref.segment);
        if (path == NULL) {
            return false;
        }
        item->pieces[n++] =
            (struct maildir_piece){.path = path,
                                   .offset = e->res.resident.ref.offset + RECORD_EXTENT_HEAD_BYTES,
                                   .len = e->len,
                                   .checksum = e->checksum};
    }
    if (active->loaded != NULL) {
        item->pieces[n++].bytes = active->inline_content;
    }
    for (const struct block *b = active->content.head; b != NULL; b = b->next) {
        item->pieces[n++].bytes = block_slice(b);
    }
    out->pieces = item->pieces;
    out->piece_count = n;
    return true;
}

static void split_mailbox(struct maildir_delivery *out, struct slice mailbox)
{
    size_t at = mailbox.len;
    while (at > 0 && mailbox.ptr[at - 1] != '@') {
        at--;
    }
    MX_ASSERT(at > 0);
    out->mailbox_local = slice_first(mailbox, at - 1);
    out->mailbox_domain = slice_from(mailbox, at);
}

static bool item_make(struct batch *batch, struct delivery *delivery, uint32_t index)
{
    struct item *item = &batch->items[batch->maildir.count];
    struct maildir_delivery *out = &batch->deliveries[batch->maildir.count];
    const struct message *msg = delivery->active->msg;
    const struct delivery_rcpt *rcpt = &delivery->rcpts[index];
    *item = (struct item){.delivery = delivery, .index = index};
    *out = (struct maildir_delivery){.id = msg->id,
                                     .rcpt = rcpt->rcpt,
                                     .arrived_wall_ms = msg->arrived_ms,
                                     .maybe_repeat =
                                         msg->recovered || msg->rcpts[rcpt->rcpt].attempts > 0};
    split_mailbox(out, rcpt->mailbox);
    if (!pieces_make(batch, item, out)) {
        free(item->pieces);
        return false;
    }
    batch->maildir.count++;
    return true;
}

/* Temporary whatever it was: a mailbox that cannot be written now may be later; the message is
 * safe. */
static struct outcome outcome_of(const struct maildir_delivery *result)
{
    if (result->err == MX_OK) {
        return (struct outcome){.kind = OUTCOME_DELIVERED,
                                .status = {2, 1, 5},
                                .text = SLICE_LITERAL("delivered to the mailbox"),
                                .command = SLICE_LITERAL("local delivery")};
    }
    struct outcome o =
        deliver_problem(slice_of_text(err_text(result->err)), SLICE_LITERAL("local delivery"));
    o.host_fault = false;
    o.status[1] = result->err == MX_ERR_NOSPACE ? 3 : 2;
    o.status[2] = result->err == MX_ERR_NOSPACE ? 1 : 0;
    return o;
}

static void batch_done(struct work_job *job)
{
    struct maildir_batch *maildir = mx_container_of(job, struct maildir_batch, job);
    struct batch *batch = mx_container_of(maildir, struct batch, maildir);
    struct hop *hop = batch->hop;
    uint64_t took_ns = hop->deliver->shard->now_ns - batch->began_ns;
    count_add(&hop->stats->attempts, maildir->count);
    for (uint32_t i = 0; i < maildir->count; i++) {
        hdr_add(&hop->stats->attempt_ns, took_ns);
        struct item *item = &batch->items[i];
        struct outcome outcome = outcome_of(&batch->deliveries[i]);
        delivery_decide(item->delivery, item->index, &outcome);
        free(item->pieces);
        if (item->delivery->open == 0) {
            delivery_done(item->delivery);
        }
    }
    hop->batches--;
    hop_worker_free(hop->deliver, batch->queue);
    free(batch);
    hop_run(hop);
}

/* Fills a batch from the hop's queue. A delivery whose recipients do not all fit goes back. */
static void batch_fill(struct batch *batch)
{
    struct hop *hop = batch->hop;
    struct outcome no_memory =
        deliver_problem(SLICE_LITERAL("out of memory"), SLICE_LITERAL("local delivery"));
    no_memory.host_fault = false;
    struct delivery *delivery;
    while ((delivery = hop_take_of(hop, batch->queue)) != NULL) {
        delivery->began_ns = batch->began_ns;
        if (delivery->open > MAILDIR_BATCH_MAX - batch->maildir.count && batch->maildir.count > 0) {
            hop_give_back(hop, delivery);
            return;
        }
        for (uint32_t i = 0; i < delivery->rcpt_count; i++) {
            if (!delivery->rcpts[i].decided &&
                (batch->maildir.count == MAILDIR_BATCH_MAX || !item_make(batch, delivery, i))) {
                delivery_decide(delivery, i, &no_memory);
            }
        }
        if (delivery->open == 0) {
            delivery_done(delivery);
        }
    }
}

static bool batch_start(struct hop *hop, unsigned queue)
{
    struct deliver *d = hop->deliver;
    struct batch *batch = calloc(1, sizeof *batch);
    if (batch == NULL) {
        return false;
    }
    batch->hop = hop;
    batch->queue = queue;
    batch->began_ns = d->shard->now_ns;
    batch->maildir.root = d->conf.mail_root;
    batch->maildir.hostname = hop->hostname;
    batch->maildir.deliveries = batch->deliveries;
    maildir_batch_init(&batch->maildir);
    batch->maildir.job.done = batch_done;
    batch_fill(batch);
    if (batch->maildir.count == 0) {
        free(batch);
        return false;
    }
    hop->batches++;
    virtual_queue_take(&d->queues, queue);
    if (work_submit(d->shard->work, &batch->maildir.job, hop->lane++ % DELIVER_LANES) != MX_OK) {
        /* Cannot be: fewer batches than queue cells. Undone all the same. */
        for (uint32_t i = 0; i < batch->maildir.count; i++) {
            batch->deliveries[i].err = MX_ERR_AGAIN;
        }
        batch_done(&batch->maildir.job);
        return false;
    }
    return true;
}

void local_run(struct hop *hop)
{
    int queue;
    while (hop->batches < LOCAL_BATCHES_MAX && (queue = hop_ready_queue(hop)) >= 0) {
        if (!batch_start(hop, (unsigned)queue)) {
            return;
        }
    }
}
