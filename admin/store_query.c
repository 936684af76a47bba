#include "admin/store_query.h"

#include "admin/object_id.h"
#include "admin/store_private.h"
#include "core/check.h"

enum { SQL_MAX = 6000, KEY_SQL_MAX = 200, PATTERN_MAX = 2 * REG_STRING_MAX + 8 };

/* Where the fields are that have columns of their own. */
static const struct column {
    enum reg_storage storage;
    const char *field, *sql;
} columns[] = {
    {REG_IN_DOMAINS, "name", "o.name"},
    {REG_IN_ACCOUNTS, "name", "o.local"},
    {REG_IN_ACCOUNTS, "domainId", "o.domain"},
    {REG_IN_ACCOUNTS, "@type", "CASE o.kind WHEN 1 THEN 'Group' ELSE 'User' END"},
};

/* What STORE_CONTAINS looks at; the pattern is bound as ?2. Of an account local part and domain are
 * looked at by themselves, which is three times as fast as putting the address together: an "@" in
 * the text has the pattern of what is before it as ?5, of what is behind it as ?6. */
static const char *const texts[] = {
    [REG_IN_DOMAINS] = "(o.name LIKE ?2 ESCAPE '\\' OR o.description LIKE ?2 ESCAPE '\\' OR EXISTS"
                       "(SELECT 1 FROM domain_names n WHERE n.domain = o.id AND n.name LIKE ?2 "
                       "ESCAPE '\\'))",
    [REG_IN_ACCOUNTS] =
        "(o.local LIKE ?2 ESCAPE '\\' OR o.description LIKE ?2 ESCAPE '\\' OR o.domain IN "
        "(SELECT d.id FROM domains d WHERE d.name LIKE ?2 ESCAPE '\\') OR (o.local LIKE ?5 "
        "ESCAPE '\\' AND o.domain IN (SELECT d.id FROM domains d WHERE d.name LIKE ?6 ESCAPE "
        "'\\')))",
    [REG_IN_OBJECTS] = NULL,
    [REG_ELSEWHERE] = NULL,
};

static const char *const tables[] = {
    [REG_IN_DOMAINS] = "domains o WHERE 1",
    [REG_IN_ACCOUNTS] = "accounts o WHERE 1",
    [REG_ELSEWHERE] = "objects o WHERE 0",
    [REG_IN_OBJECTS] = "objects o WHERE o.type = ?1",
};

/* Parameters: 1 the type, 2 the text pattern, 3 the anchor's id, 4 its key, 5 and 6 the sides of an
 * "@", then the values. */
enum {
    PARAM_TYPE = 1,
    PARAM_TEXT = 2,
    PARAM_ANCHOR = 3,
    PARAM_KEY = 4,
    PARAM_BEFORE_AT = 5,
    PARAM_BEHIND_AT = 6,
    PARAM_VALUES = 7,
};

struct select {
    struct store *store;
    const struct store_query *query;
    char key[KEY_SQL_MAX];   /* what is sorted by; empty: the id alone */
    char where[SQL_MAX / 2]; /* from the table's name on */
};

bool store_has_text(const struct reg_type *type)
{
    return texts[type->storage] != NULL;
}

static void put_column(struct writer *w, const struct reg_type *type, const struct reg_field *field)
{
    struct slice name = field ? slice_of_text(field->name) : SLICE_LITERAL("@type");
    for (size_t i = 0; i < mx_countof(columns); i++) {
        if (columns[i].storage == type->storage &&
            slice_equal(name, slice_of_text(columns[i].field))) {
            put_text(w, columns[i].sql);
            return;
        }
    }
    MX_ASSERT(type->storage == REG_IN_OBJECTS);
    if (field && (field->flags & REG_UNIQUE)) {
        put_text(w, "o.label");
        return;
    }
    /* Names of fields come from the tables: nothing to escape. NULL would fall out of row order. */
    put_text(w, "coalesce(json_extract(o.json, '$.\"");
    put_slice(w, name);
    put_text(w, "\"'), '')");
}

static void put_member(struct writer *w, const struct store_query *query,
                       const struct reg_field *field, unsigned parameter)
{
    if (query->type->storage == REG_IN_DOMAINS) {
        put_text(w, "o.id IN (SELECT domain FROM domain_names WHERE position >= 0 AND name = ?");
    } else {
        put_text(w, "EXISTS (SELECT 1 FROM json_each(o.json, '$.\"");
        put_text(w, field->name);
        put_text(w, "\"') WHERE key = ?");
    }
    put_decimal(w, parameter);
    put_char(w, ')');
}

static void put_condition(struct writer *w, const struct store_query *query,
                          const struct store_condition *condition, unsigned parameter)
{
    static const char *const operators[] = {[STORE_EQUAL] = " = ?",
                                            [STORE_GREATER] = " > ?",
                                            [STORE_GREATER_EQUAL] = " >= ?",
                                            [STORE_LESS] = " < ?",
                                            [STORE_LESS_EQUAL] = " <= ?"};
    put_text(w, " AND ");
    if (condition->compare == STORE_CONTAINS) {
        put_text(w, texts[query->type->storage]);
    } else if (condition->field && condition->field->mode == REG_SERVER_SET) {
        put_text(w, "certificate_names(o.json) LIKE ?"); /* no other computed field is indexed */
        put_decimal(w, parameter);
        put_text(w, " ESCAPE '\\'");
    } else if (condition->field && condition->field->kind == REG_SET) {
        put_member(w, query, condition->field, parameter);
    } else {
        put_column(w, query->type, condition->field);
        put_text(w, operators[condition->compare]);
        put_decimal(w, parameter);
    }
}

static mx_err select_init(struct select *s, struct store *store, const struct store_query *query)
{
    MX_ASSERT(query->condition_count <= STORE_CONDITIONS_MAX);
    s->store = store;
    s->query = query;
    struct writer key = writer_init(s->key, sizeof(s->key) - 1);
    if (query->sort) {
        put_column(&key, query->type, query->sort);
    }
    s->key[key.len] = 0;
    struct writer w = writer_init(s->where, sizeof(s->where) - 1);
    put_text(&w, tables[query->type->storage]);
    for (size_t i = 0; i < query->condition_count; i++) {
        put_condition(&w, query, &query->conditions[i], PARAM_VALUES + (unsigned)i);
    }
    s->where[w.len] = 0;
    return key.overflow || w.overflow ? MX_ERR_LIMIT : MX_OK;
}

/* The text with its wildcards taken literally, and "%" at one end or both. */
static void bind_pattern(sqlite3_stmt *stmt, int index, struct slice text, bool open_before,
                         bool open_behind)
{
    char pattern[PATTERN_MAX];
    struct writer w = writer_init(pattern, sizeof(pattern));
    put_text(&w, open_before ? "%" : "");
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] == '%' || text.ptr[i] == '_' || text.ptr[i] == '\\') {
            put_char(&w, '\\');
        }
        put_char(&w, (char)text.ptr[i]);
    }
    put_text(&w, open_behind ? "%" : "");
    MX_ASSERT(!w.overflow); /* filters are at most REG_STRING_MAX long */
    bind_slice(stmt, index, writer_slice(&w));
}

/* Without an "@" the patterns of its sides stay NULL, which nothing is like. */
static void bind_text(sqlite3_stmt *stmt, const struct store_query *query, struct slice text)
{
    size_t at = text.len;
    while (at > 0 && text.ptr[at - 1] != '@') {
        at--;
    }
    bind_pattern(stmt, PARAM_TEXT, text, true, true);
    if (query->type->storage == REG_IN_ACCOUNTS && at > 0) {
        bind_pattern(stmt, PARAM_BEFORE_AT, slice_first(text, at - 1), true, false);
        bind_pattern(stmt, PARAM_BEHIND_AT, slice_from(text, at), false, true);
    }
}

/* Ids are numbers in columns and text in JSON. */
static void bind_value(sqlite3_stmt *stmt, int index, const struct store_query *query,
                       const struct store_condition *condition)
{
    const json_t *value = condition->value;
    struct slice text = slice_of(json_string_value(value), json_string_length(value));
    uint64_t id;
    if (condition->compare == STORE_CONTAINS) {
        bind_text(stmt, query, text);
    } else if (condition->field && condition->field->mode == REG_SERVER_SET) {
        bind_pattern(stmt, index, text, true, true);
    } else if (json_is_integer(value)) {
        (void)sqlite3_bind_int64(stmt, index, json_integer_value(value));
    } else if (json_is_boolean(value)) {
        (void)sqlite3_bind_int(stmt, index, json_is_true(value));
    } else if (query->type->storage != REG_IN_OBJECTS && condition->field &&
               condition->field->kind == REG_ID && object_id_parse(&id, text) == MX_OK) {
        bind_id(stmt, index, id);
    } else {
        bind_slice(stmt, index, text);
    }
}

/* SELECT what FROM where tail. The statement is the caller's to finalize. */
static mx_err start(struct select *s, sqlite3_stmt **out_stmt, const char *what, const char *tail)
{
    char sql[SQL_MAX];
    struct writer w = writer_init(sql, sizeof(sql) - 1);
    put_text(&w, "SELECT ");
    put_text(&w, what);
    put_text(&w, " FROM ");
    put_text(&w, s->where);
    put_text(&w, tail);
    if (w.overflow) {
        return MX_ERR_LIMIT;
    }
    mx_err err =
        store_check(s->store, sqlite3_prepare_v2(s->store->db, sql, (int)w.len, out_stmt, NULL));
    if (err) {
        return err;
    }
    /* Binding a parameter that the text does not have is refused by SQLite and does no harm. */
    if (s->query->type->storage == REG_IN_OBJECTS) {
        bind_slice(*out_stmt, PARAM_TYPE, slice_of_text(s->query->type->shape.name));
    }
    bind_id(*out_stmt, PARAM_ANCHOR, s->query->anchor);
    for (size_t i = 0; i < s->query->condition_count; i++) {
        bind_value(*out_stmt, PARAM_VALUES + (int)i, s->query, &s->query->conditions[i]);
    }
    return MX_OK;
}

static mx_err count_rows(struct select *s, uint64_t *out_count, const char *tail,
                         const sqlite3_value *anchor_key)
{
    sqlite3_stmt *stmt = NULL;
    mx_err err = start(s, &stmt, "count(*)", tail);
    if (!err) {
        if (anchor_key) {
            (void)sqlite3_bind_value(stmt, PARAM_KEY, anchor_key);
        }
        err = store_row(s->store, stmt);
    }
    if (!err) {
        *out_count = (uint64_t)sqlite3_column_int64(stmt, 0);
    }
    (void)sqlite3_finalize(stmt);
    return err;
}

/* The row of the anchor with its key as the first column; MX_ERR_NOTFOUND. */
static mx_err find_anchor(struct select *s, sqlite3_stmt **out_stmt)
{
    mx_err err = start(s, out_stmt, s->key[0] ? s->key : "o.id", " AND o.id = ?3");
    return err ? err : store_row(s->store, *out_stmt);
}

static void put_order(struct writer *w, const struct select *s)
{
    const char *way = s->query->ascending ? " ASC" : " DESC";
    put_text(w, " ORDER BY ");
    if (s->key[0]) {
        put_text(w, s->key);
        put_text(w, way);
        put_text(w, ", ");
    }
    put_text(w, "o.id");
    put_text(w, way);
}

/* Rows on one side of the anchor: before it, or itself and those behind. */
static void put_side(struct writer *w, const struct select *s, bool before)
{
    const char *op = s->query->ascending == before ? " <" : " >";
    put_text(w, " AND ");
    if (s->key[0]) {
        put_char(w, '(');
        put_text(w, s->key);
        put_text(w, ", o.id)");
        put_text(w, op);
        put_text(w, before ? " (?4, ?3)" : "= (?4, ?3)");
    } else {
        put_text(w, "o.id");
        put_text(w, op);
        put_text(w, before ? " ?3" : "= ?3");
    }
}

static mx_err read_page(struct select *s, struct store_page *page, uint64_t skip, bool from_anchor,
                        const sqlite3_value *anchor_key)
{
    char tail[3 * KEY_SQL_MAX + 200];
    struct writer w = writer_init(tail, sizeof(tail) - 1);
    if (from_anchor) {
        put_side(&w, s, false);
    }
    put_order(&w, s);
    put_text(&w, " LIMIT ");
    put_decimal(&w, s->query->limit + 1); /* one more shows whether there are more */
    put_text(&w, " OFFSET ");
    put_decimal(&w, skip);
    tail[w.len] = 0;
    MX_ASSERT(!w.overflow);
    sqlite3_stmt *stmt = NULL;
    mx_err err = start(s, &stmt, "o.id", tail);
    if (!err && from_anchor) {
        (void)sqlite3_bind_value(stmt, PARAM_KEY, anchor_key);
    }
    page->count = 0;
    page->more = false;
    bool row = true;
    while (!err && row) {
        err = store_step(s->store, stmt, &row);
        if (!err && row && page->count == s->query->limit) {
            page->more = true;
            break;
        }
        if (!err && row) {
            page->ids[page->count++] = (uint64_t)sqlite3_column_int64(stmt, 0);
        }
    }
    (void)sqlite3_finalize(stmt);
    return err;
}

static mx_err page_at_anchor(struct select *s, struct store_page *page)
{
    const struct store_query *query = s->query;
    sqlite3_stmt *anchor = NULL;
    mx_err err = find_anchor(s, &anchor);
    if (err) {
        (void)sqlite3_finalize(anchor);
        return err;
    }
    const sqlite3_value *key = sqlite3_column_value(anchor, 0);
    uint64_t at = query->anchor_position;
    if (!query->position_known) {
        char tail[2 * KEY_SQL_MAX];
        struct writer w = writer_init(tail, sizeof(tail) - 1);
        put_side(&w, s, true);
        tail[w.len] = 0;
        err = count_rows(s, &at, tail, key);
    }
    if (!err && query->offset >= 0) {
        page->position = at + (uint64_t)query->offset;
        err = read_page(s, page, (uint64_t)query->offset, true, key);
    } else if (!err) {
        uint64_t back = (uint64_t)-query->offset;
        page->position = at > back ? at - back : 0;
        err = read_page(s, page, page->position, false, NULL);
    }
    (void)sqlite3_finalize(anchor);
    return err;
}

mx_err store_select(struct store *store, struct store_page *page, const struct store_query *query)
{
    struct select s;
    uint64_t total = 0;
    mx_err err = select_init(&s, store, query);
    bool from_end = !query->anchored && query->offset < 0;
    if (!err && (query->want_total || from_end)) {
        err = count_rows(&s, &total, "", NULL);
    }
    if (err) {
        return err;
    }
    if (query->anchored) {
        err = page_at_anchor(&s, page);
    } else {
        uint64_t back = from_end ? (uint64_t)-query->offset : 0;
        page->position = from_end ? (total > back ? total - back : 0) : (uint64_t)query->offset;
        err = read_page(&s, page, page->position, false, NULL);
    }
    page->total = total;
    return err;
}
