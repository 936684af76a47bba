/* A start of a core that fails, at each of its parts: what had been opened is closed. */
#include "tests/check.h"

#include "core/check.h"
#include "io/journal.h"
#include "io/shard.h"
#include "io/tls.h"
#include "smtp/service.h"
#include "smtp/spool.h"
#include "smtp/spool_adopt.h"
#include "smtp/srv_conn.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- the parts, one of which fails, before it has opened anything ------------------------------
 */

static const char *failing;

static bool fails(const char *part)
{
    return failing != NULL && strcmp(failing, part) == 0;
}

#define OR_FAILS(part, call) (fails(part) ? MX_ERR_NOMEM : (call))
#define pool_init(...) OR_FAILS("session memory", pool_init(__VA_ARGS__))
#define directory_new(...) OR_FAILS("address tables", directory_new(__VA_ARGS__))
#define tls_server_ctx_new(...) OR_FAILS("TLS certificate", tls_server_ctx_new(__VA_ARGS__))
#define quotas_open(...) OR_FAILS("counters of quotas", quotas_open(__VA_ARGS__))
#define spool_open(...) OR_FAILS("spool and journal", spool_open(__VA_ARGS__))
#define pool_limit_prepare(...) OR_FAILS("tuning", pool_limit_prepare(__VA_ARGS__))
#define keys_open(...) OR_FAILS("keys of expressions", keys_open(__VA_ARGS__))
#define dns_open(...) OR_FAILS("name lookups", dns_open(__VA_ARGS__))
#define deliver_open(...) OR_FAILS("delivery", deliver_open(__VA_ARGS__))
#define listeners_prepare(...) OR_FAILS("listeners", listeners_prepare(__VA_ARGS__))
#include "smtp/service.c"

/* --- what is allocated ------------------------------------------------------------------------
 */

enum { LIVE_MAX = 64 * 1024, DIR_BYTES = 300, SEGMENT_BYTES = 5 * 1024 * 1024 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static void *live[LIVE_MAX];
static unsigned live_count;

void *__real_malloc(size_t bytes);
void *__real_calloc(size_t count, size_t bytes);
void *__real_realloc(void *old, size_t bytes);
void *__real_aligned_alloc(size_t align, size_t bytes);
void __real_free(void *block);
void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);
void *__wrap_realloc(void *old, size_t bytes);
void *__wrap_aligned_alloc(size_t align, size_t bytes);
void __wrap_free(void *block);

static void *note(void *block)
{
    if (block != NULL) {
        pthread_mutex_lock(&lock);
        CHECK(live_count < LIVE_MAX);
        live[live_count++] = block;
        pthread_mutex_unlock(&lock);
    }
    return block;
}

/* What a library gave us is not in the list. */
static void forget(const void *block)
{
    pthread_mutex_lock(&lock);
    for (unsigned i = live_count; i-- > 0;) {
        if (live[i] == block) {
            live[i] = live[--live_count];
            break;
        }
    }
    pthread_mutex_unlock(&lock);
}

void *__wrap_malloc(size_t bytes)
{
    return note(__real_malloc(bytes));
}

void *__wrap_calloc(size_t count, size_t bytes)
{
    return note(__real_calloc(count, bytes));
}

void *__wrap_aligned_alloc(size_t align, size_t bytes)
{
    return note(__real_aligned_alloc(align, bytes));
}

void *__wrap_realloc(void *old, size_t bytes)
{
    forget(old);
    return note(__real_realloc(old, bytes));
}

void __wrap_free(void *block)
{
    forget(block);
    __real_free(block);
}

/* --- a start ----------------------------------------------------------------------------------
 */

static char dir[DIR_BYTES];
static char cert[4096], key[4096];
static struct writer cert_pem, key_pem;
static struct journal_store *store;
static struct session_count *sessions;

static void on_stopped(struct service *service)
{
    (void)service;
}

static void segments_made(struct shard *shard)
{
    while (work_pending(shard->work) > 0) { /* segments being made */
        shard_turn(shard, MX_NS_PER_MS);
    }
}

/* Opens a core and, when that succeeds, closes it; what stays allocated is an error. */
static void start(const char *failing_part)
{
    static const struct names names;
    static struct route_conf route = {.name = SLICE_LITERAL("local"), .kind = ROUTE_LOCAL};
    static struct image image = {.generation = 1,
                                 .hostname = SLICE_LITERAL("mx.example.org"),
                                 .routes = &route,
                                 .route_count = 1};
    static struct service service;
    static struct shard shard;
    struct shard_conf shard_conf = {
        .count = 1, .cpu = -1, .blocks_max = 64, .workers = 1, .log_level = LOG_ERROR};
    struct service_conf conf = {.image = &image,
                                .hash_seed = 42,
                                .store = store,
                                .sessions = sessions,
                                .names = &names,
                                .cert_pem = writer_slice(&cert_pem),
                                .key_pem = writer_slice(&key_pem),
                                .deliver = {.mail_root = dir},
                                .stopped = on_stopped};
    const char *what = NULL;
    schedule_default(&conf.deliver.schedule);
    memset(&shard, 0, sizeof shard);
    CHECK(shard_init(&shard, &shard_conf) == MX_OK);
    CHECK(shard_open(&shard) == MX_OK);
    failing = failing_part;
    mx_err err = service_open(&service, &shard, &conf, &what);
    failing = NULL;
    if (failing_part == NULL) {
        CHECK(err == MX_OK && shard.service == &service);
        segments_made(&shard);
        service_close(&service);
    } else {
        CHECK(err == MX_ERR_NOMEM && what != NULL && strcmp(what, failing_part) == 0);
    }
    CHECK(shard.service == NULL);
    shard_close(&shard);
    shard_fini(&shard);
}

static void failed_start_keeps_nothing(void)
{
    start(NULL); /* what is made once */
    unsigned before = live_count;
    start(NULL);
    CHECK(live_count == before);
    for (size_t i = 0; i < mx_countof(parts); i++) {
        start(parts[i].what);
        if (live_count != before) {
            printf("%s failed: %u blocks of memory stay\n", parts[i].what, live_count - before);
            exit(1);
        }
    }
}

int main(void)
{
    struct journal_conf journal = {
        .node = 1, .first_segment_bytes = SEGMENT_BYTES, .segment_bytes = SEGMENT_BYTES};
    static struct log log;
    char command[DIR_BYTES + 16];
    snprintf(dir, sizeof dir, "%s/ringmx-service-XXXXXX",
             getenv("TMPDIR") != NULL ? getenv("TMPDIR") : "/var/tmp");
    CHECK(mkdtemp(dir) != NULL);
    cert_pem = writer_init(cert, sizeof cert);
    key_pem = writer_init(key, sizeof key);
    CHECK(tls_self_signed(&cert_pem, &key_pem, SLICE_LITERAL("mx.example.org"), 0) == MX_OK);
    CHECK(log_init(&log, -1, LOG_ERROR) == MX_OK);
    CHECK(journal_store_open(&store, dir, &journal, &log) == MX_OK);
    CHECK(session_count_new(&sessions, 1, 1, 1) == MX_OK);
    failed_start_keeps_nothing();
    session_count_free(sessions);
    journal_store_close(store);
    log_fini(&log);
    snprintf(command, sizeof command, "rm -rf %s", dir);
    CHECK(system(command) == 0);
    return 0;
}
