#include "smtp/queue_filter.h"

#include "core/text.h"

/* --- numbers ------------------------------------------------------------------------------------
 */

uint32_t queue_id_check(struct qid id)
{
    return (uint32_t)(qid_hash(id) >> (64 - QUEUE_ID_CHECK_BITS));
}

static uint32_t low_bits(uint64_t value, unsigned bits)
{
    return (uint32_t)(value & ((UINT64_C(1) << bits) - 1));
}

uint64_t queue_id(uint32_t core, uint32_t handle, uint32_t check)
{
    return ((uint64_t)check << QUEUE_ID_CORE_BITS | core) << QUEUE_ID_HANDLE_BITS | handle;
}

struct queue_place queue_id_place(uint64_t id)
{
    uint64_t rest = id >> QUEUE_ID_HANDLE_BITS;
    return (struct queue_place){
        .handle = low_bits(id, QUEUE_ID_HANDLE_BITS),
        .core = low_bits(rest, QUEUE_ID_CORE_BITS),
        .check = low_bits(rest >> QUEUE_ID_CORE_BITS, QUEUE_ID_CHECK_BITS),
    };
}

bool queue_id_is(uint64_t number, struct qid id)
{
    return queue_id_place(number).check == queue_id_check(id);
}

/* --- order --------------------------------------------------------------------------------------
 */

struct queue_key queue_key_next(const struct queue_key *key, bool ascending)
{
    struct queue_key next = *key;
    if (ascending) {
        next.at_ms += ++next.id == 0;
    } else {
        next.at_ms -= next.id-- == 0;
    }
    return next;
}

static void swap(struct queue_key *a, struct queue_key *b)
{
    struct queue_key key = *a;
    *a = *b;
    *b = key;
}

static void sift_up(struct queue_top *top, size_t at)
{
    while (at > 0) {
        size_t parent = (at - 1) / 2;
        if (queue_key_order(&top->keys[parent], &top->keys[at], top->ascending) >= 0) {
            return;
        }
        swap(&top->keys[parent], &top->keys[at]);
        at = parent;
    }
}

static void sift_down(struct queue_top *top)
{
    size_t at = 0;
    while (2 * at + 1 < top->count) {
        size_t child = 2 * at + 1;
        if (child + 1 < top->count &&
            queue_key_order(&top->keys[child + 1], &top->keys[child], top->ascending) > 0) {
            child++;
        }
        if (queue_key_order(&top->keys[at], &top->keys[child], top->ascending) >= 0) {
            return;
        }
        swap(&top->keys[at], &top->keys[child]);
        at = child;
    }
}

void queue_top_add(struct queue_top *top, struct queue_key key)
{
    if (top->count < top->max) {
        top->keys[top->count] = key;
        sift_up(top, top->count++);
    } else if (top->max > 0 && !queue_top_is_behind(top, &key)) {
        top->keys[0] = key;
        sift_down(top);
    }
}

/* --- places ------------------------------------------------------------------------------------
 */

void queue_bins_init(struct queue_bins *bins, const struct queue_stretch *stretch)
{
    *bins = (struct queue_bins){.stretch = *stretch};
    while (queue_stretch_distance(stretch, &stretch->low, &stretch->high) >> bins->shift >=
           QUEUE_BINS) {
        bins->shift++;
    }
}

static struct queue_key moved(const struct queue_stretch *s, const struct queue_key *key,
                              uint64_t by)
{
    return queue_stretch_by_number(s)
               ? (struct queue_key){.at_ms = key->at_ms, .id = key->id + by}
               : (struct queue_key){.at_ms = (int64_t)((uint64_t)key->at_ms + by)};
}

/* Times have all their numbers with them. */
static struct queue_stretch part_of(const struct queue_bins *bins, uint64_t number)
{
    const struct queue_stretch *s = &bins->stretch;
    uint64_t first = number << bins->shift, last = first + (UINT64_C(1) << bins->shift) - 1;
    uint64_t all = queue_stretch_distance(s, &s->low, &s->high);
    struct queue_stretch part = {.ascending = s->ascending};
    last = last < all ? last : all;
    part.low = moved(s, &s->low, s->ascending ? first : all - last);
    part.high = moved(s, &s->low, s->ascending ? last : all - first);
    if (!queue_stretch_by_number(s)) {
        part.low.id = part.low.at_ms == s->low.at_ms ? s->low.id : 0;
        part.high.id = part.high.at_ms == s->high.at_ms ? s->high.id : UINT64_MAX;
    }
    return part;
}

bool queue_bins_find(const struct queue_bins *bins, struct queue_stretch *out_part,
                     uint64_t *out_count, uint64_t *place)
{
    for (uint64_t i = 0; i < QUEUE_BINS; i++) {
        if (bins->counts[i] > *place) {
            *out_part = part_of(bins, i);
            *out_count = bins->counts[i];
            return true;
        }
        *place -= bins->counts[i];
    }
    return false;
}

struct queue_key queue_stretch_first(const struct queue_stretch *stretch)
{
    return stretch->ascending ? stretch->low : stretch->high;
}

/* --- digests ------------------------------------------------------------------------------------
 */

const struct queue_digest queue_digest_any = {{UINT64_MAX, UINT64_MAX}};

void queue_digest_add(struct queue_digest *digest, struct slice text)
{
    uint32_t part = 0;
    for (size_t i = 0; i < text.len; i++) {
        part = (part << 8 | ascii_lower(text.ptr[i])) & 0xffffff;
        if (i >= 2) {
            unsigned bit = part * UINT32_C(2654435761) >> 25;
            digest->bits[bit / 64] |= UINT64_C(1) << bit % 64;
        }
    }
}

void queue_digest_of(struct queue_digest *out_digest, const struct envelope *env)
{
    if (env->rcpt_count > QUEUE_DIGEST_RCPTS_MAX) {
        *out_digest = queue_digest_any;
        return;
    }
    *out_digest = (struct queue_digest){{0, 0}};
    queue_digest_add(out_digest, env->sender);
    for (uint32_t i = 0; i < env->rcpt_count; i++) {
        queue_digest_add(out_digest, env->rcpts[i].address);
    }
}

/* --- filter -------------------------------------------------------------------------------------
 */

static bool contains(struct slice text, struct slice part)
{
    for (size_t at = 0; at + part.len <= text.len; at++) {
        if (text_equal_nocase(slice_first(slice_from(text, at), part.len), part)) {
            return true;
        }
    }
    return false;
}

static bool any_recipient(const struct envelope *env, struct slice part)
{
    for (uint32_t i = 0; i < env->rcpt_count; i++) {
        if (contains(env->rcpts[i].address, part)) {
            return true;
        }
    }
    return false;
}

static bool is_null_sender(struct slice part)
{
    return slice_equal(part, SLICE_LITERAL("<>"));
}

static bool sender_is(const struct envelope *env, struct slice part)
{
    return is_null_sender(part) ? env->sender.len == 0 : contains(env->sender, part);
}

void queue_filter_init(struct queue_filter *filter)
{
    *filter = (struct queue_filter){.due_min_ms = INT64_MIN,
                                    .due_max_ms = INT64_MAX,
                                    .arrived_min_ms = INT64_MIN,
                                    .arrived_max_ms = INT64_MAX};
}

bool queue_filter_reads(const struct queue_filter *filter)
{
    return filter->text.len > 0 || filter->sender.len > 0 || filter->recipient.len > 0;
}

void queue_filter_parts(const struct queue_filter *filter, struct queue_digest *out_parts)
{
    *out_parts = (struct queue_digest){{0, 0}};
    queue_digest_add(out_parts, filter->text);
    queue_digest_add(out_parts, filter->recipient);
    if (!is_null_sender(filter->sender)) {
        queue_digest_add(out_parts, filter->sender);
    }
}

bool queue_filter_hop(const struct queue_filter *filter, struct slice hop)
{
    struct slice wanted = filter->hop;
    return wanted.len == 0 || text_equal_nocase(hop, wanted) ||
           (text_starts_nocase(hop, wanted) && hop.ptr[wanted.len] == ':');
}

bool queue_filter_queue(const struct queue_filter *filter, struct slice queue)
{
    return filter->queue.len == 0 || text_equal_nocase(queue, filter->queue);
}

bool queue_filter_error(const struct queue_filter *filter, struct slice reply)
{
    return filter->error.len == 0 || contains(reply, filter->error);
}

bool queue_filter_address(const struct queue_filter *filter, struct slice recipient)
{
    return filter->recipient.len == 0 || contains(recipient, filter->recipient);
}

bool queue_filter_is_of_rcpts(const struct queue_filter *filter)
{
    return filter->hop.len > 0 || filter->queue.len > 0 || filter->error.len > 0 ||
           filter->recipient.len > 0 || (filter->status & QUEUE_HELD) != 0;
}

bool queue_filter_envelope(const struct queue_filter *filter, const struct envelope *env)
{
    return (filter->sender.len == 0 || sender_is(env, filter->sender)) &&
           (filter->recipient.len == 0 || any_recipient(env, filter->recipient)) &&
           (filter->text.len == 0 || contains(env->sender, filter->text) ||
            any_recipient(env, filter->text));
}
