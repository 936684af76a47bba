/* The types that say when and how many deliveries are tried. */
#include "admin/registry_private.h"
#include "route/image.h"

#define NAME_FIELD(bytes, text)                                                    \
    {                                                                              \
        .name = "name", .kind = REG_STRING, .format = FORMAT_NAME, .max = (bytes), \
        .mode = REG_IMMUTABLE, .flags = REG_REQUIRED | REG_INDEXED | REG_UNIQUE,   \
        .description = (text)                                                      \
    }

/* MtaVirtualQueue --------------------------------------------------------------------------- */

static const struct reg_field queue_fields[] = {
    NAME_FIELD(QUEUE_NAME_MAX, "Name of the queue in logs, and in expressions as queue_name."),
    DESCRIPTION_FIELD,
    {.name = "threadsPerNode",
     .kind = REG_NUMBER,
     .format = FORMAT_UNSIGNED,
     .min = 1,
     .max = 1000000,
     .initial = "25",
     .description = "Deliveries of this queue at a time on this server: transactions with next "
                    "hops, and batches for mailboxes. Divided among the cores; where there are "
                    "fewer, they go round. What waits for its turn holds up nothing of other "
                    "queues."},
};
const struct reg_variant reg_virtual_queue_variants[1] = {
    {.label = "Virtual queue",
     .fields = FIELDS(queue_fields),
     .note = "There are at most 16. `local` (25), `remote` (50), `dsn` (5) and `report` (5) exist "
             "from the first start."},
};

/* MtaDeliverySchedule ----------------------------------------------------------------------- */

static const struct reg_field interval_fields[] = {
    {.name = "duration",
     .kind = REG_NUMBER,
     .format = FORMAT_DURATION,
     .min = SECOND_MS,
     .max = 30 * DAY_MS,
     .initial = "3600000",
     .description = "How long."},
};
static const struct reg_variant interval_variants[] = {
    {.label = "Interval", .fields = FIELDS(interval_fields)},
};
static const struct reg_shape interval = {.name = "MtaDeliveryScheduleInterval",
                                          .variants = VARIANTS(interval_variants)};

static const struct reg_field retry_fields[] = {
    {.name = "intervals",
     .kind = REG_LIST,
     .embedded = &interval,
     .flags = REG_REQUIRED,
     .min = 1,
     .max = SCHEDULE_STEPS_MAX,
     .description = "One after another; for retry the last one repeats."},
};
static const struct reg_variant retry_variants[] = {
    {.name = "Default", .label = "As usual"},
    {.name = "Custom", .label = "As given here", .fields = FIELDS(retry_fields)},
};
static const struct reg_shape intervals = {.name = "MtaDeliveryScheduleIntervalsOrDefault",
                                           .variants = VARIANTS(retry_variants)};

static const struct reg_field ttl_fields[] = {
    {.name = "expire",
     .kind = REG_NUMBER,
     .format = FORMAT_DURATION,
     .min = SECOND_MS,
     .max = 365 * DAY_MS,
     .initial = "259200000",
     .description = "Age at which a failure becomes final. The last attempt is made then."},
};
static const struct reg_field attempts_fields[] = {
    {.name = "maxAttempts",
     .kind = REG_NUMBER,
     .format = FORMAT_UNSIGNED,
     .min = 1,
     .max = SCHEDULE_ATTEMPTS_MAX,
     .initial = "5",
     .description = "Attempts after which a failure is final. One made for a report of delay does "
                    "not count."},
};
static const struct reg_variant expiry_variants[] = {
    {.name = "Ttl", .label = "After a time", .fields = FIELDS(ttl_fields)},
    {.name = "Attempts", .label = "After some attempts", .fields = FIELDS(attempts_fields)},
};
static const struct reg_shape expiry = {.name = "MtaDeliveryExpiration",
                                        .variants = VARIANTS(expiry_variants)};

static const struct reg_field schedule_fields[] = {
    NAME_FIELD(64, "What the schedule expression of MtaOutboundStrategy yields to choose it."),
    DESCRIPTION_FIELD,
    {.name = "queueId",
     .kind = REG_ID,
     .refers = "MtaVirtualQueue",
     .flags = REG_REQUIRED,
     .description = "Whose workers its deliveries take."},
    {.name = "retry",
     .kind = REG_OBJECT,
     .embedded = &intervals,
     .initial = "{\"@type\":\"Default\"}",
     .description = "Waits between attempts, each a tenth more or less. Default: 2m, 5m, 10m, "
                    "15m, 30m, 1h, 2h, 1d, 3d."},
    {.name = "notify",
     .kind = REG_OBJECT,
     .embedded = &intervals,
     .initial = "{\"@type\":\"Default\"}",
     .description =
         "Ages at which the sender is told of a delay, if he wants to know (NOTIFY). An "
         "attempt is made at that time, so that what he reads is true. Default: 1d, 3d."},
    {.name = "expiry",
     .kind = REG_OBJECT,
     .embedded = &expiry,
     .initial = "{\"@type\":\"Ttl\",\"expire\":259200000}",
     .description = "When it is given up: the sender gets a report with status 5.4.7 and the last "
                    "reply."},
};
const struct reg_variant reg_schedule_variants[1] = {
    {.label = "Delivery schedule",
     .fields = FIELDS(schedule_fields),
     .note = "`local` and `remote` (3 days), `dsn` (10 attempts: 15m, 30m, 1h, 2h) and `report` (8 "
             "attempts: 30m, 1h, 2h) exist from the first start. A change holds for queued mail "
             "from its next attempt on; waits that are longer than any that is left end at once."},
};
