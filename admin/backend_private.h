/* Shared by backend.c (requests, signing in, changes) and backend_hooks.c. */
#pragma once

#include "admin/api.h"
#include "admin/api_actions.h"
#include "admin/api_queue.h"
#include "admin/auth.h"
#include "admin/backend.h"
#include "admin/commit_pace.h"

#include <stdatomic.h>

struct backend {
    struct backend_conf conf;
    struct store *store; /* NULL: unusable, see problem */
    struct api *api;
    struct auth *auth;
    const struct auth_caller *caller; /* of the request that runs */
    struct netaddr peer;              /* where it came from */
    struct request_job *running;      /* on the worker */
    unsigned delayed;                 /* answers that wait, on the loop */
    atomic_bool stopping;             /* said by the loop, read by the worker */
    struct api_actions actions;
    struct api_queue queue;
    struct commit_pace pace;       /* of the worker */
    struct deliver_pause pause;    /* as it is in force */
    struct worker_idle idle;       /* between jobs: bans, changes that end late */
    struct api_foreign foreign[2]; /* types outside of the store */
    struct config_problem problem;
    mx_err unusable; /* why */
};

/* What a configuration was refused for, as the API tells it. */
void backend_problem(struct api_problem *out, const struct config_problem *problem);

/* Hooks of the API beside those of changes; arg is the backend. */
MX_MUST_CHECK mx_err backend_guard(void *arg, const struct store_wish *wish,
                                   struct set_errors *errors);
MX_MUST_CHECK mx_err backend_action(void *arg, const struct api_caller *caller,
                                    enum api_action action, const json_t *body, json_t **out_shown,
                                    struct set_errors *errors, struct api_problem *problem);
MX_MUST_CHECK mx_err backend_download(void *arg, uint64_t id, bool headers, uint8_t **out_text,
                                      size_t *out_len);
MX_MUST_CHECK mx_err backend_shape(void *arg, json_t **out_shape);
MX_MUST_CHECK mx_err backend_trace(void *arg, const struct trace_query *query, json_t **out_trace);
MX_MUST_CHECK mx_err backend_explain(void *arg, const struct explain_query *query,
                                     json_t **out_explanation, struct api_problem *problem);
MX_MUST_CHECK mx_err backend_dry_run(void *arg, struct slice plan_text, struct slice recipients,
                                     char **out_report);
