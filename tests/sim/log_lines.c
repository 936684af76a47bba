#include "tests/sim/log_lines.h"

#include "tests/sim/oracle.h"
#include "tests/sim/sim.h"

/* Events that say that something was lost: only rot may cause them, or that it could not be read
 * just now: a read error. */
static void line_judge(struct slice line)
{
    static const char *const bad[] = {"journal-damaged", "message-incomplete", "message-unreadable",
                                      "queue-record-malformed", "queue-record-unreadable"};
    static const char transient[] = "input/output error";
    bool excused = oracle_rotten() || memmem(line.ptr, line.len, transient, strlen(transient));
    for (size_t i = 0; i < mx_countof(bad) && !excused; i++) {
        if (memmem(line.ptr, line.len, bad[i], strlen(bad[i])) != NULL) {
            sim_fail("without rot: %.*s", SLICE_ARGS(line));
        }
    }
    if (sim.trace) {
        sim_say("log %.*s", (int)line.len - 1, (const char *)line.ptr);
    }
}

void log_lines_drain(struct log *log)
{
    uint8_t buf[LOG_TEXT_BYTES];
    struct writer w = writer_init(buf, sizeof buf);
    while (log->lines != NULL && log_take(log, &w)) {
        line_judge(writer_slice(&w));
        w = writer_init(buf, sizeof buf);
    }
}
