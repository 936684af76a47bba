/* The table of all statistics: the pages for Prometheus and in JSON, and the reference page, are
 * made from it. A statistic is a place in a core's sample, and what is to be said about it. */
#pragma once

#include "admin/sampler.h"

#include <stdio.h>

enum stat_type { STAT_COUNTER, STAT_GAUGE, STAT_HISTOGRAM };

enum stat_unit {
    STAT_NUMBER,
    STAT_SECONDS, /* kept in nanoseconds */
    STAT_BYTES,
    STAT_RATIO, /* kept in millionths */
};

/* How the cores' values become one. */
enum stat_merge {
    STAT_SUM,
    STAT_MAX,
    STAT_MIN,
    STAT_APART, /* not at all */
};

enum { STAT_LABELS_MAX = 3, STAT_LABEL_BYTES = STATS_NAME_MAX };

struct stat_label {
    const char *name;
    char value[STAT_LABEL_BYTES];
};

/* Several values of one statistic, told apart by labels. */
struct stat_series {
    const char *names; /* of the labels, for the reference page */
    size_t rows;
    size_t stride; /* from value to value */
    /* The labels of a row; 0: the row is not shown. */
    unsigned (*labels)(const struct sample *sample, size_t row, struct stat_label *labels);
};

struct statistic {
    const char *name; /* of Prometheus without "ringmx_", and the member of "cores" and "total" in
                         /stats */
    enum stat_type type;
    enum stat_unit unit;
    enum stat_merge merge;
    size_t offset;                    /* in struct sample: of a uint64_t, or of a struct hdr */
    const struct stat_series *series; /* NULL: one value */
    const char *help;
};

extern const struct statistic statistics[];
extern const size_t statistics_count;

/* True when there is one of that name, with or without "ringmx_". */
bool statistics_has(struct slice name);
/* The reference page, as Markdown. */
void statistics_print(FILE *out);
