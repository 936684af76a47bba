/* What a load has seen: times of each phase, replies by command and code, counts, and all of it
 * over time. Times of what was written in one go (PIPELINING) begin together. */
#pragma once

#include "bench/histogram.h"
#include "bench/load_engine.h"
#include "core/err.h"

enum load_phase {
#define PHASE(name, word, from, to) PHASE_##name,
#include "bench/phases.def"
#undef PHASE
    PHASES
};

enum {
    LOAD_CODES = 600,       /* replies are counted by code; what is over it as 0 */
    LOAD_POINTS_MAX = 7200, /* of the series; what comes later is not in it */
    LOAD_STEPS_MAX = 64,    /* of a sweep */
};

struct load_counts {
#define COUNT(name) uint64_t name;
#include "bench/load_counts.def"
#undef COUNT
};

/* The members by name. */
struct load_count {
    const char *name;
    size_t offset;
};
extern const struct load_count load_count_names[];
extern const size_t load_count_names_len;

static inline uint64_t load_count_of(const struct load_counts *counts, const struct load_count *of)
{
    return *(const uint64_t *)(const void *)((const char *)counts + of->offset);
}

/* One interval of the series. */
struct load_point {
    uint64_t at_ns; /* its end, from the start */
    uint64_t completed, errors;
    uint32_t in_flight;
    uint64_t p50_ns, p99_ns, max_ns;
};

/* One rate of a sweep. */
struct load_step {
    uint64_t rate; /* intended */
    uint64_t took_ns, completed, errors, overdue;
    uint64_t p50_ns, p90_ns, p99_ns, max_ns;
};

struct load_stats {
    struct load_counts counts;  /* of the whole run */
    struct load_counts warm_up; /* counts at its end */
    uint64_t measured_ns;       /* when that was */
    uint16_t refusal_code;      /* of the first refusal */
    mx_err connection_err;      /* of the first connection that failed */
    struct histogram phases[PHASES];
    uint64_t replies[LOAD_VERBS][LOAD_CODES];
    /* the interval under way */
    struct histogram interval;
    uint64_t interval_completed, interval_errors; /* counts when it began */
    struct load_point points[LOAD_POINTS_MAX];
    uint32_t point_count;
    uint64_t points_missed;
    /* the step under way */
    struct histogram step;
    uint64_t step_completed, step_errors;
    struct load_step steps[LOAD_STEPS_MAX];
    uint32_t step_count;
};

const char *load_phase_word(enum load_phase phase);
const char *load_verb_word(enum load_verb verb);

/* Messages that ended as they should. */
static inline uint64_t load_completed(const struct load_counts *counts)
{
    return counts->accepted + counts->turned_away;
}
/* Counts since the end of the warm-up. A message counts when what is counted happens: it may have
 * begun before. */
struct load_counts load_counts_measured(const struct load_stats *stats);
/* Messages and connections that did not. */
uint64_t load_errors(const struct load_counts *counts);
void load_stats_reply(struct load_stats *stats, enum load_verb verb, uint16_t code);
static inline void load_stats_time(struct load_stats *stats, enum load_phase phase, uint64_t ns)
{
    histogram_add(&stats->phases[phase], ns);
}
/* The time of a completed message. */
void load_stats_message(struct load_stats *stats, uint64_t ns);
/* Ends the warm-up: times and replies so far are forgotten, counts are kept apart. */
void load_stats_measure(struct load_stats *stats, uint64_t now_ns);
/* Ends an interval; returns it. */
struct load_point load_stats_point(struct load_stats *stats, uint64_t at_ns, uint32_t in_flight);
/* Ends a step; returns it. */
struct load_step load_stats_step(struct load_stats *stats, uint64_t rate, uint64_t took_ns,
                                 uint64_t overdue);
