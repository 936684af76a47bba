/* The type that says who looks up names. */
#include "admin/registry_private.h"

#define ASKING_FIELDS                                                                            \
    {.name = "timeout",                                                                          \
     .kind = REG_NUMBER,                                                                         \
     .format = FORMAT_DURATION,                                                                  \
     .min = 100,                                                                                 \
     .max = 30 * SECOND_MS,                                                                      \
     .initial = "3000",                                                                          \
     .description = "How long a name server may take before the next one is asked."},            \
    {                                                                                            \
        .name = "attempts", .kind = REG_NUMBER, .format = FORMAT_UNSIGNED, .min = 1, .max = 10,  \
        .initial = "2",                                                                          \
        .description = "How often every name server is asked before a name cannot be looked up " \
                       "for now."                                                                \
    }

static const struct reg_field system_fields[] = {
    {.name = "description",
     .kind = REG_STRING,
     .format = FORMAT_TRIM,
     .flags = REG_NULLABLE,
     .description = "For people."},
};

static const struct reg_field custom_fields[] = {
    {.name = "servers",
     .kind = REG_SET,
     .format = FORMAT_SOCKET,
     .flags = REG_REQUIRED,
     .min = 1,
     .max = 8,
     .description = "Addresses and ports of recursive name servers, such as `192.0.2.53:53`, in "
                    "the order of their text."},
    ASKING_FIELDS,
};

const struct reg_variant reg_dns_variants[2] = {
    {.name = "System",
     .label = "As /etc/resolv.conf says",
     .fields = FIELDS(system_fields),
     .unsupported = "attempts concurrency enableEdns preserveIntermediates tcpOnError timeout",
     .note = "The file is read at the start."},
    {.name = "Custom",
     .label = "These name servers",
     .fields = FIELDS(custom_fields),
     .unsupported = "concurrency enableEdns preserveIntermediates tcpOnError"},
};
