/* A session with the management endpoint: schema, limits, and JMAP method calls (RFC 8620). Results
 * are new references, NULL means that fail() has the reason; arguments are taken. */
#pragma once

#include "tools/cli/http.h"

#include <jansson.h>

enum { CLIENT_OBJECTS_MAX = 500 }; /* per call, when the server does not say */

struct client {
    struct http http;
    json_t *schema;
    char *api_path;
    size_t max_get, max_set; /* objects per call, at least 1 */
};

/* Fetches schema and session. */
bool client_start(struct client *client);
void client_free(struct client *client);

/* A GET whose answer must be a 2xx; its body. */
bool client_get(struct client *client, const char *path, struct buf *out_body);
/* The text for a reply that is not a success, with what a problem document adds to it; false. */
bool fail_reply(const struct http_reply *reply);

/* One call of <object>/<verb>. */
json_t *jmap_call(struct client *client, const char *object, const char *verb, json_t *args);
/* The same with ids that earlier calls gave to client ids (may be NULL); the server's own of them
 * are added to merge (may be NULL). */
json_t *jmap_call_refs(struct client *client, const char *object, const char *verb, json_t *args,
                       json_t *created_ids, json_t *merge);
/* A query and a get of what it found, in one request. properties NULL: all. */
bool jmap_query_get(struct client *client, const char *object, json_t *query_args,
                    json_t *properties, json_t **out_query, json_t **out_get);
/* Arguments of a query for one page; filter (borrowed) may be NULL. The first page has no anchor;
 * with_total asks it for the number of all. */
json_t *jmap_page(json_t *filter, size_t limit, const char *anchor, bool with_total);
/* Adds the ids of all objects that a filter (borrowed, may be NULL) finds. */
bool jmap_all_ids(struct client *client, const char *object, json_t *filter, json_t *ids);
/* Calls each for every object of a type, page by page, until it is false (a failure). */
bool jmap_each_object(struct client *client, const char *object, bool with_total,
                      bool (*each)(void *arg, const json_t *value), void *arg);

/* Borrowed: the text of a member, or NULL. */
const char *member_text(const json_t *object, const char *name);
/* Borrowed: the id of the last item that has one, or NULL. */
const char *last_id(const json_t *items);
