/* The database file: first start, damage, newer formats, leftovers of crashes, kill -9. */
#include "tests/admin/support.h"

#include "admin/object_id.h"
#include "admin/store.h"
#include "io/sys.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

static void join(char path[400], const struct scratch *scratch, const char *name)
{
    snprintf(path, 400, "%s/%s", scratch->data, name);
}

/* Loads and expects an error; returns the text. */
static struct config_problem load_bad(const struct scratch *scratch, mx_err expected)
{
    struct config *config = NULL;
    struct config_problem problem;
    mx_err err = config_load(&config, scratch->data, &problem);
    if (err != expected) {
        failures++;
        fprintf(stderr, "expected %s, was %s: %s\n", err_name(expected), err_name(err),
                problem.text);
    }
    if (!err) {
        config_free(config);
    }
    return problem;
}

static void check_first_start(void)
{
    struct scratch scratch;
    struct store *store;
    struct config_problem problem;
    char path[400];
    struct stat status;
    scratch_open(&scratch);
    CHECK(mkdir(scratch.data, 0700) == 0);
    CHECK(store_open(&store, scratch.data, &problem) == MX_OK);
    CHECK(store_generation(store) == 1);
    uint64_t id = 0;
    const struct reg_type *route = reg_type_find(SLICE_LITERAL("MtaRoute"));
    CHECK(store_find_label(store, &id, route, SLICE_LITERAL("local")) == MX_OK);
    CHECK(id == STORE_SEED_LOCAL);
    CHECK(store_find_label(store, &id, route, SLICE_LITERAL("mx")) == MX_OK && id == STORE_SEED_MX);
    CHECK(store_find_label(store, &id, route, SLICE_LITERAL("x")) == MX_ERR_NOTFOUND);
    store_close(store);
    join(path, &scratch, "registry.db");
    CHECK(stat(path, &status) == 0 && (status.st_mode & 0777) == 0600);
    join(path, &scratch, "registry.db.new");
    CHECK(access(path, F_OK) != 0);
    scratch_close(&scratch);
}

/* A crash while the first database was built leaves parts of it: thrown away. */
static void check_leftovers(void)
{
    struct scratch scratch;
    char path[400];
    scratch_open(&scratch);
    CHECK(mkdir(scratch.data, 0700) == 0);
    join(path, &scratch, "registry.db.new");
    write_file(path, "half", 4);
    join(path, &scratch, "registry.db.new-journal");
    write_file(path, "half", 4);
    struct config *config;
    struct config_problem problem;
    CHECK(config_load(&config, scratch.data, &problem) == MX_OK);
    CHECK(config->image.generation == 1);
    config_free(config);
    scratch_close(&scratch);
}

static void check_orphan_log(const struct scratch *scratch, const char *path)
{
    char wal[400];
    CHECK(unlink(path) == 0);
    join(wal, scratch, "registry.db-wal");
    write_file(wal, "x", 1);
    struct config_problem problem = load_bad(scratch, MX_ERR_DAMAGED);
    CHECK_HAS(problem.text, "there is registry.db-wal but no registry.db");
    CHECK(unlink(wal) == 0);
}

static void check_formats(const struct scratch *scratch)
{
    CHECK(count_rows(scratch, "PRAGMA user_version") == 4);
    (void)count_rows(scratch, "PRAGMA user_version=7");
    struct config_problem problem = load_bad(scratch, MX_ERR_VERSION);
    CHECK_HAS(problem.text, "was written by a newer ringmx (format 7; this one knows up to 4)");
    (void)count_rows(scratch, "PRAGMA user_version=4");
    (void)count_rows(scratch, "PRAGMA application_id=5");
    problem = load_bad(scratch, MX_ERR_DAMAGED);
    (void)count_rows(scratch, "PRAGMA application_id=1380800561");

    /* an address whose account is gone */
    (void)count_rows(scratch, "INSERT INTO addresses VALUES(77, 'x', 78, -1, 1, NULL, 0)");
    problem = load_bad(scratch, MX_ERR_DAMAGED);
    CHECK_HAS(problem.text, "registry.db is damaged: 0 of 0 domain names and 0 of 1 addresses");
    (void)count_rows(scratch, "DELETE FROM addresses");
    (void)count_rows(scratch, "UPDATE objects SET json = '{' WHERE label = 'mx'");
    problem = load_bad(scratch, MX_ERR_DAMAGED);
    CHECK_HAS(problem.text, "registry.db holds an object that is not JSON");
}

static void check_damage(void)
{
    struct scratch scratch;
    char path[400];
    scratch_open(&scratch);
    apply_good(&scratch, "", "created 0, updated 0, destroyed 0, unchanged 0; generation 1\n");
    join(path, &scratch, "registry.db");
    uint8_t *bytes;
    size_t len;
    CHECK(sys_read_file(&bytes, &len, path, 1 << 24) == MX_OK);

    write_file(path, "", 0); /* never taken for a first start */
    struct config_problem problem = load_bad(&scratch, MX_ERR_DAMAGED);
    CHECK_HAS(problem.text, "registry.db is not a registry of ringmx, or it is damaged");
    write_file(path, "this is not a database, whatever it may say, and long enough", 60);
    problem = load_bad(&scratch, MX_ERR_DAMAGED);
    CHECK_HAS(problem.text, "registry.db: ");
    struct applied applied = apply_plan(&scratch, "", false);
    CHECK(applied.code == 1);
    CHECK_HAS(applied.text, "registry.db: ");
    free(applied.text);
    write_file(path, bytes, len / 2 / 8192 * 8192); /* pages are missing */
    problem = load_bad(&scratch, MX_ERR_DAMAGED);
    CHECK_HAS(problem.text, "registry.db");

    check_orphan_log(&scratch, path);
    write_file(path, bytes, len);
    check_formats(&scratch);
    free(bytes);
    scratch_close(&scratch);
}

static void check_lock(void)
{
    struct scratch scratch;
    char path[400];
    scratch_open(&scratch);
    CHECK(mkdir(scratch.data, 0700) == 0);
    join(path, &scratch, "lock");
    int ready[2];
    CHECK(pipe(ready) == 0);
    pid_t holder = fork();
    if (holder == 0) {
        int lock;
        char byte = sys_lock(&lock, path) == MX_OK ? 'y' : 'n';
        (void)!write(ready[1], &byte, 1);
        pause();
        _exit(0);
    }
    char byte = 0;
    CHECK(read(ready[0], &byte, 1) == 1 && byte == 'y');
    struct applied applied = apply_plan(&scratch, "", false);
    char expected[700];
    snprintf(expected, sizeof(expected),
             "error: %s is in use by process %d. Stop that server first: plans are applied to a "
             "stopped server.\n",
             scratch.data, (int)holder);
    CHECK(applied.code == 1);
    CHECK_TEXT(applied.text, expected);
    free(applied.text);
    (void)kill(holder, SIGKILL);
    (void)waitpid(holder, NULL, 0);
    apply_good(&scratch, "", "created 0, updated 0, destroyed 0, unchanged 0; generation 1\n");
    close(ready[0]);
    close(ready[1]);
    scratch_close(&scratch);
}

/* kill -9 at many moments of an apply: the registry holds the whole plan or nothing of it, and the
 * next apply completes it. */
enum { KILL_ROUNDS = 16, KILL_ACCOUNTS = 4000 };

static char *kill_plan(void)
{
    char *plan = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&plan, &len);
    fprintf(out, "{\"@type\":\"upsert\",\"object\":\"Domain\",\"value\":{\"d\":{\"name\":"
                 "\"example.org\"}}}\n");
    for (int i = 0; i < KILL_ACCOUNTS; i++) {
        fprintf(
            out,
            "{\"@type\":\"upsert\",\"object\":\"Account\",\"matchOn\":[\"name\",\"domainId\"],"
            "\"value\":{\"u%d\":{\"@type\":\"User\",\"name\":\"user%d\",\"domainId\":\"#d\"}}}\n",
            i, i);
    }
    fclose(out);
    return plan;
}

static int64_t now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static pid_t start_apply(struct scratch *scratch)
{
    pid_t child = fork();
    if (child == 0) {
        FILE *null = fopen("/dev/null", "w");
        struct plan_options options = {
            .data_dir = scratch->data, .path = scratch->plan, .out = null, .err = null};
        _exit(null ? plan_apply(&options) : 9);
    }
    return child;
}

static void kill_after(struct scratch *scratch, int64_t us)
{
    pid_t child = start_apply(scratch);
    struct timespec pause_time = {us / 1000000, us % 1000000 * 1000};
    (void)nanosleep(&pause_time, NULL);
    (void)kill(child, SIGKILL);
    (void)waitpid(child, NULL, 0);
}

static void check_kill(void)
{
    char *plan = kill_plan();
    struct scratch scratch;
    scratch_open(&scratch);
    write_file(scratch.plan, plan, strlen(plan));
    int64_t start = now_us();
    int status = 0;
    CHECK(waitpid(start_apply(&scratch), &status, 0) > 0 && status == 0);
    int64_t whole_us = now_us() - start;
    scratch_close(&scratch);
    int whole = 0;
    for (int round = 0; round < KILL_ROUNDS; round++) {
        scratch_open(&scratch);
        write_file(scratch.plan, plan, strlen(plan));
        kill_after(&scratch, whole_us * 2 * (round + 1) / KILL_ROUNDS);
        struct config *config = NULL;
        struct config_problem problem;
        CHECK(mkdir(scratch.data, 0700) == 0 || access(scratch.data, F_OK) == 0);
        mx_err err = config_load(&config, scratch.data, &problem);
        CHECK(err == MX_OK);
        if (!err) {
            bool all = config->address_count == KILL_ACCOUNTS && config->domain_count == 1 &&
                       config->image.generation == 2;
            bool nothing = config->address_count == 0 && config->domain_count == 0 &&
                           config->image.generation == 1;
            CHECK(all || nothing);
            whole += all;
            config_free(config);
        }
        apply_good(&scratch, plan, NULL);
        CHECK(count_rows(&scratch, "SELECT count(*) FROM accounts") == KILL_ACCOUNTS);
        scratch_close(&scratch);
    }
    printf("kill -9: %d of %d rounds had the whole plan\n", whole, KILL_ROUNDS);
    free(plan);
}

/* The disk is full (a file may not grow): a clear error, and nothing has happened. */
static int apply_in_little_room(struct scratch *scratch)
{
    struct rlimit limit = {256 * 1024, 256 * 1024};
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    struct plan_options options = {
        .data_dir = scratch->data, .path = scratch->plan, .out = out, .err = out};
    (void)signal(SIGXFSZ, SIG_IGN);
    (void)setrlimit(RLIMIT_FSIZE, &limit);
    CHECK(plan_apply(&options) == 1);
    fclose(out);
    CHECK_HAS(text, "error: registry.db: ");
    CHECK_HAS(text, "nothing was changed\n");
    free(text);
    return failures ? 1 : 0;
}

static void check_full_disk(void)
{
    struct scratch scratch;
    char *plan = kill_plan();
    scratch_open(&scratch);
    apply_good(&scratch, "", "created 0, updated 0, destroyed 0, unchanged 0; generation 1\n");
    write_file(scratch.plan, plan, strlen(plan));
    char *before = dump_registry(&scratch);
    pid_t child = fork();
    if (child == 0) {
        _exit(apply_in_little_room(&scratch));
    }
    int status = 1;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    char *after = dump_registry(&scratch);
    CHECK_TEXT(after, before);
    apply_good(&scratch, plan, NULL);
    free(before);
    free(after);
    free(plan);
    scratch_close(&scratch);
}

static void check_ids(void)
{
    uint8_t buf[OBJECT_ID_TEXT_MAX];
    struct writer w = writer_init(buf, sizeof(buf));
    put_object_id(&w, OBJECT_ID_SINGLETON);
    CHECK(slice_equal(writer_slice(&w), SLICE_LITERAL("singleton")));
    static const uint64_t values[] = {0, 1, 31, 32, 1023, UINT64_MAX >> 1};
    for (size_t i = 0; i < mx_countof(values); i++) {
        uint64_t back = 7;
        w = writer_init(buf, sizeof(buf));
        put_object_id(&w, values[i]);
        CHECK(object_id_parse(&back, writer_slice(&w)) == MX_OK && back == values[i]);
    }
    static const char *const bad[] = {
        "", "A", "4", "5", "6", "8", "a b", "iaaaaaaaaaaaaa", "33333333333333"};
    for (size_t i = 0; i < mx_countof(bad); i++) {
        uint64_t id;
        CHECK(object_id_parse(&id, slice_of_text(bad[i])) == MX_ERR_SYNTAX);
    }
    uint64_t last = 0;
    for (int i = 0; i < 10000; i++) { /* more than fit into one millisecond */
        uint64_t next = object_id_next(last, INT64_C(1800000000000), 5);
        CHECK(next > last);
        CHECK((next >> 12 & 1023) == 5);
        last = next;
    }
    uint64_t other = object_id_next(last, INT64_C(1800000000000), 4); /* the node changed */
    CHECK(other > last && (other >> 12 & 1023) == 4);
    CHECK(object_id_next(last, INT64_C(1700000000000), 5) > last); /* the clock went back */
}

int main(void)
{
    check_ids();
    check_first_start();
    check_leftovers();
    check_damage();
    check_lock();
    check_kill();
    check_full_disk();
    return report("store");
}
