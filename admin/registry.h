/* The object types that an administrator edits, as tables. Validation, defaults, storage, plans,
 * the reference page, the schema, the forms and the help of the command line are all made from
 * them, so a new field is one entry in the registry_*.c of its type (admin/registry_private.h says
 * which). A type or field is here when it has its effect, not before; names of the management
 * contract that have none here are listed per variant and refused by name. */
#pragma once

#include "core/slice.h"
#include "route/expr.h"

enum reg_kind {
    REG_STRING,
    REG_NUMBER,
    REG_BOOLEAN,
    REG_ENUM,
    REG_DATE,       /* RFC 3339 text */
    REG_ID,         /* id text of an object of the type `refers` */
    REG_OBJECT,     /* embedded object of the shape `embedded` */
    REG_LIST,       /* {"0": object, ...} of the shape `embedded` */
    REG_SET,        /* {"member": true, ...}; strings of `format`, ids, or enumerated */
    REG_MAP,        /* {"key": object, ...} of the shape `embedded`; only what the server sets */
    REG_EXPRESSION, /* {"match": {...}, "else": "..."}; results are of `format` */
};

/* What a string, a number, a set's members or an expression's results have to be. */
enum reg_format {
    FORMAT_NONE,
    FORMAT_TEXT,       /* any text without control characters */
    FORMAT_TRIM,       /* the same, without blanks at both ends */
    FORMAT_NAME,       /* letters, digits, '-', '_', '.' */
    FORMAT_DOMAIN,     /* domain name: lower case, A-labels */
    FORMAT_HOSTNAME,   /* fully qualified host name: as a domain name */
    FORMAT_HOST,       /* host name or literal address */
    FORMAT_LOCAL_PART, /* left of the @: lower case */
    FORMAT_EMAIL,      /* address: lower case, A-labels */
    FORMAT_NETWORK,    /* address or CIDR */
    FORMAT_ADDRESS,    /* literal address */
    FORMAT_SOCKET,     /* literal address and port */
    FORMAT_PEM,        /* PEM text, line ends kept */
    FORMAT_SECRET_PEM, /* the same, masked when shown */
    FORMAT_VARIABLE,   /* name of an environment variable */
    FORMAT_PATH,       /* absolute path of a file */
    FORMAT_UNSIGNED,   /* whole number */
    FORMAT_SIZE,       /* bytes */
    FORMAT_DURATION,   /* milliseconds */
    FORMAT_LABEL,      /* the label of an existing object of the type `refers` */
    FORMAT_ID,         /* a set's members: ids of objects of the type `refers` */
    FORMAT_PERMISSION, /* a name of admin/permission.h */
    FORMAT_PASSWORD,   /* sealed by admin/secret.h before it is stored, masked when shown */
};

enum reg_mode {
    REG_MUTABLE,
    REG_IMMUTABLE,
    REG_SERVER_SET,    /* computed when it is shown */
    REG_SERVER_STORED, /* given by the server at creation and stored; fields of whole types only */
};

/* Nobody else may write it. */
static inline bool reg_is_server_mode(enum reg_mode mode)
{
    return mode == REG_SERVER_SET || mode == REG_SERVER_STORED;
}
/* Never shown. */
static inline bool reg_is_secret(enum reg_format format)
{
    return format == FORMAT_SECRET_PEM || format == FORMAT_PASSWORD;
}

enum {
    REG_REQUIRED = 1, /* has no default */
    REG_NULLABLE = 2,
    REG_INDEXED = 4, /* can be filtered by */
    REG_UNIQUE = 8,  /* no two objects of the type may have the same */
    REG_EMPTY = 16,  /* an expression without branches and else is its default */
};

struct reg_enum_value {
    const char *name, *label;
};
struct reg_enum {
    const char *name;
    const struct reg_enum_value *values;
    uint32_t count;
    const char *unsupported; /* values of the contract that are refused by name; NULL = none */
};

struct reg_shape;

struct reg_field {
    const char *name;
    enum reg_kind kind;
    enum reg_format format;
    enum reg_mode mode;
    unsigned flags;
    /* Numbers and constant expressions: range. Strings: length in bytes (max 0 = the default of
     * REG_STRING_MAX). Sets and lists: number of items (max 0 = REG_ITEMS_MAX). */
    int64_t min, max;
    const char *initial; /* default as JSON text; NULL: false, {}, null, or required */
    const char *refers;  /* REG_ID and FORMAT_LABEL: name of a type */
    const struct reg_shape *embedded;
    const struct reg_enum *enumeration;
    enum expr_context context;
    const char *description;
    const char *label; /* in forms; NULL: made from the name */
};

struct reg_variant {
    const char *name; /* value of "@type"; NULL when the shape has one variant without a name */
    const char *label;
    const struct reg_field *fields;
    uint32_t field_count;
    const char *unsupported; /* space-separated names of the contract that are refused by name */
    const char *note;        /* for the reference page; NULL = none */
};

/* What an object looks like: a type of its own or one embedded in others. */
struct reg_shape {
    const char *name;
    const struct reg_variant *variants;
    uint32_t variant_count;
    const char *unsupported; /* variants of the contract that are refused by name; NULL = none */
};

/* Where objects of a type are stored. */
enum reg_storage {
    REG_IN_OBJECTS,
    REG_IN_DOMAINS,
    REG_IN_ACCOUNTS,
    REG_ELSEWHERE, /* not in the store: a part of the server has them (api_foreign) */
};

struct reg_type {
    struct reg_shape shape; /* its name is the type's name, without "x:" */
    bool singleton;
    enum reg_storage storage;
    bool administrative; /* has its effect on the management alone, never on the cores */
    const char *label;   /* the property that names an object for people; NULL = none */
    /* Properties that together are unique, space-separated; NULL = none. */
    const char *unique;
    const char *shown_by; /* without a label: the server-set property that people know it by */
    /* Properties that plans find an object by, space-separated, where that is not the label or what
     * is unique; NULL = it is. */
    const char *match;
    const char *description;
    /* Creating a variant needs the permission of this prefix and its name; NULL = no further one.
     */
    const char *variant_prefix;
    /* The property with the id of the account whose objects these are: nobody else has them, but an
     * administrator without an account has all. NULL = they are everybody's. */
    const char *owner;
    /* Not properties, or other ones under the same name: objects can be filtered by them, and
     * sorted by those that are dates. */
    const struct reg_field *filters;
    uint32_t filter_count;
};

enum {
    REG_STRING_MAX = 255,
    REG_ITEMS_MAX = 1000,
    REG_DEPTH_MAX = 8,     /* embedding of objects in objects */
    REG_NAME_MAX = 64,     /* longest name of a type or field */
    REG_PEM_MAX = 1 << 20, /* certificate chains */
};

/* What secrets are shown as; sent back, it means "unchanged". */
#define REG_MASK "****"

extern const struct reg_type reg_types[];
extern const uint32_t reg_type_count;

/* Case-insensitive, with or without "x:"; NULL when there is none. */
const struct reg_type *reg_type_find(struct slice name);
/* True for a type of the management contract that is not here. Case-insensitive, with or without
 * "x:". */
bool reg_type_unsupported(struct slice name);
/* Exact name. */
const struct reg_field *reg_field_find(const struct reg_variant *variant, struct slice name);
/* Of a shape with named variants by name; of one without: the only one, for any name. */
const struct reg_variant *reg_variant_find(const struct reg_shape *shape, struct slice name);
/* True when the shape has named variants ("@type" is needed). */
bool reg_is_multiple(const struct reg_shape *shape);
/* True when its objects have addresses: accounts and mailing lists. */
bool reg_has_address(const struct reg_type *type);
/* True when word is one of the space-separated words of list (NULL = empty). */
bool reg_has_word(const char *list, struct slice word);
/* The index of the value, or -1. */
int reg_enum_index(const struct reg_enum *enumeration, struct slice name);
