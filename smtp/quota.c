#include "smtp/quota.h"

#include "core/check.h"
#include "smtp/service.h"

#include <stdlib.h>

/* May be below zero for a moment: what is given back may overtake what is restored. */
struct quota_entry {
    struct quota_entry *next;
    uint64_t key;
    int64_t messages, bytes;
};

/* What a session asks, beside the keys; behind them in the same block. */
struct quota_question {
    unsigned home; /* core of the session */
    uint32_t ask;  /* handle, and what proves that it is still the same */
    uint64_t number;
    uint32_t over; /* index of the key that is used up; count: none */
    bool no_memory;
    struct quota_limit {
        uint64_t id; /* of the quota */
        uint64_t messages_max, bytes_max;
    } limits[]; /* by key */
};

struct quota_batch {
    struct tour tour;
    uint32_t at, count;
    struct quota_sum {
        uint64_t key;
        int64_t messages, bytes;
    } sums[QUOTA_BATCH];
};

static void hold_arrive(struct tour *tour, struct shard *at);
static void release_arrive(struct tour *tour, struct shard *at);
static void batch_arrive(struct tour *tour, struct shard *at);

static struct quotas *quotas_of(struct shard *at)
{
    struct service *service = at->service;
    return &service->quotas;
}

/* --- the owner ---------------------------------------------------------------------------------
 */

static struct quota_entry **entry_place(struct quotas *quotas, uint64_t key)
{
    struct quota_entry **at = &quotas->buckets[(key >> 32) & (QUOTA_BUCKETS - 1)];
    while (*at != NULL && (*at)->key != key) {
        at = &(*at)->next;
    }
    return at;
}

/* NULL: no memory. */
static struct quota_entry *entry_of(struct quotas *quotas, uint64_t key)
{
    if (quotas->buckets == NULL) {
        quotas->buckets = calloc(QUOTA_BUCKETS, sizeof(struct quota_entry *));
    }
    struct quota_entry **at = quotas->buckets == NULL ? NULL : entry_place(quotas, key);
    if (at == NULL || *at != NULL) {
        return at == NULL ? NULL : *at;
    }
    struct quota_entry *entry = calloc(1, sizeof *entry);
    if (entry != NULL) {
        entry->key = key;
        *at = entry;
        quotas->key_count++;
    }
    return entry;
}

static void forget_empty(struct quotas *quotas, const struct quota_entry *entry)
{
    if (entry->messages == 0 && entry->bytes == 0) {
        struct quota_entry **at = entry_place(quotas, entry->key);
        struct quota_entry *gone = *at;
        *at = gone->next;
        quotas->key_count--;
        free(gone);
    }
}

/* False: no memory. */
static bool add(struct quotas *quotas, uint64_t key, int64_t messages, int64_t bytes)
{
    struct quota_entry *entry = entry_of(quotas, key);
    if (entry == NULL) {
        return false;
    }
    entry->messages += messages;
    entry->bytes += bytes;
    forget_empty(quotas, entry);
    return true;
}

static bool has_room(const struct quota_entry *entry, const struct quota_limit *limit,
                     uint64_t bytes)
{
    uint64_t messages = entry->messages > 0 ? (uint64_t)entry->messages : 0;
    uint64_t used = entry->bytes > 0 ? (uint64_t)entry->bytes : 0;
    bool over_size = used > limit->bytes_max || limit->bytes_max - used < bytes;
    return (limit->messages_max == 0 || messages < limit->messages_max) &&
           (limit->bytes_max == 0 || !over_size);
}

/* Counts the next key of a question, or notes why not. */
static void charge(struct quotas *quotas, struct quota_hold *hold)
{
    struct quota_question *question = hold->question;
    uint64_t key = hold->keys[hold->at];
    struct quota_entry *entry = quotas->key_count < QUOTA_KEYS_MAX ? entry_of(quotas, key) : NULL;
    if (entry == NULL) {
        question->no_memory = true;
        question->over = hold->at;
    } else if (has_room(entry, &question->limits[hold->at], hold->bytes)) {
        entry->messages++;
        entry->bytes += (int64_t)hold->bytes;
        hold->at++;
    } else {
        question->over = hold->at;
        forget_empty(quotas, entry);
    }
}

/* --- the question ------------------------------------------------------------------------------
 */

/* Goes as far as it can without leaving this core. True: it is decided, and at home. */
static bool advance(struct quotas *quotas, struct quota_hold *hold)
{
    struct quota_question *question = hold->question;
    struct tours *tours = &quotas->tours;
    unsigned next = tours->self;
    while (next == tours->self && question->over == hold->count && hold->at < hold->count) {
        next = tours_owner(tours, hold->keys[hold->at]);
        if (next == tours->self) {
            charge(quotas, hold);
        }
    }
    if (question->over != hold->count || hold->at == hold->count) {
        next = question->home;
    }
    if (next != tours->self) {
        tours_send(tours, &hold->tour, next);
        return false;
    }
    return true;
}

static struct slice name_of(const struct limits_conf *limits, uint64_t id)
{
    for (uint32_t i = 0; i < limits->quota_count; i++) {
        if (limits->quotas[i].id == id) {
            return limits->quotas[i].name;
        }
    }
    return SLICE_EMPTY;
}

static size_t hold_bytes(uint32_t count)
{
    return sizeof(struct quota_hold) + count * sizeof(uint64_t);
}

/* Back at home: what the answer is. What was counted in vain is given back. */
static enum quota_verdict conclude(struct quotas *quotas, struct quota_hold *hold,
                                   struct quota_hold **out_hold, struct slice *out_name)
{
    struct service *service = quotas->shard->service;
    struct quota_question *question = hold->question;
    enum quota_verdict verdict = question->over == hold->count ? QUOTA_GRANTED
                                 : question->no_memory         ? QUOTA_NO_MEMORY
                                                               : QUOTA_USED_UP;
    if (verdict == QUOTA_USED_UP) {
        *out_name = name_of(&service->image->traffic, question->limits[question->over].id);
    }
    hold->count = question->over; /* those that were counted */
    hold->question = NULL;
    struct quota_hold *less = realloc(hold, hold_bytes(hold->count));
    hold = less != NULL ? less : hold;
    *out_hold = verdict == QUOTA_GRANTED ? hold : NULL;
    if (verdict != QUOTA_GRANTED) {
        quotas_release(quotas, hold);
    }
    return verdict;
}

static void hold_arrive(struct tour *tour, struct shard *at)
{
    struct quotas *quotas = quotas_of(at);
    struct quota_hold *hold = mx_container_of(tour, struct quota_hold, tour);
    if (quotas->tours.stopping) {
        free(hold); /* its session has its answer */
        return;
    }
    if (!advance(quotas, hold)) {
        return;
    }
    uint32_t ask = hold->question->ask;
    uint64_t number = hold->question->number;
    struct incoming *in = handles_get(&quotas->asks, ask);
    struct slice name = SLICE_EMPTY;
    struct quota_hold *granted;
    enum quota_verdict verdict = conclude(quotas, hold, &granted, &name);
    if (in == NULL || in->quota_number != number) {
        quotas_release(quotas, granted);
        return;
    }
    quotas_forget(quotas, in);
    in->hold = granted;
    in->admitted(in, verdict, name);
}

/* --- what a message is counted under -----------------------------------------------------------
 */

struct charges {
    struct quotas *quotas;
    uint32_t count;
    struct charge {
        uint64_t key;
        unsigned owner;
        struct quota_limit limit;
    } list[QUOTA_CHARGES_MAX];
};

/* False: too many. */
static bool collect(struct charges *charges, const struct quota_conf *quota, uint64_t key)
{
    if (charges->count == QUOTA_CHARGES_MAX) {
        return false;
    }
    charges->list[charges->count++] = (struct charge){
        .key = key,
        .owner = tours_owner(&charges->quotas->tours, key),
        .limit = {quota->id, quota->messages_max, quota->bytes_max},
    };
    return true;
}

static bool holds_for(bool *out_holds, const struct quota_conf *quota,
                      const struct routing_context *ctx, const struct envelope *env, uint32_t rcpt)
{
    struct expr_value value;
    *out_holds = true;
    if (quota->match == NULL) {
        return true;
    }
    bool known = routing_ask(&value, ctx, quota->match, NULL, env->rcpts[rcpt].address, env);
    *out_holds = known && expr_truthy(&value);
    return known;
}

/* The recipients for whom it holds give the keys; each counts once. */
static enum quota_verdict collect_quota(struct charges *charges, const struct quota_conf *quota,
                                        const struct routing_context *ctx,
                                        const struct envelope *env)
{
    bool by_rcpt = quota->parts & (LIMIT_RCPT | LIMIT_RCPT_DOMAIN);
    bool found = false;
    for (uint32_t i = 0; i < env->rcpt_count && (by_rcpt || !found); i++) {
        struct limit_facts facts = {.sender = env->sender, .rcpt = env->rcpts[i].address};
        bool holds;
        if (!holds_for(&holds, quota, ctx, env, i)) {
            return QUOTA_UNDECIDED;
        }
        found = found || holds;
        if (holds && !collect(charges, quota, limit_key(quota->id, quota->parts, &facts))) {
            return QUOTA_NO_MEMORY;
        }
    }
    return QUOTA_GRANTED;
}

static int compare_charges(const void *a, const void *b)
{
    const struct charge *x = a, *y = b;
    int by_owner = (x->owner > y->owner) - (x->owner < y->owner);
    return by_owner != 0 ? by_owner : (x->key > y->key) - (x->key < y->key);
}

/* In the order of the owners, each once. */
static void sort(struct charges *charges)
{
    uint32_t kept = 0;
    qsort(charges->list, charges->count, sizeof charges->list[0], compare_charges);
    for (uint32_t i = 0; i < charges->count; i++) {
        if (kept == 0 || charges->list[kept - 1].key != charges->list[i].key) {
            charges->list[kept++] = charges->list[i];
        }
    }
    charges->count = kept;
}

static struct quota_hold *hold_new(uint32_t count, uint64_t bytes, size_t more_bytes)
{
    struct quota_hold *hold = calloc(1, hold_bytes(count) + more_bytes);
    if (hold != NULL) {
        hold->count = count;
        hold->bytes = bytes;
    }
    return hold;
}

/* NULL: no memory, or too many ask. */
static struct quota_hold *question_new(struct quotas *quotas, struct incoming *in,
                                       const struct charges *charges)
{
    size_t bytes = sizeof(struct quota_question) + charges->count * sizeof(struct quota_limit);
    struct quota_hold *hold = hold_new(charges->count, in->body_bytes, bytes);
    if (hold == NULL || handles_add(&quotas->asks, in, &in->quota_ask)) {
        free(hold);
        return NULL;
    }
    struct quota_question *question = (struct quota_question *)&hold->keys[hold->count];
    in->quota_number = ++quotas->asked;
    in->asks_quota = true;
    hold->tour.arrive = hold_arrive;
    hold->question = question;
    question->home = quotas->tours.self;
    question->ask = in->quota_ask;
    question->number = in->quota_number;
    question->over = charges->count;
    for (uint32_t i = 0; i < charges->count; i++) {
        hold->keys[i] = charges->list[i].key;
        question->limits[i] = charges->list[i].limit;
    }
    return hold;
}

/* Stored with the message, but not counted any more: everything is ending. */
static enum quota_verdict hold_uncounted(struct incoming *in, const struct charges *charges)
{
    in->hold = hold_new(charges->count, in->body_bytes, 0);
    for (uint32_t i = 0; in->hold != NULL && i < charges->count; i++) {
        in->hold->keys[i] = charges->list[i].key;
    }
    return in->hold == NULL ? QUOTA_NO_MEMORY : QUOTA_GRANTED;
}

static enum quota_verdict ask(struct quotas *quotas, struct incoming *in,
                              const struct charges *charges, struct slice *out_name)
{
    if (charges->count == 0) {
        return QUOTA_GRANTED;
    }
    if (quotas->tours.stopping) {
        return hold_uncounted(in, charges);
    }
    struct quota_hold *hold = question_new(quotas, in, charges);
    if (hold == NULL) {
        return QUOTA_NO_MEMORY;
    }
    if (!advance(quotas, hold)) {
        return QUOTA_LATER;
    }
    quotas_forget(quotas, in);
    return conclude(quotas, hold, &in->hold, out_name);
}

enum quota_verdict quotas_ask(struct quotas *quotas, struct incoming *in,
                              const struct routing_context *ctx, const struct envelope *env,
                              struct slice *out_name)
{
    const struct limits_conf *limits = &ctx->image->traffic;
    if (limits->quota_count == 0) {
        return QUOTA_GRANTED;
    }
    if (quotas->charges == NULL) {
        quotas->charges = malloc(sizeof *quotas->charges);
    }
    struct charges *charges = quotas->charges;
    enum quota_verdict verdict = charges == NULL ? QUOTA_NO_MEMORY : QUOTA_GRANTED;
    if (charges != NULL) {
        charges->quotas = quotas;
        charges->count = 0;
    }
    for (uint32_t i = 0; i < limits->quota_count && verdict == QUOTA_GRANTED; i++) {
        verdict = collect_quota(charges, &limits->quotas[i], ctx, env);
    }
    if (verdict == QUOTA_GRANTED) {
        sort(charges);
        verdict = ask(quotas, in, charges, out_name);
    }
    return verdict;
}

void quotas_forget(struct quotas *quotas, struct incoming *in)
{
    if (in->asks_quota) {
        in->asks_quota = false;
        handles_remove(&quotas->asks, in->quota_ask);
    }
}

/* --- giving back -------------------------------------------------------------------------------
 */

static void release_arrive(struct tour *tour, struct shard *at)
{
    struct quotas *quotas = quotas_of(at);
    struct quota_hold *hold = mx_container_of(tour, struct quota_hold, tour);
    struct tours *tours = &quotas->tours;
    while (hold->at < hold->count) {
        unsigned owner = tours_owner(tours, hold->keys[hold->at]);
        bool own = owner == tours->self;
        if (!own || !add(quotas, hold->keys[hold->at], -1, -(int64_t)hold->bytes)) {
            tours_send(tours, tour, owner); /* to this core: again in a moment */
            return;
        }
        hold->at++;
    }
    free(hold);
}

void quotas_release(struct quotas *quotas, struct quota_hold *hold)
{
    if (hold == NULL) {
        return;
    }
    if (quotas->tours.stopping) {
        free(hold);
        return;
    }
    hold->at = 0;
    hold->tour.arrive = release_arrive;
    release_arrive(&hold->tour, quotas->shard);
}

/* --- after a start -----------------------------------------------------------------------------
 */

struct quota_hold *quota_hold_new(const uint64_t *keys, uint32_t count, uint64_t bytes)
{
    struct quota_hold *hold = hold_new(count, bytes, 0);
    if (hold != NULL) {
        memcpy(hold->keys, keys, count * sizeof keys[0]);
    }
    return hold;
}

static void batch_arrive(struct tour *tour, struct shard *at)
{
    struct quotas *quotas = quotas_of(at);
    struct quota_batch *batch = mx_container_of(tour, struct quota_batch, tour);
    for (; batch->at < batch->count; batch->at++) {
        const struct quota_sum *sum = &batch->sums[batch->at];
        if (!add(quotas, sum->key, sum->messages, sum->bytes)) {
            tours_send(&quotas->tours, tour, quotas->tours.self);
            return;
        }
    }
    free(batch);
}

static void batch_send(struct quotas *quotas, unsigned owner)
{
    struct quota_batch *batch = quotas->batches[owner];
    if (batch != NULL) {
        quotas->batches[owner] = NULL;
        batch->tour.arrive = batch_arrive;
        tours_send(&quotas->tours, &batch->tour, owner);
    }
}

/* False: no memory. */
static bool batch_add(struct quotas *quotas, unsigned owner, uint64_t key, uint64_t bytes)
{
    struct quota_batch *batch = quotas->batches[owner];
    uint32_t i = 0;
    while (batch != NULL && i < batch->count && batch->sums[i].key != key) {
        i++;
    }
    if (batch != NULL && i == QUOTA_BATCH) {
        batch_send(quotas, owner);
        batch = NULL;
        i = 0;
    }
    if (batch == NULL) {
        batch = quotas->batches[owner] = calloc(1, sizeof *batch);
    }
    if (batch == NULL) {
        return false;
    }
    batch->count += i == batch->count;
    batch->sums[i].key = key;
    batch->sums[i].messages++;
    batch->sums[i].bytes += (int64_t)bytes;
    return true;
}

void quotas_restore(struct quotas *quotas, struct quota_hold *hold)
{
    const struct tours *tours = &quotas->tours;
    bool good = true;
    uint32_t i = 0;
    for (; i < hold->count && good; i++) {
        unsigned owner = tours_owner(tours, hold->keys[i]);
        good = owner == tours->self ? add(quotas, hold->keys[i], 1, (int64_t)hold->bytes)
                                    : batch_add(quotas, owner, hold->keys[i], hold->bytes);
    }
    /* Without memory the rest is not counted, and so not given back; the record keeps it. */
    hold->count = good ? hold->count : i - 1;
}

static void turn(struct shard_hook *hook)
{
    struct quotas *quotas = mx_container_of(hook, struct quotas, hook);
    for (unsigned i = 0; i < quotas->tours.cores; i++) {
        batch_send(quotas, i);
    }
}

/* --- life --------------------------------------------------------------------------------------
 */

mx_err quotas_open(struct quotas *quotas, struct shard *shard)
{
    *quotas = (struct quotas){.shard = shard};
    tours_open(&quotas->tours, shard);
    mx_err err = handles_init(&quotas->asks, QUOTA_ASKS_MAX);
    quotas->batches = calloc(quotas->tours.cores, sizeof(struct quota_batch *));
    if (err || quotas->batches == NULL) {
        return err ? err : MX_ERR_NOMEM;
    }
    quotas->hook.turn = turn;
    shard_add_hook(shard, &quotas->hook);
    return MX_OK;
}

void quotas_stop(struct quotas *quotas)
{
    tours_stop(&quotas->tours);
    for (uint32_t i = 0; i < quotas->asks.made; i++) {
        struct incoming *in = handles_get(&quotas->asks, i);
        if (in != NULL) { /* the answer would be lost */
            quotas_forget(quotas, in);
            in->admitted(in, QUOTA_NO_MEMORY, SLICE_EMPTY);
        }
    }
}

void quotas_close(struct quotas *quotas)
{
    for (unsigned i = 0; quotas->batches != NULL && i < quotas->tours.cores; i++) {
        free(quotas->batches[i]);
    }
    free(quotas->batches);
    for (size_t i = 0; quotas->buckets != NULL && i < QUOTA_BUCKETS; i++) {
        while (quotas->buckets[i] != NULL) {
            struct quota_entry *entry = quotas->buckets[i];
            quotas->buckets[i] = entry->next;
            free(entry);
        }
    }
    free(quotas->buckets);
    free(quotas->charges);
    handles_fini(&quotas->asks);
    tours_close(&quotas->tours);
    *quotas = (struct quotas){0};
}
