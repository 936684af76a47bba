#include "admin/doctor.h"

#include "core/hash.h"
#include "io/ring.h"
#include "io/sys.h"
#include "io/tls.h"

#include <idn2.h>
#include <jansson.h>
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <sched.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

enum { FILES_WANTED = 65536 };
#define MEMLOCK_WANTED (UINT64_C(8) << 20)

enum grade { OK, WARN, FAIL };

struct doctor {
    FILE *out;
    bool failed;
};

static void say(struct doctor *d, enum grade grade, const char *name, const char *value,
                const char *advice)
{
    static const char *const marks[] = {"ok  ", "warn", "FAIL"};
    fprintf(d->out, "%s  %-22s %s", marks[grade], name, value);
    if (grade != OK) {
        fprintf(d->out, "  -- %s", advice);
    }
    fputc('\n', d->out);
    d->failed = d->failed || grade == FAIL;
}

static void check_kernel(struct doctor *d, const struct ring_probe *probe)
{
    char text[32];
    say(d, OK, "kernel", probe->release, "");
    (void)snprintf(text, sizeof text, "%d", probe->io_uring_disabled);
    if (probe->io_uring_disabled >= 0) {
        say(d, probe->io_uring_disabled == 0 ? OK : WARN, "io_uring_disabled", text,
            "sysctl kernel.io_uring_disabled is not 0: unprivileged processes may be refused");
    }
    say(d, probe->err == MX_OK ? OK : FAIL, "io_uring",
        probe->err == MX_OK ? "usable" : err_text(probe->err), probe->advice);
    if (probe->err != MX_OK && !probe->single_issuer) {
        return; /* no ring could be made at all: its features cannot be told */
    }
    const struct {
        const char *name;
        bool there;
        enum grade missing;
    } features[] = {{"single issuer", probe->single_issuer, FAIL},
                    {"deferred task work", probe->defer_taskrun, FAIL},
                    {"provided buffers", probe->buf_ring, FAIL},
                    {"multishot accept", probe->accept_multishot, FAIL},
                    {"ring messages", probe->msg_ring, WARN},
                    {"zero-copy send", probe->send_zc, WARN}};
    for (size_t i = 0; i < mx_countof(features); i++) {
        say(d, features[i].there ? OK : features[i].missing, features[i].name,
            features[i].there ? "yes" : "no",
            "Linux 6.1 or newer has it; ringmx does without where it warns");
    }
}

static void check_limit(struct doctor *d, int resource, const char *name, uint64_t wanted,
                        const char *advice)
{
    struct rlimit limit;
    char text[64];
    if (getrlimit(resource, &limit) != 0) {
        return;
    }
    bool unlimited = limit.rlim_max == RLIM_INFINITY;
    (void)snprintf(text, sizeof text, unlimited ? "unlimited" : "%llu",
                   (unsigned long long)limit.rlim_max);
    say(d, unlimited || limit.rlim_max >= wanted ? OK : WARN, name, text, advice);
}

static void check_cpus(struct doctor *d)
{
    cpu_set_t set;
    char text[16];
    int count = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 0;
    (void)snprintf(text, sizeof text, "%d", count);
    say(d, count > 0 ? OK : WARN, "CPUs for this process", text, "give --cores");
}

/* Linked only where jemalloc is the allocator. */
int mallctl(const char *name, void *old, size_t *old_len, void *new, size_t new_len)
    __attribute__((weak));

static void list_libraries(struct doctor *d, const struct ring_probe *probe)
{
    char pcre2[32] = "";
    const char *jemalloc = "not in this build";
    size_t len = sizeof jemalloc;
    if (mallctl != NULL && mallctl("version", (void *)&jemalloc, &len, NULL, 0) != 0) {
        jemalloc = "unknown";
    }
    (void)pcre2_config(PCRE2_CONFIG_VERSION, pcre2);
    const struct {
        const char *name, *version;
    } libraries[] = {{"liburing", probe->liburing},
                     {"BoringSSL", tls_library_version()},
                     {"xxHash", hash_library_version()},
                     {"jemalloc", jemalloc},
                     {"SQLite", sqlite3_libversion()},
                     {"Jansson", jansson_version_str()},
                     {"PCRE2", pcre2},
                     {"libidn2", idn2_check_version(NULL)}};
    for (size_t i = 0; i < mx_countof(libraries); i++) {
        say(d, OK, libraries[i].name, libraries[i].version, "");
    }
}

static void check_data_dir(struct doctor *d, const char *data_dir)
{
    char path[1024], text[64];
    uint64_t available = 0;
    int fd = -1;
    int len = snprintf(path, sizeof path, "%s/.doctor-probe", data_dir);
    if (len < 0 || (size_t)len >= sizeof path) {
        say(d, FAIL, "data folder", data_dir, "the path is too long");
        return;
    }
    mx_err err = sys_open(&fd, path, SYS_WRITE | SYS_CREATE | SYS_DIRECT);
    if (err == MX_OK) {
        sys_close(fd);
    }
    bool there = false;
    if (sys_exists(&there, path) == MX_OK && there && sys_unlink(path) != MX_OK) {
        say(d, WARN, "data folder", path, "this probe file could not be removed");
    }
    if (err == MX_OK) {
        say(d, OK, "O_DIRECT", "yes", "");
    } else if (err == MX_ERR_INVALID || err == MX_ERR_UNSUPPORTED) {
        say(d, WARN, "O_DIRECT", "no",
            "the journal is written buffered and synced, which is slower");
    } else {
        say(d, FAIL, "data folder", err_text(err), "it must exist and be writable by this user");
        return;
    }
    if (sys_free_bytes(&available, data_dir) == MX_OK) {
        (void)snprintf(text, sizeof text, "%llu MiB", (unsigned long long)(available >> 20));
        say(d, available >= UINT64_C(256) << 20 ? OK : WARN, "free space", text,
            "new mail is refused when the journal cannot grow");
    }
}

int doctor_run(FILE *out, const char *data_dir)
{
    struct doctor d = {.out = out};
    struct ring_probe probe;
    ring_probe(&probe);
    check_kernel(&d, &probe);
    check_cpus(&d);
    check_limit(&d, RLIMIT_NOFILE, "RLIMIT_NOFILE", FILES_WANTED,
                "every session needs a descriptor: systemd LimitNOFILE=1048576, shell ulimit -n");
    check_limit(
        &d, RLIMIT_MEMLOCK, "RLIMIT_MEMLOCK", MEMLOCK_WANTED,
        "rings are locked memory: systemd LimitMEMLOCK=infinity, shell ulimit -l unlimited");
    list_libraries(&d, &probe);
    if (data_dir != NULL) {
        check_data_dir(&d, data_dir);
    }
    return d.failed ? 1 : 0;
}
