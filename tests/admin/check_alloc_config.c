/* Memory that runs out at every allocation of what is not on the mail path: expressions, address
 * tables, a plan's way into the registry, the registry's way into a configuration, certificates and
 * TLS handshakes. A clear error is allowed; a crash, a leak, half a change are not. SQLite takes
 * part through its own hooks, jansson through those of admin/json_memory. */
#include "tests/alloc_failure.h"

#include "core/key_table.h"
#include "io/mbox.h"
#include "io/shard.h"
#include "io/tls.h"
#include "route/directory.h"
#include "route/lookup.h"
#include "smtp/session_count.h"
#include "tests/admin/support.h"
#include "tests/dir_records.h"

#include <jansson.h>

#undef CHECK
#define CHECK ALLOC_CHECK

/* BoringSSL's X509V3_add1_i2d itself forgets the extension when its list cannot grow. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:ASN1_STRING_type_new\nleak:ASN1_item_i2d\n";
}

static sqlite3_mem_methods sqlite_methods;

static void *sqlite_malloc(int bytes)
{
    return alloc_fails() ? NULL : sqlite_methods.xMalloc(bytes);
}

static void *sqlite_realloc(void *old, int bytes)
{
    return alloc_fails() ? NULL : sqlite_methods.xRealloc(old, bytes);
}

static void hooks_set(void)
{
    sqlite3_mem_methods methods;
    CHECK(sqlite3_config(SQLITE_CONFIG_GETMALLOC, &sqlite_methods) == SQLITE_OK);
    methods = sqlite_methods;
    methods.xMalloc = sqlite_malloc;
    methods.xRealloc = sqlite_realloc;
    CHECK(sqlite3_config(SQLITE_CONFIG_MALLOC, &methods) == SQLITE_OK);
    CHECK(sqlite3_config(SQLITE_CONFIG_LOOKASIDE, 0, 0) == SQLITE_OK);
}

/* --- expressions and tables
 * --------------------------------------------------------------------- */

static void expression(void)
{
    struct expr_branch branches[] = {
        {SLICE_LITERAL("is_local_address(rcpt) && rcpt_domain == 'example.org'"),
         SLICE_LITERAL("'local'")},
        {SLICE_LITERAL("contains(['a', 'b', 'c'], sender_domain)"), SLICE_LITERAL("'x' + 'y'")},
        {SLICE_LITERAL("matches('^(a+)@', rcpt) && [to_uppercase('b'), 2] != [$1] && size > 1 && "
                       "size > 2 && size > 3 && size > 4 && size > 5 && size > 6 && size > 7"),
         SLICE_LITERAL("'z'")}};
    struct expr_source source = {
        .branches = branches, .branch_count = 3, .otherwise = SLICE_LITERAL("'mx'")};
    struct expr_problem problem;
    struct expr_program *program;
    alloc_arm();
    mx_err err = expr_compile(&program, &source, EXPR_QRCPT, &problem);
    alloc_disarm();
    if (err && !atomic_load(&alloc_failed)) {
        printf("%s\n", problem.message);
    }
    CHECK(err == MX_OK || err == MX_ERR_NOMEM);
    CHECK(err == MX_OK || atomic_load(&alloc_failed));
    if (err == MX_OK) {
        expr_free(program);
    } else {
        CHECK(problem.message[0] != '\0');
    }
}

static void directory(void)
{
    enum { COUNT = 300 };
    struct directory *dir = NULL;
    struct dir_domain domain = {.id = 1, .name = SLICE_LITERAL("example.org"), .enabled = true};
    char names[COUNT][16];
    DIR_RECORDS(records, 16384); /* the tables refer to them */
    size_t put = 0;
    records->bytes = 0;
    alloc_arm();
    mx_err err = directory_new(&dir, 1);
    err = err ? err : directory_put_domain(dir, &domain);
    for (size_t i = 0; !err && i < COUNT; i++) {
        snprintf(names[i], sizeof names[i], "u%zu", i);
        struct dir_address about = {.domain_id = 1,
                                    .local = slice_of_text(names[i]),
                                    .enabled = true,
                                    .mailbox = slice_of_text(names[i])};
        err = directory_put_address(dir, dir_records_add(records, records_max, &about));
        put += err == MX_OK;
    }
    alloc_disarm();
    CHECK(err == MX_OK || err == MX_ERR_NOMEM);
    for (size_t i = 0; i < put; i++) { /* what was put before the failure is still there */
        struct resolution found;
        directory_resolve(dir, slice_of_text(names[i]), domain.name, SLICE_EMPTY, &found);
        CHECK(found.kind == RESOLVE_LOCAL);
    }
    directory_free(dir);
}

/* What expressions look up, and what they remember. */
static void lists_and_keys(void)
{
    static const struct lookup_row rows[] = {
        {SLICE_LITERAL("one"), SLICE_LITERAL("a")},
        {SLICE_LITERAL("one"), SLICE_LITERAL("b*"), .pattern = true},
        {SLICE_LITERAL("two"), SLICE_LITERAL("a"), SLICE_LITERAL("value"), .has_value = true},
    };
    struct lookups *lookups = NULL;
    struct key_table *table = NULL;
    struct key_value text = {.type = KEY_TEXT, .text = SLICE_LITERAL("text")}, found;
    int64_t counter = 0;
    size_t at;
    alloc_arm();
    mx_err err = lookups_new(&lookups, rows, mx_countof(rows), &at);
    mx_err made = key_table_new(&table, 1);
    mx_err put = made ? made : key_table_put(table, SLICE_LITERAL("key"), &text, 0);
    mx_err added = made ? made : key_table_add(table, SLICE_LITERAL("key"), 5, 0, &counter);
    alloc_disarm();
    CHECK(err == MX_OK || (err == MX_ERR_NOMEM && atomic_load(&alloc_failed)));
    CHECK(put == MX_OK || (put == MX_ERR_NOMEM && atomic_load(&alloc_failed)));
    CHECK(alloc_all || err == MX_OK || (put == MX_OK && added == MX_OK));
    if (!made) {
        CHECK(key_table_get(table, KEY_IS_VALUE, SLICE_LITERAL("key"), 0, &found) ==
              (put == MX_OK));
        CHECK(key_table_get(table, KEY_IS_COUNTER, SLICE_LITERAL("key"), 0, &found) ==
              (added == MX_OK));
    }
    lookups_free(lookups);
    key_table_free(table);
}

/* The memory of a core and of what crosses cores. */
static void core_memory(void)
{
    enum { CORES = 2 };
    struct shard shard;
    struct shard_conf conf = {.count = CORES, .cpu = -1, .blocks_max = 100, .workers = 1};
    struct session_count *sessions = NULL;
    alloc_arm();
    mx_err err = mbox_hub_new(&conf.hub, CORES);
    err = err ? err : session_count_new(&sessions, CORES, 3, 1);
    if (!err) {
        err = shard_init(&shard, &conf);
        void *block = err ? NULL : pool_acquire(&shard.blocks);
        if (!err) {
            CHECK(block != NULL || atomic_load(&alloc_failed));
            pool_release(&shard.blocks, block);
            shard_fini(&shard);
        }
    }
    alloc_disarm();
    CHECK(err == MX_OK || (err == MX_ERR_NOMEM && atomic_load(&alloc_failed)));
    session_count_free(sessions);
    mbox_hub_free(conf.hub);
}

/* --- configuration
 * ------------------------------------------------------------------------------ */

static const char plan_text[] =
    "{\"@type\":\"upsert\",\"object\":\"Domain\",\"value\":{\"d\":{\"name\":\"b\\u00fccher."
    "example\","
    "\"allowRelaying\":true}}}\n"
    "{\"@type\":\"upsert\",\"object\":\"Account\",\"matchOn\":[\"name\",\"domainId\"],\"value\":{"
    "\"a\":{\"@type\":\"User\",\"name\":\"alice\",\"domainId\":\"#d\"}}}\n"
    "{\"@type\":\"reconcile\",\"object\":\"MtaRoute\",\"matchOn\":[\"name\"],\"scope\":{\"@type\":"
    "\"Relay\"},\"value\":{\"r\":{\"@type\":\"Relay\",\"name\":\"source\",\"address\":\"192.0.2."
    "25\"}}}\n"
    "{\"@type\":\"upsert\",\"object\":\"MemoryLookupKeyValue\",\"matchOn\":[\"namespace\",\"key\"],"
    "\"value\":{\"k\":{\"namespace\":\"vip\",\"key\":\"*@example.net\",\"value\":\"v\","
    "\"isGlobPattern\":true}}}\n"
    "{\"@type\":\"update\",\"object\":\"MtaOutboundStrategy\",\"value\":{\"route\":{\"match\":{"
    "\"0\":{"
    "\"if\":\"is_local_address(rcpt) || key_exists('vip', "
    "rcpt)\",\"then\":\"'local'\"}},\"else\":\"'source'\"}}}\n";

static void plan(void)
{
    struct scratch scratch;
    char *text = NULL;
    size_t len = 0;
    scratch_open(&scratch);
    write_file(scratch.plan, plan_text, strlen(plan_text));
    FILE *out = open_memstream(&text, &len);
    struct plan_options options = {
        .data_dir = scratch.data, .path = scratch.plan, .who = "test", .out = out, .err = out};
    alloc_arm();
    int code = plan_apply(&options);
    alloc_disarm();
    fclose(out);
    if (getenv("ALLOC_ONLY") != NULL) {
        fprintf(stderr, "%lu allocations\n%s", atomic_load(&alloc_count), text);
    }
    CHECK(code == PLAN_EXIT_OK || (atomic_load(&alloc_failed) && code == PLAN_EXIT_FAILED));
    CHECK(code == PLAN_EXIT_OK || strstr(text, "error") != NULL);
    free(text);
    /* All or nothing: then everything is created, or everything is as wanted. */
    struct applied again = apply_plan(&scratch, plan_text, false);
    CHECK(again.code == PLAN_EXIT_OK);
    CHECK(strstr(again.text,
                 code == PLAN_EXIT_OK ? "created 0, updated 0" : "created 4, updated 1") != NULL);
    free(again.text);
    scratch_close(&scratch);
}

static void configuration(void)
{
    static struct scratch scratch;
    if (scratch.root[0] == '\0') {
        scratch_open(&scratch);
        struct applied applied = apply_plan(&scratch, plan_text, false);
        CHECK(applied.code == PLAN_EXIT_OK);
        free(applied.text);
    }
    struct config *config = NULL;
    struct config_problem problem;
    alloc_arm();
    mx_err err = config_load(&config, scratch.data, &problem);
    alloc_disarm();
    bool failed = atomic_load(&alloc_failed);
    CHECK(err == MX_OK || (failed && problem.text[0] != '\0'));
    if (err == MX_OK) { /* what survived a failure is whole */
        CHECK(config->domain_count == 1 && config->address_count == 1);
        CHECK(config->image.route_program != NULL && config->image.listener_count >= 1);
        config_free(config);
    }
    if (alloc_all && !failed) {
        scratch_close(&scratch);
        scratch.root[0] = '\0';
    }
}

/* --- TLS
 * ------------------------------------------------------------------------------------------- */

static char cert[4096], key[4096];
static struct writer cert_w, key_w;

static void certificate(void)
{
    struct writer c = writer_init(cert, sizeof cert), k = writer_init(key, sizeof key);
    const char *problem = "";
    alloc_arm();
    mx_err err = tls_self_signed(&c, &k, SLICE_LITERAL("mx.example.org"), 1790000000000);
    err = err ? err : tls_check_pair(writer_slice(&c), writer_slice(&k), NULL, NULL, &problem);
    alloc_disarm();
    CHECK(err == MX_OK || atomic_load(&alloc_failed));
    if (err == MX_OK) {
        cert_w = c;
        key_w = k;
    }
}

static void move(struct tls *to, struct tls *from, mx_err *err)
{
    uint8_t buf[4096];
    size_t n;
    while (!*err && (n = tls_drain(from, buf, sizeof buf)) > 0) {
        *err = tls_feed(to, slice_of(buf, n));
    }
}

/* Both ends, a line each way, and the next connection, which resumes; under the second of two
 * certificates. */
static void handshakes(void)
{
    struct tls_server_conf conf = {.cert_pem = writer_slice(&cert_w),
                                   .key_pem = writer_slice(&key_w)};
    struct tls_ctx *server_ctx = NULL, *client_ctx = NULL;
    alloc_arm();
    mx_err err = tls_server_ctx_new(&server_ctx, &conf);
    err = err ? err : tls_client_ctx_new(&client_ctx, &(struct tls_client_conf){.verify = false});
    for (unsigned round = 0; !err && round < 2; round++) {
        struct tls *server = NULL, *client = NULL;
        mx_err a = MX_ERR_AGAIN, b = MX_ERR_AGAIN;
        err = tls_new(&server, server_ctx, SLICE_EMPTY);
        err = err ? err : tls_new(&client, client_ctx, SLICE_LITERAL("other.example.org"));
        for (unsigned i = 0; !err && (a || b) && i < 20; i++) {
            a = a ? tls_handshake(client) : a;
            move(server, client, &err);
            b = b && !err ? tls_handshake(server) : b;
            move(client, server, &err);
            err = a && a != MX_ERR_AGAIN ? a : b && b != MX_ERR_AGAIN ? b : err;
        }
        char line[16];
        size_t len = 0;
        CHECK(err || (a == MX_OK && b == MX_OK));
        err = err ? err : tls_write(server, SLICE_LITERAL("hello"));
        move(client, server, &err);
        err = err ? err : tls_read(client, &len, line, sizeof line);
        CHECK(err || (len == 5 && memcmp(line, "hello", 5) == 0));
        tls_free(server);
        tls_free(client);
    }
    tls_ctx_free(server_ctx);
    tls_ctx_free(client_ctx);
    alloc_disarm();
    CHECK(err == MX_OK || atomic_load(&alloc_failed));
}

int main(void)
{
    (void)setvbuf(stdout, NULL, _IOLBF, 0);
    if (access("/dev/shm", W_OK) == 0) {
        (void)setenv("TMPDIR", "/dev/shm", 0); /* hundreds of registries: spares the disk */
    }
    hooks_set();
    every_allocation("expression", expression, 1);
    every_allocation("directory", directory, 1);
    every_allocation("lists and keys", lists_and_keys, 1);
    every_allocation("core memory", core_memory, 1);
    every_allocation("plan", plan, 41);
    every_allocation("configuration", configuration, 23);
    alloc_tls = true;
    every_allocation("certificate", certificate, 7);
    CHECK(cert_w.len > 0);
    CHECK(tls_self_signed(&cert_w, &key_w, SLICE_LITERAL("other.example.org"), 1790000000000) ==
          MX_OK);
    every_allocation("handshakes", handshakes, 29);
    return 0;
}
