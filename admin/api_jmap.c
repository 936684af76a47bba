/* The envelope of JMAP (RFC 8620 section 3): one request, its method calls, one answer. */
#include "admin/api_private.h"
#include "admin/json_text.h"
#include "admin/secret_memo.h"
#include "core/text.h"

#include <stdio.h>
#include <stdlib.h>

static const char *const known_capabilities[] = {
    "urn:ietf:params:jmap:core",       "urn:stalwart:jmap",
    "urn:ietf:params:jmap:blob",       "urn:ietf:params:jmap:mail",
    "urn:ietf:params:jmap:submission", "urn:ietf:params:jmap:calendars",
    "urn:ietf:params:jmap:contacts",   "urn:ietf:params:jmap:principals",
    "urn:ietf:params:jmap:sieve",      "urn:ietf:params:jmap:vacationresponse",
    "urn:ietf:params:jmap:quota",      "urn:ietf:params:jmap:websocket",
    "urn:ietf:params:jmap:filenode",   "urn:ietf:params:jmap:principals:availability",
};

/* Request-level errors (RFC 8620 section 3.6.1) -------------------------------------------- */

static void refuse(struct api_answer *answer, const char *type, const char *detail)
{
    char urn[80];
    snprintf(urn, sizeof(urn), "urn:ietf:params:jmap:error:%s", type);
    json_t *body = json_pack("{s:s,s:i,s:o}", "type", urn, "status", 400, "detail",
                             json_text(slice_of_text(detail)));
    api_answer_json(answer, 400, body);
    answer->content_type = "application/problem+json";
}

static void refuse_limit(struct api_answer *answer, const char *limit, const char *detail)
{
    json_t *body = json_pack("{s:s,s:i,s:s,s:s}", "type", "urn:ietf:params:jmap:error:limit",
                             "status", 400, "limit", limit, "detail", detail);
    api_answer_json(answer, 400, body);
    answer->content_type = "application/problem+json";
}

/* Deepest nesting of arrays and objects, without parsing. */
static unsigned depth_of(struct slice text)
{
    unsigned depth = 0, deepest = 0;
    bool in_string = false;
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = text.ptr[i];
        if (in_string) {
            i += c == '\\';
            in_string = c != '"';
        } else if (c == '"') {
            in_string = true;
        } else if (c == '[' || c == '{') {
            deepest = ++depth > deepest ? depth : deepest;
        } else if ((c == ']' || c == '}') && depth > 0) {
            depth--;
        }
    }
    return deepest;
}

static bool is_json_type(struct slice type)
{
    struct slice word = text_trim(slice_first(type, slice_find(type, ';')));
    return text_equal_nocase(word, SLICE_LITERAL("application/json"));
}

static json_t *parse(const struct api_request *request, struct api_answer *answer)
{
    if (!is_json_type(request->content_type)) {
        refuse(answer, "notJSON", "The Content-Type has to be application/json.");
        return NULL;
    }
    if (request->body.len == 0) {
        refuse(answer, "notRequest", "The request has no body.");
        return NULL;
    }
    if (request->body.len > API_BODY_MAX) {
        refuse_limit(answer, "maxSizeRequest", "This request is larger than allowed.");
        return NULL;
    }
    if (depth_of(request->body) > API_DEPTH_MAX) {
        refuse(answer, "notRequest", "This request is nested deeper than allowed.");
        return NULL;
    }
    json_error_t error;
    json_t *body = json_loadb((const char *)request->body.ptr, request->body.len,
                              JSON_REJECT_DUPLICATES, &error);
    if (!body) {
        char detail[JSON_ERROR_TEXT_LENGTH + 64];
        snprintf(detail, sizeof(detail), "line %d, column %d: %s", error.line, error.column,
                 error.text);
        refuse(answer, "notRequest", detail);
    }
    return body;
}

static bool check_using(const json_t *using, struct api_answer *answer)
{
    size_t index;
    json_t *urn;
    if (!json_is_array(using)) {
        refuse(answer, "notRequest", "\"using\" has to be an array of capabilities.");
        return false;
    }
    json_array_foreach((json_t *)(uintptr_t) using, index, urn)
    {
        bool known = false;
        for (size_t i = 0; i < mx_countof(known_capabilities); i++) {
            known = known || slice_equal(api_string(urn), slice_of_text(known_capabilities[i]));
        }
        if (!known) {
            refuse(answer, "notRequest", "\"using\" names a capability that is not known here.");
            return false;
        }
    }
    return true;
}

static bool check_calls(const json_t *calls, struct api_answer *answer)
{
    size_t index;
    json_t *call;
    if (!json_is_array(calls)) {
        refuse(answer, "notRequest", "\"methodCalls\" has to be an array.");
        return false;
    }
    if (json_array_size(calls) > API_CALLS_MAX) {
        refuse_limit(answer, "maxCallsInRequest",
                     "This request holds more method calls than allowed.");
        return false;
    }
    json_array_foreach((json_t *)(uintptr_t)calls, index, call)
    {
        if (json_array_size(call) != 3 || !json_is_string(json_array_get(call, 0)) ||
            !json_is_object(json_array_get(call, 1)) || !json_is_string(json_array_get(call, 2))) {
            refuse(answer, "notRequest", "A method call is [name, {arguments}, id].");
            return false;
        }
    }
    return true;
}

static bool check_created(const json_t *created, struct api_answer *answer)
{
    const char *key;
    json_t *id;
    if (!created) {
        return true;
    }
    bool good = json_is_object(created) && json_object_size(created) <= API_CREATED_MAX;
    json_object_foreach((json_t *)(uintptr_t)created, key, id)
    {
        good = good && json_is_string(id);
    }
    if (!good) {
        refuse(answer, "notRequest", "\"createdIds\" has to be an object of ids.");
    }
    return good;
}

static bool check_envelope(const json_t *body, struct api_answer *answer)
{
    if (!json_is_object(body)) {
        refuse(answer, "notRequest", "A request is a JSON object.");
        return false;
    }
    return check_using(json_object_get(body, "using"), answer) &&
           check_calls(json_object_get(body, "methodCalls"), answer) &&
           check_created(json_object_get(body, "createdIds"), answer);
}

/* Method calls ----------------------------------------------------------------------------- */

static void echo(struct api_call *call)
{
    call->reply = json_incref((json_t *)(uintptr_t)call->args);
}

typedef void (*method_fn)(struct api_call *call);

/* ifInState is taken and means nothing: there are no states. */
static const struct method {
    const char *name;
    method_fn run;
    const char *arguments; /* what it takes, separated by blanks; NULL: anything */
} methods[] = {
    {"get", api_get, "accountId ids properties"},
    {"query", api_query, "accountId filter sort position anchor anchorOffset limit calculateTotal"},
    {"set", api_set, "accountId ifInState create update destroy"},
};
static const struct method echo_method = {"Core/echo", echo, NULL};

/* "x:Domain/get" in exactly this spelling. */
static const struct method *find_method(struct api_call *call, struct slice name)
{
    if (slice_equal(name, slice_of_text(echo_method.name))) {
        return &echo_method;
    }
    size_t slash = slice_find(name, '/');
    struct slice type = slice_first(name, slash);
    if (slash == name.len || !text_starts_nocase(type, SLICE_LITERAL("x:")) || type.ptr[0] != 'x') {
        return NULL;
    }
    call->type = reg_type_find(type);
    if (!call->type || !slice_equal(slice_from(type, 2), slice_of_text(call->type->shape.name))) {
        return NULL;
    }
    for (size_t i = 0; i < call->api->conf.foreign_count; i++) {
        if (strcmp(call->api->conf.foreign[i].type, call->type->shape.name) == 0) {
            call->foreign = &call->api->conf.foreign[i];
        }
    }
    if (call->type->storage == REG_ELSEWHERE && !call->foreign) {
        return NULL;
    }
    for (size_t i = 0; i < mx_countof(methods); i++) {
        if (slice_equal(slice_from(name, slash + 1), slice_of_text(methods[i].name))) {
            return &methods[i];
        }
    }
    return NULL;
}

/* A misspelt "destroy" would be a success that did nothing. */
static bool check_arguments(struct api_call *call, const struct method *method)
{
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)call->args, name, value)
    {
        if (method->arguments && !reg_has_word(method->arguments, slice_of_text(name))) {
            return api_fail(call, "invalidArguments", "there is no argument '%.64s'; it takes %s",
                            name, method->arguments);
        }
    }
    return true;
}

/* The caller's account is the only one there is; most clients leave it out. */
static bool check_account(struct api_call *call, const struct method *method)
{
    const json_t *given = method->arguments ? json_object_get(call->args, "accountId") : NULL;
    if (!given || json_is_null(given)) {
        return true;
    }
    if (!json_is_string(given)) {
        return api_fail(call, "invalidArguments", "'accountId' has to be a string");
    }
    return slice_equal(api_string(given), slice_of_text(call->session->caller->account_id)) ||
           api_fail(call, "accountNotFound", "the account of this caller is '%s'; leave it out",
                    call->session->caller->account_id);
}

static void add_response(struct api_call *call, const json_t *given, json_t *responses)
{
    json_t *response = json_array();
    if (call->error) {
        /* What was done nevertheless stands beside the error (RFC 8620 section 3.6.2). */
        json_t *error = json_pack("{s:s,s:o}", "type", call->error, "description",
                                  json_text(slice_of_text(call->description)));
        if (call->done_in_part) {
            json_object_update_missing(error, call->reply);
        }
        json_decref(call->reply);
        call->reply = error;
        json_array_append_new(response, json_string("error"));
    } else {
        json_array_append(response, json_array_get(given, 0));
    }
    json_array_append_new(response, call->reply);
    json_array_append(response, json_array_get(given, 2));
    json_array_append_new(responses, response);
}

/* False: it is suspended. */
static bool run_call(struct api_session *session, const json_t *given, json_t *responses)
{
    struct api_call call = {.session = session, .api = session->api};
    const json_t *name = json_array_get(given, 0);
    const struct method *method = find_method(&call, api_string(name));
    const size_t referred = session->referred;
    json_t *args = NULL;
    if (!method) {
        struct slice text = api_string(name);
        bool named = reg_type_unsupported(slice_first(text, slice_find(text, '/')));
        api_fail(&call, "unknownMethod", "%.100s%s", json_string_value(name),
                 named ? ": is not supported by ringmx" : "");
    } else {
        args = api_resolve_arguments(&call, json_array_get(given, 1), responses);
    }
    if (args) {
        call.args = args;
        if (check_arguments(&call, method) && check_account(&call, method)) {
            method->run(&call);
        }
    }
    json_decref(args);
    if (call.suspended) {
        session->referred = referred; /* it refers to the same again */
        return false;
    }
    if (!call.error && !call.reply) {
        api_fail(&call, "serverUnavailable", "%s", err_text(MX_ERR_NOMEM));
    }
    add_response(&call, given, responses);
    return true;
}

/* Requests --------------------------------------------------------------------------------- */

struct api_work {
    struct api_session session;
    struct api_caller caller;
    json_t *body, *responses;
    size_t next; /* call */
};

static void answer_work(struct api_work *work, struct api_answer *answer)
{
    struct api_session *session = &work->session;
    json_t *result = json_pack("{s:o,s:o}", "methodResponses", work->responses, "sessionState",
                               api_session_state(session->api, &work->caller));
    if (json_object_get(work->body, "createdIds")) {
        json_object_set(result, "createdIds", session->created);
    }
    json_decref(session->created);
    json_decref(work->body);
    secret_memo_free(session->secrets);
    free(work);
    answer->work = NULL;
    api_answer_json(answer, 200, result);
}

/* Every call has a memo of its own. Without memory for one it takes the time it takes. */
static void forget_secrets(struct api_session *session)
{
    secret_memo_free(session->secrets);
    session->secrets = secret_memo_new(false);
}

static void run_calls(struct api_answer *answer)
{
    struct api_work *work = answer->work;
    const json_t *calls = json_object_get(work->body, "methodCalls");
    while (work->next < json_array_size(calls)) {
        if (!run_call(&work->session, json_array_get(calls, work->next), work->responses)) {
            return;
        }
        work->next++;
        forget_secrets(&work->session);
    }
    answer_work(work, answer);
}

void api_continue(struct api_answer *answer, bool stopping)
{
    struct api_session *session = &answer->work->session;
    session->stopping = stopping;
    if (!stopping) {
        secret_memo_work(session->secrets);
        if (secret_memo_wants(session->secrets)) {
            return;
        }
    }
    run_calls(answer);
}

void api_jmap(struct api *api, const struct api_caller *caller, const struct api_request *request,
              struct api_answer *answer)
{
    json_t *body = parse(request, answer);
    if (!body) {
        return;
    }
    struct api_work *work = check_envelope(body, answer) ? calloc(1, sizeof(*work)) : NULL;
    if (!work) {
        json_decref(body);
        if (!answer->status) {
            api_answer_json(answer, 200, NULL);
        }
        return;
    }
    const json_t *given = json_object_get(body, "createdIds");
    *work = (struct api_work){.caller = *caller, .body = body, .responses = json_array()};
    work->session = (struct api_session){
        .api = api,
        .caller = &work->caller,
        .created = given ? json_copy((json_t *)(uintptr_t)given) : json_object(),
    };
    answer->work = work;
    forget_secrets(&work->session);
    run_calls(answer);
}
