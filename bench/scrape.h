/* The server's own counters: GET /stats of its management endpoint. Blocks. */
#pragma once

#include <jansson.h>
#include <stdbool.h>

/* url: "http://127.0.0.1:8080", with or without /stats. A new reference; NULL: *out_problem says
 * why. allow_remote: other hosts than loopback. */
json_t *scrape_stats(const char *url, bool allow_remote, const char **out_problem);
