#include "bench/chart.h"

#include "core/check.h"

#include <math.h>
#include <string.h>

enum { LEFT = 80, RIGHT = 190, TOP = 34, BOTTOM = 50, TICKS_MAX = 16, LEGEND_STEP = 18 };

static const char *const colors[] = {"#1b6ca8", "#d1495b", "#2e8b57", "#8e5ea2",
                                     "#e08e0b", "#555555", "#17a2b8", "#7a5c3e"};

/* An axis in the units of its scale (the logarithm for CHART_LOG and so on). */
struct axis {
    enum chart_scale scale;
    double low, high;
};

static void text(FILE *out, const char *bytes)
{
    for (const char *at = bytes; *at != '\0'; at++) {
        switch (*at) {
        case '<':
            fputs("&lt;", out);
            break;
        case '>':
            fputs("&gt;", out);
            break;
        case '&':
            fputs("&amp;", out);
            break;
        case '"':
            fputs("&quot;", out);
            break;
        default:
            /* Control characters are not XML; what is not ASCII may not be UTF-8. */
            fputc((unsigned char)*at >= ' ' && (unsigned char)*at < 0x7f ? *at : '?', out);
            break;
        }
    }
}

/* --- scales ------------------------------------------------------------------------------------
 */

/* NAN: cannot be shown on this scale. */
static double scaled(enum chart_scale scale, double value)
{
    switch (scale) {
    case CHART_LOG:
        return value > 0 ? log10(value) : NAN;
    case CHART_NINES:
        return value < 100 ? -log10(1 - value / 100) : NAN;
    default:
        return value;
    }
}

static double place(const struct axis *axis, double value, double from, double to)
{
    double part = (scaled(axis->scale, value) - axis->low) / (axis->high - axis->low);
    return from + part * (to - from);
}

/* A step of 1, 2 or 5 times a power of ten that gives at most seven ticks. */
static double nice_step(double range)
{
    static const double steps[] = {1, 2, 5, 10};
    double unit = pow(10, floor(log10(range / 7)));
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        if (range / (steps[i] * unit) <= 7) {
            return steps[i] * unit;
        }
    }
    return 10 * unit;
}

static struct axis axis_of(const struct chart *chart, bool is_x)
{
    enum chart_scale scale = is_x ? chart->x_scale : chart->y_scale;
    struct axis axis = {.scale = scale, .low = INFINITY, .high = -INFINITY};
    for (size_t i = 0; i < chart->count; i++) {
        for (size_t p = 0; p < chart->series[i].count; p++) {
            const struct chart_point *point = &chart->series[i].points[p];
            double value = scaled(scale, is_x ? point->x : point->y);
            if (isfinite(value)) {
                axis.low = fmin(axis.low, value);
                axis.high = fmax(axis.high, value);
            }
        }
    }
    if (scale == CHART_LINEAR) {
        axis.low = 0;
        axis.high = fmax(axis.high, 1e-9) * 1.05;
    } else if (scale == CHART_LOG) {
        axis.low = floor(axis.low);
        axis.high = fmax(ceil(axis.high), axis.low + 1);
    } else {
        axis.low = 0;
        axis.high = fmax(axis.high, 1);
    }
    return axis;
}

static size_t ticks_of(const struct axis *axis, double *out)
{
    size_t count = 0;
    if (axis->scale == CHART_LINEAR) {
        double step = nice_step(axis->high);
        for (double v = 0; v <= axis->high && count < TICKS_MAX; v += step) {
            out[count++] = v;
        }
        return count;
    }
    for (double v = axis->low; v <= axis->high + 1e-9 && count < TICKS_MAX; v += 1) {
        out[count++] = axis->scale == CHART_LOG ? pow(10, v) : 100 * (1 - pow(10, -v));
    }
    return count;
}

/* --- drawing -----------------------------------------------------------------------------------
 */

static void draw_axes(FILE *out, const struct chart *chart, const struct axis *x,
                      const struct axis *y, double top)
{
    double ticks[TICKS_MAX], right = CHART_WIDTH - RIGHT, bottom = top + CHART_HEIGHT - BOTTOM;
    size_t count = ticks_of(x, ticks);
    for (size_t i = 0; i < count; i++) {
        double at = place(x, ticks[i], LEFT, right);
        fprintf(out,
                "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" stroke=\"#ddd\"/>"
                "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">%.8g%s</text>\n",
                at, top + TOP, at, bottom, at, bottom + 16, ticks[i],
                x->scale == CHART_NINES ? "%" : "");
    }
    count = ticks_of(y, ticks);
    for (size_t i = 0; i < count; i++) {
        double at = place(y, ticks[i], bottom, top + TOP);
        fprintf(out,
                "<line x1=\"%d\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" stroke=\"#ddd\"/>"
                "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%.6g</text>\n",
                LEFT, at, right, at, LEFT - 6, at + 4, ticks[i]);
    }
    fprintf(out, "<text x=\"%d\" y=\"%.1f\" font-weight=\"bold\">", LEFT, top + 20);
    text(out, chart->title);
    fprintf(out, "</text>\n<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">", (LEFT + right) / 2,
            bottom + 36);
    text(out, chart->x_label);
    fprintf(out,
            "</text>\n<text transform=\"translate(18 %.1f) rotate(-90)\" "
            "text-anchor=\"middle\">",
            (top + TOP + bottom) / 2);
    text(out, chart->y_label);
    fprintf(out, "</text>\n");
}

static void draw_series(FILE *out, const struct chart_series *series, const struct axis *x,
                        const struct axis *y, double top)
{
    double right = CHART_WIDTH - RIGHT, bottom = top + CHART_HEIGHT - BOTTOM;
    const char *color = colors[series->color % (sizeof colors / sizeof colors[0])];
    fprintf(out, "<polyline fill=\"none\" stroke=\"%s\" stroke-width=\"1.6\"%s points=\"", color,
            series->dashed ? " stroke-dasharray=\"5 3\"" : "");
    for (size_t i = 0; i < series->count; i++) {
        double at_x = place(x, series->points[i].x, LEFT, right);
        double at_y = place(y, series->points[i].y, bottom, top + TOP);
        if (isfinite(at_x) && isfinite(at_y)) {
            fprintf(out, "%.1f,%.1f ", at_x, at_y);
        }
    }
    fprintf(out, "\"/>\n");
    for (size_t i = 0; series->dots && i < series->count; i++) {
        double at_x = place(x, series->points[i].x, LEFT, right);
        double at_y = place(y, series->points[i].y, bottom, top + TOP);
        if (isfinite(at_x) && isfinite(at_y)) {
            fprintf(out, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"2.5\" fill=\"%s\"/>\n", at_x, at_y,
                    color);
        }
    }
}

static void draw_legend(FILE *out, const struct chart *chart, double top)
{
    int left = CHART_WIDTH - RIGHT + 12;
    for (size_t i = 0; i < chart->count; i++) {
        const struct chart_series *series = &chart->series[i];
        double at = top + TOP + 10 + (double)i * LEGEND_STEP;
        fprintf(out,
                "<line x1=\"%d\" y1=\"%.1f\" x2=\"%d\" y2=\"%.1f\" stroke=\"%s\" "
                "stroke-width=\"2\"%s/><text x=\"%d\" y=\"%.1f\">",
                left, at, left + 22, at, colors[series->color % (sizeof colors / sizeof colors[0])],
                series->dashed ? " stroke-dasharray=\"5 3\"" : "", left + 28, at + 4);
        text(out, series->label);
        fprintf(out, "</text>\n");
    }
}

static size_t points_of(const struct chart *chart)
{
    size_t count = 0;
    for (size_t i = 0; i < chart->count; i++) {
        count += chart->series[i].count;
    }
    return count;
}

bool chart_svg(FILE *out, const struct chart *charts, size_t count)
{
    size_t drawn = 0;
    for (size_t i = 0; i < count; i++) {
        drawn += points_of(&charts[i]) > 0;
    }
    if (drawn == 0) {
        return false;
    }
    fprintf(out,
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%zu\" "
            "font-family=\"sans-serif\" font-size=\"12\">\n"
            "<rect width=\"100%%\" height=\"100%%\" fill=\"white\"/>\n",
            CHART_WIDTH, drawn * CHART_HEIGHT);
    double top = 0;
    for (size_t i = 0; i < count; i++) {
        const struct chart *chart = &charts[i];
        MX_ASSERT(chart->count <= CHART_SERIES_MAX);
        if (points_of(chart) == 0) {
            continue;
        }
        struct axis x = axis_of(chart, true), y = axis_of(chart, false);
        draw_axes(out, chart, &x, &y, top);
        for (size_t s = 0; s < chart->count; s++) {
            draw_series(out, &chart->series[s], &x, &y, top);
        }
        draw_legend(out, chart, top);
        top += CHART_HEIGHT;
    }
    fprintf(out, "</svg>\n");
    return true;
}
