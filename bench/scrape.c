#include "bench/scrape.h"

#include "core/netaddr.h"
#include "tools/cli/fail.h"
#include "tools/cli/http.h"

#include <unistd.h>

enum { TRIES_MAX = 100, PAUSE_US = 20000 };

static const struct slice page = SLICE_LITERAL("/stats");

static bool is_loopback(const struct url *url)
{
    struct netaddr addr;
    struct slice host = slice_of_text(url->host);
    return slice_equal(host, SLICE_LITERAL("localhost")) ||
           (netaddr_parse(&addr, host) == MX_OK && netaddr_is_loopback(&addr));
}

static json_t *read_reply(const struct http_reply *reply, const char **out_problem)
{
    json_error_t error;
    if (reply->status != 200) {
        *out_problem = "the answer is not 200";
        return NULL;
    }
    json_t *stats = json_loadb(buf_text(&reply->body), reply->body.len, 0, &error);
    *out_problem = stats == NULL ? "the answer is not JSON" : NULL;
    return stats;
}

/* A busy core may not have answered in time, then its numbers are old. */
static bool all_answered(const json_t *stats)
{
    const json_t *cores = json_object_get(stats, "cores");
    for (size_t i = 0; i < json_array_size(cores); i++) {
        if (json_is_false(json_object_get(json_array_get(cores, i), "answered"))) {
            return false;
        }
    }
    return true;
}

static json_t *get_stats(struct http *http, const char *path, const char **out_problem)
{
    struct http_reply reply;
    json_t *stats = NULL;
    if (http_call(http, "GET", path, NULL, &reply)) {
        stats = read_reply(&reply, out_problem);
    } else {
        *out_problem = fail_text();
    }
    http_reply_free(&reply);
    return stats;
}

json_t *scrape_stats(const char *url, bool allow_remote, const char **out_problem)
{
    struct http http = {0};
    *out_problem = url_parse(&http.url, url);
    if (*out_problem != NULL) {
        return NULL;
    }
    if (!allow_remote && !is_loopback(&http.url)) {
        *out_problem = "only loopback addresses without --allow-remote";
        return NULL;
    }
    struct slice path = slice_of_text(http.url.path);
    bool named = path.len >= page.len && slice_equal(slice_from(path, path.len - page.len), page);
    json_t *stats = get_stats(&http, named ? "" : "/stats", out_problem);
    for (unsigned i = 0; i < TRIES_MAX && stats != NULL && !all_answered(stats); i++) {
        (void)usleep(PAUSE_US);
        json_decref(stats);
        stats = get_stats(&http, named ? "" : "/stats", out_problem);
    }
    http_free(&http);
    return stats;
}
