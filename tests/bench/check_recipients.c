/* What a load is made of: recipients, real messages, PROXY headers. */
#include "tests/check.h"

#include "bench/dial.h"
#include "bench/folder.h"
#include "bench/proxy_header.h"
#include "bench/recipients.h"
#include "io/proxy_parse.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static char path[64];

static void write_file(const char *name, const char *text)
{
    FILE *file = fopen(name, "w");
    CHECK(file != NULL);
    CHECK(fputs(text, file) >= 0);
    CHECK(fclose(file) == 0);
}

static void drawn_are_different_and_in_order_when_all(void)
{
    static struct recipients rcpts;
    static const char *const names[] = {"a@x", "b@x", "c@x", "d@x", "e@x"};
    struct dice dice = {.state = 1};
    struct load_rcpt out[5];
    unsigned seen[5] = {0};
    for (size_t i = 0; i < mx_countof(names); i++) {
        CHECK(recipients_add(&rcpts, slice_of_text(names[i])) == MX_OK);
    }
    recipients_draw(&rcpts, &dice, out, 5);
    for (unsigned i = 0; i < 5; i++) {
        CHECK(slice_equal(out[i].head, slice_of_text(names[i])));
    }
    for (unsigned round = 0; round < 5000; round++) {
        recipients_draw(&rcpts, &dice, out, 2);
        CHECK(!slice_equal(out[0].head, out[1].head));
        for (unsigned i = 0; i < 5; i++) {
            seen[i] += slice_equal(out[0].head, slice_of_text(names[i])) ||
                       slice_equal(out[1].head, slice_of_text(names[i]));
        }
    }
    for (unsigned i = 0; i < 5; i++) {
        CHECK(seen[i] > 1850 && seen[i] < 2150);
    }
    recipients_free(&rcpts);
}

static void unknown_share(void)
{
    static struct recipients rcpts;
    struct dice dice = {.state = 2};
    unsigned unknown = 0;
    CHECK(recipients_add(&rcpts, SLICE_LITERAL("bob@example.org")) == MX_OK);
    recipients_name_unknown(&rcpts, &dice);
    rcpts.unknown_share = UNKNOWN_SHARE_ALL / 4;
    for (unsigned i = 0; i < 10000; i++) {
        struct load_rcpt rcpt;
        recipients_draw(&rcpts, &dice, &rcpt, 1);
        unknown += rcpt.tail.len > 0;
        CHECK(slice_equal(rcpt.tail.len > 0 ? rcpt.tail : SLICE_LITERAL("@example.org"),
                          SLICE_LITERAL("@example.org")));
    }
    CHECK(unknown > 2300 && unknown < 2700);
    recipients_free(&rcpts);
}

static void of_a_file(void)
{
    static struct recipients rcpts;
    (void)snprintf(path, sizeof path, "/tmp/ringmx-rcpts-%d", (int)getpid());
    write_file(path, "a@x\r\n# nothing\n\n  b@x  \nc@x");
    CHECK(recipients_add_file(&rcpts, path) == MX_OK);
    CHECK(rcpts.count == 3);
    CHECK(slice_equal(rcpts.addresses[0], SLICE_LITERAL("a@x")));
    CHECK(slice_equal(rcpts.addresses[1], SLICE_LITERAL("b@x")));
    CHECK(slice_equal(rcpts.addresses[2], SLICE_LITERAL("c@x")));
    CHECK(recipients_add_file(&rcpts, path) == MX_ERR_EXISTS);
    recipients_free(&rcpts);
    write_file(path, "a@x\nb c@x\n");
    CHECK(recipients_add_file(&rcpts, path) == MX_ERR_INVALID);
    recipients_free(&rcpts);
    (void)unlink(path);
    CHECK(recipients_add_file(&rcpts, path) == MX_ERR_NOTFOUND);
}

static void line_ends_and_dots(void)
{
    static const struct {
        const char *in, *crlf, *dotted;
    } cases[] = {
        {"a\nb", "a\r\nb\r\n", "a\r\nb\r\n"},
        {"a\r\nb\r\n", "a\r\nb\r\n", "a\r\nb\r\n"},
        {"a\rb\r", "a\r\nb\r\n", "a\r\nb\r\n"},
        {".a\n..\n.\n", ".a\r\n..\r\n.\r\n", "..a\r\n...\r\n..\r\n"},
        {"a\r\r\nb", "a\r\n\r\nb\r\n", "a\r\n\r\nb\r\n"},
        {"", "\r\n", "\r\n"},
    };
    for (size_t i = 0; i < mx_countof(cases); i++) {
        uint8_t crlf[64], dotted[128];
        struct slice in = slice_of_text(cases[i].in);
        printf("case %zu\n", i);
        size_t len = folder_to_crlf(crlf, in);
        CHECK(len <= 2 * in.len + 2);
        CHECK(slice_equal(slice_of(crlf, len), slice_of_text(cases[i].crlf)));
        size_t dotted_len = folder_to_dotted(dotted, slice_of(crlf, len));
        CHECK(slice_equal(slice_of(dotted, dotted_len), slice_of_text(cases[i].dotted)));
    }
}

static void is_read(void)
{
    char name[128];
    struct folder folder;
    (void)snprintf(path, sizeof path, "/tmp/ringmx-folder-XXXXXX");
    CHECK(mkdtemp(path) != NULL);
    CHECK(folder_read(&folder, path) == MX_ERR_NOTFOUND);
    folder_free(&folder);
    (void)snprintf(name, sizeof name, "%s/1", path);
    write_file(name, "Subject: x\n\n.dot\n");
    (void)snprintf(name, sizeof name, "%s/.hidden", path);
    write_file(name, "no");
    CHECK(folder_read(&folder, path) == MX_OK);
    CHECK(folder.count == 1);
    CHECK(slice_equal(folder.messages[0].bytes, SLICE_LITERAL("Subject: x\r\n\r\n.dot\r\n")));
    CHECK(slice_equal(folder.messages[0].dotted, SLICE_LITERAL("Subject: x\r\n\r\n..dot\r\n")));
    CHECK(!folder.messages[0].has_8bit);
    folder_free(&folder);
    (void)unlink(name);
    (void)snprintf(name, sizeof name, "%s/1", path);
    (void)unlink(name);
    (void)rmdir(path);
}

/* Every header that is written is understood as it was meant by the parser of the server. */
static void is_read_back(void)
{
    static const char *const networks[] = {"198.18.0.0/15", "2001:db8::/32", "203.0.113.7"};
    struct dice dice = {.state = 3};
    for (unsigned i = 0; i < 600; i++) {
        struct netmask mask;
        CHECK(netmask_parse(&mask, slice_of_text(networks[i % 3])) == MX_OK);
        struct netaddr from = dial_draw(&mask, &dice), to = dial_draw(&mask, &dice);
        CHECK(netmask_contains(&mask, &from));
        uint8_t buf[PROXY_HEADER_MAX];
        struct writer w = writer_init(buf, sizeof buf);
        (i % 2 == 0 ? put_proxy_v1 : put_proxy_v2)(&w, &from, &to);
        CHECK(!w.overflow);
        static struct proxy_parse header;
        size_t used = 0;
        proxy_parse_init(&header);
        CHECK(proxy_parse_feed(&header, writer_slice(&w), &used) == PROXY_DONE);
        CHECK(used == w.len);
        CHECK(netaddr_equal(&header.source, &from) && netaddr_equal(&header.destination, &to));
        CHECK(header.source.port == from.port);
    }
}

int main(void)
{
    drawn_are_different_and_in_order_when_all();
    unknown_share();
    of_a_file();
    line_ends_and_dots();
    is_read();
    is_read_back();
    return 0;
}
