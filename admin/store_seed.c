/* The objects that exist from the first start. */
#include "admin/objects.h"
#include "admin/store_private.h"

/* Text of JSON; a test builds all of them. */
#define STEP(key, tens_of_seconds) "\"" key "\":{\"duration\":" tens_of_seconds "0000}"

static const struct {
    unsigned set; /* 1: since ever; a registry that has them gets those of higher sets */
    const char *type;
    uint64_t id;
    const char *text;
} seeds[] = {
    {1, "MtaRoute", STORE_SEED_LOCAL, "{\"@type\":\"Local\",\"name\":\"local\"}"},
    {1, "MtaRoute", STORE_SEED_MX, "{\"@type\":\"Mx\",\"name\":\"mx\"}"},
    {1, "NetworkListener", STORE_SEED_LISTENER, "{\"name\":\"smtp\",\"bind\":{\"[::]:25\":true}}"},
    {2, "MtaVirtualQueue", STORE_SEED_QUEUE_LOCAL, "{\"name\":\"local\",\"threadsPerNode\":25}"},
    {2, "MtaVirtualQueue", STORE_SEED_QUEUE_REMOTE, "{\"name\":\"remote\",\"threadsPerNode\":50}"},
    {2, "MtaVirtualQueue", STORE_SEED_QUEUE_DSN, "{\"name\":\"dsn\",\"threadsPerNode\":5}"},
    {2, "MtaVirtualQueue", STORE_SEED_QUEUE_REPORT, "{\"name\":\"report\",\"threadsPerNode\":5}"},
    {2, "MtaDeliverySchedule", STORE_SEED_SCHEDULE_LOCAL, "{\"name\":\"local\",\"queueId\":\"i\"}"},
    {2, "MtaDeliverySchedule", STORE_SEED_SCHEDULE_REMOTE,
     "{\"name\":\"remote\",\"queueId\":\"j\"}"},
    {2, "MtaDeliverySchedule", STORE_SEED_SCHEDULE_DSN,
     "{\"name\":\"dsn\",\"queueId\":\"k\",\"expiry\":{\"@type\":\"Attempts\",\"maxAttempts\":10},"
     "\"retry\":{\"@type\":\"Custom\",\"intervals\":{" STEP("0", "90") "," STEP(
         "1", "180") "," STEP("2", "360") "," STEP("3", "720") "}}}"},
    {2, "MtaDeliverySchedule", STORE_SEED_SCHEDULE_REPORT,
     "{\"name\":\"report\",\"queueId\":\"l\",\"expiry\":{\"@type\":\"Attempts\",\"maxAttempts\":8},"
     "\"retry\":{\"@type\":\"Custom\",\"intervals\":{" STEP("0", "180") "," STEP(
         "1", "360") "," STEP("2", "720") "}}}"},
    /* A dead host should not hold mail up for as long as the contract's defaults allow. */
    {2, "MtaConnectionStrategy", STORE_SEED_CONNECTION,
     "{\"name\":\"default\",\"connectTimeout\":60000}"},
    {2, "MtaTlsStrategy", STORE_SEED_TLS, "{\"name\":\"default\",\"tlsTimeout\":60000}"},
    {2, "MtaTlsStrategy", STORE_SEED_INVALID_TLS,
     "{\"name\":\"invalid-tls\",\"allowInvalidCerts\":true,\"tlsTimeout\":60000}"},
};

static mx_err add(struct store *store, const char *type_name, uint64_t id, const char *text)
{
    const struct reg_type *type = reg_type_find(slice_of_text(type_name));
    struct set_errors errors;
    errors.count = 0;
    json_t *body = json_loads(text, 0, NULL);
    json_t *object = body ? object_normalize(type, body, NULL, &errors) : NULL;
    struct store_conflict conflict;
    mx_err err = object ? store_write(store, type, id, NULL, object, &conflict)
                        : store_no_memory(store); /* the text is right: a test builds it */
    json_decref(object);
    json_decref(body);
    return err;
}

mx_err store_seed(struct store *store, uint64_t have)
{
    mx_err err = MX_OK;
    for (size_t i = 0; !err && i < mx_countof(seeds); i++) {
        if (seeds[i].set > have) {
            err = add(store, seeds[i].type, seeds[i].id, seeds[i].text);
        }
    }
    return err;
}
