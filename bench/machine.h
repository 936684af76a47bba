/* On what a figure was measured. */
#pragma once

#include <jansson.h>

/* A new object: cpu, cpus, kernel, memory_bytes, governor, date, ringmx; what the system does not
 * tell is absent. NULL: no memory. */
json_t *machine_facts(void);
