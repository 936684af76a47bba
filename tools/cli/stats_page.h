/* /stats of a server, taken apart: the page is a list of cores with the same statistics, some of
 * them told apart by labels, some of them histograms. */
#pragma once

#include "tools/cli/cli.h"

/* New reference: the page, or NULL. */
json_t *stats_page(struct cli *cli);
/* New reference: {"name": value, "name{label=value}": value, ...} of one core (or of the member
 * "total"); histograms stay objects of their numbers. */
json_t *stats_flat(const json_t *statistics);
/* The number of a row of stats_flat, 0 when there is none; with member, of a histogram's. */
double stats_number(const json_t *flat, const char *name, const char *member);
/* The sum of a statistic over all its labels. */
double stats_sum(const json_t *flat, const char *name);
/* What a counter has grown by. One below its earlier value has begun anew, with the server: all
 * that it has by now is growth. */
double stats_growth(double before, double after);

/* --interval and --count; false: they make no sense. */
bool stats_rounds(const struct cli *cli, double *out_seconds, unsigned long *out_count);
/* Waits; a moment in seconds that only grows. */
double stats_clock(void);
void stats_sleep(double seconds);
/* On a terminal: the next output takes the place of the last. */
void stats_clear(struct buf *out);
