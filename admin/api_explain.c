/* POST /api/explain: what would become of a recipient, and why. */
#include "admin/api_private.h"
#include "admin/json_text.h"
#include "core/text.h"
#include "smtp/addr_parse.h"

#include <stdio.h>
#include <stdlib.h>

static void refuse(struct api_answer *answer, const char *member, const char *reason)
{
    char detail[256];
    (void)snprintf(detail, sizeof detail, "%.64s: %.160s", member, reason);
    api_answer_problem(answer, 400, "Bad Request", detail);
}

/* Absent, null, or a value of its kind; what else there is, is refused by name. */
static bool check_members(const json_t *body, struct api_answer *answer)
{
    static const struct {
        const char *name;
        json_type type;
    } members[] = {{"recipient", JSON_STRING}, {"sender", JSON_STRING}, {"ip", JSON_STRING},
                   {"listener", JSON_STRING},  {"helo", JSON_STRING},   {"size", JSON_INTEGER}};
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)body, name, value)
    {
        size_t i = 0;
        while (i < mx_countof(members) && strcmp(members[i].name, name) != 0) {
            i++;
        }
        if (i == mx_countof(members)) {
            refuse(answer, "unknown member", name);
            return false;
        }
        if (!json_is_null(value) && json_typeof(value) != members[i].type) {
            refuse(answer, name, "is of the wrong type");
            return false;
        }
    }
    return true;
}

static bool is_address(struct slice text)
{
    struct address address;
    return text_equal_nocase(text, SLICE_LITERAL("postmaster")) ||
           addr_parse_mailbox(&address, text) == MX_OK;
}

static bool read_query(struct explain_query *query, const json_t *body, struct api_answer *answer)
{
    struct slice ip = api_string(json_object_get(body, "ip"));
    json_int_t size = json_integer_value(json_object_get(body, "size"));
    if (!check_members(body, answer)) {
        return false;
    }
    *query = (struct explain_query){.rcpt = api_string(json_object_get(body, "recipient")),
                                    .sender = api_string(json_object_get(body, "sender")),
                                    .listener = api_string(json_object_get(body, "listener")),
                                    .helo = api_string(json_object_get(body, "helo")),
                                    .size = size < 0 ? 0 : (uint64_t)size};
    if (!is_address(query->rcpt)) {
        refuse(answer, "recipient", "is not an address");
    } else if (query->sender.len > 0 && !is_address(query->sender)) {
        refuse(answer, "sender", "is not an address");
    } else if (ip.len > 0 && netaddr_parse(&query->client, ip) != MX_OK) {
        refuse(answer, "ip", "is not an IP address");
    } else if (size < 0) {
        refuse(answer, "size", "is negative");
    } else {
        return true;
    }
    return false;
}

static void run(struct api *api, const json_t *body, struct api_answer *answer)
{
    struct explain_query query;
    json_t *explanation = NULL;
    struct api_problem problem;
    if (!read_query(&query, body, answer)) {
        return;
    }
    problem.text[0] = '\0';
    mx_err err = api->conf.explain(api->conf.arg, &query, &explanation, &problem);
    if (err) {
        api_answer_problem(answer, err == MX_ERR_INVALID ? 400 : 503,
                           err == MX_ERR_INVALID ? "Bad Request" : "Temporarily Unavailable",
                           problem.text[0] != '\0' ? problem.text : err_text(err));
        return;
    }
    api_answer_json(answer, 200, explanation);
}

/* {"plan": TEXT, "recipients": TEXT} */
static void run_plan(struct api *api, const json_t *body, struct api_answer *answer)
{
    const json_t *plan = json_object_get(body, "plan");
    const json_t *recipients = json_object_get(body, "recipients");
    char *report = NULL;
    if (json_object_size(body) != 2 || !json_is_string(plan) || !json_is_string(recipients)) {
        refuse(answer, "plan", "goes with recipients, both as text");
        return;
    }
    mx_err err =
        api->conf.dry_run(api->conf.arg, api_string(plan), api_string(recipients), &report);
    if (err == MX_ERR_INVALID) {
        api_answer_problem(answer, 400, "Bad Request", report);
    } else if (err) {
        api_answer_problem(answer, 503, "Temporarily Unavailable", err_text(err));
    } else {
        api_answer_json(answer, 200,
                        json_pack("{s:o}", "report", json_text(slice_of_text(report))));
    }
    free(report);
}

/* A plan may be about anything; trying one needs what its most usual objects need. */
static bool may_plan(const struct api_caller *caller)
{
    static const char *const needed[] = {"sysMtaOutboundStrategyUpdate", "sysMtaRouteUpdate",
                                         "sysDomainUpdate", "sysAccountCreate"};
    bool all = true;
    for (size_t i = 0; i < mx_countof(needed); i++) {
        all = all && caller->may(caller->arg, needed[i]);
    }
    return all;
}

void api_post_explain(struct api *api, const struct api_request *request, struct api_answer *answer)
{
    struct api_caller caller;
    if (!api_sign_in(api, request, &caller, answer)) {
        return;
    }
    if (api->conf.explain == NULL || !caller.may(caller.arg, "sysMtaOutboundStrategyGet") ||
        !caller.may(caller.arg, "sysAccountGet")) {
        api_answer_problem(
            answer, 403, "Forbidden",
            "This needs the permissions sysMtaOutboundStrategyGet and sysAccountGet.");
        return;
    }
    json_error_t error;
    json_t *body = json_loadb((const char *)request->body.ptr, request->body.len,
                              JSON_REJECT_DUPLICATES, &error);
    bool is_plan = json_object_get(body, "plan") != NULL;
    if (is_plan && (api->conf.dry_run == NULL || !may_plan(&caller))) {
        api_answer_problem(answer, 403, "Forbidden",
                           "Trying a plan needs the permissions to change routes, domains and "
                           "accounts.");
    } else if (is_plan) {
        run_plan(api, body, answer);
    } else if (!json_is_object(body)) {
        refuse(answer, "the body", body == NULL ? error.text : "is not a JSON object");
    } else {
        run(api, body, answer);
    }
    json_decref(body);
}
