/* The content of a message on its way to a next hop: its first part and last part are in memory,
 * extents between them are read from the journal one by one. */
#include "smtp/relay_private.h"

#include <stdlib.h>

void relay_content_begin(struct relay_conn *conn)
{
    conn->part = 0;
    conn->piece = SLICE_EMPTY;
}

void relay_content_end(struct relay_conn *conn)
{
    if (!conn->reading) {
        free(conn->read.buf);
        conn->read.buf = NULL;
    }
}

static void extent_read_done(struct journal_read *read, mx_err err)
{
    struct relay_conn *conn = mx_container_of(read, struct relay_conn, read);
    conn->reading = false;
    if (conn->zombie) {
        relay_conn_free(conn);
        return;
    }
    if (conn->delivery == NULL) {
        relay_content_end(conn); /* the transaction ended early */
        return;
    }
    if (err) {
        /* Half a message may be out: only cutting the connection keeps the rest from being taken.
         */
        stream_abort(&conn->client.stream, err);
        return;
    }
    conn->piece = slice_from(read->payload, RECORD_EXTENT_HEAD_BYTES);
    cli_conn_drive(&conn->client, NULL);
}

static void extent_read(struct relay_conn *conn)
{
    struct active *active = conn->delivery->active;
    struct journal_ref ref = conn->extent->res.resident.ref;
    size_t bytes = (size_t)mx_round_up(journal_read_bytes(ref), JOURNAL_BLOCK_BYTES);
    free(conn->read.buf);
    conn->read = (struct journal_read){.done = extent_read_done, .ref = ref};
    conn->read.buf = aligned_alloc(JOURNAL_BLOCK_BYTES, bytes);
    conn->extent = conn->extent->next;
    if (conn->read.buf == NULL) {
        stream_abort(&conn->client.stream, MX_ERR_NOMEM);
        return;
    }
    conn->reading = true;
    journal_read(active->deliver->spool->journal, &conn->read);
}

/* Makes conn->piece non-empty. False: it comes later, or all has been given. */
static bool content_next(struct relay_conn *conn)
{
    struct active *active = conn->delivery->active;
    while (conn->piece.len == 0) {
        if (conn->reading) {
            return false;
        }
        if (conn->part == 0) {
            conn->part = 1;
            conn->extent = active->msg->extents;
            conn->piece = active->txn->env.prefix;
        } else if (conn->part == 1 && conn->extent != NULL) {
            extent_read(conn);
            return false;
        } else if (conn->part == 1) {
            conn->part = 2;
            conn->block = active->content.head;
            conn->piece = active->inline_content;
        } else if (conn->block != NULL) {
            conn->piece = block_slice(conn->block);
            conn->block = conn->block->next;
        } else {
            return false;
        }
    }
    return true;
}

bool relay_content_step(struct cli_conn *client, struct writer *out)
{
    struct relay_conn *conn = mx_container_of(client, struct relay_conn, client);
    if (!content_next(conn)) {
        return false;
    }
    size_t used = cli_body(conn->client.cli, conn->piece, out);
    conn->piece = slice_from(conn->piece, used);
    return true;
}
