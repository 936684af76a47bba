/* Pages of ids by filter and order, worked out by SQLite on columns and indexes: no object is
 * loaded, and a page after an anchor begins at the anchor, however far in it is. */
#pragma once

#include "admin/store.h"

enum store_compare {
    STORE_EQUAL, /* of a set: has this member; of one that is computed: one with this text in it */
    STORE_GREATER,
    STORE_GREATER_EQUAL,
    STORE_LESS,
    STORE_LESS_EQUAL,
    STORE_CONTAINS, /* any text of the object (store_has_text), without regard to ASCII case */
};

struct store_condition {
    const struct reg_field *field; /* NULL: the variant, and with STORE_CONTAINS all texts */
    enum store_compare compare;
    const json_t *value; /* normal form; borrowed */
};

enum { STORE_CONDITIONS_MAX = 16 };

struct store_query {
    const struct reg_type *type;
    const struct store_condition *conditions; /* all must hold */
    size_t condition_count;
    const struct reg_field *sort; /* NULL: by id */
    bool ascending;
    bool anchored;       /* the page begins at the anchor plus offset, else at offset */
    uint64_t anchor;     /* id of an object that is in the result */
    bool position_known; /* anchor_position is given: nothing has to be counted */
    uint64_t anchor_position;
    int64_t offset; /* negative without anchor: from the end */
    size_t limit;
    bool want_total;
};

struct store_page {
    uint64_t *ids; /* the caller's array of query->limit */
    size_t count;
    bool more;         /* there are results behind the page */
    uint64_t position; /* of the first id in the whole result */
    uint64_t total;    /* with want_total */
};

/* True when objects of the type can be filtered by STORE_CONTAINS. */
bool store_has_text(const struct reg_type *type);
/* MX_ERR_NOTFOUND: the anchor is not in the result. */
MX_MUST_CHECK mx_err store_select(struct store *store, struct store_page *page,
                                  const struct store_query *query);
