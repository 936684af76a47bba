/* Tables, values, addresses, base64. */
#include "support.h"
#include "tools/cli/base64.h"
#include "tools/cli/table.h"
#include "tools/cli/url.h"
#include "tools/cli/value.h"

static void tables(void)
{
    struct table table = {.columns = 3};
    struct buf out = {0};
    const char *cells[] = {"Id", "Näme", "X", "1", "a\tb\r\n\nc", "", "22", "\x1b[31mré\x1b[0m",
                           "y"};
    for (size_t i = 0; i < mx_countof(cells); i++) {
        table_cell(&table, cells[i]);
    }
    table_put(&out, &table, 2, false);
    CHECK_TEXT(buf_text(&out),
               "  Id  Näme   X\n"
               "  1   a b c\n"
               "  22  \x1b[31mré\x1b[0m     y\n",
               "a table");
    buf_free(&out);
    table_put(&out, &table, 0, true);
    CHECK(strncmp(buf_text(&out), "\x1b[1mId  Näme   X\x1b[0m\n", 22) == 0, buf_text(&out));
    buf_free(&out);
    table_free(&table);

    struct table cut = {.columns = 1, .short_cells = true};
    char long_cell[200];
    memset(long_cell, 'x', sizeof long_cell - 1);
    long_cell[sizeof long_cell - 1] = '\0';
    table_cell(&cut, long_cell);
    CHECK(text_width(cut.cells[0]) == TABLE_CELL_MAX, cut.cells[0]);
    long_cell[TABLE_CELL_MAX] = '\0';
    table_cell(&cut, long_cell);
    CHECK_TEXT(cut.cells[1], long_cell, "exactly as long as allowed");
    table_free(&cut);

    CHECK(text_width("") == 0 && text_width("äöü…") == 4, "characters, not bytes");
    CHECK(text_width("\x1b[38;2;1;2;3mab\x1b[0m") == 2, "escape sequences");
    CHECK(text_width("a\x1b[1") == 1, "an escape sequence that is cut");
}

static void styles(void)
{
    static const struct {
        const char *name, *expected;
    } cases[] = {
        {NULL, "\x1b[34mt\x1b[0m"},      {"red", "\x1b[31mt\x1b[0m"},
        {"White", "\x1b[37mt\x1b[0m"},   {"#b91c1c", "\x1b[38;2;185;28;28mt\x1b[0m"},
        {"#b91c1", "\x1b[34mt\x1b[0m"},  {"#b91c1cc", "\x1b[34mt\x1b[0m"},
        {"unknown", "\x1b[34mt\x1b[0m"},
    };
    for (size_t i = 0; i < mx_countof(cases); i++) {
        struct buf out = {0};
        buf_colored(&out, true, cases[i].name, "t");
        CHECK_TEXT(buf_text(&out), cases[i].expected, cases[i].name ? cases[i].name : "none");
        buf_free(&out);
        buf_colored(&out, false, cases[i].name, "t");
        CHECK_TEXT(buf_text(&out), "t", "without colours");
        buf_free(&out);
    }
}

static void numbers(void)
{
    static const struct {
        double value;
        const char *size, *duration;
    } cases[] = {
        {0, "0 B", "0 ms"},
        {45, "45 B", "45 ms"},
        {1023, "1023 B", "1 s 23 ms"},
        {1024, "1.0 KB", "1 s 24 ms"},
        {5000, "4.9 KB", "5 s"},
        {90000, "87.9 KB", "1 m 30 s"},
        {8100000, "7.7 MB", "2 h 15 m"},
        {104400000, "99.6 MB", "1 d 5 h"},
        {86400001, "82.4 MB", "1 d"},
        {209715200, "200 MB", "2 d 10 h"},
        {1099511627776.0, "1.0 TB", "12725 d 19 h"},
        {-5000, "0 B", "-5 s"},
    };
    for (size_t i = 0; i < mx_countof(cases); i++) {
        struct buf out = {0};
        put_size(&out, cases[i].value);
        CHECK_TEXT(out.at, cases[i].size, "size");
        buf_free(&out);
        put_duration(&out, cases[i].value);
        CHECK_TEXT(out.at, cases[i].duration, "duration");
        buf_free(&out);
    }
}

static void encoding(void)
{
    static const char *const cases[][2] = {{"", ""},
                                           {"f", "Zg=="},
                                           {"fo", "Zm8="},
                                           {"foo", "Zm9v"},
                                           {"foob", "Zm9vYg=="},
                                           {"fooba", "Zm9vYmE="},
                                           {"foobar", "Zm9vYmFy"},
                                           {"\xff\xfe\xfd", "//79"}};
    for (size_t i = 0; i < mx_countof(cases); i++) { /* RFC 4648 section 10 */
        struct buf out = {0};
        buf_base64(&out, slice_of_text(cases[i][0]));
        CHECK_TEXT(buf_text(&out), cases[i][1], "base64");
        buf_free(&out);
    }
}

static void urls(void)
{
    static const struct {
        const char *text, *host, *port, *authority, *path; /* host NULL: refused */
        bool tls;
    } cases[] = {
        {"http://a", "a", "80", "a", ""},
        {"https://mx.example.org/", "mx.example.org", "443", "mx.example.org", "", true},
        {"http://127.0.0.1:8080", "127.0.0.1", "8080", "127.0.0.1:8080", ""},
        {"http://[::1]", "::1", "80", "[::1]", ""},
        {"https://[2001:db8::1]:8443/a/b//", "2001:db8::1", "8443", "[2001:db8::1]:8443", "/a/b",
         true},
        {"http://a:65535/x", "a", "65535", "a:65535", "/x"},
        {"HTTP://a", NULL},
        {"ftp://a", NULL},
        {"a", NULL},
        {"", NULL},
        {"http://", NULL},
        {"http:///x", NULL},
        {"http://:80", NULL},
        {"http://a:", NULL},
        {"http://a:0", NULL},
        {"http://a:65536", NULL},
        {"http://a:1x", NULL},
        {"http://[::1", NULL},
        {"http://[::1]80", NULL},
        {"http://[]", NULL},
        {"http://u@a", NULL},
        {"http://a b", NULL},
        {"http://a/b c", NULL},
        {"http://a/b?c", NULL},
        {"http://a/#b", NULL},
        {"http://a\r\nX: y", NULL},
    };
    for (size_t i = 0; i < mx_countof(cases); i++) {
        struct url url;
        const char *problem = url_parse(&url, cases[i].text);
        CHECK((problem == NULL) == (cases[i].host != NULL), cases[i].text);
        if (problem == NULL && cases[i].host != NULL) {
            CHECK_TEXT(url.host, cases[i].host, cases[i].text);
            CHECK_TEXT(url.port, cases[i].port, cases[i].text);
            CHECK_TEXT(url.authority, cases[i].authority, cases[i].text);
            CHECK_TEXT(url.path, cases[i].path, cases[i].text);
            CHECK(url.tls == cases[i].tls, cases[i].text);
        }
    }
    char long_host[400] = "http://";
    memset(long_host + 7, 'a', URL_HOST_MAX + 1);
    struct url url;
    CHECK(url_parse(&url, long_host) != NULL, "a host that is too long");
    long_host[7 + URL_HOST_MAX] = '\0';
    CHECK(url_parse(&url, long_host) == NULL, "the longest host");
}

int main(void)
{
    tables();
    styles();
    numbers();
    encoding();
    urls();
    return failures != 0;
}
