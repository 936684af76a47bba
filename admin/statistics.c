#include "admin/statistics.h"

#include "core/check.h"
#include "core/text.h"

/* --- labels ------------------------------------------------------------------------------------
 */

static void set_label(struct stat_label *label, const char *name, struct slice value)
{
    struct slice cut = slice_first(value, STAT_LABEL_BYTES - 1);
    label->name = name;
    text_lower((uint8_t *)label->value, cut);
    label->value[cut.len] = '\0';
}

static unsigned state_labels(const struct sample *sample, size_t row, struct stat_label *labels)
{
    (void)sample;
    set_label(&labels[0], "state", slice_of_text(srv_state_name((unsigned)row)));
    return 1;
}

static unsigned refusal_labels(const struct sample *sample, size_t row, struct stat_label *labels)
{
    (void)sample;
    set_label(&labels[0], "reason", slice_of_text(stats_refusal_name((unsigned)row)));
    return 1;
}

static unsigned resource_labels(const struct sample *sample, size_t row, struct stat_label *labels)
{
    (void)sample;
    set_label(&labels[0], "resource",
              slice_of_text(overload_text((enum overload_resource)row)->name));
    return 1;
}

static unsigned verdict_labels(const struct sample *sample, size_t row, struct stat_label *labels)
{
    (void)sample;
    set_label(&labels[0], "verdict", slice_of_text(stats_verdict_name((unsigned)row)));
    return 1;
}

static unsigned result_labels(const struct sample *sample, size_t row, struct stat_label *labels)
{
    (void)sample;
    set_label(&labels[0], "result", slice_of_text(verify_result_name((unsigned)row)));
    return 1;
}

static unsigned class_labels(const struct sample *sample, size_t row, struct stat_label *labels)
{
    (void)sample;
    set_label(&labels[0], "class", slice_of_text(stats_class_name((unsigned)row)));
    return 1;
}

/* Of more than a thousand pairs only those that have occurred. */
static unsigned reply_labels(const struct sample *sample, size_t row, struct stat_label *labels)
{
    unsigned verb = (unsigned)(row / REPLY_COUNT);
    enum reply reply = (enum reply)(row % REPLY_COUNT);
    if (sample->snapshot.session.srv.replies[verb][reply] == 0) {
        return 0;
    }
    char code[8];
    struct writer w = writer_init(code, sizeof code);
    put_decimal(&w, reply_row(reply)->code);
    set_label(&labels[0], "verb", slice_of_text(srv_verb_name(verb)));
    set_label(&labels[1], "code", writer_slice(&w));
    set_label(&labels[2], "reply", slice_of_text(reply_name(reply)));
    return 3;
}

/* A row with a name. The shared one, without, is shown when it was needed, with an empty label: any
 * word may be a name. */
static unsigned name_label(const char *label, const char *name, bool needed,
                           struct stat_label *labels)
{
    if (name[0] == '\0' && !needed) {
        return 0;
    }
    struct slice value = slice_of_text(name);
    MX_ASSERT(value.len < STAT_LABEL_BYTES);
    labels[0].name = label;
    memcpy(labels[0].value, name, value.len + 1);
    return 1;
}

static unsigned listener_labels(const struct sample *sample, size_t row, struct stat_label *labels)
{
    const struct listener_row *own = &sample->snapshot.session.listeners[row];
    return name_label("listener", own->name, own->accepted + own->refused > 0, labels);
}

static unsigned throttle_labels(const struct sample *sample, size_t row, struct stat_label *labels)
{
    const struct throttle_row *own = &sample->snapshot.session.throttles[row];
    return name_label("throttle", own->name, own->passed + own->over > 0, labels);
}

static unsigned outbound_labels(const struct sample *sample, size_t row, struct stat_label *labels)
{
    const struct throttle_row *own = &sample->snapshot.deliver.throttles[row];
    return name_label("throttle", own->name, own->passed + own->over > 0, labels);
}

static unsigned quota_labels(const struct sample *sample, size_t row, struct stat_label *labels)
{
    const struct quota_row *own = &sample->snapshot.mail.quotas[row];
    return name_label("quota", own->name, own->refused > 0, labels);
}

static unsigned route_labels(const struct sample *sample, size_t row, struct stat_label *labels)
{
    const struct route_row *own = &sample->snapshot.deliver.routes[row];
    return name_label("route", own->name, own->delivered + own->deferred + own->failed > 0, labels);
}

static unsigned pool_labels(const struct sample *sample, size_t row, struct stat_label *labels)
{
    const char *name = sample->snapshot.pools[row].name;
    return name == NULL ? 0 : name_label("pool", name, false, labels);
}

static unsigned failure_labels(const struct sample *sample, size_t row, struct stat_label *labels)
{
    static const char *const reasons[] = {
        [TLS_FAILURE_CLOSED] = "closed",       [TLS_FAILURE_ALERT] = "alert",
        [TLS_FAILURE_NO_COMMON] = "no_common", [TLS_FAILURE_CERTIFICATE] = "certificate",
        [TLS_FAILURE_PROTOCOL] = "protocol",
    };
    _Static_assert(mx_countof(reasons) == TLS_FAILURES, "every reason has a name");
    (void)sample;
    set_label(&labels[0], "reason", slice_of_text(reasons[row]));
    return 1;
}

static unsigned step_labels(const struct sample *sample, size_t row, struct stat_label *labels)
{
    if ((enum pulse_step)row != sample->step) {
        return 0;
    }
    set_label(&labels[0], "step", slice_of_text(sampler_step_name(sample->step)));
    return 1;
}

static const struct stat_series by_state = {"state", SRV_STATES, sizeof(uint64_t), state_labels};
static const struct stat_series by_refusal = {"reason", STATS_REFUSALS, sizeof(uint64_t),
                                              refusal_labels};
static const struct stat_series by_resource = {"resource", OVERLOAD_RESOURCES, sizeof(uint64_t),
                                               resource_labels};
static const struct stat_series by_verdict = {"verdict", STATS_VERDICTS, sizeof(uint64_t),
                                              verdict_labels};
static const struct stat_series by_result = {"result", VERIFY_RESULTS, sizeof(uint64_t),
                                             result_labels};
static const struct stat_series by_reply = {"verb, code, reply", (size_t)SRV_VERBS *REPLY_COUNT,
                                            sizeof(uint64_t), reply_labels};
static const struct stat_series by_class = {"class", STATS_CLASSES, sizeof(struct class_stats),
                                            class_labels};
static const struct stat_series by_listener = {"listener", STATS_ROWS_MAX,
                                               sizeof(struct listener_row), listener_labels};
static const struct stat_series by_throttle = {"throttle", STATS_ROWS_MAX,
                                               sizeof(struct throttle_row), throttle_labels};
static const struct stat_series by_outbound = {"throttle", STATS_ROWS_MAX,
                                               sizeof(struct throttle_row), outbound_labels};
static const struct stat_series by_quota = {"quota", STATS_ROWS_MAX, sizeof(struct quota_row),
                                            quota_labels};
static const struct stat_series by_route = {"route", STATS_ROWS_MAX, sizeof(struct route_row),
                                            route_labels};
static const struct stat_series by_pool = {"pool", STATS_POOLS_MAX, sizeof(struct pool_row),
                                           pool_labels};
static const struct stat_series by_failure = {"reason", TLS_FAILURES, sizeof(uint64_t),
                                              failure_labels};
/* One value, under the label of what the core is doing. */
static const struct stat_series by_step = {"step", PULSE_STEPS, 0, step_labels};

/* --- the table ---------------------------------------------------------------------------------
 */

#define SAMPLE(field) offsetof(struct sample, field)
#define AT(field) offsetof(struct sample, snapshot.field)

const struct statistic statistics[] = {
#define STATISTIC(name, type, unit, merge, place, series, help) \
    {name, STAT_##type, STAT_##unit, STAT_##merge, place, series, help},
#include "admin/statistics.def"
#undef STATISTIC
};
const size_t statistics_count = mx_countof(statistics);

bool statistics_has(struct slice name)
{
    static const char prefix[] = "ringmx_";
    size_t skip = sizeof prefix - 1;
    bool prefixed = slice_equal(slice_first(name, skip), slice_of_text(prefix));
    struct slice own = prefixed ? slice_from(name, skip) : name;
    for (size_t i = 0; i < statistics_count; i++) {
        if (slice_equal(slice_of_text(statistics[i].name), own)) {
            return true;
        }
    }
    return false;
}

void statistics_print(FILE *out)
{
    static const char *const types[] = {"counter", "gauge", "histogram"};
    static const char *const units[] = {"", "seconds", "bytes", "ratio, 0 to 1"};
    fprintf(
        out,
        "# Statistics\n\n"
        "Every core has its own. `GET /metrics` (Prometheus) names them `ringmx_NAME` with the "
        "label "
        "`core`; `GET /stats` (JSON) has them as members NAME of each object in `cores`, and of "
        "`total` for all cores together. What has further labels is there an array of objects with "
        "the labels and `value`. A histogram is there an object of `count`, `sum`, `max`, `p50`, "
        "`p90`, `p99` and `p999`, exact to an eighth. Of listeners, routes, throttles and quotas "
        "the "
        "first 31 names are told apart, the others are counted together as `others`.\n\n"
        "| Name | Type | Unit | Labels | Meaning |\n|---|---|---|---|---|\n");
    for (size_t i = 0; i < statistics_count; i++) {
        const struct statistic *s = &statistics[i];
        fprintf(out, "| `%s` | %s | %s | %s | %s |\n", s->name, types[s->type], units[s->unit],
                s->series != NULL ? s->series->names : "", s->help);
    }
}
