/* Shared by the files that make up the table of types. */
#pragma once

#include "admin/registry.h"

#define FIELDS(array) (array), .field_count = mx_countof(array)
#define VARIANTS(array) (array), .variant_count = mx_countof(array)

#define SECOND_MS INT64_C(1000)
#define DAY_MS (86400 * SECOND_MS)

/* A field that most types have. */
#define DESCRIPTION_FIELD                                                                        \
    {                                                                                            \
        .name = "description", .kind = REG_STRING, .format = FORMAT_TEXT, .flags = REG_NULLABLE, \
        .description = "Free text for people; shown in lists and logs of changes."               \
    }

/* registry_addresses.c */
extern const struct reg_variant reg_domain_variants[1], reg_account_variants[2],
    reg_list_variants[1];
/* registry_routes.c */
extern const struct reg_variant reg_route_variants[3], reg_strategy_variants[1];
/* registry_system.c */
extern const struct reg_variant reg_listener_variants[1], reg_settings_variants[1];
/* registry_certificate.c */
extern const struct reg_variant reg_certificate_variants[1];
/* registry_blocked.c */
extern const struct reg_variant reg_blocked_variants[1], reg_allowed_variants[1];
/* registry_sessions.c */
extern const struct reg_variant reg_session_variants[1], reg_stage_rcpt_variants[1],
    reg_stage_data_variants[1];
/* registry_performance.c */
extern const struct reg_variant reg_performance_variants[1];
/* registry_schedule.c */
extern const struct reg_variant reg_virtual_queue_variants[1], reg_schedule_variants[1];
/* registry_dns.c */
extern const struct reg_variant reg_dns_variants[2];
/* registry_stages.c */
extern const struct reg_variant reg_stage_connect_variants[1], reg_stage_ehlo_variants[1],
    reg_stage_mail_variants[1], reg_extension_variants[1], reg_dsn_variants[1];
/* registry_throttle.c */
extern const struct reg_variant reg_inbound_throttle_variants[1];
/* registry_lookup.c */
extern const struct reg_variant reg_lookup_key_variants[1], reg_lookup_key_value_variants[1];
/* registry_access.c: parts of accounts, and types. */
extern const struct reg_shape reg_credential, reg_user_roles, reg_account_permissions, reg_rate;
extern const struct reg_variant reg_role_variants[1], reg_api_key_variants[1],
    reg_security_variants[1];
/* registry_queue.c */
extern const struct reg_variant reg_queued_variants[1], reg_action_variants[9];
extern const struct reg_field reg_queued_filters[10];
/* registry_outbound.c */
extern const struct reg_variant reg_tls_strategy_variants[1], reg_connection_strategy_variants[1];
/* registry_limits.c */
extern const struct reg_variant reg_queue_quota_variants[1], reg_outbound_throttle_variants[1];
