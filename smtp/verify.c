#include "smtp/verify.h"

#include "core/check.h"
#include "smtp/hop.h"
#include "smtp/hop_lookup.h"
#include "smtp/strategy.h"

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
    list_init(&vh->asking);
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
        log_slice(line, o->code != 0 ? "reply" : "reason", o->text);
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
    dns_answers_free(q->answers);
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

static void leave_list(struct verify_question *q)
{
    q->hop->verify.waiting_count -= list_linked(&q->node) && !q->asking;
    q->asking = false;
    list_remove(&q->node);
}

/* In front of those that wait. */
static void wait_first(struct verify_question *q)
{
    list_push_front(&q->hop->verify.waiting, &q->node);
    q->hop->verify.waiting_count++;
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
    leave_list(q);
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

/* --- strategies --------------------------------------------------------------------------------
 */

static void strategy_answered(void *arg)
{
    struct verify_question *q = arg;
    if (q->asking) {
        leave_list(q);
        wait_first(q);
        verify_hop_run(q->hop);
    }
}

static struct dns_answers *answers_of(void *arg)
{
    struct verify_question *q = arg;
    if (q->answers == NULL) {
        const struct deliver_conf *conf = &q->hop->deliver->conf;
        q->answers =
            dns_answers_new(conf->dns, conf->keys, DNS_ANSWERS_SESSION_MAX, strategy_answered, q);
    }
    return q->answers;
}

bool verify_pick(struct verify_question *q, struct strategy_pick *out,
                 const struct routing_host *host)
{
    struct expr_asker asker = {.answers = answers_of, .arg = q};
    enum expr_status status =
        strategy_of_question(out, q->hop, slice_of(q->address, q->len), &asker, host);
    dns_answers_rest(q->answers);
    if (status == EXPR_DONE) {
        return true;
    }
    leave_list(q);
    if (status == EXPR_WAITING) {
        q->asking = true;
        list_push_back(&q->hop->verify.asking, &q->node);
    } else {
        struct outcome problem = deliver_problem(
            SLICE_LITERAL("the tls or connection expression could not be evaluated"),
            SLICE_LITERAL("routing"));
        verify_finish(q, VERIFY_RESULT_UNDECIDED, &problem);
    }
    return false;
}

struct verify_question *verify_find(struct hop *hop, const struct strategy_kept *kept,
                                    const struct routing_host *host)
{
    struct list_node *node = list_first(&hop->verify.waiting);
    for (unsigned i = 0; i < VERIFY_LOOK_MAX && node != NULL; i++) {
        struct verify_question *q = mx_container_of(node, struct verify_question, node);
        struct strategy_pick pick;
        node = list_next(&hop->verify.waiting, node);
        if (verify_pick(q, &pick, host) && strategy_is(kept, &pick)) {
            return q;
        }
    }
    return NULL;
}

struct verify_question *verify_take(struct hop *hop, const struct strategy_kept *kept,
                                    const struct routing_host *host)
{
    struct verify_question *q = verify_find(hop, kept, host);
    if (q != NULL) {
        leave_list(q);
        q->on_its_way = true;
    }
    return q;
}

/* True while connections like this pause. */
static bool is_resting(const struct hop *hop, const struct strategy_pick *pick)
{
    bool rests = false;
    for (unsigned i = 0; i < VERIFY_RESTS_MAX; i++) {
        const struct verify_rest *rest = &hop->verify.rests[i];
        rests = rests || (rest->tls_effect == pick->tls->effect &&
                          rest->connection_effect == pick->connection->effect &&
                          hop->deliver->shard->now_ns < rest->until_ns);
    }
    return rests;
}

/* In the place of the one that ends first. */
static void rest_note(struct hop *hop, const struct strategy_kept *kept)
{
    struct verify_rest *place = &hop->verify.rests[0];
    for (unsigned i = 1; i < VERIFY_RESTS_MAX; i++) {
        struct verify_rest *rest = &hop->verify.rests[i];
        place = rest->until_ns < place->until_ns ? rest : place;
    }
    *place = (struct verify_rest){.tls_effect = kept->tls_effect,
                                  .connection_effect = kept->connection_effect,
                                  .until_ns =
                                      hop->deliver->shard->now_ns + VERIFY_PAUSE_MS * MX_NS_PER_MS};
}

/* The first question that no connection on its way will take, or NULL; those whose strategies pause
 * have no answer. */
static struct verify_question *unserved(struct hop *hop)
{
    struct verify_hop *vh = &hop->verify;
    const struct hop_address *address = &hop->addresses[hop->first_address];
    struct routing_host host = {address->host.len > 0 ? address->host : hop->route.address,
                                &address->addr, NULL};
    struct strategy_pick picks[VERIFY_LOOK_MAX];
    struct list_node *node = list_first(&vh->waiting);
    unsigned count = 0;
    if (strategy_is_fixed(hop)) {
        bool all = vh->connecting * VERIFY_BATCH_MAX >= vh->waiting_count;
        return all ? NULL : mx_container_of(node, struct verify_question, node);
    }
    while (count < VERIFY_LOOK_MAX && node != NULL) { /* each is counted, or waits no more */
        struct verify_question *q = mx_container_of(node, struct verify_question, node);
        struct strategy_pick *pick = &picks[count];
        node = list_next(&vh->waiting, node);
        if (!verify_pick(q, pick, &host)) {
            continue;
        }
        if (is_resting(hop, pick)) {
            leave_list(q);
            verify_finish(q, VERIFY_RESULT_UNREACHABLE, NULL);
            continue;
        }
        unsigned before = 0;
        for (unsigned k = 0; k < count; k++) {
            before += picks[k].tls->effect == pick->tls->effect &&
                      picks[k].connection->effect == pick->connection->effect;
        }
        if (verify_conns_coming(hop, pick) * VERIFY_BATCH_MAX <= before) {
            return q;
        }
        count++;
    }
    return NULL;
}

/* --- the hop -----------------------------------------------------------------------------------
 */

void verify_give_back(struct verify_question *q)
{
    struct hop *hop = q->hop;
    q->on_its_way = false;
    if (q->retried || hop->retired || hop->deliver->stopping || q->late) {
        verify_finish(q, VERIFY_RESULT_UNREACHABLE, NULL);
        return;
    }
    q->retried = true;
    wait_first(q);
}

/* stale: whoever waits asks anew. */
static void finish_all(struct list *list, bool stale)
{
    while (!list_empty(list)) {
        struct verify_question *q = mx_container_of(list_first(list), struct verify_question, node);
        leave_list(q);
        q->stale = q->stale || stale;
        verify_finish(q, VERIFY_RESULT_UNREACHABLE, NULL);
    }
}

static void log_pause(const struct hop *hop, struct slice reason)
{
    struct log *log = &hop->deliver->shard->log;
    struct log_line *line = log_begin(log, LOG_WARN, "verification-unavailable");
    log_slice(line, "route", hop->route.name);
    log_slice(line, "reason", reason);
    log_text(line, "effect", "recipients are accepted or put off as their domain says");
    log_end(log, line);
}

static bool works(const struct hop *hop)
{
    return hop->verify.connections > hop->verify.connecting;
}

static void pause_all(struct hop *hop, struct slice reason)
{
    if (!works(hop) && !is_pausing(hop)) {
        log_pause(hop, reason);
    }
    hop->verify.pause_until_ns = hop->deliver->shard->now_ns + VERIFY_PAUSE_MS * MX_NS_PER_MS;
    if (!works(hop)) {
        finish_all(&hop->verify.waiting, false);
    }
}

void verify_pause(struct hop *hop, const struct strategy_kept *kept, struct slice reason)
{
    if (strategy_is_fixed(hop)) {
        pause_all(hop, reason);
    } else { /* others may need no TLS, or have another source */
        log_pause(hop, reason);
        rest_note(hop, kept);
    }
}

void verify_hop_failed(struct hop *hop, struct slice reason)
{
    if (!works(hop) && !list_empty(&hop->verify.waiting)) {
        pause_all(hop, reason);
    }
}

void verify_hop_run(struct hop *hop)
{
    struct verify_hop *vh = &hop->verify;
    if (hop->retired || hop->deliver->stopping) {
        return;
    }
    verify_conns_use_idle(hop);
    if (!list_empty(&vh->waiting) && is_pausing(hop) && vh->connections == 0) {
        finish_all(&vh->waiting, false);
    }
    if (list_empty(&vh->waiting) || is_pausing(hop) || !hop_addresses_known(hop)) {
        return;
    }
    unsigned max = (unsigned)hop->deliver->performance.verify_connections;
    struct verify_question *q;
    bool opened = true;
    while ((q = unserved(hop)) != NULL && opened && vh->connections < max) {
        opened = verify_conn_open(hop, hop->first_address, q);
    }
    if (q != NULL && verify_wants_room(hop)) {
        verify_conns_make_room(hop);
    }
}

bool verify_wants_room(const struct hop *hop)
{
    const struct verify_hop *vh = &hop->verify;
    return !strategy_is_fixed(hop) && !list_empty(&vh->waiting) && vh->yielding == 0 &&
           vh->connections >= hop->deliver->performance.verify_connections;
}

/* Whoever waits asks anew, where the mail goes now. */
void verify_hop_stop(struct hop *hop)
{
    finish_all(&hop->verify.waiting, true);
    finish_all(&hop->verify.asking, true);
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
