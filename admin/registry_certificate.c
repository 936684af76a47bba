/* TLS certificates: given as text, in the environment or in files. */
#include "admin/registry_private.h"

#define VARIABLE_FIELD                                                                            \
    {                                                                                             \
        .name = "variableName", .kind = REG_STRING, .format = FORMAT_VARIABLE,                    \
        .flags = REG_REQUIRED, .description = "Environment variable of the server that holds it." \
    }
#define PATH_FIELD                                                                                \
    {                                                                                             \
        .name = "filePath", .kind = REG_STRING, .format = FORMAT_PATH, .max = 4095,               \
        .flags = REG_REQUIRED, .description = "Absolute path of a file that the server may read." \
    }

static const struct reg_field public_text_fields[] = {
    {.name = "value",
     .kind = REG_STRING,
     .format = FORMAT_PEM,
     .flags = REG_REQUIRED,
     .max = REG_PEM_MAX,
     .description = "The text itself."},
};
static const struct reg_field secret_text_fields[] = {
    {.name = "secret",
     .kind = REG_STRING,
     .format = FORMAT_SECRET_PEM,
     .flags = REG_REQUIRED,
     .max = REG_PEM_MAX,
     .description = "The text itself; shown as ****."},
};
static const struct reg_field variable_fields[] = {VARIABLE_FIELD};
static const struct reg_field path_fields[] = {PATH_FIELD};

static const struct reg_variant public_text_variants[] = {
    {.name = "Text", .label = "Given here", .fields = FIELDS(public_text_fields)},
    {.name = "EnvironmentVariable",
     .label = "In the environment",
     .fields = FIELDS(variable_fields)},
    {.name = "File", .label = "In a file", .fields = FIELDS(path_fields)},
};
static const struct reg_variant secret_text_variants[] = {
    {.name = "Text", .label = "Given here", .fields = FIELDS(secret_text_fields)},
    {.name = "EnvironmentVariable",
     .label = "In the environment",
     .fields = FIELDS(variable_fields)},
    {.name = "File", .label = "In a file", .fields = FIELDS(path_fields)},
};
static const struct reg_shape public_text = {.name = "PublicText",
                                             .variants = VARIANTS(public_text_variants)};
static const struct reg_shape secret_text = {.name = "SecretText",
                                             .variants = VARIANTS(secret_text_variants)};

static const struct reg_field certificate_fields[] = {
    {.name = "certificate",
     .kind = REG_OBJECT,
     .embedded = &public_text,
     .flags = REG_REQUIRED,
     .description = "Chain as PEM, the server's certificate first."},
    {.name = "privateKey",
     .kind = REG_OBJECT,
     .embedded = &secret_text,
     .flags = REG_REQUIRED,
     .description = "Key of the first certificate as PEM; checked against it."},
    {.name = "subjectAlternativeNames",
     .kind = REG_SET,
     .format = FORMAT_TEXT,
     .mode = REG_SERVER_SET,
     .flags = REG_INDEXED,
     .description = "Names and addresses that it is for; read from the certificate. Filtered by a "
                    "part of one."},
    {.name = "issuer",
     .kind = REG_STRING,
     .format = FORMAT_TEXT,
     .mode = REG_SERVER_SET,
     .description = "Who has issued it; read from the certificate."},
    {.name = "notValidBefore",
     .kind = REG_DATE,
     .mode = REG_SERVER_SET,
     .description = "Read from the certificate."},
    {.name = "notValidAfter",
     .kind = REG_DATE,
     .mode = REG_SERVER_SET,
     .description = "Read from the certificate."},
};
const struct reg_variant reg_certificate_variants[1] = {
    {.label = "Certificate", .fields = FIELDS(certificate_fields)},
};
