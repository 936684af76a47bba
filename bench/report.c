#include "bench/report.h"

#include <math.h>

/* --- text --------------------------------------------------------------------------------------
 */

static double ms(uint64_t ns)
{
    return (double)ns / 1e6;
}

static void print_phases(const struct load *load, FILE *out)
{
    fprintf(out, "%-10s %10s %9s %9s %9s %9s %9s %9s  (ms)\n", "phase", "count", "mean", "p50",
            "p90", "p99", "p99.9", "max");
    for (unsigned phase = 0; phase < PHASES; phase++) {
        const struct histogram *h = &load->stats.phases[phase];
        if (h->count > 0) {
            fprintf(out, "%-10s %10llu %9.3f %9.3f %9.3f %9.3f %9.3f %9.3f\n",
                    load_phase_word(phase), (unsigned long long)h->count, ms(histogram_mean(h)),
                    ms(histogram_percentile(h, 50)), ms(histogram_percentile(h, 90)),
                    ms(histogram_percentile(h, 99)), ms(histogram_percentile(h, 99.9)), ms(h->max));
        }
    }
}

static void print_replies(const struct load *load, FILE *out)
{
    fprintf(out, "replies   ");
    for (unsigned verb = 0; verb < LOAD_VERBS; verb++) {
        const char *separator = load_verb_word(verb);
        for (unsigned code = 0; code < LOAD_CODES; code++) {
            uint64_t count = load->stats.replies[verb][code];
            if (count > 0) {
                fprintf(out, " %s %u x %llu", separator, code, (unsigned long long)count);
                separator = "";
            }
        }
    }
    fprintf(out, "\n");
}

static void print_hostile(const struct load *load, FILE *out)
{
    for (unsigned kind = 0; kind < HOSTILE_KINDS; kind++) {
        const struct hostile_counts *c = &load->hostile.counts[kind];
        if (load->hostile.conf.clients[kind] == 0) {
            continue;
        }
        uint64_t resets = 0;
        for (unsigned stage = 0; stage < STAGES; stage++) {
            resets += c->reset[stage];
        }
        fprintf(out,
                "hostile %-11s %llu connections, replies 2xx %llu 3xx %llu 4xx %llu 5xx %llu, "
                "taken %llu, smuggled %llu, resets %llu, closed by the server %llu (after %.1f s "
                "at most)\n",
                hostile_word(kind), (unsigned long long)c->connections,
                (unsigned long long)c->replies[2], (unsigned long long)c->replies[3],
                (unsigned long long)c->replies[4], (unsigned long long)c->replies[5],
                (unsigned long long)c->messages, (unsigned long long)c->smuggled,
                (unsigned long long)resets, (unsigned long long)c->closed,
                (double)c->held_ns_max / 1e9);
        fprintf(out, "%19s %llu of %u were connected at the end", "", (unsigned long long)c->held,
                load->hostile.conf.clients[kind]);
        if (c->not_offered > 0) {
            fprintf(out, "; resets at stages that were not offered: %llu",
                    (unsigned long long)c->not_offered);
        }
        if (c->failed > 0) {
            fprintf(out, "; connections that failed: %llu, the first: %s",
                    (unsigned long long)c->failed, err_text(c->first_failure));
        }
        fprintf(out, "\n");
    }
}

static void print_sweep(const struct load *load, FILE *out)
{
    const struct load_stats *stats = &load->stats;
    if (load->conf.sweep.steps == 0) {
        return;
    }
    fprintf(out, "%10s %10s %9s %9s %9s %9s %8s %8s\n", "rate", "reached", "p50 ms", "p90 ms",
            "p99 ms", "max ms", "errors", "overdue");
    for (uint32_t i = 0; i < stats->step_count; i++) {
        const struct load_step *s = &stats->steps[i];
        bool beyond = load->knee && i + 1 == stats->step_count;
        fprintf(out, "%10llu %10.0f %9.3f %9.3f %9.3f %9.3f %8llu %8llu%s\n",
                (unsigned long long)s->rate, (double)s->completed * 1e9 / (double)s->took_ns,
                ms(s->p50_ns), ms(s->p90_ns), ms(s->p99_ns), ms(s->max_ns),
                (unsigned long long)s->errors, (unsigned long long)s->overdue,
                beyond ? "  beyond the knee" : "");
    }
}

static const char *loop_text(const struct load *load)
{
    static const char *const texts[] = {[ARRIVALS_NONE] = "closed loop",
                                        [ARRIVALS_CONSTANT] = "open loop, constant",
                                        [ARRIVALS_POISSON] = "open loop, Poisson"};
    return texts[load->conf.arrivals];
}

static void print_warm_up(const struct load *load, FILE *out)
{
    const struct load_counts *c = &load->stats.warm_up;
    if (load->conf.warmup_ns > 0 && load->stats.measured_ns > 0) {
        fprintf(out, "before, in the warm-up: accepted %llu  errors %llu\n",
                (unsigned long long)c->accepted, (unsigned long long)load_errors(c));
    }
    if (load->conf.warmup_ns > 0 && load->stats.measured_ns == 0) {
        fprintf(out, "it ended in the warm-up, which is what is told here\n");
    }
    if (load->stopping) {
        fprintf(out, "it was stopped by a signal\n");
    }
}

static void print_counts(const struct load *load, FILE *out)
{
    const struct load_counts counts = load_counts_measured(&load->stats), *c = &counts;
    fprintf(out, "accepted %llu  refused %llu  unanswered %llu", (unsigned long long)c->accepted,
            (unsigned long long)c->refused, (unsigned long long)c->unanswered);
    if (c->turned_away + c->unknown_refused + c->unknown_taken > 0) {
        fprintf(out, "  turned away %llu  unknown recipients refused %llu, taken %llu",
                (unsigned long long)c->turned_away, (unsigned long long)c->unknown_refused,
                (unsigned long long)c->unknown_taken);
    }
    if (load->overdue > 0) {
        fprintf(out, "  overdue %llu", (unsigned long long)load->overdue);
    }
    if (load->stats.refusal_code != 0) {
        fprintf(out, "  first refusal %u", load->stats.refusal_code);
    }
    if (c->failed_connections > 0) {
        fprintf(out, "\nconnections that failed: %llu, the first: %s",
                (unsigned long long)c->failed_connections, err_text(load->stats.connection_err));
    }
    fprintf(out, "\n%.2f s  %.0f messages/s (%s, %u sessions, %llu connections, seed %llu)\n",
            load_seconds(load), load_message_rate(load), loop_text(load), load->conf.sessions,
            (unsigned long long)c->connections, (unsigned long long)load->conf.seed);
    if (c->tls_full + c->tls_resumed > 0) {
        fprintf(out, "TLS handshakes: %llu full, %llu resumed\n", (unsigned long long)c->tls_full,
                (unsigned long long)c->tls_resumed);
    }
    print_warm_up(load, out);
    if (load->conf.idle > 0) {
        fprintf(out, "idle connections: %llu held, %llu lost\n", (unsigned long long)load->idle_up,
                (unsigned long long)load->idle_lost);
    }
}

void report_text(const struct report *report, FILE *out)
{
    const struct load *load = report->load;
    print_counts(load, out);
    if (load->conf.sessions > 0) {
        print_phases(load, out);
        print_replies(load, out);
    }
    print_sweep(load, out);
    print_hostile(load, out);
}

void report_point(const struct load *load, const struct load_point *point, FILE *out, bool terminal)
{
    double seconds = (double)load->conf.interval_ns / 1e9;
    bool warm = load->stats.measured_ns == 0;
    struct load_counts counts = load_counts_measured(&load->stats);
    fprintf(out, "%s%7.1f s %9.0f/s  in flight %5u  errors %6llu  ", terminal ? "\r" : "",
            (double)point->at_ns / 1e9, (double)point->completed / seconds, point->in_flight,
            (unsigned long long)load_errors(&counts));
    if (point->completed > 0) {
        fprintf(out, "p50 %8.3f ms  p99 %8.3f ms", ms(point->p50_ns), ms(point->p99_ns));
    } else {
        fprintf(out, "p50 %8s ms  p99 %8s ms", "-", "-");
    }
    fprintf(out, "%s%s", warm ? "  (warm-up)" : terminal ? "          " : "", terminal ? "" : "\n");
    fflush(out);
}

/* --- against what was asked for ----------------------------------------------------------------
 */

static double errors_of(const struct load *load)
{
    struct load_counts counts = load_counts_measured(&load->stats);
    return (double)load_errors(&counts);
}

static double measured_of(const struct load *load)
{
    return (double)load_measured(load);
}

static double overdue_of(const struct load *load)
{
    return (double)load->overdue;
}

static double first_refusal_of(const struct load *load)
{
    return load->stats.refusal_code;
}

static double idle_held_of(const struct load *load)
{
    return (double)load->idle_up;
}

static double idle_lost_of(const struct load *load)
{
    return (double)load->idle_lost;
}

static double smuggled_of(const struct load *load)
{
    return (double)hostile_smuggled(&load->hostile);
}

static const struct {
    const char *name;
    double (*of)(const struct load *load);
} numbers[] = {{"rate", load_message_rate},         {"errors", errors_of},
               {"measured", measured_of},           {"overdue", overdue_of},
               {"idle_held", idle_held_of},         {"idle_lost", idle_lost_of},
               {"first_refusal", first_refusal_of}, {"smuggled", smuggled_of}};

/* load NULL: only whether there is a number of that name. */
static bool number_of(const struct load *load, struct slice name, double *out)
{
    *out = 0;
    for (size_t i = 0; i < mx_countof(numbers); i++) {
        if (slice_equal(name, slice_of_text(numbers[i].name))) {
            *out = load != NULL ? numbers[i].of(load) : 0;
            return true;
        }
    }
    for (size_t i = 0; i < load_count_names_len; i++) {
        if (!slice_equal(name, slice_of_text(load_count_names[i].name))) {
            continue;
        }
        if (load != NULL) {
            struct load_counts counts = load_counts_measured(&load->stats);
            *out = (double)load_count_of(&counts, &load_count_names[i]);
        }
        return true;
    }
    return false;
}

static bool phase_of(struct slice name, enum load_phase *out)
{
    for (unsigned phase = 0; phase < PHASES; phase++) {
        if (name.len == 0 || slice_equal(name, slice_of_text(load_phase_word(phase)))) {
            *out = name.len == 0 ? PHASE_MESSAGE : phase;
            return true;
        }
    }
    return false;
}

bool report_knows(const struct assert_list *list, const struct assert_term **out_term)
{
    for (uint32_t i = 0; i < list->count; i++) {
        const struct assert_term *term = &list->terms[i];
        enum load_phase phase;
        double value;
        *out_term = term;
        if (!(term->kind == ASSERT_NUMBER ? number_of(NULL, term->name, &value)
                                          : phase_of(term->name, &phase))) {
            return false;
        }
    }
    return true;
}

/* Messages that were due and had not begun have waited for ever: of 100 with 2 of them there is a
 * p98, and no p99, no mean and no longest. False: it is beyond all that was measured. */
static bool with_overdue(struct assert_term *term, const struct histogram *h, uint64_t overdue)
{
    if (overdue > 0 && term->kind == ASSERT_PERCENTILE) {
        term->percent *= (double)(h->count + overdue) / (double)h->count;
        return term->percent <= 100;
    }
    return overdue == 0;
}

/* Such a time is longer than any other. */
static bool beyond_all(const struct load *load, const struct assert_term *term, FILE *out)
{
    if (assert_holds(term, INFINITY)) {
        return true;
    }
    fprintf(out, "ringmx-bench: %.*s does not hold: %llu messages were due and had not begun\n",
            SLICE_ARGS(term->text), (unsigned long long)load->overdue);
    return false;
}

static double time_of(const struct histogram *h, const struct assert_term *term)
{
    return (double)(term->kind == ASSERT_MEAN  ? histogram_mean(h)
                    : term->kind == ASSERT_MAX ? h->max
                                               : histogram_percentile(h, term->percent));
}

static bool check_term(const struct load *load, const struct assert_term *term, FILE *out)
{
    enum load_phase phase = PHASE_MESSAGE;
    double value = 0;
    if (term->kind == ASSERT_NUMBER) {
        (void)number_of(load, term->name, &value);
    } else {
        (void)phase_of(term->name, &phase);
        const struct histogram *h = &load->stats.phases[phase];
        if (h->count == 0) {
            fprintf(out, "ringmx-bench: %.*s does not hold: there is no such time\n",
                    SLICE_ARGS(term->text));
            return false;
        }
        struct assert_term of_all = *term;
        if (!with_overdue(&of_all, h, phase == PHASE_MESSAGE ? load->overdue : 0)) {
            return beyond_all(load, term, out);
        }
        value = time_of(h, &of_all);
    }
    bool holds = assert_holds(term, value);
    if (!holds) {
        bool time = term->kind != ASSERT_NUMBER;
        fprintf(out, "ringmx-bench: %.*s does not hold: it is %.3f%s\n", SLICE_ARGS(term->text),
                time ? value / 1e6 : value, time ? " ms" : "");
    }
    return holds;
}

bool report_check(const struct load *load, const struct assert_list *list, FILE *out)
{
    bool all = true;
    for (uint32_t i = 0; i < list->count; i++) {
        all = check_term(load, &list->terms[i], out) && all;
    }
    return all;
}
