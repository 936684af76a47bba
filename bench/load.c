#include "bench/load.h"

#include "bench/load_session.h"
#include "core/check.h"
#include "io/clock.h"

#include <math.h>
#include <stdlib.h>

enum {
    RETRY_MS = 10,
    IDLE_TURN_MS = 200, /* a turn at most */
    DEADLINES_MS = 500, /* how often deadlines are looked at */
    CATCH_UP_MS = 20,   /* of a limited rate */
    STOP_GRACE_S = 10,
    IDLE_CONNECTING_MAX = 256,
    END_TURNS_MAX = 1000,
    IDLE_STALL_S = 60, /* opening idle connections ends when none was opened or lost for so long */
};

/* A rate of which less than this is reached, while messages wait for a session, lies beyond the
 * knee. */
static const double knee_share = 0.95;

double load_seconds(const struct load *load)
{
    uint64_t end_ns = load->last_done_ns;
    return end_ns > load->measure_ns ? (double)(end_ns - load->measure_ns) / 1e9 : 0;
}

uint64_t load_measured(const struct load *load)
{
    struct load_counts counts = load_counts_measured(&load->stats);
    return load_completed(&counts);
}

double load_message_rate(const struct load *load)
{
    double seconds = load_seconds(load);
    return seconds > 0 ? (double)load_measured(load) / seconds : 0;
}

/* --- what a session is to do next --------------------------------------------------------------
 */

static bool all_begun(const struct load *load)
{
    const struct load_conf *conf = &load->conf;
    bool swept = conf->sweep.steps > 0 && load->stats.step_count >= conf->sweep.steps;
    return load->stopping || load->knee || swept ||
           (conf->messages > 0 && load->stats.counts.begun >= conf->messages) ||
           (load->end_ns > 0 && load->shard.now_ns >= load->end_ns);
}

static bool is_open_loop(const struct load *load)
{
    return load->conf.arrivals != ARRIVALS_NONE;
}

static void wait_until(struct load_session *s, uint64_t at_ns)
{
    s->waiting = s->connected;
    wake_heap_add(&s->load->heap, &s->wake, at_ns);
}

/* One slot of the rate is used. What was missed is caught up by CATCH_UP_MS at most, so that a
 * server that comes back does not meet all of it at once. */
static void use_slot(struct load *load)
{
    uint64_t now_ns = load->shard.now_ns;
    if (load->conf.rate > 0) {
        uint64_t floor_ns = now_ns - mx_min_size(now_ns, CATCH_UP_MS * MX_NS_PER_MS);
        load->next_ns = mx_max_size(load->next_ns, floor_ns) + MX_NS_PER_S / load->conf.rate;
    }
}

/* Closed loop: after the pause, and when the rate allows. */
static bool next_closed(struct load_session *s)
{
    struct load *load = s->load;
    uint64_t now_ns = load->shard.now_ns, think_ms = 0;
    if (s->sent > 0 && s->wake.at_ns < s->began_ns) { /* has not paused since the last one */
        think_ms = distribution_draw(&load->conf.think_ms, &load->dice);
    }
    uint64_t at_ns = mx_max_size(now_ns + think_ms * MX_NS_PER_MS, load->next_ns);
    if (at_ns > now_ns) {
        wait_until(s, at_ns);
        return false;
    }
    use_slot(load);
    message_begin(s, clock_monotonic_ns());
    return true;
}

static bool arrival_due(const struct load *load)
{
    return arrivals_due_ns(&load->arrivals) <= load->shard.now_ns && !all_begun(load);
}

static void take_arrival(struct load_session *s)
{
    s->intended_ns = arrivals_take(&s->load->arrivals, &s->load->dice);
    s->has_arrival = true;
    s->load->stats.counts.begun++;
}

static bool next_open(struct load_session *s)
{
    struct load *load = s->load;
    if (!s->has_arrival && arrival_due(load)) {
        take_arrival(s);
    }
    if (!s->has_arrival) {
        s->waiting = true;
        list_push_back(&load->free, &s->free_node);
        return false;
    }
    message_begin(s, clock_monotonic_ns());
    return true;
}

bool load_next(struct load_session *s)
{
    struct load *load = s->load;
    if (s->transfer == NULL) { /* an idle connection has arrived where it stays */
        s->waiting = true;
        load->idle_up++;
        load->idle_connecting--;
        return false;
    }
    if ((all_begun(load) && !s->has_arrival) || s->sent >= s->quota) {
        load_engine_quit(&s->engine);
        return true;
    }
    return is_open_loop(load) ? next_open(s) : next_closed(s);
}

static void idle_closed(struct load_session *s)
{
    struct load *load = s->load;
    if (!s->was_ready) {
        load->idle_connecting--;
        load->idle_lost++;
    } else if (!load->finishing) {
        load->idle_up--;
        load->idle_lost++;
    }
}

/* The message that the connection was opened for will not be. */
static void lose_arrival(struct load_session *s)
{
    struct load_counts *counts = &s->load->stats.counts;
    if (s->has_arrival) {
        s->has_arrival = false;
        counts->unanswered++;
        s->load->last_done_ns = s->load->shard.now_ns;
    }
}

/* Closed loop: the next connection, after the pause that belongs to the last message. */
static void reconnect(struct load_session *s)
{
    struct load *load = s->load;
    uint64_t think_ms = distribution_draw(&load->conf.think_ms, &load->dice);
    if (think_ms > 0) {
        wait_until(s, load->shard.now_ns + think_ms * MX_NS_PER_MS);
    } else {
        session_connect(s);
    }
}

void load_closed(struct load_session *s)
{
    struct load *load = s->load;
    if (s->transfer == NULL) {
        idle_closed(s);
        return;
    }
    load->stats.counts.failed_connections += !s->was_ready;
    lose_arrival(s);
    bool was_free = list_linked(&s->free_node);
    wake_heap_remove(&load->heap, &s->wake);
    list_remove(&s->free_node);
    if (all_begun(load)) {
        load->open--;
    } else if (is_open_loop(load)) {
        (was_free ? list_push_back : list_push_front)(&load->free, &s->free_node);
    } else if (s->was_ready) {
        reconnect(s);
    } else if (load->conf.retry) {
        wait_until(s, load->shard.now_ns + RETRY_MS * MX_NS_PER_MS);
    } else {
        load->open--;
    }
}

/* --- the loop ----------------------------------------------------------------------------------
 */

/* A session that waits, in the heap or for an arrival, goes on; one without a connection that has
 * nothing to do any more ends. */
static void go_on(struct load_session *s)
{
    if (!s->connected && !s->has_arrival && all_begun(s->load)) {
        s->load->open--;
    } else {
        session_wake(s);
    }
}

static void wake_due(struct load *load)
{
    hostile_turn(&load->hostile);
    struct wake *wake;
    while ((wake = wake_heap_first(&load->heap)) != NULL &&
           (load->finishing || wake->at_ns <= load->shard.now_ns)) {
        wake_heap_remove(&load->heap, wake);
        go_on(mx_container_of(wake, struct load_session, wake));
    }
}

static void wake_free(struct load *load)
{
    while (!list_empty(&load->free) && (load->finishing || arrival_due(load))) {
        struct list_node *node = list_pop_front(&load->free);
        struct load_session *s = mx_container_of(node, struct load_session, free_node);
        if (!load->finishing) {
            take_arrival(s);
        }
        go_on(s);
    }
}

static void abort_late(struct load *load)
{
    for (unsigned i = 0; i < load->conf.sessions; i++) {
        struct load_session *s = &load->sessions[i];
        bool working = s->transfer->open || !s->was_ready;
        if (s->connected && working && load->shard.now_ns > s->began_ns + load->conf.timeout_ns) {
            stream_abort(&s->stream, MX_ERR_TIMEOUT);
        }
    }
}

static void abort_all(struct load *load)
{
    for (unsigned i = 0; i < load->conf.sessions + load->conf.idle; i++) {
        if (load->sessions[i].connected) {
            stream_abort(&load->sessions[i].stream, MX_ERR_TIMEOUT);
        }
    }
}

static void on_turn(struct shard_hook *hook)
{
    ledger_flush(&mx_container_of(hook, struct load, hook)->ledger);
}

/* The rate of a step: equal factors between them. */
static uint64_t step_rate(const struct load *load, uint32_t step)
{
    const struct load_sweep *sweep = &load->conf.sweep;
    double factor = (double)sweep->to / (double)sweep->from;
    double part = sweep->steps > 1 ? (double)step / (double)(sweep->steps - 1) : 0;
    return (uint64_t)((double)sweep->from * pow(factor, part) + 0.5);
}

static void sweep_step(struct load *load)
{
    uint64_t now_ns = load->shard.now_ns;
    struct load_stats *stats = &load->stats;
    uint64_t took_ns = now_ns - (load->step_ns - load->conf.time_ns);
    struct load_step step =
        load_stats_step(stats, load->step_rate, took_ns, arrivals_overdue(&load->arrivals, now_ns));
    double reached = (double)step.completed * 1e9 / (double)took_ns;
    load->knee = reached < knee_share * (double)step.rate && step.overdue > 0;
    if (stats->step_count < load->conf.sweep.steps && !load->knee) {
        load->step_rate = step_rate(load, stats->step_count);
        load->step_ns = now_ns + load->conf.time_ns;
        arrivals_rate(&load->arrivals, load->step_rate, now_ns);
    }
}

/* What the clock has come to: the end of the warm-up, of an interval, of a step. */
static void look_at_clock(struct load *load)
{
    uint64_t now_ns = load->shard.now_ns;
    if (load->stats.measured_ns == 0 && now_ns >= load->measure_ns) {
        load->measure_ns = now_ns;
        load_stats_measure(&load->stats, now_ns);
    }
    if (now_ns >= load->point_ns) {
        struct load_point point =
            load_stats_point(&load->stats, now_ns - load->began_ns, load->in_flight);
        load->point_ns += load->conf.interval_ns;
        if (load->on_point != NULL) {
            load->on_point(load, &point);
        }
    }
    if (load->conf.sweep.steps > 0 && now_ns >= load->step_ns && !load->finishing) {
        sweep_step(load);
    }
    if (!load->finishing && all_begun(load)) {
        load->finishing = true;
        uint64_t until_ns = load->end_ns > 0 ? mx_min_size(load->end_ns, now_ns) : now_ns;
        bool limited = load->conf.messages > 0 && load->stats.counts.begun >= load->conf.messages;
        load->overdue = is_open_loop(load) && !limited && load->conf.sweep.steps == 0
                            ? arrivals_overdue(&load->arrivals, until_ns)
                            : 0;
    }
}

/* How long the next turn may wait. */
static uint64_t wait_ns(const struct load *load)
{
    uint64_t now_ns = load->shard.now_ns, at_ns = now_ns + IDLE_TURN_MS * MX_NS_PER_MS;
    const struct wake *wake = wake_heap_first(&load->heap);
    at_ns = mx_min_size(at_ns, load->point_ns);
    if (wake != NULL) {
        at_ns = mx_min_size(at_ns, wake->at_ns);
    }
    if (!list_empty(&load->free)) {
        at_ns = mx_min_size(at_ns, arrivals_due_ns(&load->arrivals));
    }
    at_ns = mx_min_size(at_ns, hostile_due_ns(&load->hostile));
    if (load->end_ns > now_ns) {
        at_ns = mx_min_size(at_ns, load->end_ns);
    }
    return at_ns > now_ns ? at_ns - now_ns : 0;
}

static bool is_over(const struct load *load)
{
    return load->conf.sessions > 0 ? load->open == 0 : load->finishing;
}

/* All idle connections are open, or lost, before the load begins. */
static void open_idle(struct load *load, const volatile int *stop)
{
    uint64_t limit_ns = clock_monotonic_ns() + IDLE_STALL_S * MX_NS_PER_S, decided = 0;
    unsigned next = 0;
    while ((next < load->conf.idle || load->idle_connecting > 0) && !*stop &&
           load->shard.now_ns < limit_ns) {
        if (load->idle_up + load->idle_lost != decided) {
            decided = load->idle_up + load->idle_lost;
            limit_ns = load->shard.now_ns + IDLE_STALL_S * MX_NS_PER_S;
        }
        while (next < load->conf.idle && load->idle_connecting < IDLE_CONNECTING_MAX) {
            load->idle_connecting++;
            session_connect(&load->sessions[load->conf.sessions + next++]);
        }
        shard_turn(&load->shard, IDLE_TURN_MS * MX_NS_PER_MS);
    }
}

static void start(struct load *load)
{
    struct load_conf *conf = &load->conf;
    uint64_t now_ns = clock_monotonic_ns();
    load->shard.now_ns = now_ns;
    load->began_ns = now_ns;
    load->measure_ns = now_ns + conf->warmup_ns;
    load->stats.measured_ns = conf->warmup_ns == 0 ? now_ns : 0;
    load->point_ns = now_ns + conf->interval_ns;
    load->step_rate = conf->sweep.steps > 0 ? conf->sweep.from : conf->arrivals_rate;
    load->step_ns = load->measure_ns + conf->time_ns;
    bool ends = conf->time_ns > 0 && conf->sweep.steps == 0;
    load->end_ns = ends ? load->measure_ns + conf->time_ns : 0;
    if (is_open_loop(load)) {
        arrivals_begin(&load->arrivals, conf->arrivals, load->step_rate, now_ns);
    }
    load->open = conf->sessions;
    for (unsigned i = 0; i < conf->sessions; i++) {
        if (is_open_loop(load)) {
            list_push_back(&load->free, &load->sessions[i].free_node);
        } else {
            session_connect(&load->sessions[i]);
        }
    }
}

/* Idle connections and hostile clients end at once. */
static void end_others(struct load *load, unsigned quiet)
{
    load->finishing = true;
    hostile_stop(&load->hostile);
    abort_all(load);
    for (unsigned i = 0; i < END_TURNS_MAX && ring_pending(load->shard.ring) > quiet; i++) {
        shard_turn(&load->shard, MX_NS_PER_MS);
    }
}

void load_run(struct load *load, const volatile int *stop)
{
    uint64_t stopped_ns = 0, looked_ns = 0;
    unsigned quiet = ring_pending(load->shard.ring);
    open_idle(load, stop);
    start(load);
    hostile_start(&load->hostile, &load->shard, &load->conf.dial);
    while (!is_over(load)) {
        shard_turn(&load->shard, wait_ns(load));
        uint64_t now_ns = load->shard.now_ns;
        if (*stop && !load->stopping) {
            load->stopping = true;
            stopped_ns = now_ns;
        }
        wake_due(load);
        wake_free(load); /* before it is counted what is overdue */
        look_at_clock(load);
        bool hurry = *stop > 1 || now_ns > stopped_ns + STOP_GRACE_S * MX_NS_PER_S;
        if (load->stopping && hurry) {
            abort_all(load);
        } else if (now_ns > looked_ns + DEADLINES_MS * MX_NS_PER_MS) {
            looked_ns = now_ns;
            abort_late(load);
        }
    }
    if (load->stats.measured_ns == 0) { /* it ended in the warm-up */
        load->measure_ns = load->began_ns;
    }
    if (load->stats.interval.count > 0) {
        (void)load_stats_point(&load->stats, load->shard.now_ns - load->began_ns, 0);
    }
    end_others(load, quiet);
    ledger_flush(&load->ledger);
}

/* --- making and unmaking -----------------------------------------------------------------------
 */

static mx_err make_sessions(struct load *load)
{
    struct load_conf *conf = &load->conf;
    size_t count = conf->sessions, all = count + conf->idle;
    size_t per_message = conf->all_rcpts ? conf->rcpts.count : RECIPIENTS_PER_MESSAGE_MAX;
    load->sessions = calloc(all, sizeof *load->sessions);
    load->transfers = calloc(count + 1, sizeof *load->transfers);
    load->rcpts = calloc(count * per_message + 1, sizeof *load->rcpts);
    load->codes = calloc(count * per_message + 1, sizeof *load->codes);
    if (load->sessions == NULL || load->transfers == NULL || load->rcpts == NULL ||
        load->codes == NULL) {
        return MX_ERR_NOMEM;
    }
    for (size_t i = 0; i < all; i++) {
        load->sessions[i].load = load;
        if (i < count) {
            struct transfer *t = &load->transfers[i];
            t->rcpts = load->rcpts + i * per_message;
            t->codes = load->codes + i * per_message;
            load->sessions[i].transfer = t;
        }
    }
    return wake_heap_init(&load->heap, conf->sessions);
}

mx_err load_init(struct load *load)
{
    struct load_conf *conf = &load->conf;
    MX_ASSERT(conf->rcpts.count > 0);
    list_init(&load->free);
    load->dice.state = conf->seed;
    content_text_make(&load->text, &load->dice);
    conf->dial.dice.state = dice_next(&load->dice);
    recipients_name_unknown(&conf->rcpts, &load->dice);
    mx_err err = hostile_init(&load->hostile, &conf->hostile, conf->from, conf->rcpts.addresses[0]);
    for (unsigned bdat = 0; bdat < 2; bdat++) {
        load->engine_confs[bdat] =
            (struct load_engine_conf){.ehlo_name = SLICE_LITERAL("bench.invalid"),
                                      .pipelining = conf->pipelining,
                                      .chunking = bdat == 1,
                                      .chunk_bytes = conf->chunk_bytes,
                                      .starttls = conf->tls == LOAD_TLS_START};
    }
    load->hook.turn = on_turn;
    shard_add_hook(&load->shard, &load->hook);
    if (!err && conf->tls != LOAD_TLS_OFF) {
        err = tls_client_ctx_new(&load->tls_ctx, &conf->tls_conf);
    }
    return err ? err : make_sessions(load);
}

void load_fini(struct load *load)
{
    hostile_fini(&load->hostile);
    free(load->sessions);
    free(load->transfers);
    free(load->rcpts);
    free(load->codes);
    load->sessions = NULL;
    load->transfers = NULL;
    load->rcpts = NULL;
    load->codes = NULL;
    wake_heap_fini(&load->heap);
    tls_ctx_free(load->tls_ctx);
    load->tls_ctx = NULL;
    recipients_free(&load->conf.rcpts);
    folder_free(&load->conf.folder);
}
