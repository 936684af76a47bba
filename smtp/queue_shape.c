/* Counting recipients that wait by next hop and age. */
#include "core/hash.h"
#include "smtp/queue_view.h"
#include "smtp/service.h"

const unsigned queue_shape_minutes[QUEUE_SHAPE_AGES - 1] = {5, 10, 20, 40, 80, 160, 320, 640, 1280};

enum { SLOTS = 256 };

/* Rows of the texts met in this piece. */
struct counting {
    struct queue_shape *shape;
    const struct texts *texts;
    struct {
        text_id id;
        struct queue_shape_row *row;
    } slots[SLOTS];
};

static struct queue_shape_row *row_find(struct queue_shape *shape, struct slice hop)
{
    size_t at = hash_checksum(hop) % mx_countof(shape->slots);
    for (; shape->slots[at] != 0; at = (at + 1) % mx_countof(shape->slots)) {
        struct queue_shape_row *row = &shape->rows[shape->slots[at] - 1];
        if (slice_equal(slice_of(row->hop, row->hop_len), hop)) {
            return row;
        }
    }
    if (shape->count == QUEUE_SHAPE_ROWS) {
        return &shape->others;
    }
    struct queue_shape_row *row = &shape->rows[shape->count++];
    shape->slots[at] = (uint16_t)shape->count;
    *row = (struct queue_shape_row){.hop_len = (uint8_t)hop.len};
    if (hop.len > 0) {
        memcpy(row->hop, hop.ptr, hop.len);
    }
    return row;
}

static struct queue_shape_row *row_of(struct counting *counting, text_id id)
{
    unsigned slot = id % SLOTS;
    if (counting->slots[slot].row == NULL || counting->slots[slot].id != id) {
        counting->slots[slot].id = id;
        counting->slots[slot].row = row_find(counting->shape, texts_get(counting->texts, id));
    }
    return counting->slots[slot].row;
}

static unsigned age_of(int64_t age_ms)
{
    unsigned age = 0;
    while (age < QUEUE_SHAPE_AGES - 1 && age_ms >= (int64_t)queue_shape_minutes[age] * 60000) {
        age++;
    }
    return age;
}

static void count_message(struct counting *counting, const struct message *msg, int64_t now_ms)
{
    unsigned age = age_of(now_ms - msg->arrived_ms);
    for (uint32_t i = 0; i < msg->rcpt_count; i++) {
        const struct rcpt_state *state = &msg->rcpts[i];
        if (state->status == RCPT_PENDING) {
            struct queue_shape_row *row = row_of(counting, state->hop);
            row->ages[age]++;
            row->total++;
            row->held += (state->flags & RCPT_HELD) != 0;
        }
    }
}

void queue_shape_piece(struct queue_request *request)
{
    struct queue_shape *shape = &request->shape;
    const struct spool *spool = queue_spool(request);
    struct counting counting = {.shape = shape, .texts = &spool->texts};
    for (unsigned i = 0; i < QUEUE_LOOKS_MAX && shape->looked < spool->handles.made; i++) {
        const struct message *msg = handles_get(&spool->handles, shape->looked++);
        if (queue_is_there(msg)) {
            count_message(&counting, msg, request->shard->wall_ms);
        }
    }
    request->done = shape->looked >= spool->handles.made;
}
