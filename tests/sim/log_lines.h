/* What the program logs: shown with --trace, and judged. */
#pragma once

#include "core/log.h"

/* Takes all lines of a core's log, or another one's. */
void log_lines_drain(struct log *log);
