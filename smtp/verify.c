#include "smtp/verify.h"

#include "core/check.h"
#include "smtp/hop.h"
#include "smtp/hop_lookup.h"

/* --- life --------------------------------------------------------------------------------------
 */

mx_err verify_open(struct verify *v, struct deliver *d)
{
    v->deliver = d;
    verify_cache_init(&v->cache, ~d->mx_seed, d->performance.verify_cache);
    list_init(&v->asked);
    list_init(&v->answered);
    mx_err err = pool_init(&v->questions, "verification-questions", sizeof(struct verify_question),
                           VERIFY_QUESTIONS_MAX);
    return err ? err
               : pool_init(&v->conns, "verification-connections", verify_conn_bytes(),
                           DELIVER_CONNECTIONS_MAX);
}

void verify_close(struct verify *v)
{
    verify_cache_fini(&v->cache);
    pool_fini(&v->questions);
    pool_fini(&v->conns);
}

void verify_tune(struct verify *v)
{
    verify_cache_resize(&v->cache, v->deliver->performance.verify_cache);
}

bool verify_quiet(const struct verify *v)
{
    return v->conns.used == 0;
}

void verify_hop_init(struct verify_hop *vh)
{
    *vh = (struct verify_hop){0};
    list_init(&vh->waiting);
    list_init(&vh->conns);
    list_init(&vh->idle);
}

/* --- answers -----------------------------------------------------------------------------------
 */

static struct verify_key key_of(const struct verify_question *q)
{
    return (struct verify_key){
        .domain_id = q->domain_id, .route = q->route, .address = slice_of(q->address, q->len)};
}

/* From the loop, not from within: whoever is told may ask again, or end. */
static void tell(struct verify_question *q, enum verify_answer answer)
{
    struct list_node *node;
    while ((node = list_pop_front(&q->waiters)) != NULL) {
        struct verify_waiter *waiter = mx_container_of(node, struct verify_waiter, node);
        waiter->answer = answer;
        list_push_back(&q->verify->answered, node);
        shard_again(q->verify->deliver->shard);
    }
}

void verify_turn(struct verify *v)
{
    struct list now;
    struct list_node *node;
    list_init(&now);
    list_splice(&now, &v->answered);
    while ((node = list_pop_front(&now)) != NULL) {
        struct verify_waiter *waiter = mx_container_of(node, struct verify_waiter, node);
        waiter->done(waiter);
    }
}

void verify_cancel(struct verify_waiter *waiter)
{
    list_remove(&waiter->node);
}

static void log_answer(const struct verify_question *q, enum verify_result result,
                       const struct outcome *o, uint64_t ns)
{
    struct log *log = &q->verify->deliver->shard->log;
    struct log_line *line = log_begin_repeated(log, LOG_INFO, "recipient-verified");
    log_slice(line, "to", slice_of(q->address, q->len));
    log_slice(line, "route", q->hop->route.name);
    log_text(line, "result", verify_result_name(result));
    if (o != NULL && o->code != 0) {
        log_u64(line, "code", o->code);
    }
    if (o != NULL && o->text.len > 0) {
        log_slice(line, "reply", o->text);
    }
    log_u64(line, "ms", ns / MX_NS_PER_MS);
    log_end(log, line);
}

static void keep(struct verify_question *q, enum verify_result result)
{
    struct verify *v = q->verify;
    const struct performance *p = &v->deliver->performance;
    bool accepted = result == VERIFY_RESULT_ACCEPTED;
    uint64_t now_ns = v->deliver->shard->now_ns;
    uint64_t keep_ms = accepted ? p->verify_keep_accepted_ms : p->verify_keep_refused_ms;
    struct verify_key key = key_of(q);
    if (!q->stale && q->epoch == v->cache.epoch) {
        verify_cache_keep(&v->cache, &key, accepted ? VERIFY_ACCEPTED : VERIFY_REFUSED, now_ns,
                          now_ns + keep_ms * MX_NS_PER_MS);
    }
}

static void question_free(struct verify_question *q)
{
    MX_ASSERT(!list_linked(&q->node) && list_empty(&q->waiters));
    wheel_cancel(&q->verify->deliver->shard->wheel, &q->timer);
    list_remove(&q->all_node);
    pool_release(&q->verify->questions, q);
}

void verify_finish(struct verify_question *q, enum verify_result result, const struct outcome *o)
{
    struct verify *v = q->verify;
    bool decided = result == VERIFY_RESULT_ACCEPTED || result == VERIFY_RESULT_REFUSED;
    uint64_t ns = v->deliver->shard->now_ns - q->began_ns;
    count_one(&v->stats.results[q->late ? VERIFY_RESULT_LATE : result]);
    hdr_add(&v->stats.ns, ns);
    log_answer(q, result, o, ns);
    if (decided) {
        keep(q, result);
    }
    /* What was said of an address that has changed here meanwhile is of no use to anybody. */
    tell(q, q->stale || q->epoch != v->cache.epoch ? VERIFY_LATER
            : result == VERIFY_RESULT_ACCEPTED     ? VERIFY_ACCEPTED
            : result == VERIFY_RESULT_REFUSED      ? VERIFY_REFUSED
                                                   : VERIFY_UNKNOWN);
    question_free(q);
}

/* Nobody waits any longer. A connection that has the question still brings its answer. */
static void deadline(struct timer *timer, uint64_t now_ns)
{
    struct verify_question *q = mx_container_of(timer, struct verify_question, timer);
    (void)now_ns;
    q->late = true;
    if (q->on_its_way) {
        tell(q, VERIFY_UNKNOWN);
        return;
    }
    q->hop->verify.waiting_count -= list_linked(&q->node);
    list_remove(&q->node);
    verify_finish(q, VERIFY_RESULT_LATE, NULL);
}

/* --- questions ---------------------------------------------------------------------------------
 */

enum verify_answer verify_known(const struct verify *v, const struct verify_key *key,
                                uint64_t *out_until_ns)
{
    return verify_cache_find(&v->cache, key, v->deliver->shard->now_ns, out_until_ns);
}

static struct verify_question *find(struct verify *v, const struct verify_key *key)
{
    struct list_node *node = list_first(&v->asked);
    for (; node != NULL; node = list_next(&v->asked, node)) {
        struct verify_question *q = mx_container_of(node, struct verify_question, all_node);
        if (q->len == key->address.len && q->domain_id == key->domain_id &&
            q->route == key->route && q->epoch == v->cache.epoch && !q->stale && !q->late &&
            memcmp(q->address, key->address.ptr, q->len) == 0) {
            return q;
        }
    }
    return NULL;
}

static struct verify_question *question_new(struct verify *v, const struct verify_key *key,
                                            struct hop *hop)
{
    struct verify_question *q = pool_acquire_zero(&v->questions);
    if (q == NULL || key->address.len > sizeof q->address) {
        pool_release(&v->questions, q);
        return NULL;
    }
    q->verify = v;
    q->hop = hop;
    q->began_ns = v->deliver->shard->now_ns;
    q->domain_id = key->domain_id;
    q->route = key->route;
    q->epoch = v->cache.epoch;
    q->len = (uint16_t)key->address.len;
    memcpy(q->address, key->address.ptr, key->address.len);
    list_init(&q->waiters);
    list_push_back(&v->asked, &q->all_node);
    q->timer.fire = deadline;
    shard_after(v->deliver->shard, &q->timer,
                v->deliver->performance.verify_timeout_ms * MX_NS_PER_MS);
    return q;
}

static bool is_pausing(const struct hop *hop)
{
    return hop->deliver->shard->now_ns < hop->verify.pause_until_ns;
}

static enum verify_answer ask_hop(struct verify *v, const struct verify_key *key,
                                  struct verify_waiter *waiter)
{
    struct hop *hop = v->deliver->route[key->route];
    if (v->deliver->stopping || (is_pausing(hop) && hop->verify.connections == 0)) {
        count_add(&v->stats.results[VERIFY_RESULT_UNREACHABLE], waiter != NULL);
        return VERIFY_UNKNOWN;
    }
    size_t max = v->deliver->performance.verify_questions / (waiter == NULL ? 2 : 1);
    struct verify_question *q = v->questions.used < max ? question_new(v, key, hop) : NULL;
    if (q == NULL) {
        count_add(&v->stats.results[VERIFY_RESULT_FULL], waiter != NULL);
        return VERIFY_UNKNOWN;
    }
    if (waiter != NULL) {
        list_push_back(&q->waiters, &waiter->node);
    }
    list_push_back(&hop->verify.waiting, &q->node);
    hop->verify.waiting_count++;
    verify_hop_run(hop);
    return VERIFY_LATER;
}

enum verify_answer verify_ask(struct verify *v, const struct verify_key *key,
                              struct verify_waiter *waiter)
{
    uint64_t until_ns;
    enum verify_answer known = verify_known(v, key, &until_ns);
    if (known != VERIFY_LATER) {
        count_add(&v->stats.kept, waiter != NULL);
        return known;
    }
    struct verify_question *q = find(v, key);
    if (q == NULL) {
        return ask_hop(v, key, waiter);
    }
    if (waiter != NULL) {
        count_one(&v->stats.shared);
        list_push_back(&q->waiters, &waiter->node);
    }
    return VERIFY_LATER;
}

/* --- changes -----------------------------------------------------------------------------------
 */

void verify_forget_address(struct verify *v, uint64_t domain_id, struct slice local)
{
    verify_cache_forget(&v->cache, domain_id, local);
    struct list_node *node = list_first(&v->asked);
    for (; node != NULL; node = list_next(&v->asked, node)) {
        struct verify_question *q = mx_container_of(node, struct verify_question, all_node);
        struct verify_key key = key_of(q);
        q->stale = q->stale || verify_key_is_about(&key, domain_id, local);
    }
}

void verify_forget_all(struct verify *v)
{
    verify_cache_forget_all(&v->cache);
}

/* --- the hop -----------------------------------------------------------------------------------
 */

struct verify_question *verify_take(struct hop *hop)
{
    struct list_node *node = list_pop_front(&hop->verify.waiting);
    if (node == NULL) {
        return NULL;
    }
    struct verify_question *q = mx_container_of(node, struct verify_question, node);
    hop->verify.waiting_count--;
    q->on_its_way = true;
    return q;
}

void verify_give_back(struct verify_question *q)
{
    struct hop *hop = q->hop;
    q->on_its_way = false;
    if (q->retried || hop->retired || hop->deliver->stopping || q->late) {
        verify_finish(q, VERIFY_RESULT_UNREACHABLE, NULL);
        return;
    }
    q->retried = true;
    list_push_front(&hop->verify.waiting, &q->node);
    hop->verify.waiting_count++;
}

static void finish_waiting(struct hop *hop)
{
    struct verify_question *q;
    while ((q = verify_take(hop)) != NULL) {
        verify_finish(q, VERIFY_RESULT_UNREACHABLE, NULL);
    }
}

void verify_pause(struct hop *hop, struct slice reason)
{
    bool works = hop->verify.connections > hop->verify.connecting;
    struct log *log = &hop->deliver->shard->log;
    if (!works && !is_pausing(hop)) {
        struct log_line *line = log_begin(log, LOG_WARN, "verification-unavailable");
        log_slice(line, "route", hop->route.name);
        log_slice(line, "reason", reason);
        log_text(line, "effect", "recipients are accepted or put off as their domain says");
        log_end(log, line);
    }
    hop->verify.pause_until_ns = hop->deliver->shard->now_ns + VERIFY_PAUSE_MS * MX_NS_PER_MS;
    if (!works) {
        finish_waiting(hop);
    }
}

void verify_hop_failed(struct hop *hop, struct slice reason)
{
    bool works = hop->verify.connections > hop->verify.connecting;
    if (!works && !list_empty(&hop->verify.waiting)) {
        verify_pause(hop, reason);
    }
}

void verify_hop_run(struct hop *hop)
{
    struct verify_hop *vh = &hop->verify;
    if (hop->retired || hop->deliver->stopping) {
        return;
    }
    while (!list_empty(&vh->waiting) && verify_conn_use_idle(hop)) {
    }
    if (!list_empty(&vh->waiting) && is_pausing(hop) && vh->connections == 0) {
        finish_waiting(hop);
    }
    if (list_empty(&vh->waiting) || is_pausing(hop) || !hop_addresses_known(hop)) {
        return;
    }
    unsigned max = (unsigned)hop->deliver->performance.verify_connections;
    bool opened = true;
    while (opened && vh->connections < max &&
           vh->connecting * VERIFY_BATCH_MAX < vh->waiting_count) {
        opened = verify_conn_open(hop, hop->first_address);
    }
}

/* Whoever waits asks anew, where the mail goes now. */
void verify_hop_stop(struct hop *hop)
{
    struct verify_question *q;
    while ((q = verify_take(hop)) != NULL) {
        q->stale = true;
        verify_finish(q, VERIFY_RESULT_UNREACHABLE, NULL);
    }
    verify_conns_stop(hop);
}

const char *verify_result_name(unsigned result)
{
    static const char *const names[VERIFY_RESULTS] = {
        [VERIFY_RESULT_ACCEPTED] = "accepted",   [VERIFY_RESULT_REFUSED] = "refused",
        [VERIFY_RESULT_UNDECIDED] = "undecided", [VERIFY_RESULT_UNREACHABLE] = "unreachable",
        [VERIFY_RESULT_LATE] = "late",           [VERIFY_RESULT_FULL] = "full"};
    return names[result];
}
