/* Who may not connect, and who always may. */
#include "admin/registry_private.h"

static const struct reg_enum block_reason = {
    .name = "BlockReason",
    .values = (const struct reg_enum_value[]){{"manual", "By an administrator"},
                                              {"rcptToFailure", "Refused recipients"},
                                              {"authFailure", "Failed sign-ins"},
                                              {"loitering", "Sessions that never end"},
                                              {"portScanning", "Nonsense on a port"},
                                              {"other", "Other"}},
    .count = 6};

#define NETWORK_FIELD(text)                                                                     \
    {                                                                                           \
        .name = "address", .kind = REG_STRING, .format = FORMAT_NETWORK, .mode = REG_IMMUTABLE, \
        .flags = REG_REQUIRED | REG_INDEXED | REG_UNIQUE, .description = (text)                 \
    }
#define EXPIRES_FIELD                                                                        \
    {                                                                                        \
        .name = "expiresAt", .kind = REG_DATE, .flags = REG_NULLABLE,                        \
        .description = "From then on it has no effect any more; null: it holds until it is " \
                       "deleted."                                                            \
    }
#define CREATED_FIELD                                                  \
    {                                                                  \
        .name = "createdAt", .kind = REG_DATE, .mode = REG_SERVER_SET, \
        .description = "When it was made."                             \
    }

static const struct reg_field blocked_fields[] = {
    NETWORK_FIELD("Address or network whose connections are closed without a word. Loopback, "
                  "AllowedIp and the networks of trusted proxies are never blocked."),
    EXPIRES_FIELD,
    {.name = "reason",
     .kind = REG_ENUM,
     .enumeration = &block_reason,
     .initial = "\"manual\"",
     .description = "Why it is blocked."},
    CREATED_FIELD,
};
const struct reg_variant reg_blocked_variants[1] = {
    {.label = "Blocked address", .fields = FIELDS(blocked_fields)},
};
static const struct reg_field allowed_fields[] = {
    NETWORK_FIELD("Address or network that is never blocked."),
    EXPIRES_FIELD,
    {.name = "reason",
     .kind = REG_STRING,
     .format = FORMAT_TRIM,
     .flags = REG_NULLABLE,
     .description = "Why it is allowed."},
    CREATED_FIELD,
};
const struct reg_variant reg_allowed_variants[1] = {
    {.label = "Allowed address", .fields = FIELDS(allowed_fields)},
};
