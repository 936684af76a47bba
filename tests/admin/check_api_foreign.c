/* Types whose objects are not in the store: actions, and one of the test's own in the place of a
 * stored type. */
#include "tests/admin/api_support.h"

#include "admin/api_actions.h"

/* Actions ---------------------------------------------------------------------------------- */

struct acted {
    int counts[ACTION_CHANGE_QUEUE + 1];
    mx_err result;
};

static mx_err act(void *arg, const struct api_caller *caller, enum api_action action,
                  const json_t *body, json_t **out_shown, struct set_errors *errors,
                  struct api_problem *problem)
{
    (void)out_shown;
    (void)errors;
    CHECK(json_is_object(body));
    struct acted *acted = arg;
    CHECK_TEXT(caller->name, "admin");
    acted->counts[action]++;
    if (acted->result) {
        snprintf(problem->text, sizeof(problem->text), "cannot read a file");
    }
    return acted->result;
}

static void check_actions(void)
{
    static const char *const names[] = {
        "ReloadSettings", "ReloadTlsCertificates", "ReloadBlockedIps", "ReloadLookupStores",
        "PauseMtaQueue",  "ResumeMtaQueue",        "InvalidateCaches", "InvalidateNegativeCaches"};
    struct acted acted = {0};
    struct api_actions actions = {&acted, act};
    struct api_foreign foreign = api_actions_type(&actions);
    struct api_bed bed;
    char id[OBJECT_ID_TEXT_MAX + 1];
    bed_open_with(&bed, SLICE_EMPTY, &foreign, 1);
    for (size_t i = 0; i < mx_countof(names); i++) {
        char body[64];
        snprintf(body, sizeof(body), "{\"@type\":\"%s\"}", names[i]);
        bed_create(&bed, "Action", body, id);
        CHECK(acted.counts[i] == 1 && id[0]);
    }
    CHECK(bed.prepared == 0 && store_generation(bed.store) == 1);
    EXPECT(&bed, "x:Action/set", "{\"create\":{\"a\":{\"@type\":\"ClassifySpam\"}}}",
           "[\"x:Action/set\",{\"accountId\":\"d333333\",\"notCreated\":{\"a\":{\"type\":"
           "\"invalidPatch\",\"description\":\"@type: 'ClassifySpam' is not supported by ringmx; "
           "it takes 'ReloadSettings', 'ReloadTlsCertificates', 'ReloadBlockedIps', "
           "'ReloadLookupStores', 'PauseMtaQueue', 'ResumeMtaQueue', 'InvalidateCaches', "
           "'InvalidateNegativeCaches', "
           "'ChangeMtaQueue'\",\"properties\":[\"@type\"]}}}]");
    acted.result = MX_ERR_NOTFOUND;
    EXPECT(&bed, "x:Action/set", "{\"create\":{\"a\":{\"@type\":\"ReloadSettings\"}}}",
           "[\"x:Action/set\",{\"accountId\":\"d333333\",\"notCreated\":{\"a\":{\"type\":"
           "\"validationFailed\",\"description\":\"cannot read a file\",\"validationErrors\":[{"
           "\"type\":\"Invalid\",\"property\":\"\",\"value\":\"cannot read a file\"}]}}}]");
    bed.lacks = "actionPauseMtaQueue";
    EXPECT(&bed, "x:Action/set", "{\"create\":{\"a\":{\"@type\":\"PauseMtaQueue\"}}}",
           "[\"x:Action/set\",{\"accountId\":\"d333333\",\"notCreated\":{\"a\":{\"type\":"
           "\"forbidden\",\"description\":\"needs the permission actionPauseMtaQueue\"}}}]");
    CHECK(acted.counts[ACTION_PAUSE_QUEUE] == 1);
    EXPECT(&bed, "x:Action/get", "{\"ids\":[\"b\"]}",
           "[\"x:Action/get\",{\"accountId\":\"d333333\",\"list\":[],\"notFound\":[\"b\"]}]");
    EXPECT(&bed, "x:Action/query", "{}",
           "[\"error\",{\"type\":\"invalidArguments\",\"description\":\"Objects of this type "
           "cannot be listed.\"}]");
    EXPECT(&bed, "x:Action/set", "{\"update\":{\"b\":{}},\"destroy\":[\"b\"]}",
           "[\"x:Action/set\",{\"accountId\":\"d333333\",\"notUpdated\":{\"b\":{\"type\":"
           "\"forbidden\",\"description\":\"objects of the type Action cannot be changed here\"}},"
           "\"notDestroyed\":{\"b\":{\"type\":\"forbidden\",\"description\":\"objects of the type "
           "Action cannot be destroyed here\"}}}]");
    bed_close(&bed);
    /* Without the part of the server that has them they do not exist. */
    bed_open(&bed);
    EXPECT(&bed, "x:Action/get", "{}",
           "[\"error\",{\"type\":\"unknownMethod\",\"description\":\"x:Action/get\"}]");
    bed_close(&bed);
}

/* A type with everything: numbers 1 to 9 -------------------------------------------------- */

struct shelf {
    bool there[10];
    unsigned updates;
};

static mx_err shelf_get(void *arg, json_t **out_object, uint64_t id)
{
    const struct shelf *shelf = arg;
    if (id > 9 || !shelf->there[id]) {
        return MX_ERR_NOTFOUND;
    }
    *out_object = json_pack("{s:i}", "number", (int)id);
    return MX_OK;
}

static mx_err shelf_query(void *arg, struct store_page *page, const struct store_query *query)
{
    const struct shelf *shelf = arg;
    if (query->condition_count) {
        return MX_ERR_UNSUPPORTED;
    }
    for (uint64_t id = 10; id-- > 0;) {
        page->more = page->more || (shelf->there[id] && page->count == query->limit);
        if (shelf->there[id] && !page->more) {
            page->ids[page->count++] = id;
        }
    }
    return MX_OK;
}

static mx_err shelf_update(void *arg, const struct api_caller *caller, uint64_t id,
                           const json_t *patch, struct set_errors *errors)
{
    struct shelf *shelf = arg;
    CHECK_TEXT(caller->name, "admin");
    (void)patch;
    if (id > 9 || !shelf->there[id]) {
        set_error_add(errors, SET_NOT_FOUND, NULL, "no such number");
    } else {
        shelf->updates++;
    }
    return MX_OK;
}

static mx_err shelf_destroy(void *arg, const struct api_caller *caller, uint64_t id,
                            struct set_errors *errors)
{
    struct shelf *shelf = arg;
    (void)caller;
    if (id > 9 || !shelf->there[id]) {
        set_error_add(errors, SET_NOT_FOUND, NULL, "no such number");
    } else {
        shelf->there[id] = false;
    }
    return MX_OK;
}

static void check_shelf(void)
{
    struct shelf shelf = {.there = {false, true, true, true}};
    struct api_foreign foreign = {.type = "Certificate",
                                  .arg = &shelf,
                                  .get = shelf_get,
                                  .query = shelf_query,
                                  .update = shelf_update,
                                  .destroy = shelf_destroy};
    struct api_bed bed;
    bed_open_with(&bed, SLICE_EMPTY, &foreign, 1);
    EXPECT(&bed, "x:Certificate/get", "{}",
           "[\"x:Certificate/get\",{\"accountId\":\"d333333\",\"list\":[{\"number\":3,\"id\":"
           "\"d\"},{\"number\":2,\"id\":\"c\"},{\"number\":1,\"id\":\"b\"}],\"notFound\":[]}]");
    EXPECT(&bed, "x:Certificate/query", "{\"limit\":2}",
           "[\"x:Certificate/query\",{\"accountId\":\"d333333\",\"queryState\":\"1\","
           "\"canCalculateChanges\":false,\"position\":0,\"ids\":[\"d\",\"c\"],\"limit\":2}]");
    EXPECT(&bed, "x:Certificate/query", "{\"filter\":{\"text\":\"x\"}}",
           "[\"error\",{\"type\":\"unsupportedFilter\",\"description\":\"not for this type\"}]");
    EXPECT(&bed, "x:Certificate/set",
           "{\"create\":{\"a\":{}},\"update\":{\"b\":{},\"j\":{}},\"destroy\":[\"c\",\"j\"]}",
           "[\"x:Certificate/set\",{\"accountId\":\"d333333\",\"updated\":{\"b\":null},"
           "\"destroyed\":[\"c\"],\"notCreated\":{\"a\":{\"type\":\"forbidden\",\"description\":"
           "\"objects of the type Certificate cannot be created here\"}},\"notUpdated\":{\"j\":{"
           "\"type\":\"willDestroy\",\"description\":\"is destroyed in the same call\"}},"
           "\"notDestroyed\":{\"j\":{\"type\":\"notFound\",\"description\":\"no such number\"}}}]");
    CHECK(shelf.updates == 1 && !shelf.there[2]);
    bed_close(&bed);
}

int main(void)
{
    check_actions();
    check_shelf();
    return report("check_api_foreign");
}
