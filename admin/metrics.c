#include "admin/metrics.h"

#include "admin/statistics.h"

/* --- values ------------------------------------------------------------------------------------
 */

static const void *place(const struct statistic *s, const struct sample *sample, size_t row)
{
    size_t stride = s->series != NULL ? s->series->stride : 0;
    return (const uint8_t *)sample + s->offset + row * stride;
}

static uint64_t number(const void *at)
{
    uint64_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

static size_t rows_of(const struct statistic *s)
{
    return s->series != NULL ? s->series->rows : 1;
}

/* False: the row is not shown. */
static bool labels_of(const struct statistic *s, const struct sample *sample, size_t row,
                      struct stat_label *labels, unsigned *count)
{
    *count = s->series != NULL ? s->series->labels(sample, row, labels) : 0;
    return s->series == NULL || *count > 0;
}

static void put_value(struct writer *w, enum stat_unit unit, uint64_t value)
{
    uint64_t scale = unit == STAT_SECONDS ? MX_NS_PER_S : unit == STAT_RATIO ? 1000000 : 1;
    put_decimal(w, value / scale);
    if (scale > 1) {
        put_char(w, '.');
        put_decimal_padded(w, value % scale, unit == STAT_SECONDS ? 9 : 6);
    }
}

/* --- Prometheus --------------------------------------------------------------------------------
 */

/* Of the buckets that are shown: upper ends 2^bits - 1. So a quantile that Prometheus works out of
 * them is within twice or half of the real one. */
struct bucket_range {
    unsigned first_bits, last_bits;
};
static const struct bucket_range ranges[] = {
    [STAT_NUMBER] = {0, 12},  /* 0 to 4095 */
    [STAT_SECONDS] = {7, 38}, /* 128 ns to 275 s */
    [STAT_BYTES] = {10, 28},  /* 1 KiB to 256 MiB */
};

/* A label's value: all of UTF-8 is allowed, so different values stay different. */
static void put_label(struct writer *w, const char *text)
{
    put_char(w, '"');
    for (; *text != '\0'; text++) {
        if (*text == '"' || *text == '\\' || *text == '\n') {
            put_char(w, '\\');
        }
        put_char(w, *text == '\n' ? 'n' : *text);
    }
    put_char(w, '"');
}

/* ringmx_NAME[SUFFIX]{core="0",...[,le="..."]} */
static void put_series(struct writer *w, const struct statistic *s, const char *suffix,
                       unsigned core, const struct stat_label *labels, unsigned count)
{
    put_text(w, "ringmx_");
    put_text(w, s->name);
    put_text(w, suffix);
    put_text(w, "{core=\"");
    put_decimal(w, core);
    put_char(w, '"');
    for (unsigned i = 0; i < count; i++) {
        put_char(w, ',');
        put_text(w, labels[i].name);
        put_char(w, '=');
        put_label(w, labels[i].value);
    }
}

static void put_buckets(struct writer *w, const struct statistic *s, const struct hdr *hdr,
                        unsigned core, const struct stat_label *labels, unsigned count)
{
    const struct bucket_range *range = &ranges[s->unit];
    for (unsigned bits = range->first_bits; bits <= range->last_bits; bits++) {
        put_series(w, s, "_bucket", core, labels, count);
        put_text(w, ",le=\"");
        put_value(w, s->unit, (UINT64_C(1) << bits) - 1);
        put_text(w, "\"} ");
        put_decimal(w, hdr_count_below_power(hdr, bits));
        put_char(w, '\n');
    }
    put_series(w, s, "_bucket", core, labels, count);
    put_text(w, ",le=\"+Inf\"} ");
    put_decimal(w, hdr_count(hdr));
    put_char(w, '\n');
    put_series(w, s, "_sum", core, labels, count);
    put_text(w, "} ");
    put_value(w, s->unit, hdr->sum);
    put_char(w, '\n');
    put_series(w, s, "_count", core, labels, count);
    put_text(w, "} ");
    put_decimal(w, hdr_count(hdr));
    put_char(w, '\n');
}

static void put_sample(struct writer *w, const struct statistic *s, const struct sample *sample,
                       unsigned core, size_t row)
{
    struct stat_label labels[STAT_LABELS_MAX];
    unsigned count;
    if (!labels_of(s, sample, row, labels, &count)) {
        return;
    }
    const void *at = place(s, sample, row);
    if (s->type == STAT_HISTOGRAM) {
        put_buckets(w, s, at, core, labels, count);
        return;
    }
    put_series(w, s, "", core, labels, count);
    put_text(w, "} ");
    put_value(w, s->unit, number(at));
    put_char(w, '\n');
}

static void put_head(struct writer *w, const char *name, const char *help, const char *type)
{
    put_text(w, "# HELP ringmx_");
    put_text(w, name);
    put_char(w, ' ');
    put_text(w, help);
    put_text(w, "\n# TYPE ringmx_");
    put_text(w, name);
    put_char(w, ' ');
    put_text(w, type);
    put_char(w, '\n');
}

void metrics_prometheus(struct writer *w, const struct sample *samples, unsigned cores)
{
    static const char *const types[] = {
        [STAT_COUNTER] = "counter", [STAT_GAUGE] = "gauge", [STAT_HISTOGRAM] = "histogram"};
    put_head(w, "build_info", "The running version.", "gauge");
    put_text(w, "ringmx_build_info{version=\"" RINGMX_VERSION "\"} 1\n");
    for (size_t i = 0; i < statistics_count; i++) {
        const struct statistic *s = &statistics[i];
        put_head(w, s->name, s->help, types[s->type]);
        for (unsigned core = 0; core < cores; core++) {
            for (size_t row = 0; row < rows_of(s); row++) {
                put_sample(w, s, &samples[core], core, row);
            }
        }
    }
}

/* --- JSON --------------------------------------------------------------------------------------
 */

static void put_quoted(struct writer *w, const char *text)
{
    put_char(w, '"');
    for (; *text != '\0'; text++) {
        if ((uint8_t)*text < ' ') {
            put_text(w, "\\u00");
            put_char(w, "01"[*text >> 4]);
            put_char(w, "0123456789abcdef"[*text & 15]);
            continue;
        }
        if (*text == '"' || *text == '\\') {
            put_char(w, '\\');
        }
        put_char(w, *text);
    }
    put_char(w, '"');
}

static void put_member(struct writer *w, const char *name, enum stat_unit unit, uint64_t value)
{
    put_text(w, ",\"");
    put_text(w, name);
    put_text(w, "\":");
    put_value(w, unit, value);
}

/* Members of an object that has been begun. */
static void put_histogram(struct writer *w, enum stat_unit unit, const struct hdr *hdr)
{
    put_text(w, "\"count\":");
    put_decimal(w, hdr_count(hdr));
    put_member(w, "sum", unit, hdr->sum);
    put_member(w, "max", unit, hdr->max);
    put_member(w, "p50", unit, hdr_quantile(hdr, 500));
    put_member(w, "p90", unit, hdr_quantile(hdr, 900));
    put_member(w, "p99", unit, hdr_quantile(hdr, 990));
    put_member(w, "p999", unit, hdr_quantile(hdr, 999));
}

static uint64_t merge_two(enum stat_merge merge, uint64_t a, uint64_t b)
{
    switch (merge) {
    case STAT_MAX:
        return a > b ? a : b;
    case STAT_MIN:
        return a < b ? a : b;
    default:
        return a + b;
    }
}

/* The value of a row: of one core, or of several together. */
static void put_merged(struct writer *w, const struct statistic *s, const struct sample *samples,
                       unsigned cores, size_t row)
{
    if (s->type == STAT_HISTOGRAM) {
        struct hdr all = {0};
        for (unsigned i = 0; i < cores; i++) {
            hdr_merge(&all, place(s, &samples[i], row));
        }
        put_histogram(w, s->unit, &all);
        return;
    }
    uint64_t value = number(place(s, &samples[0], row));
    for (unsigned i = 1; i < cores; i++) {
        value = merge_two(s->merge, value, number(place(s, &samples[i], row)));
    }
    put_value(w, s->unit, value);
}

/* The first of the samples that shows the row says how it is labelled. */
static bool merged_labels(const struct statistic *s, const struct sample *samples, unsigned cores,
                          size_t row, struct stat_label *labels, unsigned *count)
{
    for (unsigned i = 0; i < cores; i++) {
        if (labels_of(s, &samples[i], row, labels, count)) {
            return true;
        }
    }
    return false;
}

static void put_rows(struct writer *w, const struct statistic *s, const struct sample *samples,
                     unsigned cores)
{
    const char *comma = "";
    put_char(w, '[');
    for (size_t row = 0; row < s->series->rows; row++) {
        struct stat_label labels[STAT_LABELS_MAX];
        unsigned count = 0;
        if (!merged_labels(s, samples, cores, row, labels, &count)) {
            continue;
        }
        put_text(w, comma);
        comma = ",";
        put_char(w, '{');
        for (unsigned i = 0; i < count; i++) {
            put_quoted(w, labels[i].name);
            put_char(w, ':');
            put_quoted(w, labels[i].value);
            put_char(w, ',');
        }
        put_text(w, s->type == STAT_HISTOGRAM ? "" : "\"value\":");
        put_merged(w, s, samples, cores, row);
        put_char(w, '}');
    }
    put_char(w, ']');
}

static void put_statistics(struct writer *w, const struct sample *samples, unsigned cores,
                           bool together)
{
    const char *comma = "";
    for (size_t i = 0; i < statistics_count; i++) {
        const struct statistic *s = &statistics[i];
        if (together && s->merge == STAT_APART) {
            continue;
        }
        put_text(w, comma);
        comma = ",";
        put_quoted(w, s->name);
        put_char(w, ':');
        if (s->series != NULL) {
            put_rows(w, s, samples, cores);
        } else {
            put_text(w, s->type == STAT_HISTOGRAM ? "{" : "");
            put_merged(w, s, samples, cores, 0);
            put_text(w, s->type == STAT_HISTOGRAM ? "}" : "");
        }
    }
}

void metrics_json(struct writer *w, const struct sample *samples, unsigned cores)
{
    put_text(w, "{\"version\":\"" RINGMX_VERSION "\",\"total\":{");
    if (cores > 0) {
        put_statistics(w, samples, cores, true);
    }
    put_text(w, "},\"cores\":[");
    for (unsigned i = 0; i < cores; i++) {
        put_text(w, i == 0 ? "{\"core\":" : ",{\"core\":");
        put_decimal(w, i);
        put_char(w, ',');
        put_statistics(w, &samples[i], 1, false);
        put_char(w, '}');
    }
    put_text(w, "]}\n");
}
