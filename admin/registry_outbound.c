/* The table of types: how connections to other mail systems are made. */
#include "admin/registry_private.h"

#define NAME_FIELD(which)                                                                          \
    {                                                                                              \
        .name = "name", .kind = REG_STRING, .format = FORMAT_NAME, .mode = REG_IMMUTABLE,          \
        .flags = REG_REQUIRED | REG_INDEXED | REG_UNIQUE,                                          \
        .description = "What the " which " expression of MtaOutboundStrategy yields to choose it." \
    }
#define TIME_FIELD(field_name, normal, text)                                             \
    {                                                                                    \
        .name = (field_name), .kind = REG_NUMBER, .format = FORMAT_DURATION, .min = 100, \
        .max = 3600 * SECOND_MS, .initial = (normal), .description = (text)              \
    }

/* MtaTlsStrategy ---------------------------------------------------------------------------- */

static const struct reg_enum start_tls = {
    .name = "MtaRequiredOrOptional",
    .values = (const struct reg_enum_value[]){{"optional", "When it is offered"},
                                              {"require", "Always"},
                                              {"disable", "Never"}},
    .count = 3};

static const struct reg_field tls_fields[] = {
    NAME_FIELD("tls"),
    DESCRIPTION_FIELD,
    {.name = "startTls",
     .kind = REG_ENUM,
     .enumeration = &start_tls,
     .initial = "\"optional\"",
     .description =
         "`optional`: when the next hop offers it, with any certificate, as the alternative is "
         "clear "
         "text; when the handshake fails, the same attempt goes on in clear. `require`: mail waits "
         "until there is TLS with a certificate that verifies. No effect under implicit TLS."},
    {.name = "allowInvalidCerts",
     .kind = REG_BOOLEAN,
     .description = "Go on when the certificate of the next hop does not verify, although TLS is "
                    "required or implicit."},
    TIME_FIELD("tlsTimeout", "180000", "How long a handshake may take."),
};
const struct reg_variant reg_tls_strategy_variants[1] = {
    {.label = "TLS strategy",
     .fields = FIELDS(tls_fields),
     .unsupported = "dane mtaSts mtaStsTimeout",
     .note = "DANE and MTA-STS come in a later version."},
};

/* MtaConnectionStrategy --------------------------------------------------------------------- */

static const struct reg_field source_fields[] = {
    {.name = "sourceIp",
     .kind = REG_STRING,
     .format = FORMAT_ADDRESS,
     .flags = REG_REQUIRED,
     .description = "Address of this machine that connections come from."},
    {.name = "ehloHostname",
     .kind = REG_STRING,
     .format = FORMAT_HOSTNAME,
     .flags = REG_NULLABLE,
     .description = "What the server calls itself from there; null: as the strategy says."},
};
static const struct reg_variant source_variants[] = {
    {.label = "Source address", .fields = FIELDS(source_fields)},
};
static const struct reg_shape source_address = {.name = "MtaConnectionIpHost",
                                                .variants = VARIANTS(source_variants)};

static const struct reg_field connection_fields[] = {
    NAME_FIELD("connection"),
    DESCRIPTION_FIELD,
    {.name = "sourceIps",
     .kind = REG_LIST,
     .embedded = &source_address,
     .max = 64,
     .description = "Where connections come from: one of the next hop's family, by chance. Without "
                    "one of its family the system chooses."},
    {.name = "ehloHostname",
     .kind = REG_STRING,
     .format = FORMAT_HOSTNAME,
     .flags = REG_NULLABLE,
     .description = "What the server calls itself; null: SystemSettings.defaultHostname."},
    TIME_FIELD("connectTimeout", "300000",
               "How long a connection may take to come about; 10 seconds at most while there is "
               "another address to try."),
    TIME_FIELD("greetingTimeout", "300000", "How long the next hop may take to greet."),
    TIME_FIELD("ehloTimeout", "300000", "... to answer EHLO."),
    TIME_FIELD("mailFromTimeout", "300000", "... to answer MAIL. RSET has 20 seconds at most."),
    TIME_FIELD("rcptToTimeout", "300000", "... to answer RCPT."),
    TIME_FIELD("dataTimeout", "600000",
               "... to take a message. While it is being sent, no more than 3 minutes may pass "
               "without any of it being taken, and the answer to DATA may take 2."),
};
const struct reg_variant reg_connection_strategy_variants[1] = {
    {.label = "Connection strategy", .fields = FIELDS(connection_fields)},
};
