#include "tools/cli/lines.h"

#include "core/text.h"
#include "tools/cli/fail.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

enum { READ_BYTES = 64 * 1024 };

struct line_at {
    int64_t offset;
    size_t len, number;
};

static bool failed(const struct lines *lines)
{
    return fail("%s: %s", lines->name, strerror(errno));
}

/* --- finding them ------------------------------------------------------------------------------
 */

static void add(struct lines *lines, struct line_at at)
{
    if (lines->count == lines->cap) {
        lines->cap = mx_max_size(64, lines->cap * 2);
        lines->at = need(realloc(lines->at, lines->cap * sizeof *lines->at));
    }
    lines->at[lines->count++] = at;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

static bool scan(struct lines *lines)
{
    char *bytes = need(malloc(READ_BYTES));
    struct line_at line = {.number = 1};
    int64_t offset = 0;
    bool blank = true;
    size_t got;
    while ((got = fread(bytes, 1, READ_BYTES, lines->file)) > 0) {
        for (size_t i = 0; i < got; i++) {
            if (bytes[i] != '\n') {
                blank = blank && is_blank(bytes[i]);
                continue;
            }
            line.len = (size_t)(offset + (int64_t)i - line.offset);
            if (!blank) {
                add(lines, line);
            }
            line = (struct line_at){.offset = offset + (int64_t)i + 1, .number = line.number + 1};
            blank = true;
        }
        offset += (int64_t)got;
    }
    free(bytes);
    line.len = (size_t)(offset - line.offset);
    if (!blank) {
        add(lines, line);
    }
    return !ferror(lines->file) || failed(lines);
}

/* --- opening -----------------------------------------------------------------------------------
 */

static bool copy(struct lines *lines, FILE *from)
{
    char *bytes = need(malloc(READ_BYTES));
    size_t got;
    bool good = true;
    lines->file = tmpfile();
    if (lines->file == NULL) {
        good = fail("a temporary file: %s", strerror(errno));
    }
    while (good && (got = fread(bytes, 1, READ_BYTES, from)) > 0) {
        good = fwrite(bytes, 1, got, lines->file) == got ||
               fail("a temporary file: %s", strerror(errno));
    }
    free(bytes);
    good = good && (!ferror(from) || failed(lines));
    good = good && (fflush(lines->file) == 0 || fail("a temporary file: %s", strerror(errno)));
    if (good) {
        rewind(lines->file);
    }
    return good;
}

static bool take(struct lines *lines)
{
    return fstat(fileno(lines->file), &lines->stat) == 0 ? scan(lines) : failed(lines);
}

bool lines_open_file(struct lines *lines, const char *path)
{
    *lines = (struct lines){.name = path, .file = fopen(path, "re")};
    if (lines->file == NULL || fstat(fileno(lines->file), &lines->stat) != 0) {
        return failed(lines);
    }
    if (S_ISREG(lines->stat.st_mode)) {
        return take(lines);
    }
    FILE *from = lines->file;
    bool good = copy(lines, from);
    fclose(from);
    return good && take(lines);
}

bool lines_open_stdin(struct lines *lines)
{
    *lines = (struct lines){.name = "standard input"};
    return copy(lines, stdin) && take(lines);
}

void lines_close(struct lines *lines)
{
    if (lines->file != NULL) {
        fclose(lines->file);
    }
    free(lines->at);
    buf_free(&lines->line);
    *lines = (struct lines){0};
}

/* --- reading -----------------------------------------------------------------------------------
 */

static bool is_unchanged(const struct lines *lines)
{
    struct stat now;
    return fstat(fileno(lines->file), &now) == 0 && now.st_size == lines->stat.st_size &&
           now.st_mtim.tv_sec == lines->stat.st_mtim.tv_sec &&
           now.st_mtim.tv_nsec == lines->stat.st_mtim.tv_nsec;
}

bool lines_read(struct lines *lines, size_t index, struct slice *out)
{
    const struct line_at *at = &lines->at[index];
    char bytes[READ_BYTES];
    if (at->len > LINES_LINE_MAX) {
        return fail("%s: line %zu is longer than %d bytes", lines->name, at->number,
                    LINES_LINE_MAX);
    }
    lines->line.len = 0;
    while (lines->line.len < at->len) {
        size_t wanted = mx_min_size(sizeof bytes, at->len - lines->line.len);
        ssize_t got =
            pread(fileno(lines->file), bytes, wanted, at->offset + (int64_t)lines->line.len);
        if (got < 0 && errno != EINTR) {
            return failed(lines);
        }
        if (got == 0) {
            break;
        }
        if (got > 0) {
            buf_bytes(&lines->line, bytes, (size_t)got);
        }
    }
    if (!is_unchanged(lines)) {
        return fail("%s: was changed while it was read", lines->name);
    }
    *out = text_trim(slice_of(buf_text(&lines->line), lines->line.len));
    while (out->len > 0 && is_blank((char)out->ptr[out->len - 1])) {
        out->len--;
    }
    return true;
}

size_t lines_number(const struct lines *lines, size_t index)
{
    return lines->at[index].number;
}
