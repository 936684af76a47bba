/* Lives of a journal of one core in a folder, for plain test programs. */
#pragma once

#include "tests/check.h"

#include "io/journal.h"
#include "io/shard.h"

#include <stdio.h>
#include <stdlib.h>

enum { PATH_BYTES = 300 };

static char dir[PATH_BYTES];
static struct shard shard;
static struct journal_store *store;
static struct journal *journal;

static inline void open_all(const struct journal_conf *conf, const struct journal_ops *ops)
{
    struct shard_conf shard_conf = {
        .count = 1, .cpu = -1, .blocks_max = 64, .workers = 1, .log_level = LOG_ERROR};
    CHECK(shard_init(&shard, &shard_conf) == MX_OK);
    CHECK(shard_open(&shard) == MX_OK);
    CHECK(journal_store_open(&store, dir, conf, &shard.log) == MX_OK);
    CHECK(journal_open(&journal, store, &shard, 0, ops, NULL) == MX_OK);
}

/* Leaves the files as they are, as a kill does. */
static inline void end_all(void)
{
    while (!journal_quiet(journal)) {
        journal_flush(journal);
        shard_turn(&shard, MX_NS_PER_MS);
    }
    journal_close(journal);
    journal_store_close(store);
    shard_close(&shard);
    shard_fini(&shard);
}

/* All that is there, as a start would find it now. */
static inline struct journal_scan_result scan_all(const struct journal_scan_ops *scan_ops)
{
    struct journal_scan_result result;
    struct journal_store *found;
    struct log log;
    CHECK(log_init(&log, -1, LOG_ERROR) == MX_OK);
    CHECK(journal_store_open_readonly(&found, dir, &log) == MX_OK);
    CHECK(journal_store_scan(found, scan_ops, NULL, &result) == MX_OK);
    journal_store_close(found);
    log_fini(&log);
    return result;
}

static inline void forget_journal(void)
{
    char command[2 * PATH_BYTES];
    snprintf(command, sizeof command, "rm -rf %s", dir);
    CHECK(system(command) == 0);
}
