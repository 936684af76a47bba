/* What can be tuned: made from route/performance.def. */
#include "admin/registry_private.h"

#define DIGITS_OF(number) #number
#define DIGITS(number) DIGITS_OF(number)

static const struct reg_field performance_fields[] = {
#define PERFORMANCE(member, property, number_format, least, most, normal, help) \
    {.name = (property),                                                        \
     .kind = REG_NUMBER,                                                        \
     .format = FORMAT_##number_format,                                          \
     .min = (least),                                                            \
     .max = (most),                                                             \
     .initial = DIGITS(normal),                                                 \
     .description = (help)},
#include "route/performance.def"
#undef PERFORMANCE
    {.name = "contentMemory",
     .kind = REG_NUMBER,
     .format = FORMAT_SIZE,
     .flags = REG_NULLABLE,
     .min = 1 << 20,
     .max = INT64_C(1) << 40,
     .initial = "null",
     .description =
         "Memory for content and output; null: as --memory of ringmx serve says. Raise it when "
         "ringmx_sessions_refused_total with the reason memory grows, or "
         "ringmx_pool_used_peak_bytes "
         "of the pool blocks is near ringmx_pool_limit_bytes."},
};
const struct reg_variant reg_performance_variants[1] = {
    {.label = "Performance",
     .fields = FIELDS(performance_fields),
     .note = "All of it holds for each core and is in force when the change is answered. "
             "`ringmx reference statistics` explains the statistics."},
};
