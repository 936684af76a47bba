/* Shared by api.c and api_*.c. */
#pragma once

#include "admin/api.h"
#include "admin/objects.h"
#include "admin/store_query.h"

#define API_SCHEMA_HASH_CHARS 43

struct api_schema {
    uint8_t *gzip;
    size_t len;
    char hash[API_SCHEMA_HASH_CHARS + 1]; /* base64url of the SHA-256 of gzip */
};

/* Where the last page of a query ended: the next page need not count what is before it. */
struct api_bookmark {
    uint64_t generation;
    uint64_t question; /* hash of type, filter and sort; 0 = none */
    uint64_t id, position;
};

struct api {
    struct api_conf conf;
    struct api_schema schema;
    struct api_bookmark bookmark;
};

/* One request of POST /jmap. */
struct api_session {
    struct api *api;
    const struct api_caller *caller;
    struct secret_memo *secrets; /* of the call that runs */
    bool stopping;               /* no call waits for passwords any more */
    json_t *created;             /* creation id -> id text */
    size_t weight;               /* bytes of objects in the answer so far, roughly */
    size_t referred; /* bytes that result references brought into calls so far, roughly */
};

/* One method call. */
struct api_call {
    struct api_session *session;
    struct api *api;
    const struct reg_type *type;
    const struct api_foreign *foreign; /* NULL: the type is in the store */
    const json_t *args;
    json_t *reply;     /* arguments of the response */
    const char *error; /* type of a method error; NULL = none */
    bool done_in_part; /* the error does not undo reply: both are told */
    bool suspended;    /* nothing was done: to be run again when its passwords are worked out */
    char description[SET_TEXT_MAX];
};

/* The first error of a call stays. Always false. */
bool api_fail(struct api_call *call, const char *type, const char *format, ...) MX_PRINTF(3, 4);
/* An error of the store or of memory. */
bool api_fail_store(struct api_call *call, mx_err err);
/* May the caller do this ("Get") with the type? If not, the call fails. */
bool api_may(struct api_call *call, const char *verb);

void api_get(struct api_call *call);
void api_query(struct api_call *call);
void api_set(struct api_call *call);

/* Bytes that a value takes as text, roughly; counting ends behind most of them, because values
 * that refer to others can be far larger as text than in memory. */
size_t api_weight(const json_t *value, size_t most);

/* The arguments with result references ("#ids") resolved by earlier responses, a new reference;
 * NULL when the call failed. What all references of a request lead to is API_REFERRED_MAX at most:
 * a call that refers twice to the one before would double the answer with every call. */
json_t *api_resolve_arguments(struct api_call *call, const json_t *args, const json_t *responses);

/* The SetError of an object (RFC 8620 section 5.3) from what was found, a new reference. */
json_t *api_set_error(const struct set_errors *errors);

/* "sysDomainUpdate" */
enum { API_PERMISSION_MAX = REG_NAME_MAX + 16 };
void api_permission(char out[API_PERMISSION_MAX], const struct reg_type *type, const char *verb);
json_t *api_session_state(const struct api *api, const struct api_caller *caller);

json_t *api_id(uint64_t id);
struct slice api_string(const json_t *value); /* empty when it is none */

/* False: the answer says why not. */
bool api_sign_in(struct api *api, const struct api_request *request, struct api_caller *caller,
                 struct api_answer *answer);
/* POST /api/explain */
void api_post_explain(struct api *api, const struct api_request *request,
                      struct api_answer *answer);

void api_answer_json(struct api_answer *answer, unsigned status, json_t *body); /* takes body */
/* Problem details (RFC 9457). */
void api_answer_problem(struct api_answer *answer, unsigned status, const char *title,
                        const char *detail);
/* POST /api/trace */
void api_post_trace(struct api *api, const struct api_request *request, struct api_answer *answer);
/* GET /jmap/download/..., GET /api/queue/shape */
void api_download(struct api *api, const struct api_request *request, struct api_answer *answer);
void api_get_shape(struct api *api, const struct api_request *request, struct api_answer *answer);
/* POST /jmap; like api_begin. */
void api_jmap(struct api *api, const struct api_caller *caller, const struct api_request *request,
              struct api_answer *answer);

MX_MUST_CHECK mx_err api_schema_build(struct api_schema *schema);
/* The document itself, a new reference; NULL when memory is out. */
json_t *api_schema_document(void);
