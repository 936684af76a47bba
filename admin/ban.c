#include "admin/ban.h"

#include "admin/object_id.h"
#include "admin/objects.h"
#include "core/check.h"
#include "core/timefmt.h"
#include "io/clock.h"
#include "io/random.h"

#include <stdlib.h>

/* Words of BlockedIp.reason. */
static const char *const reasons[OFFENCE_COUNT] = {
    [OFFENCE_AUTH] = "authFailure",
    [OFFENCE_ABUSE] = "rcptToFailure",
    [OFFENCE_LOITER] = "loitering",
    [OFFENCE_SCAN] = "portScanning",
};

struct pending {
    struct netmask client;
    enum offence kind;
    int64_t until_ms; /* INT64_MAX: for ever */
};

struct ban {
    struct log *log;     /* of the worker */
    struct store *store; /* NULL: the store cannot be used, nothing is banned */
    struct publisher *publisher;
    bool stopped;
    struct offence_count counts[OFFENCE_COUNT]; /* those of sign-ins are with admin/auth */
    struct ban_rule rules[OFFENCE_COUNT];       /* what Security said in that generation */
    uint64_t rules_generation;
    bool rules_known;
    struct pending pending[BAN_PENDING_MAX];
    unsigned pending_count;
    unsigned making;  /* of the pending ones, the first so many: in the transaction under way */
    uint32_t blocked; /* BlockedIps, as far as known; exact when it reaches the bound */
    int64_t swept_ms; /* monotonic */
    /* the transaction under way */
    struct object_change changes[BAN_PENDING_MAX + BAN_SWEEP_OBJECTS_MAX];
    size_t change_count;
    uint64_t expired[BAN_SWEEP_OBJECTS_MAX];
    size_t expired_count;
    int64_t wall_ms;
};

static const struct reg_type *blocked_type(void)
{
    return reg_type_find(SLICE_LITERAL("BlockedIp"));
}

static void put_client(char out[BAN_TEXT_MAX + 1], const struct netmask *client)
{
    struct writer w = writer_init(out, BAN_TEXT_MAX);
    put_netaddr(&w, &client->addr);
    if (client->bits < (client->addr.family == 4 ? 32 : 128)) {
        put_text(&w, "/");
        put_decimal(&w, client->bits);
    }
    out[w.len] = '\0';
}

static void log_failed(struct ban *ban, const char *reason)
{
    ban->log->wall_ms = clock_wall_ms();
    struct log_line *line = log_begin(ban->log, LOG_ERROR, "clients-not-banned");
    log_u64(line, "clients", ban->making);
    log_text(line, "reason", reason);
    log_end(ban->log, line);
}

/* What Security says now. It is read from the store when something has changed there, not for every
 * offence. */
static mx_err rule_of(struct ban *ban, struct ban_rule *out, enum offence kind)
{
    uint64_t generation = store_generation(ban->store);
    if (store_in_transaction(ban->store)) { /* what it has written so far may not stay */
        return ban_rule_read(ban->store, out, kind);
    }
    mx_err err = MX_OK;
    if (!ban->rules_known || ban->rules_generation != generation) {
        for (unsigned i = 0; !err && i < OFFENCE_COUNT; i++) {
            err = ban_rule_read(ban->store, &ban->rules[i], (enum offence)i);
        }
        ban->rules_generation = generation;
        ban->rules_known = err == MX_OK;
    }
    *out = ban->rules[kind];
    return err;
}

/* Who waits to be banned -------------------------------------------------------------------- */

static bool is_pending(const struct ban *ban, const struct netmask *client)
{
    for (unsigned i = 0; i < ban->pending_count; i++) {
        if (ban->pending[i].client.bits == client->bits &&
            netaddr_equal(&ban->pending[i].client.addr, &client->addr)) {
            return true;
        }
    }
    return false;
}

static bool add_by_rule(struct ban *ban, enum offence kind, const struct netaddr *addr,
                        const struct ban_rule *rule)
{
    int64_t now_ms = clock_wall_ms();
    bool exempt = true;
    struct netmask client = offence_client(addr, rule->ipv6_bits);
    if (ban->stopped || ban->pending_count == BAN_PENDING_MAX || is_pending(ban, &client) ||
        ban_exempt(ban->store, &exempt, addr, now_ms)) {
        return false;
    }
    if (exempt) {
        offence_count_forget(&ban->counts[kind], &client); /* not looked at with every offence */
        return false;
    }
    bool ever = rule->ban_ms > INT64_MAX - now_ms;
    ban->pending[ban->pending_count++] =
        (struct pending){client, kind, ever ? INT64_MAX : now_ms + rule->ban_ms};
    return true;
}

bool ban_add(struct ban *ban, enum offence kind, const struct netaddr *client)
{
    struct ban_rule rule;
    return ban->store && rule_of(ban, &rule, kind) == MX_OK &&
           add_by_rule(ban, kind, client, &rule);
}

/* Counting ---------------------------------------------------------------------------------- */

static void count_note(struct ban *ban, const struct offence_note *note, int64_t now_ms)
{
    struct ban_rule rule;
    if (rule_of(ban, &rule, note->kind) || rule.rate.count == 0) {
        return;
    }
    struct netmask client = offence_client(&note->client, rule.ipv6_bits);
    struct offence_total total = offence_count_add(&ban->counts[note->kind], &client, SLICE_EMPTY,
                                                   note->count, &rule.rate, now_ms);
    if (total.over) {
        (void)add_by_rule(ban, note->kind, &note->client, &rule);
    }
}

void ban_receive(struct mbox_msg *msg, struct shard *at)
{
    struct offences *offences = mx_container_of(msg, struct offences, msg);
    struct ban *ban = offences->conf.owner;
    const struct offence_batch *batch = offences_sent(offences);
    int64_t now_ms = (int64_t)(clock_monotonic_ns() / MX_NS_PER_MS);
    (void)at;
    for (uint32_t i = 0; ban->store && !ban->stopped && i < batch->count; i++) {
        count_note(ban, &batch->notes[i], now_ms);
    }
    offences_return(offences);
}

/* '*' stands for any bytes. */
static bool glob_matches(struct slice pattern, struct slice text)
{
    size_t p = 0;
    size_t t = 0;
    size_t star = SIZE_MAX;
    size_t retry = 0;
    while (t < text.len) {
        if (p < pattern.len && pattern.ptr[p] == '*') {
            star = p++;
            retry = t;
        } else if (p < pattern.len && pattern.ptr[p] == text.ptr[t]) {
            p++;
            t++;
        } else if (star != SIZE_MAX) {
            p = star + 1;
            t = ++retry;
        } else {
            return false;
        }
    }
    while (p < pattern.len && pattern.ptr[p] == '*') {
        p++;
    }
    return p == pattern.len;
}

void ban_path(struct ban *ban, const struct netaddr *client, struct slice path)
{
    json_t *security = NULL;
    bool found = false;
    if (!ban->store || object_get(ban->store, &security, reg_type_find(SLICE_LITERAL("Security")),
                                  OBJECT_ID_SINGLETON)) {
        return;
    }
    const char *pattern;
    json_t *yes;
    json_object_foreach(json_object_get(security, "scanBanPaths"), pattern, yes)
    {
        found = found || glob_matches(slice_of_text(pattern), path);
    }
    json_decref(security);
    if (found) {
        (void)ban_add(ban, OFFENCE_SCAN, client);
    }
}

/* Making them -------------------------------------------------------------------------------- */

static void note_change(void *arg, const struct reg_type *type, uint64_t id, const json_t *before,
                        const json_t *after)
{
    struct ban *ban = arg;
    MX_ASSERT(ban->change_count < mx_countof(ban->changes));
    ban->changes[ban->change_count++] =
        (struct object_change){type, id, json_incref((json_t *)(uintptr_t)before),
                               json_incref((json_t *)(uintptr_t)after)};
}

static void forget_changes(struct ban *ban)
{
    for (size_t i = 0; i < ban->change_count; i++) {
        json_decref((json_t *)(uintptr_t)ban->changes[i].before);
        json_decref((json_t *)(uintptr_t)ban->changes[i].after);
    }
    ban->change_count = 0;
}

static bool is_over(const struct ban *ban, const json_t *blocked)
{
    int64_t expires_ms = INT64_MAX;
    const char *expires = json_string_value(json_object_get(blocked, "expiresAt"));
    return expires && rfc3339_parse(&expires_ms, slice_of_text(expires)) == MX_OK &&
           expires_ms <= ban->wall_ms;
}

/* Those of administrators stay: they may have a meaning for people. */
static mx_err look_at_blocked(void *arg, uint64_t id, json_t *object)
{
    struct ban *ban = arg;
    const char *reason = json_string_value(json_object_get(object, "reason"));
    ban->blocked++;
    if (ban->expired_count < BAN_SWEEP_OBJECTS_MAX && is_over(ban, object) && reason &&
        strcmp(reason, "manual") != 0) {
        ban->expired[ban->expired_count++] = id;
    }
    return MX_OK;
}

static mx_err sweep(struct ban *ban)
{
    struct set_errors errors;
    int64_t now_ms = (int64_t)(clock_monotonic_ns() / MX_NS_PER_MS);
    if (ban->blocked < BAN_BLOCKED_MAX && ban->swept_ms != 0 &&
        now_ms - ban->swept_ms < BAN_SWEEP_MS) {
        return MX_OK;
    }
    ban->swept_ms = now_ms;
    ban->expired_count = ban->blocked = 0;
    mx_err err = store_each(ban->store, blocked_type(), look_at_blocked, ban);
    for (size_t i = 0; !err && i < ban->expired_count; i++) {
        errors.count = 0;
        err = object_destroy(ban->store, blocked_type(), ban->expired[i], NULL, &errors);
        ban->blocked -= errors.count == 0;
    }
    return err;
}

static json_t *expiry_json(const struct pending *pending)
{
    char text[40];
    struct writer w = writer_init(text, sizeof text);
    if (pending->until_ms == INT64_MAX) {
        return json_null();
    }
    put_rfc3339_ms(&w, pending->until_ms);
    return json_stringn(text, w.len);
}

/* One whose ban is over but still there gets it anew; one that is blocked already stays so. */
static mx_err write_one(struct ban *ban, const struct pending *pending)
{
    struct set_errors errors;
    char client[BAN_TEXT_MAX + 1];
    uint64_t id = 0;
    json_t *old = NULL;
    put_client(client, &pending->client);
    json_t *body =
        json_pack("{s:s,s:o}", "reason", reasons[pending->kind], "expiresAt", expiry_json(pending));
    errors.count = 0;
    mx_err err = store_find_label(ban->store, &id, blocked_type(), slice_of_text(client));
    if (err == MX_ERR_NOTFOUND && ban->blocked < BAN_BLOCKED_MAX) {
        json_object_set_new(body, "address", json_string(client));
        err = object_create(ban->store, &id, blocked_type(), body, NULL, &errors);
        ban->blocked += !err && errors.count == 0;
    } else if (!err && store_get(ban->store, &old, blocked_type(), id) == MX_OK &&
               is_over(ban, old)) {
        err = object_update(ban->store, blocked_type(), id, body, NULL, NULL, NULL, &errors);
    } else if (err == MX_ERR_NOTFOUND) {
        err = MX_ERR_LIMIT;
    }
    json_decref(old);
    json_decref(body);
    return !err && errors.count > 0 ? MX_ERR_INVALID : err;
}

static mx_err write_all(struct ban *ban, struct config_problem *problem)
{
    const struct reg_type *type;
    ban->wall_ms = clock_wall_ms();
    mx_err err = store_begin(ban->store, "ringmx (automatic)", ban->wall_ms);
    if (err) {
        return err;
    }
    err = sweep(ban);
    for (unsigned i = 0; !err && i < ban->making; i++) {
        err = write_one(ban, &ban->pending[i]);
    }
    if (!err && ban->change_count > 0) {
        err = publisher_prepare(ban->publisher, ban->store, ban->changes, ban->change_count, &type,
                                problem);
        if (!err) {
            err = store_commit(ban->store);
            if (err) {
                publisher_cancel(ban->publisher);
            }
            return err ? err
                       : publisher_apply(ban->publisher, store_generation(ban->store), problem);
        }
    }
    store_rollback(ban->store);
    return err;
}

static void log_banned(struct ban *ban)
{
    ban->log->wall_ms = ban->wall_ms;
    for (unsigned i = 0; i < ban->making; i++) {
        const struct pending *pending = &ban->pending[i];
        char client[BAN_TEXT_MAX + 1];
        char until[40];
        struct writer w = writer_init(until, sizeof until);
        put_client(client, &pending->client);
        struct log_line *line = log_begin(ban->log, LOG_WARN, "client-banned");
        log_text(line, "client", client);
        log_text(line, "reason", reasons[pending->kind]);
        if (pending->until_ms != INT64_MAX) {
            put_rfc3339_ms(&w, pending->until_ms);
            log_slice(line, "until", writer_slice(&w));
        }
        log_end(ban->log, line);
        offence_count_forget(&ban->counts[pending->kind], &pending->client);
    }
}

bool ban_run(void *arg)
{
    struct ban *ban = arg;
    struct config_problem problem = {0};
    if (ban->stopped || !ban->store || ban->pending_count == 0) {
        return false;
    }
    ban->making = ban->pending_count; /* more may come while the cores are waited for */
    store_watch(ban->store, note_change, ban);
    mx_err err = write_all(ban, &problem);
    store_watch(ban->store, NULL, NULL);
    forget_changes(ban);
    if (err) {
        log_failed(ban, problem.text[0] ? problem.text : err_text(err));
    } else {
        log_banned(ban);
    }
    MX_ASSERT(ban->making <= ban->pending_count);
    ban->pending_count -= ban->making;
    memmove(ban->pending, ban->pending + ban->making, ban->pending_count * sizeof *ban->pending);
    ban->making = 0;
    return ban->pending_count > 0;
}

/* Life --------------------------------------------------------------------------------------- */

mx_err ban_new(struct ban **out_ban, struct log *log)
{
    struct ban *ban = calloc(1, sizeof *ban);
    if (!ban) {
        return MX_ERR_NOMEM;
    }
    ban->log = log;
    for (size_t i = 0; i < OFFENCE_COUNT; i++) {
        offence_count_init(&ban->counts[i], random_u64());
    }
    *out_ban = ban;
    return MX_OK;
}

void ban_open(struct ban *ban, struct store *store, struct publisher *publisher)
{
    ban->store = store;
    ban->publisher = publisher;
}

void ban_stop(struct ban *ban)
{
    ban->stopped = true;
}

void ban_free(struct ban *ban)
{
    free(ban);
}
