/* Filters, order and paging of queries. */
#include "tests/admin/api_support.h"

enum { ACCOUNTS = 23, PAGE = 5 };

static char domains[2][OBJECT_ID_TEXT_MAX + 1];
static char accounts[ACCOUNTS][OBJECT_ID_TEXT_MAX + 1]; /* in the order of creation */

static void fill(struct api_bed *bed)
{
    char body[256];
    bed_create(bed, "Domain",
               "{\"name\":\"a.example\",\"aliases\":{\"alias.example\":true},\"description\":"
               "\"100% Main_one\"}",
               domains[0]);
    bed_create(bed, "Domain", "{\"name\":\"b.example\"}", domains[1]);
    for (int i = 0; i < ACCOUNTS; i++) {
        /* Names not in the order of ids. */
        snprintf(body, sizeof(body), "{\"@type\":\"User\",\"name\":\"u%02d\",\"domainId\":\"%s\"}",
                 i * 7 % ACCOUNTS, domains[i % 2]);
        bed_create(bed, "Account", body, accounts[i]);
    }
}

/* The ids as text, separated by blanks, or the error's type. */
static char *query(struct api_bed *bed, const char *type, const char *args, json_t **out_reply)
{
    static char buffers[4][16384];
    static unsigned at;
    char *buffer = buffers[at++ % 4];
    char method[64];
    snprintf(method, sizeof(method), "x:%s/query", type);
    json_t *result = bed_call(bed, method, args);
    json_t *reply = json_array_get(result, 1);
    struct writer w = writer_init(buffer, sizeof(buffers[0]) - 1);
    size_t index;
    json_t *id;
    json_array_foreach(json_object_get(reply, "ids"), index, id)
    {
        put_text(&w, index ? " " : "");
        put_text(&w, json_string_value(id));
    }
    if (strcmp(json_string_value(json_array_get(result, 0)), "error") == 0) {
        put_text(&w, json_string_value(json_object_get(reply, "type")));
        put_text(&w, ": ");
        put_text(&w, json_string_value(json_object_get(reply, "description")));
    }
    buffer[w.len] = 0;
    if (out_reply) {
        *out_reply = json_incref(reply);
    }
    json_decref(result);
    return buffer;
}

/* Accounts first to last by creation (step -1: backwards), of one domain (or -1: all). */
static const char *expected(int domain, int first, int last, int step)
{
    static char buffer[4096];
    struct writer w = writer_init(buffer, sizeof(buffer) - 1);
    for (int i = first; step > 0 ? i <= last : i >= last; i += step) {
        if (domain < 0 || i % 2 == domain) {
            put_text(&w, w.len ? " " : "");
            put_text(&w, accounts[i]);
        }
    }
    buffer[w.len] = 0;
    return buffer;
}

static void check_filters(struct api_bed *bed)
{
    char args[512];
    CHECK_TEXT(query(bed, "Account", "{}", NULL), expected(-1, ACCOUNTS - 1, 0, -1));
    CHECK_TEXT(query(bed, "Account", "{\"filter\":null}", NULL), expected(-1, ACCOUNTS - 1, 0, -1));
    snprintf(args, sizeof(args), "{\"filter\":{\"domainId\":\"%s\"}}", domains[1]);
    CHECK_TEXT(query(bed, "Account", args, NULL), expected(1, ACCOUNTS - 1, 0, -1));
    snprintf(args, sizeof(args), "{\"filter\":{\"domainId\":\"%s\",\"name\":\"U07\"}}", domains[1]);
    CHECK_TEXT(query(bed, "Account", args, NULL), accounts[1]);
    snprintf(
        args, sizeof(args),
        "{\"filter\":{\"operator\":\"AND\",\"conditions\":[{\"domainId\":\"%s\"},{\"operator\":"
        "\"AND\",\"conditions\":[{\"name\":\"u07\"}]}]}}",
        domains[0]);
    CHECK_TEXT(query(bed, "Account", args, NULL), "");
    CHECK_TEXT(query(bed, "Account", "{\"filter\":{\"@type\":\"User\",\"name\":\"u00\"}}", NULL),
               accounts[0]);
    CHECK_TEXT(query(bed, "Account", "{\"filter\":{\"@type\":\"Group\"}}", NULL), "");
    CHECK_TEXT(query(bed, "Account", "{\"filter\":{\"text\":\"U07@B.EX\"}}", NULL), accounts[1]);
    CHECK_TEXT(query(bed, "Account", "{\"filter\":{\"text\":\"u_7\"}}", NULL), "");
    CHECK_TEXT(query(bed, "Account", "{\"filter\":{\"text\":\"07@b\"}}", NULL), accounts[1]);
    CHECK_TEXT(query(bed, "Account", "{\"filter\":{\"text\":\"07@x\"}}", NULL), "");
    CHECK_TEXT(query(bed, "Account", "{\"filter\":{\"text\":\"0@b.\"}}", NULL), "");
    CHECK_TEXT(query(bed, "Account", "{\"filter\":{\"text\":\"@b@b\"}}", NULL), "");
    CHECK_TEXT(query(bed, "Account", "{\"filter\":{\"text\":\"b.ex\"}}", NULL),
               expected(1, ACCOUNTS - 1, 0, -1));
    CHECK_TEXT(query(bed, "Account", "{\"filter\":{\"text\":\"@B.ex\"}}", NULL),
               expected(1, ACCOUNTS - 1, 0, -1));
    CHECK_TEXT(query(bed, "Account", "{\"filter\":{\"text\":\"@\"}}", NULL),
               expected(-1, ACCOUNTS - 1, 0, -1));
    CHECK_TEXT(query(bed, "Domain", "{\"filter\":{\"name\":\"A.Example\"}}", NULL), domains[0]);
    CHECK_TEXT(query(bed, "Domain", "{\"filter\":{\"name\":\"alias.example\"}}", NULL), "");
    CHECK_TEXT(query(bed, "Domain", "{\"filter\":{\"aliases\":\"Alias.Example\"}}", NULL),
               domains[0]);
    CHECK_TEXT(query(bed, "Domain", "{\"filter\":{\"aliases\":\"a.example\"}}", NULL), "");
    CHECK_TEXT(query(bed, "Domain", "{\"filter\":{\"text\":\"alias\"}}", NULL), domains[0]);
    /* Wildcards of the database are plain text. */
    CHECK_TEXT(query(bed, "Domain", "{\"filter\":{\"text\":\"0% main_\"}}", NULL), domains[0]);
    CHECK_TEXT(query(bed, "Domain", "{\"filter\":{\"text\":\"%\"}}", NULL), domains[0]);
    CHECK_TEXT(query(bed, "Domain", "{\"filter\":{\"text\":\"\\\\\"}}", NULL), "");
    CHECK_TEXT(query(bed, "MtaRoute", "{\"filter\":{\"name\":\"mx\"}}", NULL), "c");
    CHECK_TEXT(query(bed, "MtaRoute", "{\"filter\":{\"@type\":\"Local\"}}", NULL), "b");
    CHECK_TEXT(query(bed, "MtaRoute", "{\"filter\":{\"name\":\"' OR 1=1\"}}", NULL),
               "invalidArguments: the filter 'name': '' OR 1=1' may hold letters, digits, '-', '_' "
               "and '.' only");
}

static void check_refusals(struct api_bed *bed)
{
    static const char *const cases[][3] = {
        {"Account", "{\"filter\":{\"description\":\"x\"}}", "unsupportedFilter: description"},
        {"Account", "{\"filter\":{\"nameIsGreaterThan\":\"x\"}}",
         "unsupportedFilter: nameIsGreaterThan"},
        {"Account", "{\"filter\":{\"IsLessThan\":\"x\"}}", "unsupportedFilter: IsLessThan"},
        {"Account", "{\"filter\":{\"\":\"x\"}}", "unsupportedFilter: "},
        {"Account", "{\"filter\":{\"operator\":\"OR\",\"conditions\":[]}}",
         "unsupportedFilter: OR"},
        {"Account", "{\"filter\":{\"operator\":\"NOT\",\"conditions\":[]}}",
         "unsupportedFilter: NOT"},
        {"Account", "{\"filter\":{\"operator\":\"AND\"}}",
         "invalidArguments: 'conditions' has to be an array of filters"},
        {"Account", "{\"filter\":[]}", "invalidArguments: 'filter' has to be an object"},
        {"Account", "{\"filter\":{\"domainId\":\"4\"}}",
         "invalidArguments: the filter 'domainId': '4' is not an id"},
        {"Account", "{\"filter\":{\"text\":1}}",
         "invalidArguments: the filter 'text' has to be a text of up to 255 bytes"},
        {"Account", "{\"filter\":{\"@type\":1}}",
         "invalidArguments: the filter '@type' has to be a text"},
        {"MtaRoute", "{\"filter\":{\"text\":\"x\"}}", "unsupportedFilter: text"},
        {"Domain", "{\"filter\":{\"@type\":\"x\"}}", "unsupportedFilter: @type"},
        {"SystemSettings", "{\"filter\":{\"maxConnections\":1}}",
         "unsupportedFilter: maxConnections"},
        {"Account", "{\"sort\":[{\"property\":\"description\"}]}", "unsupportedSort: description"},
        {"Domain", "{\"sort\":[{\"property\":\"aliases\"}]}", "unsupportedSort: aliases"},
        {"Account", "{\"sort\":{}}",
         "invalidArguments: 'sort' has to be an array of {property, isAscending}"},
        {"Account", "{\"limit\":-1}",
         "invalidArguments: 'limit' has to be a whole number that is not negative"},
        {"Account", "{\"limit\":1.5}",
         "invalidArguments: 'limit' has to be a whole number that is not negative"},
        {"Account", "{\"position\":\"1\"}",
         "invalidArguments: 'position' has to be a whole number"},
        {"Account", "{\"position\":9999999999999}",
         "invalidArguments: 'position' has to be a whole number"},
        {"Account", "{\"calculateTotal\":1}",
         "invalidArguments: 'calculateTotal' has to be true or false"},
        {"Account", "{\"anchor\":1}", "invalidArguments: 'anchor' has to be an id"},
        {"Account", "{\"anchor\":\"4\"}", "anchorNotFound: 'anchor' is not an id of a result"},
        {"Account", "{\"anchor\":\"b\"}", "anchorNotFound: 'anchor' is not an id of a result"},
        {"SystemSettings", "{\"anchor\":\"b\"}",
         "anchorNotFound: 'anchor' is not an id of a result"},
    };
    for (size_t i = 0; i < mx_countof(cases); i++) {
        CHECK_TEXT(query(bed, cases[i][0], cases[i][1], NULL), cases[i][2]);
    }
    char args[2000] = "{\"filter\":{\"operator\":\"AND\",\"conditions\":[";
    for (int i = 0; i < 40; i++) {
        strcat(args, i ? ",{\"name\":\"a\"}" : "{\"name\":\"a\"}");
    }
    strcat(args, "]}}");
    CHECK_TEXT(query(bed, "Account", args, NULL), "unsupportedFilter: more than 16 conditions");
}

/* All pages by anchor, as the command line asks for them; gives the whole list. */
static const char *all_pages(struct api_bed *bed, const char *filter, const char *sort, int limit)
{
    static char all[16384];
    struct writer w = writer_init(all, sizeof(all) - 1);
    char anchor[OBJECT_ID_TEXT_MAX + 1] = "";
    size_t seen = 0;
    for (;;) {
        char args[600];
        json_t *reply;
        snprintf(args, sizeof(args),
                 anchor[0] ? "{\"filter\":%s,\"sort\":%s,\"limit\":%d,\"anchor\":\"%s\","
                             "\"anchorOffset\":1}"
                           : "{\"filter\":%s,\"sort\":%s,\"limit\":%d,\"calculateTotal\":true%s}",
                 filter, sort, limit, anchor);
        const char *ids = query(bed, "Account", args, &reply);
        size_t count = json_array_size(json_object_get(reply, "ids"));
        CHECK(json_integer_value(json_object_get(reply, "position")) == (json_int_t)seen);
        put_text(&w, w.len && count ? " " : "");
        put_text(&w, ids);
        seen += count;
        if (count) {
            snprintf(anchor, sizeof(anchor), "%s",
                     json_string_value(json_array_get(json_object_get(reply, "ids"), count - 1)));
        }
        bool last = count < (size_t)limit;
        /* "limit" tells that there are more. */
        if (json_object_get(reply, "limit")) {
            CHECK(!last && json_integer_value(json_object_get(reply, "limit")) == limit);
        }
        json_decref(reply);
        if (last || failures > 20) {
            break;
        }
    }
    all[w.len] = 0;
    return all;
}

static void check_paging(struct api_bed *bed)
{
    static const char *const sorts[] = {"null",
                                        "[]",
                                        "[{\"property\":\"id\"}]",
                                        "[{\"property\":\"name\",\"isAscending\":true}]",
                                        "[{\"property\":\"name\",\"isAscending\":false}]",
                                        "[{\"property\":\"domainId\"}]"};
    char filtered[100];
    snprintf(filtered, sizeof(filtered), "{\"domainId\":\"%s\"}", domains[0]);
    const char *const filters[] = {"{}", filtered};
    for (size_t f = 0; f < mx_countof(filters); f++) {
        for (size_t s = 0; s < mx_countof(sorts); s++) {
            char args[400];
            snprintf(args, sizeof(args), "{\"filter\":%s,\"sort\":%s}", filters[f], sorts[s]);
            char *whole = strdup(query(bed, "Account", args, NULL));
            CHECK(strlen(whole) > 50);
            /* 1: every page ends somewhere; 6 and 12: the last page is full or empty. */
            static const int limits[] = {1, 3, 6, 12, 23, 24, 100};
            for (size_t i = 0; i < mx_countof(limits); i++) {
                CHECK_TEXT(all_pages(bed, filters[f], sorts[s], limits[i]), whole);
            }
            free(whole);
        }
    }
    CHECK_TEXT(query(bed, "Account", "{\"sort\":[{\"property\":\"id\"}]}", NULL),
               expected(-1, 0, ACCOUNTS - 1, 1));
}

/* The page at the anchor's place plus offset, in the default order. */
static void check_anchor(struct api_bed *bed, int anchor, int offset, int limit, int first,
                         int last)
{
    char args[200];
    json_t *reply;
    snprintf(args, sizeof(args), "{\"anchor\":\"%s\",\"anchorOffset\":%d,\"limit\":%d}",
             accounts[anchor], offset, limit);
    CHECK_TEXT(query(bed, "Account", args, &reply), expected(-1, first, last, -1));
    CHECK(json_integer_value(json_object_get(reply, "position")) ==
          (anchor - offset > ACCOUNTS - 1 ? 0 : ACCOUNTS - 1 - anchor + offset));
    json_decref(reply);
}

static void check_places(struct api_bed *bed)
{
    json_t *reply;
    check_anchor(bed, 10, 0, 3, 10, 8);
    check_anchor(bed, 10, 1, 3, 9, 7);
    check_anchor(bed, 10, 4, 3, 6, 4);
    check_anchor(bed, 10, -2, 3, 12, 10);
    check_anchor(bed, 10, -100, 2, ACCOUNTS - 1, ACCOUNTS - 2);
    check_anchor(bed, 0, 1, 5, -1, 0);
    check_anchor(bed, 0, 50, 5, -1, 0);
    CHECK_TEXT(query(bed, "Account", "{\"position\":2,\"limit\":2}", NULL),
               expected(-1, ACCOUNTS - 3, ACCOUNTS - 4, -1));
    CHECK_TEXT(query(bed, "Account", "{\"position\":-2}", &reply), expected(-1, 1, 0, -1));
    CHECK(json_integer_value(json_object_get(reply, "position")) == ACCOUNTS - 2);
    json_decref(reply);
    CHECK_TEXT(query(bed, "Account", "{\"position\":-100,\"limit\":1}", NULL),
               accounts[ACCOUNTS - 1]);
    CHECK_TEXT(query(bed, "Account", "{\"position\":1000}", NULL), "");
    CHECK_TEXT(query(bed, "Account", "{\"limit\":0,\"calculateTotal\":true}", &reply), "");
    CHECK(json_integer_value(json_object_get(reply, "total")) == ACCOUNTS);
    json_decref(reply);
}

/* The remembered place of the last page is not used after a change. */
static void check_bookmark(struct api_bed *bed)
{
    char args[200];
    char id[OBJECT_ID_TEXT_MAX + 1];
    json_t *reply;
    CHECK_TEXT(query(bed, "Domain", "{\"limit\":1}", NULL), domains[1]);
    bed_create(bed, "Domain", "{\"name\":\"c.example\"}", id);
    snprintf(args, sizeof(args), "{\"limit\":1,\"anchor\":\"%s\",\"anchorOffset\":1}", domains[1]);
    CHECK_TEXT(query(bed, "Domain", args, &reply), domains[0]);
    CHECK(json_integer_value(json_object_get(reply, "position")) == 2);
    json_decref(reply);
}

int main(void)
{
    struct api_bed bed;
    bed_open(&bed);
    fill(&bed);
    check_filters(&bed);
    check_refusals(&bed);
    check_paging(&bed);
    check_places(&bed);
    check_bookmark(&bed);
    bed_close(&bed);
    return report("check_api_query");
}
