/* Taking over the old queue, with a helper thread and a scan that are in here, and memory that is
 * aligned as asked for and not more. */
#include "tests/check.h"

#include "smtp/spool_recover.h"

#include "io/shard.h"
#include "io/work.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static mx_err fake_open(struct work_pool **out_pool, struct shard *shard, unsigned workers);
static mx_err fake_submit(struct work_pool *pool, struct work_job *job, unsigned lane);
static void *exactly_aligned(size_t align, size_t bytes);

#define work_open fake_open
#define work_submit fake_submit
#define work_close(pool) ((void)(pool))
#define work_reap(pool) ((void)(pool))
#define spool_recover(out, store, conf, found) ((void)(conf), scan_err)
#define spool_recovery_divide(recovery, cores) MX_OK
#define spool_recovery_free(recovery) ((void)(recovery))
#define aligned_alloc exactly_aligned
#define malloc(bytes) exactly_aligned(16, bytes)
#define calloc(count, bytes) memset(exactly_aligned(16, (count) * (bytes)), 0, (count) * (bytes))
#define free(block) ((void)(block))

static mx_err scan_err, open_err, submit_err;

#include "smtp/takeover.c"

#undef aligned_alloc
#undef malloc
#undef calloc
#undef free

static uint8_t memory[64 * 1024];
static struct takeover_result result;
static unsigned ends;

static mx_err fake_open(struct work_pool **out_pool, struct shard *shard, unsigned workers)
{
    (void)shard;
    CHECK(workers == 1);
    *out_pool = open_err ? NULL : (struct work_pool *)(void *)memory; /* only an address */
    return open_err;
}

/* The helper is so quick that its job is over before the call returns. */
static mx_err fake_submit(struct work_pool *pool, struct work_job *job, unsigned lane)
{
    (void)pool;
    (void)lane;
    if (!submit_err) {
        job->run(job);
    }
    return submit_err;
}

/* An odd multiple of the alignment. */
static void *exactly_aligned(size_t align, size_t bytes)
{
    uintptr_t start = ((uintptr_t)memory + 2 * align - 1) / (2 * align) * (2 * align) + align;
    CHECK(start + bytes <= (uintptr_t)memory + sizeof memory);
    return memory + (start - (uintptr_t)memory);
}

static void on_ended(void *owner, const struct takeover_result *of)
{
    (void)owner;
    ends++;
    result = *of;
}

static const struct takeover_conf conf = {.cores = 2, .log_level = LOG_ERROR, .ended = on_ended};

/* A log holds a ring whose ends have cache lines of their own, so takeover asks for more than what
 * malloc gives. */
static void log_is_aligned_as_it_asks_for(void)
{
    struct takeover *t;
    CHECK(takeover_new(&t, &conf) == MX_OK);
    CHECK((uintptr_t)takeover_log(t) % _Alignof(struct log) == 0);
    CHECK(_Alignof(struct log) > _Alignof(max_align_t)); /* else this tries nothing */
    takeover_free(t);
}

static void begin(struct takeover **out, struct shard *shard)
{
    ends = 0;
    memset(&result, 0, sizeof result);
    CHECK(takeover_new(out, &conf) == MX_OK);
    takeover_begin(*out, shard);
}

/* The thread that began it wrote "handed over" where the helper had put its result already. */
static void failed_scan_cannot_be_taken_for_a_good_one(void)
{
    static struct shard shard;
    struct takeover *t;
    scan_err = MX_ERR_IO;
    begin(&t, &shard);
    CHECK(t->err == MX_ERR_IO && ends == 0);
    t->job.done(&t->job);
    CHECK(ends == 1 && result.err == MX_ERR_IO);
    t->hook.turn(&t->hook);
    CHECK(t->given == 0); /* nothing is handed out */
    takeover_free(t);
    scan_err = MX_OK;
}

static void helper_that_cannot_begin_is_said(void)
{
    static struct shard shard;
    struct takeover *t;
    open_err = MX_ERR_NOMEM;
    begin(&t, &shard);
    CHECK(ends == 1 && result.err == MX_ERR_NOMEM);
    takeover_free(t);
    open_err = MX_OK;
    submit_err = MX_ERR_AGAIN;
    begin(&t, &shard);
    CHECK(ends == 1 && result.err == MX_ERR_AGAIN);
    takeover_free(t);
    submit_err = MX_OK;
}

int main(void)
{
    log_is_aligned_as_it_asks_for();
    failed_scan_cannot_be_taken_for_a_good_one();
    helper_that_cannot_begin_is_said();
    return 0;
}
