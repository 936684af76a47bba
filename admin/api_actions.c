#include "admin/api_actions.h"

#include "core/check.h"
#include "io/clock.h"

static const struct {
    const char *variant;
    enum api_action action;
} table[] = {
    {"ReloadSettings", ACTION_RELOAD_SETTINGS},
    {"ReloadTlsCertificates", ACTION_RELOAD_CERTIFICATES},
    {"ReloadBlockedIps", ACTION_RELOAD_BLOCKED},
    {"ReloadLookupStores", ACTION_RELOAD_LOOKUPS},
    {"PauseMtaQueue", ACTION_PAUSE_QUEUE},
    {"ResumeMtaQueue", ACTION_RESUME_QUEUE},
    {"ChangeMtaQueue", ACTION_CHANGE_QUEUE},
    {"InvalidateCaches", ACTION_INVALIDATE_CACHES},
    {"InvalidateNegativeCaches", ACTION_INVALIDATE_NEGATIVE},
};

static mx_err create(void *arg, const struct api_caller *caller, const json_t *body,
                     uint64_t *out_id, json_t **out_shown, struct set_errors *errors)
{
    const struct api_actions *actions = arg;
    const char *variant = json_string_value(json_object_get(body, "@type"));
    for (size_t i = 0; i < mx_countof(table); i++) {
        if (strcmp(table[i].variant, variant) == 0) {
            struct api_problem problem = {.change = API_ANY_CHANGE};
            mx_err err = actions->act(actions->arg, caller, table[i].action, body, out_shown,
                                      errors, &problem);
            if (err) {
                set_error_add(errors, SET_VALIDATION_FAILED, NULL, "%s",
                              problem.text[0] ? problem.text : err_text(err));
            }
            *out_id = (uint64_t)(clock_wall_ms() / 1000);
            return MX_OK;
        }
    }
    MX_ASSERT(!"a variant without an action");
    return MX_ERR_BUG;
}

/* No action is kept. */
static mx_err get(void *arg, json_t **out_object, uint64_t id)
{
    (void)arg;
    (void)out_object;
    (void)id;
    return MX_ERR_NOTFOUND;
}

struct api_foreign api_actions_type(const struct api_actions *actions)
{
    return (struct api_foreign){
        .type = "Action", .arg = (void *)(uintptr_t)actions, .get = get, .create = create};
}
