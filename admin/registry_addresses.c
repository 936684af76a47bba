/* The types that give addresses to mail: domains, accounts with their aliases, mailing lists. */
#include "admin/registry_private.h"
#include "route/list.h"

/* Domain ------------------------------------------------------------------------------------ */

static const struct reg_variant sub_addressing_variants[] = {
    {.name = "Enabled", .label = "Cut the local part at the first +"},
    {.name = "Disabled", .label = "Take the local part as it is"},
};
static const struct reg_shape sub_addressing = {.name = "SubAddressing",
                                                .variants = sub_addressing_variants,
                                                .variant_count = 2,
                                                .unsupported = "Custom"};

static const struct reg_enum recipient_verification = {
    .name = "RecipientVerification",
    .values = (const struct reg_enum_value[]){{"disable", "Do not ask"},
                                              {"accept", "Ask; accept when nobody can say"},
                                              {"defer", "Ask; 451 when nobody can say"}},
    .count = 3};

static const struct reg_field domain_fields[] = {
    {.name = "name",
     .kind = REG_STRING,
     .format = FORMAT_DOMAIN,
     .flags = REG_REQUIRED | REG_INDEXED | REG_UNIQUE,
     .description = "The domain. International names are stored as A-labels. No other domain may "
                    "have it as its name or alias."},
    {.name = "aliases",
     .kind = REG_SET,
     .format = FORMAT_DOMAIN,
     .flags = REG_INDEXED | REG_UNIQUE,
     .description = "Further names of the same domain: every address of it exists under each."},
    DESCRIPTION_FIELD,
    {.name = "isEnabled",
     .kind = REG_BOOLEAN,
     .initial = "true",
     .description = "When off, the domain is not served: as if it were not here."},
    {.name = "allowRelaying",
     .kind = REG_BOOLEAN,
     .description = "Accept recipients that have no account here and send them where the route "
                    "expression says. For split delivery while accounts move."},
    {.name = "verifyRecipients",
     .kind = REG_ENUM,
     .enumeration = &recipient_verification,
     .initial = "\"disable\"",
     .description = "Whether the relay that a recipient without an account here would go to is "
                    "asked first if it has such a recipient, so that the others are refused (550 "
                    "5.1.1) instead of being returned to senders who are often forged. Has an "
                    "effect with allowRelaying, on routes of the type Relay. Performance has its "
                    "times and bounds. Where the tls expression of MtaOutboundStrategy chooses by "
                    "recipient, questions go with optional TLS, whoever they are about."},
    {.name = "catchAllAddress",
     .kind = REG_STRING,
     .format = FORMAT_EMAIL,
     .flags = REG_NULLABLE,
     .description = "Gets mail for local parts that do not exist. Never used while "
                    "allowRelaying is on."},
    {.name = "subAddressing",
     .kind = REG_OBJECT,
     .embedded = &sub_addressing,
     .initial = "{\"@type\":\"Enabled\"}",
     .description = "Whether alice+tag@ reaches alice@."},
};
const struct reg_variant reg_domain_variants[1] = {
    {.label = "Domain",
     .fields = FIELDS(domain_fields),
     .unsupported = "certificateManagement dkimManagement dnsManagement reportAddressUri logo "
                    "directoryId memberTenantId createdAt dnsZoneFile"},
};

/* Account ----------------------------------------------------------------------------------- */

static const struct reg_field alias_fields[] = {
    {.name = "enabled",
     .kind = REG_BOOLEAN,
     .initial = "true",
     .description = "When off, the address does not exist."},
    {.name = "name",
     .kind = REG_STRING,
     .format = FORMAT_LOCAL_PART,
     .flags = REG_REQUIRED,
     .description = "Local part of the further address."},
    {.name = "domainId",
     .kind = REG_ID,
     .refers = "Domain",
     .flags = REG_REQUIRED,
     .description = "Domain of the further address."},
    DESCRIPTION_FIELD,
};
static const struct reg_variant alias_variants[] = {
    {.label = "Alias", .fields = FIELDS(alias_fields)},
};
static const struct reg_shape email_alias = {
    .name = "EmailAlias", .variants = alias_variants, .variant_count = 1};

static const struct reg_field user_fields[] = {
    {.name = "name",
     .kind = REG_STRING,
     .format = FORMAT_LOCAL_PART,
     .flags = REG_REQUIRED | REG_INDEXED,
     .label = "Username",
     .description = "Local part of the address, lower case."},
    {.name = "domainId",
     .kind = REG_ID,
     .refers = "Domain",
     .flags = REG_REQUIRED | REG_INDEXED,
     .description = "Domain of the address."},
    {.name = "emailAddress",
     .kind = REG_STRING,
     .format = FORMAT_EMAIL,
     .mode = REG_SERVER_SET,
     .description = "name@domain."},
    DESCRIPTION_FIELD,
    {.name = "aliases",
     .kind = REG_LIST,
     .embedded = &email_alias,
     .description = "Further addresses whose mail goes into the same mailbox. No address may "
                    "exist twice on this server."},
    {.name = "credentials",
     .kind = REG_LIST,
     .embedded = &reg_credential,
     .max = 1,
     .description = "How it signs in to the management. Without any it cannot, and its API keys "
                    "are removed."},
    {.name = "roles",
     .kind = REG_OBJECT,
     .embedded = &reg_user_roles,
     .initial = "{\"@type\":\"User\"}",
     .description = "What it may do."},
    {.name = "permissions",
     .kind = REG_OBJECT,
     .embedded = &reg_account_permissions,
     .initial = "{\"@type\":\"Inherit\"}",
     .description = "Changes to what its roles say."},
};
/* An address of its own and further ones. */
#define LOCAL_PART_FIELD                                                 \
    {                                                                    \
        .name = "name", .kind = REG_STRING, .format = FORMAT_LOCAL_PART, \
        .flags = REG_REQUIRED | REG_INDEXED,                             \
        .description = "Local part of the address, lower case."          \
    }
#define DOMAIN_ID_FIELD                                                              \
    {                                                                                \
        .name = "domainId", .kind = REG_ID, .refers = "Domain",                      \
        .flags = REG_REQUIRED | REG_INDEXED, .description = "Domain of the address." \
    }
#define EMAIL_ADDRESS_FIELD                                                 \
    {                                                                       \
        .name = "emailAddress", .kind = REG_STRING, .format = FORMAT_EMAIL, \
        .mode = REG_SERVER_SET, .description = "name@domain."               \
    }
#define ALIASES_FIELD                                                                  \
    {                                                                                  \
        .name = "aliases", .kind = REG_LIST, .embedded = &email_alias,                 \
        .description = "Further addresses. No address may exist twice on this server." \
    }

static const struct reg_field group_fields[] = {
    LOCAL_PART_FIELD, DOMAIN_ID_FIELD, EMAIL_ADDRESS_FIELD, DESCRIPTION_FIELD, ALIASES_FIELD,
};
const struct reg_variant reg_account_variants[2] = {
    {.name = "User",
     .label = "User account",
     .fields = FIELDS(user_fields),
     .unsupported = "memberGroupIds quotas locale timeZone encryptionAtRest memberTenantId "
                    "usedDiskQuota createdAt"},
    {.name = "Group",
     .label = "Group account",
     .fields = FIELDS(group_fields),
     .unsupported = "roles permissions quotas locale timeZone memberTenantId usedDiskQuota "
                    "createdAt",
     .note = "A mailbox of its own that several people read: mail to the group is delivered into "
             "it, once. To send mail on to people, use a MailingList."},
};

/* MailingList ------------------------------------------------------------------------------- */

static const struct reg_field list_fields[] = {
    LOCAL_PART_FIELD,
    DOMAIN_ID_FIELD,
    EMAIL_ADDRESS_FIELD,
    DESCRIPTION_FIELD,
    ALIASES_FIELD,
    {.name = "recipients",
     .kind = REG_SET,
     .format = FORMAT_EMAIL,
     .max = LIST_MEMBERS_MAX,
     .description = "The members: addresses anywhere, also of other lists (up to eight in a row). "
                    "Mail to a list without members is returned to its sender (5.1.1)."},
};
const struct reg_variant reg_list_variants[1] = {
    {.label = "Mailing list",
     .fields = FIELDS(list_fields),
     .unsupported = "memberTenantId",
     .note = "Mail to the list becomes new messages to its members, with the sender it came with; "
             "`Delivered-To` with the list's address stands on top, and a message that has it "
             "already is a loop and is returned (5.4.6). Each member goes where the route "
             "expression says. A sender who asked for it (NOTIFY=SUCCESS) is told `expanded`; "
             "failures and delays of members are reported to the sender as of any recipient."},
};
