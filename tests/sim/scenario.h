/* The exhaustive drive: fixed scenarios in which every operation is, one after the other, the one
 * at which the process dies, the machine loses power, or the disk fails. */
#pragma once

#include "core/base.h"

struct scenario_count {
    uint64_t points, operations;
};

/* Runs the share `part` of `parts` of all points; stride > 1 takes every stride-th only. every:
 * no operation is passed over for any fault. only: one scenario and fault: their names, or NULL.
 * variant: another one gives chance another course after the fault. False when there is no such
 * scenario. */
bool scenarios_run(const char *only, const char *fault, unsigned variant, unsigned part,
                   unsigned parts, unsigned stride, bool every, struct scenario_count *out);
/* One point: NAME, fault ("kill", ...), operation, variant. False when there is no such scenario.
 */
bool scenario_repeat(const char *name, const char *fault, uint64_t at, unsigned variant,
                     bool trace);
void scenarios_list(void);
/* So many messages over four sessions, without faults: for counting instructions. */
void scenario_load(unsigned messages);
