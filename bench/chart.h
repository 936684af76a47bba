/* Line charts as SVG. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum { CHART_SERIES_MAX = 16, CHART_POINTS_MAX = 8192, CHART_WIDTH = 760, CHART_HEIGHT = 380 };

enum chart_scale {
    CHART_LINEAR, /* from 0 */
    CHART_LOG,
    CHART_NINES, /* of percents: 90, 99, 99.9 are at equal distances */
};

struct chart_point {
    double x, y;
};

struct chart_series {
    const char *label; /* borrowed; any text */
    bool dashed, dots;
    unsigned color; /* series of one source share it */
    struct chart_point *points;
    size_t count;
};

struct chart {
    const char *title, *x_label, *y_label;
    enum chart_scale x_scale, y_scale; /* y_scale is not CHART_NINES */
    struct chart_series series[CHART_SERIES_MAX];
    size_t count;
};

/* Writes charts below each other as one SVG document. False: nothing that could be drawn. */
bool chart_svg(FILE *out, const struct chart *charts, size_t count);
