#include "smtp/expand.h"

#include "core/check.h"
#include "core/text.h"
#include "smtp/content.h"
#include "smtp/dsn.h"

#include <stdlib.h>

enum { TRACE_BYTES_MAX = BLOCK_DATA };

#define TRACE_NAME "Delivered-To:"

struct expansion {
    struct active *active;
    struct incoming *in;
    struct txn *txn; /* the new message's */
    struct record_outcome mark;
    /* What of the content comes next: an extent, then blocks or the text of the record. */
    const struct extent *extent;
    const struct block *block;
    bool inline_given, all_given;
    struct journal_read read;
    const struct extent *reading;
};

static void step(struct expansion *expansion);

/* --- circles -----------------------------------------------------------------------------------
 */

/* Counts the Delivered-To fields of a header; *out_found tells whether one names the list. */
static unsigned traces(struct slice header, struct slice list, bool *out_found)
{
    unsigned count = 0;
    while (header.len > 0) {
        size_t end = slice_find(header, '\n');
        struct slice line = slice_first(header, end);
        line.len -= line.len > 0 && line.ptr[line.len - 1] == '\r';
        header = slice_from(header, mx_min_size(end + 1, header.len));
        size_t name = sizeof TRACE_NAME - 1;
        if (line.len > name &&
            text_equal_nocase(slice_first(line, name), SLICE_LITERAL(TRACE_NAME))) {
            count++;
            *out_found |= text_equal_nocase(text_trim(slice_from(line, name)), list);
        }
    }
    return count;
}

/* MX_ERR_LIMIT: the list was expanded before on the way of this message, or too many were. */
static mx_err check_circle(const struct active *active, struct slice list)
{
    bool found = false;
    unsigned depth = traces(active->txn->env.prefix, list, &found);
    uint8_t *head = malloc(DSN_HEADER_MAX);
    if (head == NULL) {
        return MX_ERR_NOMEM;
    }
    struct slice content = content_head(active, head, DSN_HEADER_MAX);
    (void)traces(slice_first(content, content_header_end(content)), list, &found);
    free(head);
    return found || depth >= EXPANSION_DEPTH_MAX ? MX_ERR_LIMIT : MX_OK;
}

/* --- the new envelope --------------------------------------------------------------------------
 */

/* RFC 3461 section 5.2.7.2: success was the expansion; failures and delays are still wanted. */
static struct rcpt_params member_params(const struct envelope_rcpt *list)
{
    struct rcpt_params params = list->params;
    if (params.notify != NOTIFY_UNSET) {
        params.notify &= (uint8_t)~NOTIFY_SUCCESS;
        params.notify = params.notify == 0 ? NOTIFY_NEVER : params.notify;
    }
    return params;
}

/* Adds the members of whole buckets from *bucket on while they fit; moves *bucket behind them. */
static mx_err add_members(struct txn *txn, const struct dir_list *list, struct slice own,
                          const struct rcpt_params *params, unsigned *bucket)
{
    uint32_t at = list_from_bucket(list, *bucket);
    size_t bytes = 0;
    mx_err err = MX_OK;
    while (!err && at < list->count) {
        uint32_t end = list_from_bucket(list, list->members[at].bucket + 1u);
        size_t more = 0;
        for (uint32_t i = at; i < end; i++) {
            more += list->members[i].address.len + params->orcpt.len + 8;
        }
        if (txn->env.rcpt_count + (end - at) > ENVELOPE_RCPTS_MAX ||
            bytes + more > EXPANSION_ENVELOPE_MAX) {
            return txn->env.rcpt_count == 0 ? MX_ERR_LIMIT : MX_OK;
        }
        *bucket = list->members[at].bucket + 1u;
        bytes += more;
        for (; !err && at < end; at++) {
            if (!slice_equal(list->members[at].address, own)) {
                err = txn_add_rcpt(txn, list->members[at].address, params);
            }
        }
    }
    *bucket = err ? *bucket : LIST_BUCKETS;
    return err;
}

static mx_err put_trace(struct txn *txn, struct slice list, struct slice prefix)
{
    uint8_t *text = malloc(TRACE_BYTES_MAX);
    if (text == NULL) {
        return MX_ERR_NOMEM;
    }
    struct writer w = writer_init(text, TRACE_BYTES_MAX);
    put_text(&w, TRACE_NAME " ");
    put_slice(&w, list);
    put_text(&w, "\r\n");
    put_slice(&w, prefix);
    mx_err err = w.overflow ? MX_ERR_LIMIT : txn_text(&txn->env.prefix, txn, writer_slice(&w));
    free(text);
    return err;
}

static mx_err copy_envelope(struct expansion *expansion, struct slice list)
{
    const struct envelope *from = &expansion->active->txn->env;
    struct txn *txn = expansion->txn;
    struct envelope *to = &txn->env;
    to->mail = from->mail;
    to->arrived_wall_ms = expansion->active->deliver->shard->wall_ms;
    to->client = from->client;
    to->source = from->source == SOURCE_DSN ? SOURCE_DSN : SOURCE_LIST;
    to->body_bytes = from->body_bytes;
    to->body_ends_in_crlf = from->body_ends_in_crlf;
    to->body_has_8bit = from->body_has_8bit;
    mx_err err = txn_text(&to->sender, txn, from->sender);
    err = err ? err : txn_text(&to->mail.envid, txn, from->mail.envid);
    err = err ? err : txn_text(&to->helo, txn, from->helo);
    return err ? err : put_trace(txn, list, from->prefix);
}

/* --- life --------------------------------------------------------------------------------------
 */

static void expansion_free(struct expansion *expansion)
{
    struct active *active = expansion->active;
    struct deliver *d = active->deliver;
    if (expansion->in != NULL) {
        incoming_abort(expansion->in);
    }
    spool_txn_free(d->spool, expansion->txn);
    free(expansion->read.buf);
    free(expansion);
    active->expansion = NULL;
    d->expansions--;
}

/* Nothing was written: the recipient is tried again. */
static void postpone(struct active *active, uint32_t i, mx_err err)
{
    struct shard *shard = active->deliver->shard;
    struct log_line *line = log_begin(&shard->log, LOG_WARN, "expansion-postponed");
    log_qid(line, "id", active->msg->id);
    log_slice(line, "list", active->txn->rcpts[i].address);
    log_err(line, "reason", err);
    log_end(&shard->log, line);
    active->msg->rcpts[i].due_ms = shard->wall_ms + EXPANSION_RETRY_MS;
}

static void fail(struct expansion *expansion, mx_err err)
{
    struct active *active = expansion->active;
    postpone(active, expansion->mark.rcpt, err);
    expansion_free(expansion);
    active_release(active);
}

static void commit_done(struct incoming *in, mx_err err)
{
    struct expansion *expansion = in->owner;
    struct active *active = expansion->active;
    struct message *msg = active->msg;
    expansion->in = NULL; /* it goes by itself */
    if (err) {
        MX_ASSERT(msg->writes > 0 && msg->undecided > 0);
        msg->writes--;
        msg->undecided--;
        fail(expansion, err);
        return;
    }
    count_one(&active->deliver->stats.expansions);
    struct log *log = &active->deliver->shard->log;
    struct log_line *line = log_begin(log, LOG_INFO, "list-mail-queued");
    log_qid(line, "id", in->id);
    log_qid(line, "of", msg->id);
    log_slice(line, "list", active->txn->rcpts[expansion->mark.rcpt].address);
    log_u64(line, "members", in->message->rcpt_count);
    log_end(log, line);
    msg->rcpts[expansion->mark.rcpt] = expansion->mark.state;
    expansion_free(expansion);
    active_release(active);
}

/* All content has been given and every extent is durable. */
static void commit(struct expansion *expansion)
{
    struct incoming *in = expansion->in;
    struct message *msg = expansion->active->msg;
    struct txn *txn = expansion->txn;
    if (in->failed || in->body_bytes != txn->env.body_bytes) {
        fail(expansion, in->failed ? in->failed : MX_ERR_DAMAGED);
        return;
    }
    in->done = commit_done;
    in->marks_of = msg;
    in->marks = &expansion->mark;
    in->mark_count = 1;
    msg->writes++; /* taken back when the record is durable */
    msg->undecided++;
    expansion->txn = NULL;
    mx_err err = incoming_commit(in, txn);
    if (err) {
        expansion->in = NULL;
        msg->writes--;
        msg->undecided--;
        fail(expansion, err);
    }
}

/* --- content -----------------------------------------------------------------------------------
 */

/* MX_ERR_AGAIN: taken, goes on when there is room. */
static mx_err give(struct expansion *expansion, struct slice piece)
{
    return piece.len == 0 ? MX_OK : incoming_body(expansion->in, piece);
}

static void extent_read_done(struct journal_read *read, mx_err err)
{
    struct expansion *expansion = mx_container_of(read, struct expansion, read);
    struct record_extent head;
    err = err ? err : record_extent_get(&head, read->payload);
    if (!err && (head.number != expansion->reading->number ||
                 head.checksum != expansion->reading->checksum)) {
        err = MX_ERR_DAMAGED; /* it was moved meanwhile */
    }
    if (!err) {
        err = give(expansion, slice_from(read->payload, RECORD_EXTENT_HEAD_BYTES));
    }
    free(read->buf);
    read->buf = NULL;
    if (err && err != MX_ERR_AGAIN) {
        fail(expansion, err);
    } else if (!err) {
        step(expansion);
    }
}

static void extent_read(struct expansion *expansion)
{
    struct journal_ref ref = expansion->extent->res.resident.ref;
    size_t bytes = (size_t)mx_round_up(journal_read_bytes(ref), JOURNAL_BLOCK_BYTES);
    void *buf = aligned_alloc(JOURNAL_BLOCK_BYTES, bytes);
    if (buf == NULL) {
        fail(expansion, MX_ERR_NOMEM);
        return;
    }
    expansion->read = (struct journal_read){.done = extent_read_done, .ref = ref, .buf = buf};
    expansion->reading = expansion->extent;
    expansion->extent = expansion->extent->next;
    journal_read(expansion->active->deliver->spool->journal, &expansion->read);
}

/* The part behind the extents. MX_ERR_AGAIN: not all of it yet. */
static mx_err give_rest(struct expansion *expansion)
{
    mx_err err = MX_OK;
    while (!err && expansion->block != NULL) {
        struct slice piece = block_slice(expansion->block);
        expansion->block = expansion->block->next;
        err = give(expansion, piece);
    }
    if (!err && !expansion->inline_given) {
        expansion->inline_given = true;
        err = give(expansion, expansion->active->inline_content);
    }
    expansion->all_given = expansion->block == NULL && expansion->inline_given;
    return err;
}

/* Goes on until something has to be waited for. */
static void step(struct expansion *expansion)
{
    if (expansion->extent != NULL) {
        extent_read(expansion);
        return;
    }
    mx_err err = expansion->all_given ? MX_OK : give_rest(expansion);
    if (err && err != MX_ERR_AGAIN) {
        fail(expansion, err);
    } else if (!err && expansion->in->in_flight == 0) {
        commit(expansion);
    }
}

static void on_ready(struct incoming *in)
{
    struct expansion *expansion = in->owner;
    if (in->failed) {
        fail(expansion, in->failed);
    } else {
        step(expansion);
    }
}

static void on_drained(struct incoming *in)
{
    struct expansion *expansion = in->owner;
    if (expansion->all_given && !in->blocked && !in->committing) {
        step(expansion);
    }
}

/* --- begin -------------------------------------------------------------------------------------
 */

static struct outcome refusal(uint8_t subject, uint8_t detail, struct slice text)
{
    return (struct outcome){.kind = OUTCOME_PERMANENT,
                            .status = {5, subject, detail},
                            .text = text,
                            .command = SLICE_LITERAL("mailing list")};
}

static const struct outcome all_done = {.kind = OUTCOME_DELIVERED, .status = {2, 1, 5}};

static struct expansion *expansion_new(struct active *active)
{
    struct deliver *d = active->deliver;
    struct expansion *expansion = calloc(1, sizeof *expansion);
    if (expansion == NULL) {
        return NULL;
    }
    d->expansions++;
    active->expansion = expansion;
    expansion->active = active;
    expansion->extent = active->msg->extents;
    expansion->block = active->content.head;
    expansion->inline_given = active->loaded == NULL;
    expansion->txn = spool_txn_new(d->spool);
    expansion->in = incoming_begin(d->spool, expansion);
    if (expansion->txn == NULL || expansion->in == NULL) {
        expansion_free(expansion);
        return NULL;
    }
    expansion->in->ready = on_ready;
    expansion->in->drained = on_drained;
    return expansion;
}

/* MX_ERR_LIMIT: a circle, or too deep. */
static mx_err envelope_make(struct expansion *expansion, uint32_t i, struct slice own)
{
    struct active *active = expansion->active;
    struct rcpt_state state = active->msg->rcpts[i];
    const struct dir_list *list = directory_find_list(active->deliver->directory, own);
    unsigned bucket = state.expanded;
    struct rcpt_params params = member_params(&active->txn->rcpts[i]);
    mx_err err = list == NULL ? MX_OK : copy_envelope(expansion, own);
    if (list != NULL && !err) {
        err = add_members(expansion->txn, list, own, &params, &bucket);
    }
    state.expanded = (uint8_t)bucket;
    state.due_ms = active->deliver->shard->wall_ms;
    expansion->mark = (struct record_outcome){.rcpt = i, .state = state};
    return err;
}

bool expand(struct active *active, uint32_t i, const struct resolution *list, struct outcome *out)
{
    struct deliver *d = active->deliver;
    const struct rcpt_state *state = &active->msg->rcpts[i];
    if (state->expanded == LIST_BUCKETS) {
        *out = all_done;
        return true;
    }
    if (active->expansion != NULL) {
        return false; /* due again as soon as this one is done */
    }
    if (d->expansions >= EXPANSIONS_MAX) {
        active->msg->rcpts[i].due_ms = d->shard->wall_ms + EXPANSION_RETRY_MS;
        return false;
    }
    mx_err err = check_circle(active, list->mailbox);
    if (err == MX_ERR_LIMIT) {
        *out = refusal(4, 6,
                       SLICE_LITERAL("mail loop: the list has had this message before, or "
                                     "lists contain each other too deeply"));
        return true;
    }
    err = err ? err : journal_room(d->spool->journal, active->txn->env.body_bytes, 0);
    struct expansion *expansion = err ? NULL : expansion_new(active);
    err = err ? err : expansion == NULL ? MX_ERR_NOMEM : envelope_make(expansion, i, list->mailbox);
    if (!err && expansion->txn->env.rcpt_count > 0) {
        active->deliveries++;
        step(expansion);
        return false;
    }
    if (expansion != NULL) {
        expansion_free(expansion);
    }
    if (err == MX_ERR_LIMIT) {
        *out = refusal(3, 5,
                       SLICE_LITERAL("the list cannot be expanded: its trace or its members "
                                     "exceed a limit"));
        return true;
    }
    if (err) {
        postpone(active, i, err);
        return false;
    }
    *out = state->expanded > 0 ? all_done
                               : refusal(1, 1, SLICE_LITERAL("the mailing list has no members"));
    return true;
}
