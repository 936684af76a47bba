/* Questions about the schema document. Names of objects are as in the schema ("x:Domain"). What is
 * returned is borrowed from the document unless something else is said. */
#pragma once

#include "tools/cli/buf.h"

#include <jansson.h>

enum kind {
    KIND_UNKNOWN,
    KIND_STRING,
    KIND_NUMBER,
    KIND_DATE,
    KIND_BOOLEAN,
    KIND_ENUM,
    KIND_BLOB,
    KIND_ID,
    KIND_OBJECT,
    KIND_LIST,
    KIND_SET,
    KIND_MAP,
};

/* The document (new reference), or NULL: it is not a schema. */
json_t *schema_load(const struct buf *document);

/* The member whose name is equal apart from case, or NULL. */
const char *member_nocase(json_t *object, const char *name);

/* The object that is no view by a name as typed, or NULL (not found: no failure is set). */
const char *schema_find_object(json_t *schema, const char *typed);
/* An embedded object, or any other that has a schema, by a name as typed; NULL as there. */
const char *schema_find_embedded(json_t *schema, const char *typed);
/* As schema_find_object; NULL is a failure that says why. */
const char *schema_object(json_t *schema, const char *typed);
bool schema_is_singleton(json_t *schema, const char *object);
/* Without "x:". */
const char *schema_display(const char *object);

/* Array of variants; NULL: the object has none. Works for embedded objects too. */
json_t *schema_variants(json_t *schema, const char *object);
json_t *schema_variant(json_t *schema, const char *object, const char *name, bool nocase);
/* Properties (name -> field) of an object, of its variant at_type if it has variants; NULL: none
 * known. */
json_t *schema_fields(json_t *schema, const char *object, const char *at_type);
/* The values that they have where none is given (name -> value), those that are told; may be NULL.
 */
json_t *schema_defaults(json_t *schema, const char *object, const char *at_type);
/* Properties for a value, whose "@type" tells the variant. */
json_t *schema_fields_of(json_t *schema, const char *object, const json_t *value);
/* New reference: the properties of all variants. */
json_t *schema_all_fields(json_t *schema, const char *object);

/* The list of the object itself, or of a view of it; NULL: none. */
json_t *schema_list(json_t *schema, const char *object);
/* The property by which objects are called; NULL: none. */
const char *schema_label(json_t *schema, const char *object);
/* New reference: array of the properties by which apply finds an object: those that the server
 * names, else that one; NULL: none. */
json_t *schema_match_key(json_t *schema, const char *object);
/* New reference: array of forms that may show an object, the best first. */
json_t *schema_forms(json_t *schema, const char *object, const char *at_type);
/* What a field is called in forms or lists, or NULL. */
const char *schema_field_label(json_t *schema, const char *object, const char *name);
/* The entry of an enum, or NULL. */
json_t *schema_enum(json_t *schema, const char *enum_name, const char *name);
/* Calls each view of the object: new reference, array of names. */
json_t *schema_views(json_t *schema, const char *object);

/* Fields and types. */
json_t *field_type(const json_t *field);
enum kind type_kind(const json_t *type);
bool type_is_format(const json_t *type, const char *format);
bool type_is_secret(const json_t *type);
bool type_is_nullable(const json_t *type);
bool field_is_mode(const json_t *field, const char *mode); /* "mutable", "immutable", "serverSet" */
