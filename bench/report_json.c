#include "bench/machine.h"
#include "bench/report.h"

#include <sys/resource.h>

enum { TICKS_MAX = 64 };

static void set(json_t *object, const char *name, json_t *value)
{
    (void)json_object_set_new(object, name, value);
}

static void set_number(json_t *object, const char *name, uint64_t value)
{
    set(object, name, json_integer((json_int_t)value));
}

/* As HdrHistogram prints them: two for each halving of what is left, as far as there are values. */
static json_t *ticks_of(const struct histogram *h)
{
    static const double root = 1.4142135623730951;
    json_t *ticks = json_array();
    double left = 1;
    for (unsigned i = 0; i < TICKS_MAX && left * (double)h->count >= 1; i++) {
        double percent = 100 * (1 - left);
        (void)json_array_append_new(
            ticks, json_pack("[f,I]", percent, (json_int_t)histogram_percentile(h, percent)));
        left /= root;
    }
    (void)json_array_append_new(ticks, json_pack("[f,I]", 100.0, (json_int_t)h->max));
    return ticks;
}

static json_t *histogram_json(const struct histogram *h)
{
    static const struct {
        const char *name;
        double percent;
    } named[] = {{"p50_ns", 50}, {"p75_ns", 75},     {"p90_ns", 90},      {"p95_ns", 95},
                 {"p99_ns", 99}, {"p99.9_ns", 99.9}, {"p99.99_ns", 99.99}};
    json_t *object = json_object();
    set_number(object, "count", h->count);
    set_number(object, "mean_ns", histogram_mean(h));
    for (size_t i = 0; i < mx_countof(named); i++) {
        set_number(object, named[i].name, histogram_percentile(h, named[i].percent));
    }
    set_number(object, "max_ns", h->max);
    set(object, "percentiles", ticks_of(h));
    return object;
}

static json_t *phases_json(const struct load *load)
{
    json_t *phases = json_object();
    for (unsigned phase = 0; phase < PHASES; phase++) {
        if (load->stats.phases[phase].count > 0) {
            set(phases, load_phase_word(phase), histogram_json(&load->stats.phases[phase]));
        }
    }
    return phases;
}

static json_t *replies_json(const struct load *load)
{
    json_t *replies = json_object();
    for (unsigned verb = 0; verb < LOAD_VERBS; verb++) {
        json_t *codes = json_object();
        for (unsigned code = 0; code < LOAD_CODES; code++) {
            char name[8];
            (void)snprintf(name, sizeof name, "%u", code);
            if (load->stats.replies[verb][code] > 0) {
                set_number(codes, name, load->stats.replies[verb][code]);
            }
        }
        if (json_object_size(codes) > 0) {
            set(replies, load_verb_word(verb), codes);
        } else {
            json_decref(codes);
        }
    }
    return replies;
}

static json_t *series_json(const struct load *load)
{
    json_t *series = json_array();
    for (uint32_t i = 0; i < load->stats.point_count; i++) {
        const struct load_point *p = &load->stats.points[i];
        (void)json_array_append_new(
            series,
            json_pack("{s:I,s:I,s:I,s:I,s:I,s:I,s:I}", "at_ns", (json_int_t)p->at_ns, "completed",
                      (json_int_t)p->completed, "errors", (json_int_t)p->errors, "in_flight",
                      (json_int_t)p->in_flight, "p50_ns", (json_int_t)p->p50_ns, "p99_ns",
                      (json_int_t)p->p99_ns, "max_ns", (json_int_t)p->max_ns));
    }
    return series;
}

static json_t *sweep_json(const struct load *load)
{
    json_t *sweep = json_array();
    for (uint32_t i = 0; i < load->stats.step_count; i++) {
        const struct load_step *s = &load->stats.steps[i];
        (void)json_array_append_new(
            sweep,
            json_pack("{s:I,s:f,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:b}", "rate", (json_int_t)s->rate,
                      "reached", (double)s->completed * 1e9 / (double)s->took_ns, "took_ns",
                      (json_int_t)s->took_ns, "p50_ns", (json_int_t)s->p50_ns, "p90_ns",
                      (json_int_t)s->p90_ns, "p99_ns", (json_int_t)s->p99_ns, "max_ns",
                      (json_int_t)s->max_ns, "errors", (json_int_t)s->errors, "overdue",
                      (json_int_t)s->overdue, "beyond_knee",
                      load->knee && i + 1 == load->stats.step_count));
    }
    return sweep;
}

static json_t *hostile_json(const struct load *load)
{
    json_t *kinds = json_object();
    for (unsigned kind = 0; kind < HOSTILE_KINDS; kind++) {
        const struct hostile_counts *c = &load->hostile.counts[kind];
        if (load->hostile.conf.clients[kind] == 0) {
            continue;
        }
        json_t *resets = json_object();
        for (unsigned stage = 0; stage < STAGES; stage++) {
            if (c->reset[stage] > 0) {
                set_number(resets, hostile_stage_word(stage), c->reset[stage]);
            }
        }
        json_t *told = json_pack(
            "{s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:o}", "clients",
            (json_int_t)load->hostile.conf.clients[kind], "connections", (json_int_t)c->connections,
            "2xx", (json_int_t)c->replies[2], "3xx", (json_int_t)c->replies[3], "4xx",
            (json_int_t)c->replies[4], "5xx", (json_int_t)c->replies[5], "taken",
            (json_int_t)c->messages, "smuggled", (json_int_t)c->smuggled, "closed_by_server",
            (json_int_t)c->closed, "held_ns_max", (json_int_t)c->held_ns_max, "resets", resets);
        set_number(told, "failed", c->failed);
        set_number(told, "held", c->held);
        set_number(told, "not_offered", c->not_offered);
        if (c->failed > 0) {
            set(told, "first_failure", json_string(err_text(c->first_failure)));
        }
        set(kinds, hostile_word(kind), told);
    }
    return kinds;
}

static void set_each_count(json_t *object, const struct load_counts *counts)
{
    for (size_t i = 0; i < load_count_names_len; i++) {
        set_number(object, load_count_names[i].name, load_count_of(counts, &load_count_names[i]));
    }
}

static void set_counts(json_t *object, const struct load *load)
{
    const struct load_counts counts = load_counts_measured(&load->stats);
    const struct histogram *message = &load->stats.phases[PHASE_MESSAGE];
    const struct {
        const char *name;
        uint64_t value;
    } fields[] = {{"errors", load_errors(&counts)},
                  {"overdue", load->overdue},
                  {"first_refusal", load->stats.refusal_code},
                  {"idle_held", load->idle_up},
                  {"idle_lost", load->idle_lost},
                  {"measured", load_measured(load)},
                  {"took_ns", (uint64_t)(load_seconds(load) * 1e9)},
                  {"p50_ns", histogram_percentile(message, 50)},
                  {"p99_ns", histogram_percentile(message, 99)},
                  {"max_ns", message->max},
                  {"sessions", load->conf.sessions},
                  {"seed", load->conf.seed}};
    set_each_count(object, &counts);
    for (size_t i = 0; i < mx_countof(fields); i++) {
        set_number(object, fields[i].name, fields[i].value);
    }
    if (load->conf.warmup_ns > 0) {
        json_t *warm_up = json_object();
        set_each_count(warm_up, &load->stats.warm_up);
        set_number(warm_up, "errors", load_errors(&load->stats.warm_up));
        set(object, "warm_up", warm_up);
    }
    set(object, "stopped", json_boolean(load->stopping));
    set(object, "rate", json_real(load_message_rate(load)));
    if (load->stats.counts.failed_connections > 0) {
        set(object, "first_failure", json_string(err_text(load->stats.connection_err)));
    }
}

/* Our own, so that a reader sees whether the generator was the limit. */
static json_t *cpu_json(void)
{
    struct rusage used;
    if (getrusage(RUSAGE_SELF, &used) != 0) {
        return json_null();
    }
    return json_pack(
        "{s:I,s:I}", "user_ns",
        (json_int_t)used.ru_utime.tv_sec * 1000000000 + (json_int_t)used.ru_utime.tv_usec * 1000,
        "system_ns",
        (json_int_t)used.ru_stime.tv_sec * 1000000000 + (json_int_t)used.ru_stime.tv_usec * 1000);
}

json_t *report_json(const struct report *report)
{
    static const char *const arrivals[] = {
        [ARRIVALS_NONE] = "none", [ARRIVALS_CONSTANT] = "constant", [ARRIVALS_POISSON] = "poisson"};
    const struct load *load = report->load;
    bool open = load->conf.arrivals != ARRIVALS_NONE;
    json_t *object = json_object();
    set(object, "loop", json_string(open ? "open" : "closed"));
    set(object, "arrivals", json_string(arrivals[load->conf.arrivals]));
    set_counts(object, load);
    set(object, "phases", phases_json(load));
    set(object, "replies", replies_json(load));
    set(object, "series", series_json(load));
    set_number(object, "series_missed", load->stats.points_missed);
    if (load->conf.sweep.steps > 0) {
        set(object, "sweep", sweep_json(load));
    }
    if (load->hostile.count > 0) {
        set(object, "hostile", hostile_json(load));
    }
    set(object, "cpu", cpu_json());
    set(object, "machine", machine_facts());
    set(object, "command", json_incref(report->command));
    if (report->stats_before != NULL && report->stats_after != NULL) {
        set(object, "server_stats",
            json_pack("{s:O,s:O}", "before", report->stats_before, "after", report->stats_after));
    }
    return object;
}
