/* What queries ask of an object that is in no column and in no member of its JSON. */
#include "admin/certificate.h"
#include "admin/store_private.h"

/* certificate_names(json): names and addresses that a Certificate is for, each with a newline, as
 * they are shown; NULL when it cannot be read now (a file that is gone). */
static void certificate_names_function(sqlite3_context *context, int count, sqlite3_value **values)
{
    char names[CERTIFICATE_NAMES_MAX];
    struct writer w = writer_init(names, sizeof names);
    (void)count;
    const char *text = (const char *)sqlite3_value_text(values[0]);
    json_t *object = text ? json_loads(text, 0, NULL) : NULL;
    if (object && certificate_names(&w, object) == MX_OK) {
        sqlite3_result_text(context, names, (int)w.len, SQLITE_TRANSIENT);
    } else {
        sqlite3_result_null(context);
    }
    json_decref(object);
}

mx_err store_add_functions(struct store *store)
{
    int rc = sqlite3_create_function(store->db, "certificate_names", 1, SQLITE_UTF8, NULL,
                                     certificate_names_function, NULL, NULL);
    return store_check(store, rc);
}
