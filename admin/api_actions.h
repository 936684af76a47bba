/* The type Action: things that happen when one is created; there is nothing to read afterwards.
 * Changes are in force when they are made, so reloading concerns only what is outside of the
 * registry: files and environment variables that objects name. What is cached is what name servers
 * said. */
#pragma once

#include "admin/api.h"

enum api_action {
    ACTION_RELOAD_SETTINGS,
    ACTION_RELOAD_CERTIFICATES,
    ACTION_RELOAD_BLOCKED,
    ACTION_RELOAD_LOOKUPS,
    ACTION_PAUSE_QUEUE,
    ACTION_RESUME_QUEUE,
    ACTION_INVALIDATE_CACHES,
    ACTION_INVALIDATE_NEGATIVE,
    ACTION_CHANGE_QUEUE,
};

struct api_actions {
    void *arg;
    /* Does it and returns when it is in force; body is in normal form, and *out_shown as in
     * api_foreign.create. An error is reported with problem->text, errors as they are. */
    mx_err (*act)(void *arg, const struct api_caller *caller, enum api_action action,
                  const json_t *body, json_t **out_shown, struct set_errors *errors,
                  struct api_problem *problem);
};

/* For api_conf.foreign; actions outlives the api. */
struct api_foreign api_actions_type(const struct api_actions *actions);
