#include "admin/metrics.h"

#include "core/block.h"

#include <stddef.h>

/* Base units and names by the rules of Prometheus: seconds, bytes, _total for counters. */
struct metric {
    const char *name; /* without the prefix ringmx_ */
    const char *type, *help;
    size_t offset;    /* of a uint64_t in the snapshot */
    uint32_t scale;   /* multiplied: blocks to bytes */
    bool nanoseconds; /* shown as seconds */
};

#define AT(field) offsetof(struct service_snapshot, field), 1, false
#define SECONDS(field) offsetof(struct service_snapshot, field), 1, true
#define BLOCKS(field) offsetof(struct service_snapshot, field), BLOCK_BYTES, false

static const struct metric metrics[] = {
    {"config_generation", "gauge", "Generation of the configuration that the core runs.",
     AT(generation)},
    {"sessions", "gauge", "SMTP sessions that are open.", AT(sessions)},
    {"sessions_accepted_total", "counter", "SMTP sessions that were served.", AT(accepted)},
    {"sessions_refused_total", "counter", "SMTP sessions that were answered 421 at once.",
     AT(refused)},
    {"sessions_blocked_total", "counter", "Connections of blocked clients, closed at once.",
     AT(blocked)},
    {"sessions_timed_out_total", "counter", "SMTP sessions that ended by a deadline.",
     AT(timeouts)},
    {"proxy_headers_refused_total", "counter", "Connections whose PROXY header was malformed.",
     AT(proxy_refused)},
    {"messages_received_total", "counter", "Messages that were acknowledged.", AT(messages)},
    {"queue_messages", "gauge", "Messages in the queue.", AT(queued)},
    {"queue_active_messages", "gauge", "Messages of the queue that are in memory.", AT(active)},
    {"recipients_delivered_total", "counter", "Recipients that a mailbox or next hop took.",
     AT(delivered)},
    {"recipients_deferred_total", "counter", "Attempts that will be repeated.", AT(deferred)},
    {"recipients_failed_total", "counter", "Recipients that were given up.", AT(bounced)},
    {"next_hops_down", "gauge", "Next hops that do not answer.", AT(hops_down)},
    {"loop_turns_total", "counter", "Turns of the core's loop.", AT(turns)},
    {"loop_turn_longest_seconds", "gauge", "Longest turn of the core's loop since the start.",
     SECONDS(longest_turn_ns)},
    {"content_memory_bytes", "gauge", "Memory that holds content and output.", BLOCKS(blocks_used)},
    {"content_memory_limit_bytes", "gauge", "The most that it may be.", BLOCKS(blocks_max)},
    {"log_lines_dropped_total", "counter", "Log lines that found no room.", AT(log_dropped)},
    {"journal_commits_total", "counter", "Synced writes.", AT(journal.groups)},
    {"journal_commits_failed_total", "counter", "Synced writes that failed.",
     AT(journal.failed_groups)},
    {"journal_records_total", "counter", "Records in them.", AT(journal.records)},
    {"journal_written_bytes_total", "counter", "Bytes in them.", AT(journal.bytes)},
    {"journal_sync_seconds_total", "counter", "Time that synced writes took.",
     SECONDS(journal.sync_ns_total)},
    {"journal_sync_longest_seconds", "gauge", "Longest synced write since the start.",
     SECONDS(journal.sync_ns_max)},
    {"journal_segments", "gauge", "Segments in use.", AT(journal.segments)},
    {"journal_segments_free", "gauge", "Segments that are ready for use.",
     AT(journal.segments_free)},
    {"journal_live_bytes", "gauge", "Bytes of records that are still needed.",
     AT(journal.live_bytes)},
    {"journal_capacity_bytes", "gauge", "Bytes of the segments in use.",
     AT(journal.capacity_bytes)},
    {"directory_domains", "gauge", "Domain names in the core's table.", AT(directory.domains)},
    {"directory_addresses", "gauge", "Addresses in the core's table.", AT(directory.addresses)},
    {"directory_table_bytes", "gauge", "Memory of the core's tables.", AT(directory.memory_bytes)},
};

static void put_value(struct writer *w, const struct metric *m,
                      const struct service_snapshot *snapshot)
{
    uint64_t value;
    memcpy(&value, (const uint8_t *)snapshot + m->offset, sizeof value);
    if (m->nanoseconds) {
        put_decimal(w, value / MX_NS_PER_S);
        put_char(w, '.');
        put_decimal_padded(w, value % MX_NS_PER_S, 9);
    } else {
        put_decimal(w, value * m->scale);
    }
}

static void put_ready(struct writer *w, const struct sample *samples, unsigned cores)
{
    put_text(w, "# HELP ringmx_ready Whether the core would take a message now.\n"
                "# TYPE ringmx_ready gauge\n");
    for (unsigned i = 0; i < cores; i++) {
        put_text(w, "ringmx_ready{core=\"");
        put_decimal(w, i);
        put_text(w, samples[i].fresh && samples[i].snapshot.ready ? "\"} 1\n" : "\"} 0\n");
    }
}

void metrics_prometheus(struct writer *w, const struct sample *samples, unsigned cores)
{
    put_text(w, "# HELP ringmx_build_info The running version.\n"
                "# TYPE ringmx_build_info gauge\nringmx_build_info{version=\"" RINGMX_VERSION
                "\"} 1\n");
    put_ready(w, samples, cores);
    for (size_t m = 0; m < mx_countof(metrics); m++) {
        put_text(w, "# HELP ringmx_");
        put_text(w, metrics[m].name);
        put_char(w, ' ');
        put_text(w, metrics[m].help);
        put_text(w, "\n# TYPE ringmx_");
        put_text(w, metrics[m].name);
        put_char(w, ' ');
        put_text(w, metrics[m].type);
        put_char(w, '\n');
        for (unsigned i = 0; i < cores; i++) {
            put_text(w, "ringmx_");
            put_text(w, metrics[m].name);
            put_text(w, "{core=\"");
            put_decimal(w, i);
            put_text(w, "\"} ");
            put_value(w, &metrics[m], &samples[i].snapshot);
            put_char(w, '\n');
        }
    }
}

void metrics_json(struct writer *w, const struct sample *samples, unsigned cores)
{
    put_text(w, "{\"version\":\"" RINGMX_VERSION "\",\"cores\":[");
    for (unsigned i = 0; i < cores; i++) {
        const struct service_snapshot *snapshot = &samples[i].snapshot;
        put_text(w, i == 0 ? "{\"core\":" : ",{\"core\":");
        put_decimal(w, i);
        put_text(w, samples[i].fresh ? ",\"answered\":true" : ",\"answered\":false");
        put_text(w, snapshot->ready ? ",\"ready\":true" : ",\"ready\":false");
        for (size_t m = 0; m < mx_countof(metrics); m++) {
            put_text(w, ",\"");
            put_text(w, metrics[m].name);
            put_text(w, "\":");
            put_value(w, &metrics[m], snapshot);
        }
        put_char(w, '}');
    }
    put_text(w, "]}\n");
}
