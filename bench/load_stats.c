#include "bench/load_stats.h"

#include <string.h>

const char *load_phase_word(enum load_phase phase)
{
    static const char *const words[] = {
#define PHASE(name, word, from, to) [PHASE_##name] = word,
#include "bench/phases.def"
#undef PHASE
    };
    return words[phase];
}

const char *load_verb_word(enum load_verb verb)
{
    static const char *const words[] = {
        [LOAD_VERB_BANNER] = "banner", [LOAD_VERB_EHLO] = "ehlo", [LOAD_VERB_STARTTLS] = "starttls",
        [LOAD_VERB_MAIL] = "mail",     [LOAD_VERB_RCPT] = "rcpt", [LOAD_VERB_DATA] = "data",
        [LOAD_VERB_END] = "end",       [LOAD_VERB_RSET] = "rset", [LOAD_VERB_QUIT] = "quit",
    };
    return words[verb];
}

const struct load_count load_count_names[] = {
#define COUNT(name) {#name, offsetof(struct load_counts, name)},
#include "bench/load_counts.def"
#undef COUNT
};
const size_t load_count_names_len = mx_countof(load_count_names);

struct load_counts load_counts_measured(const struct load_stats *stats)
{
    return (struct load_counts){
#define COUNT(name) .name = stats->counts.name - stats->warm_up.name,
#include "bench/load_counts.def"
#undef COUNT
    };
}

uint64_t load_errors(const struct load_counts *counts)
{
    return counts->refused + counts->unanswered + counts->failed_connections;
}

void load_stats_reply(struct load_stats *stats, enum load_verb verb, uint16_t code)
{
    stats->replies[verb][code < LOAD_CODES ? code : 0]++;
}

void load_stats_message(struct load_stats *stats, uint64_t ns)
{
    histogram_add(&stats->phases[PHASE_MESSAGE], ns);
    histogram_add(&stats->interval, ns);
    histogram_add(&stats->step, ns);
}

void load_stats_measure(struct load_stats *stats, uint64_t now_ns)
{
    stats->warm_up = stats->counts;
    stats->measured_ns = now_ns;
    memset(stats->phases, 0, sizeof stats->phases);
    memset(stats->replies, 0, sizeof stats->replies);
    memset(&stats->step, 0, sizeof stats->step);
    stats->step_completed = load_completed(&stats->counts);
    stats->step_errors = load_errors(&stats->counts);
}

struct load_point load_stats_point(struct load_stats *stats, uint64_t at_ns, uint32_t in_flight)
{
    uint64_t errors = load_errors(&stats->counts);
    struct load_point point = {
        .at_ns = at_ns,
        .completed = load_completed(&stats->counts) - stats->interval_completed,
        .errors = errors - stats->interval_errors,
        .in_flight = in_flight,
        .p50_ns = histogram_percentile(&stats->interval, 50),
        .p99_ns = histogram_percentile(&stats->interval, 99),
        .max_ns = stats->interval.max,
    };
    stats->interval_completed = load_completed(&stats->counts);
    stats->interval_errors = errors;
    memset(&stats->interval, 0, sizeof stats->interval);
    if (stats->point_count < LOAD_POINTS_MAX) {
        stats->points[stats->point_count++] = point;
    } else {
        stats->points_missed++;
    }
    return point;
}

struct load_step load_stats_step(struct load_stats *stats, uint64_t rate, uint64_t took_ns,
                                 uint64_t overdue)
{
    uint64_t errors = load_errors(&stats->counts);
    struct load_step step = {
        .rate = rate,
        .took_ns = took_ns,
        .overdue = overdue,
        .completed = load_completed(&stats->counts) - stats->step_completed,
        .errors = errors - stats->step_errors,
        .p50_ns = histogram_percentile(&stats->step, 50),
        .p90_ns = histogram_percentile(&stats->step, 90),
        .p99_ns = histogram_percentile(&stats->step, 99),
        .max_ns = stats->step.max,
    };
    stats->step_completed = load_completed(&stats->counts);
    stats->step_errors = errors;
    memset(&stats->step, 0, sizeof stats->step);
    if (stats->step_count < LOAD_STEPS_MAX) {
        stats->steps[stats->step_count++] = step;
    }
    return step;
}
