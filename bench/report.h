/* What a load came to: as text, as JSON, and against what was asked for. */
#pragma once

#include "bench/assert_parse.h"
#include "bench/load.h"

#include <jansson.h>
#include <stdio.h>

struct report {
    const struct load *load;
    json_t *command;      /* the words of the command line */
    json_t *stats_before; /* of the server; NULL = not asked for */
    json_t *stats_after;
};

void report_text(const struct report *report, FILE *out);
/* A new object. */
json_t *report_json(const struct report *report);
/* False: the list names something that there is not; *out_term is the term. */
bool report_knows(const struct assert_list *list, const struct assert_term **out_term);
/* Prints each term that does not hold; returns whether all do. A time of which there is no value
 * does not hold. */
bool report_check(const struct load *load, const struct assert_list *list, FILE *out);
/* The line of an interval. */
void report_point(const struct load *load, const struct load_point *point, FILE *out,
                  bool terminal);
