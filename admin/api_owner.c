#include "admin/api_owner.h"

#include "admin/api_key.h"
#include "core/check.h"

static bool is_restricted(const struct api_call *call)
{
    return call->type->owner && strcmp(call->session->caller->account_id, API_NO_ACCOUNT) != 0;
}

bool api_owner_condition(const struct api_call *call, struct store_condition *out,
                         json_t **out_value)
{
    *out_value = NULL;
    if (!is_restricted(call)) {
        return false;
    }
    *out_value = json_string(call->session->caller->account_id);
    *out = (struct store_condition){
        .field = reg_field_find(&call->type->shape.variants[0], slice_of_text(call->type->owner)),
        .compare = STORE_EQUAL,
        .value = *out_value};
    MX_ASSERT(out->field);
    return true;
}

bool api_owns(const struct api_call *call, const json_t *object)
{
    return !is_restricted(call) ||
           slice_equal(api_string(json_object_get(object, call->type->owner)),
                       slice_of_text(call->session->caller->account_id));
}

mx_err api_owns_id(const struct api_call *call, bool *out_owns, uint64_t id)
{
    json_t *object = NULL;
    *out_owns = true;
    if (!is_restricted(call)) {
        return MX_OK;
    }
    mx_err err = store_get(call->api->conf.store, &object, call->type, id);
    if (!err) {
        *out_owns = api_owns(call, object);
    }
    json_decref(object);
    return err == MX_ERR_NOTFOUND ? MX_OK : err;
}

mx_err api_create_key(const struct api_call *call, uint64_t *out_id, json_t **out_shown,
                      const json_t *body, struct set_errors *errors)
{
    char secret[API_KEY_TEXT_MAX];
    uint64_t account = 0;
    if (object_id_parse(&account, slice_of_text(call->session->caller->account_id))) {
        account = 0; /* is nobody's */
    }
    mx_err err = api_key_create(call->api->conf.store, out_id, secret, account, body, errors);
    if (!err && errors->count == 0) {
        *out_shown = json_pack("{s:s}", "secret", secret);
    }
    explicit_bzero(secret, sizeof secret);
    return err;
}
