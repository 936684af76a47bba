/* The management API: JMAP (RFC 8620) over the objects of the registry, and the documents around
 * it (session, schema, account). No sockets: a request comes in complete, an answer goes out whole.
 * Runs on the management worker, the only user of the store while it runs.
 *
 *   GET  /.well-known/jmap, /jmap/session, /api/schema, /api/schema/HASH, /api/account, /healthz
 *   POST /jmap, /jmap/          x:TYPE/get, x:TYPE/query, x:TYPE/set
 *   GET  /jmap/download/ACCOUNT/BLOB/NAME, /api/queue/shape
 *   POST /api/explain           {"recipient", "sender", "ip", "listener", "size"}, or
 *                               {"plan", "recipients"}: where they would go after a plan
 *   POST /api/trace             {"of": queue id, address, or client's address or network}
 *
 * One `set` call is one transaction: one sync to the disk for up to API_OBJECTS_SET objects, and
 * the cores change over once. Objects of a call that are refused do not stop the others: a refused
 * object has written nothing. The answer is given after the commit and after `publish`, so it is
 * true for every core. */
#pragma once

#include "admin/object_id.h"
#include "admin/objects.h"
#include "admin/store_query.h"
#include "core/netaddr.h"
#include "smtp/explain.h"
#include "smtp/trace_search.h"

enum {
    API_OBJECTS_GET = 500,
    API_OBJECTS_SET = 500,
    API_QUERY_IDS = 5000,
    API_CALLS_MAX = 16,
    API_BODY_MAX = 10000000,
    API_DEPTH_MAX = 64,              /* nesting of JSON in a request */
    API_ANSWER_MAX = 64000000,       /* bytes of objects in one answer; more is requestTooLarge */
    API_REFERRED_MAX = API_BODY_MAX, /* bytes that result references may bring into a request */
    API_CREATED_MAX = 10000,         /* creation ids that a request may bring */
    API_REFUSED_ROUNDS_MAX = 8,      /* times that prepare may pick single objects out of a call */
    API_CALLER_NAME_MAX = STORE_WHO_MAX,
    API_RETRY_AFTER_S = 60, /* said with a 429 */
};

/* What an administrator without an account has as its id. */
#define API_NO_ACCOUNT "d333333"

/* Who calls. Valid during one request. */
struct api_caller {
    char name[API_CALLER_NAME_MAX + 1]; /* for people and for the log of changes */
    char account_id[OBJECT_ID_TEXT_MAX + 1];
    struct netaddr peer; /* where the request came from */
    void *arg;
    /* "sysDomainUpdate": may it? */
    bool (*may)(void *arg, const char *permission);
};

enum api_sign_in {
    API_SIGNED_IN,
    API_REFUSED,   /* no or wrong credentials: 401 */
    API_BLOCKED,   /* this peer may not try: 403 */
    API_SLOW_DOWN, /* too many attempts: 429 */
    API_UNKNOWN,   /* the store cannot say: 503 */
};

/* Why a set of changes was refused, or what is behind. */
#define API_ANY_CHANGE SIZE_MAX
struct api_problem {
    char text[SET_TEXT_MAX];         /* a sentence */
    char property[SET_PROPERTY_MAX]; /* of the object; empty = the object as a whole */
    size_t change;                   /* index of the change at fault; API_ANY_CHANGE = unknown */
};

/* One object that a call has changed. Borrowed for the call that tells of it. */
struct api_changed {
    const char *verb; /* "create", "update", "destroy" */
    const struct reg_type *type;
    const char *id;               /* NULL: it has none yet */
    const json_t *before, *after; /* NULL: it was not, or is not any more; or they are not known */
    const json_t *given;          /* of a create, or a type outside of the store: what was asked */
};

typedef void (*api_refused_fn)(void *arg, size_t number, const struct set_errors *errors);

/* Objects that do not live in the store (a queue's messages, actions). A function that is NULL
 * makes its method `forbidden`. The registry describes the type (storage REG_ELSEWHERE). Errors
 * other than those named are the whole call's (serverUnavailable). */
struct api_foreign {
    const char *type;
    void *arg;
    /* The object without "id", a new reference; MX_ERR_NOTFOUND. */
    mx_err (*get)(void *arg, json_t **out_object, uint64_t id);
    /* As store_select, with the same conditions. MX_ERR_UNSUPPORTED: cannot be filtered or sorted
     * like that. */
    mx_err (*query)(void *arg, struct store_page *page, const struct store_query *query);
    /* body is in normal form. *out_shown (may stay NULL): further members of the answer. */
    mx_err (*create)(void *arg, const struct api_caller *caller, const json_t *body,
                     uint64_t *out_id, json_t **out_shown, struct set_errors *errors);
    mx_err (*update)(void *arg, const struct api_caller *caller, uint64_t id, const json_t *patch,
                     struct set_errors *errors);
    mx_err (*destroy)(void *arg, const struct api_caller *caller, uint64_t id,
                      struct set_errors *errors);
    /* After all updates and destroys of a call, which may only have been collected: makes them, and
     * tells of each that is refused after all by its number, counted from 0 over those that were
     * not. An error means that nothing is known of the rest. NULL: they were made at once. */
    mx_err (*settle)(void *arg, const struct api_caller *caller, api_refused_fn refused,
                     void *refused_arg);
    /* Before the first update or destroy of a call. NULL: nothing is collected. */
    void (*begin)(void *arg);
};

struct api_conf {
    struct store *store;     /* outlives the api */
    struct slice public_url; /* STALWART_PUBLIC_URL; empty: the request's own host */
    void *arg;               /* of the functions */
    enum api_sign_in (*authenticate)(void *arg, struct slice authorization,
                                     const struct netaddr *peer, struct api_caller *out_caller);
    /* May the caller make this change? Asked before anything that depends on a secret; refusals go
     * to errors. NULL: he may. */
    store_guard_fn guard;
    /* Before a commit, inside the transaction: makes everything ready for the changes, or refuses
     * them with MX_ERR_INVALID and *problem. NULL: always ready. */
    mx_err (*prepare)(void *arg, const struct object_change *changes, size_t count,
                      struct api_problem *problem);
    /* What was prepared does not come: it is refused or the commit failed. May be NULL. */
    void (*discard)(void *arg);
    /* After the commit: returns when all cores have changed over. An error with problem->text means
     * that the changes are stored but not everywhere in force yet. May be NULL. */
    mx_err (*publish)(void *arg, const struct object_change *changes, size_t count,
                      struct api_problem *problem);
    /* Told of every object that a call has changed, after the commit. May be NULL. */
    void (*changed)(void *arg, const struct api_caller *caller, const struct api_changed *changed);
    /* What GET /healthz tells administrators, a new reference. NULL: there is no such page. */
    json_t *(*health)(void *arg);
    /* What would become of a recipient (explain_json), a new reference. MX_ERR_INVALID: *problem
     * says what is wrong with the question. May be NULL. */
    mx_err (*explain)(void *arg, const struct explain_query *query, json_t **out_explanation,
                      struct api_problem *problem);
    /* A dry run of a plan; *out_report (malloc'd) says what it would do and which recipients (one a
     * line) would go elsewhere. MX_ERR_INVALID: it says what is wrong. May be NULL. */
    mx_err (*dry_run)(void *arg, struct slice plan_text, struct slice recipients,
                      char **out_report);
    /* A message's text (malloc'd). MX_ERR_NOTFOUND, MX_ERR_LIMIT, MX_ERR_DAMAGED, or not now. May
     * be NULL. */
    mx_err (*download)(void *arg, uint64_t id, bool headers, uint8_t **out_text, size_t *out_len);
    /* A new reference. May be NULL. */
    mx_err (*shape)(void *arg, json_t **out_shape);
    /* What happened (api_trace_json), a new reference. Errors as queue_cores_trace. */
    mx_err (*trace)(void *arg, const struct trace_query *query, json_t **out_trace);
    const struct api_foreign *foreign; /* outlive the api */
    size_t foreign_count;
};

/* All slices are borrowed for the call. */
struct api_request {
    struct slice method; /* "GET" */
    struct slice path;   /* decoded, without dot segments and query */
    struct slice host, authorization, content_type, if_none_match;
    struct slice body;
    struct netaddr peer;
    bool tls;
};

struct api_answer {
    unsigned status;
    const char *content_type;  /* static; NULL without a body */
    const char *cache_control; /* static; NULL = "no-store" is for the caller to send */
    const char *allow;         /* static, of a 405; NULL = none */
    uint32_t retry_after_s;    /* of a 429; 0 = none */
    char location[128];        /* empty = none */
    char etag[64];             /* with its quotes; empty = none */
    bool gzip;                 /* the body is gzip already */
    bool is_static;            /* the body is the api's, else malloc'd and the caller's to free */
    uint8_t *body;
    size_t len;
    struct api_work *work; /* not answered yet: see api_begin */
};

struct api;

/* Makes the schema document. conf is copied; what it points to is borrowed. MX_ERR_NOMEM. */
MX_MUST_CHECK mx_err api_new(struct api **out_api, const struct api_conf *conf);
void api_free(struct api *api); /* NULL is fine */
/* Is the request's caller signed in, with the permission? False: the answer says why not. */
bool api_permits(struct api *api, const struct api_request *request, const char *permission,
                 struct api_answer *answer);
/* Begins a request; request may go afterwards. While answer->work is there, it is not answered:
 * passwords are to be worked out, which takes long, and nothing is held meanwhile. api_continue
 * works on for as long as one password takes. */
void api_begin(struct api *api, const struct api_request *request, struct api_answer *answer);
/* stopping: what needs more passwords is given up with an error; the request is answered now. What
 * api_caller.arg led to must still be what it was. */
void api_continue(struct api_answer *answer, bool stopping);
/* Always gives an answer; an unknown path is 404. All of it at once. */
void api_run(struct api *api, const struct api_request *request, struct api_answer *answer);
