/* What `ringmx doctor` prints: one line per item, and the exit code that follows from the lines. */
#define CHECK_COUNTS
#include "tests/check.h"

#include "admin/doctor.h"
#include "core/base.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { OUTPUT_MAX = 16 * 1024 };

static char output[OUTPUT_MAX];

static int run(const char *data_dir)
{
    FILE *out = tmpfile();
    if (out == NULL) {
        perror("tmpfile");
        exit(1);
    }
    int code = doctor_run(out, data_dir);
    rewind(out);
    output[fread(output, 1, sizeof output - 1, out)] = '\0';
    fclose(out);
    return code;
}

/* "ok    name  value" or "warn  name  value  -- advice"; the number of FAIL lines. */
static unsigned check_lines(void)
{
    unsigned fails = 0, lines = 0;
    char copy[OUTPUT_MAX], *rest = copy, *line;
    memcpy(copy, output, sizeof copy);
    CHECK(output[0] != '\0' && output[strlen(output) - 1] == '\n');
    while ((line = strsep(&rest, "\n")) != NULL && (line[0] != '\0' || rest != NULL)) {
        bool ok = strncmp(line, "ok    ", 6) == 0, warn = strncmp(line, "warn  ", 6) == 0;
        bool fail = strncmp(line, "FAIL  ", 6) == 0;
        CHECK(ok || warn || fail);
        CHECK(strlen(line) > 29 && line[6] != ' ' && line[29] != ' ');
        const char *advice = strstr(line, "  -- ");
        CHECK(ok ? advice == NULL : advice != NULL && strlen(advice) > 15);
        fails += fail;
        lines++;
    }
    CHECK(lines >= 15);
    return fails;
}

static bool says(const char *name)
{
    char wanted[64];
    (void)snprintf(wanted, sizeof wanted, "  %-22s ", name);
    return strstr(output, wanted) != NULL;
}

static unsigned entries_of(const char *path)
{
    unsigned count = 0;
    DIR *dir = opendir(path);
    CHECK(dir != NULL);
    while (dir != NULL && readdir(dir) != NULL) {
        count++;
    }
    if (dir != NULL) {
        closedir(dir);
    }
    return count;
}

int main(void)
{
    static const char *const names[] = {
        "kernel",        "io_uring",       "provided buffers", "CPUs for this process",
        "RLIMIT_NOFILE", "RLIMIT_MEMLOCK", "liburing",         "BoringSSL",
        "xxHash",        "jemalloc",       "SQLite",           "Jansson",
        "PCRE2",         "libidn2"};
    int code = run(NULL);
    CHECK((check_lines() > 0) == (code != 0));
    CHECK(code == 0 || code == 1);
    for (size_t i = 0; i < mx_countof(names); i++) {
        CHECK(says(names[i]));
    }
    CHECK(!says("O_DIRECT") && !says("data folder"));

    char dir[] = "/tmp/check_doctor.XXXXXX";
    CHECK(mkdtemp(dir) != NULL);
    CHECK(run(dir) == code);
    CHECK((check_lines() > 0) == (code != 0));
    CHECK(says("O_DIRECT") && says("free space"));
    CHECK(entries_of(dir) == 2); /* nothing is left behind */
    CHECK(rmdir(dir) == 0);

    CHECK(run(dir) == 1); /* now it is not there */
    CHECK(check_lines() > 0 && says("data folder") && !says("O_DIRECT"));
    return failures > 0 ? 1 : 0;
}
