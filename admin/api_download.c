/* GET /jmap/download/ACCOUNT/BLOB/NAME: a queued message's text (RFC 8620 section 6.2); behind
 * BLOB ".headers": only its header lines. GET /api/queue/shape: who waits for what, how long. */
#include "admin/api_private.h"

#include <stdio.h>

static bool may(const struct api_caller *caller, const char *permission, struct api_answer *answer)
{
    char detail[API_PERMISSION_MAX + 32];
    if (caller->may(caller->arg, permission)) {
        return true;
    }
    (void)snprintf(detail, sizeof detail, "Needs the permission %s.", permission);
    api_answer_problem(answer, 403, "Forbidden", detail);
    return false;
}

static void problem(struct api_answer *answer, mx_err err)
{
    if (err == MX_ERR_NOTFOUND || err == MX_ERR_SYNTAX) {
        api_answer_problem(answer, 404, "Not Found", "There is no such message in the queue.");
    } else if (err == MX_ERR_LIMIT) {
        api_answer_problem(answer, 413, "Content Too Large",
                           "The message is too large to be shown.");
    } else if (err == MX_ERR_DAMAGED) {
        api_answer_problem(answer, 500, "Internal Server Error",
                           "The message cannot be read back: it is damaged.");
    } else {
        api_answer_problem(answer, 503, "Temporarily Unavailable",
                           "The core has not answered; try again.");
    }
}

/* The part of a path before the next slash; *path goes behind it. */
static struct slice next_part(struct slice *path)
{
    size_t end = slice_find(*path, '/');
    struct slice part = slice_first(*path, end);
    *path = slice_from(*path, mx_min_size(end + 1, path->len));
    return part;
}

static bool take_suffix(struct slice *text, const char *suffix)
{
    struct slice end = slice_of_text(suffix);
    bool has = text->len > end.len && slice_equal(slice_from(*text, text->len - end.len), end);
    text->len -= has ? end.len : 0;
    return has;
}

void api_download(struct api *api, const struct api_request *request, struct api_answer *answer)
{
    struct api_caller caller;
    uint64_t id;
    if (!api_sign_in(api, request, &caller, answer) ||
        !may(&caller, "sysQueuedMessageGet", answer)) {
        return;
    }
    struct slice path = slice_from(request->path, strlen("/jmap/download/"));
    (void)next_part(&path); /* the account: there is one queue */
    struct slice blob = next_part(&path);
    bool headers = take_suffix(&blob, ".headers");
    uint8_t *text = NULL;
    size_t len = 0;
    mx_err err = api->conf.download == NULL ? MX_ERR_NOTFOUND : object_id_parse(&id, blob);
    err = err ? err : api->conf.download(api->conf.arg, id, headers, &text, &len);
    if (err) {
        problem(answer, err);
        return;
    }
    answer->status = 200;
    answer->content_type = "message/rfc822";
    answer->body = text;
    answer->len = len;
}

void api_get_shape(struct api *api, const struct api_request *request, struct api_answer *answer)
{
    struct api_caller caller;
    json_t *shape = NULL;
    if (!api_sign_in(api, request, &caller, answer) ||
        !may(&caller, "sysQueuedMessageQuery", answer)) {
        return;
    }
    mx_err err = api->conf.shape == NULL ? MX_ERR_AGAIN : api->conf.shape(api->conf.arg, &shape);
    if (err) {
        problem(answer, err == MX_ERR_NOMEM ? err : MX_ERR_AGAIN);
        return;
    }
    api_answer_json(answer, 200, shape);
}
