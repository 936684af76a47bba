/* The table of types: who may sign in, and what he may do then. */
#include "admin/registry_private.h"

/* Who may sign in, and from where: of passwords and of API keys. */
#define EXPIRES_FIELD                                                 \
    {                                                                 \
        .name = "expiresAt", .kind = REG_DATE, .flags = REG_NULLABLE, \
        .description = "From then on it is refused; null: never."     \
    }
#define ALLOWED_IPS_FIELD                                                              \
    {                                                                                  \
        .name = "allowedIps", .kind = REG_SET, .format = FORMAT_NETWORK,               \
        .description = "It is good from these addresses only. Empty: from everywhere." \
    }
#define PERMISSION_SET_FIELD(field_name, text)                                                    \
    {                                                                                             \
        .name = (field_name), .kind = REG_SET, .format = FORMAT_PERMISSION, .description = (text) \
    }

static const struct reg_field password_fields[] = {
    {.name = "secret",
     .kind = REG_STRING,
     .format = FORMAT_PASSWORD,
     .flags = REG_REQUIRED,
     .description = "The password, 8 to 128 bytes and none that is guessed first, or its argon2id "
                    "hash (`$argon2id$...`). Stored "
                    "as a hash, shown as ****; **** sent back, or nothing, leaves it as it is."},
    EXPIRES_FIELD,
    ALLOWED_IPS_FIELD,
};
static const struct reg_variant credential_variants[] = {
    {.name = "Password",
     .label = "Password",
     .fields = FIELDS(password_fields),
     .unsupported = "otpAuth credentialId"},
};
const struct reg_shape reg_credential = {.name = "Credential",
                                         .variants = VARIANTS(credential_variants),
                                         .unsupported = "AppPassword ApiKey"};

#define ROLE_IDS_FIELD                                                                        \
    {                                                                                         \
        .name = "roleIds", .kind = REG_SET, .format = FORMAT_ID, .refers = "Role", .max = 32, \
        .description = "Roles whose permissions it has as well."                              \
    }

static const struct reg_field custom_roles_fields[] = {ROLE_IDS_FIELD};
static const struct reg_variant user_roles_variants[] = {
    {.name = "User", .label = "Ordinary user", .note = "May have API keys of its own."},
    {.name = "Admin", .label = "Administrator", .note = "Has every permission."},
    {.name = "Custom", .label = "By roles", .fields = FIELDS(custom_roles_fields)},
};
const struct reg_shape reg_user_roles = {.name = "UserRoles",
                                         .variants = VARIANTS(user_roles_variants)};

static const struct reg_field permission_list_fields[] = {
    PERMISSION_SET_FIELD("enabledPermissions", "What it may do."),
    PERMISSION_SET_FIELD("disabledPermissions", "What it may not do, whatever else says it may."),
};
static const struct reg_variant permissions_variants[] = {
    {.name = "Inherit", .label = "As the roles say"},
    {.name = "Merge",
     .label = "In addition to the roles",
     .fields = FIELDS(permission_list_fields)},
    {.name = "Replace", .label = "Instead of the roles", .fields = FIELDS(permission_list_fields)},
};
const struct reg_shape reg_account_permissions = {.name = "Permissions",
                                                  .variants = VARIANTS(permissions_variants)};

/* Role -------------------------------------------------------------------------------------- */

static const struct reg_field role_fields[] = {
    {.name = "description",
     .kind = REG_STRING,
     .format = FORMAT_TRIM,
     .flags = REG_REQUIRED | REG_INDEXED,
     .description = "What people call the role."},
    PERMISSION_SET_FIELD("enabledPermissions", "What it allows."),
    PERMISSION_SET_FIELD("disabledPermissions",
                         "What it forbids, also when another role of the same account allows it."),
    ROLE_IDS_FIELD,
};
const struct reg_variant reg_role_variants[1] = {
    {.label = "Role",
     .fields = FIELDS(role_fields),
     .unsupported = "memberTenantId",
     .note = "Changed and removed only by who has all that it gives, while no account has it that "
             "may do more than he."},
};

/* ApiKey ------------------------------------------------------------------------------------ */

static const struct reg_field key_permissions_fields[] = {
    PERMISSION_SET_FIELD("permissions", "Names of permissions."),
};
static const struct reg_variant key_permissions_variants[] = {
    {.name = "Inherit", .label = "As its account"},
    {.name = "Disable",
     .label = "As its account, without these",
     .fields = FIELDS(key_permissions_fields)},
    {.name = "Replace",
     .label = "These only, as far as its account has them",
     .fields = FIELDS(key_permissions_fields)},
};
static const struct reg_shape key_permissions = {.name = "CredentialPermissions",
                                                 .variants = VARIANTS(key_permissions_variants)};

static const struct reg_field api_key_fields[] = {
    {.name = "description",
     .kind = REG_STRING,
     .format = FORMAT_TRIM,
     .flags = REG_REQUIRED,
     .description = "What the key is for."},
    EXPIRES_FIELD,
    ALLOWED_IPS_FIELD,
    {.name = "permissions",
     .kind = REG_OBJECT,
     .embedded = &key_permissions,
     .initial = "{\"@type\":\"Inherit\"}",
     .description = "What may be done with it; never more than its account may."},
    /* No link: it goes with its account, and does not hold it. */
    {.name = "accountId",
     .kind = REG_STRING,
     .mode = REG_SERVER_STORED,
     .description = "Id of the account that made it and that it acts for."},
    {.name = "createdAt",
     .kind = REG_DATE,
     .mode = REG_SERVER_SET,
     .description = "When it was made."},
    {.name = "secret",
     .kind = REG_STRING,
     .format = FORMAT_PASSWORD,
     .mode = REG_SERVER_STORED,
     .description = "What to send as `Authorization: Bearer`; in the answer to the creation only, "
                    "**** ever after."},
};
const struct reg_variant reg_api_key_variants[1] = {
    {.label = "API key",
     .fields = FIELDS(api_key_fields),
     .note = "May do no more, ends no later and is good from no more addresses than what its maker "
             "has signed in with; so it neither widens nor prolongs itself."},
};

/* Security ---------------------------------------------------------------------------------- */

static const struct reg_field rate_fields[] = {
    {.name = "count",
     .kind = REG_NUMBER,
     .format = FORMAT_UNSIGNED,
     .flags = REG_REQUIRED,
     .min = 1,
     .max = 1000000,
     .description = "How often"},
    {.name = "period",
     .kind = REG_NUMBER,
     .format = FORMAT_DURATION,
     .flags = REG_REQUIRED,
     .min = 1,
     .max = 365 * DAY_MS,
     .description = "in how long."},
};
static const struct reg_variant rate_variants[] = {
    {.label = "Rate", .fields = FIELDS(rate_fields)},
};
const struct reg_shape reg_rate = {.name = "Rate", .variants = VARIANTS(rate_variants)};

#define BAN_RATE_FIELD(field_name, rate_text, text)                                             \
    {                                                                                           \
        .name = (field_name), .kind = REG_OBJECT, .embedded = &reg_rate, .flags = REG_NULLABLE, \
        .initial = (rate_text), .description = (text)                                           \
    }
#define BAN_PERIOD_FIELD(field_name)                                                  \
    {                                                                                 \
        .name = (field_name), .kind = REG_NUMBER, .format = FORMAT_DURATION,          \
        .flags = REG_NULLABLE, .min = 1, .max = 3650 * DAY_MS, .initial = "86400000", \
        .description = "For how long; null: until the BlockedIp is deleted."          \
    }

static const struct reg_field security_fields[] = {
    BAN_RATE_FIELD("authBanRate", "{\"count\":100,\"period\":86400000}",
                   "Failed sign-ins of a client, or under one login name that it tried as well, "
                   "that are tolerated; then its address becomes a BlockedIp. null: any number."),
    BAN_PERIOD_FIELD("authBanPeriod"),
    BAN_RATE_FIELD("abuseBanRate", "{\"count\":35,\"period\":86400000}",
                   "Refused recipients (no such user, relaying) of a client that are tolerated. Of "
                   "large senders many are in good faith: raise it, or null, where such write."),
    BAN_PERIOD_FIELD("abuseBanPeriod"),
    BAN_RATE_FIELD(
        "loiterBanRate", "{\"count\":150,\"period\":86400000}",
        "Sessions that had to be ended after MtaInboundSession.maxDuration without having "
        "brought a message, or because they were too slow (minDataRate, replies not "
        "read)."),
    BAN_PERIOD_FIELD("loiterBanPeriod"),
    BAN_RATE_FIELD("scanBanRate", "{\"count\":30,\"period\":86400000}",
                   "SMTP commands that do not exist, and HTTP requests that are malformed."),
    BAN_PERIOD_FIELD("scanBanPeriod"),
    {.name = "scanBanPaths",
     .kind = REG_SET,
     .format = FORMAT_TEXT,
     .initial = "{\"*.php*\":true,\"*.cgi*\":true,\"*.asp*\":true,\"*/wp-*\":true,"
                "\"*/php*\":true,\"*/cgi-bin*\":true,\"*xmlrpc*\":true,\"*../*\":true,"
                "\"*/..*\":true,\"*joomla*\":true,\"*wordpress*\":true,\"*drupal*\":true}",
     .description = "Paths of HTTP requests, `*` for any text. Who asks for one is banned at once, "
                    "for scanBanPeriod."},
    {.name = "ipv6PrefixLength",
     .kind = REG_NUMBER,
     .format = FORMAT_UNSIGNED,
     .min = 32,
     .max = 128,
     .initial = "64",
     .description = "All IPv6 addresses that agree in so many bits are one client."},
};
const struct reg_variant reg_security_variants[1] = {
    {.label = "Security",
     .fields = FIELDS(security_fields),
     .note =
         "A ban is a BlockedIp with a reason and, as a rule, an expiry; delete it to lift the "
         "ban. Counted is by client, in fixed windows that begin with the first offence and that "
         "a restart empties. Loopback, AllowedIp and the networks of trusted proxies are never "
         "banned."},
};
