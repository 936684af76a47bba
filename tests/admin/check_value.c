/* Text values in their one normal form, ids, and the words of errors. */
#include "admin/json_text.h"
#include "admin/object_id.h"
#include "admin/set_error.h"
#include "admin/value.h"
#include "tests/admin/support.h"

struct value_case {
    enum reg_format format;
    const char *text, *normal; /* normal NULL: refused */
    const char *problem;       /* part of the reason */
};

static const struct value_case cases[] = {
    {FORMAT_DOMAIN, "Example.ORG", "example.org"},
    {FORMAT_DOMAIN, "xn--bcher-kva.example", "xn--bcher-kva.example"},
    {FORMAT_DOMAIN, "xn--a\xc3\xa4.example", NULL, "is not an international domain name"},
    {FORMAT_DOMAIN, "xn--zzzzzz--.example", NULL, "is not an international domain name"},
    {FORMAT_DOMAIN, "\xff.example", NULL, "its length must be"},
    {FORMAT_DOMAIN, " ", NULL, "its length must be"},
    {FORMAT_LOCAL_PART, "Al.Ice", "al.ice"},
    {FORMAT_LOCAL_PART, "a\xff", NULL, "it is not UTF-8"},
    {FORMAT_LOCAL_PART, ".a", NULL, "a dot begins it"},
    {FORMAT_LOCAL_PART, "a.", NULL, "it ends with a dot"},
    {FORMAT_LOCAL_PART, "a..b", NULL, "a dot begins it or is doubled"},
    {FORMAT_LOCAL_PART, "a b", NULL, "is not a local part"},
    {FORMAT_LOCAL_PART, "", NULL, "its length must be"},
    {FORMAT_EMAIL, "A@B.example", "a@b.example"},
    {FORMAT_EMAIL, "a b@b.example", NULL, "is not a local part"},
    {FORMAT_EMAIL, "a@b", NULL, "it has no dot"},
    {FORMAT_NAME, "a-b_c.9", "a-b_c.9"},
    {FORMAT_NAME, "a b", NULL, "may hold letters"},
    {FORMAT_NAME, "", NULL, "bytes long"},
    {FORMAT_VARIABLE, "KEY_1", "KEY_1"},
    {FORMAT_VARIABLE, "1KEY", NULL, "is not the name of an environment variable"},
    {FORMAT_VARIABLE, "A-B", NULL, "is not the name of an environment variable"},
    {FORMAT_PATH, "/etc/x", "/etc/x"},
    {FORMAT_PATH, "etc/x", NULL, "is not an absolute path"},
    {FORMAT_PATH, "/a\nb", NULL, "control character"},
    {FORMAT_PEM, "a\nb", "a\nb"},
    {FORMAT_TEXT, " a ", " a "},
    {FORMAT_TEXT, "a\x7f", NULL, "control character"},
    {FORMAT_TRIM, "  a b ", "a b"},
    {FORMAT_TRIM, "a\tb", NULL, "control character"},
    {FORMAT_NONE, "x", NULL, "is not text"},
    {FORMAT_SIZE, "1", NULL, "is not text"},
    {FORMAT_SOCKET, "nonsense", NULL, ""},
    {FORMAT_NETWORK, "nonsense", NULL, ""},
    {FORMAT_HOST, "", NULL, ""},
};

static void check_values(void)
{
    for (size_t i = 0; i < mx_countof(cases); i++) {
        char buf[512];
        struct writer w = writer_init(buf, sizeof(buf));
        struct value_problem problem;
        mx_err err = value_normalize(&w, cases[i].format, slice_of_text(cases[i].text), &problem);
        if (!cases[i].normal) {
            CHECK(err != MX_OK);
            CHECK_HAS(problem.text, cases[i].problem);
            continue;
        }
        buf[mx_min_size(w.len, sizeof(buf) - 1)] = 0;
        CHECK(err == MX_OK);
        CHECK_TEXT(buf, cases[i].normal);
        struct writer again = writer_init(buf, sizeof(buf)); /* what is normal stays as it is */
        CHECK(value_normalize(&again, cases[i].format, slice_of_text(cases[i].normal), &problem) ==
              MX_OK);
        CHECK(slice_equal(writer_slice(&again), slice_of_text(cases[i].normal)));
    }
}

static void check_lengths(void)
{
    char text[2000], buf[100];
    struct value_problem problem;
    struct writer w = writer_init(buf, sizeof(buf));
    memset(text, 'a', sizeof(text));
    static const enum reg_format limited[] = {FORMAT_DOMAIN, FORMAT_LOCAL_PART, FORMAT_NAME};
    for (size_t i = 0; i < mx_countof(limited); i++) {
        CHECK(value_normalize(&w, limited[i], slice_of(text, sizeof(text)), &problem) != MX_OK);
        CHECK_HAS(problem.text, "1 to ");
    }
    /* Labels that are short enough, but too many. */
    for (size_t i = 20; i < 300; i += 20) {
        text[i] = '.';
    }
    w = writer_init(buf, sizeof(buf));
    CHECK(value_normalize(&w, FORMAT_DOMAIN, slice_of(text, 290), &problem) != MX_OK);
    CHECK_HAS(problem.text, "its length must be 1 to");
    w = writer_init(buf, sizeof(buf));
    CHECK(value_normalize(&w, FORMAT_TEXT, slice_of(text, 101), &problem) != MX_OK);
    CHECK_TEXT(problem.text, "is too long");
}

static void check_ids(void)
{
    int64_t now = 1790000000000;
    uint64_t last = 0;
    CHECK(object_id_wall_ms(3) == 0);
    for (unsigned i = 0; i < 5000; i++) { /* a burst in one millisecond runs ahead of the clock */
        uint64_t next = object_id_next(last, now, 7);
        char text[OBJECT_ID_TEXT_MAX];
        struct writer w = writer_init(text, sizeof(text));
        uint64_t again = 0;
        put_object_id(&w, next);
        CHECK(next > last && object_id_wall_ms(next) >= now);
        CHECK(object_id_parse(&again, writer_slice(&w)) == MX_OK && again == next);
        last = next;
    }
    CHECK(object_id_wall_ms(last) < now + 5000);
    CHECK(object_id_next(last, now - 1000000, 7) > last); /* the clock was set back */
    CHECK(object_id_next(last, now, 3) > last);           /* another node's id came first */
}

static void check_words(void)
{
    static const struct {
        enum set_error_type type;
        const char *name;
    } words[] = {{SET_INVALID_PATCH, "invalidPatch"},
                 {SET_VALIDATION_FAILED, "validationFailed"},
                 {SET_INVALID_PROPERTIES, "invalidProperties"},
                 {SET_PRIMARY_KEY_VIOLATION, "primaryKeyViolation"},
                 {SET_INVALID_FOREIGN_KEY, "invalidForeignKey"},
                 {SET_DEPENDS_ON_REFUSED, "invalidForeignKey"},
                 {SET_OBJECT_IS_LINKED, "objectIsLinked"},
                 {SET_SINGLETON, "singleton"},
                 {SET_WILL_DESTROY, "willDestroy"},
                 {SET_NOT_FOUND, "notFound"},
                 {SET_FORBIDDEN, "forbidden"},
                 {SET_OVER_QUOTA, "overQuota"}};
    for (size_t i = 0; i < mx_countof(words); i++) {
        CHECK_TEXT(set_error_name(words[i].type), words[i].name);
    }
}

/* Whatever bytes: a text of the same length, and what is UTF-8 unchanged. */
static void check_json_text(void)
{
    static const struct {
        const char *bytes, *shown;
    } texts[] = {{"", ""},
                 {"a\xc3\xa9", "a\xc3\xa9"},
                 {"a\xc3", "a?"},
                 {"\xc3\xa9\xff\xe2\x82\xac\xe2\x82", "\xc3\xa9?\xe2\x82\xac??"},
                 {"\xed\xa0\x80", "???"},
                 {"\xf0\x9f\x93\xa7\xf0\x9f\x93", "\xf0\x9f\x93\xa7???"}};
    for (size_t i = 0; i < mx_countof(texts); i++) {
        json_t *value = json_text(slice_of_text(texts[i].bytes));
        CHECK_TEXT(json_string_value(value), texts[i].shown);
        json_decref(value);
    }
}

int main(void)
{
    check_json_text();
    check_values();
    check_lengths();
    check_ids();
    check_words();
    return report("value");
}
