/* Changes that somebody asks for, for the tests of who may change what. */
#pragma once

#include "tests/admin/auth_support.h"

#include "admin/access.h"

static inline void sign_in(struct world *w)
{
    CHECK(try_basic(w, "ann@example.org", ANN_SECRET) == AUTH_OK);
}

/* Who has signed in last. */
static inline struct access_caller caller_of(const struct world *w)
{
    return (struct access_caller){
        .permissions = w->caller.permissions, .account = w->caller.account, .key = w->caller.key};
}

static inline const char *check_wish(struct world *w, const struct store_wish *wish)
{
    const struct access_caller caller = caller_of(w);
    struct set_errors errors;
    errors.count = 0;
    first_error[0] = '\0';
    CHECK(access_check_change(w->store, &caller, wish, &errors) == MX_OK);
    if (errors.count) {
        CHECK(errors.items[0].type == SET_FORBIDDEN);
        snprintf(first_error, sizeof first_error, "%s%s%s", errors.items[0].property,
                 errors.items[0].property[0] ? ": " : "", errors.items[0].text);
    }
    return first_error;
}

/* Takes both values; NULL: none. */
static inline const char *check_change_of(struct world *w, const char *type, uint64_t id,
                                          json_t *before, json_t *after)
{
    struct store_wish wish = {.type = type_of(type), .id = id, .before = before, .after = after};
    const char *error = check_wish(w, &wish);
    json_decref(before);
    json_decref(after);
    return error;
}

static inline const char *check_change(struct world *w, const char *type, json_t *before,
                                       json_t *after)
{
    return check_change_of(w, type, 0, before, after);
}

static inline json_t *account_with(const char *secret, const char *roles)
{
    return json_of("{\"@type\":\"User\",\"credentials\":{\"0\":{\"secret\":\"%s\"}},\"roles\":%s,"
                   "\"permissions\":{\"@type\":\"Inherit\"}}",
                   secret, roles);
}

#define USER "{\"@type\":\"User\"}"

#define ADMIN "{\"@type\":\"Admin\"}"

static inline mx_err guard(void *arg, const struct store_wish *wish, struct set_errors *errors)
{
    struct world *w = arg;
    const struct access_caller caller = caller_of(w);
    return access_check_change(w->store, &caller, wish, errors);
}
