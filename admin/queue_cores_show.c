/* What is read from the cores' queues beside lists: texts, and the shape. */
#include "admin/queue_cores_private.h"

#include <stdlib.h>

/* --- content -----------------------------------------------------------------------------------
 */

static mx_err content_part(struct queue_cores *queue, uint64_t id, uint32_t part, uint64_t until_ns,
                           struct queue_content *out)
{
    struct queue_request *request = queue_cores_request_for(queue, QUEUE_CONTENT, id);
    if (request == NULL) {
        return MX_ERR_NOTFOUND;
    }
    request->part = part;
    mx_err err = queue_cores_ask_one(queue, request, until_ns);
    *out = request->content;
    request->content.buf = NULL;
    return err;
}

static bool put(uint8_t *text, size_t cap, size_t *len, struct slice bytes)
{
    if (bytes.len > cap - *len) {
        return false;
    }
    if (bytes.len > 0) {
        memcpy(text + *len, bytes.ptr, bytes.len);
    }
    *len += bytes.len;
    return true;
}

/* Our header lines, the extents, then what the first record has of the content. */
static mx_err content_join(struct queue_cores *queue, uint64_t id, const struct queue_content *head,
                           uint64_t until_ns, uint8_t *text, size_t cap, size_t *len)
{
    mx_err err = put(text, cap, len, head->prefix) ? MX_OK : MX_ERR_DAMAGED;
    for (uint32_t part = 1; !err && part <= head->extent_count; part++) {
        struct queue_content extent = {.buf = NULL};
        err = content_part(queue, id, part, until_ns, &extent);
        if (!err && !put(text, cap, len, extent.body)) {
            err = MX_ERR_DAMAGED;
        }
        free(extent.buf);
    }
    return err ? err : put(text, cap, len, head->body) ? MX_OK : MX_ERR_DAMAGED;
}

mx_err queue_cores_content(struct queue_cores *queue, uint64_t id, uint8_t **out_text,
                           size_t *out_len)
{
    uint64_t until_ns = queue_cores_deadline_ns(QUEUE_WAIT_MS);
    struct queue_content head;
    mx_err err = queue_cores_ready(queue, until_ns);
    err = err ? err : content_part(queue, id, 0, until_ns, &head);
    if (err) {
        return err;
    }
    size_t cap = head.prefix.len + head.body_bytes, len = 0;
    uint8_t *text = cap > QUEUE_CONTENT_MAX ? NULL : malloc(cap + 1);
    if (text == NULL) {
        err = cap > QUEUE_CONTENT_MAX ? MX_ERR_LIMIT : MX_ERR_NOMEM;
    } else {
        err = content_join(queue, id, &head, until_ns, text, cap, &len);
    }
    free(head.buf);
    if (err) {
        free(text);
        return err;
    }
    *out_text = text;
    *out_len = len;
    return MX_OK;
}

/* --- shape -------------------------------------------------------------------------------------
 */

static void row_add(struct queue_shape_row *sum, const struct queue_shape_row *row)
{
    for (size_t i = 0; i < QUEUE_SHAPE_AGES; i++) {
        sum->ages[i] += row->ages[i];
    }
    sum->total += row->total;
    sum->held += row->held;
}

static int by_name(const void *a, const void *b)
{
    const struct queue_shape_row *one = a, *other = b;
    int order = memcmp(one->hop, other->hop, mx_min_size(one->hop_len, other->hop_len));
    return order != 0 ? order : (int)one->hop_len - (int)other->hop_len;
}

static int by_total(const void *a, const void *b)
{
    const struct queue_shape_row *one = a, *other = b;
    return one->total != other->total ? (one->total > other->total ? -1 : 1) : by_name(a, b);
}

/* The rows of all cores lie one behind the other: those of one name become one. */
static void rows_join(struct queue_cores *queue, struct queue_shape_rows *out)
{
    size_t count = 0, all = 0;
    for (unsigned i = 0; i < queue->conf.cores; i++) {
        const struct queue_shape *shape = &queue->parts[i].request.shape;
        memmove(queue->rows + all, shape->rows, shape->count * sizeof *queue->rows);
        all += shape->count;
        row_add(&out->others, &shape->others);
    }
    qsort(queue->rows, all, sizeof *queue->rows, by_name);
    for (size_t i = 0; i < all; i++) {
        if (count > 0 && by_name(&queue->rows[count - 1], &queue->rows[i]) == 0) {
            row_add(&queue->rows[count - 1], &queue->rows[i]);
        } else {
            queue->rows[count++] = queue->rows[i];
        }
    }
    qsort(queue->rows, count, sizeof *queue->rows, by_total);
    out->rows = queue->rows;
    out->count = count;
}

mx_err queue_cores_shape(struct queue_cores *queue, struct queue_shape_rows *out)
{
    uint64_t until_ns = queue_cores_deadline_ns(QUEUE_WAIT_MS);
    *out = (struct queue_shape_rows){.count = 0};
    mx_err err = queue_cores_ready(queue, until_ns);
    if (!err && queue->rows == NULL) {
        queue->rows = malloc((queue->conf.cores * QUEUE_SHAPE_ROWS + 1) * sizeof *queue->rows);
        err = queue->rows == NULL ? MX_ERR_NOMEM : MX_OK;
    }
    for (unsigned i = 0; !err && i < queue->conf.cores; i++) {
        queue->parts[i].request.shape =
            (struct queue_shape){.rows = queue->rows + (size_t)i * QUEUE_SHAPE_ROWS};
    }
    err = err ? err : queue_cores_ask_all(queue, QUEUE_SHAPE, until_ns);
    if (!err) {
        rows_join(queue, out);
    }
    return err;
}
