#include "bench/plot.h"

#include "bench/args.h"
#include "bench/chart.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

enum { FILES_MAX = 4, SERIES_PER_FILE = 4, CHARTS_MAX = 8, SERIES_MAX = 32 };

_Static_assert(FILES_MAX *SERIES_PER_FILE <= CHART_SERIES_MAX, "a chart holds all files");
_Static_assert(FILES_MAX *SERIES_PER_FILE <= SERIES_MAX, "all files have room");

struct options {
    const char *files[FILES_MAX];
    unsigned file_count;
    const char *output; /* NULL = standard output */
    const char *phase;
    bool sweep, curves;
};

static struct chart_point points[SERIES_MAX][CHART_POINTS_MAX];
static unsigned points_used;

static int help(int code)
{
    fprintf(code == 0 ? stdout : stderr,
            "usage: ringmx-bench plot A.json [B.json ...] [options]\n"
            "  --output FILE   the SVG (default: standard output)\n"
            "  --phase NAME    whose percentiles (default: message)\n"
            "  --sweep         latency against rate, of runs with `send --sweep`, instead of\n"
            "                  percentiles and rate over time\n"
            "  --curves        charts as the one file describes them (bench/scale.py)\n"
            "The files are of `ringmx-bench send --output`; at most four.\n");
    return code;
}

/* --- from JSON ---------------------------------------------------------------------------------
 */

static double number(const json_t *object, const char *name)
{
    return json_number_value(json_object_get(object, name));
}

/* A new series of a chart; its label is that of the file. */
static struct chart_series *series_of(struct chart *chart, const char *label, unsigned color)
{
    struct chart_series *series = &chart->series[chart->count++];
    *series =
        (struct chart_series){.label = label, .color = color, .points = points[points_used++]};
    return series;
}

static void add(struct chart_series *series, double x, double y)
{
    if (series->count < CHART_POINTS_MAX) {
        series->points[series->count++] = (struct chart_point){x, y};
    }
}

static void add_percentiles(struct chart *chart, const json_t *run, const char *phase,
                            const char *label, unsigned color)
{
    struct chart_series *series = series_of(chart, label, color);
    const json_t *phases = json_object_get(run, "phases");
    const json_t *ticks = json_object_get(json_object_get(phases, phase), "percentiles");
    for (size_t i = 0; i < json_array_size(ticks); i++) {
        const json_t *tick = json_array_get(ticks, i);
        add(series, json_number_value(json_array_get(tick, 0)),
            json_number_value(json_array_get(tick, 1)) / 1e6);
    }
}

static void add_rate(struct chart *chart, const json_t *run, const char *label, unsigned color)
{
    struct chart_series *series = series_of(chart, label, color);
    const json_t *list = json_object_get(run, "series");
    double before_ns = 0;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *point = json_array_get(list, i);
        double at_ns = number(point, "at_ns");
        if (at_ns > before_ns) {
            add(series, at_ns / 1e9, number(point, "completed") * 1e9 / (at_ns - before_ns));
        }
        before_ns = at_ns;
    }
}

static void add_sweep(struct chart *chart, const json_t *run, const char *name, const char *label,
                      unsigned color, bool dashed)
{
    struct chart_series *series = series_of(chart, label, color);
    const json_t *steps = json_object_get(run, "sweep");
    series->dots = true;
    series->dashed = dashed;
    for (size_t i = 0; i < json_array_size(steps); i++) {
        const json_t *step = json_array_get(steps, i);
        add(series, number(step, "reached"), number(step, name) / 1e6);
    }
}

/* --- charts that the file describes ------------------------------------------------------------
 */

static const char *string(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    return text != NULL ? text : "";
}

static void add_described(struct chart *chart, const json_t *described)
{
    const json_t *list = json_object_get(described, "series");
    *chart = (struct chart){.title = string(described, "title"),
                            .x_label = string(described, "x"),
                            .y_label = string(described, "y")};
    chart->x_scale = json_is_true(json_object_get(described, "x_log")) ? CHART_LOG : CHART_LINEAR;
    chart->y_scale = json_is_true(json_object_get(described, "y_log")) ? CHART_LOG : CHART_LINEAR;
    for (size_t i = 0; i < json_array_size(list) && points_used < SERIES_MAX; i++) {
        const json_t *one = json_array_get(list, i), *places = json_object_get(one, "points");
        struct chart_series *series = series_of(chart, string(one, "label"), (unsigned)i);
        series->dots = true;
        for (size_t p = 0; p < json_array_size(places); p++) {
            const json_t *place = json_array_get(places, p);
            add(series, json_number_value(json_array_get(place, 0)),
                json_number_value(json_array_get(place, 1)));
        }
        if (chart->count == CHART_SERIES_MAX) {
            break;
        }
    }
}

static size_t describe(const json_t *file, struct chart *charts)
{
    const json_t *list = json_object_get(file, "charts");
    size_t count = json_array_size(list) < CHARTS_MAX ? json_array_size(list) : CHARTS_MAX;
    for (size_t i = 0; i < count; i++) {
        add_described(&charts[i], json_array_get(list, i));
    }
    return count;
}

/* --- the command -------------------------------------------------------------------------------
 */

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash != NULL ? slash + 1 : path;
}

static void fill(const struct options *options, json_t *const *runs, struct chart *charts,
                 char labels[][64])
{
    for (unsigned i = 0; i < options->file_count; i++) {
        const char *name = base_name(options->files[i]);
        if (options->sweep) {
            (void)snprintf(labels[2 * i], sizeof labels[0], "%.50s p50", name);
            (void)snprintf(labels[2 * i + 1], sizeof labels[0], "%.50s p99", name);
            add_sweep(&charts[0], runs[i], "p50_ns", labels[2 * i], i, true);
            add_sweep(&charts[0], runs[i], "p99_ns", labels[2 * i + 1], i, false);
        } else {
            add_percentiles(&charts[0], runs[i], options->phase, name, i);
            add_rate(&charts[1], runs[i], name, i);
        }
    }
}

/* Percentiles and rate of runs, or their sweeps. */
static size_t chart_runs(const struct options *options, json_t *const *runs, struct chart *charts)
{
    static char labels[2 * FILES_MAX][64];
    static char title[64];
    if (options->sweep) {
        charts[0] = (struct chart){.title = "Latency against rate, up to the knee",
                                   .x_label = "messages/s reached",
                                   .y_label = "latency (ms)",
                                   .y_scale = CHART_LOG};
    } else {
        (void)snprintf(title, sizeof title, "Latency by percentile: %.40s", options->phase);
        charts[0] = (struct chart){.title = title,
                                   .x_label = "percentile",
                                   .y_label = "latency (ms)",
                                   .x_scale = CHART_NINES,
                                   .y_scale = CHART_LOG};
        charts[1] = (struct chart){.title = "Rate over time",
                                   .x_label = "seconds from the start",
                                   .y_label = "messages/s"};
    }
    fill(options, runs, charts, labels);
    return options->sweep ? 1 : 2;
}

/* What was measured of something else is no reason to draw an empty chart of it. */
static bool has_what_is_drawn(const struct options *options, const char *file, const json_t *run)
{
    const json_t *phases = json_object_get(run, "phases");
    const json_t *phase = json_object_get(phases, options->phase);
    const json_t *part = options->curves  ? json_object_get(run, "charts")
                         : options->sweep ? json_object_get(run, "sweep")
                                          : json_object_get(phase, "percentiles");
    if (json_array_size(part) > 0) {
        return true;
    }
    fprintf(stderr, "ringmx-bench: %s: ", file);
    if (options->curves || options->sweep) {
        fprintf(stderr, "there is no %s in it\n", options->sweep ? "sweep" : "chart");
        return false;
    }
    fprintf(stderr, "nothing was measured of the phase '%s'; there is:", options->phase);
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)phases, name, value)
    {
        bool measured = json_array_size(json_object_get(value, "percentiles")) > 0;
        fprintf(stderr, "%s%s", measured ? " " : "", measured ? name : "");
    }
    fprintf(stderr, "\n");
    return false;
}

static int draw(const struct options *options, json_t *const *runs)
{
    static struct chart charts[CHARTS_MAX];
    size_t count = options->curves ? describe(runs[0], charts) : chart_runs(options, runs, charts);
    FILE *out = options->output != NULL ? fopen(options->output, "we") : stdout;
    if (out == NULL) {
        fprintf(stderr, "ringmx-bench: %s cannot be written\n", options->output);
        return 1;
    }
    bool drawn = chart_svg(out, charts, count);
    bool written = fflush(out) == 0 && ferror(out) == 0;
    if (out != stdout) {
        written = fclose(out) == 0 && written;
    }
    if (!drawn || !written) {
        fprintf(stderr, "ringmx-bench: %s\n",
                written ? "the files have nothing of this kind" : "the SVG cannot be written");
    }
    return drawn && written ? 0 : 1;
}

static int run(const struct options *options)
{
    json_t *runs[FILES_MAX] = {NULL};
    int code = 0;
    for (unsigned i = 0; i < options->file_count && code == 0; i++) {
        json_error_t error;
        runs[i] = json_load_file(options->files[i], 0, &error);
        if (!json_is_object(runs[i])) {
            fprintf(stderr, "ringmx-bench: %s: %s\n", options->files[i],
                    runs[i] == NULL ? error.text : "not an object");
            code = 1;
        } else if (!has_what_is_drawn(options, options->files[i], runs[i])) {
            code = 1;
        }
    }
    code = code == 0 ? draw(options, runs) : code;
    for (unsigned i = 0; i < options->file_count; i++) {
        json_decref(runs[i]);
    }
    return code;
}

int plot_command(int argc, char **argv)
{
    struct options options = {.phase = NULL};
    struct args args;
    args_init(&args, argc, argv);
    while (args_next(&args)) {
        if (args_is(&args, "--help")) {
            return help(0);
        }
        if (args_is(&args, "--output")) {
            options.output = args_text(&args);
        } else if (args_is(&args, "--phase")) {
            options.phase = args_text(&args);
        } else if (args_is(&args, "--sweep")) {
            options.sweep = true;
        } else if (args_is(&args, "--curves")) {
            options.curves = true;
        } else if (args.name[0] == '-') {
            args_unknown(&args);
        } else if (options.file_count == FILES_MAX) {
            fprintf(stderr, "ringmx-bench: plot: at most %d files\n", FILES_MAX);
            args.failed = true;
        } else {
            options.files[options.file_count++] = args.name;
        }
    }
    if (args.failed || options.file_count == 0 || (options.curves && options.file_count > 1)) {
        return help(2);
    }
    if (options.sweep + options.curves + (options.phase != NULL) > 1) {
        fprintf(stderr, "ringmx-bench: plot: one of --phase, --sweep and --curves\n");
        return 2;
    }
    options.phase = options.phase != NULL ? options.phase : "message";
    return run(&options);
}
